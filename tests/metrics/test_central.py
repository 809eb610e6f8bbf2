"""What Central tells: the declared metrics, and values that are those of the site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from evcharge.central import metric_table
from evcharge.central import survey as surveying
from evcharge.central.followers import MOST, SILENT_S, Followers
from evcharge.central.survey import survey
from evcharge.domain import failover
from evcharge.domain.headroom import worst_case_w
from evcharge.domain.state import shown_state
from evcharge.domain.words import Shown
from evcharge.ids import ConnectorNo
from evcharge.net import exposition
from evcharge.net.client import RequestRefused
from evcharge.net.exposition import Address
from evcharge.net.metrics import COMMON
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import RefuseCode
from tests.metrics.support import LIMIT_S, Told, check_metrics, get
from tests.support.central import Site, until
from tests.support.clock import ManualClock

SITE = """
[substations.north]
capacity_kw = 30
backup = ["south"]
charge_points = ["CP-1", "CP-3"]

[substations.south]
capacity_kw = 15
charge_points = ["CP-2"]
"""


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what a busy machine says late: it is waited for."""
    monkeypatch.setattr(exposition, "FRESH_S", 0.0)
    monkeypatch.setattr("evcharge.net.metrics.PATIENCE_S", LIMIT_S)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    async with Site(tmp_path, site_file=path, metrics=Address("127.0.0.1", 0)) as running:
        yield running


async def scrape(site: Site) -> Told:
    """As Prometheus does it."""
    return Told(await asyncio.to_thread(get, f"http://{site.central.metrics_address}/metrics"))


async def test_every_metric_is_as_declared_and_promtool_finds_no_fault(site: Site) -> None:
    empty = await scrape(site)
    assert empty.differs([*metric_table.TABLE, *COMMON]) == {}
    check_metrics(empty.text)
    await site.charging()
    full = await scrape(site)
    assert full.differs([*metric_table.TABLE, *COMMON]) == {}
    check_metrics(full.text)


async def test_power_is_told_by_substation_in_kw(site: Site) -> None:
    engine, _, session_id = await site.charging("CP-1")
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=100, power_w=7_360))
    await engine.heard()
    told = await scrape(site)
    assert told.by("current_load", "substation_id") == {"north": 7.36, "south": 0.0}
    assert told.by("total_capacity", "substation_id") == {"north": 30.0, "south": 15.0}
    session = site.session(session_id)
    assert session.lease.newest is not None
    offered_kw = session.lease.newest.limit_w / 1000
    assert told.by("evcharge_offered_kw", "substation_id") == {"north": offered_kw, "south": 0.0}
    assert told.value("evcharge_worst_case_kw", substation_id="north") >= offered_kw
    assert 0 < told.value("evcharge_fallback_kw", substation_id="north") < offered_kw
    assert told.value("evcharge_substation_sessions", substation_id="north") == 1


async def test_charge_points_are_counted_by_what_people_see(site: Site) -> None:
    await site.charging("CP-1")
    lost = await site.engine("CP-2")
    await site.engine("CP-3")
    await lost.leave()
    await until(lambda: site.shown("CP-2") is Shown.DISCONNECTED)
    told = await scrape(site)
    expected = dict.fromkeys((shown.value for shown in Shown), 0) | {"DISCONNECTED": 1, "SUPPLYING": 1, "ACTIVATED": 1}
    assert told.by("cp_state", "state") == expected
    assert (told.value("active_chargers"), told.value("sessions_active")) == (1, 1)
    assert told.by("evcharge_charge_points_lost", "part") == {"engine": 1, "monitor": 0}
    assert told.by("evcharge_peers_connected", "role") == {
        "engine": 2,
        "monitor": 0,
        "driver": 1,
        "operator": 0,
        "console": 0,
    }


