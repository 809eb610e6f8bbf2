"""Ended sessions are remembered for as long as they could have lived, and no more of them than there is room for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from evcharge.sidecar.database import Database
from evcharge.sidecar.layout import LAYOUT
from evcharge.sidecar.login import ended as module
from evcharge.sidecar.login.ended import EndedSessions, ended_table
from tests.sidecar.login.conftest import LoginSite


@pytest.fixture
async def database(tmp_path: Path, database_url: str | None) -> AsyncIterator[Database]:
    made = Database.file(tmp_path / "x.sqlite") if database_url is None else Database.open(database_url)
    await made.create(LAYOUT)
    yield made
    await made.close()


async def stored(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set((await connection.execute(select(ended_table.c.id))).scalars())


async def test_until_their_end_and_for_the_next_start(database: Database) -> None:
    ended = EndedSessions(database)
    await ended.add("a", until_ms=100, now_ms=10)
    await ended.add("b", until_ms=200, now_ms=10)
    # Two requests that end the same one.
    await ended.add("b", until_ms=200, now_ms=10)
    assert [await EndedSessions(database).has(one, 99) for one in ("a", "b", "c")] == [True, True, False]
    await ended.add("c", until_ms=300, now_ms=100)
    assert await stored(database) == {"b", "c"}
    assert [await ended.has(one, 100) for one in ("a", "b", "c")] == [False, True, True]


async def test_there_is_room_for_so_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDED", 3)
    ended = EndedSessions(database)
    for number in range(5):
        await ended.add(str(number), until_ms=100 + number, now_ms=10)
    for one in (ended, EndedSessions(database)):
        # Those that end soonest go first.
        assert [await one.has(str(number), 10) for number in range(5)] == [False, False, True, True, True]


async def test_a_logout_counts_here_even_when_it_cannot_be_kept(
    site: LoginSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await site.login("anna", await site.add())
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 200

    def broken(_database: Database) -> None:
        raise OperationalError("no", {}, Exception("disk full"))

    with monkeypatch.context() as patched:
        patched.setattr(Database, "writing", broken)
        status, problem = await site.ask("POST", "/ui/logout", done.unsafe)
        assert (status, problem["code"]) == (503, "database")
    assert (await site.ask("GET", "/ui/me", done.headers))[0] == 401
