"""Who takes whose channel: too many takeovers between two processes mean that they share a credential (SPEC §6.1).

Only counting, with time as an argument; what follows from it is the domain's. An entry exists for a peer that was taken
over within the last minute, so there are never more than peers, and each costs O(1).
"""

from __future__ import annotations

from collections import OrderedDict, deque

from evcharge.domain.words import Role

# Takeovers within the window that are still taken for restarts: a process that is moved, or crashes and is restarted,
# brings one or two. SPEC §6.1
MOST = 3
# Length of the window, and of the quiet after which the alarm ends, seconds. SPEC §6.1
WINDOW_S = 60.0

Key = tuple[Role, str]
"""Role and entity."""


class Takeovers:
    """Counts takeovers; a peer is *contested* from the one that was too many until the quiet after the last one."""

    def __init__(self) -> None:
        # In the order of their last takeover, so that those which are over stand in front.
        self._recent: OrderedDict[Key, deque[float]] = OrderedDict()
        self._contested: set[Key] = set()

    def count(self, key: Key, now_s: float) -> bool:
        """One more takeover, or an attempt at one. True: from now on, and not before, the peer is contested."""
        times = self._recent.setdefault(key, deque(maxlen=MOST + 1))
        times.append(now_s)
        self._recent.move_to_end(key)
        if key in self._contested or len(times) <= MOST or times[0] <= now_s - WINDOW_S:
            return False
        self._contested.add(key)
        return True

    def resume(self, key: Key, now_s: float) -> None:
        """It was contested before a restart of Central: the quiet begins anew."""
        self._recent[key] = deque([now_s], maxlen=MOST + 1)
        self._contested.add(key)

    def contested(self, key: Key) -> bool:
        """Whether the alarm stands."""
        return key in self._contested

    def over(self, now_s: float) -> list[Key]:
        """Forget all without a takeover for a minute; those that were contested until now."""
        ended = []
        while self._recent:
            key, times = next(iter(self._recent.items()))
            if times[-1] > now_s - WINDOW_S:
                break
            del self._recent[key]
            if key in self._contested:
                self._contested.discard(key)
                ended.append(key)
        return ended
