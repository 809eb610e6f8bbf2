"""Given, when, then for the domain: Central without its shell, its clocks moved by hand.

``given`` takes events (applied as they are) and commands (decided); ``when`` takes one command; ``then`` compares.
"""

from __future__ import annotations

import msgspec

from evcharge.audit.event_codec import decode, encode
from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.consequences import effects_of, effects_without_event
from evcharge.domain.decide import AnyCommand, decide
from evcharge.domain.evolve import evolve
from evcharge.domain.site import SiteConfig, Tariff
from evcharge.domain.state import ChargePoint, Session, State, shown_state
from evcharge.domain.words import Role, Shown, Stamp
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, Fence, NodeId, SessionId
from evcharge.units import PriceE4, WattHours, Watts

SITE_MS = 1_700_000_000_000
CLOCK_MS = 50_000_000
"""Where site time and the channel clock begin: far apart, so that nobody takes one for the other."""
MAIN = NodeId("main")
CP = ChargePointId("cp-1")
OTHER = ChargePointId("cp-2")
ANNA = DriverId("anna")
BEN = DriverId("ben")
MIN_W = Watts(1_380)
MAX_W = Watts(11_040)


class Domain:
    """decide → evolve → effects, with the log as encoded records."""

    def __init__(self) -> None:
        self.state = State()
        self.at_ms = SITE_MS
        self.clock_ms = CLOCK_MS
        self.log: list[bytes] = []

    def pass_time(self, ms: int) -> None:
        """Both clocks go on."""
        self.at_ms += ms
        self.clock_ms += ms

    def stamp(self, actor: str = "central", source: str = "") -> Stamp:
        """This moment."""
        return Stamp(at_ms=self.at_ms, clock_ms=self.clock_ms, actor=actor, source=source)

    def apply(self, event: e.Event, stamp: Stamp | None = None) -> list[fx.Effect]:
        """One event: its change, its record, its effects."""
        stamp = stamp or self.stamp()
        self.log.append(encode(event, stamp))
        evolve(self.state, event, stamp)
        return effects_of(event, self.state, stamp)

    def execute(self, command: AnyCommand, source: str = "") -> tuple[list[e.Event], list[fx.Effect]]:
        """One command, as Central's engine does it."""
        stamp = self.stamp(source=source)
        events = decide(self.state, command, stamp)
        effects = [effect for event in events for effect in self.apply(event, stamp)]
        return events, effects if events else effects_without_event(command, self.state, stamp)


class Scenario(Domain):
    """given(…).when(…).then(…)."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[e.Event] = []
        self.effects: list[fx.Effect] = []

    def given(self, *things: e.Event | AnyCommand) -> Scenario:
        """What happened before."""
        for thing in things:
            if isinstance(thing, e.Event):
                self.apply(thing)
            else:
                events, _ = self.execute(thing)
                assert not any(isinstance(event, e.ChargeRefused | e.RequestRefused) for event in events), events
        return self

    def when(self, command: AnyCommand, source: str = "") -> Scenario:
        """The command that is looked at."""
        self.events, self.effects = self.execute(command, source)
        return self

    def then(self, *expected: e.Event) -> Scenario:
        """Exactly these events; what a decision stood on is compared where that is looked at."""
        assert [without_basis(event) for event in self.events] == list(expected)
        return self

    def then_kinds(self, *kinds: type[e.Event]) -> Scenario:
        """Events of exactly these kinds."""
        assert [type(event) for event in self.events] == list(kinds), self.events
        return self

    def told(self, *kinds: type[fx.Effect]) -> Scenario:
        """Effects of exactly these kinds."""
        assert [type(effect) for effect in self.effects] == list(kinds), self.effects
        return self

    def effect(self, kind: type[fx.Effect]) -> fx.Effect:
        """The one effect of this kind."""
        (found,) = (effect for effect in self.effects if isinstance(effect, kind))
        return found

    # --- looking ------------------------------------------------------------------------------------------------------

    def cp(self, cp_id: ChargePointId = CP) -> ChargePoint:
        """A charge point."""
        return self.state.charge_points[cp_id]

    def shown(self, cp_id: ChargePointId = CP) -> Shown:
        """Its derived state."""
        return shown_state(self.state, self.cp(cp_id))

    def session(self, session_id: str = "s-1") -> Session:
        """An open session."""
        return self.state.sessions[SessionId(session_id)]

    def worst_w(self, substation_id: NodeId = MAIN) -> int:
        """What may flow at worst."""
        return worst_w(self.state, substation_id, self.clock_ms)


def worst_w(state: State, substation_id: NodeId, clock_ms: int) -> int:
    """The sum over a substation's sessions of what each may draw at worst."""
    return sum(state.sessions[sid].lease.worst_w(clock_ms) for sid in state.nodes[substation_id].sessions)


def without_basis(event: e.Event) -> e.Event:
    """The event without what its decision stood on."""
    return msgspec.structs.replace(event, basis=None) if getattr(event, "basis", None) is not None else event


# --- what is given most often -----------------------------------------------------------------------------------------


