"""An independent reader of the topic of events: librdkafka instead of aiokafka, committed transactions only."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

# Messages of one look, and how long it waits for the first, in seconds.
LOOK = 5_000
LOOK_S = 0.2
# Sentences about what is wrong that are kept.
KEPT = 10


class Read(msgspec.Struct):
    """What came, and what of it may not be."""

    messages: int = 0
    newest: int = 0
    times: Counter[int] = msgspec.field(default_factory=Counter)
    """By sequence number: how often it came."""
    bodies: dict[int, bytes] = msgspec.field(default_factory=dict)
    """By sequence number: SHA-256 of what the message says of the record."""
    last: dict[bytes, int] = msgspec.field(default_factory=dict)
    """By key: the last sequence number."""
    partitions: dict[bytes, int] = msgspec.field(default_factory=dict)
    """By key."""
    wrong: Counter[str] = msgspec.field(default_factory=Counter)
    sentences: list[str] = msgspec.field(default_factory=list)

    def take(self, key: bytes, partition: int, headers: Mapping[str, bytes], value: bytes) -> None:
        """One message."""
        self.messages += 1
        said = msgspec.json.decode(value)
        seq = int(headers["seq"])
        if said["seq"] != seq or headers["schema"] != f"evcharge.{said['kind']}".encode():
            self._add("headers", f"record {said['seq']} ({said['kind']}) came as {headers}")
        self.times[seq] += 1
        self.newest = max(self.newest, seq)
        if self.last.get(key, 0) >= seq:
            self._add("order", f"{key!r}: {seq} came behind {self.last[key]}")
        self.last[key] = seq
        if self.partitions.setdefault(key, partition) != partition:
            self._add("partition", f"{key!r} is in {self.partitions[key]} and in {partition}")
        self.bodies[seq] = told(said["kind"], said["data"])

    def _add(self, kind: str, sentence: str) -> None:
        self.wrong[kind] += 1
        if len(self.sentences) < KEPT:
            self.sentences.append(sentence)


def told(kind: str, data: Mapping[str, Any]) -> bytes:
    """A short name for what a record says, however it was written."""
    return sha256(msgspec.json.encode([kind, data], order="deterministic")).digest()[:16]


def told_by(body: bytes) -> bytes:
    """The same of a record as the log has it (FORMAT.md §4)."""
    kind, _version, rest = msgspec.msgpack.decode(body)
    return told(kind, rest.get("data", rest))


class TopicReader:
    """Reads a topic from its first message on, in a thread of its own; what came stands in ``read``."""

    def __init__(self, address: str, topic: str, *, committed: bool = True) -> None:
        """``committed``: leave out what stands in transactions that were given up."""
        self.topic = topic
        self.read = Read()
        self._over = threading.Event()
        self._left: set[int] = set()
        """Partitions that were not read to their end yet."""
        self._failed: list[BaseException] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "exactly-once-drill",
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "allow.auto.create.topics": False,
                # It is killed and comes back: look for it at once, and say nothing about it.
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="reader of the topic", daemon=True)

    def start(self, partitions: int) -> None:
        """Read on until ``close``; the topic has to be there."""
        self._left = set(range(partitions))
        self._consumer.assign([TopicPartition(self.topic, number, 0) for number in range(partitions)])
        self._thread.start()

    @property
    def at_the_end(self) -> bool:
        """Whether every partition was read to an end that it had once: to the last one, if nobody writes any more."""
        return not self._left

    def check(self) -> None:
        """Raise what ended the thread."""
        if self._failed:
            raise self._failed[0]

    def close(self) -> None:
        """No more."""
        self._over.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                for message in self._consumer.consume(LOOK, LOOK_S):
                    self._take(message)
        except BaseException as error:  # noqa: BLE001  # the drill raises it
            self._failed.append(error)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._left.discard(message.partition())
            elif error.fatal() or error.code() == KafkaError.OFFSET_OUT_OF_RANGE:
                raise RuntimeError(str(error))
            return
        key, value, partition = message.key(), message.value(), message.partition()
        assert isinstance(key, bytes) and isinstance(value, bytes) and partition is not None
        self.read.take(key, partition, dict(message.headers() or []), value)  # type: ignore[arg-type]
