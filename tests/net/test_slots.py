"""Handshake slots: whoever stays is served or told BUSY, in order, and never too many at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.net.slots import Slots

HOLD_S, WAIT_S = 0.1, 3.0


def served(slots: Slots[int], now: float) -> list[int]:
    """Everybody who gets a slot now."""
    return list(iter(lambda: slots.next(now), None))


def told_busy(slots: Slots[int], now: float) -> list[int]:
    return list(iter(lambda: slots.late(now), None))


def queue(size: int, people: int, now: float = 0.0) -> Slots[int]:
    slots: Slots[int] = Slots(size, hold_s=HOLD_S, wait_s=WAIT_S)
    for who in range(people):
        slots.ask(who, now)
    return slots


def test_first_come_first_served() -> None:
    slots = queue(2, 5)
    assert served(slots, 0.0) == [0, 1]
    slots.leave(1)
    assert served(slots, 0.0) == [2]
    slots.leave(0)
    slots.leave(2)
    assert served(slots, 0.0) == [3, 4]
    assert (slots.holding, slots.waiting) == (2, 0)


def test_a_slot_is_lost_after_100_ms_and_its_holder_may_still_leave() -> None:
    slots = queue(2, 5)
    served(slots, 0.0)
    assert slots.deadline() == HOLD_S
    assert served(slots, 0.099) == []
    assert served(slots, 0.1) == [2, 3]
    slots.leave(0)
    assert served(slots, 0.1) == [], "it had no slot to give back any more"


def test_patience_ends_after_three_seconds() -> None:
    slots = queue(1, 3)
    assert served(slots, 2.95) == [0]
    assert told_busy(slots, 2.99) == []
    assert slots.deadline() == WAIT_S
    assert told_busy(slots, 3.0) == [1, 2]
    assert slots.deadline() is None
    assert served(slots, 4.0) == []


def test_sources_take_turns() -> None:
    slots: Slots[int] = Slots(1, hold_s=HOLD_S, wait_s=WAIT_S)
    for who in range(1_000):
        slots.ask(who, 0.0, "crowd")
    slots.ask(2_000, 0.0, "one")
    slots.ask(2_001, 0.0, "two")
    order = []
    for turn in range(5):
        order += served(slots, turn * HOLD_S)
    assert order == [0, 2_000, 2_001, 1, 2]
    slots.leave(2_001)
    assert slots.waiting == 997 and len(slots._turns) == 1


def test_whoever_left_the_queue_gets_nothing() -> None:
    slots = queue(1, 3)
    served(slots, 0.0)
    slots.leave(1)
    slots.leave(1)
    slots.leave(99)
    assert told_busy(slots, 1.0) == []
    assert served(slots, 0.1) == [2]


def test_nobody_waits_nothing_is_due() -> None:
    slots = queue(2, 2)
    served(slots, 0.0)
    assert slots.deadline() is None


@given(
    size=st.integers(1, 5),
    steps=st.lists(
        st.one_of(
            st.just("ask"),
            st.tuples(st.just("leave"), st.integers(0, 40)),
            st.tuples(st.just("wait"), st.floats(0, 2)),
        ),
        max_size=120,
    ),
)
def test_who_stays_is_served_or_told_busy_and_no_slot_leaks(size: int, steps: list[object]) -> None:
    slots: Slots[int] = Slots(size, hold_s=HOLD_S, wait_s=WAIT_S)
    now, people = 0.0, 0
    asked: dict[int, float] = {}
    holds: dict[int, float] = {}
    fates: dict[int, str] = {}
    order: list[int] = []

    def turn() -> None:
        for who in told_busy(slots, now):
            assert fates.setdefault(who, "busy") == "busy" and now >= asked[who] + WAIT_S
        for who in served(slots, now):
            assert fates.setdefault(who, "served") == "served"
            order.append(who)
            holds[who] = now
            assert now < asked[who] + WAIT_S
        young = [who for who, since in holds.items() if now < since + HOLD_S]
        assert len(young) <= size
        waiting = [who for who in asked if who not in fates]
        assert len(waiting) == slots.waiting
        assert not waiting or len(young) == size, "nobody waits beside a free slot"
        due = slots.deadline()
        assert (due is not None and due > now) == bool(waiting)

    def advance(until: float) -> None:
        """As the owner does: look at every deadline."""
        nonlocal now
        while (due := slots.deadline()) is not None and due <= until:
            now = due
            turn()
        now = until
        turn()

    for step in steps:
        if step == "ask":
            asked[people] = now
            slots.ask(people, now)
            people += 1
        elif isinstance(step, tuple) and step[0] == "leave":
            slots.leave(step[1])
            holds.pop(step[1], None)
            if step[1] in asked:
                fates.setdefault(step[1], "left")
        elif isinstance(step, tuple):
            advance(now + step[1])
        turn()
    advance(now + WAIT_S)
    assert set(fates) == set(asked), "everybody knows its fate"
    assert order == sorted(order)
    advance(now + HOLD_S)
    for who in range(people, people + size):
        slots.ask(who, now)
    assert len(served(slots, now)) == size, "every slot is free again"
