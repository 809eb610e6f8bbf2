"""The rule table as ceilings. The first rule that matches wins, all comparisons are strict.

Every rule is a ceiling of what the allocator may give, never a permission: limits of nodes hold beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from evcharge.energy.allocate import URGENT_LAXITY, laxity
from evcharge.energy.model import Reading, RuleId, Ruling, Session, Signals

# The table: grid load and battery in per cent, solar in W.
PAUSE_ABOVE_PCT = 85.0
FAST_SOLAR_W = 60_000.0
FAST_BATTERY_PCT = 70.0
NORMAL_SOLAR_W = 30_000.0
CEILING_W = {
    RuleId.PAUSE: 0,
    RuleId.FAST: 22_000,
    RuleId.NORMAL: 11_000,
    RuleId.SLOW: 5_000,
    # Nothing says that the grid can take more: a missing reading is not a low one.
    RuleId.BLIND: 0,
}
# A pause ends below this, not at the limit that began it: otherwise it would come and go with its own effect.
RESUME_BELOW_PCT = 80.0
# No rule gives way to one that allows more sooner than this.
DWELL_MS = 300_000
# A reading older than this says nothing: what it told about may have changed.
STALE_MS = 60_000


def rule_of(grid_load_pct: float, solar_w: float, battery_pct: float) -> RuleId:
    """The table itself."""
    if grid_load_pct > PAUSE_ABOVE_PCT:
        return RuleId.PAUSE
    if solar_w > FAST_SOLAR_W and battery_pct > FAST_BATTERY_PCT:
        return RuleId.FAST
    return RuleId.NORMAL if solar_w > NORMAL_SOLAR_W else RuleId.SLOW


def decide(now_ms: int, signals: Signals) -> Ruling:
    """The rule in force from now on, given the last one."""
    grid = _fresh(signals.grid_load_pct)
    # Without a reading there is no sun and no battery: the rules that need them do not match.
    solar, battery = _fresh(signals.solar_w) or 0.0, _fresh(signals.battery_pct) or 0.0
    rule = RuleId.BLIND if grid is None else rule_of(grid, solar, battery)
    last = signals.ruling
    if last is None:
        return Ruling(rule, CEILING_W[rule], now_ms)
    if last.rule is RuleId.PAUSE and grid is not None and grid >= RESUME_BELOW_PCT:
        return last
    if rule is last.rule or (CEILING_W[rule] > last.ceiling_w and 0 <= now_ms - last.since_ms < DWELL_MS):
        return last
    return Ruling(rule, CEILING_W[rule], now_ms)


def ceilings_w(now_ms: int, sessions: Sequence[Session], ruling: Ruling) -> dict[str, float]:
    """Ceiling by session id. Who cannot wait any longer has none but its rating, unless the grid is not seen."""
    ceilings: dict[str, float] = {}
    for session in sessions:
        left = laxity(session, now_ms)
        exempt = ruling.rule is not RuleId.BLIND and left is not None and left < URGENT_LAXITY
        ceilings[session.id] = float(session.max_w if exempt else min(session.max_w, ruling.ceiling_w))
    return ceilings


def _fresh(reading: Reading | None) -> float | None:
    """The value, where it is young, a number, and not absurd."""
    if reading is None or not 0 <= reading.age_ms <= STALE_MS or not 0.0 <= reading.value < float("inf"):
        return None
    return reading.value
