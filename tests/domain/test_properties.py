"""What holds whatever anybody says: charge points here lie, name other people's sessions and send what they like."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.decide import AnyCommand, decide
from evcharge.domain.feeds import feeds_of
from evcharge.domain.headroom import Row, limit_of
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import Session, State
from evcharge.domain.words import RUNNING, SessionStatus
from evcharge.ids import ChargePointId, DriverId, NodeId, SessionId
from evcharge.units import Watts
from tests.support.any_command import ANY, PAUSES_MS, by_charge_point, by_driver
from tests.support.model_shell import command_number
from tests.support.scenario import ANNA, BEN, Domain, boot, canonical, engine_up, monitor_up, plug, replayed, started

Program = list[tuple[AnyCommand, int]]
PROGRAMS = st.lists(st.tuples(ANY, PAUSES_MS), min_size=5, max_size=40)
ATTACKER = ChargePointId("cp-1")


class World(Domain):
    """Central in the middle of a day: two charge points charge for two drivers, a third one waits for its vehicle."""

    def __init__(self) -> None:
        super().__init__()
        capacities = {NodeId("north"): Watts(30_000), NodeId("south"): Watts(12_000)}
        site = SiteConfig(capacities=capacities, assignments={ChargePointId("cp-2"): NodeId("south")})
        self.requests = 0
        self.obey(c.StartCentral(site=site))
        for i, driver_id in enumerate((ANNA, BEN, ANNA)):
            cp_id = ChargePointId(f"cp-{i}")
            for command in (engine_up(cp_id, 1, 1), monitor_up(cp_id, 1), boot(cp_id, 2), plug(cp_id)):
                self.obey(command)
            self.obey(
                c.RequestCharge(
                    session_id=SessionId("fresh"),
                    driver_id=driver_id,
                    cp_id=cp_id,
                    connector=1,
                    energy_wh=None,
                    depart_by_ms=None,
                )
            )
        for substation_id in capacities:
            self.obey(c.Reallocate(node_id=substation_id))
        for i in range(2):
            self.obey(started(f"s-{i}", cp_id=ChargePointId(f"cp-{i}")))

    def obey(self, command: AnyCommand) -> tuple[list[e.Event], list[fx.Effect]]:
        """Like Central's shell, which gives every request a session id of its own."""
        if isinstance(command, c.RequestCharge):
            command = msgspec.structs.replace(command, session_id=SessionId(f"s-{self.requests}"))
            self.requests += 1
        elif isinstance(command, c.Reserve):
            command = msgspec.structs.replace(command, reservation_id=SessionId(f"s-{self.requests}"))
            self.requests += 1
        return self.execute(command)

    def run(self, program: Program) -> None:
        for command, pause_ms in program:
            self.pass_time(pause_ms)
            self.obey(command)


@given(program=PROGRAMS)
def test_decide_changes_nothing(program: Program) -> None:
    world = World()
    for command, pause_ms in program:
        world.pass_time(pause_ms)
        before = canonical(world.state)
        decide(world.state, command, world.stamp())
        assert canonical(world.state) == before
        world.obey(command)


@given(program=PROGRAMS)
def test_replay_gives_the_live_state_byte_for_byte(program: Program) -> None:
    world = World()
    world.run(program)
    assert canonical(replayed(world.log)) == canonical(world.state)


@given(program=PROGRAMS, cut=st.integers(0, 100))
def test_a_restart_anywhere_continues_from_the_replayed_state(program: Program, cut: int) -> None:
    """One Central that never stopped and one that was replayed in the middle go on alike."""
    world = World()
    restart = cut % (len(program) + 1)
    world.run(program[:restart])
    world.state = replayed(world.log)
    world.run([(c.StartCentral(site=world.state.site), 0), *program[restart:]])
    assert canonical(replayed(world.log)) == canonical(world.state)


def counted_at(state: State, node_id: NodeId) -> list[Session]:
    """Those that draw from a node or may do so soon."""
    sessions = [state.sessions[session_id] for node in state.nodes.values() for session_id in node.sessions]
    assert len({session.session_id for session in sessions}) == len(sessions), "nobody stands at two"
    return [session for session in sessions if node_id in feeds_of(state, session.cp_id)]


def counted_w(state: State, node_id: NodeId, clock_ms: int) -> int:
    return sum(session.lease.worst_w(clock_ms) for session in counted_at(state, node_id))


@given(program=PROGRAMS)
def test_power_numbers_totals_whatever_is_reported(program: Program) -> None:
    world = World()
    seen_w: dict[NodeId, int] = {}
    for command, pause_ms in program:
        world.pass_time(pause_ms)
        last = world.state.last_command
        if isinstance(command, c.StartCentral):
            # What ruled at the log's last instant rules again: nobody knows for how long Central was away.
            then_ms = world.state.last_clock_ms
            same = command.site == world.state.site
            # By another file sessions count elsewhere.
            seen_w = {name: counted_w(world.state, name, then_ms) for name in world.state.nodes} if same else {}
        events, _ = world.obey(command)
        state = world.state
        numbers = [number for event in events if (number := command_number(event)) is not None]
        assert numbers == list(range(last + 1, last + 1 + len(numbers)))
        for substation_id, substation in state.nodes.items():
            now_w = counted_w(state, substation_id, world.clock_ms)
            limit_w = limit_of(state, Row(substation_id))
            assert now_w <= max(limit_w, seen_w.get(substation_id, now_w))
            seen_w[substation_id] = now_w
            assert substation.reserved_w == sum(session.min_w for session in counted_at(state, substation_id))
        statuses = [session.status for session in state.sessions.values()]
        assert state.totals.started == state.totals.tickets + sum(status in RUNNING for status in statuses)
        waiting = statuses.count(SessionStatus.AUTHORIZED)
        assert state.totals.authorized == state.totals.started + state.totals.expired + waiting
        for charge_point in state.charge_points.values():
            for no, connector in charge_point.connectors.items():
                if connector.session_id is not None:
                    session = state.sessions[connector.session_id]
                    assert (session.cp_id, session.connector) == (charge_point.cp_id, no)


