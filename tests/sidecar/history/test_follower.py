"""The history follows Central: restarts, absences, another log, a database that is away, and the verified chain."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from evcharge.domain import events as e
from evcharge.ids import ChargePointId
from evcharge.net.answers import RequestRefused
from evcharge.sidecar.database import Database
from evcharge.sidecar.history import follower as module
from evcharge.sidecar.history.follower import Follower
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import PRAGMAS, Store
from protocol import messages as m
from tests.sidecar.conftest import HandClock
from tests.sidecar.history.support import KEY, LogLink, bodies_of, contents, fill, records_of
from tests.support.generated_logs import lived


async def soon(_seconds: float) -> None:
    await asyncio.sleep(0.001)


class Running:
    """A follower in a task."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.001)

    async def reaches(self, seq: int) -> None:
        await self.until(lambda: self.follower.position.seq == seq)


Make = Callable[..., Follower]


@pytest.fixture
def make(file: Path | None, database_url: str | None, calendar: Calendar) -> Make:
    def made(link: LogLink | None, **more: object) -> Follower:
        def opened() -> Database:
            return Database.file(file, PRAGMAS) if file is not None else Database.open(str(database_url))

        return Follower(
            opened, link, calendar=calendar, clock=HandClock(), file=file, pause=soon, flush_records=25, **more
        )  # type: ignore[arg-type]

    return made


@asynccontextmanager
async def running(follower: Follower) -> AsyncIterator[Running]:
    task = asyncio.create_task(follower.run())
    try:
        yield Running(follower)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def held(make: Make) -> dict[str, list[tuple[object, ...]]]:
    """The tables as they are on disk."""
    database = make(None)._open_database()
    try:
        return await contents(database, frozenset())
    finally:
        await database.close()


async def test_it_follows_and_goes_on_where_it_was(make: Make, file: Path | None) -> None:
    bodies = [KEY, *lived(8).log]
    link = LogLink(bodies[:90])
    async with running(make(link)) as one:
        await one.reaches(90)
        link.bodies = bodies[:95]
        await one.reaches(95)
        assert one.follower.problem is None
    if file is not None:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    link = LogLink(bodies)
    async with running(make(link)) as one:
        await one.reaches(len(bodies))
        assert link.begins[0] == 94, "the last record that it has is looked at again"
    pieces = await held(make)
    database = make(None)._open_database()
    store = Store(database, time_zone="UTC")
    await store.drop()
    await store.prepare()
    await fill(store, Calendar("UTC"), records_of(bodies), len(bodies))
    whole = await contents(database, frozenset())
    await database.close()
    # The position holds the chain, in which one has been compared and the other not.
    pieces.pop("history_position"), whole.pop("history_position")
    assert pieces == whole


async def test_a_channel_that_breaks_loses_and_repeats_nothing(make: Make) -> None:
    bodies = [KEY, *lived(13).log]
    link = LogLink(bodies, frame=3)
    async with running(make(link)) as one:
        for _ in range(20):
            await one.until(lambda: link.asked > 2)
            link.up, link.asked = False, 0
            await asyncio.sleep(0)
            link.reconnect()
        await one.reaches(len(bodies))
    rows = await held(make)
    seqs = [row[0] for row in (*rows["history_decisions"], *rows["history_states"])]
    assert len(seqs) == len(set(seqs))


async def test_what_was_read_is_what_was_signed(make: Make) -> None:
    bodies = [KEY, *lived(8).log]
    link = LogLink(bodies)
    async with running(make(link)) as one:
        await one.until(lambda: one.follower.verdict().ok is True)
        await one.reaches(len(bodies))
        await one.follower.judge()
        assert one.follower.verdict().seq == len(bodies)
    link.bodies = [*bodies, *bodies_of((1, e.CentralStopped()))]
    async with running(make(link)) as one:
        await one.reaches(len(bodies) + 1)
        await one.follower.judge()
        assert one.follower.verdict().seq == len(bodies) + 1, "the chain goes on where it was"


async def test_a_log_that_was_changed_is_found_out(make: Make) -> None:
    bodies = [KEY, *lived(8).log]
    link = LogLink(bodies)
    async with running(make(link)) as one:
        await one.reaches(len(bodies))
    # Another record in the middle, long after it was read: what is signed from now on is of another tree.
    changed = [*bodies, *bodies_of((1, e.CentralStopped()))]
    changed[20] = bodies_of((1, e.CentralStopped()))[0]
    with capture_logs() as logs:
        async with running(make(LogLink(changed))) as one:
            await one.reaches(len(changed))
            await one.follower.judge()
            assert one.follower.verdict().ok is False
    assert any(each["event"] == "history.chain_broken" for each in logs)


