"""What is counted of HTTP requests, for /metrics."""

from __future__ import annotations

from collections import Counter

from evcharge.tally import LATENCY_S, Buckets

# The route of a path that none is declared for, or of a method that it does not have.
UNMATCHED = "unmatched"
# The status of a request whose asker has hung up.
HUNG_UP = "none"


class HttpTally:
    """By route, of which there are as many as are declared."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        """By route and class of status: ``2xx``."""
        self.took_s: dict[str, Buckets] = {}
        """From the request's head to its answer, by route; streams are left out."""
        self.throttled = 0
        """Requests that were one too many."""

    def note(self, route: str | None, status: int | None, took_s: float | None) -> None:
        """A request was answered with ``status``; None: nobody waited for the answer."""
        name = route or UNMATCHED
        self.requests[name, HUNG_UP if status is None else f"{status // 100}xx"] += 1
        if took_s is not None:
            buckets = self.took_s.get(name)
            if buckets is None:
                buckets = self.took_s[name] = Buckets(LATENCY_S)
            buckets.observe(took_s)
