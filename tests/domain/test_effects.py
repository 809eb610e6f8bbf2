"""What follows from each kind of event, as one table, and from commands without an event."""

from __future__ import annotations

import msgspec
import pytest

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.applying import apply
from evcharge.domain.charge_points import INCIDENT_WINDOW_MS
from evcharge.domain.consequences import effects_of, effects_without_event
from evcharge.domain.evolve import FAILURES_KEPT, SOURCES_KEPT, evolve
from evcharge.domain.evolve_sessions import TICKETS_KEPT, UNDELIVERED_KEPT
from evcharge.domain.site import NodeConfig
from evcharge.domain.state import Driver, State
from evcharge.domain.words import Hold, Role, StopCause
from evcharge.ids import CommandId, ConnectorNo, DriverId, NodeId, SessionId
from evcharge.units import WattHours, Watts
from tests.support.samples import SAMPLES
from tests.support.scenario import (
    ANNA,
    CP,
    MAIN,
    Scenario,
    boot,
    canonical,
    charging,
    connected,
    engine_down,
    engine_up,
    plug,
    reallocate,
    request,
    site,
    started,
)

S1 = SessionId("s-1")
DEADLINE = c.PassDeadline(session_id=S1)

# What has to be true before the sample of a kind can happen, and which effects it then has.
WAITING = [site(), *connected(), request()]
START_SENT = [*WAITING, plug(), reallocate()]
RUNNING = [site(), *connected(), *charging()]
STOPPING = [*RUNNING, c.StopChargePoints(cp_id=CP)]
AUTHORIZED = next(s for s in SAMPLES if isinstance(s, e.ChargeAuthorized))
MADE = next(s for s in SAMPLES if isinstance(s, e.ReservationMade))
IN_LINE = next(s for s in SAMPLES if isinstance(s, e.ChargeQueued))
QUEUED = [site(), *connected(), IN_LINE]
TWO_QUEUED = [*QUEUED, msgspec.structs.replace(IN_LINE, waiting_id=SessionId("s-2"))]
TICKET = e.TicketIssued(ticket=next(s.ticket for s in SAMPLES if isinstance(s, e.TicketIssued)))


def zoo() -> c.StartCentral:
    """A site with a second substation, which stands in for the first."""
    zoo = NodeId("zoo")
    return site(capacities={MAIN: Watts(22_000), zoo: Watts(22_000)}, nodes={MAIN: NodeConfig(backups=(zoo,))})


