"""A whole site in memory: Central's domain, model charge points, and wires that lag, lose and break.

Both ends are honest, everything between them is not (``tests.support.model_steps`` does random things to them).
``Site.check`` compares what flows with what Central counts after each of them, ``Site.close_accounts`` every meter with
every ticket.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

from evcharge.audit.event_codec import decode
from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.charge_points import outbox_was_lost
from evcharge.domain.decide import AnyCommand
from evcharge.domain.feeds import feeds_of
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import Session
from evcharge.domain.words import RUNNING, LinkState, Role, SessionStatus
from evcharge.energy.leases import MARGIN_MS
from evcharge.ids import ChargePointId, ConnectorNo, Fence, NodeId, SessionId, ticket_of
from evcharge.units import WattHours, Watts
from tests.support.model_cp import ModelChargePoint, ModelConnector, Wire
from tests.support.scenario import Domain, replayed
from tests.support.waiting_rules import (
    Rank,
    check_kept,
    check_left_behind,
    check_one_each,
    check_order,
    check_promises,
    check_reserved,
    check_served,
    first_at_left_behind,
    ranks,
)

SETTLE_MS = 86_400_000
_TO_PEOPLE = (
    fx.SessionNews,
    fx.TicketNews,
    fx.WaitingNews,
    fx.ReservationNews,
    fx.Granted,
    fx.Queued,
    fx.Booked,
    fx.Denied,
)
# How long a transfer switch may take (SPEC §7.6).
SWITCH_MS = 60_000
NORTH, SOUTH = NodeId("north"), NodeId("south")


class Site(Domain):
    """Central and charge points with two connectors each; at two substations, unless told otherwise."""

    waits = True
    """Whether what is said of those who wait is compared: strangers make it meaningless."""

    def __init__(self, config: SiteConfig | None = None, capacity_w: int = 16_000, charge_points: int = 3) -> None:
        super().__init__()
        self.may_change = config is not None
        """Whether its file may be another one at a restart."""
        self.config = config or SiteConfig(
            capacities={NORTH: Watts(capacity_w), SOUTH: Watts(9_000)},
            assignments={ChargePointId("cp-2"): SOUTH},
            nodes={NORTH: NodeConfig(backups=(SOUTH,)), SOUTH: NodeConfig(backups=(NORTH,))},
            settle_ms=SETTLE_MS,
        )
        self.measured_w: dict[NodeId, int] = {}
        """What meters show of the base load."""
        self.cps = {ChargePointId(f"cp-{i}"): _charge_point(i) for i in range(charge_points)}
        self.monitors: dict[ChargePointId, Fence] = {}
        self.wires: dict[ChargePointId, Wire] = {}
        """The channels that Central believes in."""
        self.last_fence = 0
        self.requests = 0
        self.durable = 0
        """Records that survive a crash."""
        self.synced = True
        """Whether each record is durable at once."""
        self.dies: int | None = None
        """Central dies within the next command of several records: so many of them, and one, survive."""
        self.held: deque[tuple[int, list[fx.Effect]]] = deque()
        self.deadlines: list[tuple[int, SessionId]] = []
        self.dirty: dict[NodeId, None] = {}
        self.seen_w: dict[tuple[NodeId, int | None], float] = {}
        """The worst case at the last look."""
        self.drawn_from: dict[ChargePointId, list[NodeId]] = {}
        """What carries the power of those that charge since before the site was changed."""
        self.switching: dict[ChargePointId, tuple[int, list[NodeId]]] = {}
        """When a transfer switch was told to move a charge point, and what fed it."""
        self.cut_back = False
        """Whether a capacity may have changed."""
        self.command(c.StartCentral(site=self.config))

    # --- Central's shell --------------------------------------------------------------------------------------------

    def command(self, command: AnyCommand) -> None:
        """Decide; effects are held until their records are durable."""
        last = self.state.last_command
        before = ranks(self.state, self.at_ms) if self.waits and isinstance(command, c.ServeWaiting) else {}
        first = first_at_left_behind(self.state, self.at_ms) if isinstance(command, c.RequestCharge) else {}
        events, effects = self.execute(command)
        if self.dies is not None and len(events) > 1:
            self.die(len(self.log) - len(events) + 1 + self.dies % (len(events) - 1))
            return
        check_left_behind(first, self.state, events)
        self._check_waiting(command, before, events, effects)
        for event in events:
            if isinstance(event, e.ChargePointMoved):
                self.switching[event.cp_id] = (self.clock_ms, self._above(event.from_id))
        numbers = [number for event in events if (number := command_number(event)) is not None]
        assert numbers == list(range(last + 1, last + 1 + len(numbers))), "command numbers rise one by one"
        self.held.append((len(self.log), effects))
        if self.synced:
            self.sync()
        self.check()

    def sync(self) -> None:
        """Everything so far is durable: say it."""
        self.durable = len(self.log)
        while self.held:
            for effect in self.held.popleft()[1]:
                self._release(effect)

    def _release(self, effect: fx.Effect) -> None:
        match effect:
            case fx.ToEngine():
                wire = self.wires.get(effect.cp_id)
                if wire is not None and wire.fence == effect.fence and not wire.cut:
                    wire.down.append(effect)
            case fx.Dirty():
                self.dirty[effect.node_id] = None
            case fx.Wake():
                heapq.heappush(self.deadlines, (effect.at_ms, effect.session_id))
            case _:
                assert isinstance(effect, _TO_PEOPLE)

    def allocate(self, *, everywhere: bool = False) -> None:
        """Share anew where something changed, or everywhere."""
        todo = list(self.state.nodes) if everywhere else list(self.dirty)
        self.dirty.clear()
        for node_id in todo:
            self.command(c.Reallocate(node_id=node_id, measured_w=dict(self.measured_w)))
        self.command(c.ServeWaiting())

    def die(self, durable: int) -> None:
        """Central dies, in the middle of a command perhaps: so many records survive, and nothing was said of the last
        of them.
        """
        self.dies, self.durable = None, durable
        self.crash()

    def crash(self, config: SiteConfig | None = None) -> None:
        """Central dies and comes back from what was durable; with ``config``, to a site that was changed meanwhile."""
        del self.log[self.durable :]
        self.held.clear()
        self.deadlines.clear()
        self.dirty.clear()
        self.seen_w.clear()
        for cp_id in self.cps:
            self.cut(cp_id)
        self.wires.clear()
        self.monitors.clear()
        self.state = replayed(self.log)
        # A move that was not durable was told to nobody.
        told = {cp_id: known.moved_clock_ms for cp_id, known in self.state.charge_points.items()}
        self.switching = {cp_id: one for cp_id, one in self.switching.items() if told.get(cp_id) == one[0]}
        if config is not None:
            self._remember_feeds(config)
            self.config, self.cut_back = config, True
        self.command(c.StartCentral(site=self.config))

    def _remember_feeds(self, config: SiteConfig) -> None:
        """Whatever a file says: what charges goes on drawing through all that fed it, as far as that is still there."""
        for cp_id, charge_point in self.state.charge_points.items():
            if self._open_at(cp_id) and cp_id not in self.state.away:
                self.drawn_from[cp_id] = self._above(charge_point.node_id)
        for cp_id, (told_ms, feeds) in self.switching.items():
            self.switching[cp_id] = (told_ms, [node_id for node_id in feeds if node_id in config.capacities])
        for cp_id, feeds in self.drawn_from.items():
            self.drawn_from[cp_id] = [node_id for node_id in feeds if node_id in config.capacities]

    def _above(self, node_id: NodeId | None) -> list[NodeId]:
        return [] if node_id is None else [node_id, *self._above(self.state.nodes[node_id].parent)]

    def _open_at(self, cp_id: ChargePointId) -> bool:
        return any(connector.session_id for connector in self.state.charge_points[cp_id].connectors.values())

    # --- the wires --------------------------------------------------------------------------------------------------

    def fence(self) -> Fence:
        """A new channel's number."""
        self.last_fence += 1
        return Fence(self.last_fence)

    def connect(self, cp_id: ChargePointId, lag_ms: int = 0) -> None:
        """A new channel; an older one is superseded."""
        cp = self.cps[cp_id]
        self.cut(cp_id)
        # Items below the number that SESSION tells are dropped for ever: it has to be a durable one.
        self.sync()
        known = self.state.charge_points.get(cp_id)
        next_n = 0 if known is None or outbox_was_lost(known, cp.epoch) else known.next_n
        older, wire = self.wires.get(cp_id), Wire(self.fence())
        self.wires[cp_id] = wire
        self.command(
            c.PeerReady(
                role=Role.ENGINE, entity=cp_id, username=cp_id, fence=wire.fence, boot_id=b"", outbox_epoch=cp.epoch
            )
        )
        if older is not None:
            self.command(c.PeerGone(role=Role.ENGINE, entity=cp_id, fence=older.fence, cause="superseded"))
        if self.wires.get(cp_id) is not wire:
            # Central died of it.
            return
        cp.channel_up(wire, next_n, lag_ms)

    def sample(self, cp_id: ChargePointId) -> None:
        """A charge point tells what its connectors draw."""
        for connector in self.cps[cp_id].connectors.values():
            if connector.running is not None and self.cps[cp_id].wire is not None:
                watts = Watts(connector.draw_w(self.clock_ms))
                meter_wh = WattHours(connector.register_wh)
                session_id = connector.running.session_id
                self.cps[cp_id].say(c.ReportMeter(cp_id=cp_id, session_id=session_id, meter_wh=meter_wh, power_w=watts))

    def cut(self, cp_id: ChargePointId) -> None:
        """What was on its way is lost. Central has not noticed yet."""
        cp = self.cps[cp_id]
        if cp.wire is not None:
            cp.wire.cut = True
            cp.wire.up.clear()
            cp.wire.down.clear()
            cp.wire = None

    def notice(self, cp_id: ChargePointId) -> None:
        """Central sees that a channel is dead."""
        wire = self.wires.get(cp_id)
        if wire is not None and wire.cut:
            del self.wires[cp_id]
            self.command(c.PeerGone(role=Role.ENGINE, entity=cp_id, fence=wire.fence, cause="silent"))

    def monitor_up(self, cp_id: ChargePointId) -> None:
        """A monitor connects."""
        fence = self.monitors[cp_id] = self.fence()
        self.command(c.PeerReady(role=Role.MONITOR, entity=cp_id, username=f"m-{cp_id}", fence=fence, boot_id=b""))

    def up(self, cp_id: ChargePointId) -> bool:
        """Deliver one message of a charge point."""
        wire = self.cps[cp_id].wire
        if wire is None or not wire.up:
            return False
        self.command(wire.up.popleft())
        return True

    def down(self, cp_id: ChargePointId) -> bool:
        """Deliver one order to a charge point."""
        cp = self.cps[cp_id]
        if cp.wire is None or not cp.wire.down:
            return False
        cp.obey(cp.wire.down.popleft(), self.clock_ms, self.at_ms)
        self.check()
        return True

    def pump(self) -> None:
        """Deliver until nothing is on its way, sharing power in between."""
        for _ in range(400):
            moved = False
            for cp_id in self.cps:
                moved |= self.up(cp_id)
                moved |= self.down(cp_id)
            self.sync()
            if not moved:
                if not self.dirty:
                    return
                self.allocate()
        raise AssertionError("the site does not come to rest")

    # --- time -------------------------------------------------------------------------------------------------------

    def advance(self, ms: int) -> None:
        """Time passes everywhere; what flows is compared at every turn of a lease in between, then deadlines pass."""
        since_ms, until_ms = self.clock_ms, self.clock_ms + ms
        turns = {k.deadline_ms for cp in self.cps.values() for k in cp.connectors.values()}
        turns |= {g.expires_ms + MARGIN_MS for s in self.state.sessions.values() for g in s.lease.grants}
        moments = {m for turn in turns for m in (turn, turn + 1) if since_ms < m < until_ms} | {until_ms}
        for moment in sorted(moments):
            before_ms = self.clock_ms
            self.pass_time(moment - before_ms)
            for cp in self.cps.values():
                cp.advance(before_ms, self.clock_ms, self.at_ms)
            self.check()
        while self.deadlines and self.deadlines[0][0] <= self.at_ms:
            self.command(c.PassDeadline(session_id=heapq.heappop(self.deadlines)[1]))

    # --- what must always hold --------------------------------------------------------------------------------------

    def check(self) -> None:
        """What flows ≤ what Central counts at worst ≤ capacity; above it, after a cut, the worst case only falls."""
        for cp in self.cps.values():
            for connector in cp.connectors.values():
                self._check_draw(connector)
        self._check_places()
        leased = {session_id for session_id, session in self.state.sessions.items() if session.lease.grants}
        for node_id, node in self.state.nodes.items():
            below = self._below(node_id)
            base_w = self._base_w(node_id)
            self._check_row((node_id, None), node.capacity_w - base_w, below)
            for phase, limit_w in enumerate(node.phase_w or ()):
                self._check_row((node_id, phase), limit_w - base_w, below)
            assert node.reserved_w == sum(session.min_w for session in below)
            if node.phase_w is not None:
                assert node.reserved_phase_w == tuple(self._reserved_w(phase, below) for phase in range(3))
            # If all messages were lost from now on, this is what would flow in the end: no more than was reserved.
            assert all(grant.fallback_w <= s.min_w for s in below for grant in s.lease.grants)
            leased -= set(node.sessions)
        assert not leased, "a lease that no node counts"
        self._check_totals()

    def _check_places(self) -> None:
        """What a switch may not have moved yet counts at both feeds; so does what charges since before a file was
        changed, where it flows and where it is to stand.
        """
        for cp_id, (told_ms, feeds) in self.switching.items():
            if self.clock_ms - told_ms < SWITCH_MS:
                assert {*feeds} <= {*feeds_of(self.state, cp_id)}, f"the switch of {cp_id} may still have {feeds}"
        for cp_id in list(self.drawn_from):
            charge_point = self.state.charge_points[cp_id]
            home = self._home_of(cp_id)
            if not self._open_at(cp_id):
                del self.drawn_from[cp_id]
                assert charge_point.node_id == home or charge_point.moved_ms is not None, "idle, and not in its place"
            elif charge_point.leaving_id is not None and charge_point.moved_ms is not None:
                # A transfer switch has taken it elsewhere.
                del self.drawn_from[cp_id]
            else:
                missing = {*self.drawn_from[cp_id], *self._above(home)} - {*feeds_of(self.state, cp_id)}
                assert not missing, f"{cp_id} draws through {missing}, and does not count there"

    def _below(self, node_id: NodeId) -> list[Session]:
        """The sessions whose power may flow through a node, found from the top.

        While a charge point moves nobody knows which feed its transfer switch has: it counts at both. Away from home
        its own feeders carry it still, up to the node that its feed stands in for.
        """
        below = {node_id}
        while True:
            more = {name for name, node in self.state.nodes.items() if node.parent in below} - below
            if not more:
                break
            below |= more
        found = []
        for charge_point in self.state.charge_points.values():
            feeds = {charge_point.node_id, charge_point.leaving_id or charge_point.node_id}
            if feeds & below or any(node_id in self._own_feeders(charge_point.cp_id, feed) for feed in feeds):
                ids = [connector.session_id for connector in charge_point.connectors.values()]
                found += [self.state.sessions[session_id] for session_id in ids if session_id is not None]
        return found

    def _base_w(self, node_id: NodeId) -> int:
        """What else may flow through a node: what the file says of it, or of all that it feeds."""
        if node_id not in self.config.capacities:
            return 0
        fed = [each for each, placed in self.config.nodes.items() if placed.parent == node_id]
        own_w = self.config.nodes.get(node_id, NodeConfig()).base_w
        return max(own_w, sum(self._base_w(each) for each in fed))

    def _home_of(self, cp_id: ChargePointId) -> NodeId:
        return self.config.assignments.get(cp_id, self.config.default_node)

    def _own_feeders(self, cp_id: ChargePointId, feed: NodeId) -> list[NodeId]:
        """What lies between a charge point and the node that ``feed`` stands in for; nothing when it is no backup."""
        at: NodeId | None = self._home_of(cp_id)
        found: list[NodeId] = []
        while at is not None and at != feed:
            if feed in self.config.nodes.get(at, NodeConfig()).backups:
                return found
            found.append(at)
            at = self.state.nodes[at].parent
        return []

    def _check_row(self, row: tuple[NodeId, int | None], limit_w: int, sessions: list[Session]) -> None:
        counted_w = 0.0
        for session in sessions:
            on = self.config.phases.get(session.cp_id, ())
            if row[1] is None or not on:
                counted_w += session.lease.worst_w(self.clock_ms)
            elif row[1] in on:
                counted_w += session.lease.worst_w(self.clock_ms) / len(on)
        allowed_w = max(limit_w, self.seen_w.get(row, counted_w))
        assert counted_w <= allowed_w + 1e-6, f"{row}: {counted_w} W at worst, {allowed_w} W allowed"
        self.seen_w[row] = counted_w

    def _reserved_w(self, phase: int, sessions: list[Session]) -> int:
        """The smallest currents on a phase, each rounded up."""
        found = 0
        for session in sessions:
            on = self.config.phases.get(session.cp_id, ())
            if phase in on or not on:
                found += math.ceil(session.min_w / (len(on) or 1))
        return found

    def _check_draw(self, connector: ModelConnector) -> None:
        drawn_w = connector.draw_w(self.clock_ms)
        if drawn_w and connector.running is not None:
            session = self.state.sessions.get(connector.running.session_id)
            counted_w = 0 if session is None else session.lease.worst_w(self.clock_ms)
            assert drawn_w <= counted_w, f"{connector.running.session_id} draws {drawn_w} W, {counted_w} W counted"

    def _check_totals(self) -> None:
        statuses = [session.status for session in self.state.sessions.values()]
        running = sum(1 for status in statuses if status in RUNNING)
        totals = self.state.totals
        assert totals.started == totals.tickets + running
        assert totals.authorized == totals.started + totals.expired + statuses.count(SessionStatus.AUTHORIZED)

    def _check_waiting(
        self, command: AnyCommand, before: dict[SessionId, Rank], events: list[e.Event], effects: list[fx.Effect]
    ) -> None:
        """What must hold for those who wait and for reservations (``tests.support.waiting_rules``)."""
        # What a node can hold is less than was promised also where it stands in for one that failed.
        moved = any(isinstance(one, e.ChargePointMoved) for one in events)
        self.cut_back |= isinstance(command, c.SetCapacity) or moved
        check_kept(self.state, events)
        if self.waits:
            check_one_each(self.state)
            check_reserved(self.state, self.at_ms, events)
            check_promises(self.state, self.at_ms, events, effects, cut=self.cut_back)
            if isinstance(command, c.ServeWaiting):
                check_order(before, self.state, events)
                check_served(self.state, self.at_ms)

    # --- the end ----------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """All charge points vanish for good: everything comes to its end by deadlines alone."""
        for cp_id in self.cps:
            self.cut(cp_id)
            self.notice(cp_id)
        self.dies = None
        self.sync()
        # The first may end authorizations, whose sessions began after all but never told.
        self.advance(2 * SETTLE_MS)
        waiting = {SessionStatus.AUTHORIZED, *RUNNING}
        left = [session for session in self.state.sessions.values() if session.status in waiting]
        assert not left, left

    def reconnect(self) -> None:
        """Everybody comes back and has nothing to complain about."""
        self.synced, self.dies = True, None
        self.sync()
        for cp_id, cp in self.cps.items():
            cp.error = None
            self.connect(cp_id)
            if self.state.charge_points[cp_id].monitor.state is not LinkState.NEVER and cp_id not in self.monitors:
                self.monitor_up(cp_id)
            self.command(c.ReportRecovery(cp_id=cp_id))
        self.command(c.ResumeChargePoints(cp_id=None))
        for node_id in self.state.nodes:
            self.command(c.ReportNode(node_id=node_id, ok=True))
        self.pump()

    def heal(self) -> None:
        """Everybody comes back, nobody waits any longer, every vehicle leaves, every report arrives."""
        self.reconnect()
        for waiting in list(self.state.waiting.values()):
            self.command(c.LeaveQueue(driver_id=waiting.driver_id, waiting_id=waiting.waiting_id))
        for one in list(self.state.reservations.values()):
            self.command(c.CancelReservation(driver_id=one.driver_id, reservation_id=one.reservation_id))
        for cp in self.cps.values():
            for connector in cp.connectors.values():
                cp.unplug(connector, self.at_ms)
        self.pump()
        for ms in (61_000, SETTLE_MS + 61_000):
            self.advance(ms)
            self.pump()

    def close_accounts(self) -> None:
        """Exactly one ticket for each session that started, and all energy billed to the watt-hour."""
        state = self.state
        assert not state.sessions, state.sessions
        assert not state.provisional
        assert not any(substation.sessions for substation in state.nodes.values())
        assert not any(driver.open_sessions for driver in state.drivers.values())
        begun: list[SessionId] = []
        billed: dict[SessionId, int] = {}
        adjusted: set[SessionId] = set()
        timed_out: set[SessionId] = set()
        for body in self.log:
            logged = decode(body)
            assert logged is not None
            match logged.event:
                case e.SupplyStarted(session_id=session_id):
                    begun.append(session_id)
                case e.TicketIssued(ticket=ticket):
                    assert ticket.session_id not in billed, "a second ticket"
                    assert ticket.ticket_id == ticket_of(ticket.session_id)
                    billed[ticket.session_id] = ticket.energy_wh
                case e.TicketAdjusted(session_id=session_id, energy_wh=energy_wh):
                    assert session_id not in adjusted, "a second adjustment"
                    adjusted.add(session_id)
                    billed[session_id] += energy_wh
                case e.SessionForgotten(session_id=session_id):
                    # Its charge point had said "off" and then nothing for a day: the declared time-out.
                    timed_out.add(session_id)
        assert sorted(begun) == sorted(billed)
        whole = [charge for cp in self.cps.values() for charge in cp.charges if not charge.lost]
        assert len({charge.session_id for charge in whole}) == len(whole), "a session ran twice"
        for charge in whole:
            if charge.session_id not in timed_out:
                assert charge.end_wh is not None
                assert billed[charge.session_id] == charge.end_wh - charge.start_wh, charge
        assert state.totals.energy_wh == sum(billed.values())
        assert state.totals.tickets == state.totals.started == len(billed)


def _charge_point(i: int) -> ModelChargePoint:
    connectors = {
        ConnectorNo(no): ModelConnector(ConnectorNo(no), 1_400 * no, 11_000, 11_000 // (i + no)) for no in (1, 2)
    }
    return ModelChargePoint(ChargePointId(f"cp-{i}"), connectors)


def command_number(event: e.Event) -> int | None:
    """The number of the command that an event sends, if it sends one."""
    if isinstance(event, e.SetPointIssued):
        return event.grant.command_id
    if isinstance(event, e.ChargeAuthorized | e.AuthorizationExpired | e.StopOrdered | e.StraySupplyStopped):
        return event.command_id
    return None
