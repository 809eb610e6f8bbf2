"""What the topics say was published: the position, and the newest record that is there. Both read committed records,
and neither turns anybody away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from evcharge.events.faults import described
from evcharge.events.position import Kept, Row, kept_of
from evcharge.events.settings import PublisherSettings
from evcharge.events.troubles import Kind, Trouble
from evcharge.net.kafka_client import give_up
from evcharge.net.kafka_faults import FAILURES, understood

# How long one request may take, in milliseconds.
REQUEST_MS = 15_000
# How long one look at a partition waits, in milliseconds; whatever comes ends it.
LOOK_MS = 500
# Reading that has got no further for so long is given up, in seconds. Longer than the transaction of another log's
# publisher can stay open on the same topics (60 s): what is committed behind it is seen only when it is over.
STALL_S = 70.0
# How far back a partition is looked at first to find the last record of a log, in offsets; some of these are the ends
# of transactions, and what was given up.
FIRST_LOOK = 2_000
# How much further back the next look goes.
FURTHER = 10
# How long a consumer may take to end, in seconds.
CLOSE_S = 2.0
# Longest number of a record, in digits: whoever may write to the topic may write longer ones.
SEQ_DIGITS = 19


def name_of(settings: PublisherSettings) -> str:
    """What the position is kept for."""
    return f"{settings.log_name}/{settings.topic}"


async def read_kept(settings: PublisherSettings, arguments: Mapping[str, Any]) -> Kept:
    """What the topic of positions says now. Whoever wants to go on from there has its producer already.

    Raises:
        Trouble: it cannot be read, or there is something else on it.
    """
    # Only the newest of each key: where Kafka's log cleaner has died the topic is long, and what it says is not.
    rows: dict[bytes, bytes] = {}

    def take(record: Any) -> None:
        if record.value is None:
            rows.pop(record.key or b"", None)
        else:
            rows[record.key or b""] = record.value

    place = TopicPartition(settings.positions_topic, 0)
    try:
        begins, ends = await _bounds([place], arguments)
        await _read({place: (begins[place], ends[place])}, arguments, take)
    except FAILURES as error:
        raise described(error) from error
    try:
        return kept_of(name_of(settings), [Row(key, value) for key, value in rows.items()])
    except ValueError as error:
        raise Trouble(
            Kind.TOPIC_UNFIT,
            f"{settings.positions_topic} holds something else than positions under {name_of(settings)!r} ({error}): "
            "name another topic with --positions-topic.",
        ) from error


async def newest_published(
    settings: PublisherSettings, arguments: Mapping[str, Any], partitions: int, *, thorough: bool
) -> int:
    """The newest record of this log on the topic; 0: there is none.

    ``thorough``: each partition is read backwards until there is one, to its beginning if need be. Without it only the
    last ``FIRST_LOOK`` offsets of each are looked at.

    Raises:
        Trouble
    """
    own = settings.log_name.encode()
    newest: dict[int, int] = {}

    def take(record: Any) -> None:
        headers = dict(record.headers)
        seq = headers.get("seq")
        if headers.get("log") == own and isinstance(seq, bytes) and len(seq) <= SEQ_DIGITS and seq.isdigit():
            newest[record.partition] = max(newest.get(record.partition, 0), int(seq))

    try:
        places = [TopicPartition(settings.topic, number) for number in range(partitions)]
        begins, ends = await _bounds(places, arguments)
        back = FIRST_LOOK
        left = ends
        while left:
            spans = {place: (max(begins[place], ends[place] - back), end) for place, end in left.items()}
            await _read(spans, arguments, take)
            left = {
                place: begin
                for place, (begin, _) in spans.items()
                if thorough and begin > begins[place] and place.partition not in newest
            }
            back *= FURTHER
    except FAILURES as error:
        raise described(error) from error
    return max(newest.values(), default=0)


Offsets = Mapping[TopicPartition, int]


async def _bounds(places: Sequence[TopicPartition], arguments: Mapping[str, Any]) -> tuple[Offsets, Offsets]:
    """Begins and ends. The real ends, behind transactions of others that are still open."""
    async with asyncio.timeout(STALL_S), _consumer(arguments, "read_uncommitted") as looking:
        with understood():
            looking.assign(places)
            ends = await looking.end_offsets(places)
            begins = await looking.beginning_offsets(places)
            # An answer that leaves one of them out is none.
            return {place: begins[place] for place in places}, {place: ends[place] for place in places}


async def _read(
    spans: Mapping[TopicPartition, tuple[int, int]], arguments: Mapping[str, Any], take: Callable[[Any], None]
) -> None:
    """Give ``take`` all committed records of these spans, each partition's in their order.

    Raises:
        TimeoutError: it got no further for ``STALL_S``. And what the client raises.
    """
    # Not even a consumer, where there is nothing: one that is closed before it did anything says that it was cancelled.
    left = [place for place, (begin, end) in spans.items() if begin < end]
    if not left:
        return
    clock = asyncio.get_running_loop().time
    async with asyncio.timeout(STALL_S) as limit, _consumer(arguments, "read_committed") as reading:
        with understood():
            reading.assign(left)
            for place in left:
                reading.seek(place, spans[place][0])
        before: dict[TopicPartition, int] = {}
        while True:
            with understood():
                now = {place: await reading.position(place) for place in left}
            left = [place for place in left if now[place] < spans[place][1]]
            if not left:
                return
            if now != before:
                limit.reschedule(clock() + STALL_S)
                before = now
            with understood():
                found = await reading.getmany(*left, timeout_ms=LOOK_MS)
            for place, records in found.items():
                for record in records:
                    if record.offset < spans[place][1]:
                        take(record)


@asynccontextmanager
async def _consumer(arguments: Mapping[str, Any], isolation: str) -> AsyncIterator[AIOKafkaConsumer]:
    # With "latest", its default, the client may still go to the end after it was told to seek elsewhere.
    made = AIOKafkaConsumer(
        **arguments,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=REQUEST_MS,
    )
    try:
        with understood():
            await made.start()
        yield made
    finally:
        await give_up(made, CLOSE_S)
