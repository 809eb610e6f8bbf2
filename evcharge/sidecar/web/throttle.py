"""How often a client may ask: exact windows that slide, for a bounded number of clients; time comes in.

``requests`` of the last ``seconds`` count, so at no moment have more passed within that time, and ``Retry-After`` is
exactly when the oldest of them is no longer counted. The answer's headers are those of the IETF's draft
(draft-ietf-httpapi-ratelimit-headers).
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque

import msgspec

from evcharge.sidecar.web.route import Limit

# What floating-point sums may lack: who waited as long as it was told must pass, seconds.
_ROUNDING_S = 1e-6


class Verdict(msgspec.Struct, frozen=True):
    """Whether a request may pass, and what is left."""

    allowed: bool
    remaining: int
    reset_s: int
    """Whole seconds until one more may pass (refused) or until all may again (allowed); at least 1."""


class Windows:
    """Requests of each client in its newest window; the client unseen for longest is forgotten first."""

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._passed: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._passed)

    def take(self, client: str, limit: Limit, now: float) -> Verdict:
        """Count one request of ``client`` at ``now`` (monotonic seconds), if it may pass."""
        key = (limit.name, client)
        passed = self._passed.get(key)
        if passed is None:
            passed = self._passed[key] = deque()
        self._passed.move_to_end(key)
        while len(self._passed) > self._clients:
            self._passed.popitem(last=False)
        while passed and passed[0] + limit.seconds <= now + _ROUNDING_S:
            passed.popleft()
        allowed = len(passed) < limit.requests
        if allowed:
            passed.append(now)
        ends = (passed[-1] if allowed else passed[0]) + limit.seconds
        return Verdict(allowed, limit.requests - len(passed), max(1, math.ceil(ends - now - _ROUNDING_S)))


def headers(limit: Limit, verdict: Verdict) -> dict[str, str]:
    """The policy, and what is left of it."""
    said = {
        "RateLimit-Policy": f'"{limit.name}";q={limit.requests};w={limit.seconds}',
        "RateLimit": f'"{limit.name}";r={verdict.remaining};t={verdict.reset_s}',
    }
    if not verdict.allowed:
        said["Retry-After"] = str(verdict.reset_s)
    return said
