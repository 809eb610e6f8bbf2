"""The history's database: one transaction with its position, the same tables however it was filled, a new layout."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import text, update

from evcharge.sidecar.database import Database
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.course import Course
from evcharge.sidecar.history.fold import Misplaced
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import Store
from tests.sidecar.history.support import KEY, Book, batch_of, contents, fill, records_of
from tests.support.generated_logs import lived


async def test_any_cuts_with_restarts_give_the_tables_of_one_pass(store: Store, calendar: Calendar) -> None:
    for seed in (3, 8, 21):
        records = records_of([KEY, *lived(seed).log])
        await store.drop()
        await store.prepare()
        await fill(store, calendar, records, len(records))
        whole = await contents(store.database, frozenset())
        await store.drop()
        await store.prepare()
        await fill(store, calendar, records, random.Random(seed).randrange(3, 40))
        assert await contents(store.database, frozenset()) == whole
        assert len(whole["history_decisions"]) + len(whole["history_states"]) > 0


async def test_the_tables_are_what_the_fold_says(store: Store, calendar: Calendar) -> None:
    records = records_of([KEY, *lived(8).log])
    await fill(store, calendar, records, 50)
    position, memory = await store.load()
    course = Course(type(position)(), type(memory)(), calendar)
    course.take(batch_of(records))
    book = Book()
    book.apply(course.drain()[0])
    held = await contents(store.database)
    names = [column.name for column in t.sessions_table.columns]
    assert {row[0]: dict(zip(names, row, strict=True)) for row in held["history_sessions"]} == book.sessions
    names = [column.name for column in t.tickets_table.columns]
    assert {row[0]: dict(zip(names, row, strict=True)) for row in held["history_tickets"]} == book.tickets
    assert {row[:2]: row[2:] for row in held["history_points"]} == book.points
    assert {row[:2]: row[2:] for row in held["history_nodes"]} == book.nodes
    names = [column.name for column in t.days_table.columns][1:]
    assert {row[0]: dict(zip(names, row[1:], strict=True)) for row in held["history_days"]} == book.days


async def test_a_run_that_is_written_twice_changes_nothing(store: Store, calendar: Calendar) -> None:
    records = records_of([KEY, *lived(3).log])
    position, memory = await store.load()
    course = Course(position, memory, calendar)
    course.take(batch_of(records))
    drained = course.drain()
    await store.apply(*drained)
    before = await contents(store.database, frozenset())
    with pytest.raises(Misplaced):
        await store.apply(*drained)
    assert await contents(store.database, frozenset()) == before


async def test_a_run_that_fails_leaves_no_trace(store: Store, calendar: Calendar) -> None:
    records = records_of([KEY, *lived(3).log])
    await fill(store, calendar, records[:40], 40)
    before = await contents(store.database, frozenset())
    position, memory = await store.load()
    course = Course(position, memory, calendar)
    course.take(batch_of(records[39:]))
    changes, following, site = course.drain()
    # The last statement of all: what came before it in the transaction has to go as well.
    changes.closed.add(7)  # type: ignore[arg-type]
    changes.opened["x"] = None  # type: ignore[assignment]
    changes.days[None] = changes.days.popitem()[1]  # type: ignore[index]
    with pytest.raises(Exception):  # noqa: B017  # each database has its own
        await store.apply(changes, following, site)
    assert await contents(store.database, frozenset()) == before
    await fill(store, calendar, records, 30)
    assert (await store.position()).seq == len(records)


async def test_another_layout_or_time_zone_is_a_rebuild(store: Store, calendar: Calendar) -> None:
    assert await store.prepare() is None
    await fill(store, calendar, records_of([KEY, *lived(3).log]), 99)
    berlin = Store(store.database, time_zone="Europe/Berlin")
    assert await berlin.prepare() == "its days are those of UTC"
    assert (await berlin.position()).seq == 0
    async with store.database.writing() as connection:
        await connection.execute(update(t.position_table).values(schema=t.SCHEMA + 1))
        await connection.execute(text("CREATE TABLE history_of_another_version (x INTEGER)"))
        await connection.execute(text("CREATE TABLE something_else (x INTEGER)"))
    assert await berlin.prepare() == "it has the layout of another version"
    async with store.database.reading() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM something_else"))).scalar() == 0
        with pytest.raises(Exception, match="history_of_another_version"):
            await connection.execute(text("SELECT * FROM history_of_another_version"))


async def test_what_is_remembered_is_only_what_is_open(store: Store, calendar: Calendar) -> None:
    for seed in (5, 13):
        await store.drop()
        await store.prepare()
        day = lived(seed)
        await fill(store, calendar, records_of([KEY, *day.log]), 33)
        _, memory = await store.load()
        assert set(memory.sessions) == set(day.state.sessions)


def test_the_tables_have_a_metadata_of_their_own() -> None:
    from evcharge.sidecar.database import metadata

    assert not set(metadata.tables) & set(t.metadata.tables)
    assert all(name.startswith(t.PREFIX) for name in t.metadata.tables)
    assert Database is not None
