"""No sequence of messages from one peer changes another's session, or breaks Central (issue: properties)."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.event_codec import decode
from evcharge.domain import commands as c
from evcharge.domain.evolve import evolve
from evcharge.domain.state import Session, State
from evcharge.ids import ChargePointId, DriverId, NodeId, SessionId
from protocol import messages as m
from protocol.credentials import Role
from tests.support.bench import Bench, line_of
from tests.support.central import canonical

BOOT = m.Boot(connectors=[m.ConnectorInfo(connector=no, min_w=1_400, max_w=11_000) for no in (1, 2)])
METERS = st.sampled_from([0, 1, 999, 1_000, 5_000, 10**12, 10**12 + 1, m.MAX_COUNT])
INSTANTS = st.sampled_from([None, 0, 1_763_683_200_000, m.MAX_COUNT])


class Scene(Bench):
    """Anna charges at CP-1 and has another session that waits there; ben and CP-2 are the ones who talk."""

    def __init__(self) -> None:
        super().__init__()
        self.victim_engine = self.join(Role.CP, "CP-1", outbox_epoch=7)
        self.anna = self.join(Role.DRIVER, "anna")
        self.say(self.victim_engine, BOOT)
        self.say(self.victim_engine, m.Plugged(connector=1))
        for _ in range(2):
            self.say(self.anna, m.ChargeRequest(id=1, cp_id="CP-1"))
        (start,) = self.orders(m.StartSupply)
        self.say(self.victim_engine, m.Result(command_id=start.command_id, outcome="done"))
        begun = m.SupplyStarted(session_id=start.session_id, meter_wh=1_000)
        self.say(self.victim_engine, m.Outbox(n=0, payload=begun))
        self.running = SessionId(start.session_id)
        self.engine_2 = self.join(Role.CP, "CP-2", outbox_epoch=7)
        self.monitor_2 = self.join(Role.MONITOR, "CP-2")
        self.ben = self.join(Role.DRIVER, "ben")
        self.say(self.engine_2, BOOT)
        assert len(self.state.drivers[DriverId("anna")].open_sessions) == 2
        for peer in (self.victim_engine, self.anna):
            line_of(peer).sent.clear()

    def orders(self, kind: type[Any]) -> list[Any]:
        return [message for message in line_of(self.victim_engine).sent if isinstance(message, kind)]

    def of_anna(self) -> bytes:
        """All that is anna's and her charge point's."""
        state = self.state
        sessions: list[Session] = [s for s in state.sessions.values() if s.driver_id == "anna"]
        return msgspec.msgpack.encode(
            [
                sessions,
                state.charge_points[ChargePointId("CP-1")],
                state.drivers[DriverId("anna")],
                state.nodes[NodeId("north")],
                self.telemetry.live_of(self.running),
            ]
        )

    def ids(self) -> list[str]:
        """Sessions that somebody could name: all there are and one that never was."""
        return [*sorted(self.state.sessions), "s-never"]

    def commands(self) -> list[int]:
        """Numbers of orders: all that were ever given, and one that was not."""
        return list(range(self.state.last_command + 2))

    def own_n(self) -> int:
        return self.state.charge_points[ChargePointId("CP-2")].next_n


def a_payload(draw: Any, scene: Scene) -> m.OutboxPayload:
    sid = draw(st.sampled_from(scene.ids()))
    meter_wh = draw(METERS)
    at_ms = draw(INSTANTS)
    kind = draw(st.sampled_from(["started", "paused", "resumed", "ended", "status"]))
    match kind:
        case "started":
            return m.SupplyStarted(session_id=sid, meter_wh=meter_wh, at_ms=at_ms)
        case "paused":
            return m.SupplyPaused(session_id=sid, meter_wh=draw(st.sampled_from([None, meter_wh])), at_ms=at_ms)
        case "resumed":
            return m.SupplyResumed(session_id=sid, meter_wh=draw(st.sampled_from([None, meter_wh])), at_ms=at_ms)
        case "ended":
            reasons = ["target_reached", "unplugged", "fault", "stopped", "expired", "no such reason", ""]
            return m.SupplyEnded(session_id=sid, meter_wh=meter_wh, reason=draw(st.sampled_from(reasons)), at_ms=at_ms)
        case _:
            connector = draw(st.integers(0, 3))
            return m.Status(connector=connector, occupied=draw(st.booleans()), error=draw(st.sampled_from([None, "x"])))


def from_engine(draw: Any, scene: Scene) -> m.Message:
    kind = draw(st.sampled_from(["boot", "plug", "direct", "outbox", "outbox", "result", "result", "update", "beat"]))
    match kind:
        case "boot":
            ratings = draw(
                st.lists(
                    st.builds(
                        m.ConnectorInfo,
                        connector=st.integers(1, 3),
                        min_w=st.sampled_from([0, 1_400, 30_000, m.MAX_W]),
                        max_w=st.sampled_from([0, 11_000, m.MAX_W]),
                    ),
                    min_size=1,
                    max_size=3,
                )
            )
            return m.Boot(connectors=ratings, id=draw(st.sampled_from([None, 1])))
        case "plug":
            connector = draw(st.integers(0, 3))
            return m.Plugged(connector=connector) if draw(st.booleans()) else m.Unplugged(connector=connector)
        case "direct":
            return a_payload(draw, scene)
        case "outbox":
            n = draw(st.sampled_from([scene.own_n(), scene.own_n(), scene.own_n() + 1, 0, m.MAX_COUNT]))
            return m.Outbox(n=n, payload=a_payload(draw, scene))
        case "result":
            outcome = draw(st.sampled_from(["done", "done", "rejected", "expired", "failed"]))
            return m.Result(command_id=draw(st.sampled_from(scene.commands())), outcome=outcome)
        case "update":
            sid = draw(st.sampled_from(scene.ids()))
            return m.SupplyUpdate(session_id=sid, meter_wh=draw(METERS), power_w=draw(st.sampled_from([0, m.MAX_W])))
        case _:
            return m.Heartbeat(id=1)


def from_driver(draw: Any, scene: Scene) -> m.Message:
    kind = draw(st.sampled_from(["charge", "charge", "end", "list", "tickets", "received"]))
    match kind:
        case "charge":
            return m.ChargeRequest(
                id=1,
                cp_id=draw(st.sampled_from(["CP-2", "CP-2", "CP-1", "CP-9"])),
                connector=draw(st.sampled_from([0, 1, 2, 3])),
                energy_wh=draw(st.sampled_from([None, 5_000, 0, -1, m.MAX_COUNT])),
                depart_by_ms=draw(st.sampled_from([None, 0, m.MAX_COUNT])),
            )
        case "end":
            return m.EndCharge(id=2, session_id=draw(st.sampled_from(scene.ids())))
        case "list":
            return m.List(id=3, after=draw(st.sampled_from([None, "CP-1", "~"])))
        case "tickets":
            return m.Tickets(id=4, after=draw(st.sampled_from([None, f"t-{scene.running}"])))
        case _:
            return m.TicketReceived(ticket_id=f"t-{draw(st.sampled_from(scene.ids()))}")


def from_monitor(draw: Any, _scene: Scene) -> m.Message:
    said: list[m.Message] = [m.Fault(code="x"), m.Recovery(), m.Health(engine_ok=False), m.Heartbeat(id=1)]
    message: m.Message = draw(st.sampled_from(said))
    return message


def honest(scene: Scene) -> None:
    """What an honest charge point and driver would do next, so that there is something to disturb."""
    charge_point = scene.state.charge_points[ChargePointId("CP-2")]
    open_here = [session for session in scene.state.sessions.values() if session.cp_id == "CP-2"]
    starts = [order for order in line_of(scene.engine_2).sent if isinstance(order, m.StartSupply)]
    waiting = {session.session_id for session in open_here if session.start_ms is None}
    n = scene.own_n()
    if charge_point.holds:
        scene.say(scene.monitor_2, m.Recovery())
    elif not charge_point.connectors or not scene.say(scene.engine_2, m.Plugged(connector=1)):
        scene.say(scene.engine_2, BOOT)
    elif not open_here:
        scene.say(scene.ben, m.ChargeRequest(id=1, cp_id="CP-2"))
    elif starts and starts[-1].session_id in waiting:
        scene.say(scene.engine_2, m.Result(command_id=starts[-1].command_id, outcome="done"))
        begun = m.SupplyStarted(session_id=starts[-1].session_id, meter_wh=1_000)
        scene.say(scene.engine_2, m.Outbox(n=n, payload=begun))
    else:
        ended = m.SupplyEnded(session_id=open_here[0].session_id, meter_wh=2_000, reason="unplugged")
        scene.say(scene.engine_2, m.Outbox(n=n, payload=ended))


KINDS = ["honest"] * 6 + ["engine"] * 6 + ["driver"] * 3 + ["monitor", "again", "time"]


def step(draw: Any, scene: Scene) -> None:
    """One thing that ben or CP-2 does."""
    match draw(st.sampled_from(KINDS)):
        case "honest":
            honest(scene)
        case "engine":
            scene.say(scene.engine_2, from_engine(draw, scene))
        case "driver":
            scene.say(scene.ben, from_driver(draw, scene))
        case "monitor":
            scene.say(scene.monitor_2, from_monitor(draw, scene))
        case "again":
            scene.engine_2 = scene.join(Role.CP, "CP-2", outbox_epoch=draw(st.sampled_from([7, 8, None])))
        case "time":
            seconds = draw(st.sampled_from([1, 11, 70]))
            # Time is nobody's deed: anna's authorization may expire by it, so her own clock stands still.
            scene.clock.advance(0.001 * seconds)
            scene.execute(c.Reallocate(node_id=NodeId("south")))


@given(st.data())
def test_nothing_that_others_say_touches_a_session_or_breaks_central(data: st.DataObject) -> None:
    scene = Scene()
    before = scene.of_anna()
    for _ in range(data.draw(st.integers(1, 30))):
        step(data.draw, scene)
        assert not scene.failures
        assert scene.of_anna() == before
        for peer in (scene.victim_engine, scene.anna):
            assert line_of(peer).sent == [], "nor is anything said to anna or her charge point"
    for reply in line_of(scene.ben).sent:
        assert scene.running not in msgspec.msgpack.encode(reply).decode("latin-1") or isinstance(reply, m.Refused)
    replayed = State()
    for body in scene.log.bodies:
        logged = decode(body)
        assert logged is not None
        evolve(replayed, logged.event, logged.stamp)
    assert canonical(replayed) == canonical(scene.state), "and the log tells it all"


@given(st.data())
def test_readings_are_kept_of_running_sessions_only(data: st.DataObject) -> None:
    scene = Scene()
    for _ in range(data.draw(st.integers(1, 30))):
        step(data.draw, scene)
        kept = set(scene.telemetry._live)
        assert kept <= set(scene.state.sessions), "a session that ended is forgotten"
