"""What is wrong with Kafka, told from the errors of its client: the kinds that an operator can do something about.

Whoever uses a client has sentences of its own for them, in the words of its own settings. Nothing here is imported
without the extra ``kafka``.
"""

from __future__ import annotations

import ssl
import struct
from enum import Enum, auto

from aiokafka import errors as k

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
FAILURES: tuple[type[Exception], ...] = (k.KafkaError, OSError, TimeoutError, *_NONSENSE)


class Fault(Enum):
    """Kinds of failure."""

    FENCED = auto()
    """There is a successor, or the brokers ended a transaction that took too long."""
    UNTRUSTED = auto()
    """The broker's certificate is not one that can be trusted."""
    TLS = auto()
    REFUSED = auto()
    """Name, password or mechanism."""
    FORBIDDEN = auto()
    TOO_LARGE = auto()
    NO_TOPIC = auto()
    UNSAFE = auto()
    """Too few replicas in sync."""
    DISK = auto()
    QUOTA = auto()
    SLOW = auto()
    """It takes connections and does not answer in time."""
    HUNG_UP = auto()
    """It takes connections and closes them."""
    AWAY = auto()
    NO_BROKER = auto()
    """What answers does not speak Kafka's protocol."""
    OTHER = auto()


# In this order: a kind is the first whose errors hold it.
_KINDS: dict[Fault, tuple[type[BaseException], ...]] = {
    Fault.FENCED: (k.ProducerFenced, k.InvalidProducerEpoch, k.InvalidTxnState, k.InvalidProducerIdMapping),
    Fault.UNTRUSTED: (ssl.SSLCertVerificationError,),
    Fault.TLS: (ssl.SSLError,),
    Fault.REFUSED: (
        k.AuthenticationFailedError,
        k.AuthenticationMethodNotSupported,
        k.SaslAuthenticationFailed,
        k.UnsupportedSaslMechanismError,
        k.IllegalSaslStateError,
    ),
    Fault.FORBIDDEN: (
        k.TopicAuthorizationFailedError,
        k.ClusterAuthorizationFailedError,
        k.TransactionalIdAuthorizationFailed,
        k.GroupAuthorizationFailedError,
    ),
    Fault.TOO_LARGE: (k.MessageSizeTooLargeError, k.RecordListTooLargeError, k.RecordTooLargeError),
    Fault.NO_TOPIC: (k.UnknownTopicOrPartitionError,),
    Fault.UNSAFE: (k.NotEnoughReplicasError, k.NotEnoughReplicasAfterAppendError),
    Fault.DISK: (k.KafkaStorageError,),
    Fault.QUOTA: (k.PolicyViolationError, k.QuotaViolationError),
    Fault.SLOW: (TimeoutError, k.RequestTimedOutError, k.KafkaTimeoutError),
    Fault.AWAY: (k.KafkaConnectionError, k.NodeNotReadyError),
    Fault.OTHER: (k.KafkaError,),
}


def fault_of(error: BaseException) -> Fault:
    """The kind of an error that came out of aiokafka."""
    found = next((fault for fault, kinds in _KINDS.items() if isinstance(error, kinds)), None)
    if found is Fault.AWAY and isinstance(error, k.KafkaConnectionError) and "closed" in str(error):
        return Fault.HUNG_UP
    if found is None:
        return Fault.AWAY if isinstance(error, OSError) else Fault.NO_BROKER
    return found


def is_too_large(error: BaseException) -> bool:
    """Whether the broker takes no message of this size."""
    return fault_of(error) is Fault.TOO_LARGE
