"""Where aiokafka has rough edges: what failed as one sentence, a client that is given up, and its own lines.

Nothing here is imported without the extra ``kafka``.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import struct
from collections.abc import Mapping
from typing import Any, Protocol

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


class _Client(Protocol):
    async def stop(self) -> None: ...


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
            async with asyncio.timeout(within_s):
                connection = await create_conn(host.strip("[]"), int(port), **known)
            connection.close()
        except _TELLING as found:
            return found
        except FAILURES:
            continue
    return error


async def give_up(client: _Client, within_s: float) -> None:
    """Stop it, however the brokers are; what it still had to send is not sent.

    A producer waits for its brokers before it stops, an idempotent one without end, and has no other way to be told.
    """
    try:
        async with asyncio.timeout(within_s):
            await client.stop()
    except FAILURES:
        for part in ("_sender", "client", "_client"):
            found = getattr(client, part, None)
            if found is not None:
                try:
                    async with asyncio.timeout(within_s):
                        await found.close()
                except FAILURES:
                    continue
            if part == "_sender" and found is not None:
                # What waits for the messages to be sent would wait without end.
                client._message_accumulator.fail_all(errors.KafkaError())  # type: ignore[attr-defined]
