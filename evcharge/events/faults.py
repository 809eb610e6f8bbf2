"""What Kafka's client says, as troubles that tell an operator what to do."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from evcharge.events.troubles import Fenced, Kind, Trouble
from evcharge.net.kafka_client import asked
from evcharge.net.kafka_faults import Fault, fault_of

# How long a broker may take to let somebody in, in seconds, when it is asked why it does not. All are asked at once.
LOOK_S = 4.0


def described(error: BaseException, where: str = "Kafka") -> Trouble | Fenced:
    """The trouble that one of ``kafka_faults.FAILURES`` is."""
    if fault_of(error) is Fault.FENCED:
        return Fenced(type(error).__name__)
    kind, sentence = _described(error, where)
    return Trouble(kind, sentence)


def _described(error: BaseException, where: str) -> tuple[Kind, str]:
    match fault_of(error):
        case Fault.UNTRUSTED:
            why = getattr(error, "verify_message", "it does not say why")
            return Kind.KAFKA_TLS, (
                f"{where} shows a certificate that cannot be trusted ({why}): --ca-file names the authority that "
                "signed it, and brokers are called by the name that stands in it."
            )
        case Fault.TLS:
            why = (getattr(error, "reason", None) or "no TLS").replace("_", " ").lower()
            return Kind.KAFKA_TLS, (
                f"{where} does not agree on TLS ({why}): --security says SSL or SASL_SSL, and it has to be the "
                "listener that speaks it, with this client's certificate where it asks for one."
            )
        case Fault.REFUSED:
            return Kind.KAFKA_REFUSED, (
                f"{where} does not let this user in: look at --username, the password and --mechanism."
            )
        case Fault.FORBIDDEN:
            return Kind.KAFKA_REFUSED, (
                f"{where} forbids it ({error}): the user needs WRITE, READ and DESCRIBE on both topics, CREATE where "
                "they are missing, and WRITE and DESCRIBE on the transactional id (docs/kafka.md)."
            )
        case Fault.NO_TOPIC:
            return Kind.TOPIC_GONE, f"A topic is not there any more in {where}; it is made again."
        case Fault.UNSAFE:
            return Kind.KAFKA_UNSAFE, (
                f"{where} has fewer replicas in sync than min.insync.replicas, so it takes nothing; what comes is "
                "published when they are back."
            )
        case Fault.DISK:
            return Kind.KAFKA_FULL, f"{where} cannot write to its disk; look whether that is full."
        case Fault.QUOTA:
            return Kind.KAFKA_FULL, f"{where} takes no more from this client: a quota or policy of the cluster says so."
        case Fault.SLOW:
            return Kind.KAFKA_SLOW, f"{where} takes connections and does not answer in time."
        case Fault.HUNG_UP:
            return Kind.KAFKA_REFUSED, (
                f"{where} takes connections and hangs up at once: --security has to say what its listener speaks."
            )
        case Fault.AWAY:
            return Kind.KAFKA_AWAY, f"{where} cannot be reached ({_why(error)})."
        case Fault.NO_BROKER:
            return Kind.KAFKA_FAILED, (
                f"{where} does not answer as a broker of Kafka's does ({_short(error)}): look at --brokers and "
                "--security."
            )
        case _:
            return Kind.KAFKA_FAILED, f"{where} answers with {type(error).__name__} ({_short(error)})."


async def look(arguments: Mapping[str, Any]) -> Trouble | None:
    """Why none of the brokers lets this client in, as the first of them says it; None: one of them does.

    The client itself keeps to itself why it could not connect.
    """
    answers = await asked(arguments, LOOK_S)
    failed = [(broker, error) for broker, error in answers.items() if error is not None]
    if len(failed) < len(answers):
        return None
    broker, error = failed[0]
    found = described(error, f"The broker {broker}")
    # Nobody is fenced who only connects.
    return found if isinstance(found, Trouble) else Trouble(Kind.KAFKA_FAILED, str(found))


def _why(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        # asyncio puts the address before what the system says.
        return error.strerror.rpartition("] ")[2] if "Errno" in error.strerror else error.strerror
    return _short(error)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