TABLE: dict[type[e.Event], tuple[list, list[type[fx.Effect]]]] = {
    e.CentralStarted: (RUNNING, [fx.Wake]),
    e.CentralStopped: ([], []),
    e.PeerConnected: (RUNNING, []),
    e.PeerDisconnected: (RUNNING, [fx.SessionNews]),
    e.PeerRefused: ([], []),
    e.IncidentRaised: ([], []),
    e.AnomalySeen: ([], []),
    e.StraySupplyStopped: ([site(), *connected()], [fx.StopSupply]),
    e.PeerRevoked: ([], [fx.CloseChannel]),
    e.ChargePointBooted: (START_SENT, [fx.BootAck, fx.Authorize, fx.SetPoint, fx.Dirty]),
    e.ConnectorChanged: (WAITING, [fx.Dirty]),
    e.HoldPlaced: (WAITING, []),
    e.HoldLifted: (WAITING, [fx.Dirty]),
    e.WeatherAlerted: (RUNNING, [fx.WeatherNews, fx.Dirty]),
    e.WeatherCleared: (RUNNING, [fx.WeatherNews, fx.Dirty]),
    e.OutboxApplied: (WAITING, [fx.OutboxAck]),
    e.ChargeAuthorized: ([site(), *connected()], [fx.Authorize, fx.Granted, fx.Wake]),
    e.ChargeRefused: ([], [fx.Denied]),
    e.ChargeQueued: ([site(), *connected()], [fx.Queued, fx.Wake]),
    e.ChargeOffered: ([*QUEUED, AUTHORIZED], [fx.WaitingNews, fx.SessionNews]),
    e.OfferEnded: (TWO_QUEUED, [fx.WaitingNews]),
    e.QueueLeft: (QUEUED, [fx.WaitingNews]),
    e.ReservationMade: ([site(), *connected()], [fx.Booked, fx.Wake]),
    e.ReservationOpened: ([site(), *connected(), MADE, AUTHORIZED], [fx.ReservationNews, fx.SessionNews]),
    e.ReservationDelayed: ([site(), *connected(), MADE], [fx.ReservationNews, fx.Wake]),
    e.ReservationEnded: ([site(), *connected(), MADE], [fx.ReservationNews, fx.Dirty]),
    e.RequestRefused: ([], [fx.Denied]),
    e.AuthorizationExpired: (START_SENT, [fx.StopSupply, fx.SessionNews, fx.Dirty]),
    e.SessionForgotten: (RUNNING, []),
    e.AuthorizationAcknowledged: (WAITING, []),
    e.SetPointIssued: (RUNNING, [fx.SetPoint, fx.SessionNews]),
    e.SetPointAcknowledged: (RUNNING, [fx.Dirty]),
    e.SetPointRejected: (RUNNING, [fx.Dirty]),
    e.SupplyStarted: (START_SENT, [fx.SessionNews]),
    e.MeterSampled: (RUNNING, []),
    e.SupplyPaused: (RUNNING, [fx.SessionNews]),
    e.SupplyResumed: (RUNNING, [fx.SessionNews]),
    e.SessionOnline: (RUNNING, [fx.SessionNews]),
    e.StopOrdered: (RUNNING, [fx.StopSupply, fx.SessionNews, fx.Wake]),
    e.StopConfirmed: (STOPPING, [fx.Dirty, fx.Wake]),
    e.SupplyEnded: (RUNNING, []),
    e.TicketIssued: (RUNNING, [fx.TicketNews, fx.Dirty]),
    e.TicketAdjusted: ([*RUNNING, TICKET], [fx.TicketNews, fx.Dirty]),
    e.TicketDelivered: ([*RUNNING, TICKET], []),
    e.CapacityChanged: ([site()], [fx.Dirty]),
    e.ChargePointLimited: (RUNNING, [fx.Dirty]),
    e.NodeWatched: ([site()], []),
    e.NodeUnwatched: ([site()], [fx.NodeNews]),
    e.NodeLost: ([site()], [fx.Dirty, fx.NodeNews]),
    e.NodeProbing: ([site()], [fx.Dirty, fx.NodeNews]),
    e.NodeRecovered: ([site()], [fx.Dirty, fx.NodeNews]),
    e.BaseLoadRose: ([site()], [fx.Dirty]),
    e.BaseLoadForgotten: ([site()], [fx.Dirty, fx.NodeNews]),
    e.PeakRose: ([site()], []),
    e.ChargePointMoved: ([zoo(), *connected(), *charging()], [fx.Dirty]),
    e.MoveCompleted: ([zoo(), *connected(), *charging()], [fx.Dirty]),
    e.PlanAdopted: ([site()], [fx.Dirty]),
    e.PlanFailed: ([], []),
    e.RulingChanged: ([site()], [fx.Dirty]),
    e.DeratingChanged: ([site()], [fx.Dirty]),
}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_effects_of_each_kind(sample: e.Event) -> None:
    before, kinds = TABLE[type(sample)]
    scenario = Scenario().given(*before)
    effects = scenario.apply(sample)
    assert [type(effect) for effect in effects] == kinds
    for effect in effects:
        if isinstance(effect, fx.ToEngine):
            assert effect.fence == scenario.cp().engine.fence


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_effects_do_not_change_the_state(sample: e.Event) -> None:
    scenario = Scenario().given(*TABLE[type(sample)][0])
    evolve(scenario.state, sample, scenario.stamp())
    before = canonical(scenario.state)
    effects_of(sample, scenario.state, scenario.stamp())
    assert canonical(scenario.state) == before


@pytest.mark.parametrize("kind", e.EVENTS)
def test_evolve_has_a_rule_for_every_kind(kind: type[e.Event]) -> None:
    assert kind in TABLE
    assert apply.dispatch(kind) is not apply.dispatch(object)


