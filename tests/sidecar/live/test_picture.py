"""What pages are told of the site: all of it once, then what changed, asked for as rarely as can be."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.net.answers import BadAnswer
from evcharge.net.clock import SystemClock
from evcharge.sidecar.live import hub as hub_module
from evcharge.sidecar.live import watch
from evcharge.sidecar.live.chain import Verdict
from evcharge.sidecar.live.hub import Live
from evcharge.sidecar.live.picture import Picture
from evcharge.sidecar.live.sse import Audience
from protocol import messages as m
from tests.sidecar.live.chains import checkpoint_of, log_of
from tests.sidecar.live.reading import Page, events_of
from tests.sidecar.live.served import served
from tests.sidecar.live.site import FakeSite, charge_point


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rhythm, ten times as fast."""
    for module in (watch, hub_module):
        monkeypatch.setattr(module, "LOOK_S", 0.1)
        monkeypatch.setattr(module, "LEAST_S", 0.02)
    monkeypatch.setattr(watch, "PARTS_S", 1.0)


def asked(site: FakeSite) -> Counter[str]:
    return Counter(one.what if isinstance(one, m.Query) else type(one).__name__ for one in site.asked)


async def site_event(page: Page, part: str) -> Any:
    while True:
        said = await page.next("site")
        if part in said:
            return said[part]


async def test_a_page_gets_the_whole_picture_and_then_what_changes() -> None:
    site = FakeSite()
    for number in range(7):
        site.put(charge_point(f"CP-{number}"))
    site.tables["substations"] = [
        m.SubstationView(substation_id="S", capacity_w=1, worst_case_w=0, load_w=0, sessions=0)
    ]
    async with served(site) as hub:
        page = await hub.open()
        hello = await page.next("hello")
        assert hello["link"]["state"] == "connected"
        assert (hello["version"], hello["speed"], hello["resumed"]) == ("1.2.3", 1.0, False)
        picture = await page.next("picture")
        assert [row["cp_id"] for row in picture["charge_points"]] == [f"CP-{number}" for number in range(7)]
        assert set(picture["charge_points"][0]) == {field.name for field in msgspec.structs.fields(m.ChargePointView)}
        connector = picture["charge_points"][0]["connectors"][0]
        assert set(connector) == {field.name for field in msgspec.structs.fields(m.ConnectorView)}
        assert picture["substations"][0]["offered_w"] == 0
        assert picture["optimization"]["mode"] == "NORMAL_CHARGING"
        assert picture["waiting"] == picture["incidents"] == []
        assert picture["chain"]["by"] == "central"

        site.put(charge_point("CP-3", driver="d-anna-0001", session_id="s-1", power_w=7_000))
        site.happen("supply_started", session_id="s-1")
        rows = (await page.next("points"))["rows"]
        assert [row["cp_id"] for row in rows] == ["CP-3"]
        assert rows[0]["connectors"][0]["driver"] == "d-anna-0001"

        site.put(charge_point("CP-3", driver="d-anna-0001", session_id="s-1", power_w=7_100, energy_wh=5))
        assert await page.next("meters") == {"rows": [["CP-3", 1, 7_100, 5]]}

        site.tables["totals"] = m.TotalsView(sessions=4)
        site.happen("ticket_issued", ticket={"driver_id": "d-anna-0001"})
        assert (await site_event(page, "totals"))["sessions"] == 4

        # One who comes later sees it as it is now.
        later = await hub.open("viewer")
        row = (await later.next("picture"))["charge_points"][3]
        assert (row["connectors"][0]["driver"], row["connectors"][0]["power_w"]) == ("*0001", 7_100)


async def test_pages_of_waiting_and_plans() -> None:
    site = FakeSite()
    site.tables["waiting"] = [
        m.WaitingView(waiting_id=f"s-{number}", state="WAITING", cp_id="CP-1", driver_id="d-anna-0001")
        for number in range(8)
    ]
    async with served(site) as hub:
        whole, masked = await hub.open(), await hub.open("viewer")
        rows = (await whole.next("picture"))["waiting"]
        assert [row["waiting_id"] for row in rows] == [f"s-{number}" for number in range(8)]
        assert rows[0]["driver_id"] == "d-anna-0001"
        assert (await masked.next("picture"))["waiting"][0]["driver_id"] == "*0001"


