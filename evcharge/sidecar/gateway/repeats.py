"""A request that comes again with the same ``Idempotency-Key`` is done once; so many answers are kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from evcharge.sidecar.web.problem import Problem, bad_request

T = TypeVar("T")

# Longest key, in characters: a UUID has 36, two of them with names around them 128.
KEY_CHARS = 128


class Repeats(Generic[T]):
    """Answers by client and key; the one unused for longest is forgotten first. A failure is not kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], tuple[object, asyncio.Task[T]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    async def once(self, client: str, key: str | None, what: object, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer of ``do``, or what it answered before; ``what`` was asked, and has to be the same again.

        Raises:
            Problem: the key is none, or was used for something else; and what ``do`` raises.
        """
        if key is None:
            return await do()
        if not 1 <= len(key) <= KEY_CHARS or not key.isprintable():
            raise bad_request(f"An Idempotency-Key has 1 to {KEY_CHARS} printable characters.")
        place = client, key
        known = self._known.get(place)
        if known is None:
            task = asyncio.create_task(do(), name="idempotent request")
            known = self._known[place] = what, task
            task.add_done_callback(lambda ended: self._ended(place, ended))
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        elif known[0] != what:
            detail = "This Idempotency-Key was used for another request; take a new one."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "key_reused", detail)
        else:
            self._known.move_to_end(place)
        # Who hangs up must not undo it for who asks again.
        return await asyncio.shield(known[1])

    def _ended(self, place: tuple[str, str], task: asyncio.Task[T]) -> None:
        """Forget what failed."""
        known = self._known.get(place)
        if (task.cancelled() or task.exception() is not None) and known is not None and known[1] is task:
            del self._known[place]
