"""Central's domain in memory with model charge points, wires that lag, lose and break, and time."""

from __future__ import annotations

import heapq
from collections import deque

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.charge_points import outbox_was_lost
from evcharge.domain.decide import AnyCommand
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.words import Role, Stamp
from evcharge.energy.leases import MARGIN_MS
from evcharge.ids import ChargePointId, ConnectorNo, Fence, NodeId, SessionId
from evcharge.units import WattHours, Watts
from tests.support.model_cp import ModelChargePoint, ModelConnector, Wire
from tests.support.scenario import Domain, replayed
from tests.support.waiting_rules import Rank, Stood, ranks

SETTLE_MS = 86_400_000
_TO_PEOPLE = (
    fx.SessionNews,
    fx.TicketNews,
    fx.WaitingNews,
    fx.ReservationNews,
    fx.NodeNews,
    fx.WeatherNews,
    fx.Granted,
    fx.Queued,
    fx.Booked,
    fx.Denied,
)
NORTH, SOUTH = NodeId("north"), NodeId("south")


class Shell(Domain):
    """Central and charge points with two connectors each; at two substations, unless told otherwise.

    What must hold after each step says whoever inherits.
    """

    waits = True
    """Whether what is said of those who wait is compared: strangers make it meaningless."""

    def __init__(self, config: SiteConfig | None = None, capacity_w: int = 16_000, charge_points: int = 3) -> None:
        super().__init__()
        self.stood = Stood()
        self.may_change = config is not None
        """Whether its file may be another one at a restart."""
        self.config = config or SiteConfig(
            capacities={NORTH: Watts(capacity_w), SOUTH: Watts(9_000)},
            assignments={ChargePointId("cp-2"): SOUTH},
            nodes={NORTH: NodeConfig(backups=(SOUTH,)), SOUTH: NodeConfig(backups=(NORTH,))},
            settle_ms=SETTLE_MS,
            assumed_share=1_000,
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

    def check(self) -> None:
        """After whatever may have changed what flows or what is counted. Raises AssertionError."""
        raise NotImplementedError

    def check_waiting(
        self, command: AnyCommand, before: dict[SessionId, Rank], events: list[e.Event], effects: list[fx.Effect]
    ) -> None:
        """After each command. Raises AssertionError."""
        raise NotImplementedError

    # --- Central's shell --------------------------------------------------------------------------------------------

    def apply(self, event: e.Event, stamp: Stamp | None = None) -> list[fx.Effect]:
        """One event, and whether it was right where somebody's vehicle stands."""
        effects = super().apply(event, stamp)
        self.stood.see(event, self.state)
        return effects

    def command(self, command: AnyCommand) -> None:
        """Decide; effects are held until their records are durable."""
        last = self.state.last_command
        before = ranks(self.state, self.at_ms) if self.waits and isinstance(command, c.ServeWaiting) else {}
        events, effects = self.execute(command)
        if self.dies is not None and len(events) > 1:
            self.die(len(self.log) - len(events) + 1 + self.dies % (len(events) - 1))
            return
        self.check_waiting(command, before, events, effects)
        for event in events:
            if isinstance(event, e.ChargePointMoved):
                self.switching[event.cp_id] = (self.clock_ms, self.above(event.from_id))
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
        self.state, self.stood = replayed(self.log), Stood()
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
            if self.open_at(cp_id) and cp_id not in self.state.away:
                self.drawn_from[cp_id] = self.above(charge_point.node_id)
        for cp_id, (told_ms, feeds) in self.switching.items():
            self.switching[cp_id] = (told_ms, [node_id for node_id in feeds if node_id in config.capacities])
        for cp_id, feeds in self.drawn_from.items():
            self.drawn_from[cp_id] = [node_id for node_id in feeds if node_id in config.capacities]

    def above(self, node_id: NodeId | None) -> list[NodeId]:
        """A node and all above it, as Central has them."""
        return [] if node_id is None else [node_id, *self.above(self.state.nodes[node_id].parent)]

    def open_at(self, cp_id: ChargePointId) -> bool:
        """Whether a session is open there."""
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