async def test_incidents_are_those_of_the_log_and_those_that_come() -> None:
    site = FakeSite()
    site.happen("incident_raised", code="log_rollback", detail="d-anna-0001")
    async with served(site) as hub:
        whole, masked = await hub.open(), await hub.open("viewer")
        for page, detail in ((whole, "d-anna-0001"), (masked, "")):
            picture = await page.next("picture")
            incident = {"seq": 1, "at_ms": 1_000, "code": "log_rollback", "detail": detail}
            assert picture["incidents"] == [incident]
        site.happen("incident_raised", code="disk_low", detail="")
        assert [one["code"] for one in await site_event(whole, "incidents")] == ["log_rollback", "disk_low"]


async def test_central_goes_and_comes_back() -> None:
    site = FakeSite()
    site.put(charge_point("CP-1"))
    site.happen("central_started")
    async with served(site) as hub:
        page = await hub.open()
        await page.next("picture")
        await page.until(1)
        site.down()
        assert (await page.next("link"))["state"] == "disconnected"
        # Who comes now gets the last picture with its age.
        late = await hub.open()
        assert (await late.next("hello"))["link"]["state"] == "disconnected"
        old = await late.next("picture")
        assert old["charge_points"][0]["cp_id"] == "CP-1"

        site.rows.clear()
        site._numbers.clear()
        site.put(charge_point("CP-2"))
        site.run = "run-2"
        site.happen("central_started")
        site.up()
        assert (await page.next("link"))["state"] == "connected"
        picture = await page.next("picture")
        assert [row["cp_id"] for row in picture["charge_points"]] == ["CP-2"]
        assert picture["at_ms"] >= old["at_ms"]
        await page.until(2)
        assert page.seqs == [1, 2]


async def test_a_sidecar_that_starts_before_central() -> None:
    site = FakeSite()
    site.down()
    site.put(charge_point("CP-1"))
    site.happen("central_started")
    async with served(site) as hub:
        page = await hub.open()
        assert (await page.next("hello"))["link"]["state"] == "disconnected"
        site.up()
        assert (await page.next("link"))["state"] == "connected"
        assert (await page.next("picture"))["charge_points"][0]["cp_id"] == "CP-1"
        await page.until(1)


async def test_nobody_looks_and_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "LINGER_S", 0.0)
    site = FakeSite()
    site.grow(3)
    async with served(site) as hub:
        for _ in range(20):
            await asyncio.sleep(0)
        assert site.asked == []
        page = await hub.open()
        await page.until(3)
        await page.next("picture")
        await hub.cut(page)
        # The question that is under way is the last one.
        site.grow(1)
        while hub.live._awake.is_set():
            await asyncio.sleep(0.01)
        count = len(site.asked)
        site.grow(5)
        site.put(charge_point("CP-1"))
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert len(site.asked) <= count + 1
        # And who comes back misses nothing.
        again = await hub.open(after=3)
        assert (await again.next("picture"))["charge_points"][0]["cp_id"] == "CP-1"
        await again.until(9)
        assert again.seqs == list(range(4, 10))


async def test_many_pages_are_one_question() -> None:
    site = FakeSite()
    site.put(charge_point("CP-1"))
    async with served(site) as hub:
        pages = [await hub.open(name=f"client-{number}") for number in range(50)]
        await asyncio.gather(*(page.next("picture") for page in pages))
        assert asked(site)["Changes"] <= 3
        assert asked(site)["plan"] == 1


async def test_what_central_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    site = FakeSite()
    site.put(charge_point("CP-1"))
    answer = site.ask

    async def older(message: m.Message, timeout_s: float = 1.0) -> m.Reply:
        if isinstance(message, m.Query) and message.what == "plan":
            raise BadAnswer("Central calls the message a mistake.")
        return await answer(message, timeout_s)

    monkeypatch.setattr(site, "ask", older)
    async with served(site) as hub:
        picture = await (await hub.open()).next("picture")
        assert picture["plan"] is None
        assert picture["totals"]["sessions"] == 0


