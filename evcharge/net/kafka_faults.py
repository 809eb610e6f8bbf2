"""What is wrong with Kafka, told from the errors of its client: the kinds that an operator can do something about.

Whoever uses a client has sentences of its own for them, in the words of its own settings. Nothing here is imported
without the extra ``kafka``.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from aiokafka import errors as k

# Every way in which a client of aiokafka says that something is wrong, where it is asked in ``understood``.
FAILURES: tuple[type[Exception], ...] = (k.KafkaError, OSError, TimeoutError)
# What comes out of aiokafka when it reads an answer that is none of Kafka's.
_NONSENSE: tuple[type[Exception], ...] = (
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)
# What it says when it is asked to go on after it has given up by itself, because of what a broker said.
_OVER: tuple[type[Exception], ...] = (k.ConsumerStoppedError, k.IllegalOperation)


class NoBroker(k.KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """What answers does not speak Kafka's protocol."""

    def __str__(self) -> str:
        """Without the name of this class, which says nothing to an operator."""
        return str(self.args[0])


@contextmanager
def understood() -> Iterator[None]:
    """Around a call of a client, and around reading its answer; nothing else belongs in here.

    An answer that is none of Kafka's may end in any of ``_NONSENSE``. A mistake of our own ends in them too, and has to
    be seen as one: so each call is in one of these, and what is computed from its answer is not.

    Raises:
        NoBroker: and everything of ``FAILURES`` as it is.
    """
    try:
        yield
    except FAILURES:
        # First, because some of them are of the others as well: a certificate that is not trusted is a ValueError.
        raise
    except _NONSENSE as error:
        raise NoBroker(f"{type(error).__name__}: {error}") from error
    except _OVER as error:
        raise k.KafkaError(f"{type(error).__name__}: {error}") from error


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
    Fault.NO_BROKER: (NoBroker,),
    Fault.OTHER: (k.KafkaError,),
}


def fault_of(error: BaseException) -> Fault:
    """The kind of one of ``FAILURES``."""
    found = next((fault for fault, kinds in _KINDS.items() if isinstance(error, kinds)), None)
    if found is Fault.AWAY and isinstance(error, k.KafkaConnectionError) and "closed" in str(error):
        return Fault.HUNG_UP
    if found is None:
        return Fault.AWAY if isinstance(error, OSError) else Fault.OTHER
    return found


def is_too_large(error: BaseException) -> bool:
    """Whether the broker takes no message of this size."""
    return fault_of(error) is Fault.TOO_LARGE
