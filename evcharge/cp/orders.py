"""Whether an order of Central may be carried out: pure checks, each a refusal with its words or None.

Central is trusted to be Central, not to be without bugs: a charge point that closes its contactor on a mistake is
dangerous, one that refuses with a reason is not.
"""

from __future__ import annotations

from typing import NamedTuple

from evcharge.cp.slot import Now, Slot
from evcharge.cp.store import Outcome
from protocol.messages import MAX_COUNT, MAX_ID, MAX_W, Authorize, SetLimit, StartSupply, StopSupply

Order = Authorize | StartSupply | StopSupply | SetLimit


class Answer(NamedTuple):
    """What becomes of an order."""

    outcome: Outcome
    detail: str = ""


DONE = Answer("done")
# Central wrote the order before it heard of the end, which is still on its way to it.
ENDED = Answer("rejected", "this session has ended")


def countable(value: int) -> bool:
    """A number that may go back over the wire and into the store."""
    return 0 <= value <= MAX_COUNT


def check_authorize(order: Authorize, slot: Slot, trouble: str | None, ended: bool) -> Answer | None:
    """``trouble`` is the connector's fault or the disk's, if any; ``ended``: the session has been here already."""
    if ended:
        return ENDED
    numbers = (order.energy_wh, order.depart_by_ms, order.expires_ms)
    if not 1 <= len(order.session_id) <= MAX_ID or not all(n is None or countable(n) for n in numbers):
        return Answer("rejected", "a value is out of range")
    if slot.running is not None and slot.running.session_id != order.session_id:
        return Answer("rejected", "another session is running")
    if trouble is not None:
        return Answer("rejected", f"out of order: {trouble}")
    return None


def check_limit(order: SetLimit | StartSupply) -> Answer | None:
    """A set-point in range."""
    watts = (order.limit_w, order.fallback_w)
    if not all(0 <= w <= MAX_W for w in watts) or not countable(order.expires_ms):
        return Answer("rejected", "a value is out of range")
    return None


def check_set_limit(order: SetLimit, slot: Slot) -> Answer | None:
    """Only a running session has a set-point."""
    if slot.running is None or order.session_id not in (None, slot.running.session_id):
        return Answer("rejected", "not supplying")
    return check_limit(order)


def check_start(order: StartSupply, slot: Slot, trouble: str | None, crowded: bool, now: Now) -> Answer | None:
    """All that has to hold before a contactor closes."""
    if slot.running is not None:
        return Answer("rejected", "another session is running")
    if slot.authorized is None or slot.authorized.session_id != order.session_id:
        return Answer("rejected", "not authorized")
    if now.channel_ms is None or now.channel_ms > order.valid_until_ms or now.channel_ms >= order.expires_ms:
        return Answer("expired", "came too late")
    if not slot.occupied:
        return Answer("rejected", "no vehicle")
    if trouble is not None:
        return Answer("rejected", f"out of order: {trouble}")
    if crowded:
        return Answer("rejected", "too many results wait for Central")
    return check_limit(order)
