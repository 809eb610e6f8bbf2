"""Which of the many knocks at the door become records.

Every stranger that is turned away leaves a line in the audit log, but a flood of them must not fill the disk: per
source and code the first few of a minute are recorded one by one, the rest of that minute as one record with a count.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

# Records of one source and code within one minute before they are counted together.
SINGLY = 10
# Sources and codes remembered at once; all further ones are counted together under the source "*".
KEPT = 4_096
# Length of the counting window, seconds.
WINDOW_S = 60.0


class Rejection(msgspec.Struct, frozen=True):
    """One record to be: ``count`` knocks of this kind."""

    source: str
    code: str
    username: str | None
    authentication: bool
    count: int


class Rejections:
    """Counts knocks; ``record`` is called for each record to write."""

    def __init__(self, record: Callable[[Rejection], None]) -> None:
        self._record = record
        self._seen: dict[tuple[str, str, bool], int] = {}
        self._window_ends_s = 0.0

    def reject(self, source: str, code: str, username: str | None, *, authentication: bool, now_s: float) -> None:
        """Somebody was turned away."""
        self.flush(now_s)
        key = (source, code, authentication)
        if key not in self._seen and len(self._seen) >= KEPT:
            key = ("*", code, authentication)
        count = self._seen.get(key, 0) + 1
        self._seen[key] = count
        if count <= SINGLY:
            self._record(Rejection(key[0], code, username, authentication, 1))

    def flush(self, now_s: float) -> None:
        """Close the window when its minute is over."""
        if now_s >= self._window_ends_s:
            self._window_ends_s = now_s + WINDOW_S
            self.close()

    def close(self) -> None:
        """Close the window now: one record of each kind for all that was only counted."""
        seen, self._seen = self._seen, {}
        for (source, code, authentication), count in seen.items():
            if count > SINGLY:
                self._record(Rejection(source, code, None, authentication, count - SINGLY))
