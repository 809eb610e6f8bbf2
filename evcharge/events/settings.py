"""What the publisher is told: where it writes, how, and within which limits."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from evcharge.events.message import Format
from evcharge.net.kafka import KafkaSettings

# Kafka's own rule for names of topics; no name of a log has another sign, so that `/` between two names is unambiguous.
NAME = r"^[A-Za-z0-9._-]+$"

EVENTS_TOPIC = "evcharge.events"
POSITIONS_TOPIC = "evcharge.positions"
LOG_NAME = "site"

# One for each of the six charge points of a small site; more only cost files.
PARTITIONS = 6
# Kafka's own default, and what one broker can promise. Three brokers: 3.
REPLICATION = 1
# A week, as Kafka has it.
RETENTION_DAYS = 7
# Shortest time from the begin of a transaction to that of the next, in seconds, unless much is waiting: an idle site
# then costs the brokers four small transactions a second at most, and a record is seen well within a second.
PACE_S = 0.25

Compression = Literal["lz4", "zstd", "snappy", "gzip", "none"]
TopicName = Annotated[str, Meta(pattern=NAME, min_length=1, max_length=249)]
LogName = Annotated[str, Meta(pattern=NAME, min_length=1, max_length=64)]


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How topics are made that are not there; those that are there stay as they are."""

    partitions: Annotated[int, Meta(ge=1, le=10_000)] = PARTITIONS
    """Of the events; positions have one."""
    replication: Annotated[int, Meta(ge=1, le=100)] = REPLICATION
    retention_days: Annotated[float, Meta(ge=0)] = RETENTION_DAYS
    """How long events are kept, counted from when they were published; 0: for ever."""

    @property
    def retention_ms(self) -> int:
        """As Kafka has it: -1 is for ever."""
        return -1 if self.retention_days == 0 else max(1, round(self.retention_days * 86_400_000))


class PublisherSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them."""

    kafka: KafkaSettings
    topic: TopicName = EVENTS_TOPIC
    positions_topic: TopicName = POSITIONS_TOPIC
    log_name: LogName = LOG_NAME
    """What Central's log is called on the topics: another log on the same topics needs another name."""
    format: Format = "json"
    compression: Compression = "lz4"
    topics: TopicSettings = TopicSettings()
    after_seq: int | None = None
    """Begin behind this record where no position is known."""
    pace_s: float = PACE_S

    def __post_init__(self) -> None:
        """Events and positions are not the same topic."""
        if self.topic == self.positions_topic:
            raise ValueError("events and positions need a topic each")

    @property
    def transactional_id(self) -> str:
        """Who has it last is the one who publishes: the brokers turn everybody before away."""
        return f"evcharge-events/{self.log_name}/{self.topic}"
