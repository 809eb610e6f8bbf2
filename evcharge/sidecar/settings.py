"""Every number of the registry's HTTP side that an operator may set, with its default, unit and reason."""

from __future__ import annotations

import msgspec

# Life of a credential of role debug, in seconds: a console session, not a standing door. SPEC §8
DEBUG_LIFETIME_S = 3600
# Longest life that a registration may ask for, in seconds, and the shortest. SPEC §8
DEBUG_LIFETIME_MAX_S = 86_400
DEBUG_LIFETIME_MIN_S = 1
# Most rows of one page of /list.
LIST_ROWS = 100
# Most records of one answer of /changes: 500 signed records are about 250 kB. SPEC §2
CHANGES_ROWS = 500
# Longest wait of a long poll, in seconds: below the 30 s at which common proxies cut an idle answer.
WAIT_S = 25.0
# Long polls open at once. Central keeps one; a few more for restarts and a standby.
WAITERS = 16
# How long open answers may take after SIGTERM before they are cut, in seconds.
DRAIN_S = 5.0


class SidecarSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the HTTP side; tests make their own."""

    debug_lifetime_s: int = DEBUG_LIFETIME_S
    wait_s: float = WAIT_S
    waiters: int = WAITERS