@pytest.mark.parametrize("other", ["shorter", "different"])
async def test_another_log_is_never_mixed_in(make: Make, other: str) -> None:
    bodies = [KEY, *lived(8).log]
    link = LogLink(bodies)
    async with running(make(link)) as one:
        await one.reaches(len(bodies))
    before = await held(make)
    strange = bodies[:-3] if other == "shorter" else [KEY, *lived(9).log, *bodies]
    link = LogLink(strange)
    with capture_logs() as logs:
        async with running(make(link)) as one:
            await one.until(lambda: one.follower.problem is not None and "rebuild" in one.follower.problem)
            asked = link.asked
            link.bodies = bodies
            await asyncio.sleep(0.01)
            assert link.asked == asked, "it has stopped"
            assert one.follower.store is not None, "what there is can be asked"
            # What was read was signed; that says nothing good of the log that is there.
            await one.follower.judge()
            verdict = one.follower.verdict()
            assert (verdict.ok, verdict.sentence) == (False, one.follower.problem)
            # Central comes back with the log that it had.
            link.reconnect()
            await one.until(lambda: one.follower.problem is None)
            assert one.follower.verdict().ok is not False
    assert sum(each["event"] == "history.other_log" for each in logs) == 1
    assert await held(make) == before


async def test_a_log_that_loses_its_end_while_followed(make: Make) -> None:
    bodies = [KEY, *lived(8).log]
    link = LogLink(bodies)
    async with running(make(link)) as one:
        await one.reaches(len(bodies))
        link.bodies = bodies[:-5]
        await one.until(lambda: one.follower.problem is not None)
        assert "lost its end" in str(one.follower.problem)
        assert one.follower.position.seq == len(bodies)


async def test_an_archived_beginning_is_said(make: Make) -> None:
    bodies = [KEY, *lived(8).log]
    link = LogLink(bodies, first=60)
    with capture_logs() as logs:
        async with running(make(link)) as one:
            await one.reaches(len(bodies))
            assert (one.follower.position.first_seq, one.follower.position.missing) == (60, 0)
            assert one.follower.verdict().ok is None
    assert any(each["event"] == "history.archived" for each in logs)
    # Archived further than it had come meanwhile.
    link = LogLink([*bodies, *bodies_of(*[(1, e.CentralStopped())] * 9)], first=len(bodies) + 5)
    async with running(make(link)) as one:
        await one.reaches(len(bodies) + 9)
        assert (one.follower.position.first_seq, one.follower.position.missing) == (60, 4)


async def test_without_central_what_there_is_can_be_asked(make: Make) -> None:
    async with running(make(None)) as one:
        await one.until(lambda: one.follower.store is not None and one.follower.problem is not None)
        assert one.follower.problem == "This sidecar has no Central to follow."


async def test_it_says_how_far_it_is(make: Make) -> None:
    clock = HandClock()
    bodies = [KEY, *bodies_of(*[(n, e.HoldLifted(cp_id=ChargePointId("x"), hold="FAULT")) for n in range(4_000)])]  # type: ignore[arg-type]
    follower = make(LogLink(bodies, frame=500))
    follower._clock = clock

    async def pass_time(_seconds: float) -> None:
        await soon(0)

    told: list[dict[str, object]] = []
    with capture_logs() as logs:
        async with running(follower) as one:
            while one.follower.position.seq < len(bodies):
                clock.advance(6)
                await asyncio.sleep(0)
    told = [dict(each) for each in logs if each["event"] == "history.catching_up"]
    assert told and all(0 < float(str(each["percent"])) < 100 for each in told)


# --- a file that is in trouble ----------------------------------------------------------------------------------------


async def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path, calendar: Calendar) -> None:
    file = tmp_path / "history.sqlite"
    file.write_bytes(b"this is no database at all, whatever its name says" * 100)
    bodies = [KEY, *lived(3).log]
    follower = Follower(
        lambda: Database.file(file, PRAGMAS),
        LogLink(bodies),
        calendar=calendar,
        clock=HandClock(),
        file=file,
        pause=soon,
    )
    with capture_logs() as logs:
        async with running(follower) as one:
            await one.reaches(len(bodies))
    assert (tmp_path / "history.sqlite.broken").read_bytes().startswith(b"this is no database")
    assert any(each["event"] == "history.put_aside" for each in logs)


