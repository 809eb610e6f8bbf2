"""Where aiokafka has rough edges: what failed as one sentence, a client that is given up, and its own lines.

Nothing here is imported without the extra ``kafka``.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any

from aiokafka import errors
from aiokafka.conn import create_conn

# What comes out of aiokafka when it reads an answer that is none of Kafka's.
_NONSENSE: tuple[type[Exception], ...] = (
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)
# Every way in which a client of aiokafka says that something is wrong.
FAILURES: tuple[type[Exception], ...] = (errors.KafkaError, OSError, TimeoutError, *_NONSENSE)

_REFUSED: tuple[type[Exception], ...] = (
    errors.SaslAuthenticationFailed,
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)
# What the one who connects is told, and nobody else.
_TELLING: tuple[type[Exception], ...] = (*_REFUSED, ssl.SSLError)
_RIGHTS = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
)
_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.RecordTooLargeError)
_AWAY = (
    errors.KafkaConnectionError,
    errors.NodeNotReadyError,
    errors.RequestTimedOutError,
    errors.KafkaTimeoutError,
    TimeoutError,
)


def quiet() -> None:
    """Keep aiokafka's own lines out of the log: it repeats them for as long as a broker is away, several times a
    second, and what an operator has to know is said once by whoever uses it.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def is_too_large(error: BaseException) -> bool:
    """Whether the broker takes no message of this size."""
    return isinstance(error, _TOO_LARGE)


def sentence(error: BaseException, brokers: str, doing: str) -> str:
    """What is wrong and what helps. ``brokers``: their addresses; ``doing``: "write to the topic x"."""
    if isinstance(error, _REFUSED):
        return f"The brokers {brokers} refuse this name and password; set those that they know."
    if isinstance(error, _RIGHTS):
        return f"The brokers {brokers} do not allow to {doing}; give this user the right."
    if isinstance(error, ssl.SSLError):
        return f"No TLS with the brokers {brokers}: {error.reason or 'failed'}; look at ca_file and security."
    if isinstance(error, _TOO_LARGE):
        return f"Cannot {doing}: a message is larger than the topic takes; raise its max.message.bytes."
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return f"Cannot {doing}: there is no such topic."
    if isinstance(error, _AWAY) or (isinstance(error, OSError) and not isinstance(error, errors.KafkaError)):
        return f"The brokers {brokers} do not answer; start them, or correct their addresses."
    if isinstance(error, _NONSENSE):
        return f"What answers at {brokers} is no broker of Kafka's; correct the addresses."
    return f"Cannot {doing}: Kafka says {type(error).__name__}."


async def reason(error: BaseException, arguments: Mapping[str, Any], within_s: float) -> BaseException:
    """Why no broker could be reached: the client itself says of each failure, a wrong password too, only that it
    failed. ``arguments`` as from ``client_arguments``.
    """
    hidden = isinstance(error, errors.KafkaConnectionError)
    if not hidden:
        return error
    known = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    for address in arguments["bootstrap_servers"]:
        host, _, port = address.rpartition(":")
        try:
            async with in_time(within_s):
                connection = await create_conn(host.strip("[]"), int(port), **known)
            connection.close()
        except _TELLING as found:
            return found
        except FAILURES:
            continue
    return error


@asynccontextmanager
async def in_time(within_s: float) -> AsyncIterator[None]:
    """Ask a client something, ``within_s`` seconds at most.

    A client that ends while it is asked says that the task was cancelled. Nobody asked for that, and a task that took
    it for its own end would be missed by nobody: so it is one of ``FAILURES`` here.

    Raises:
        TimeoutError
        KafkaConnectionError: the client ended.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
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
    whoever has its name next. Each of the client's parts gets ``within_s`` seconds; raises nothing.
    """
    sender = getattr(client, "_sender", None)
    if sender is not None and sender.sender_task is not None:
        # It would wait until all is sent, an idempotent one without end, and has no other way to be told.
        sender.sender_task.cancel()
    try:
        async with in_time(within_s):
            await (client.stop if hasattr(client, "stop") else client.close)()
    except FAILURES:
        for part in ("_sender", "_coordinator", "_fetcher", "client", "_client"):
            found = getattr(client, part, None)
            if found is not None:
                with suppress(*FAILURES):
                    async with in_time(within_s):
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
