"""Messages that aiokafka cannot decode: passed over, where it would never get past them.

The name of a header is text, and the client wants UTF-8. Brokers do not look: a message whose header is called by other
bytes is taken, and whoever reads its partition is thrown back to it for ever. One stranger with the right to write
would keep all others from being heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from aiokafka.consumer.fetcher import PartitionRecords

log = structlog.get_logger()


class _Batch:
    """A batch as the client has it, but for one thing: it ends before what cannot be decoded.

    What its writer sent behind that in the same batch is passed over with it: where the next message begins, nobody
    knows who cannot decode this one.
    """

    def __init__(self, batch: Any, place: Any) -> None:
        self._batch = batch
        self._place = place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        begin = self._batch.base_offset
        try:
            for record in self._batch:
                begin = record.offset + 1
                yield record
        except UnicodeDecodeError as error:
            log.warning(
                "kafka.passed_over",
                topic=self._place.topic,
                partition=self._place.partition,
                offset=begin,
                next_offset=self._batch.next_offset,
                sentence=f"A header's name there is not UTF-8 ({error.reason}), so its message and what came with it "
                "cannot be read. They are none of evcharge's; find out who writes to this topic.",
            )


class _Batches:
    """All batches of an answer."""

    def __init__(self, records: Any, place: Any) -> None:
        self._records = records
        self._place = place

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> _Batch:
        return _Batch(self._records.next_batch(), self._place)


class PassingOver(PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """What a consumer reads of a partition."""

    def __init__(self, place: Any, records: Any, *more: Any) -> None:
        super().__init__(place, _Batches(records, place), *more)
