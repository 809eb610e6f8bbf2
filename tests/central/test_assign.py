"""``assign``, ``why`` and single rows for a gateway, over the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evcharge.central.engine import Engine
from evcharge.domain import events as e
from evcharge.domain.refusals import RefusalReason
from evcharge.net.client import RequestRefused
from protocol import codec
from protocol import messages as m
from protocol.cipher import max_body
from protocol.frames import MAX_FRAME
from tests.support.central import Site, WirePeer

TWO = """
[substations.north]
capacity_kw = 10
charge_points = ["N-1"]
[substations.south]
capacity_kw = 20
charge_points = ["S-1"]
"""


async def assigned(peer: WirePeer, **fields: Any) -> m.AssignmentView:
    reply = await peer.ask(m.Assign(id=0, **fields))
    assert isinstance(reply.assignment, m.AssignmentView)
    return reply.assignment


def two(tmp_path: Path) -> Site:
    path = tmp_path / "site.toml"
    path.write_text(TWO)
    return Site(tmp_path, site_file=path)


async def test_where_somebody_would_be_sent_and_is(tmp_path: Path) -> None:
    async with two(tmp_path) as site:
        operator, driver = await site.operator(), await site.driver()
        await site.engine("N-1", plugged=False)
        await site.engine("S-1", plugged=False)
        before = len(site.history.logged)
        found = await assigned(operator)
        assert (found.substation_id, found.cp_id, found.connector) == ("south", "S-1", 1)
        assert found.reason.startswith("south: of those with room it is used least, ")
        (other,) = found.alternatives
        assert (other.substation_id, other.cp_id, other.connector) == ("north", "N-1", 1)
        assert other.utilisation is not None and found.utilisation < other.utilisation <= 100
        assert other.reason == f"It has room, {other.utilisation} % reserved with one more."
        assert found.headroom_w == 20_000 and found.power_w > 0
        await site.settled()
        assert [type(one.event) for one in site.history.logged[before:]] == [], "no session, no record"
        reply = await driver.ask(m.ChargeRequest(id=0, cp_id="*"))
        assert (reply.session.cp_id, reply.session.connector) == (found.cp_id, found.connector)
        found = await assigned(operator)
        assert found.substation_id == "north"
        assert found.reason.startswith("north: no other one has room, ")
        assert [(one.substation_id, one.reason) for one in found.alternatives] == [
            ("south", "No connector that is well is free there.")
        ]


async def test_all_full_says_when_to_come_again(site: Site) -> None:
    await site.charging()
    operator = await site.operator()
    with pytest.raises(RequestRefused) as no:
        await assigned(operator)
    assert (no.value.reason, no.value.retry_after_s) == ("busy", 60)
    await site.engine("CP-2", plugged=False)
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=1_500))
    with pytest.raises(RequestRefused) as no:
        await assigned(operator)
    assert (no.value.reason, no.value.retry_after_s) == ("no_capacity", 60)
    assert not site.logged(e.ChargeRefused), "a question leaves no record"


async def test_what_makes_no_sense_is_refused(site: Site) -> None:
    await site.engine(plugged=False)
    operator = await site.operator()
    for fields, reason in (
        ({"energy_wh": 0}, "energy_out_of_range"),
        ({"energy_wh": 2_000_000}, "energy_out_of_range"),
        ({"substation_id": "nowhere"}, "unknown_substation"),
    ):
        with pytest.raises(RequestRefused) as no:
            await assigned(operator, **fields)
        assert no.value.reason == reason
    assert (await assigned(operator, power_w=-5, energy_wh=1)).cp_id == "CP-1"


@pytest.mark.parametrize("reason", [RefusalReason.LOG_ROLLBACK, RefusalReason.DISK_LOW])
async def test_where_nothing_new_may_begin_nobody_is_sent(site: Site, reason: RefusalReason) -> None:
    await site.engine(plugged=False)
    operator = await site.operator()
    engine: Engine = site.central._engine
    engine.suspect, engine.low_on_disk = reason is RefusalReason.LOG_ROLLBACK, reason is RefusalReason.DISK_LOW
    with pytest.raises(RequestRefused) as no:
        await assigned(operator)
    assert no.value.reason == reason.value


def test_the_longest_assignment_fits() -> None:
    row = m.AlternativeView(substation_id="𠮷" * 64, reason="𠮷" * 200, cp_id="𠮷" * 64, connector=32, utilisation=100)
    view = m.AssignmentView(
        substation_id="𠮷" * 64,
        cp_id="𠮷" * 64,
        connector=32,
        utilisation=100,
        headroom_w=2**53,
        power_w=2**53,
        reason="𠮷" * 200,
        alternatives=[row] * 8,
    )
    assert len(codec.encode(m.Reply(re="𠮷" * 64, assignment=view))) <= max_body(MAX_FRAME)


# --- why, of anybody's session ----------------------------------------------------------------------------------------


async def test_an_operator_asks_why_of_any_session_and_a_driver_of_its_own(site: Site) -> None:
    _, driver, session_id = await site.charging()
    operator, ben = await site.operator(), await site.driver("ben")
    own = (await driver.ask(m.Why(id=0, session_id=session_id))).why
    assert (await operator.ask(m.Why(id=0, session_id=session_id))).why == own
    with pytest.raises(RequestRefused) as no:
        await ben.ask(m.Why(id=0, session_id=session_id))
    assert no.value.reason == "not_your_session"
    for unknown in (None, "s-nobody"):
        with pytest.raises(RequestRefused) as no:
            await operator.ask(m.Why(id=0, session_id=unknown))
        assert no.value.reason == "unknown_session"


# --- one row ------------------------------------------------------------------------------------------------------


async def test_one_row_is_the_one_of_the_table(site: Site) -> None:
    engine, driver, session_id = await site.charging()
    other, ben, bens = await site.charging("CP-2", "ben")
    engine.send(m.SupplyUpdate(session_id=session_id, meter_wh=4_000, power_w=10_500))
    await engine.heard()
    operator, console = await site.operator(), await site.console()
    for what, one, key in (
        ("charge_points", "CP-1", "cp_id"),
        ("sessions", session_id, "session_id"),
        ("substations", "site", "substation_id"),
    ):
        table = getattr(await operator.ask(m.Query(id=0, what=what)), what)
        (row,) = getattr(await operator.ask(m.Query(id=0, what=what, one=one)), what)
        (expected,) = [each for each in table if getattr(each, key) == one]
        assert row == expected
        assert getattr(await console.ask(m.Query(id=0, what=what, one=one)), what) == [row]
    await engine.end(session_id, meter_wh=5_000)
    await other.end(bens, meter_wh=6_000)
    for peer, ended in ((driver, session_id), (ben, bens)):
        ticket = await peer.next(m.Ticket)
        (row,) = (await operator.ask(m.Query(id=0, what="tickets", one=ticket.ticket_id))).tickets
        assert (row.ticket_id, row.session_id) == (ticket.ticket_id, ended)
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.Query(id=0, what="sessions", one=session_id))
    assert no.value.reason == "unknown_session"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("charge_points", "unknown_charge_point"),
        ("sessions", "unknown_session"),
        ("tickets", "unknown_ticket"),
        ("substations", "unknown_substation"),
    ],
)
async def test_a_row_that_there_is_not(site: Site, what: Any, reason: str) -> None:
    await site.charging()
    operator = await site.operator()
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.Query(id=0, what=what, one="nothing"))
    assert no.value.reason == reason and "nothing" in no.value.sentence
