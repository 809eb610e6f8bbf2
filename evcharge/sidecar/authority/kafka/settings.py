"""Every number of the queue on Kafka that an operator may set, with its default, unit and reason."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from evcharge.net.kafka import KafkaSettings

# Parts of a topic. There is one member to read them, and two while one sidecar follows another; that is enough, because
# one decides hundreds of requests in a second. More than one part, so that the brokers of a cluster share them, and one
# that is away holds up its own only.
PARTITIONS = 6
# Copies of each message: a single broker has one, a cluster should have three. The table has each request anyway.
REPLICATION = 1
# How long a topic keeps messages: requests, in hours (half an hour later they are too old), and dead ones, in days.
RETENTION_HOURS = 24
DEAD_DAYS = 7
# After how long a request that is still undecided goes to the topic again, in seconds: its message may have been lost
# there. Long enough for a queue that is full, short enough for a driver who has half an hour.
AGAIN_S = 300
# Without a sign of life for this long a member's part goes to the others, in seconds: the least that brokers allow.
SESSION_S = 6.0
# How long a broker may take for an answer, in seconds: it takes milliseconds.
PATIENCE_S = 10.0
# How often the topics are looked for, and rows that are due again, in seconds.
LOOK_S = 5.0
# How long to leave the brokers alone after something failed, in seconds.
RETRY_S = 1.0

Topic = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
Count = Annotated[int, Meta(ge=1, le=10_000)]
Seconds = Annotated[float, Meta(gt=0, le=3_600)]


class QueueKafka(KafkaSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[authority.kafka]``: requests wait on a topic instead of in the database alone."""

    topic: Topic = "charging_requests"
    """One database's own: what nobody accepted there goes to ``dead_topic``."""
    dead_topic: Topic = "charging_requests.dlq"
    group: Annotated[str, Meta(min_length=1, max_length=200)] = "evcharge-authority"
    """Whoever decides over the same database is a member of it."""
    partitions: Count = PARTITIONS
    replication: Annotated[int, Meta(ge=1, le=100)] = REPLICATION
    """Both of topics that are made here; those that are there stay as they are."""
    retention_hours: Count = RETENTION_HOURS
    dead_days: Count = DEAD_DAYS
    again_s: Annotated[int, Meta(ge=1, le=86_400)] = AGAIN_S
    session_s: Annotated[float, Meta(ge=1, le=300)] = SESSION_S
    patience_s: Seconds = PATIENCE_S
    look_s: Seconds = LOOK_S
    retry_s: Seconds = RETRY_S

    def __post_init__(self) -> None:
        """Dead messages must not come back as requests."""
        KafkaSettings.__post_init__(self)
        if self.topic == self.dead_topic:
            raise ValueError("topic and dead_topic have to be two")

    @property
    def addresses(self) -> str:
        """Of the brokers, for a sentence."""
        return ", ".join(self.brokers)
