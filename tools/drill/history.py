"""What Central acknowledged, as its peers saw it: one JSON line each, on file before the peer acts on it.

The process that writes the history is not the one that is killed, so a plain append is enough: what was written is
with the kernel. ``log_check`` compares the history with Central's log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from evcharge.net.adapter import Adapter
from evcharge.net.client import Client
from protocol import messages as m
from protocol.credentials import Credential, Role
from protocol.events import Established
from protocol.messages import Message

Kind = Literal[
    "asked",
    "granted",
    "refused",
    "end_asked",
    "end_done",
    "news",
    "ticket",
    "order",
    "outbox",
    "next_n",
    "channel",
    "meters",
]
"""asked, end_asked: a request was sent. granted, refused, end_done: its answer. news: a session's state that was shown.
ticket: handed over or listed. order: a command to a charge point. outbox: ack(n). next_n: what SESSION said.
channel: its fence. meters: a register at the end (``number``, Wh)."""


class Ack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the history."""

    at_s: float
    """Monotonic seconds of the machine."""
    peer: str
    """``driver-00001``, ``cp-00001``, ``cp-00001/monitor``."""
    kind: Kind
    session: str = ""
    number: int = 0
    """Request id, outbox number, command id, fence or register."""
    epoch: int = 0
    """Epoch of the outbox."""
    text: str = ""
    """Reason of a refusal, state of a session, type of an order."""
    energy_wh: int = 0
    amount_minor: int = 0
    adjustments: list[int] = []


class History:
    """Appends lines; every line is one write to the kernel."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encode = msgspec.json.Encoder().encode
        self.count = 0
        """Lines written by this process."""

    def note(self, peer: str, kind: Kind, **fields: object) -> None:
        """Append one line. Raises OSError; a history with a hole proves nothing, so the drill then ends."""
        line = self._encode(msgspec.convert({"at_s": time.monotonic(), "peer": peer, "kind": kind, **fields}, Ack))
        os.write(self._file, line + b"\n")
        self.count += 1

    def close(self) -> None:
        """The end."""
        os.close(self._file)


def read_history(path: Path) -> Iterator[Ack]:
    """All lines; a last one that was cut (the whole drill was killed) is left out. Raises OSError, ValueError."""
    decoder = msgspec.json.Decoder(Ack)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path}:{number}: not a line of a history: {error}.") from error


class RecordingClient(Client):
    """A peer's client that notes what Central acknowledges before anybody in this process hears of it."""

    def __init__(self, credential: Credential, host: str, port: int, *, history: History, **options: Any) -> None:
        super().__init__(credential, host, port, **options)
        self._history = history
        self._epoch: int = options.get("outbox_epoch") or 0
        self._asked: dict[int, Message] = {}
        self._states: dict[str, str] = {}
        role = credential.role
        self.peer = f"{credential.entity}/monitor" if role is Role.MONITOR else credential.entity
        """Its name in the history."""

    def send(self, message: Message) -> bool:
        """As ``Client.send``; requests are noted before they leave."""
        if isinstance(message, m.ChargeRequest | m.EndCharge) and self.connected:
            assert isinstance(message.id, int)
            ending = isinstance(message, m.EndCharge)
            self._asked[message.id] = message
            self._history.note(
                self.peer,
                "end_asked" if ending else "asked",
                number=message.id,
                session=message.session_id if isinstance(message, m.EndCharge) else "",
            )
        return super().send(message)

    def up(self, adapter: Adapter, event: Established) -> None:
        """A channel: its fence, and the outbox position that lets an engine delete what lies below."""
        self._asked.clear()
        self._history.note(self.peer, "channel", number=event.grant.fence or 0)
        if event.grant.next_n:
            self._history.note(self.peer, "next_n", number=event.grant.next_n, epoch=self._epoch)
        super().up(adapter, event)

    def take(self, message: Message) -> None:
        """A message of Central."""
        self._note(message)
        super().take(message)

    def _note(self, message: Message) -> None:
        note, peer = self._history.note, self.peer
        match message:
            case m.Ack() if message.n is not None:
                note(peer, "outbox", number=message.n, epoch=self._epoch)
            case m.Authorize() | m.StartSupply() | m.SetLimit() | m.StopSupply():
                name = type(message).__name__
                note(peer, "order", number=message.command_id, session=message.session_id or "", text=name)
            case m.Ticket():
                self._ticket(message)
            case m.Update():
                self._news(message)
            case m.Reply() | m.Ack() | m.Refused():
                self._answer(message)
            case _:
                pass

    def _answer(self, answer: m.Reply | m.Ack | m.Refused) -> None:
        request = self._asked.pop(answer.re, None) if isinstance(answer.re, int) else None
        if isinstance(answer, m.Refused):
            if isinstance(request, m.ChargeRequest):
                self._history.note(self.peer, "refused", number=int(answer.re or 0), text=answer.reason)
            return
        if isinstance(request, m.ChargeRequest) and isinstance(answer, m.Reply):
            session = answer.session.session_id if answer.session is not None else answer.session_id or ""
            self._history.note(self.peer, "granted", number=int(answer.re or 0), session=session)
        elif isinstance(request, m.EndCharge):
            self._history.note(self.peer, "end_done", number=int(answer.re or 0), session=request.session_id)
        if isinstance(answer, m.Reply):
            for ticket in answer.tickets or []:
                self._ticket(ticket)

    def _ticket(self, ticket: m.TicketView) -> None:
        self._history.note(
            self.peer,
            "ticket",
            session=ticket.session_id,
            text=ticket.ticket_id,
            energy_wh=ticket.energy_wh,
            amount_minor=ticket.amount_minor,
            adjustments=list(ticket.adjustments),
        )

    def _news(self, session: m.SessionView) -> None:
        """Only a state that is new for the session is worth a line: telemetry is not in the log."""
        if self._states.get(session.session_id) != session.state:
            self._states[session.session_id] = session.state
            self._history.note(self.peer, "news", session=session.session_id, text=session.state)