def site(capacity_w: int = 22_000, **more: object) -> c.StartCentral:
    """Central starts with one substation; 0.30 EUR and 300 g per kWh."""
    config = SiteConfig(capacities={MAIN: Watts(capacity_w)}, tariff=Tariff(price_e4=PriceE4(3_000), co2_g_per_kwh=300))
    return c.StartCentral(site=msgspec.structs.replace(config, **more))


def engine_up(cp_id: ChargePointId = CP, fence: int = 1, epoch: int | None = 7) -> c.PeerReady:
    """An engine proved itself."""
    return c.PeerReady(
        role=Role.ENGINE,
        entity=cp_id,
        username=f"u-{cp_id}",
        fence=Fence(fence),
        boot_id=b"engine",
        outbox_epoch=epoch,
    )


def engine_down(cp_id: ChargePointId = CP, fence: int = 1) -> c.PeerGone:
    """Its channel ended."""
    return c.PeerGone(role=Role.ENGINE, entity=cp_id, fence=Fence(fence), cause="eof")


def monitor_up(cp_id: ChargePointId = CP, fence: int = 2) -> c.PeerReady:
    """A monitor proved itself."""
    return c.PeerReady(role=Role.MONITOR, entity=cp_id, username=f"m-{cp_id}", fence=Fence(fence), boot_id=b"monitor")


def monitor_down(cp_id: ChargePointId = CP, fence: int = 2) -> c.PeerGone:
    """Its channel ended."""
    return c.PeerGone(role=Role.MONITOR, entity=cp_id, fence=Fence(fence), cause="silent")


def boot(cp_id: ChargePointId = CP, connectors: int = 1, min_w: int = MIN_W, max_w: int = MAX_W) -> c.BootChargePoint:
    """The engine describes itself."""
    ratings = (c.ConnectorRating(ConnectorNo(no), Watts(min_w), Watts(max_w)) for no in range(1, connectors + 1))
    return c.BootChargePoint(cp_id=cp_id, connectors=tuple(ratings))


def plug(cp_id: ChargePointId = CP, connector: int = 1, *, plugged: bool = True) -> c.ReportPlug:
    """A vehicle came, or went."""
    return c.ReportPlug(cp_id=cp_id, connector=ConnectorNo(connector), plugged=plugged)


def request(
    session_id: str = "s-1",
    cp_id: ChargePointId = CP,
    driver_id: DriverId = ANNA,
    connector: int = 0,
    energy_wh: int | None = None,
    depart_by_ms: int | None = None,
    *,
    wait: bool = False,
) -> c.RequestCharge:
    """A driver wants to charge."""
    return c.RequestCharge(
        session_id=SessionId(session_id),
        driver_id=driver_id,
        cp_id=cp_id,
        connector=ConnectorNo(connector),
        energy_wh=energy_wh,
        depart_by_ms=depart_by_ms,
        wait=wait,
    )


def started(
    session_id: str = "s-1", meter_wh: int = 1_000, cp_id: ChargePointId = CP, n: int | None = None
) -> c.ReportStarted:
    """The contactor closed."""
    return c.ReportStarted(cp_id=cp_id, session_id=SessionId(session_id), meter_wh=WattHours(meter_wh), n=n)


def reallocate(substation_id: NodeId = MAIN) -> c.Reallocate:
    """Share anew."""
    return c.Reallocate(node_id=substation_id)


def report(node_id: NodeId = MAIN, *, ok: bool, cause: str = "") -> c.ReportNode:
    """A node says how it is."""
    return c.ReportNode(node_id=node_id, ok=ok, cause=cause)


def connected(cp_id: ChargePointId = CP, fence: int = 1, connectors: int = 1) -> list[AnyCommand]:
    """A charge point that is up, without a monitor."""
    return [engine_up(cp_id, fence), boot(cp_id, connectors)]


def charging(
    session_id: str = "s-1", cp_id: ChargePointId = CP, connector: int = 1, driver_id: DriverId = ANNA
) -> list[AnyCommand]:
    """A session from its request until the contactor is closed, at a charge point that is up."""
    return [
        request(session_id, cp_id, driver_id, connector),
        plug(cp_id, connector),
        reallocate(),
        started(session_id, cp_id=cp_id),
    ]


# --- comparing states -------------------------------------------------------------------------------------------------


def canonical(state: object) -> bytes:
    """The whole state, byte for byte, with the order of every map: who came first decides who is served first. What
    follows from the rest of it is left out.
    """
    if isinstance(state, State):
        state = msgspec.structs.replace(state, spots=None)
    return msgspec.msgpack.encode(_plain(state))


def _plain(value: object) -> object:
    """Maps as lists of pairs in their order, sets sorted."""
    if isinstance(value, msgspec.Struct):
        return [_plain(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, dict):
        return [[_plain(key), _plain(entry)] for key, entry in value.items()]
    if isinstance(value, set | frozenset):
        return sorted(str(entry) for entry in value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def replayed(log: list[bytes]) -> State:
    """The state that a log gives."""
    state = State()
    for body in log:
        logged = decode(body)
        assert logged is not None
        evolve(state, logged.event, logged.stamp)
    return state