def test_evolve_has_rules_for_nothing_else() -> None:
    assert set(apply.registry) == {object, *e.EVENTS}
    assert set(effects_of.registry) <= {object, *e.EVENTS}


def test_an_event_without_a_rule_stops_central() -> None:
    class Unheard(e.Event, frozen=True):
        pass

    scenario = Scenario()
    with pytest.raises(AssertionError, match="Unheard"):
        evolve(scenario.state, Unheard(), scenario.stamp())


# --- without an event -------------------------------------------------------------------------------------------------


def test_a_repeated_item_is_acknowledged_again() -> None:
    item = c.ReportStatus(cp_id=CP, connector=ConnectorNo(1), occupied=True, n=0)
    scenario = Scenario().given(site(), *connected(), item)
    assert effects_without_event(item, scenario.state, scenario.stamp()) == [fx.OutboxAck(cp_id=CP, fence=1, n=0)]
    unsent = c.ReportStatus(cp_id=CP, connector=ConnectorNo(1), occupied=True, n=1)
    assert effects_without_event(unsent, scenario.state, scenario.stamp()) == []
    direct = c.ReportStatus(cp_id=CP, connector=ConnectorNo(1), occupied=True)
    assert effects_without_event(direct, scenario.state, scenario.stamp()) == []


def test_ending_twice_is_granted_twice() -> None:
    command = c.EndCharge(driver_id=ANNA, session_id=S1)
    scenario = Scenario().given(*RUNNING).when(command)
    first = scenario.effect(fx.Granted)
    scenario.when(command).then().told(fx.Granted)
    assert scenario.effect(fx.Granted) == first
    assert effects_without_event(command, Scenario().state, Scenario().stamp()) == []


def test_only_a_drivers_own_wish_is_granted() -> None:
    """A session that ends because of somebody else's command must not be shown as that one's answer."""
    for command in (
        c.StopChargePoints(cp_id=CP),
        c.ReportFault(cp_id=CP, code="ko"),
        c.RevokePeer(role=Role.ENGINE, entity=CP, username="u"),
    ):
        for before in (WAITING, RUNNING):
            scenario = Scenario().given(*before).when(command)
            assert not any(isinstance(effect, fx.Granted) for effect in scenario.effects)


def test_most_commands_without_an_event_have_no_effect() -> None:
    assert effects_without_event(reallocate(), Scenario().state, Scenario().stamp()) == []
    assert effects_without_event(DEADLINE, Scenario().state, Scenario().stamp()) == []


# --- what the answers carry -------------------------------------------------------------------------------------------


def test_answers_are_copies_of_that_moment() -> None:
    scenario = Scenario().given(site(), *connected()).when(request(energy_wh=5_000))
    view = scenario.effect(fx.Granted).session
    scenario.given(plug(), reallocate(), started())
    assert (view.status, view.limit_w, view.requested_wh) == ("AUTHORIZED", None, 5_000)


def test_orders_go_to_the_newest_channel() -> None:
    scenario = Scenario().given(*RUNNING, engine_down(), engine_up(fence=8)).when(boot())
    assert {x.fence for x in scenario.effects if isinstance(x, fx.ToEngine)} == {8}


def test_a_restarted_central_stops_what_ran_out_of_time_while_it_was_down() -> None:
    scenario = Scenario().given(*RUNNING)
    scenario.pass_time(90_000_000)
    scenario.when(site())
    wake = scenario.effect(fx.Wake)
    assert wake.at_ms <= scenario.at_ms
    scenario.when(DEADLINE).then_kinds(e.TicketIssued)


# --- bounds -----------------------------------------------------------------------------------------------------------


def charge(scenario: Scenario, session_id: str) -> None:
    meter_wh = 1_000
    scenario.given(request(session_id), reallocate(), started(session_id, meter_wh))
    scenario.given(
        c.ReportEnded(cp_id=CP, session_id=SessionId(session_id), meter_wh=WattHours(2_000), reason=StopCause.UNPLUGGED)
    )


