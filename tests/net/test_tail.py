"""Following the log: each record once and in order, whatever the channel does meanwhile."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.net import tail
from evcharge.net.answers import CentralAway, RequestRefused, Unanswered
from evcharge.net.tail import Batch, BrokenTail, Record, follow, read
from protocol import messages as m

STAMP = {"at_ms": 5, "clock_ms": 7, "actor": "driver:anna", "source": "127.0.0.1"}


def body(kind: str, version: int = 1, /, **stamp: Any) -> bytes:
    return msgspec.msgpack.encode((kind, version, stamp))


class FakeLog:
    """Answers ``follow`` from a list of bodies, so many bytes at once; ``troubles`` come first, one a question."""

    def __init__(self, bodies: list[bytes], *, frame: int = 200, first: int = 1) -> None:
        self.bodies = bodies
        self.frame = frame
        self.first = first
        self.troubles: list[Exception] = []
        self.asked: list[m.Follow] = []

    async def ask(self, message: m.Message, timeout_s: float = 5.0) -> m.Reply:
        assert isinstance(message, m.Follow)
        self.asked.append(message)
        if self.troubles:
            raise self.troubles.pop(0)
        rows: list[m.StoredView] = []
        left = self.frame
        seq = max(message.after_seq + 1, self.first)
        while seq <= len(self.bodies) and left > 0:
            whole = self.bodies[seq - 1]
            if not rows and (message.body_from or len(whole) > self.frame):
                piece = whole[message.body_from : message.body_from + self.frame]
                end = message.body_from + len(piece)
                following = end if end < len(whole) else None
                rows = [m.StoredView(seq=seq, durable=seq - 1, body=piece, next_from=following)]
                break
            left -= len(whole)
            if rows and left < 0:
                break
            rows.append(m.StoredView(seq=seq, durable=seq - 1, body=whole))
            seq += 1
        return m.Reply(re=0, tail=m.TailView(rows=rows, first_seq=self.first, newest_seq=len(self.bodies)))


async def at_once(_seconds: float) -> None:
    """A pause that is none."""


async def until_empty(log: FakeLog, after_seq: int = 0, **given: Any) -> list[Batch]:
    """Batches up to the first that brings nothing."""
    found = []
    async with aclosing(follow(log, after_seq, "test", pause=at_once, **given)) as following:
        async for batch in following:
            found.append(batch)
            if not batch.records and batch.newest_seq <= len(log.bodies):
                return found
    raise AssertionError("it ended")


@given(
    st.lists(st.binary(min_size=1, max_size=700), max_size=12),
    st.integers(1, 400),
    st.integers(0, 12),
    st.lists(st.booleans(), max_size=8),
)
async def test_each_record_once_and_in_order(bodies: list[bytes], frame: int, after: int, troubles: list[bool]) -> None:
    log = FakeLog(bodies, frame=frame)
    log.troubles = [CentralAway("away") if away else RequestRefused("overloaded", "busy") for away in troubles]
    whys: list[str] = []
    after = min(after, len(bodies))
    records = [record for batch in await until_empty(log, after, away=whys.append) for record in batch.records]
    assert [record.seq for record in records] == list(range(after + 1, len(bodies) + 1))
    assert [record.body for record in records] == bodies[after:]
    assert len(whys) == len(troubles)


async def test_what_was_archived_is_left_out() -> None:
    log = FakeLog([b"x"] * 9, first=5)
    batches = await until_empty(log, 0)
    assert [record.seq for record in batches[0].records] == [5, 6, 7, 8, 9]
    assert batches[0].first_seq == 5


@pytest.mark.parametrize(
    "rows",
    [
        [(2, None)],
        [(1, None), (3, None)],
        [(1, None), (1, None)],
    ],
)
async def test_a_gap_or_a_repetition_is_no_log(rows: list[tuple[int, int | None]]) -> None:
    class Broken(FakeLog):
        async def ask(self, message: m.Message, timeout_s: float = 5.0) -> m.Reply:
            stored = [m.StoredView(seq=seq, durable=0, body=b"x", next_from=piece) for seq, piece in rows]
            return m.Reply(re=0, tail=m.TailView(rows=stored, first_seq=1, newest_seq=9))

    with pytest.raises(BrokenTail):
        await until_empty(Broken([b"x"]))


@pytest.mark.parametrize("second", [(2, b"y", None), (1, b"", None), (1, b"y", 1), (1, b"y", tail.MAX_BODY + 2)])
async def test_pieces_that_do_not_fit_together(second: tuple[int, bytes, int | None]) -> None:
    class Broken(FakeLog):
        async def ask(self, message: m.Message, timeout_s: float = 5.0) -> m.Reply:
            assert isinstance(message, m.Follow)
            seq, piece, following = second if message.body_from else (1, b"x", 1)
            row = m.StoredView(seq=seq, durable=0, body=piece, next_from=following)
            return m.Reply(re=0, tail=m.TailView(rows=[row], first_seq=1, newest_seq=1))

    with pytest.raises(BrokenTail):
        await until_empty(Broken([b"x"]))


async def test_an_answer_that_is_late_is_asked_for_again() -> None:
    log = FakeLog([b"a", b"b"])
    log.troubles = [Unanswered("late")]
    await until_empty(log)
    assert [asked.after_seq for asked in log.asked] == [0, 0, 2]


def stored(data: bytes) -> m.StoredView:
    return m.StoredView(seq=4, durable=3, body=data)


def test_a_record_taken_apart() -> None:
    event = body("charge_refused", 4, **STAMP, by="office", trace="r-1", data={"cp_id": "CP-1"})
    assert read(stored(event)) == Record(
        seq=4,
        durable=3,
        body=event,
        kind="charge_refused",
        version=4,
        at_ms=5,
        clock_ms=7,
        actor="driver:anna",
        source="127.0.0.1",
        by="office",
        trace="r-1",
        data={"cp_id": "CP-1"},
    )
    own = body("state", rules=7, hash=b"\0")
    assert read(stored(own)) == Record(seq=4, durable=3, body=own, kind="state", data={"rules": 7, "hash": b"\0"})


@given(st.binary(max_size=200) | st.lists(st.integers() | st.text()).map(lambda one: msgspec.msgpack.encode(str(one))))
def test_nothing_in_a_body_stops_a_follower(data: bytes) -> None:
    record = read(stored(data))
    assert (record.seq, record.durable, record.body) == (4, 3, data)


@pytest.mark.parametrize("stamp", [{"seq": 9}, {"body": b"other"}, {"kind": "mark"}, {"at_ms": "x"}, {"data": 3}])
def test_a_body_never_overrules_its_record(stamp: dict[str, Any]) -> None:
    record = read(stored(body("charge_refused", 1, **({"data": {}} | stamp))))
    assert (record.seq, record.durable) == (4, 3) and record.kind in ("charge_refused", "unreadable")
