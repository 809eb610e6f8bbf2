"""What the demo reads from a log that is being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evcharge.audit.files import OsFiles
from evcharge.audit.journal import Journal
from evcharge.central.recall import recall
from evcharge.demo.story import Story
from evcharge.domain.commands import AdoptPlan
from evcharge.domain.words import LeftCause
from evcharge.energy.model import Plan, Policy
from evcharge.ids import SessionId
from tests.support.in_line import leaves, offered
from tests.support.scenario import (
    BEN,
    MAIN,
    OTHER,
    Scenario,
    charging,
    connected,
    plug,
    reallocate,
    request,
    site,
    started,
)

Write = Callable[[Scenario], None]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return recall(tmp_path, OsFiles(), origin="evcharge/test", entropy=lambda size: b"k" * size).journal


@pytest.fixture
def write(journal: Journal) -> Write:
    """Append what a scenario has logged since the last time."""
    written = 0

    def more(scenario: Scenario) -> None:
        nonlocal written
        for body in scenario.log[written:]:
            journal.append(body)
        written = len(scenario.log)
        journal.flush()

    return more


def crowded() -> Scenario:
    """One charges at a site that has no room for a second one."""
    return Scenario().given(site(2_000), *connected(), *connected(OTHER), *charging())


def test_who_waits_is_counted_until_he_is_served(tmp_path: Path, write: Write) -> None:
    story = Story(tmp_path / "log")
    scenario = offered()
    write(scenario)
    story.look()
    assert (story.waited, story.served) == (2, 0)
    write(scenario.given(plug(), reallocate(), started("s-2", 2_000)))
    story.look()
    assert (story.waited, story.served, story.left[LeftCause.SERVED]) == (2, 1, 1)
    story.look()
    assert story.served == 1, "nothing is read twice"


def test_reasons_are_the_logs_own_sentences_as_long_as_a_session_is_open(tmp_path: Path, write: Write) -> None:
    story = Story(tmp_path / "log")
    scenario = Scenario().given(site(6_250), *connected(), *charging())
    scenario.when(reallocate())
    write(scenario)
    story.look()
    told = story.told["s-1"]
    assert told.limit_w == scenario.state.sessions[SessionId("s-1")].lease.newest.limit_w  # type: ignore[union-attr]
    assert "main has 6.25 kW" in told.sentence
    assert " old" not in told.sentence and "because" not in told.sentence, "ages and what was rejected are in the log"
    write(leaves(scenario))
    story.look()
    assert story.told == {}
    assert story.limited_session() == "s-1"


def test_a_refusal_for_want_of_power_is_the_better_example(tmp_path: Path, write: Write) -> None:
    story = Story(tmp_path / "log")
    assert story.commands() == ()
    scenario = crowded().when(request("s-2", driver_id=BEN))
    write(scenario)
    story.look()
    assert story.refused_driver() == BEN, "his connector is in use"
    scenario.when(request("s-3", OTHER))
    write(scenario)
    story.look()
    assert story.refused_driver() == "anna"
    assert story.commands() == (f"evcharge-audit why {tmp_path / 'log'} anna",)


def test_plans_are_counted_and_the_newest_is_kept(tmp_path: Path, write: Write) -> None:
    story = Story(tmp_path / "log")
    scenario = Scenario().given(site(6_000, policy=Policy.PLAN), *connected())
    for gives_w in (4_000, 5_000):
        made = Plan(made_ms=scenario.at_ms, starts_ms=(scenario.at_ms,), target_w={"main": (gives_w,)})
        scenario.when(AdoptPlan(root_id=MAIN, plan=made))
        scenario.pass_time(1_000)
    write(scenario)
    story.look()
    assert story.plans == 2
    assert story.plan is not None
    assert story.plan.target_at("main", scenario.at_ms) == 5_000


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    story = Story(tmp_path / "log")
    (tmp_path / "log").mkdir()
    story.look()
    assert (story.plans, story.waited, story.plan) == (0, 0, None)
