"""What a charge point may draw at worst, whatever happens to the messages.

A set-point is a lease: ``limit_w`` until it expires on the channel clock, then ``fallback_w`` by itself. Until a newer
one is acknowledged the older may still rule, and one that was sent may rule already; so the worst case is the largest
of all that are possible. Shares are only raised into room that this worst case leaves.
"""

from __future__ import annotations

import msgspec

# How long after its expiry a lease is still counted: drift of a charge point's oscillator over a lease (100 ppm of
# 30 s is 3 ms) and the time between its checks (1 s), with as much again in reserve. Milliseconds.
MARGIN_MS = 2_000


class Grant(msgspec.Struct, frozen=True):
    """One set-point that was sent. ``expires_ms`` is on the channel clock; ``fallback_w`` ≤ ``limit_w``."""

    command_id: int
    limit_w: int
    fallback_w: int
    expires_ms: int

    def worst_w(self, clock_ms: int) -> int:
        """The most that this set-point allows from ``clock_ms`` on."""
        if clock_ms <= self.expires_ms + MARGIN_MS:
            return max(self.limit_w, self.fallback_w)
        return self.fallback_w


class Lease(msgspec.Struct, frozen=True):
    """All set-points of one session that may rule: oldest first. With ``acknowledged`` the first one was applied."""

    grants: tuple[Grant, ...] = ()
    acknowledged: bool = False

    def worst_w(self, clock_ms: int) -> int:
        """The most that the connector may draw from ``clock_ms`` on until told otherwise."""
        return max((grant.worst_w(clock_ms) for grant in self.grants), default=0)

    @property
    def newest(self) -> Grant | None:
        """The set-point sent last."""
        return self.grants[-1] if self.grants else None

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way: at most one set-point can rule, and it was applied."""
        return not self.grants or (len(self.grants) == 1 and self.acknowledged)

    def issue(self, grant: Grant, clock_ms: int) -> Lease:
        """After sending ``grant``. Those that ran out are kept as one, so that a silent peer cannot grow the list."""
        ruling = self.grants[:1] if self.acknowledged else ()
        waiting = self.grants[len(ruling) :]
        live = tuple(old for old in waiting if clock_ms <= old.expires_ms + MARGIN_MS)
        expired = [old for old in waiting if clock_ms > old.expires_ms + MARGIN_MS]
        if expired:
            live = (max(expired, key=lambda old: old.fallback_w), *live)
        return Lease((*ruling, *live, grant), self.acknowledged)

    def acknowledge(self, command_id: int) -> Lease:
        """After the charge point applied ``command_id``: whatever was sent before it can no longer rule."""
        for index, grant in enumerate(self.grants):
            if grant.command_id == command_id:
                return Lease(self.grants[index:], acknowledged=True)
        return self

    def reject(self, command_id: int) -> Lease:
        """After the charge point said that it did not apply ``command_id``."""
        ruling = self.acknowledged and self.grants[0].command_id != command_id
        return Lease(tuple(grant for grant in self.grants if grant.command_id != command_id), ruling)

    def next_expiry_ms(self, clock_ms: int) -> int | None:
        """When the worst case next falls by itself; None when it cannot."""
        return min(
            (g.expires_ms + MARGIN_MS for g in self.grants if clock_ms <= g.expires_ms + MARGIN_MS),
            default=None,
        )
