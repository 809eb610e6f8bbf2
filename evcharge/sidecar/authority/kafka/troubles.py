"""What is wrong with the brokers now; each change is said once."""

from __future__ import annotations

from typing import Literal

import structlog

log = structlog.get_logger()

At = Literal["relay", "size", "reading", "undecided", "dead_letters", "commit"]
State = Literal["connected", "disconnected"]


class Trouble(Exception):
    """The brokers cannot do what they are asked now: one sentence for a person."""


class Troubles:
    """By what does not go on because of it."""

    def __init__(self) -> None:
        self._now: dict[At, str] = {}
        self._seen = False

    @property
    def state(self) -> State:
        """``connected``: the brokers have answered, and nothing is wrong."""
        return "connected" if self._seen and not self._now else "disconnected"

    def say(self, at: At, sentence: str) -> None:
        """It does not go on."""
        if self._now.get(at) != sentence:
            self._now[at] = sentence
            log.warning("authority.kafka_trouble", at=at, sentence=sentence)

    def well(self, at: At) -> None:
        """It goes on."""
        if at == "relay":
            self._seen = True
        if self._now.pop(at, None) is not None:
            log.info("authority.kafka_well", at=at)