async def test_a_file_that_vanishes_is_made_anew(tmp_path: Path, calendar: Calendar) -> None:
    file = tmp_path / "history.sqlite"
    bodies = [KEY, *lived(3).log]
    link = LogLink(bodies[:30])
    follower = Follower(
        lambda: Database.file(file, PRAGMAS), link, calendar=calendar, clock=HandClock(), file=file, pause=soon
    )
    async with running(follower) as one:
        await one.reaches(30)
        for path in tmp_path.iterdir():
            path.unlink()
        link.bodies = bodies
        await one.reaches(len(bodies))
        await one.until(lambda: one.follower.problem is None)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT seq, first_seq FROM history_position").fetchone() == (len(bodies), 1)


async def test_a_folder_that_cannot_be_written_is_waited_out(tmp_path: Path, calendar: Calendar) -> None:
    folder = tmp_path / "away"
    file = folder / "history.sqlite"
    bodies = [KEY, *lived(3).log]
    follower = Follower(
        lambda: Database.file(file, PRAGMAS),
        LogLink(bodies),
        calendar=calendar,
        clock=HandClock(),
        file=file,
        pause=soon,
    )
    with capture_logs() as logs:
        async with running(follower) as one:
            await one.until(lambda: "tried again" in str(one.follower.problem))
            assert one.follower.store is None
            assert str(folder) not in str(one.follower.problem), "viewers read it too"
            await soon(0)
            folder.mkdir()
            await one.reaches(len(bodies))
            assert one.follower.problem is None
    assert sum(each["event"] == "history.database_failed" for each in logs) == 1, "once, not with each attempt"


async def test_a_locked_file_is_waited_out(tmp_path: Path, calendar: Calendar, monkeypatch: pytest.MonkeyPatch) -> None:
    from evcharge.sidecar import database as database_module

    monkeypatch.setattr(database_module, "BUSY_S", 0.01)
    file = tmp_path / "history.sqlite"
    bodies = [KEY, *lived(3).log]
    link = LogLink(bodies[:30])
    follower = Follower(
        lambda: Database.file(file, PRAGMAS), link, calendar=calendar, clock=HandClock(), file=file, pause=soon
    )
    async with running(follower) as one:
        await one.reaches(30)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            link.bodies = bodies
            await one.until(lambda: "tried again" in str(one.follower.problem))
            other.execute("ROLLBACK")
        await one.reaches(len(bodies))
    assert module.RETRY_S >= 1


async def test_a_memory_that_cannot_be_read_is_put_aside(tmp_path: Path, calendar: Calendar) -> None:
    """One bad cell of a table is a history's trouble, and never the sidecar's."""
    file = tmp_path / "history.sqlite"
    bodies = [KEY, *lived(3).log]

    def made() -> Follower:
        return Follower(
            lambda: Database.file(file, PRAGMAS),
            LogLink(bodies),
            calendar=calendar,
            clock=HandClock(),
            file=file,
            pause=soon,
        )

    async with running(made()) as one:
        await one.reaches(len(bodies))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE history_position SET site = x'c1'")
    with capture_logs() as logs:
        async with running(made()) as one:
            await one.until(lambda: (tmp_path / "history.sqlite.broken").exists())
            await one.reaches(len(bodies))
            await one.until(lambda: one.follower.problem is None)
    assert any(each["event"] == "history.put_aside" for each in logs)


async def test_a_central_that_cannot_answer_is_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [KEY, *lived(3).log]
    link = LogLink(bodies[:30])
    answers = link.ask

    async def damaged(message: m.Message, timeout_s: float = 1.0) -> m.Reply:
        if isinstance(message, m.Follow):
            await asyncio.sleep(0)
            raise RequestRefused("log_unreadable", "record 31 cannot be read.", None)
        return await answers(message, timeout_s)

    with capture_logs() as logs:
        async with running(make(link)) as one:
            await one.reaches(30)
            monkeypatch.setattr(link, "ask", damaged)
            await one.until(lambda: "record 31 cannot be read" in str(one.follower.problem))
            assert one.follower.store is not None, "what there is can be asked"
            monkeypatch.setattr(link, "ask", answers)
            link.bodies = bodies
            await one.reaches(len(bodies))
            assert one.follower.problem is None
    assert sum(each["event"] == "history.unanswered" for each in logs) == 1, "once, not with each attempt"
