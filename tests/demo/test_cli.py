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


def test_programs_get_one_object_on_stdout_and_the_rest_elsewhere(demo: Callable[..., Result], tmp_path: Path) -> None:
    result = demo("--exit", "--json", "--data-dir", str(tmp_path), ends=Played(outcome=FIGURES, finished=True))
    assert result.exit_code == 0
    assert json.loads(result.stdout) == msgspec.to_builtins(FIGURES)
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
