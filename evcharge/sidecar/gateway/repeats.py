"""A request that comes again with the same ``Idempotency-Key`` is done once, whatever is killed meanwhile.

A key is in the database before anything is done for it. So a key without an answer means that nobody knows what became
of its request: it is refused from then on, rather than done a second time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

import structlog
from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.database import Conflict, Database, metadata
from evcharge.sidecar.web.problem import Problem, bad_request

log = structlog.get_logger()

# Longest key, in characters: a UUID has 36, two of them with names around them 128.
KEY_CHARS = 128
# How long a key is remembered, in milliseconds: who tries again does so within a day.
KEPT_MS = 86_400_000
# After these nobody knows whether Central acted.
UNKNOWN: Final = (HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.BAD_GATEWAY)

keys_table = Table(
    "gateway_keys",
    metadata,
    Column("client", String(64), primary_key=True),
    Column("key", String(KEY_CHARS), primary_key=True),
    # SHA-256 of what was asked.
    Column("asked", LargeBinary(32), nullable=False),
    # Null: it is under way, or nobody knows.
    Column("answer", LargeBinary),
    Column("created_ms", BigInteger, nullable=False, index=True),
)


class Repeats:
    """Answers by client and key."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._under_way: dict[tuple[str, str], tuple[bytes, asyncio.Task[bytes]]] = {}

    async def once(
        self, client: str, key: str | None, asked: bytes, do: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> bytes:
        """The answer of ``do``, or what it answered before; ``asked`` has to be the same as then.

        Raises:
            Problem: the key is none, was used for something else, or what became of it is not known; and what ``do``
                raises.
            SQLAlchemyError: nothing was done.
        """
        if key is None:
            return await do()
        if not 1 <= len(key) <= KEY_CHARS or not key.isascii() or not key.isprintable():
            raise bad_request(f"An Idempotency-Key has 1 to {KEY_CHARS} printable ASCII characters.")
        place, digest = (client, key), hashlib.sha256(asked).digest()
        known = self._under_way.get(place)
        if known is None:
            task = asyncio.create_task(self._do(place, digest, do), name="idempotent request")
            known = self._under_way[place] = digest, task
            task.add_done_callback(lambda ended: self._ended(place, ended))
        elif known[0] != digest:
            raise _reused()
        # Who hangs up must not undo it for who asks again.
        return await asyncio.shield(known[1])

    async def _do(self, place: tuple[str, str], digest: bytes, do: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        before = await self._begin(place, digest)
        if before is not None:
            return before
        try:
            answer = await do()
        except Problem as problem:
            if problem.status not in UNKNOWN:
                await self._forget(place)
            raise
        mine = _row(place)
        try:
            async with self._database.writing() as connection:
                await connection.execute(update(keys_table).where(mine).values(answer=answer))
        except (SQLAlchemyError, OSError) as error:
            # It was done, and who asked hears so; only a repetition will not.
            log.error("gateway.answer_not_kept", kind=type(error).__name__)  # noqa: TRY400
        return answer

    async def _begin(self, place: tuple[str, str], digest: bytes) -> bytes | None:
        """Take the key; the answer where it was taken before. Raises Problem, SQLAlchemyError."""
        now_ms = self._clock.steady_ms()
        row = {"client": place[0], "key": place[1], "asked": digest, "created_ms": now_ms}
        try:
            async with self._database.writing() as connection:
                await connection.execute(delete(keys_table).where(keys_table.c.created_ms <= now_ms - KEPT_MS))
                await connection.execute(insert(keys_table), [row])
        except Conflict:
            async with self._database.reading() as connection:
                query = select(keys_table.c.asked, keys_table.c.answer).where(_row(place))
                found = (await connection.execute(query)).first()
            if found is None or bytes(found.asked) != digest:
                raise _reused() from None
            if found.answer is None:
                raise _unknown() from None
            return bytes(found.answer)
        return None

    async def _forget(self, place: tuple[str, str]) -> None:
        """Nothing was done: the key may be used again."""
        try:
            async with self._database.writing() as connection:
                await connection.execute(delete(keys_table).where(_row(place)))
        except (SQLAlchemyError, OSError) as error:
            log.error("gateway.key_not_forgotten", kind=type(error).__name__)  # noqa: TRY400

    def _ended(self, place: tuple[str, str], task: asyncio.Task[bytes]) -> None:
        del self._under_way[place]
        if not task.cancelled():
            # Told to whoever still waits; when nobody does it is no news.
            task.exception()


def _row(place: tuple[str, str]) -> Any:
    return (keys_table.c.client == place[0]) & (keys_table.c.key == place[1])


def _reused() -> Problem:
    detail = "This Idempotency-Key was used for another request; take a new one."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "key_reused", detail)


def _unknown() -> Problem:
    detail = "What became of the request with this key is not known; look at the sessions, then take a new key."
    return Problem(HTTPStatus.CONFLICT, "outcome_unknown", detail)
