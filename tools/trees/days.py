"""One random day at one random site: events, an answer after each, and everything that has to hold of it."""

from __future__ import annotations

from random import Random

import msgspec
from msgspec.structs import replace

from evcharge.energy.allocate import URGENT_LAXITY, laxity
from evcharge.energy.amperes import DWELL_MS, PATIENCE_MS
from evcharge.energy.fill import Leaf
from evcharge.energy.model import STEP_MS, Node, Plan, Policy, Session, SetPoint
from evcharge.energy.policies import dispatch
from evcharge.energy.tree import Row
from evcharge.units import MS_PER_HOUR
from tools.trees.checks import Site, sound, wasted, wrong
from tools.trees.draw import HOUR_MS, START_MS, car, limit, lying_car, lying_node, narrow_tree, tree
from tools.trees.oracle import lexicographic

POLICIES = (Policy.SLLF, Policy.SLLF, Policy.EQUAL, Policy.EQUAL, Policy.LLF, Policy.EDF, Policy.PLAN, Policy.RULES)
# Steps between looks, ms.
LOOKS_MS = (10_000, 60_000, STEP_MS)
# Largest site that is held against linear programs: they are solved one after the other.
SMALL = 6
# Watts that powers may be from what the solver finds: answers are rounded down, solvers to 1e-6 of a level.
NEAR_W = 1.1


class Outcome(msgspec.Struct, kw_only=True):
    """What one seed came to."""

    seed: int
    steps: int = 0
    watched: int = 0
    """Answers that somebody who waits was watched through."""
    solved: int = 0
    """Answers held against linear programs."""
    events: dict[str, int] = {}
    wrong: list[str] = []


