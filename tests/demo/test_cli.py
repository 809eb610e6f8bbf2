"""What ``evcharge-demo`` prints and how it ends, with the day itself replaced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

import evcharge.cli.demo as command
from evcharge.cli.demo import cli
from evcharge.demo.day import Plan
from evcharge.demo.day import Result as Played
from evcharge.demo.live import Screen
from evcharge.demo.processes import ChildFailed
from evcharge.demo.site import SiteFailed
from evcharge.demo.tally import Outcome

FIGURES = Outcome(
    sessions=60,
    authorized=59,
    refused=1,
    started=58,
    expired=1,
    tickets=58,
    energy_wh_tickets=733_520,
    energy_wh_meters=733_520,
    amount_minor=22_006,
    peak_w=79_500,
    capacity_w=80_000,
    wall_s=151.2,
)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command; ``ends`` is how the day does. The plan that it was given is kept in ``plans``."""

    def run(*arguments: str, ends: Played | Exception) -> Result:
        async def play(plan: Plan, screen: Screen, stop: asyncio.Event) -> Played:
            plans.append(plan)
            assert plan.directory.is_dir()
            screen.say("on its way")
            if isinstance(ends, Exception):
                raise ends
            return ends

        monkeypatch.setattr(command, "play", play)
        return CliRunner().invoke(cli, arguments)

    return run


plans: list[Plan] = []


def test_people_get_sentences_and_a_temporary_directory_that_goes(demo: Callable[..., Result]) -> None:
    result = demo("--exit", ends=Played(outcome=FIGURES, finished=True))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "on its way",
        "60 sessions: 59 authorized, 1 refused, 58 started, 1 expired.",
        "58 tickets over 733.52 kWh and 220.06 EUR; the meters say 733.52 kWh.",
        "Peak 79.5 kW of 80.0 kW. 151 s of real time.",
    ]
    assert not plans[-1].directory.exists()
    assert len(plans[-1].day.stays) == 60


def test_people_are_told_of_plans_of_the_line_and_whom_to_ask_about(
    demo: Callable[..., Result], tmp_path: Path
) -> None:
    why = ("evcharge-audit why DIR/central/log s-1", "evcharge-audit why DIR/central/log driver-004")
    told = msgspec.structs.replace(FIGURES, plans=34, waited=28, served=25, why=why)
    kept = demo("--exit", "--data-dir", str(tmp_path), ends=Played(outcome=told, finished=True))
    assert kept.stdout.splitlines()[-5:] == [
        "34 plans were made.",
        "28 waited in line, 25 of them charged.",
        "Why was power limited, and why was somebody refused? The log tells:",
        *(f"  {command}" for command in why),
    ]
    gone = demo("--exit", ends=Played(outcome=told, finished=True))
    assert "--data-dir DIR keeps it" in gone.stdout
    kept = demo("--exit", "--json", "--data-dir", str(tmp_path), ends=Played(outcome=told, finished=True))
    assert json.loads(kept.stdout)["why"] == list(why)
    assert "why" not in json.loads(demo("--exit", "--json", ends=Played(outcome=told, finished=True)).stdout)


def test_a_tariff_and_surroundings_become_a_site_file(demo: Callable[..., Result], tmp_path: Path) -> None:
    tariff = tmp_path / "tariff.json"
    row = {"effective_start": "01-01", "effective_end": "12-31", "dow_mask": "ALL", "times": [0, 12]}
    tariff.write_text(json.dumps({"schedule": [{**row, "tariffs": [0.1, 0.2], "demand_charge": 1}]}))
    ends = Played(outcome=FIGURES, finished=True)
    assert demo("--tariff", str(tariff), "--surroundings", "--queue", "--policy", "sllf", ends=ends).exit_code == 0
    plan = plans[-1]
    assert 'from = "12:00", until = "24:00", price_per_kwh = 0.2' in plan.options.site_toml
    assert (plan.queue, plan.options.policy) == (True, "sllf")
    assert plan.around is not None and plan.around.base_w == 12_000
    assert plan.substations is None
    assert demo("--substations", "3", ends=ends).exit_code == 0
    assert plans[-1].substations is not None and plans[-1].substations.capacity_kw == 80
    assert "[substations.sub-3]" in plans[-1].options.site_toml
    assert demo(ends=ends).exit_code == 0
    assert (plans[-1].queue, plans[-1].around, plans[-1].options.site_toml) == (False, None, "")
    tariff.write_text("{}")
    bad = demo("--tariff", str(tariff), ends=ends)
    assert (bad.exit_code, "no tariff" in bad.stderr) == (2, True)


def test_programs_get_one_object_on_stdout_and_the_rest_elsewhere(demo: Callable[..., Result], tmp_path: Path) -> None:
    result = demo("--exit", "--json", "--data-dir", str(tmp_path), ends=Played(outcome=FIGURES, finished=True))
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(msgspec.json.encode(FIGURES))
    assert result.stderr.splitlines() == ["on its way"]
    assert plans[-1].directory == tmp_path


def test_figures_that_disagree_are_shown_and_fail(demo: Callable[..., Result]) -> None:
    wrong = msgspec.structs.replace(FIGURES, tickets=57, peak_w=80_001)
    result = demo("--exit", "--json", ends=Played(outcome=wrong, finished=True))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["tickets"] == 57
    assert "58 sessions started, but there are 57 tickets." in result.stderr
    assert "The charge points took 80001 W" in result.stderr


def test_a_day_that_was_stopped_fails_only_if_its_end_was_asked_for(demo: Callable[..., Result]) -> None:
    stopped = Played(outcome=FIGURES, finished=False)
    assert demo(ends=stopped).exit_code == 0
    result = demo("--exit", ends=stopped)
    assert result.exit_code == 1
    assert "Stopped before the day was over." in result.stderr


def test_the_log_that_is_gone_is_not_all_that_is_offered(demo: Callable[..., Result], tmp_path: Path) -> None:
    result = demo(ends=ChildFailed("central ended with exit code 1; the end of X:"))
    assert result.exit_code == 1
    assert "central ended with exit code 1" in result.stderr
    assert "--data-dir DIR keeps all logs" in result.stderr
    result = demo("--data-dir", str(tmp_path), ends=SiteFailed("port 1 cannot be used."))
    assert result.exit_code == 1
    assert "--data-dir" not in result.stderr


def test_a_directory_that_cannot_be_made_is_misuse(demo: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = demo("--data-dir", str(tmp_path / "file" / "data"), ends=Played(outcome=FIGURES, finished=True))
    assert result.exit_code == 2
    assert "Not a directory" in result.stderr
