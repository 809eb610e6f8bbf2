"""What an independent consumer sees: confluent-kafka (librdkafka), committed records only."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

# Longest wait for records, in seconds.
DEADLINE_S = 60.0


class Read(NamedTuple):
    """One message."""

    partition: int
    key: str
    seq: int
    headers: dict[str, bytes]
    value: bytes


def read_committed(
    address: str, topic: str, upto_seq: int, *, deadline_s: float = DEADLINE_S, **settings: str
) -> list[Read]:
    """All messages in the order of their partitions, when the one of record ``upto_seq`` is there; what came by then
    otherwise.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "reading",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **settings,
        }
    )
    found: list[Read] = []
    end_s = time.monotonic() + deadline_s
    try:
        places = consumer.list_topics(topic, timeout=deadline_s).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in places])
        highest = 0
        quiet = 0
        # What is behind the last record would be a repetition: one more look.
        while time.monotonic() < end_s and quiet < 2:
            messages = consumer.consume(5_000, timeout=0.5)
            quiet = quiet + 1 if not messages and highest >= upto_seq else 0
            for message in messages:
                assert message.error() is None, message.error()
                headers = dict(message.headers() or [])
                one = Read(
                    message.partition() or 0,
                    (message.key() or b"").decode(),
                    int(headers["seq"]),
                    headers,
                    message.value() or b"",
                )
                found.append(one)
                highest = max(highest, one.seq)
    finally:
        consumer.close()
    return found


def check_exactly_once(found: Iterable[Read], upto_seq: int) -> None:
    """Every record from 1 on once, and in order under each key, which has one partition."""
    found = list(found)
    seqs = sorted(each.seq for each in found)
    assert seqs == list(range(1, upto_seq + 1)), _wrong(seqs, upto_seq)
    by_key: dict[str, list[Read]] = {}
    for each in found:
        by_key.setdefault(each.key, []).append(each)
    for key, own in by_key.items():
        assert [each.seq for each in own] == sorted(each.seq for each in own), key
        assert len({each.partition for each in own}) == 1, key


def _wrong(seqs: list[int], upto_seq: int) -> str:
    twice = sorted({seq for seq in seqs if seqs.count(seq) > 1}) if len(seqs) < 10_000 else []
    missing = sorted(set(range(1, upto_seq + 1)) - set(seqs))
    return f"{len(seqs)} messages; twice {twice[:10]}, missing {len(missing)}: {missing[:10]}"
