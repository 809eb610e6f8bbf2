"""What the publisher counts; ``evcharge.events.metrics`` makes metrics of it."""

from __future__ import annotations

from collections import Counter

from evcharge.tally import Buckets

OUTCOMES = ("committed", "failed", "fenced", "too_large")


class Tally:
    """Plain numbers."""

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0
        self.missed = 0
        self.cut = 0
        self.transactions: Counter[str] = Counter()
        self.commit_s = Buckets()
        self.published_seq: int | None = None
        """The last record that is on the topic; None: it is not known yet."""
        self.newest_seq: int | None = None
        """Central's newest durable record, as far as it is known."""
        self.waiting_bytes = 0
        self.kafka_connected = False

    @property
    def lag(self) -> int | None:
        """Durable records that are not published; None: it is not known."""
        if self.published_seq is None or self.newest_seq is None:
            return None
        return max(0, self.newest_seq - self.published_seq)