class Day:
    """The site as it is, and for how long nothing has changed but time."""

    def __init__(self, seed: int, steps: int) -> None:
        self.random = Random(seed)
        self.outcome = Outcome(seed=seed, events={}, wrong=[])
        self.policy = self.random.choice(POLICIES)
        # A quiet day goes on long enough for everybody's turn; on a wild one nothing stays as it is.
        self.quiet = self.random.random() < 1 / 8
        self.liars = self.random.random() < 1 / 4
        # Not in step with the turns: those who charge began at different times.
        self.look_ms = self.random.choice((170_000, 230_000, STEP_MS) if self.quiet else LOOKS_MS)
        self.nodes = narrow_tree(self.random, 3) if self.quiet else tree(self.random, 7)
        self.now_ms = START_MS
        self.plugged = 0
        self.sessions: list[Session] = []
        for _ in range(self.random.randint(5 if self.quiet else 0, 8)):
            self._plug()
        self.made = self._plan() if self.policy is Policy.PLAN else None
        self.steps = self._bound_steps() + 6 if self.quiet else steps
        self.waiting: dict[str, int] = {}
        """Since when it could have been served, by session."""

    def run(self, *, solve: bool) -> Outcome:
        """The whole day; ``solve``: its first answers are held against linear programs."""
        if solve:
            self._solve()
        for step in range(self.steps):
            if step and not self.quiet:
                self._happen()
            self._look(twice=step % 4 == 0)
            self.outcome.steps += 1
            if self.outcome.wrong:
                break
            self.now_ms += self.look_ms
        return self.outcome

    def _bound_steps(self) -> int:
        return self._bound_ms() // self.look_ms + 1

    def _bound_ms(self) -> int:
        """The longest wait that is promised, from when one can wait no longer and nothing changes any more."""
        return PATIENCE_MS + self.look_ms + len(self.sessions) * (DWELL_MS + self.look_ms)

    # --- what happens ---------------------------------------------------------------------------------------------

    def _plug(self) -> None:
        self.plugged += 1
        session = car(self.random, f"{self.plugged:03}", self.nodes, self.now_ms)
        if self.quiet:
            # Enough to wait for, and nobody can.
            hours = self.random.choice((None, None, -1, 1, 3))
            departure_ms = None if hours is None else self.now_ms + hours * HOUR_MS
            on = self.random.random() < 1 / 2
            session = replace(
                session,
                need_wh=self.random.randint(30_000, 90_000),
                departure_ms=departure_ms,
                last_w=session.min_w if on else 0,
                turned_ms=self.now_ms - self.random.randint(0, DWELL_MS) if on else None,
            )
        self.sessions.append(lying_car(self.random, session) if self.liars and self.random.random() < 0.2 else session)

    def _plan(self) -> Plan:
        some = [node.id for node in self.nodes if self.random.random() < 0.7]
        return Plan(
            made_ms=self.now_ms,
            starts_ms=(self.now_ms,),
            target_w={each: (self.random.randint(0, 20_000),) for each in some},
            short_wh={each.id: self.random.randint(0, 9_000) for each in self.sessions if self.random.random() < 0.2},
        )

    def _happen(self) -> None:
        kind = self.random.choice(
            (
                "plug",
                "unplug",
                "limit",
                "limit",
                "cut",
                "phase",
                "line",
                "base",
                "solar",
                "time",
                "clock",
                "plan",
                "operator",
                "none",
            )
        )
        at = self.random.randrange(len(self.nodes))
        node = self.nodes[at]
        if kind == "plug" and len(self.sessions) < 12:
            self._plug()
        elif kind == "unplug" and self.sessions:
            del self.sessions[self.random.randrange(len(self.sessions))]
        elif kind == "limit":
            self.nodes[at] = replace(node, cap_w=limit(self.random, 30_000))
        elif kind == "cut":
            self.nodes[at] = replace(node, cap_w=node.cap_w // self.random.randint(2, 9))
        elif kind == "phase" and node.phase_cap_w is not None:
            phases = node.phase_cap_w
            self.nodes[at] = replace(node, phase_cap_w=(phases[1], phases[2], self.random.randint(0, 20_000)))
        elif kind == "line":
            self.nodes[at] = replace(node, online=not node.online)
        elif kind == "base":
            self.nodes[at] = replace(node, base_w=self.random.randint(-500, 9_000))
        elif kind == "solar":
            self.nodes[at] = replace(node, pv_w=self.random.randint(-500, 9_000))
        elif kind == "time":
            self.now_ms += self.random.choice((1, 60_000, HOUR_MS))
        elif kind == "clock":
            self.now_ms += self.random.choice((-2 * HOUR_MS, -60_000, -1, 24 * HOUR_MS))
        elif kind == "operator" and self.sessions:
            # What an operator allows a charge point is all that its car may take (``domain.limits.most_w``).
            which = self.random.randrange(len(self.sessions))
            most_w = self.random.choice((0, self.random.randint(0, 9_000), self.random.randint(0, 23_000)))
            self.sessions[which] = replace(self.sessions[which], max_w=most_w)
        elif kind == "plan" and self.policy is Policy.PLAN:
            self.made = self._plan()
        else:
            kind = "none"
        if self.liars and self.random.random() < 0.2:
            self.nodes[at] = lying_node(self.random, self.nodes[at])
            kind = "lie"
        if kind != "none":
            self.waiting.clear()
        self.outcome.events[kind] = self.outcome.events.get(kind, 0) + 1

    # --- what is answered -----------------------------------------------------------------------------------------

    def _ask(self, sessions: list[Session], nodes: list[Node], *, whole: bool = True) -> dict[str, SetPoint]:
        return dispatch(self.policy, self.now_ms, sessions, nodes, self.made, whole=whole, look_ms=self.look_ms)

    def _look(self, *, twice: bool) -> None:
        points = self._ask(self.sessions, self.nodes)
        site = Site(self.nodes, self.sessions)
        found = wrong(site, points, whole=True)
        if self.policy not in (Policy.PLAN, Policy.RULES) and not found:
            found += wasted(site, points, [each for each in self.sessions if self._is_late(each)])
        if twice:
            sessions, nodes = self.sessions.copy(), self.nodes.copy()
            self.random.shuffle(sessions)
            self.random.shuffle(nodes)
            if self._ask(sessions, nodes) != points:
                found.append("order: the same sessions and nodes in another order give another answer")
            found += wrong(site, self._ask(self.sessions, self.nodes, whole=False), whole=False)
        found += self._starved(site, points)
        self.outcome.wrong += [f"{each} ({self.policy}, at {self.now_ms - START_MS} ms)" for each in found]
        self.sessions = [self._told(each, points.get(each.connector)) for each in self.sessions]

    def _is_late(self, session: Session) -> bool:
        """Whether room may be kept for it: nobody knows when it leaves, or it could wait no longer."""
        left = laxity(session, self.now_ms) if sound(session) else None
        since = session.arrival_ms if session.turned_ms is None else session.turned_ms
        waits = self.now_ms - since >= PATIENCE_MS or since > self.now_ms
        return session.last_w == 0 and waits and (left is None or left < URGENT_LAXITY)

    def _starved(self, site: Site, points: dict[str, SetPoint]) -> list[str]:
        """Who has waited longer than is promised, while nothing changed."""
        if self.policy in (Policy.PLAN, Policy.RULES):
            return []
        found = []
        for session in self.sessions:
            point = points.get(session.connector)
            able = point is not None and point.watts == 0 and point.wanted_w >= session.min_w and sound(session)
            left = laxity(session, self.now_ms) if able else None
            if not able or (left is not None and left >= URGENT_LAXITY) or not site.fits_alone(session):
                self.waiting.pop(session.id, None)
                continue
            since = self.waiting.setdefault(session.id, self.now_ms)
            self.outcome.watched += 1
            if self.now_ms - since > self._bound_ms():
                found.append(f"starved: {session.id} has waited {(self.now_ms - since) // 60_000} minutes")
        return found

    def _told(self, session: Session, point: SetPoint | None) -> Session:
        watts = session.last_w if point is None else point.watts
        turned = (watts > 0) != (session.last_w > 0)
        charged_wh = watts * self.look_ms // MS_PER_HOUR if sound(session) else 0
        return replace(
            session,
            last_w=watts,
            last_ms=self.now_ms if point is not None and watts != session.last_w else session.last_ms,
            turned_ms=self.now_ms if turned else session.turned_ms,
            delivered_wh=session.delivered_wh + charged_wh,
        )

    # --- another way to the same ----------------------------------------------------------------------------------

    def _solve(self) -> None:
        """Shares and smoothed least laxity, in kW, against linear programs."""
        sessions = [
            replace(each, weight=max(1, each.weight))
            for each in self.sessions[:SMALL]
            if sound(each) and each.max_w > 0
        ]
        site = Site(self.nodes, sessions)
        place = {id(session): k for k, session in enumerate(sessions)}
        rows = [
            Row(
                name,
                cap_w / 1000,
                tuple(place[id(each)] for each, _ in site.members[name]),
                tuple(share for _, share in site.members[name]),
            )
            for name, cap_w in site.limits.items()
        ]
        highs = [min(each.max_w, each.remaining_wh * MS_PER_HOUR / self.look_ms) / 1000 for each in sessions]
        waits = [laxity(each, self.now_ms) for each in sessions]
        cases = [(Policy.EQUAL, [Leaf(0.0, float(s.weight), 0.0, h) for s, h in zip(sessions, highs, strict=True)])]
        starts = [each - 1.0 for each in waits if each is not None]
        if len(starts) == len(waits):
            cases.append(
                (
                    Policy.SLLF,
                    [Leaf(a, s.max_w / 1000, 0.0, h) for a, s, h in zip(starts, sessions, highs, strict=True)],
                )
            )
        for policy, leaves in cases:
            points = dispatch(policy, self.now_ms, sessions, self.nodes, whole=False, look_ms=self.look_ms)
            self.outcome.solved += 1
            for session, kw in zip(sessions, lexicographic(leaves, rows), strict=True):
                got = points[session.connector].watts
                if abs(got - 1000 * kw) > NEAR_W:
                    self.outcome.wrong.append(f"level: {session.id} has {got} W, the solver gives {1000 * kw:.1f}")


def day(seed: int, steps: int = 12, every: int = 100) -> Outcome:
    """One seed; each ``every``-th is held against linear programs, 0: none."""
    return Day(seed, steps).run(solve=bool(every) and seed % every == 0)
