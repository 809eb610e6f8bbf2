"""A gateway whose Central is in the test's hand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sidecar.gateway.support import FakeDrivers, FakeLink, Http, served


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def drivers() -> FakeDrivers:
    return FakeDrivers()


@pytest.fixture
async def http(link: FakeLink, drivers: FakeDrivers) -> AsyncIterator[Http]:
    async with served(link, drivers) as made:
        yield made
