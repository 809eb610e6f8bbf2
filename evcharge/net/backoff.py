"""How long to wait before the next attempt to connect (SPEC §5.3)."""

from __future__ import annotations

# Upper end of the first interval, in seconds. SPEC §5.3
BASE_S = 0.5
# Upper end of every later interval, in seconds. SPEC §5.3
CAP_S = 60.0
# From this attempt on the interval is the cap; keeps 2^k a small number.
_CAPPED_AT = 7


def reconnect_delay(attempt: int, random: float, cap_s: float = CAP_S) -> float:
    """Seconds before attempt ``attempt`` + 1, where 0 is the first that failed; ``random`` in [0, 1).

    Full jitter, so that peers that lost Central at the same moment do not come back at the same moment.
    """
    return random * min(cap_s, BASE_S * (1 << min(attempt, _CAPPED_AT)))