@given(program=PROGRAMS, attack=st.lists(by_charge_point(st.just(ATTACKER)), min_size=3, max_size=12))
def test_no_charge_point_touches_anothers(program: Program, attack: list[AnyCommand]) -> None:
    world = World()
    world.run(program)
    before = _without_charge_point(world.state, ATTACKER)
    for command in attack:
        _, effects = world.obey(command)
        assert _without_charge_point(world.state, ATTACKER) == before
        for effect in effects:
            match effect:
                case fx.ToEngine(cp_id=cp_id):
                    assert cp_id == ATTACKER
                case fx.SessionNews(session=view) | fx.Granted(session=view):
                    assert view.cp_id == ATTACKER
                case fx.TicketNews(ticket=ticket):
                    assert ticket.cp_id == ATTACKER
                case fx.WaitingNews(waiting=place):
                    assert place.cp_id == ATTACKER
                case fx.ReservationNews(reservation=reservation):
                    assert reservation.cp_id == ATTACKER
                case fx.Wake(session_id=session_id) if session_id in world.state.sessions:
                    assert world.state.sessions[session_id].cp_id == ATTACKER


def _without_charge_point(state: State, cp_id: ChargePointId) -> bytes:
    """Everything that is not the business of ``cp_id``; shares of power are not compared, they are not touched."""
    return canonical(
        [
            {other: cp for other, cp in state.charge_points.items() if other != cp_id},
            {sid: session for sid, session in state.sessions.items() if session.cp_id != cp_id},
            {sid: ticket for sid, ticket in state.provisional.items() if ticket.cp_id != cp_id},
            {sid: one for sid, one in state.waiting.items() if one.cp_id != cp_id},
            {sid: one for sid, one in state.reservations.items() if one.cp_id != cp_id},
            {
                driver_id: (
                    [sid for sid in driver.open_sessions if state.sessions[sid].cp_id != cp_id],
                    [ticket for ticket in driver.tickets if ticket.cp_id != cp_id],
                    [ticket for ticket in driver.undelivered.values() if ticket.cp_id != cp_id],
                )
                for driver_id, driver in state.drivers.items()
            },
            {substation_id: substation.capacity_w for substation_id, substation in state.nodes.items()},
            (state.site, state.failures, state.last_fence, state.cp_order),
        ]
    )


@given(program=PROGRAMS, attack=st.lists(by_driver(st.just(BEN)), min_size=3, max_size=12))
def test_no_driver_touches_anothers(program: Program, attack: list[AnyCommand]) -> None:
    world = World()
    world.run(program)
    for command in attack:
        mine = {sid for sid, session in world.state.sessions.items() if session.driver_id == BEN}
        before = _without_driver(world.state, BEN, mine)
        _, effects = world.obey(command)
        mine |= {sid for sid, session in world.state.sessions.items() if session.driver_id == BEN}
        assert _without_driver(world.state, BEN, mine) == before
        for effect in effects:
            match effect:
                case fx.SessionNews(session=view) | fx.Granted(session=view):
                    assert view.driver_id == BEN
                case fx.TicketNews(ticket=ticket):
                    assert ticket.driver_id == BEN
                case fx.WaitingNews(waiting=place) | fx.Queued(waiting=place):
                    assert place.driver_id == BEN
                case fx.ReservationNews(reservation=reservation) | fx.Booked(reservation=reservation):
                    assert reservation.driver_id == BEN
                case fx.ToEngine():
                    assert isinstance(effect, fx.Authorize | fx.StopSupply)
                    assert effect.session_id in mine


def _without_driver(state: State, driver_id: DriverId, own: set[SessionId]) -> bytes:
    """Everything but the driver's account and sessions; a connector that is free may be taken, one's own be left, also
    with the vehicle in it. Whose vehicle stands at a connector nobody changes by asking.
    """
    charge_points = {}
    for cp_id, cp in state.charge_points.items():
        connectors = {
            no: msgspec.structs.replace(
                connector,
                session_id=None if connector.session_id in own else connector.session_id,
                left_by=None if connector.left_by == driver_id else connector.left_by,
            )
            for no, connector in cp.connectors.items()
        }
        charge_points[cp_id] = msgspec.structs.replace(cp, connectors=connectors)
    return canonical(
        [
            charge_points,
            {sid: session for sid, session in state.sessions.items() if session.driver_id != driver_id},
            {sid: ticket for sid, ticket in state.provisional.items() if ticket.driver_id != driver_id},
            {sid: one for sid, one in state.waiting.items() if one.driver_id != driver_id},
            {sid: one for sid, one in state.reservations.items() if one.driver_id != driver_id},
            {other: driver for other, driver in state.drivers.items() if other != driver_id},
            {substation_id: substation.capacity_w for substation_id, substation in state.nodes.items()},
            (state.site, state.failures, state.last_fence, state.cp_order),
        ]
    )
