"""The worst case is never below what a charge point may do, whichever messages it got and whichever answers came."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from evcharge.energy.leases import MARGIN_MS, Grant, Lease

LEASE_MS = 30_000


def grant(number: int, limit_w: int, fallback_w: int = 0, expires_ms: int = LEASE_MS) -> Grant:
    return Grant(command_id=number, limit_w=limit_w, fallback_w=fallback_w, expires_ms=expires_ms)


def test_nothing_issued_nothing_drawn() -> None:
    lease = Lease()
    assert lease.worst_w(0) == 0
    assert lease.newest is None
    assert lease.settled
    assert lease.next_expiry_ms(0) is None


def test_one_set_point_counts_from_its_sending_until_its_expiry_and_a_margin() -> None:
    lease = Lease().issue(grant(1, 5_000, 1_400), 0)
    assert not lease.settled
    assert lease.worst_w(0) == 5_000
    assert lease.worst_w(LEASE_MS + MARGIN_MS) == 5_000
    assert lease.worst_w(LEASE_MS + MARGIN_MS + 1) == 1_400
    assert lease.next_expiry_ms(0) == LEASE_MS + MARGIN_MS
    assert lease.next_expiry_ms(LEASE_MS + MARGIN_MS + 1) is None


def test_a_decrease_counts_only_once_acknowledged() -> None:
    lease = Lease().issue(grant(1, 5_000), 0).acknowledge(1).issue(grant(2, 3_000), 10)
    assert lease.worst_w(10) == 5_000
    assert not lease.settled
    lease = lease.acknowledge(2)
    assert lease.worst_w(10) == 3_000
    assert lease.settled


def test_a_raise_counts_from_its_sending() -> None:
    lease = Lease().issue(grant(1, 3_000), 0).acknowledge(1).issue(grant(2, 5_000), 10)
    assert lease.worst_w(10) == 5_000


def test_a_late_or_unknown_answer_changes_nothing() -> None:
    lease = Lease().issue(grant(1, 5_000), 0).issue(grant(2, 3_000), 0).acknowledge(2)
    assert lease.acknowledge(1) == lease
    assert lease.acknowledge(9) == lease
    assert lease.reject(1, 0) == lease


def test_a_rejected_set_point_does_not_count() -> None:
    lease = Lease().issue(grant(1, 3_000), 0).acknowledge(1).issue(grant(2, 5_000), 0).reject(2, 0)
    assert lease.worst_w(0) == 3_000
    assert lease.settled
    assert Lease().issue(grant(1, 3_000), 0).reject(1, 0) == Lease()


def test_an_applied_set_point_that_is_rejected_later_does_not_leave_a_ruling_one() -> None:
    lease = Lease().issue(grant(1, 3_000), 0).acknowledge(1).issue(grant(2, 2_000), 0).reject(1, 0)
    assert not lease.acknowledged
    assert lease.worst_w(0) == 2_000


def test_what_ran_out_unanswered_becomes_one_that_stands_for_all() -> None:
    late = LEASE_MS + MARGIN_MS + 1
    lease = Lease().issue(grant(1, 5_000, 1_400), 0).issue(grant(2, 0, 0), 0).issue(grant(3, 900, 900), 0)
    lease = lease.issue(grant(4, 0, 0, late + LEASE_MS), late)
    assert len(lease.grants) == 2
    assert lease.worst_w(late) == 1_400
    # The third did not apply; whether the first did is still open.
    assert lease.reject(3, late).worst_w(late) == 1_400
    assert lease.acknowledge(1) == lease
    # Now the first cannot rule any more, but for the one that stands for it the fallback is kept until a newer answer.
    assert lease.acknowledge(3).worst_w(late) == 1_400
    assert lease.acknowledge(4).worst_w(late) == 0


def test_silence_does_not_grow_the_list() -> None:
    lease = Lease().issue(grant(0, 1_400, 1_400), 0).acknowledge(0)
    for i in range(1, 500):
        now = i * 15_000
        lease = lease.issue(grant(i, 5_000, 1_400, now + LEASE_MS), now)
        assert len(lease.grants) <= 3 + (LEASE_MS + MARGIN_MS) // 15_000


@dataclass
class Peer:
    """A charge point that applies orders in their order, some time; its clock is behind by as much as is allowed."""

    ruling: Grant | None = None
    orders: list[Grant] = field(default_factory=list)
    answers: list[tuple[str, int]] = field(default_factory=list)

    def apply(self, *, obey: bool) -> None:
        if self.orders:
            order = self.orders.pop(0)
            if obey:
                self.ruling = order
            self.answers.append(("done" if obey else "no", order.command_id))

    def draws_w(self, clock_ms: int) -> int:
        if self.ruling is None:
            return 0
        behind_ms = clock_ms - MARGIN_MS
        return self.ruling.limit_w if behind_ms <= self.ruling.expires_ms else self.ruling.fallback_w


STEPS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5_000), st.integers(0, 5_000)), max_size=40)


@given(steps=STEPS)
def test_never_below_what_a_charge_point_may_draw(steps: list[tuple[int, int, int]]) -> None:
    """Orders arrive at any time or never, answers in any order or never; the worst case only falls by itself."""
    peer, lease, now, number = Peer(), Lease(), 0, 0
    for what, a, b in steps:
        match what:
            case 0 | 1:
                number += 1
                order = grant(number, max(a, b), min(a, b), now + LEASE_MS)
                lease = lease.issue(order, now)
                peer.orders.append(order)
            case 2 | 3:
                peer.apply(obey=what == 2)
            case 4 if peer.answers:
                verdict, command_id = peer.answers.pop(a % len(peer.answers))
                lease = lease.acknowledge(command_id) if verdict == "done" else lease.reject(command_id, now)
            case 5 if peer.answers:
                peer.answers.pop(a % len(peer.answers))
            case 6 if peer.orders:
                peer.orders.clear()
            case _:
                before = lease.worst_w(now)
                now += (a * b) % 70_000
                assert lease.worst_w(now) <= before
        assert peer.draws_w(now) <= lease.worst_w(now)
        assert not lease.settled or lease.worst_w(now) == peer.draws_w(now)
