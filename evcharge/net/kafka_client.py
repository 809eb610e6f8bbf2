"""Where aiokafka has rough edges: topics that it lets brokers make, what these said, a client that is given up, and its
own lines. Whoever makes a client of it imports this.

Nothing here is imported without the extra ``kafka``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any

import aiokafka.admin.client as admin_module
import aiokafka.client as client_module
from aiokafka import errors
from aiokafka.conn import create_conn
from aiokafka.consumer import fetcher as fetcher_module
from aiokafka.protocol.metadata import MetadataRequest

from evcharge.net.ending import heeding_its_end
from evcharge.net.kafka_faults import FAILURES, understood
from evcharge.net.kafka_records import PassingOver


class LookingOnly(MetadataRequest):  # type: ignore[misc]  # aiokafka has no types
    """The question for topics that makes none.

    Brokers that make topics by themselves (``auto.create.topics.enable``, which is Kafka's default) make each one that
    a client asks for, unless it says that it only wants to look. aiokafka never says so: an administrator that looks, a
    consumer that begins before its topic is there, a producer whose topic was deleted would each make it, and not as it
    has to be.
    """

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


# aiokafka has no settings for these, and its clients make such objects themselves. So this is what every client of the
# process asks with, and every consumer reads with; tests/net/test_kafka.py sees when a release of it does otherwise.
client_module.MetadataRequest = LookingOnly
admin_module.MetadataRequest = LookingOnly
fetcher_module.PartitionRecords = PassingOver


def quiet() -> None:
    """Keep aiokafka's own lines out of the log: it repeats them for as long as a broker is away, several times a
    second, and what an operator has to know is said once by whoever uses it.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


async def asked(arguments: Mapping[str, Any], within_s: float) -> dict[str, Exception | None]:
    """What each broker says to this client, by its address, all asked at once; None: it lets it in.

    The client itself keeps to itself why it could not connect, and of a wrong password too it says only that it failed.
    ``arguments`` as from ``client_arguments``.
    """
    known = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}

    async def ask(address: str) -> Exception | None:
        host, _, port = address.rpartition(":")
        try:
            async with in_time(within_s):
                with understood():
                    connection = await create_conn(
                        host.strip("[]"), int(port), request_timeout_ms=int(within_s * 1000), **known
                    )
            connection.close()
        except FAILURES as error:
            return error
        return None

    addresses = list(arguments["bootstrap_servers"])
    return dict(zip(addresses, await asyncio.gather(*map(ask, addresses)), strict=True))


@asynccontextmanager
async def in_time(within_s: float) -> AsyncIterator[None]:
    """Ask a client something, ``within_s`` seconds at most.

    A client that ends while it is asked says that the task was cancelled. Nobody asked for that, and a task that took
    it for its own end would be missed by nobody: so it is one of ``FAILURES`` here. And while it ends tasks of its own
    it keeps to itself that this one is to end, which is heeded here.

    Raises:
        TimeoutError
        KafkaConnectionError: the client ended.
        CancelledError: the task is to end, whatever the client made of that.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    with heeding_its_end():
        try:
            async with asyncio.timeout(within_s):
                yield
        except asyncio.CancelledError as error:
            if task.cancelling() > before:
                raise
            raise errors.KafkaConnectionError("the client has ended") from error


def unasked(future: asyncio.Future[Any]) -> None:
    """Nobody may come to ask what became of it: asyncio prints such a failure when the future is collected."""
    future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def give_up(client: Any, within_s: float) -> None:
    """Stop a producer, a consumer or an administrator, whatever state it and its brokers are in.

    What a producer still had to send is not sent, and who waits for it hears KafkaError; a transaction stays open, for
    whoever has its name next. Each of the client's parts gets ``within_s`` seconds. Raises nothing but CancelledError,
    where the caller itself is to end.
    """
    sender = getattr(client, "_sender", None)
    if sender is not None and sender.sender_task is not None:
        # It would wait until all is sent, an idempotent one without end, and has no other way to be told.
        sender.sender_task.cancel()
    try:
        async with in_time(within_s):
            with understood():
                await (client.stop if hasattr(client, "stop") else client.close)()
    except FAILURES:
        for part in ("_sender", "_coordinator", "_fetcher", "client", "_client"):
            found = getattr(client, part, None)
            if found is not None:
                with suppress(*FAILURES):
                    async with in_time(within_s):
                        with understood():
                            await found.close()
    finally:
        if sender is not None:
            _fail(client)


def _fail(producer: Any) -> None:
    """Who waits for the producer would wait without end; what nobody waits for is not printed either."""
    batches = producer._message_accumulator
    known = {*chain.from_iterable(batches._batches.values()), *batches._pending_batches}
    # One that is sent again is missing where its own callback takes it from.
    batches._pending_batches.update(known)
    batches.fail_all(errors.KafkaError("the producer was given up"))
    # Asked only by who waits for room behind the batch.
    waiters = [one for batch in known for one in (batch.future, batch._drain_waiter)]
    transactions = producer._txn_manager
    end = None if transactions is None else transactions._transaction_waiter
    if end is not None:
        if not end.done():
            end.set_exception(errors.KafkaError("the producer was given up"))
        waiters.append(end)
    for waiter in waiters:
        unasked(waiter)
