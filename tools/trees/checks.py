"""What has to hold of each answer, reckoned from nodes and sessions alone: nothing of the allocator is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evcharge.energy.model import Limit, Node, Session, SetPoint

# W that floats may lose where a power is divided by three.
LOST_W = 1e-3
# A meter that reads more is broken.
BROKEN_W = 10**9


class Site:
    """Who is below which limit, and how much of its power counts there."""

    def __init__(self, nodes: Sequence[Node], sessions: Sequence[Session]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.sessions = sessions
        self.paths = {node.id: self._path(node.id) for node in nodes}
        self._reached = {each: all(self.nodes[above].online for above in path) for each, path in self.paths.items()}
        self._rows: dict[str, list[tuple[str, float]]] = {session.connector: [] for session in sessions}
        self.limits: dict[str, float] = {}
        self.members: dict[str, list[tuple[Session, float]]] = {}
        for node in nodes:
            below = [session for session in sessions if node.id in self.paths[session.node]]
            # A base that is no number could be all of it.
            base_w = float(max(0, node.base_w)) if -BROKEN_W * 1e9 < node.base_w < BROKEN_W else float("inf")
            pv_w = node.pv_w if 0 < node.pv_w <= BROKEN_W else 0
            self._row(node.id, max(0.0, node.cap_w - base_w + pv_w), [(session, 1.0) for session in below])
            for phase, cap_w in enumerate(node.phase_cap_w or ()):
                parts = [(session, part(session, phase)) for session in below]
                self._row(f"{node.id}/L{phase + 1}", max(0.0, cap_w - base_w), [each for each in parts if each[1]])

    def _path(self, node_id: str) -> list[str]:
        path = [node_id]
        while (parent := self.nodes[path[-1]].parent) is not None:
            path.append(parent)
        return path

    def _row(self, name: str, cap_w: float, members: list[tuple[Session, float]]) -> None:
        self.limits[name] = cap_w
        self.members[name] = members
        for session, share in members:
            self._rows[session.connector].append((name, share))

    def online(self, session: Session) -> bool:
        """Whether it can be told."""
        return self._reached[session.node]

    def left(self, points: Mapping[str, SetPoint]) -> dict[str, float]:
        """What each limit has left; what those hold who cannot be told takes no more than there is."""
        left = {}
        for name, members in self.members.items():
            silent, told = 0.0, 0.0
            for session, share in members:
                if self._reached[session.node]:
                    told += share * points[session.connector].watts
                else:
                    silent += share * session.last_w
            left[name] = max(0.0, self.limits[name] - silent) - told
        return left

    def rows_of(self, session: Session) -> list[tuple[str, float]]:
        """Names and shares of the limits that it counts in."""
        return self._rows[session.connector]

    def fits_alone(self, session: Session) -> bool:
        """Whether its smallest current fits where nobody else has any, but those who cannot be told."""
        nothing = SetPoint(0, Limit.NEED)
        left = self.left({each.connector: nothing for each in self.sessions})
        return all(share * session.min_w <= left[name] for name, share in self.rows_of(session))


def part(session: Session, phase: int) -> float:
    """Of a session's power on one phase, at worst."""
    wires = set(session.on)
    if not wires or not wires <= {0, 1, 2}:
        return 1 / min(3, max(1, session.phases))
    return 1 / len(wires) if phase in wires else 0.0


def sound(session: Session) -> bool:
    """Whether its numbers can be: those of a liar only have to do no harm."""
    return (
        0 <= session.max_w <= 10**6
        and 0 <= session.need_wh <= 10**6
        and 0 <= session.delivered_wh <= 10**6
        and session.volts in (120, 208, 230)
        and session.phases in (1, 3)
        and 1 <= session.min_a <= 100
        and 1 <= session.weight <= 100
        and set(session.on) <= {0, 1, 2}
    )


def wrong(site: Site, points: Mapping[str, SetPoint], *, whole: bool) -> list[str]:
    """What is wrong with an answer; nothing, as a rule."""
    found = []
    if set(points) != {session.connector for session in site.sessions if site.online(session)}:
        return ["answer: it is not for those that can be told"]
    for name, watts in site.left(points).items():
        if watts < -LOST_W:
            found.append(f"limit: {name} is passed by {-watts:.3f} W")
    for session in site.sessions:
        point = points.get(session.connector)
        if point is None:
            continue
        if point.watts < 0 or (sound(session) and point.watts > session.max_w):
            found.append(f"rating: {session.id} has {point.watts} W of {session.max_w}")
        if whole and point.watts and sound(session):
            if point.watts % session.step_w:
                found.append(f"amperes: {session.id} has {point.watts} W, an ampere is {session.step_w}")
            if point.watts < session.min_w:
                found.append(f"minimum: {session.id} has {point.watts} W, the smallest current is {session.min_w}")
        if point.watts > point.wanted_w:
            found.append(f"need: {session.id} has {point.watts} W and wants {point.wanted_w}")
    return found


def wasted(site: Site, points: Mapping[str, SetPoint], late: Sequence[Session]) -> list[str]:
    """Who could have more and has not, though nobody is held back; ``late`` are those for whom room may be kept."""
    if any(point.limit in (Limit.STEADY, Limit.RAMP) for point in points.values()):
        return []
    left = site.left(points)
    found = []
    for session in site.sessions:
        point = points.get(session.connector)
        if point is None or point.watts >= point.wanted_w or not sound(session):
            continue
        more = session.step_w if point.watts else session.min_w
        rows = dict(site.rows_of(session))
        if any(share * more > left[name] - LOST_W for name, share in rows.items()):
            continue
        kept = not point.watts and any(
            name in rows and left[name] < share * other.min_w for other in late for name, share in site.rows_of(other)
        )
        if not kept:
            found.append(f"waste: {more} W fit for {session.id}, which has {point.watts} of {point.wanted_w}")
    return found
