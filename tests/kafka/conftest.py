"""A broker for all tests of a worker; one of its own for who kills it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.broker import Broker, BrokerFailed, lacks
from tests.support.shared import lacking

MakeBroker = Callable[..., Broker]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They start real processes."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.process)


def new_broker(folder: Path, **settings: Any) -> Broker:
    """Not started; the test is skipped where none can be."""
    missing = lacks()
    if missing is not None:
        lacking(f"Apache Kafka cannot be started: {missing}")
    try:
        return Broker(folder, **settings)
    except BrokerFailed as error:
        lacking(str(error))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker that nobody may kill; each test has topics and groups of its own."""
    made = new_broker(tmp_path_factory.mktemp("kafka"))
    try:
        asyncio.run(made.start())
        yield made
    finally:
        made.stop()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    """Makes brokers of a test's own, not started; all are gone after it."""
    made: list[Broker] = []

    def make(**settings: Any) -> Broker:
        made.append(new_broker(tmp_path / f"kafka-{len(made)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()
