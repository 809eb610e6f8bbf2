"""What the publisher tells Prometheus: every metric with its meaning, and where it is read (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import Metric as Family

from evcharge.events.tally import OUTCOMES, Tally
from evcharge.events.troubles import Board, Kind
from evcharge.net.metrics import Metric, counter, gauge, histogram

RECORDS = counter("evcharge_events_records_total", "Records that were published", "records")
BYTES = counter("evcharge_events_bytes_total", "Values of published records, before compression", "bytes")
TRANSACTIONS = counter(
    "evcharge_events_transactions_total",
    "Transactions by outcome: committed; failed, fenced or too_large ones are repeated",
    "transactions",
    "outcome",
)
COMMIT = histogram(
    "evcharge_events_commit_seconds", "From the begin of a transaction to its end, where it was committed", "seconds"
)
SEQUENCE = gauge("evcharge_events_sequence", "Newest record of Central's log that is published", "records")
LAG = gauge("evcharge_events_lag_records", "Durable records of Central's log that are not published yet", "records")
WAITING = gauge("evcharge_events_waiting_bytes", "What was read from Central and is not published yet", "bytes")
MISSED = counter("evcharge_events_missed_total", "Records that were archived before they could be published", "records")
CUT = counter(
    "evcharge_events_cut_total",
    "Records of which the topic took only a stand-in, because they are longer than its max.message.bytes",
    "records",
)
TROUBLES = counter("evcharge_events_troubles_total", "Troubles that came up, by kind", "troubles", "kind")
TROUBLE = gauge("evcharge_events_trouble", "1: this kind of trouble keeps records from being published now", "", "kind")
KAFKA = gauge("evcharge_events_kafka_connected", "1: the publisher has its transactional producer", "")
CENTRAL = gauge("evcharge_events_central_connected", "1: the channel to Central is open", "")

TABLE: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""All of them."""

# What is there from the start with 0, so that a first one is seen as a rise.
_OUTCOMES: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
_KINDS: dict[str, int] = {kind.value: 0 for kind in Kind}


class EventsMetrics:
    """A ``Collector`` of one publisher."""

    def __init__(self, tally: Tally, board: Board, connected: Callable[[], bool]) -> None:
        """``connected``: whether there is a channel to Central."""
        self._tally = tally
        self._board = board
        self._connected = connected

    async def look(self) -> None:
        """Part of ``Collector``: everything is known."""

    def collect(self) -> Iterator[Family]:
        """Part of ``Collector``."""
        tally = self._tally
        yield RECORDS.alone(tally.records)
        yield BYTES.alone(tally.bytes)
        yield TRANSACTIONS.rows(_OUTCOMES | tally.transactions)
        yield COMMIT.buckets(tally.commit_s)
        yield SEQUENCE.alone(tally.published_seq)
        yield LAG.alone(tally.lag)
        yield WAITING.alone(tally.waiting_bytes)
        yield MISSED.alone(tally.missed)
        yield CUT.alone(tally.cut)
        yield TROUBLES.rows(_KINDS | self._board.counts)
        yield TROUBLE.rows(_KINDS | {trouble.kind.value: 1 for trouble in self._board.troubles})
        yield KAFKA.alone(int(tally.kafka_connected))
        yield CENTRAL.alone(int(self._connected()))
