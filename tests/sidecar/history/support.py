"""Records as a log would have them, a link that answers from them, and what the tables hold."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import select

from evcharge.audit.control import signing_key_body
from evcharge.audit.event_codec import encode
from evcharge.audit.merkle import Frontier, leaf_hash
from evcharge.audit.note import Checkpoint, Signer, write_note
from evcharge.domain import events as e
from evcharge.domain.words import Stamp
from evcharge.net.answers import CentralAway
from evcharge.net.tail import Batch, Record, read
from evcharge.sidecar.database import Database
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.changes import Changes
from evcharge.sidecar.history.course import Course
from evcharge.sidecar.history.store import Store
from protocol import messages as m
from protocol.views import AuditStateView, CheckpointView

ORIGIN = "evcharge/test"
SIGNER = Signer(ORIGIN, b"k" * 32)
KEY = signing_key_body(SIGNER.verifier, None)
# Rows of one answer, and of one page of the tables that a test reads.
FRAME_ROWS = 7

Tables = dict[str, list[tuple[Any, ...]]]


def bodies_of(*happened: tuple[int, e.Event], actor: str = "central") -> list[bytes]:
    """Bodies of events at instants of the site."""
    return [encode(event, Stamp(at_ms=at_ms, clock_ms=at_ms, actor=actor)) for at_ms, event in happened]


def records_of(bodies: Iterable[bytes], first: int = 1) -> list[Record]:
    """As they come over the wire."""
    return [read(m.StoredView(seq=seq, durable=max(0, seq - 2), body=body)) for seq, body in enumerate(bodies, first)]


def batch_of(records: Sequence[Record], newest_seq: int | None = None, first_seq: int = 1) -> Batch:
    """One answer."""
    newest = (records[-1].seq if records else 0) if newest_seq is None else newest_seq
    return Batch(records=list(records), first_seq=first_seq, newest_seq=newest)


def checkpoint(records: Sequence[Record]) -> CheckpointView:
    """As Central signs it."""
    frontier = Frontier()
    frontier.extend([leaf_hash(one.seq, one.durable, one.body) for one in records])
    said = Checkpoint(ORIGIN, frontier.size, frontier.root())
    return CheckpointView(
        size=said.size,
        root=said.root.hex(),
        note=write_note(said.text(), [SIGNER]).decode(),
        key=str(SIGNER.verifier),
        key_id=SIGNER.verifier.key_id.hex(),
    )


class LogLink:
    """A link to a Central that has these records; ``up`` False: it is away."""

    def __init__(self, bodies: Iterable[bytes], *, first: int = 1, frame: int = FRAME_ROWS) -> None:
        self.bodies = list(bodies)
        self.first = first
        self.frame = frame
        self.up = True
        self.asked = 0
        self.begins: list[int] = []
        self._up: list[Callable[[], None]] = []

    @property
    def records(self) -> list[Record]:
        return records_of(self.bodies)

    def on_up(self, tell: Callable[[], None]) -> None:
        self._up.append(tell)

    def reconnect(self) -> None:
        """There is a channel anew."""
        self.up = True
        for tell in self._up:
            tell()

    async def ask(self, message: m.Message, timeout_s: float = 1.0) -> m.Reply:
        # Others have their turn: a double that never waits would keep the loop to itself.
        await asyncio.sleep(0)
        if not self.up:
            raise CentralAway("Central is away.")
        newest = len(self.bodies)
        if isinstance(message, m.AuditState):
            signed = checkpoint(self.records)
            view = AuditStateView(
                newest_seq=newest, first_seq=self.first, verified_from=1, verified_to=newest, checkpoint=signed
            )
            return m.Reply(re=0, audit_state=view)
        assert isinstance(message, m.Follow)
        self.asked += 1
        self.begins.append(message.after_seq)
        begin = max(message.after_seq + 1, self.first)
        rows = [
            m.StoredView(seq=seq, durable=max(0, seq - 2), body=self.bodies[seq - 1])
            for seq in range(begin, min(begin + self.frame, newest + 1))
        ]
        return m.Reply(re=0, tail=m.TailView(rows=rows, first_seq=self.first, newest_seq=newest))


async def fill(store: Store, calendar: Any, records: Sequence[Record], cut: int) -> None:
    """Take records in runs of ``cut``, as if the sidecar had been started anew before each of them."""
    newest = records[-1].seq
    position, _ = await store.load()
    while position.seq < newest:
        position, memory = await store.load()
        course = Course(position, memory, calendar)
        begin = max(0, position.seq - 1)
        course.take(batch_of(records[begin : begin + cut + 2], newest))
        await store.apply(*course.drain())
        position, _ = await store.load()


async def contents(database: Database, without: frozenset[str] = frozenset({"history_open"})) -> Tables:
    """Every row of every table, in order; what is remembered of open sessions only on request."""
    found: Tables = {}
    async with database.reading() as connection:
        for table in t.metadata.sorted_tables:
            if table.name not in without:
                rows = await connection.execute(select(table).order_by(*table.primary_key))
                found[table.name] = [tuple(row) for row in rows]
    return found


class Book:
    """The tables as plain maps: what ``Store`` has to come to."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.tickets: dict[str, dict[str, Any]] = {}
        self.rows: list[dict[str, Any]] = []
        self.points: dict[tuple[str, int], tuple[int, int]] = {}
        self.nodes: dict[tuple[str, int], tuple[int, int]] = {}
        self.days: dict[str, dict[str, Any]] = {}

    def apply(self, changes: Changes) -> None:
        self.sessions |= changes.sessions
        self.tickets |= changes.tickets
        for ticket_id, (energy_wh, amount_minor, co2_g) in changes.adjusted.items():
            ticket = self.tickets[ticket_id]
            ticket["adjusted_wh"] += energy_wh
            ticket["adjusted_minor"] += amount_minor
            ticket["adjusted_co2_g"] += co2_g
        self.rows += [*changes.decisions, *changes.states, *changes.adjustments]
        for mine, theirs in ((self.points, changes.points), (self.nodes, changes.nodes)):
            for key, (energy_wh, peak_w) in theirs.items():
                before = mine.get(key, (0, 0))
                mine[key] = (before[0] + energy_wh, max(before[1], peak_w))
        for name, day in changes.days.items():
            sums = self.days.setdefault(name, {"currency": None, "connectors": 0})
            for field in day.__struct_fields__:
                value = getattr(day, field)
                if field == "currency":
                    sums[field] = value or sums[field]
                elif field == "connectors":
                    sums[field] = max(sums[field], value)
                else:
                    sums[field] = sums.get(field, 0) + value

    def all(self) -> tuple[Any, ...]:
        """To be compared."""
        rows = sorted(self.rows, key=lambda row: (row["seq"], "ticket_id" in row))
        return (self.sessions, self.tickets, rows, self.points, self.nodes, self.days)


def cuts(rng: random.Random, count: int) -> list[int]:
    """Where a run ends: somewhere, often soon."""
    return sorted({rng.randrange(count + 1) for _ in range(rng.randrange(1, 12))} | {count})
