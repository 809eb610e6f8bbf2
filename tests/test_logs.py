"""How much is logged, and that a change of it reaches every logger and costs those that say nothing nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from evcharge import logs

early = structlog.get_logger()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, number, handlers = logs.level(), root.level, list(root.handlers)
    yield
    logs._filter(level)
    root.setLevel(number)
    root.handlers[:] = handlers


def told(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """Event and level of each line since the last look."""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [(line["event"], line["level"]) for line in lines]


def test_a_change_reaches_loggers_that_were_bound_long_ago(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    bound = early.bind(peer="x")
    deeper = bound.bind(more=1)
    for logger in (early, bound, deeper):
        logger.debug("hidden")
    assert logs.set_level("debug") == "info"
    for logger in (early, bound, deeper):
        logger.debug("seen")
    assert told(capsys) == [("log.level", "info"), *[("seen", "debug")] * 3]
    logs.set_level("error", cause="a test")
    for logger in (early, bound, deeper):
        logger.warning("hidden")
        logger.error("seen")
    assert told(capsys) == [("log.level", "info"), *[("seen", "error")] * 3]


def test_what_is_below_the_level_is_a_method_that_does_nothing() -> None:
    """As structlog makes it for a level that never changes; so the hot path pays nothing for a level that can."""
    logs.configure("debug")
    bound = structlog.get_logger().bind()
    logs.set_level("warning")
    fixed = structlog.make_filtering_bound_logger("warning")
    for name in ("debug", "info", "warning", "error", "exception", "critical"):
        assert getattr(type(bound), name) is getattr(fixed, name)
    assert type(bound).debug is type(bound).info is not type(bound).warning


@given(moves=st.lists(st.sampled_from([-1, 1]), max_size=20))
def test_steps_stay_between_the_ends(moves: list[int]) -> None:
    logs._filter("info")
    place = logs.LEVELS.index("info")
    for move in moves:
        assert logs.step(move) == logs.LEVELS[place]
        place = min(max(place + move, 0), len(logs.LEVELS) - 1)
        assert logs.level() == logs.LEVELS[place]


def test_a_level_that_is_none() -> None:
    logs.configure("info")
    with pytest.raises(ValueError, match="'loud' is no level; there are error, warning, info, debug"):
        logs.set_level("loud")
    assert logs.level() == "info"


@pytest.mark.parametrize(
    ("level", "libraries"), [("debug", "WARNING"), ("info", "WARNING"), ("warning", "WARNING"), ("error", "ERROR")]
)
def test_libraries_never_say_their_details(level: str, libraries: str) -> None:
    """aiosqlite's name the values of every statement."""
    logs.configure("info")
    logs.set_level(level)
    assert logging.getLevelName(logging.getLogger("aiosqlite").getEffectiveLevel()) == libraries


EARLY = """
import os, signal
from evcharge.cli.common import configure_logging
configure_logging("info")
for number in (signal.SIGUSR1, signal.SIGUSR2):
    os.kill(os.getpid(), number)
print("alive")
"""


def test_a_signal_before_there_is_a_loop_ends_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
