"""Days at a whole site on which there are more drivers than connectors, or than power."""

from __future__ import annotations

from tests.support import model_steps
from tests.support.model_site import Site

# Steps by name, so that a day of them is full of what this is about.
BUSY = tuple(
    getattr(model_steps, name)
    for name in (
        *("_recover",) * 6,
        *("_wait",) * 6,
        *("_free",) * 4,
        *("_reserve",) * 3,
        *("_await_reservation",) * 3,
        *("_settle", "_short", "_short", "_long", "_leave", "_cancel", "_operator", "_monitor", "_restart_central"),
        *("_broken", "_cut", "_connect", "_plug", "_plug", "_request", "_end", "_allocate"),
        *("_announce", "_let_pass", "_let_pass"),
    )
)


def busy_day(program: bytes, kind: type[Site] = Site) -> Site:
    # Enough for everybody, or for the smallest currents of two.
    site = kind(capacity_w=(16_000, 4_300)[program[-1] % 2])
    for i in range(0, len(program) - 2, 3):
        what, where, how = program[i : i + 3]
        BUSY[what % len(BUSY)](site, list(site.cps)[where % len(site.cps)], how)
    return site
