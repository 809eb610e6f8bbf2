"""Reads streams as a browser does: events from bytes, and the number that it comes back with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec

# How long a fact may take before the test fails.
LIMIT_S = 20.0


class Event(NamedTuple):
    name: str
    data: Any
    id: str | None


def events_of(text: bytes) -> list[Event]:
    """Whole events; comments and ``retry`` are left out."""
    found: list[Event] = []
    blocks = text.decode().split("\n\n")
    assert blocks.pop() == "", "an event is cut"
    for block in blocks:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            if name and not line.startswith(":"):
                assert name not in fields
                fields[name] = value
        if "event" in fields:
            found.append(Event(fields["event"], msgspec.json.decode(fields["data"]), fields.get("id")))
    return found


class Page:
    """A page that reads one stream, and remembers."""

    def __init__(self, pieces: AsyncIterator[bytes], after: int | None = None) -> None:
        self._pieces = pieces
        self.events: list[Event] = []
        self.raw = b""
        self.last = after
        self.over = False

    async def read(self) -> None:
        """One piece more."""
        try:
            async with asyncio.timeout(LIMIT_S):
                piece = await anext(self._pieces)
        except StopAsyncIteration:
            self.over = True
            return
        self.raw += piece
        for event in events_of(piece):
            self.events.append(event)
            if event.id is not None:
                self.last = int(event.id)

    async def next(self, name: str) -> Any:
        """The data of the next event of this name."""
        seen = len(self.events)
        async with asyncio.timeout(LIMIT_S):
            while True:
                for event in self.events[seen:]:
                    if event.name == name:
                        return event.data
                assert not self.over, f"the stream ended without {name}"
                seen = len(self.events)
                await self.read()

    async def until(self, seq: int) -> None:
        """Read up to this record, or to the stream's end."""
        async with asyncio.timeout(LIMIT_S):
            while not self.over and (self.last or 0) < seq:
                await self.read()

    def all(self, name: str) -> list[Any]:
        return [event.data for event in self.events if event.name == name]

    @property
    def seqs(self) -> list[int]:
        return [event.data["seq"] for event in self.events if event.name == "record"]
