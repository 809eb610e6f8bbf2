"""What can be wrong, as sentences for the operator, and a board that tells each of them once per change."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import structlog

log = structlog.get_logger()


class Kind(StrEnum):
    """Kinds of trouble: a label of the metrics, so this list is all there is."""

    CENTRAL_AWAY = "central_away"
    CENTRAL_ANSWER = "central_answer"
    OTHER_LOG = "other_log"
    AFTER_AHEAD = "after_ahead"
    KAFKA_AWAY = "kafka_away"
    KAFKA_SLOW = "kafka_slow"
    KAFKA_REFUSED = "kafka_refused"
    KAFKA_TLS = "kafka_tls"
    KAFKA_SETTINGS = "kafka_settings"
    KAFKA_FULL = "kafka_full"
    KAFKA_UNSAFE = "kafka_unsafe"
    KAFKA_FAILED = "kafka_failed"
    TOPIC_UNFIT = "topic_unfit"
    TOPIC_GONE = "topic_gone"
    POSITION_LOST = "position_lost"
    TOPIC_LONG = "topic_long"


UNFIT_LOG = frozenset({Kind.OTHER_LOG, Kind.AFTER_AHEAD})
"""Central answers, and its log does not go on from where this one is to go on."""
CENTRAL = frozenset({Kind.CENTRAL_AWAY, Kind.CENTRAL_ANSWER, *UNFIT_LOG})
"""Those that are about Central and its log; the others are about Kafka."""

_SAME = frozenset({Kind.KAFKA_AWAY, Kind.KAFKA_SLOW})


class Trouble(Exception):
    """Nothing can be published now. It is tried again: most troubles are mended elsewhere."""

    def __init__(self, kind: Kind, sentence: str) -> None:
        self.kind = kind
        self.sentence = sentence
        super().__init__(sentence)


class Superseded(Exception):
    """Another publisher writes this log to this topic now. Whoever is told ends: two would turn each other away."""

    sentence = (
        "Another publisher of the same log and topic has taken over, so this one ends; nothing was published twice. "
        "Run one of them only, or give the other a --log name or a --topic of its own."
    )


class Fenced(Exception):
    """The brokers do not take this producer's transactions any more: it has a successor, or was too slow."""


class TooLarge(Exception):
    """A topic does not take so large a message, or so many of them at once."""

    def __init__(self, seqs: tuple[int, ...]) -> None:
        """``seqs``: the records of what was too large."""
        self.seqs = seqs
        super().__init__(f"{len(seqs)} records are too large")


class Board:
    """At most one trouble with Central and one with Kafka. Each is told when it comes, when it changes, and when it is
    over; what is only tried again and fails again is not.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """How often each came up."""
        self._now: dict[bool, Trouble] = {}

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Those of now."""
        return tuple(self._now.values())

    def came(self, trouble: Trouble) -> None:
        """This is wrong now."""
        place = trouble.kind in CENTRAL
        before = self._now.get(place)
        self._now[place] = trouble
        # One broker, or another, or all of them: while they are away that is the same fault.
        same = trouble.kind in _SAME or (before is not None and before.sentence == trouble.sentence)
        if before is not None and before.kind is trouble.kind and same:
            return
        self.counts[trouble.kind] += 1
        log.warning("events.trouble", kind=trouble.kind.value, sentence=trouble.sentence)

    def mended(self, *, central: bool) -> None:
        """Nothing is wrong with Central, or with Kafka, any more."""
        before = self._now.pop(central, None)
        if before is not None:
            log.info("events.mended", kind=before.kind.value)