async def test_energy_and_revenue_are_those_of_the_log_and_survive_a_restart(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    await driver.ask(m.EndCharge(id=0, session_id=session_id))
    engine.done(await engine.next(m.StopSupply))
    await engine.end(session_id, meter_wh=10_000, reason="driver_ended")
    await until(lambda: site.state.totals.tickets == 1)
    names = ("energy_kwh_total", "evcharge_tickets_total", "evcharge_sessions_started_total")
    before = await scrape(site)
    assert before.value("energy_kwh_total") == site.state.totals.energy_wh / 1000 > 0
    assert before.value("revenue_total", currency="EUR") == site.state.totals.amount_minor / 100 > 0
    assert before.value("charging_requests_total", outcome="authorized") == 1
    await site.restart()
    after = await scrape(site)
    assert [after.value(name) for name in names] == [before.value(name) for name in names]
    assert after.value("revenue_total", currency="EUR") == before.value("revenue_total", currency="EUR")
    assert after.value("evcharge_replay_records") > 0
    assert after.value("charging_requests_total", outcome="authorized") == 0, "of this process"


async def test_requests_by_outcome_and_where_central_chose(site: Site) -> None:
    await site.engine("CP-1", plugged=False)
    anna, ben = await site.driver("anna"), await site.driver("ben")
    await anna.ask(m.ChargeRequest(id=0, cp_id="*"))
    with pytest.raises(RequestRefused):
        await ben.ask(m.ChargeRequest(id=0, cp_id="*"))
    with pytest.raises(RequestRefused):
        await ben.ask(m.ChargeRequest(id=0, cp_id="CP-1"))
    await ben.ask(m.ChargeRequest(id=0, cp_id="CP-1", wait=True))
    site.central._engine.draining = True
    with pytest.raises(RequestRefused):
        await ben.ask(m.ChargeRequest(id=0, cp_id="CP-1"))
    told = await scrape(site)
    outcomes = told.by("charging_requests_total", "outcome")
    assert outcomes == {"authorized": 1, "refused": 2, "queued": 1, "turned_down": 1, "repeated": 0}
    assert told.value("routing_decisions_total", outcome="found", substation_id="north") == 1
    assert told.value("routing_decisions_total", outcome="refused", substation_id="") == 1
    assert sum(sample.value for sample in told.samples("evcharge_refusals_total")) == 2
    assert told.value("evcharge_waiting") == 1


async def test_a_lost_substation_and_its_charge_points_elsewhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "SWITCH_MS", 0)
    engine, _, session_id = await site.charging("CP-1")
    operator = await site.operator()
    await operator.ask(m.SubstationHealth(id=1, substation_id="north", ok=False))
    engine.done(await engine.next(m.SetLimit, lambda order: order.limit_w < 10_000))
    await until(lambda: site.cp("CP-1").node_id == "south")
    told = await scrape(site)
    assert told.by("evcharge_substation_up", "substation_id") == {"north": 0, "south": 1}
    assert told.by("failover_total", "substation_id") == {"north": 1, "south": 0}
    assert told.by("evcharge_substation_losses_total", "substation_id") == {"north": 1, "south": 0}
    # What may be drawn counts wherever it may be drawn from.
    worst = {node: watts / 1000 for node, watts in worst_case_w(site.state, site.central._engine.clock_ms()).items()}
    assert told.by("evcharge_worst_case_kw", "substation_id") == worst
    assert session_id in site.state.sessions


async def test_who_came_to_the_door(site: Site) -> None:
    await site.driver()
    made_up = msgspec.structs.replace(site.credential(Role.DRIVER, "ben"), username="driver-nobody")
    assert await site.join(made_up).refused() is RefuseCode.UNKNOWN
    told = await scrape(site)
    assert told.value("auth_decisions_total", status="granted") == 1
    assert told.value("auth_decisions_total", status=RefuseCode.UNKNOWN.name.lower()) >= 1
    outcomes = told.by("evcharge_handshakes_total", "outcome")
    assert outcomes["established"] == 1 and outcomes["refused"] >= 1


async def test_garbage_at_the_door_is_a_frame_error(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.central.port)
    writer.write(b"\xff" * 64)
    assert await reader.read() is not None
    writer.close()
    await until(lambda: site.central._admission.tally.frame_errors.total() == 1)
    told = await scrape(site)
    assert sum(sample.value for sample in told.samples("frame_errors_total")) == 1
    assert told.value("evcharge_handshakes_total", outcome="failed") == 1


async def test_what_goes_over_the_wire_is_counted(site: Site) -> None:
    driver = await site.driver()
    before = await scrape(site)
    for _ in range(5):
        await driver.heard()
    after = await scrape(site)

    def more(name: str, direction: str) -> float:
        return after.value(name, direction=direction) - before.value(name, direction=direction)

    assert more("evcharge_frames_total", "in") == more("evcharge_frames_total", "out") == 5
    assert more("evcharge_wire_bytes_total", "in") > 5 * 40 < more("evcharge_wire_bytes_total", "out")


