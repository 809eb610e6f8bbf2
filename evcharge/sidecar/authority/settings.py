"""Every number of the charge authorization that an operator may set, with its default, unit and reason."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from evcharge.sidecar.authority.kafka.settings import QueueKafka

# An answer that comes later is of no use to a driver at a station (features.md, charge authorization).
REQUEST_AGE_S = 1_800
# Time for one look at the list, in seconds: it takes a millisecond where the database is well.
CHECK_S = 5.0
# Requests that wait for their decision, and callbacks that wait to be delivered, of all clients and of one: a client
# whose receiver is down must not use up what the others need. Ten thousand are half an hour of six in a second.
BACKLOG = 10_000
CLIENT_BACKLOG = 2_000
# When to ask again after the queue was full, in seconds: a small machine does some 50 in a second.
FULL_RETRY_S = 5
# Requests decided in one transaction: one sync of the disk for all of them, and some tenths of a second's work.
BATCH = 100
# Entries of the list: a large operator's drivers at a few hundred stations. Each insertion counts them.
ACL_ENTRIES = 100_000
# How long decided requests stay in the log, in days, and how many at most: a row has about 400 bytes.
KEPT_DAYS = 30
LOG_ROWS = 1_000_000
# How long a callback that failed can be sent again, in days, and how many at most: as long its token is kept (sealed).
DEAD_DAYS = 7
DEAD_LETTERS = 10_000
# Rows deleted in one transaction: others wait for it, a few milliseconds.
CLEAN_ROWS = 500
# How often old rows are looked for, in seconds: nothing hangs on the minute.
CLEAN_S = 600.0
# Time for one try of a callback, in seconds, and tries after the first (features.md).
CALLBACK_S = 10.0
RETRIES = 3
# Longest wait before the first retry, in seconds, and its growth with each further one: 2, 10, 50. The first ones hide
# a hiccup from a driver who waits; the last one comes after a receiver's restart.
RETRY_BASE_S = 2.0
RETRY_FACTOR = 5
# Longest wait that a receiver may ask for by Retry-After, in seconds: later the driver has left.
RETRY_AFTER_S = 300
# Callbacks in flight: all of them, those to one host, and those of one client, however many names its receivers have.
# Four clients have to be slow before another one waits.
DELIVERIES = 32
DELIVERIES_PER_HOST = 4
DELIVERIES_PER_CLIENT = 8
# How long to leave the database alone after it failed, in seconds.
DATABASE_RETRY_S = 1.0


Positive = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Whole = Annotated[int, Meta(ge=0, le=1_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class AuthoritySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the charge authorization."""

    signing_secret_env: str = "EVCHARGE_CALLBACK_SECRET"  # noqa: S105  # the name of a variable, no secret
    """The environment variable with the callbacks' signing secrets, newest first, blanks between ("whsec_…")."""
    request_age_s: Positive = REQUEST_AGE_S
    check_s: Seconds = CHECK_S
    backlog: Positive = BACKLOG
    client_backlog: Positive = CLIENT_BACKLOG
    full_retry_s: Positive = FULL_RETRY_S
    batch: Positive = BATCH
    acl_entries: Positive = ACL_ENTRIES
    kept_days: Positive = KEPT_DAYS
    log_rows: Positive = LOG_ROWS
    dead_days: Whole = DEAD_DAYS
    dead_letters: Positive = DEAD_LETTERS
    clean_rows: Positive = CLEAN_ROWS
    clean_s: Seconds = CLEAN_S
    callback_s: Seconds = CALLBACK_S
    retries: Whole = RETRIES
    retry_base_s: Seconds = RETRY_BASE_S
    retry_factor: Positive = RETRY_FACTOR
    retry_after_s: Positive = RETRY_AFTER_S
    deliveries: Positive = DELIVERIES
    deliveries_per_host: Positive = DELIVERIES_PER_HOST
    deliveries_per_client: Positive = DELIVERIES_PER_CLIENT
    database_retry_s: Seconds = DATABASE_RETRY_S
    kafka: QueueKafka | None = None
    """Requests wait on a topic; None: in the database alone."""
