"""A log that grows as the test likes, followed without the wire or over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from evcharge.net.answers import CentralAway
from protocol import messages as m
from protocol.credentials import Role
from protocol.views import AuditStateView
from tests.support.fake_central import FakeCentral, Link
from tests.support.wire import T0_MS, credential

# Bytes of bodies in one answer, as Central's frames have room for.
ANSWER_BYTES = 12_000
# Charge points of the records that are made here.
CHARGE_POINTS = 10
# Records of one charge: one that names the charge point, and those that name the session only.
EACH = 10


def bodies(count: int, first: int = 1, name: str = "s") -> Iterator[bytes]:
    """Stored records of charges, one after the other: who is authorized where, then meter values."""
    for seq in range(first, first + count):
        number = (seq - 1) // EACH
        session, cp_id = f"{name}-{number:010}", f"CP-{number % CHARGE_POINTS}"
        if (seq - 1) % EACH == 0:
            kind, data = "charge_authorized", {"session_id": session, "cp_id": cp_id, "driver_id": "anna"}
        else:
            kind, data = "meter_sampled", {"session_id": session, "meter_wh": seq, "power_w": 11_000}
        stamp = {"at_ms": T0_MS + seq, "clock_ms": T0_MS + seq, "actor": f"engine:{cp_id}", "source": "127.0.0.1"}
        yield msgspec.msgpack.encode([kind, 1, {**stamp, "trace": f"r-{seq}", "data": data}])


class Log:
    """The log itself, and a link to it in this process."""

    def __init__(self, count: int = 0) -> None:
        self.bodies = list(bodies(count))
        self.first_seq = 1
        """Those before are archived."""
        self.up = True
        self._told: list[Callable[[], None]] = []

    @property
    def newest(self) -> int:
        """Its last record."""
        return len(self.bodies)

    def grow(self, count: int) -> None:
        """More records of the same kind."""
        self.bodies += bodies(count, self.newest + 1)

    def come_back(self) -> None:
        """Another channel, perhaps to another log."""
        self.up = True
        for tell in self._told:
            tell()

    @property
    def state(self) -> str:
        return "connected" if self.up else "disconnected"

    def on_up(self, tell: Callable[[], None]) -> None:
        self._told.append(tell)
        if self.up:
            tell()

    async def ask(self, message: m.Message, timeout_s: float = 5.0) -> m.Reply:
        """Central's answer, at once."""
        del timeout_s
        await asyncio.sleep(0)
        if not self.up:
            raise CentralAway("there is no connection to Central now: try again when it is back.")
        return self.reply(message)

    def reply(self, message: m.Message) -> m.Reply:
        """What is said to it."""
        if isinstance(message, m.AuditState):
            state = AuditStateView(
                newest_seq=self.newest, first_seq=self.first_seq, verified_from=1, verified_to=self.newest
            )
            return m.Reply(re=message.id, audit_state=state)
        assert isinstance(message, m.Follow), message
        begin = max(message.after_seq + 1, self.first_seq)
        tail = m.TailView(rows=self._rows(begin, message.body_from), first_seq=self.first_seq, newest_seq=self.newest)
        return m.Reply(re=message.id, tail=tail)

    def _rows(self, begin: int, body_from: int) -> list[m.StoredView]:
        rows: list[m.StoredView] = []
        size = 0
        for seq in range(begin, self.newest + 1):
            body = self.bodies[seq - 1]
            if len(body) > ANSWER_BYTES and not rows:
                end = body_from + ANSWER_BYTES
                following = end if end < len(body) else None
                return [m.StoredView(seq=seq, durable=seq, body=body[body_from:end], next_from=following)]
            size += len(body) + 40
            if size > ANSWER_BYTES:
                break
            rows.append(m.StoredView(seq=seq, durable=seq, body=body))
        return rows


class LogCentral(FakeCentral):
    """Serves a log over the wire, to whoever has ``write_credential``."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def _answer(self, link: Link, message: m.Message) -> None:
        if isinstance(message, m.Follow | m.AuditState):
            link.send(self.log.reply(message))
        else:
            super()._answer(link, message)


def write_credential(path: Path) -> Path:
    """A gateway's credential for ``LogCentral``."""
    path.write_bytes(credential(Role.GATEWAY).to_json())
    return path