async def test_a_peer_that_says_too_much_is_counted_once_until_it_is_read_again(site: Site) -> None:
    driver = await site.driver()
    for number in range(300):
        driver.send(m.List(id=number))
    await until(lambda: site.central._server.traffic.throttled == 1)

    def all_answered() -> bool:
        # Each look a second passes, in which fifty more are read.
        site.clock.advance(1)
        return len(driver.got(m.Reply)) == 300

    await until(all_answered)
    assert (await scrape(site)).value("throttled_total") == site.central._server.traffic.throttled >= 1


async def test_the_log_says_how_long_its_commits_took(site: Site) -> None:
    await site.charging()
    await site.settled()
    told = await scrape(site)
    journal = site.central._journal
    assert told.value("evcharge_log_sequence", what="durable") == journal.durable
    commits = told.value("evcharge_commit_records_count")
    assert commits == told.value("evcharge_commit_seconds_count") > 0
    # All that was given out since the start went through a commit; a commit may span two segments.
    assert told.value("evcharge_commit_records_sum") >= journal.durable - site.central._journal.written.batch.count
    assert told.value("evcharge_fsync_seconds_count") >= commits
    assert told.value("evcharge_log_written_bytes_total") > 0
    assert told.value("evcharge_log_bytes") == journal.segment_bytes
    assert told.value("evcharge_disk_free_bytes") > 0


async def test_a_disk_that_hangs_takes_no_metrics_with_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.net.metrics.PATIENCE_S", 0.05)
    driver, engine = await site.driver(), await site.engine()
    await site.settled()
    site.disk.hold()
    asking = asyncio.create_task(driver.ask(m.ChargeRequest(id=0, cp_id="CP-1")))
    await until(lambda: site.central._engine.backlog > 0)
    told = await scrape(site)
    assert told.value("evcharge_inbox_depth") > 0
    assert told.value("evcharge_log_sequence", what="given_out") > told.value("evcharge_log_sequence", what="durable")
    site.disk.release()
    await asking
    assert engine is not None


# --- looking at many --------------------------------------------------------------------------------------------------


async def test_a_survey_in_pieces_is_what_the_views_say(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "PIECE", 1)
    for cp_id, name in (("CP-1", "anna"), ("CP-2", "ben"), ("CP-3", "cy")):
        engine, _, session_id = await site.charging(cp_id, name)
        engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=100, power_w=2_000))
        await engine.heard()
    central = site.central
    found = await survey(site.state, central._telemetry, central._engine.clock_ms())
    assert {node: flow.load_w for node, flow in found.flows.items()} == central._telemetry.loads_w(site.state)
    assert {node: flow.worst_w for node, flow in found.flows.items()} == worst_case_w(
        site.state, central._engine.clock_ms()
    )
    assert {node: flow.sessions for node, flow in found.flows.items()} == {"north": 2, "south": 1}
    assert found.shown[shown_state(site.state, site.cp("CP-1"))] == 3
    assert found.running == 3


async def test_what_ends_during_a_survey_is_left_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "PIECE", 1)
    for cp_id, name in (("CP-1", "anna"), ("CP-2", "ben")):
        await site.charging(cp_id, name)
    looking = asyncio.create_task(survey(site.state, site.central._telemetry, 0))
    await asyncio.sleep(0)
    # As their tickets would do it, between two pieces.
    saved, site.state.sessions = site.state.sessions, {}
    connectors = [site.cp(cp_id).connectors[ConnectorNo(1)] for cp_id in ("CP-1", "CP-2")]
    held = [connector.session_id for connector in connectors]
    for connector in connectors:
        connector.session_id = None
    try:
        found = await looking
    finally:
        site.state.sessions = saved
        for connector, session_id in zip(connectors, held, strict=True):
            connector.session_id = session_id
    assert found.running == 1, "the one that was looked at before"


def test_followers_are_few_and_the_silent_are_forgotten() -> None:
    clock, durable = ManualClock(), 100
    followers = Followers(clock, lambda: durable)
    followers.note("sidecar", 40)
    assert followers.lag() == {"sidecar": 60}
    followers.note("sidecar", 100)
    assert followers.lag() == {"sidecar": 0}
    for number in range(2 * MOST):
        followers.note(f"exporter-{number}", 0)
    assert len(followers.lag()) == MOST
    clock.advance(SILENT_S + 1)
    assert followers.lag() == {}
    followers.note("another", 100)
    assert followers.lag() == {"another": 0}
