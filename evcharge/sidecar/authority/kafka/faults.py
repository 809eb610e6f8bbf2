"""What Kafka's client says, as one sentence that tells an operator what to do."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaConnectionError

from evcharge.net.kafka_client import asked
from evcharge.net.kafka_faults import Fault, fault_of

# What a broker tells the one who connects, and nobody else.
_TELLING = frozenset({Fault.REFUSED, Fault.UNTRUSTED, Fault.TLS})


def sentence(error: BaseException, brokers: str, doing: str) -> str:
    """What is wrong and what helps. ``brokers``: their addresses; ``doing``: "write to the topic x"."""
    match fault_of(error):
        case Fault.REFUSED:
            return f"The brokers {brokers} refuse this name and password; set those that they know."
        case Fault.FORBIDDEN:
            return f"The brokers {brokers} do not allow to {doing}; give this user the right."
        case Fault.UNTRUSTED | Fault.TLS:
            why = error.reason if isinstance(error, ssl.SSLError) else None
            return f"No TLS with the brokers {brokers}: {why or 'failed'}; look at ca_file and security."
        case Fault.TOO_LARGE:
            return f"Cannot {doing}: a message is larger than the topic takes; raise its max.message.bytes."
        case Fault.NO_TOPIC:
            return f"Cannot {doing}: there is no such topic."
        case Fault.UNSAFE:
            return f"Cannot {doing}: fewer replicas are in sync than the topic's min.insync.replicas."
        case Fault.DISK:
            return f"Cannot {doing}: the brokers {brokers} cannot write to their disk; look whether it is full."
        case Fault.SLOW | Fault.HUNG_UP | Fault.AWAY:
            return f"The brokers {brokers} do not answer; start them, or correct their addresses."
        case Fault.NO_BROKER:
            return f"What answers at {brokers} is no broker of Kafka's; correct the addresses."
        case _:
            return f"Cannot {doing}: Kafka says {type(error).__name__}."


async def reason(error: BaseException, arguments: Mapping[str, Any], within_s: float) -> BaseException:
    """Why no broker could be reached, where a broker says it; the client itself says that it failed, and no more.

    ``arguments`` as from ``client_arguments``.
    """
    if not isinstance(error, KafkaConnectionError):
        return error
    answers = (await asked(arguments, within_s)).values()
    return next((one for one in answers if one is not None and fault_of(one) in _TELLING), error)
