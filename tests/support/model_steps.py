"""Random days of a model site: each step is one thing that a site may live through, ordinary or not.

What makes no sense at the moment does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from evcharge.domain import commands as c
from evcharge.domain.demand import root_of
from evcharge.domain.state import Derated, Ruled, RuleInput
from evcharge.domain.words import Health, LinkState, Role, StopCause, WeatherKind
from evcharge.energy.model import Plan
from evcharge.energy.rules import CEILING_W, ChargingMode, Rule
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, NodeId, SessionId
from evcharge.units import MS_PER_HOUR, Millis, WattHours, Watts
from tests.support.any_tree import with_less
from tests.support.model_site import Site

# How far a charge point's channel clock may be behind: SESSION under way for 10 s, a day of drift, a slow check.
LAGS_MS = (0, 900, 9_000, 19_640)


def run(site: Site, program: bytes) -> None:
    """Three bytes are one step: what, at which charge point, how."""
    for i in range(0, len(program) - 2, 3):
        what, where, how = program[i : i + 3]
        STEPS[what % len(STEPS)](site, ChargePointId(f"cp-{where % len(site.cps)}"), how)


def _settle(site: Site, _cp_id: ChargePointId, _how: int) -> None:
    site.pump()


def _recover(site: Site, cp_id: ChargePointId, how: int) -> None:
    """All is well at one charge point again, and a vehicle comes with a request: most days are ordinary."""
    cp = site.cps[cp_id]
    cp.error = None
    if cp.wire is None:
        site.connect(cp_id, LAGS_MS[how % len(LAGS_MS)])
    if site.state.charge_points[cp_id].monitor.state is not LinkState.NEVER and cp_id not in site.monitors:
        site.monitor_up(cp_id)
    site.command(c.ReportRecovery(cp_id=cp_id))
    site.command(c.ResumeChargePoints(cp_id=cp_id))
    _nodes_well(site)
    _fine_weather(site)
    connector = cp.connectors[ConnectorNo(1 + how % 2)]
    if not connector.plugged:
        _plug(site, cp_id, how)
    _request(site, cp_id, how)
    if how % 8 < 5:
        site.pump()
        site.sample(cp_id)
        site.pump()


def rush(site: Site, how: int) -> None:
    """All is well everywhere, and vehicles come to all charge points."""
    for connector in (0, 1):
        for cp_id in site.cps:
            _recover(site, cp_id, how & ~1 | connector)


def _exchange(site: Site, cp_id: ChargePointId, how: int) -> None:
    for _ in range(1 + how % 4):
        site.up(cp_id)
        site.down(cp_id)


def _up(site: Site, cp_id: ChargePointId, _how: int) -> None:
    site.up(cp_id)


def _down(site: Site, cp_id: ChargePointId, _how: int) -> None:
    site.down(cp_id)


def _lose_answer(site: Site, cp_id: ChargePointId, _how: int) -> None:
    wire = site.cps[cp_id].wire
    if wire is not None and wire.up and isinstance(wire.up[0], c.ReportResult):
        wire.up.popleft()


def _short(site: Site, _cp_id: ChargePointId, how: int) -> None:
    site.advance((100, 1_000, 3_000, 10_100, 16_000)[how % 5])
    site.allocate(everywhere=True)


def _long(site: Site, _cp_id: ChargePointId, how: int) -> None:
    site.advance((31_000, 51_000, 61_000, MS_PER_HOUR, 25 * MS_PER_HOUR)[how % 5])


def _allocate(site: Site, _cp_id: ChargePointId, how: int) -> None:
    site.allocate(everywhere=how % 2 == 0)


def _request(site: Site, cp_id: ChargePointId, how: int) -> None:
    site.requests += 1
    site.command(
        c.RequestCharge(
            session_id=SessionId(f"s-{site.requests}"),
            driver_id=DriverId(f"d-{how % 2}"),
            cp_id=cp_id,
            connector=ConnectorNo(how % 3),
            energy_wh=(None, 5, 500, 40_000)[how % 4],
            depart_by_ms=None,
            on_the_way=how % 8 > 5,
        )
    )


def _wait(site: Site, cp_id: ChargePointId, how: int) -> None:
    """Somebody who is content to wait; a few drivers, so that some have more than one place."""
    site.requests += 1
    site.command(
        c.RequestCharge(
            session_id=SessionId(f"s-{site.requests}"),
            driver_id=DriverId(f"d-{how % 5}"),
            cp_id=cp_id,
            connector=ConnectorNo(how % 3),
            energy_wh=(None, 500)[how % 2],
            depart_by_ms=(None, None, site.at_ms + MS_PER_HOUR // 2)[how % 3],
            wait=True,
            on_the_way=how % 2 > 0,
        )
    )


def _free(site: Site, cp_id: ChargePointId, how: int) -> None:
    """A vehicle leaves, and whoever waited is offered the connector, if all is well there."""
    connector = site.cps[cp_id].connectors[ConnectorNo(1 + how % 2)]
    if connector.plugged:
        site.cps[cp_id].unplug(connector, site.at_ms)
    if how % 4:
        site.pump()


def _leave(site: Site, _cp_id: ChargePointId, how: int) -> None:
    for waiting in list(site.state.waiting.values())[: how % 3]:
        site.command(c.LeaveQueue(driver_id=DriverId(f"d-{how % 5}"), waiting_id=waiting.waiting_id))


def _reserve(site: Site, cp_id: ChargePointId, how: int) -> None:
    site.requests += 1
    from_ms = site.at_ms + (60_000, MS_PER_HOUR, 3 * MS_PER_HOUR, 26 * MS_PER_HOUR)[how % 4]
    site.command(
        c.Reserve(
            reservation_id=SessionId(f"s-{site.requests}"),
            driver_id=DriverId(f"d-{how % 5}"),
            cp_id=cp_id,
            connector=ConnectorNo(how % 3),
            from_ms=from_ms,
            until_ms=from_ms + (30_000, 600_000, 2 * MS_PER_HOUR)[how % 3],
            energy_wh=None,
        )
    )


def _cancel(site: Site, _cp_id: ChargePointId, how: int) -> None:
    for one in list(site.state.reservations.values())[: how % 2]:
        site.command(c.CancelReservation(driver_id=one.driver_id, reservation_id=one.reservation_id))


def _await_reservation(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """Until the next one begins, or a little later."""
    planned = [one.from_ms for one in site.state.reservations.values() if one.from_ms > site.at_ms]
    if planned:
        site.advance(min(planned) - site.at_ms + (0, 0, 5_000, 910_000)[how % 4])
        site.allocate()


def _let_pass(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """Nobody comes for what was offered, once or twice."""
    for _ in range(1 + how % 2):
        offers = [one.offer for one in site.state.waiting.values() if one.offer is not None]
        if offers:
            ends_ms = min(site.state.sessions[offer].expires_ms for offer in offers)
            site.advance(max(0, ends_ms - site.at_ms) + 1_000)


def _end(site: Site, _cp_id: ChargePointId, how: int) -> None:
    session_id = SessionId(f"s-{site.requests - how % 6}")
    site.command(c.EndCharge(driver_id=DriverId(f"d-{how % 2}"), session_id=session_id))


def _plug(site: Site, cp_id: ChargePointId, how: int) -> None:
    cp = site.cps[cp_id]
    connector = cp.connectors[ConnectorNo(1 + how % 2)]
    if connector.plugged:
        cp.unplug(connector, site.at_ms)
    else:
        connector.plugged = True
        cp.say(c.ReportPlug(cp_id=cp_id, connector=connector.no, plugged=True))


def _full(site: Site, cp_id: ChargePointId, how: int) -> None:
    connector = site.cps[cp_id].connectors[ConnectorNo(1 + how % 2)]
    if connector.running is not None:
        site.cps[cp_id].end(connector, StopCause.VEHICLE_FULL, site.at_ms)


def _sample(site: Site, cp_id: ChargePointId, how: int) -> None:
    connector = site.cps[cp_id].connectors[ConnectorNo(1 + how % 2)]
    if connector.running is not None:
        site.cps[cp_id].say(
            c.ReportMeter(
                cp_id=cp_id,
                session_id=connector.running.session_id,
                meter_wh=WattHours(connector.register_wh),
                power_w=Watts(connector.draw_w(site.clock_ms)),
            )
        )


def _cut(site: Site, cp_id: ChargePointId, how: int) -> None:
    site.cut(cp_id)
    if how % 2:
        site.notice(cp_id)


def _notice(site: Site, cp_id: ChargePointId, _how: int) -> None:
    site.notice(cp_id)


def _connect(site: Site, cp_id: ChargePointId, how: int) -> None:
    site.connect(cp_id, LAGS_MS[how % len(LAGS_MS)])


def _monitor(site: Site, cp_id: ChargePointId, how: int) -> None:
    fence = site.monitors.get(cp_id)
    if fence is None:
        site.monitor_up(cp_id)
    elif how % 4 == 0:
        del site.monitors[cp_id]
        site.command(c.PeerGone(role=Role.MONITOR, entity=cp_id, fence=fence, cause="silent"))
    else:
        site.command(c.ReportFault(cp_id=cp_id, code="test") if how % 2 else c.ReportRecovery(cp_id=cp_id))


def _miss_monitors(site: Site, _cp_id: ChargePointId, _how: int) -> None:
    for cp in list(site.state.charge_points.values()):
        if cp.monitor.state is LinkState.AWAITED:
            site.command(c.MonitorMissing(cp_id=cp.cp_id))


def _operator(site: Site, cp_id: ChargePointId, how: int) -> None:
    whom = None if how % 3 == 0 or cp_id not in site.state.charge_points else cp_id
    site.command(c.StopChargePoints(cp_id=whom) if how % 2 else c.ResumeChargePoints(cp_id=whom))


def _limit(site: Site, cp_id: ChargePointId, how: int) -> None:
    site.command(c.LimitChargePoint(cp_id=cp_id, limit_w=(None, 0, 1_400, 3_000, 8_000, None)[how % 6]))


def _capacity(site: Site, _cp_id: ChargePointId, how: int) -> None:
    watts = (0, 2_000, 6_000, 16_000, 40_000)[how % 5]
    site.command(c.SetCapacity(node_id=_node(site, how), capacity_w=watts))


def _node(site: Site, how: int) -> NodeId:
    nodes = list(site.state.nodes)
    return nodes[how % len(nodes)]


def _node_lost(site: Site, _cp_id: ChargePointId, how: int) -> None:
    site.command(c.ReportNode(node_id=_node(site, how), ok=False, cause="test"))
    if how % 2:
        # At once, as Central's shell does it; otherwise whatever comes first.
        site.allocate()


def _node_silent(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """A node falls silent, or an operator says that it does not report any more."""
    if how % 2:
        site.command(c.ReportNode(node_id=_node(site, how // 2), ok=False, silent=True))
    else:
        site.command(c.UnwatchNode(node_id=_node(site, how // 2)))


def _node_back(site: Site, _cp_id: ChargePointId, how: int) -> None:
    site.command(c.ReportNode(node_id=_node(site, how), ok=True))


def _nodes_well(site: Site) -> None:
    for node_id, node in site.state.nodes.items():
        if node.health is Health.LOST:
            site.command(c.ReportNode(node_id=node_id, ok=True))


def _anywhere(site: Site, _cp_id: ChargePointId, how: int) -> None:
    site.requests += 1
    site.command(
        c.RequestCharge(
            session_id=SessionId(f"s-{site.requests}"),
            driver_id=DriverId(f"d-{how % 2}"),
            cp_id=c.ANYWHERE,
            connector=ConnectorNo(0),
            energy_wh=None,
            depart_by_ms=None,
            node_id=_node(site, how) if how % 3 == 0 else None,
            power_w=(None, 2_000, 50_000)[how % 3],
            wait=how % 4 > 1,
        )
    )


def _announce(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """One driver is on the way to more than he can drive to."""
    for _ in range(2 + how % 3):
        site.requests += 1
        site.command(
            c.RequestCharge(
                session_id=SessionId(f"s-{site.requests}"),
                driver_id=DriverId(f"d-{how % 5}"),
                cp_id=c.ANYWHERE,
                connector=ConnectorNo(0),
                energy_wh=None,
                depart_by_ms=None,
                on_the_way=True,
            )
        )


def _meter(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """A meter shows more, or less, than was configured, or nothing; sometimes something absurd."""
    node_id, watts = _node(site, how), (0, 500, 3_000, 1_000_000, -5, None, None)[how % 7]
    if watts is None:
        # It is silent; sometimes for good.
        site.measured_w.pop(node_id, None)
        if how % 7 == 6:
            site.command(c.ForgetBaseLoad(node_id=node_id))
    else:
        site.measured_w[node_id] = watts
        site.command(c.NoteBaseLoad(node_id=node_id, base_w=watts))


def _peak(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """A quarter of an hour had more power than any before, in this month or the next; sometimes it is absurd."""
    roots = [node_id for node_id, node in site.state.nodes.items() if node.parent is None]
    for node_id in roots:
        month, watts = ("2026-11", "2026-12")[how % 2], (300, 2_000, 5_000, 1_000_000)[how // 2 % 4]
        site.command(c.NotePeak(node_id=node_id, month=month, peak_w=watts))


def _plan(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """A plan for one node: nothing, a little, or more than there is."""
    target_w = (0, 1_500, 5_000, 1_000_000)[how % 4]
    node_id = _node(site, how)
    plan = Plan(made_ms=site.at_ms, starts_ms=(site.at_ms,), target_w={node_id: (target_w,)})
    site.command(c.AdoptPlan(root_id=root_of(site.state, node_id), plan=plan))


def _no_plan(site: Site, _cp_id: ChargePointId, _how: int) -> None:
    site.command(c.FailPlan(cause="test"))


def _rule(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """What each vehicle may have: nothing, less than its smallest current on the way up, a little, or what it likes."""
    mode, rule, ceiling_w = (
        (ChargingMode.PAUSE, Rule.GRID_HIGH, 0),
        (ChargingMode.SLOW, Rule.SOLAR_LOW, 1_200),
        (ChargingMode.SLOW, Rule.SOLAR_UNKNOWN, 5_000),
        (ChargingMode.FAST, Rule.SOLAR_HIGH_BATTERY_HIGH, 22_000),
    )[how % 4]
    looked_at = RuleInput(name="grid_percent", milli=how * 400, age_ms=0)
    site.command(c.Rule(ruling=Ruled(mode, rule, ceiling_w, wanted_w=CEILING_W[mode], inputs=(looked_at,))))


def _weather(site: Site, cp_id: ChargePointId, how: int) -> None:
    """An alert of some kind begins, somewhere or everywhere; or all that there are end, one by one."""
    kind = list(WeatherKind)[how % 4]
    whom = cp_id if how // 4 % 3 == 0 and cp_id in site.state.charge_points else None
    node_id = _node(site, how) if how // 4 % 3 == 1 else None
    if how % 5 < 2:
        site.command(c.ReportWeather(kind=kind, active=True, cp_id=whom, node_id=node_id, simulated=how % 2 > 0))
    else:
        _fine_weather(site)


def _fine_weather(site: Site) -> None:
    for alert in list(site.state.alerts.values()):
        over = c.ReportWeather(kind=alert.kind, active=False, cp_id=alert.cp_id, node_id=alert.node_id)
        site.command(over)
    site.command(c.Derate(derated=Derated(share=1_000, milli_c=20_000)))


def _heat(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """The limits fall in the heat, and rise again."""
    share = (1_000, 960, 700, 500, 100)[how % 5]
    site.command(c.Derate(derated=Derated(share=share, milli_c=40_000 + how, at_ms=Millis(site.at_ms))))


def _trial(site: Site, _cp_id: ChargePointId, how: int) -> None:
    """Lost nodes are reported well, and then a while passes in which vehicles show what is true."""
    _nodes_well(site)
    site.allocate()
    site.pump()
    site.advance((1_000, 31_000)[how % 2])
    for cp_id in site.cps:
        site.sample(cp_id)
    site.pump()


def _broken(site: Site, cp_id: ChargePointId, _how: int) -> None:
    cp = site.cps[cp_id]
    cp.error = "broken"
    cp.end_all(StopCause.FAULT, site.at_ms)
    cp.say_status()


def _restart_engine(site: Site, cp_id: ChargePointId, how: int) -> None:
    site.cut(cp_id)
    if how % 3 == 0:
        site.cps[cp_id].lose_disk()
    else:
        site.cps[cp_id].end_all(StopCause.ENGINE_RESTART, site.at_ms)


def _disk(site: Site, _cp_id: ChargePointId, how: int) -> None:
    site.synced = how % 2 == 0
    if site.synced:
        site.sync()


def _restart_central(site: Site, _cp_id: ChargePointId, how: int) -> None:
    if how % 3 == 0:
        # Later, in the middle of a command.
        site.dies = how // 3
        return
    if how % 3 == 1:
        site.sync()
        site.command(c.StopCentral())
    site.crash(with_less(site.config, how) if site.may_change and how % 4 < 2 else None)


STEPS: tuple[Callable[[Site, ChargePointId, int], None], ...] = (
    *([_settle] * 4),
    *([_recover] * 16),
    *([_exchange] * 10),
    *([_up] * 4),
    *([_down] * 4),
    *([_short] * 12),
    *([_request] * 4),
    *([_plug] * 6),
    *([_connect] * 4),
    *([_allocate] * 4),
    *([_wait] * 8),
    *([_free] * 5),
    *([_reserve] * 5),
    *([_await_reservation] * 5),
    _leave,
    _cancel,
    *([_sample] * 4),
    *([_cut] * 5),
    *([_notice] * 2),
    *([_long] * 4),
    *([_end] * 2),
    *([_full] * 2),
    *([_lose_answer] * 3),
    *([_monitor] * 3),
    *([_capacity] * 3),
    *([_limit] * 2),
    *([_meter] * 2),
    _peak,
    *([_plan] * 2),
    _no_plan,
    _rule,
    *([_node_lost] * 4),
    *([_node_back] * 3),
    _node_silent,
    *([_trial] * 2),
    *([_anywhere] * 5),
    *([_disk] * 2),
    *([_restart_engine] * 2),
    *([_restart_central] * 2),
    _miss_monitors,
    _operator,
    _broken,
    *([_weather] * 3),
    *([_heat] * 2),
)
