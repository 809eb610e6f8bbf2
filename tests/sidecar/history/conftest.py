"""A history of generated days, and one that is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evcharge.sidecar.database import Database
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import PRAGMAS, Store


@pytest.fixture
def file(tmp_path: Path, database_url: str | None) -> Path | None:
    """Where the history is a file."""
    return tmp_path / "history.sqlite" if database_url is None else None


@pytest.fixture
async def store(file: Path | None, database_url: str | None) -> AsyncIterator[Store]:
    """An empty history."""
    if file is not None:
        file.touch(0o600)
        database = Database.file(file, PRAGMAS)
    else:
        assert database_url is not None
        database = Database.open(database_url)
    made = Store(database, time_zone="UTC")
    assert await made.prepare() == "there is none yet"
    yield made
    await database.close()


@pytest.fixture
def calendar() -> Calendar:
    return Calendar("UTC")