async def test_the_badge_is_the_sidecars_own_word_where_there_is_one() -> None:
    site = FakeSite()
    records = log_of(6)
    site.log(*[record.body for record in records])
    site.checkpoint = checkpoint_of(records[:5])
    says: list[Verdict | None] = [None]
    async with served(site, chain=lambda: says[0]) as hub:
        page = await hub.open()
        chain = (await page.next("picture"))["chain"]
        assert (chain["by"], chain["ok"], chain["seq"], chain["signed_seq"]) == ("central", None, 6, 5)
        assert "nothing was compared here" in chain["sentence"]
        says[0] = Verdict(True, 5, "Records 1 to 5 were read and are those that Central signed.")
        chain = await page.next("chain")
        assert (chain["by"], chain["ok"], chain["seq"]) == ("sidecar", True, 5)
        says[0] = Verdict(False, 5, "No; run 'evcharge-audit verify'.")
        chain = await page.next("chain")
        assert (chain["by"], chain["ok"]) == ("sidecar", False)


async def test_a_log_that_central_itself_suspects() -> None:
    site = FakeSite()
    site.suspect = True
    async with served(site) as hub:
        chain = (await (await hub.open()).next("picture"))["chain"]
        assert chain["ok"] is False
        assert "evcharge-audit verify" in chain["sentence"]


async def test_a_failure_of_ours_ends_the_sidecar_and_not_only_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    site = FakeSite()
    live = Live(site, clock=SystemClock(), version="1")

    async def broken(*_given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(live.watch, "look", broken)
    live._awake.set()
    with pytest.raises(ExceptionGroup):
        await live.run()


CONNECTORS = st.builds(
    m.ConnectorView,
    connector=st.just(1),
    state=st.sampled_from(["AVAILABLE", "CHARGING"]),
    power_w=st.integers(0, 3),
    energy_wh=st.integers(0, 3),
    limit_w=st.sampled_from([None, 6_000]),
    why=st.sampled_from([None, "so"]),
)
ROWS = st.builds(
    m.ChargePointView,
    cp_id=st.sampled_from(["CP-1", "CP-2"]),
    state=st.sampled_from(["ACTIVATED", "SUPPLYING"]),
    last_seen_ms=st.integers(1, 3),
    connectors=st.lists(CONNECTORS, max_size=1),
)
METERS = st.builds(
    m.MeterView, st.sampled_from(["CP-1", "CP-2", "CP-9"]), st.integers(1, 2), st.integers(0, 9), st.just(7)
)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is no news."""
    return {name: value for name, value in row.items() if name != "last_seen_ms"}


@given(st.lists(st.tuples(st.lists(ROWS, max_size=3), st.lists(METERS, max_size=2), st.booleans()), max_size=12))
def test_who_applies_what_changed_has_the_whole(
    steps: list[tuple[list[m.ChargePointView], list[m.MeterView], bool]],
) -> None:
    """Points and meters, applied to an earlier picture, are the later picture."""
    picture = Picture()
    held: dict[str, Any] = {}
    for rows, meters, told in [*steps, ([], [], True)]:
        picture.update(rows, meters)
        if not told:
            continue
        for tell in (picture.take_points(), picture.take_meters()):
            if tell is None:
                continue
            (event,) = events_of(tell(Audience.WHOLE))
            for row in event.data["rows"]:
                if event.name == "points":
                    held[row["cp_id"]] = row
                    continue
                cp_id, number, power_w, energy_wh = row
                for connector in held[cp_id]["connectors"]:
                    if connector["connector"] == number:
                        connector.update(power_w=power_w, energy_wh=energy_wh)
    (event,) = events_of(picture.whole(None, 0, Audience.WHOLE))
    now = {row["cp_id"]: _plain(row) for row in event.data["charge_points"]}
    assert now == {cp_id: _plain(row) for cp_id, row in held.items()}
