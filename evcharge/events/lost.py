"""Records on the topic that no position tells of: only a person can say where to go on."""

from __future__ import annotations

from typing import NamedTuple

from evcharge.events.position import Position
from evcharge.events.settings import PublisherSettings
from evcharge.events.troubles import Kind, Trouble


class Lost(NamedTuple):
    """What was found."""

    trouble: Trouble
    found: Position | None
    """What the topic of positions said."""
    partitions: int
    """Of the topic of events."""
    looked_s: float
    """When its records were looked at, on the monotonic clock."""


def lost(settings: PublisherSettings, newest: int, found: Position | None, partitions: int, looked_s: float) -> Lost:
    """``newest``: the newest record of this log on the topic, which is behind ``found``."""
    there = f"{settings.topic} holds records of the log {settings.log_name!r} up to {newest}, and "
    again = "to publish all of it again, under another --log name or to another --topic."
    if found is not None:
        sentence = (
            f"{there}{settings.positions_topic} knows of {found.seq} only: another publisher wrote them with another "
            f"--positions-topic. Give this one the same, and run one of them only; {again}"
        )
    else:
        if settings.after_seq is not None:
            there += f"not only up to {settings.after_seq}, as --after says; "
        sentence = (
            f"{there}{settings.positions_topic} has no position of it: to go on behind them start with --after "
            f"{newest}; {again}"
        )
    return Lost(Trouble(Kind.POSITION_LOST, sentence), found, partitions, looked_s)
