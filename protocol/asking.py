"""What a gateway asks about the log and about free places (SPEC §7.3, §7.10); nothing here changes anything."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol.fields import MAX_ROWS, Asked, Count, Id, Message, RequestId, Word


class AuditPage(Message, tag="audit_page", frozen=True):
    """Records of the log between two numbers, both left out. Answered by ``reply`` with audit, or ``refused``."""

    id: RequestId
    after_seq: Count = 0
    before_seq: Count | None = None
    """None: up to the newest that is durable."""
    tail: bool = False
    """Newest first."""
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS)] = MAX_ROWS
    cp_id: Id | None = None
    session_id: Id | None = None
    kind: Id | None = None
    """The name of an event, as ``charge_authorized``."""
    by: Word | None = None
    """Whom the actor said it acted for (SPEC §6.2)."""
    trace: Word | None = None
    """By which request."""


class AuditProof(Message, tag="audit_proof", frozen=True):
    """The proof that a record is in the signed log. Answered by ``reply`` with proof, or ``refused``."""

    id: RequestId
    seq: Count
    body_from: Count = 0
    """Where in the base64 of a large record's body this piece begins."""


class AuditState(Message, tag="audit_state", frozen=True):
    """How far the log is durable, signed and checked. Answered by ``reply`` with audit_state."""

    id: RequestId


class Assign(Message, tag="assign", frozen=True):
    """Where would somebody be sent now? Answered by ``reply`` with assignment or ``refused``; nothing is reserved."""

    id: RequestId
    power_w: Asked | None = None
    """A connector that can do this is preferred."""
    energy_wh: Asked | None = None
    substation_id: Id | None = None
    """There or below it."""
