"""What the engine keeps beside each connector: authorization, running session, set-point with its lease, fault."""

from __future__ import annotations

import msgspec

from evcharge.cp.model import Connector
from evcharge.cp.store import Authorization, Running


class Now(msgspec.Struct, frozen=True):
    """One instant on all three clocks: site time, monotonic seconds, and Central's channel clock if a channel is up."""

    site_ms: int
    monotonic: float
    channel_ms: int | None = None


class Lease(msgspec.Struct):
    """A set-point: ``limit_w`` until the deadline, ``fallback_w`` from then on.

    The expiry is an instant of the channel clock. It is carried over to the monotonic clock at once, so it goes on
    counting while Central is away; whichever of the two clocks says first that it is over decides.
    """

    limit_w: int
    fallback_w: int
    expires_ms: int
    deadline: float
    """Monotonic seconds."""
    reason: str = ""
    lapsed: bool = False

    @classmethod
    def until(cls, limit_w: int, fallback_w: int, expires_ms: int, now: Now, reason: str) -> Lease:
        """A new set-point; without any knowledge of the channel clock it is over at once."""
        lease = cls(limit_w, fallback_w, expires_ms, float("inf"), reason)
        if now.channel_ms is None:
            lease.deadline = now.monotonic
        lease.follow(now)
        return lease

    def follow(self, now: Now) -> None:
        """Never later than the channel clock says now."""
        if now.channel_ms is not None:
            self.deadline = min(self.deadline, now.monotonic + (self.expires_ms - now.channel_ms) / 1000)


class Slot:
    """A connector with the business around it."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self.authorized: Authorization | None = None
        self.running: Running | None = None
        self.lease: Lease | None = None
        self.error: str | None = None
        self.paused = False
        """What Central was last told: supply of the running session is suspended."""

    @property
    def number(self) -> int:
        return self.connector.number

    @property
    def occupied(self) -> bool:
        """A vehicle is plugged in."""
        return self.connector.vehicle is not None

    def lapses_at(self, since: Now, now: Now) -> int | None:
        """Site instant in (since, now] at which the lease runs out; None: it does not.

        Between two ticks both clocks are taken to run evenly, so a fast site clock does not stretch a lease.
        """
        if self.lease is None or self.lease.lapsed:
            return None
        self.lease.follow(now)
        if self.lease.deadline > now.monotonic:
            return None
        span_s = now.monotonic - since.monotonic
        share = min(1.0, max(0.0, (self.lease.deadline - since.monotonic) / span_s)) if span_s > 0 else 1.0
        return since.site_ms + int((now.site_ms - since.site_ms) * share)

    def lapse(self) -> None:
        """From now on the fallback rules."""
        assert self.lease is not None
        self.lease.lapsed = True
        self.connector.set_limit(self.lease.fallback_w)
