"""The fingerprint of the state: what was touched is enough, and nobody's hash seed or restart shows in it."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.event_codec import decode
from evcharge.domain import events as e
from evcharge.domain.digest import RULES, SECTIONS, Digest, fingerprint
from evcharge.domain.evolve import evolve
from evcharge.domain.state import Session, State, Totals
from evcharge.domain.words import Hold, Stamp
from evcharge.ids import ChargePointId
from tests.domain.test_properties import PROGRAMS, Program, World
from tests.support.one_session import supplying
from tests.support.scenario import CP, Domain

# Of the day below, by the rules of number RULES. Who changes the rules or the state's shape raises RULES and both.
GOLDEN = (7, "d92f545d165d57e1a21ed82559feceb5cf00e4e5b03be69f555e6ccd4e81108c")


class Watched(World):
    """Compares after every event."""

    def __init__(self) -> None:
        self.digest: Digest | None = None
        super().__init__()

    def apply(self, event: e.Event, stamp: Stamp | None = None) -> list:  # type: ignore[type-arg]  # passed through
        if self.digest is None:
            self.digest = Digest(self.state)
        self.digest.touch(event)
        effects = super().apply(event, stamp)
        assert self.digest.value() == fingerprint(self.state), event
        return effects


@given(PROGRAMS)
def test_what_an_event_touches_is_all_that_it_changes(program: Program) -> None:
    world = Watched()
    for command, pause_ms in program:
        world.pass_time(pause_ms)
        world.obey(command)


def test_the_fingerprint_of_a_known_day() -> None:
    assert (RULES, fingerprint(World().state).hex()) == GOLDEN


def test_it_is_the_same_whatever_the_hash_seed() -> None:
    """Sets and maps of a process depend on it; a replay in another process must not."""
    script = (
        "from tests.domain.test_properties import World; from evcharge.domain.digest import fingerprint; "
        "from evcharge.domain.state import Hold; w = World(); "
        "[cp.holds.update(Hold) for cp in w.state.charge_points.values()]; print(fingerprint(w.state).hex())"
    )
    found = set()
    for seed in ("0", "1", "4711"):
        run = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(run.stdout)
    assert len(found) == 1


def test_a_state_that_went_through_a_file_has_the_same_fingerprint() -> None:
    state = World().state
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)
    assert fingerprint(copy) == fingerprint(state)


def test_every_part_and_every_other_field_counts() -> None:
    def base() -> State:
        return supplying().state

    before = fingerprint(base())
    seen = {before}
    for section in SECTIONS:
        state = base()
        parts = getattr(state, section)
        if parts:
            parts.pop(next(iter(parts)))
            seen.add(fingerprint(state))
    state = base()
    state.totals = Totals(authorized=99)
    seen.add(fingerprint(state))
    state = base()
    state.last_fence += 1  # type: ignore[assignment]  # a number like any other
    seen.add(fingerprint(state))
    state = base()
    state.charge_points[CP].holds.add(Hold.FAULT)
    seen.add(fingerprint(state))
    state = base()
    state.charge_points[ChargePointId("other")] = state.charge_points.pop(CP)
    seen.add(fingerprint(state))
    assert len(seen) == 1 + 4 + 4, "one for each change: provisional is empty here"


def test_the_order_of_a_map_counts_where_it_means_something() -> None:
    """Who waits longest is dropped first: two orders are two states."""
    state = supplying().state
    driver = next(iter(state.drivers.values()))
    driver.open_sessions = {"a": None, "b": None}  # type: ignore[dict-item]
    one = fingerprint(state)
    driver.open_sessions = {"b": None, "a": None}  # type: ignore[dict-item]
    assert fingerprint(state) != one


@given(st.integers(0, 20))
def test_an_untouched_part_costs_nothing(count: int) -> None:
    state = supplying().state
    digest = Digest(state)
    digest.value()
    for _ in range(count):
        digest.touch(e.HoldPlaced(cp_id=CP, hold=Hold.FAULT))
    assert len(digest._dirty) == min(count, 1)


@pytest.mark.parametrize("most", [1, 3])
def test_parts_do_not_pile_up(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.domain.digest.MOST_DIRTY", most)
    world = Domain()
    digest = Digest(world.state)
    for body in World().log:
        logged = decode(body)
        assert logged is not None
        digest.touch(logged.event)
        evolve(world.state, logged.event, logged.stamp)
        assert len(digest._dirty) <= most + 20
    assert digest.value() == fingerprint(world.state)


def test_sessions_are_structs_with_all_their_fields() -> None:
    """Fields with defaults are hashed too: a default that changes is another state."""
    assert "omit_defaults" not in str(Session.__struct_config__) or not Session.__struct_config__.omit_defaults