def test_a_driver_keeps_so_many_tickets() -> None:
    assert TICKETS_KEPT == UNDELIVERED_KEPT == 100
    scenario = Scenario().given(site(), *connected(), plug())
    for i in range(TICKETS_KEPT + 3):
        charge(scenario, f"s-{i}")
    account = scenario.state.drivers[ANNA]
    expected = [f"t-s-{i}" for i in range(3, TICKETS_KEPT + 3)]
    assert [ticket.ticket_id for ticket in account.tickets] == expected
    assert list(account.undelivered) == expected
    assert scenario.state.totals.tickets == TICKETS_KEPT + 3


def test_an_adjusted_ticket_is_the_newest_to_deliver() -> None:
    scenario = Scenario().given(*RUNNING, engine_down())
    scenario.pass_time(90_000_000)
    scenario.given(DEADLINE, *connected(fence=4), plug(connector=1))
    stop = scenario.session().stop_command
    assert stop is not None
    scenario.given(c.ReportResult(cp_id=CP, command_id=stop, outcome="done"))
    for i in range(2, UNDELIVERED_KEPT + 1):
        charge(scenario, f"s-{i}")
    account = scenario.state.drivers[ANNA]
    assert len(account.undelivered) == UNDELIVERED_KEPT
    scenario.given(c.ReportEnded(cp_id=CP, session_id=S1, meter_wh=WattHours(9_000), reason=StopCause.UNPLUGGED))
    assert list(account.undelivered)[-1] == "t-s-1"
    assert len(account.undelivered) == UNDELIVERED_KEPT
    charge(scenario, "s-101")
    assert next(iter(account.undelivered)) == "t-s-3"
    assert "t-s-1" in account.undelivered


def test_so_many_sources_of_failures_are_remembered() -> None:
    scenario = Scenario()
    command = c.PeerRejected(code="unknown", authentication=True)
    for i in range(SOURCES_KEPT + 2):
        scenario.when(command, source=f"10.0.{i // 256}.{i % 256}")
    failures = scenario.state.failures
    assert len(failures) == SOURCES_KEPT
    assert "10.0.0.1" not in failures
    assert "10.0.0.2" in failures
    for _ in range(3 * FAILURES_KEPT):
        scenario.when(command, source="10.0.0.9")
    assert len(failures["10.0.0.9"]) == FAILURES_KEPT
    scenario.pass_time(INCIDENT_WINDOW_MS)
    scenario.when(command, source="10.0.0.9")
    assert len(failures["10.0.0.9"]) == 1


def test_the_clock_in_the_state_never_goes_back() -> None:
    scenario = Scenario().given(site())
    newest = scenario.clock_ms
    scenario.pass_time(-5_000)
    scenario.given(c.StopCentral())
    assert scenario.state.last_clock_ms == newest


def test_numbers_in_the_state_never_go_back() -> None:
    state = State()
    scenario = Scenario()
    scenario.state = state
    scenario.given(site(), engine_up(fence=9))
    scenario.apply(e.PeerConnected(role=Role.DRIVER, entity="anna", username="a", fence=3, boot_id=b""))
    assert state.last_fence == 9
    scenario.apply(e.StraySupplyStopped(cp_id=CP, session_id=S1, command_id=CommandId(7)))
    scenario.apply(e.StraySupplyStopped(cp_id=CP, session_id=S1, command_id=CommandId(3)))
    assert state.last_command == 7


def test_events_about_what_is_not_there_are_harmless() -> None:
    """Replay must not fail on them, whatever an older program wrote."""
    scenario = Scenario().given(site())
    scenario.apply(e.SessionForgotten(session_id=S1))
    scenario.apply(e.PeerDisconnected(role=Role.ENGINE, entity=CP, fence=1, cause="eof"))
    scenario.given(*connected())
    scenario.apply(e.HoldLifted(cp_id=CP, hold=Hold.WEATHER))
    scenario.state.drivers[DriverId("x")] = Driver()
    scenario.apply(e.TicketDelivered(driver_id=DriverId("x"), ticket_id="t"))
    assert list(scenario.state.nodes) == [MAIN]
