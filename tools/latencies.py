"""A histogram of latencies that is small, goes through JSON, and can be added to another."""

from __future__ import annotations

import math

# Width of a bucket: neighbours differ by this factor, so a quantile is at most 1 % too high.
BUCKET = 1.01
# Least latency that is told apart, seconds.
LEAST_S = 1e-6

_LOG_BUCKET = math.log(BUCKET)


class Latencies:
    """A histogram of seconds with buckets of 1 %: small, and several can be added."""

    def __init__(self, counts: dict[int, int] | None = None, most_s: float = 0.0) -> None:
        self.counts = {} if counts is None else counts
        self.most_s = most_s

    def add(self, seconds: float) -> None:
        """Count one."""
        bucket = int(math.log(max(seconds, LEAST_S) / LEAST_S) / _LOG_BUCKET)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.most_s = max(self.most_s, seconds)

    def merge(self, other: Latencies) -> None:
        """Add all of another one."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.most_s = max(self.most_s, other.most_s)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def quantile_s(self, share: float) -> float:
        """The latency that ``share`` (0 to 1) of all did not exceed, as the upper end of its bucket; 0 of none."""
        wanted = math.ceil(len(self) * share)
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return float(min(self.most_s, LEAST_S * BUCKET ** (bucket + 1)))
        return 0.0
