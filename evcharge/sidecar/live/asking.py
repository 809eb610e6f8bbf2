"""What the picture asks of Central: one question after the other, page by page, and no more often than it has to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from evcharge.net.answers import BadAnswer
from evcharge.net.asking import MAX_PAGES
from evcharge.sidecar.live.records import incident
from evcharge.sidecar.live.rows import Incident
from protocol import messages as m

# How long Central's answer may take, seconds.
ANSWER_S = 5.0
# Incidents that the picture keeps, and looks through the log that it may take to find them at a start: each passes over
# 4,096 records at most, and weighs as much as twenty other questions.
INCIDENTS = 20
LOOKS = 3

Part = Literal["substations", "optimization", "totals", "waiting", "reservations", "alerts", "plan"]

# Part of the picture → the field of the reply that has it, where the two differ.
_FIELD: Mapping[str, str] = {"waiting": "queue"}
# These are one map, not rows.
_SINGLE = frozenset({"optimization", "totals"})

# Part of the picture → records after which it may be another one.
_CAUSES: Mapping[Part, tuple[str, ...]] = {
    "totals": ("charge_authorized", "charge_refused", "supply_started", "authorization_", "ticket_"),
    "waiting": ("charge_queued", "charge_offered", "offer_ended", "queue_left"),
    "reservations": ("reservation_",),
    "alerts": ("weather_",),
    "plan": ("plan_adopted",),
    "optimization": (),
    "substations": (),
}
PARTS: tuple[Part, ...] = tuple(_CAUSES)
# Records that change no charge point as it is shown: the log's own, and what is heard of meters, which comes each
# second by itself. A kind that is not known here is looked at.
_QUIET = frozenset(
    {
        "mark", "signing_key", "state", "meter_sampled", "outbox_applied", "set_point_acknowledged", "plan_adopted",
        "charge_refused", "request_refused", "peer_refused", "incident_raised", "ticket_delivered", "ticket_issued",
        "ticket_adjusted", "base_load_rose", "base_load_forgotten", "peak_rose", "authorization_acknowledged",
    }
)  # fmt: skip


class Link(Protocol):
    """What the live picture needs of ``evcharge.net.link.CentralLink``."""

    @property
    def state(self) -> str: ...

    def on_up(self, tell: Callable[[], None]) -> None: ...

    async def ask(self, message: m.Message, timeout_s: float = ...) -> m.Reply: ...


class Cursor(msgspec.Struct):
    """Up to which change of which start of Central the picture is."""

    run: str | None = None
    upto: int = 0


def parts_after(kind: str) -> list[Part]:
    """The parts that may be others after a record of this kind."""
    if kind == "central_started":
        return list(PARTS)
    return [part for part, causes in _CAUSES.items() if kind.startswith(causes)]


def changes_after(kind: str) -> bool:
    """Whether a charge point may look different after a record of this kind."""
    return kind not in _QUIET


async def part(link: Link, name: Part) -> Any:
    """A part of the picture, all of its pages. Raises RequestRefused, RequestFailed."""
    field = _FIELD.get(name, name)
    rows: list[Any] = []
    after: str | None = None
    for _ in range(MAX_PAGES):
        reply = await link.ask(m.Query(id=0, what=name, after=after), ANSWER_S)
        value = getattr(reply, field)
        if name in _SINGLE:
            return value
        if value is None:
            raise BadAnswer(f"Central's answer has no {field}; one of the two programs is probably older.")
        rows += value
        after = reply.next
        if after is None:
            return rows
    raise BadAnswer(f"Central's list of {name} did not end after {MAX_PAGES} pages.")


async def changes(link: Link, cursor: Cursor) -> tuple[bool, list[m.ChangesView]]:
    """All that changed behind ``cursor``, which goes on; True: of another start, so that is all there is.

    Raises RequestRefused, RequestFailed; ``cursor`` is as it was then.
    """
    run, upto = cursor.run, cursor.upto
    found: list[m.ChangesView] = []
    anew = False
    for _ in range(MAX_PAGES):
        told = (await link.ask(m.Changes(id=0, run=run, since=upto), ANSWER_S)).changes
        if told is None:
            raise BadAnswer("Central's answer has no changes; one of the two programs is probably older.")
        if told.run != run:
            # What came of another start before it in this round counts no longer.
            anew, found = True, []
        run, upto = told.run, told.upto
        found.append(told)
        if not told.more:
            cursor.run, cursor.upto = run, upto
            return anew, found
    raise BadAnswer(f"Central's list of changes did not end after {MAX_PAGES} pages.")


async def state(link: Link) -> m.AuditStateView:
    """How far the log goes and is signed. Raises RequestRefused, RequestFailed."""
    told = (await link.ask(m.AuditState(id=0), ANSWER_S)).audit_state
    if told is None:
        raise BadAnswer("Central's answer has no state of the log; one of the two programs is probably older.")
    return told


async def incidents(link: Link) -> list[Incident]:
    """The newest that the log's end has, oldest first. Raises RequestRefused, RequestFailed."""
    found: list[Incident] = []
    before: int | None = None
    for _ in range(LOOKS):
        question = m.AuditPage(id=0, kind="incident_raised", tail=True, limit=INCIDENTS, before_seq=before)
        told = (await link.ask(question, ANSWER_S)).audit
        if told is None:
            raise BadAnswer("Central's answer has no records; one of the two programs is probably older.")
        for row in told.rows:
            try:
                said = msgspec.json.decode(row.details or b"{}", type=dict[str, Any])
            except msgspec.MsgspecError:
                said = {}
            found.append(incident(row.seq, row.at_ms, said))
        before = told.next_seq
        if before is None or len(found) >= INCIDENTS:
            break
    return sorted(found, key=lambda one: one.seq)[-INCIDENTS:]
