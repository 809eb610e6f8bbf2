"""Where each kind of event finds the rule of how it changes the state; ``evolve`` asks it."""

from __future__ import annotations

from functools import singledispatch

from evcharge.domain import events as e
from evcharge.domain.state import (
    State,
)
from evcharge.domain.words import Stamp


@singledispatch
def apply(event: e.Event, _state: State, _stamp: Stamp) -> None:
    """One function per kind; tests check that none of ``EVENTS`` lands here."""
    raise AssertionError(f"no rule for {type(event).__name__}")
