"""What Kafka's client says, as troubles that tell an operator what to do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka import errors as k
from aiokafka.conn import create_conn

from evcharge.events.troubles import Fenced, Kind, Trouble
from evcharge.net.kafka import PORT
from evcharge.net.kafka_client import FAILURES

# How long a broker may take to let somebody in, in seconds, when it is asked why it does not. All are asked at once.
LOOK_S = 4.0

# Whoever has a successor, or whose transaction the brokers ended because it took too long, hears one of these.
_FENCED = (k.ProducerFenced, k.InvalidProducerEpoch, k.InvalidTxnState, k.InvalidProducerIdMapping)
_REFUSED = (
    k.AuthenticationFailedError,
    k.AuthenticationMethodNotSupported,
    k.SaslAuthenticationFailed,
    k.UnsupportedSaslMechanismError,
    k.IllegalSaslStateError,
)
_FORBIDDEN = (
    k.TopicAuthorizationFailedError,
    k.ClusterAuthorizationFailedError,
    k.TransactionalIdAuthorizationFailed,
    k.GroupAuthorizationFailedError,
)
_UNSAFE = (k.NotEnoughReplicasError, k.NotEnoughReplicasAfterAppendError)


def described(error: BaseException, where: str = "Kafka") -> Trouble | Fenced:
    """The trouble that an error of the client is."""
    if isinstance(error, _FENCED):
        return Fenced(type(error).__name__)
    kind, sentence = _described(error, where)
    return Trouble(kind, sentence)


def _described(error: BaseException, where: str) -> tuple[Kind, str]:
    match error:
        case ssl.SSLCertVerificationError():
            return Kind.KAFKA_TLS, (
                f"{where} shows a certificate that cannot be trusted ({error.verify_message}): --ca-file names the "
                "authority that signed it, and brokers are called by the name that stands in it."
            )
        case ssl.SSLError():
            why = (error.reason or "no TLS").replace("_", " ").lower()
            return Kind.KAFKA_TLS, (
                f"{where} does not agree on TLS ({why}): --security says SSL or SASL_SSL, and it has to be the "
                "listener that speaks it, with this client's certificate where it asks for one."
            )
        case _ if isinstance(error, _REFUSED):
            return Kind.KAFKA_REFUSED, (
                f"{where} does not let this user in: look at --username, the password and --mechanism."
            )
        case _ if isinstance(error, _FORBIDDEN):
            return Kind.KAFKA_REFUSED, (
                f"{where} forbids it ({error}): the user needs WRITE, READ and DESCRIBE on both topics, CREATE where "
                "they are missing, and WRITE and DESCRIBE on the transactional id (docs/kafka.md)."
            )
        case k.UnknownTopicOrPartitionError():
            return Kind.TOPIC_GONE, f"A topic is not there any more in {where}; it is made again."
        case _ if isinstance(error, _UNSAFE):
            return Kind.KAFKA_UNSAFE, (
                f"{where} has fewer replicas in sync than min.insync.replicas, so it takes nothing; what comes is "
                "published when they are back."
            )
        case k.KafkaStorageError():
            return Kind.KAFKA_FULL, f"{where} cannot write to its disk; look whether that is full."
        case k.PolicyViolationError() | k.QuotaViolationError():
            return Kind.KAFKA_FULL, f"{where} takes no more from this client: a quota or policy of the cluster says so."
        case TimeoutError() | k.RequestTimedOutError() | k.KafkaTimeoutError():
            return Kind.KAFKA_SLOW, f"{where} takes connections and does not answer in time."
        case k.KafkaConnectionError() if "closed" in str(error):
            return Kind.KAFKA_REFUSED, (
                f"{where} takes connections and hangs up at once: --security has to say what its listener speaks."
            )
        case k.KafkaConnectionError() | k.NodeNotReadyError() | OSError():
            return Kind.KAFKA_AWAY, f"{where} cannot be reached ({_why(error)})."
        case _ if not isinstance(error, k.KafkaError):
            return Kind.KAFKA_FAILED, (
                f"{where} does not answer as a broker of Kafka's does ({type(error).__name__}: {_short(error)}): look "
                "at --brokers and --security."
            )
        case _:
            return Kind.KAFKA_FAILED, f"{where} answers with {type(error).__name__} ({_short(error)})."


async def look(brokers: list[str], arguments: Mapping[str, Any]) -> Trouble | None:
    """Why none of the brokers lets this client in, as the first of them says it; None: one of them does.

    The client itself keeps to itself why it could not connect.
    """
    found = await asyncio.gather(*(_look(broker, arguments) for broker in brokers))
    return None if None in found else next(iter(found), None)


async def _look(broker: str, arguments: Mapping[str, Any]) -> Trouble | None:
    settings = {name: value for name, value in arguments.items() if name not in ("bootstrap_servers", "client_id")}
    host, _, port = broker.rpartition(":")
    try:
        async with asyncio.timeout(LOOK_S):
            connection = await create_conn(
                host.strip("[]"),
                int(port or PORT),
                client_id=arguments.get("client_id", "evcharge"),
                request_timeout_ms=int(LOOK_S * 1000),
                **settings,
            )
        connection.close()
    except FAILURES as error:
        found = described(error, f"The broker {broker}")
        # Nobody is fenced who only connects.
        return found if isinstance(found, Trouble) else Trouble(Kind.KAFKA_FAILED, str(found))
    return None


def _why(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        # asyncio puts the address before what the system says.
        return error.strerror.rpartition("] ")[2] if "Errno" in error.strerror else error.strerror
    return _short(error)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
