"""What a charge point may draw at worst, whatever happens to the messages.

A set-point is a lease: ``limit_w`` until it expires on the channel clock, then ``fallback_w`` by itself. Until a newer
one is acknowledged the older may still rule, and one that was sent may rule already; so the worst case is the largest
of all that are possible. Shares are only raised into room that this worst case leaves.
"""

from __future__ import annotations

import msgspec

# How long after its expiry a lease is still counted, ms: how far a charge point's channel clock may be behind. It
# starts late by the way of SESSION (10 s at most, SPEC §5: READY has to be back by then), its oscillator and Central's
# part by 8.6 s (100 ppm) in the 24 h that a channel lives, and its checks are up to 1 s apart. No setting may allow
# more (``central.limits.RANGES``).
MARGIN_MS = 20_000


class Grant(msgspec.Struct, frozen=True):
    """One set-point that was sent. ``expires_ms`` is on the channel clock; ``fallback_w`` ≤ ``limit_w``."""

    command_id: int
    limit_w: int
    fallback_w: int
    expires_ms: int

    def live(self, clock_ms: int) -> bool:
        """Whether ``limit_w`` may still rule."""
        return clock_ms <= self.expires_ms + MARGIN_MS

    def worst_w(self, clock_ms: int) -> int:
        """The most that this set-point allows from ``clock_ms`` on."""
        return max(self.limit_w, self.fallback_w) if self.live(clock_ms) else self.fallback_w


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
        """After sending ``grant``. Those that ran out unanswered become one, so that silence cannot grow the list."""
        ruling = self.grants[:1] if self.acknowledged else ()
        waiting = self.grants[len(ruling) :]
        expired = [old for old in waiting if not old.live(clock_ms)]
        if len(expired) > 1:
            # Any of them may rule. The newest stands for all: an answer to an older one says nothing about it.
            newest = expired[-1]
            one = msgspec.structs.replace(newest, fallback_w=max(old.fallback_w for old in expired))
            waiting = tuple(one if old is newest else old for old in waiting if old is newest or old.live(clock_ms))
        return Lease((*ruling, *waiting, grant), self.acknowledged)

    def later(self, clock_ms: int, by_ms: int) -> Lease:
        """With every set-point that was live at ``clock_ms`` living ``by_ms`` longer."""
        grants = (
            msgspec.structs.replace(grant, expires_ms=grant.expires_ms + by_ms) if grant.live(clock_ms) else grant
            for grant in self.grants
        )
        return Lease(tuple(grants), self.acknowledged)

    def acknowledge(self, command_id: int) -> Lease:
        """After the charge point applied ``command_id``: whatever was sent before it can no longer rule."""
        for index, grant in enumerate(self.grants):
            if grant.command_id == command_id:
                return Lease(self.grants[index:], acknowledged=True)
        return self

    def reject(self, command_id: int, clock_ms: int) -> Lease:
        """After the charge point said that it did not apply ``command_id``.

        One that ran out stays until a newer one is acknowledged: it may stand for others as well (``issue``).
        """
        kept = tuple(grant for grant in self.grants if grant.command_id != command_id or not grant.live(clock_ms))
        return Lease(kept, self.acknowledged and kept[:1] == self.grants[:1])

    def next_expiry_ms(self, clock_ms: int) -> int | None:
        """When the worst case next falls by itself; None when it cannot."""
        return min((g.expires_ms + MARGIN_MS for g in self.grants if g.live(clock_ms)), default=None)
