"""What the routes of the charge authorization take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from evcharge.sidecar.authority.rules import (
    CALLBACK_URL,
    DRIVER_TOKEN,
    REQUEST_ID,
    STATION_CHARS,
    STATION_ID,
    TOKEN_CHARS,
)
from evcharge.sidecar.authority.tables import CallbackWord, ReasonWord
from evcharge.sidecar.outgoing.guard import URL_CHARS

# Rows of one page.
PAGE_ROWS = 100
# Longest life of an entry of the list that is given in seconds: ten years.
VALID_S = 315_360_000
# Numbers of rows, as pages count them.
_LAST = 2**62

StationId = Annotated[
    str,
    Meta(
        pattern=STATION_ID,
        max_length=STATION_CHARS,
        description="a UUID, 36 letters and digits, or 32 hexadecimal digits",
    ),
]
DriverToken = Annotated[
    str,
    Meta(pattern=DRIVER_TOKEN, max_length=TOKEN_CHARS, description="20 to 80 of the characters A-Z a-z 0-9 . _ ~ -"),
]
RequestId = Annotated[str, Meta(pattern=f"^{REQUEST_ID}$", max_length=36)]
Time = Annotated[datetime, Meta(tz=True)]
Rows = Annotated[int, Meta(ge=1, le=PAGE_ROWS)]
RowNumber = Annotated[int, Meta(ge=0, le=_LAST)]

Status = Literal["pending", "allowed", "not_allowed", "unknown", "invalid"]


class ChargingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """May this driver charge at this station? The answer comes to ``callback_url``."""

    station_id: StationId
    driver_token: DriverToken
    callback_url: Annotated[
        str,
        Meta(
            pattern=CALLBACK_URL,
            max_length=URL_CHARS,
            description="a public http or https URL of up to 2048 characters, without user name and fragment",
            extra_json_schema={"format": "uri"},
        ),
    ]


class ChargingAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """It is stored and will be decided once."""

    status: Literal["accepted"]
    message: str
    request_id: str


class AuthorityQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """May this driver charge at this station, now?"""

    station_id: StationId
    driver_token: DriverToken


class AuthorityAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the list says."""

    allowed: bool
    reason: ReasonWord


class AclInsertion(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that is allowed; with both expiries the earlier one counts, and one in the past ends it at once."""

    station_id: StationId
    driver_token: DriverToken
    expires_at: Time | None = None
    valid_s: Annotated[int, Meta(ge=1, le=VALID_S)] | None = None


class AclEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of the list."""

    entry_id: str
    station_id: str
    token_hash: str
    """The beginning of the token's keyed hash, to tell entries apart."""
    client: str
    """Who inserted it, or changed it last."""
    created_at: Time
    updated_at: Time
    expires_at: Time | None
    active: bool
    """Whether it has not expired."""


class AclQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the list."""

    after: RowNumber = 0
    limit: Rows = 50
    station_id: StationId | None = None


class AclPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, the oldest first."""

    entries: list[AclEntry]
    next: int | None
    """``after`` of the next page; null: this is the last."""


class RequestLogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the log."""

    before: RowNumber | None = None
    limit: Rows = 50
    request_id: RequestId | None = None
    station_id: StationId | None = None
    status: Status | None = None


class RequestLogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A request, its decision, and how far the answer has come."""

    request_id: str
    client: str
    station_id: str
    token_hash: str
    """The beginning of the token's keyed hash."""
    callback_host: str
    received_at: Time
    status: Status
    reason: ReasonWord | None
    message: str | None
    decided_at: Time | None
    callback: CallbackWord
    attempts: int
    callback_said: str | None
    """What came of the last try: a status, or one of refused, dns, connect, tls, timeout, answer."""
    finished_at: Time | None


class RequestLogPage(msgspec.Struct, frozen=True, kw_only=True):
    """Requests, the newest first."""

    entries: list[RequestLogEntry]
    next: int | None
    """``before`` of the next page; null: this is the last."""


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a client's own request."""

    request_id: str
    station_id: str
    received_at: Time
    status: Status
    message: str | None
    decided_at: Time | None
    callback: CallbackWord


class DeadLetterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the callbacks that failed."""

    before: RowNumber | None = None
    limit: Rows = 50


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that failed for good and can be sent again."""

    request_id: str
    client: str
    station_id: str
    callback_host: str
    status: Status
    attempts: int
    callback_said: str | None
    dead_since: Time


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Callbacks that failed, the newest request first."""

    entries: list[DeadLetter]
    next: int | None
    """``before`` of the next page; null: this is the last."""


class CallbackQueued(msgspec.Struct, frozen=True, kw_only=True):
    """The callback is due again, with all its tries."""

    request_id: str
    callback: Literal["pending"]
