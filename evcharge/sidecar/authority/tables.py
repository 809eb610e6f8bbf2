"""The tables of the charge authorization, and what their columns say.

``requests`` is the log and the only place where a decision is: one row for each request, decided by the one update that
finds it undecided. ``queue`` has what is still to be decided, ``callbacks`` what is still to be told.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from evcharge.sidecar.database import metadata
from evcharge.sidecar.outgoing.guard import HOST_CHARS

# Counts up without an end in sight; SQLite numbers only columns of its own INTEGER by itself.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")


# The words of the three enumerations below, as a schema lists them.
DecisionWord = Literal["allowed", "not_allowed", "unknown", "invalid"]
ReasonWord = Literal["listed", "not_listed", "expired", "timeout", "too_old", "bad_fields", "unreadable"]
CallbackWord = Literal["pending", "delivered", "dead"]


class Decision(StrEnum):
    """What became of a request; no other comes after it."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not_allowed"
    UNKNOWN = "unknown"
    INVALID = "invalid"


class Reason(StrEnum):
    """Why, for programs; ``SENTENCES`` has it for people."""

    LISTED = "listed"
    NOT_LISTED = "not_listed"
    EXPIRED = "expired"
    TIMEOUT = "timeout"
    TOO_OLD = "too_old"
    BAD_FIELDS = "bad_fields"
    UNREADABLE = "unreadable"


SENTENCES = {
    Reason.LISTED: "The driver may charge at this station.",
    Reason.NOT_LISTED: "The driver is not on this station's list.",
    Reason.EXPIRED: "The driver's entry on this station's list has expired.",
    Reason.TIMEOUT: "The list could not be asked in time.",
    Reason.TOO_OLD: "The request was too old when its turn came.",
    Reason.BAD_FIELDS: "The request has a field that is not valid.",
    Reason.UNREADABLE: "The request could not be read when its turn came.",
}


class CallbackState(StrEnum):
    """How far the answer has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


requests_table = Table(
    "authority_requests",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("request_id", String(36), nullable=False, unique=True),
    Column("client", String(64), nullable=False),
    Column("station_id", String(36), nullable=False),
    Column("station_key", String(36), nullable=False),
    Column("token_hash", LargeBinary(32), nullable=False),
    Column("callback_host", String(HOST_CHARS), nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("decision", String(16)),
    Column("reason", String(16)),
    Column("decided_ms", BigInteger),
    Column("callback", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    # What came of the last try: a status, or a word of ``CallFailed``.
    Column("callback_said", String(16)),
    Column("finished_ms", BigInteger),
    Index("authority_requests_station", "station_key", "number"),
    Index("authority_requests_decision", "decision", "number"),
)
queue_table = Table(
    "authority_queue",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("client", String(64), nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
    Column("request_id", String(36), index=True),
    # When it was last given to a broker, where there is one; None: never.
    Column("relayed_ms", BigInteger),
)
callbacks_table = Table(
    "authority_callbacks",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("client", String(64), nullable=False),
    Column("host", String(HOST_CHARS), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    # Since it was last put there: those of before an operator sent it again count in the log alone.
    Column("tries", Integer, nullable=False),
    # Of a dead one: since when it is.
    Column("next_try_ms", BigInteger, nullable=False),
    Index("authority_callbacks_due", "state", "next_try_ms"),
    Index("authority_callbacks_client", "state", "client"),
)
acl_table = Table(
    "authority_acl",
    metadata,
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("entry_id", String(36), nullable=False, unique=True),
    Column("station_id", String(36), nullable=False),
    Column("station_key", String(36), nullable=False),
    Column("token_hash", LargeBinary(32), nullable=False),
    Column("client", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, index=True),
    Index("authority_acl_pair", "station_key", "token_hash", unique=True),
)
