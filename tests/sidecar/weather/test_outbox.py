"""Whatever is lost on the way to Central is told again, and nothing is told for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.weather.outbox import Key, Outbox

COLD: Key = (None, "cold")
HEAT: Key = ("north", "heat")


def test_an_edge_is_told_once_and_a_lasting_alert_again() -> None:
    outbox = Outbox(600.0)
    assert outbox.due({COLD: True, HEAT: None}, 0.0) == [COLD]
    assert outbox.due({COLD: True, HEAT: None}, 1.0) == [COLD], "there was no answer"
    outbox.answered(COLD, True, 2.0)
    assert outbox.told(COLD) is True
    assert outbox.due({COLD: True}, 601.9) == []
    assert outbox.due({COLD: True}, 602.0) == [COLD]
    assert outbox.due({COLD: False}, 3.0) == [COLD]
    outbox.answered(COLD, False, 3.0)
    assert outbox.due({COLD: False}, 1e6) == [], "what is over needs no repeating"


def test_what_central_refuses_waits_and_an_opposite_does_not() -> None:
    outbox = Outbox(600.0)
    assert outbox.refused(COLD, True, 0.0, "unknown")
    assert outbox.due({COLD: True}, 599.9) == []
    assert outbox.due({COLD: True}, 600.0) == [COLD]
    assert not outbox.refused(COLD, True, 600.0, "unknown"), "no news"
    assert outbox.sentence(COLD) == "unknown"
    assert outbox.due({COLD: False}, 601.0) == [COLD]
    outbox.answered(COLD, False, 601.0)
    assert outbox.sentence(COLD) == ""


def test_after_a_new_channel_what_is_named_is_told_again() -> None:
    outbox = Outbox(600.0)
    outbox.answered(COLD, True, 0.0)
    outbox.answered(HEAT, False, 0.0)
    outbox.reconnected([COLD])
    assert outbox.due({COLD: True, HEAT: False}, 1.0) == [COLD]


EVENTS = st.lists(
    st.tuples(st.sampled_from(["tell", "lose", "refuse", "reconnect"]), st.none() | st.booleans(), st.floats(0, 900))
)


@given(EVENTS)
def test_central_ends_up_knowing_what_is(events: list[tuple[str, bool | None, float]]) -> None:
    """After anything, one round of answers per refresh leads to what is wanted, and then there is silence."""
    outbox, now, central = Outbox(600.0), 0.0, None
    wanted: bool | None = None
    for what, active, wait in events:
        wanted = active if active is not None else wanted
        now += wait
        if what == "reconnect":
            outbox.reconnected([COLD] if wanted else [])
            # Central may have restarted without its newest alert.
            central = None if wanted else central
        elif outbox.due({COLD: wanted}, now):
            assert wanted is not None
            if what == "tell":
                central = wanted
                outbox.answered(COLD, wanted, now)
            elif what == "refuse":
                outbox.refused(COLD, wanted, now, "no")
    now += 600.0
    if outbox.due({COLD: wanted}, now):
        assert wanted is not None
        central = wanted
        outbox.answered(COLD, wanted, now)
    if wanted is not None:
        assert central == wanted
    assert outbox.due({COLD: wanted}, now) == []
