"""What a gateway follows: the log as it is written, and the charge points that changed (SPEC §7.12)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocol.fields import Count, Id, Message, RequestId, Word

# Longest that an answer waits for a record, ms: below what middleboxes call idle. SPEC §7.12
MAX_WAIT_MS = 30_000


class Follow(Message, tag="follow", frozen=True):
    """The records behind ``after_seq`` as they stand in the log, durable ones only, oldest first.

    Answered by ``reply`` with tail: at once where there is one, else when there is, or empty after ``wait_ms``.
    """

    id: RequestId
    after_seq: Count = 0
    body_from: Count = 0
    """Where in the body of a record that no frame holds this piece begins."""
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 0
    name: Word | None = None
    """What follows, where a peer has several that do; for the metrics."""


class Changes(Message, tag="changes", frozen=True):
    """The charge points that changed since an earlier answer. Answered by ``reply`` with changes."""

    id: RequestId
    run: Id | None = None
    """Of the earlier answer; None, or another one than Central's: all of them."""
    since: Count = 0
    """``upto`` of the earlier answer."""
