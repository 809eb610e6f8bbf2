"""What the log tells an operator about limits and rules, and readings that cannot be true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.central.test_cli import central_json, invoke
from tests.support.central import Site
from tests.support.clock import ManualClock

FILE = """
[substations.north]
capacity_kw = 40
base_kw = 10
charge_points = ["CP-1"]

[charge_points.CP-11]
phases = [2]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(FILE)
    return path


def said(logs: Any, event: str) -> list[str]:
    return [each["sentence"] for each in logs if each["event"] == event]


async def test_a_limit_that_beats_the_file_is_said_at_each_start(tmp_path: Path, path: Path) -> None:
    async with Site(tmp_path, site_file=path) as site:
        with capture_logs() as logs:
            await site.restart()
        assert said(logs, "capacity.kept") == []
        operator = await site.operator()
        await operator.ask(m.SetCapacity(id=0, substation_id="north", capacity_w=12_000))
        for _ in range(2):
            with capture_logs() as logs:
                await site.restart()
            assert said(logs, "capacity.kept") == [
                "north has 12 kW, as set_capacity said, and not the 40 kW that are configured; another "
                "set_capacity changes it, or another configured capacity."
            ]
        path.write_text(FILE.replace("40", "41"))
        with capture_logs() as logs:
            await site.restart()
        assert said(logs, "capacity.kept") == [] and site.state.nodes["north"].capacity_w == 41_000  # type: ignore[index]


async def test_a_limit_below_the_base_load_is_taken_and_said(tmp_path: Path, path: Path) -> None:
    async with Site(tmp_path, site_file=path) as site:
        operator = await site.operator()
        with capture_logs() as logs:
            for capacity_w in (10_000, 9_999):
                await operator.ask(m.SetCapacity(id=0, substation_id="north", capacity_w=capacity_w))
        (sentence,) = said(logs, "capacity.below_base_load")
        assert sentence.startswith("north is given 10 kW, and what else draws there may take 10 kW: no vehicle")
        assert site.state.nodes["north"].capacity_w == 9_999  # type: ignore[index]
        with capture_logs() as logs:
            await operator.ask(m.SensorReading(id=0, name="base_w", substation_id="north", value=20_000.0))
            await operator.ask(m.SetCapacity(id=0, substation_id="north", capacity_w=19_999))
        assert len(said(logs, "capacity.below_base_load")) == 1, "a meter shows more than the file says"
        with capture_logs() as logs, pytest.raises(RequestRefused):
            await operator.ask(m.SetCapacity(id=0, substation_id="north", capacity_w=-1))
        assert said(logs, "capacity.below_base_load") == [], "it is refused"


@pytest.mark.parametrize(("name", "most"), [("grid_percent", 200.0), ("battery_percent", 100.0), ("solar_w", 1e8)])
async def test_a_reading_that_the_rules_do_not_believe_is_refused_and_counts_as_none(
    name: str, most: float, site: Site
) -> None:
    operator = await site.operator()
    await operator.ask(m.SensorReading(id=0, name=name, value=most))  # type: ignore[arg-type]
    with pytest.raises(RequestRefused, match=f"The reading {name} cannot be true; it was not used."):
        await operator.ask(m.SensorReading(id=0, name=name, value=most * 1.01))  # type: ignore[arg-type]
    found = (await operator.ask(m.Query(id=0, what="optimization"))).optimization
    assert found is not None
    short = name.partition("_")[0]
    # A battery above 100 % is not heard at all; what is above what a sensor may say, but is none, is worth nothing.
    assert found.fault.get(short) == (None if name == "battery_percent" else "absurd")


async def test_who_wins_when_the_file_has_rules_and_there_is_another_policy(tmp_path: Path, path: Path) -> None:
    path.write_text(FILE + "[energy]\nrules = true\n")
    for policy, times in (("llf", 1), ("rules", 0)):
        with capture_logs() as logs:
            async with Site(tmp_path / policy, clock=ManualClock(), site_file=path, policy=policy) as site:
                assert site.state.site.rules
        sentences = said(logs, "rules.limit")
        assert len(sentences) == times
        assert all(each.endswith(f"what it leaves is shared by --policy {policy}.") for each in sentences)


def test_the_operator_reads_of_a_charge_point_that_stands_nowhere(tmp_path: Path, path: Path) -> None:
    """The start fails for another reason, later."""
    code, text = invoke(
        "--credentials", central_json(tmp_path), "--data-dir", tmp_path / "data", "--site", path, "--host", "192.0.2.1"
    )
    assert code == 1 and "site.doubt" in text
    assert f"the site file {path}, line 7: [charge_points.CP-11] is named by no charge_points" in text
    assert "did you mean `CP-1`?" in text


async def test_loss_and_return_of_a_substation_are_said_once(tmp_path: Path, path: Path) -> None:
    async with Site(tmp_path, site_file=path) as site:
        operator = await site.operator()
        with capture_logs() as logs:
            for ok in (True, False, False, True, True):
                await operator.ask(m.SubstationHealth(id=0, substation_id="north", ok=ok))
            await operator.ask(m.Unwatch(id=0, substation_id="north", what="health"))
            await operator.ask(m.Unwatch(id=0, substation_id="north", what="health"))
        (lost,) = said(logs, "substation.lost")
        assert lost == "north is lost (reported), until it is reported well."
        assert [each["log_level"] for each in logs if each["event"] == "substation.lost"] == ["warning"]
        assert len(said(logs, "substation.on_trial")) == 1
        assert said(logs, "substation.unwatched") == ["north reports its health no more, and silence is no loss."]
        with capture_logs() as logs:
            await operator.ask(m.SubstationHealth(id=0, substation_id="north", ok=False))
            await operator.ask(m.Unwatch(id=0, substation_id="north", what="health"))
        (sentence,) = said(logs, "substation.unwatched")
        assert sentence.endswith("; it stays lost until it is reported well.")
        with capture_logs() as logs:
            await operator.ask(m.SensorReading(id=0, name="base_w", substation_id="north", value=11_000.0))
            await operator.ask(m.SensorReading(id=0, name="base_w", substation_id="north", value=9_000.0))
            await operator.ask(m.Unwatch(id=0, substation_id="north", what="base_w"))
        assert len(said(logs, "base_load.forgotten")) == 1


async def test_the_base_load_that_counts_is_shown(tmp_path: Path, path: Path) -> None:
    """Configured, measured, or remembered of a meter that is silent: what limits the chargers now."""
    async with Site(tmp_path, site_file=path) as site:
        operator = await site.operator()

        async def shown() -> int:
            reply = await operator.ask(m.Query(id=0, what="substations"))
            (row,) = [row for row in reply.substations if row.substation_id == "north"]
            return int(row.base_w)

        assert await shown() == 10_000
        await operator.ask(m.SensorReading(id=0, name="base_w", substation_id="north", value=20_000.0))
        assert await shown() == 20_000
        await site.restart()
        operator = await site.operator()
        assert await shown() == 21_000, "remembered, and a few per cent more"
