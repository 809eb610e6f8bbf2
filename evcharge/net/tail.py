"""Central's log as it grows: every durable record once and in order, from wherever a follower stands (SPEC §7.12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

import msgspec

from evcharge.net.answers import RequestFailed, RequestRefused
from protocol import messages as m

# How long one question waits for a record, ms. The channel is looked after by its own PINGs.
WAIT_MS = 10_000
# How long after that an answer still counts, in seconds: Central reads one disk for all who follow.
ANSWER_S = 20.0
# Pause after an answer that held all there was, in seconds: what happens in it comes in one answer instead of many.
PACE_S = 0.1
# When to try again after Central was away or refused, in seconds.
RETRY_S = 0.5
# Longest body that is put together from pieces: the longest that a log holds (FORMAT.md §2).
MAX_BODY = 1 << 20


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record: as it is stored, and taken apart (FORMAT.md §4)."""

    seq: int
    durable: int
    body: bytes
    kind: str
    version: int = 1
    at_ms: int | None = None
    """Site time; None for records of the log's own."""
    clock_ms: int | None = None
    actor: str = ""
    source: str = ""
    by: str | None = None
    """Whom a gateway acted for."""
    trace: str | None = None
    """The request's id at the gateway."""
    data: dict[str, Any] = {}


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records behind the ones before; none: nothing has happened for a while."""

    records: list[Record]
    first_seq: int
    """The oldest record that is there; those before were archived."""
    newest_seq: int
    """The newest durable one: behind the last of ``records`` while one catches up."""


class BrokenTail(Exception):
    """Central's answer cannot be: a gap, a repetition, a body without end."""


class Asks(Protocol):
    """What a follower needs of the link."""

    async def ask(self, message: m.Message, timeout_s: float = ...) -> m.Reply: ...


async def follow(
    link: Asks,
    after_seq: int,
    name: str,
    *,
    away: Callable[[str], None] = lambda _why: None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Batch, None]:
    """All records behind ``after_seq``, for ever; ``away`` hears why there is no answer, each time. Central's metrics
    tell by ``name`` how far behind it is.

    Records that were archived are left out: the first batch then begins at its ``first_seq``.

    Raises:
        BrokenTail
    """
    at = after_seq
    while True:
        try:
            tail = await _ask(link, at, 0, name)
            records = (
                [await _whole(link, at, tail.rows[0], name)] if _is_piece(tail) else [read(row) for row in tail.rows]
            )
        except (RequestRefused, RequestFailed) as error:
            away(str(error))
            await pause(RETRY_S)
            continue
        due = max(at + 1, tail.first_seq)
        for record in records:
            if record.seq != due:
                raise BrokenTail(f"record {record.seq} came where {due} is due")
            due += 1
        at = records[-1].seq if records else at
        yield Batch(records=records, first_seq=tail.first_seq, newest_seq=tail.newest_seq)
        if at >= tail.newest_seq:
            await pause(PACE_S)


def read(row: m.StoredView) -> Record:
    """A stored record taken apart. A body that cannot be read becomes one of kind ``unreadable``: none is left out."""
    try:
        kind, version, rest = _BODY.decode(row.body)
        # Records of the log's own have no stamp: their map is all they say.
        told = rest if "data" in rest else {"data": rest}
        own = {"seq": row.seq, "durable": row.durable, "body": row.body, "kind": kind, "version": version}
        return msgspec.convert(told | own, Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Record(seq=row.seq, durable=row.durable, body=row.body, kind="unreadable", version=0)


_BODY = msgspec.msgpack.Decoder(tuple[str, int, dict[str, Any]])


def _is_piece(tail: m.TailView) -> bool:
    return len(tail.rows) == 1 and tail.rows[0].next_from is not None


async def _whole(link: Asks, after_seq: int, piece: m.StoredView, name: str) -> Record:
    """A record whose body fits in no frame, put together."""
    body, following = piece.body, piece.next_from
    while following is not None:
        if following != len(body) or following > MAX_BODY:
            raise BrokenTail(f"the body of record {piece.seq} goes on at {following}, not at {len(body)}")
        rows = (await _ask(link, after_seq, following, name)).rows
        if len(rows) != 1 or rows[0].seq != piece.seq or not rows[0].body:
            raise BrokenTail(f"the body of record {piece.seq} ends at {following}")
        body, following = body + rows[0].body, rows[0].next_from
    return read(m.StoredView(seq=piece.seq, durable=piece.durable, body=body))


async def _ask(link: Asks, after_seq: int, body_from: int, name: str) -> m.TailView:
    question = m.Follow(id=0, after_seq=after_seq, body_from=body_from, wait_ms=WAIT_MS, name=name)
    tail = (await link.ask(question, ANSWER_S)).tail
    if tail is None:
        raise BrokenTail("the answer has no tail")
    return tail
