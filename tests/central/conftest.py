"""A running Central for each test, with pauses that only save work made short."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evcharge.central import allocation, deadlines, planning, registry, room, service
from tests.support.central import Site


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Central gathers, looks and asks again at once: nothing in these tests depends on how long that takes."""
    monkeypatch.setattr(allocation, "GATHER_S", 0.0)
    monkeypatch.setattr(planning, "LEAST_S", 0.01)
    monkeypatch.setattr(deadlines, "_MAX_SLEEP_S", 0.005)
    monkeypatch.setattr(registry, "RETRY_S", 0.005)
    monkeypatch.setattr(service, "FLUSH_S", 0.005)
    # A test says itself how much room there is.
    monkeypatch.setattr(room, "LOOK_S", 3_600.0)


@pytest.fixture
def renewing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every substation is looked at all the time. Has to stand before ``site``."""
    monkeypatch.setattr(allocation, "REGULAR_S", 0.005)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Central with one substation of 22 kW."""
    async with Site(tmp_path) as running:
        yield running
