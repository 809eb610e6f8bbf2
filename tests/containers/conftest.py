"""One engine and one image for all tests of containers, which say at the end how long each part took."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import Engine, EngineFailed, Image
from tests.support.shared import lacking

# For the first test, which waits for the base, the build and the stand-ins, seconds.
LIMIT_S = 1_800

_TIMES = pytest.StashKey[dict[str, float]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder have the mark; those that are the last of their file come last, also in random order."""
    here = Path(__file__).parent
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(here)]
    ours = [items[place] for place in places]
    for item in ours:
        item.add_marker(pytest.mark.containers)
        item.add_marker(pytest.mark.timeout(LIMIT_S))
    files = list(dict.fromkeys(item.path for item in ours))
    ours.sort(key=lambda item: (files.index(item.path), item.get_closest_marker("last") is not None))
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Iterator[Engine]:
    """A running engine with the base image."""
    try:
        with Engine() as running:
            running.base()
            pytestconfig.stash[_TIMES] = running.times
            yield running
    except EngineFailed as error:
        lacking(str(error))


@pytest.fixture(scope="session")
def image(engine: Engine) -> Image:
    """The image of this checkout; one that cannot be built is a failure everywhere."""
    return engine.build()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How long the parts took."""
    times = config.stash.get(_TIMES, {})
    if times:
        terminalreporter.section("containers: how long the parts took")
        for part, took_s in times.items():
            terminalreporter.line(f"{took_s:7.1f} s  {part}")
