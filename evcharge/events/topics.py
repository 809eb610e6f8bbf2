"""The topics: how they are made, and what is other than asked where they are there already."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from evcharge.events.parcels import MAX_MESSAGE_BYTES
from evcharge.events.settings import PublisherSettings, TopicSettings
from evcharge.events.troubles import Kind, Trouble

# The positions: what is not the newest of its key is cleaned away soon, in pieces of 16 MiB at most, so that a start
# reads little. A key that was to be forgotten is gone after an hour.
POSITIONS_CONFIG = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 << 20),
    "segment.ms": str(3_600_000),
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": str(3_600_000),
}


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One that is there."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] | None
    """Its settings; None: the brokers do not tell this client."""
    made: bool = False
    """It was missing, and is there now."""
    in_sync: int | None = None
    """The smallest number of replicas in sync of any partition; None: it is not known."""

    def number(self, name: str) -> int | None:
        """A setting that is one; None: it is not known."""
        try:
            return int((self.config or {})[name])
        except (KeyError, ValueError):
            return None


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """Both, and what the operator should know of them."""

    events: Topic
    positions: Topic
    remarks: list[str]
    """Sentences: what is other than the settings ask for. Nothing of it is changed."""


def events_config(asked: TopicSettings) -> dict[str, str]:
    """Settings of a new topic of events."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(asked.retention_ms),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }


def remarks(settings: PublisherSettings, events: Topic, positions: Topic) -> list[str]:
    """What is other than asked, as sentences."""
    asked, said = settings.topics, list[str]()
    if events.partitions != asked.partitions:
        said.append(
            f"{events.name} has {events.partitions} partitions, not {asked.partitions}; it stays so, because with "
            "another number the records of a charge point would go on in another partition."
        )
    for topic in (events, positions):
        if topic.replication != asked.replication:
            said.append(f"{topic.name} has {topic.replication} replicas, not {asked.replication}; it stays so.")
    retention = events.number("retention.ms")
    if retention is not None and retention != asked.retention_ms:
        said.append(
            f"{events.name} keeps records for {_days(retention)}, not {_days(asked.retention_ms)}; it stays so."
        )
    if "compact" in (events.config or {}).get("cleanup.policy", ""):
        said.append(
            f"{events.name} is compacted: only the last record of each charge point stays. kafka-configs.sh "
            "--add-config cleanup.policy=delete changes that."
        )
    most = events.number("max.message.bytes")
    if most is not None and most < MAX_MESSAGE_BYTES:
        said.append(
            f"{events.name} takes messages of {most} bytes at most; of a record that is longer only a stand-in with "
            f"its hash is published. kafka-configs.sh --add-config max.message.bytes={MAX_MESSAGE_BYTES} changes that."
        )
    if "cleanup.policy" not in (positions.config or {}):
        said.append(
            f"The brokers do not tell this user how {positions.name} is kept: it has to have cleanup.policy=compact, "
            "or Kafka deletes positions, and records are published again. The right DESCRIBE_CONFIGS shows it."
        )
    return said


def unsafe(topics: Topics) -> Trouble | None:
    """That a topic takes nothing, because too few of its replicas are in sync; None: it does, or nobody can tell."""
    for topic in (topics.events, topics.positions):
        least = topic.number("min.insync.replicas")
        # No broker asks for more replicas than there are.
        if least is not None and topic.in_sync is not None and topic.in_sync < min(least, topic.replication):
            return Trouble(
                Kind.KAFKA_UNSAFE,
                f"{topic.name} has {topic.in_sync} replicas in sync and min.insync.replicas={least}, so it takes "
                "nothing; what comes is published when brokers are back.",
            )
    return None


def _days(retention_ms: int) -> str:
    return "ever" if retention_ms < 0 else f"{retention_ms / 86_400_000:g} days"


def check_positions(positions: Topic) -> None:
    """Whether positions can be kept there. Raises Trouble."""
    if positions.partitions != 1:
        raise Trouble(
            Kind.TOPIC_UNFIT,
            f"{positions.name} has {positions.partitions} partitions, and positions need exactly one: name another "
            "topic with --positions-topic.",
        )
    policy = (positions.config or {}).get("cleanup.policy")
    if policy is not None and policy != "compact":
        raise Trouble(
            Kind.TOPIC_UNFIT,
            f"{positions.name} has cleanup.policy={policy}, so Kafka would delete positions, and everything would be "
            "published twice: set cleanup.policy=compact, or name another topic with --positions-topic. Brokers with "
            "auto.create.topics.enable make it so when somebody else asks for it first.",
        )
