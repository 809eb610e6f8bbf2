"""The audit log as clients see it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from evcharge.sidecar.gateway.site_schemas import MOST_ROWS
from protocol.fields import MAX_COUNT

Seq = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Word = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}$",
        description="1 to 64 letters, digits or . _ : @ + - that start with a letter or digit",
    ),
]


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which records: behind ``after_seq`` and before ``before_seq``; the newest first with ``tail``."""

    after_seq: Seq = 0
    before_seq: Seq | None = None
    tail: bool = False
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = MOST_ROWS
    cp_id: Word | None = None
    session_id: Word | None = None
    kind: Word | None = None
    """Name of an event, as ``charge_authorized``."""
    by: Word | None = None
    """The client that it was for."""
    trace: Word | None = None
    """The ``X-Request-ID`` of the request that did it."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the log."""

    seq: int
    kind: str
    version: int
    at_ms: int | None
    """Site time; null for records of the log's own."""
    clock_ms: int | None
    """Wall clock of Central."""
    actor: str
    source: str
    """The address that it came from."""
    by: str | None
    """Whom the actor says it acted for: the client of a gateway; null: for nobody else."""
    trace: str | None
    """The id of the request that it carried out, by its word: this API's ``X-Request-ID``."""
    details: Any
    """The event; null where it is longer than a page may be, then its proof has it."""
    leaf_hash: str
    """Hexadecimal: the record's leaf in the tree of the log."""


class AuditRecords(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the log. It may have no records and still go on: a look is bounded."""

    records: list[AuditRecord]
    next_seq: int | None
    """Give it as ``after_seq``, with ``tail`` as ``before_seq``; null: that was all."""
    first_seq: int
    """The first record that is here; those before it were archived."""
    newest_seq: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A signed checkpoint of the log."""

    size: int
    """It covers the records 1 to this one."""
    root: str
    note: str
    """As it was signed."""
    key: str
    """The verifier key."""
    key_id: str


class AuditState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log is durable, signed and checked."""

    newest_seq: int
    first_seq: int
    verified_from: int
    verified_to: int
    suspect: bool
    """A witness remembers more than the log has, or something else."""
    checkpoint: Checkpoint | None


class AuditProof(msgspec.Struct, frozen=True, kw_only=True):
    """A record with the proof that it is in the signed log, as ``evcharge-audit prove`` writes it.

    Save it and run ``evcharge-audit check-proof``: nothing of this server is needed for that.
    """

    type: str
    seq: int
    durable: int
    body: str
    proof: list[str]
    checkpoint: str
