"""Connectors kept free for people who do not come: how many at once for one account, and when none any more.

Whoever stands at a charge point can always ask to charge there; this is about what stands empty for him.
"""

from __future__ import annotations

from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.state import Driver, Session, State
from evcharge.domain.words import LinkState, SessionStatus, StopCause
from evcharge.ids import DriverId
from evcharge.units import Millis

# Connectors of one account that are kept for the way there: one for him, one for the second vehicle of the household.
MAX_ON_THE_WAY = 2
# Times in a row that nobody came, after which nothing is kept free for a while: the first one may be bad luck.
MOST_NO_SHOWS = 2
# The first such pause, ms: as long as the two connectors stood empty. Each further time it is twice as long …
PAUSE_MS = 1_800_000
# … and never longer than a day: people change.
MAX_PAUSE_MS = 86_400_000
# Counting further makes no pause longer.
COUNTED = MOST_NO_SHOWS + 6


def missed(state: State, session: Session, cause: StopCause, at_ms: Millis) -> None:
    """Part of ``evolve``: a session ended before it began. Whether anybody was there is only known where the charge
    point was connected.
    """
    kept = session.on_the_way or session.session_id in state.reservations
    charge_point = state.charge_points[session.cp_id]
    connector = charge_point.connectors.get(session.connector)
    there = connector is None or connector.occupied or charge_point.engine.state is not LinkState.UP
    if kept and cause is StopCause.EXPIRED and session.start_valid_ms is None and not there:
        driver = state.drivers[session.driver_id]
        driver.no_shows, driver.no_show_ms = min(COUNTED, driver.no_shows + 1), at_ms


def came(driver: Driver) -> None:
    """Part of ``evolve``: one of his sessions began."""
    driver.no_shows, driver.no_show_ms = 0, None


def paused_until_ms(driver: Driver) -> int | None:
    """Until when nothing is kept free for this account, site time; None: it is not on pause, however long ago."""
    if driver.no_show_ms is None or driver.no_shows < MOST_NO_SHOWS:
        return None
    return driver.no_show_ms + min(MAX_PAUSE_MS, PAUSE_MS << (driver.no_shows - MOST_NO_SHOWS))


def against_absence(state: State, driver_id: DriverId, now_ms: int) -> Objection | None:
    """What speaks against keeping anything free for an account now: it did not come the last times."""
    driver = state.drivers.get(driver_id, Driver())
    until_ms = paused_until_ms(driver)
    # A clock that was set back makes no pause longer.
    if until_ms is None or driver.no_show_ms is None or not driver.no_show_ms <= now_ms < until_ms:
        return None
    return Objection(Obstacle.ABSENT, f"driver {driver_id}", value=driver.no_shows, limit=until_ms)


def against_on_the_way(state: State, driver_id: DriverId, now_ms: int) -> Objection | None:
    """What speaks against keeping one more connector for the way there."""
    driver = state.drivers.get(driver_id, Driver())
    held = sum(1 for each in driver.open_sessions if _on_the_way(state, state.sessions[each]))
    if held >= MAX_ON_THE_WAY:
        return Objection(Obstacle.COUNT, f"driver {driver_id} on the way", value=held, limit=MAX_ON_THE_WAY)
    return against_absence(state, driver_id, now_ms)


def _on_the_way(state: State, session: Session) -> bool:
    """Whether a connector still stands empty for it: a vehicle that was there before is not his."""
    if not session.on_the_way or session.status is not SessionStatus.AUTHORIZED:
        return False
    connector = state.charge_points[session.cp_id].connectors[session.connector]
    came_since = connector.occupied and (connector.since_ms or 0) > session.authorized_ms
    return not came_since


def retry_after_s(against: tuple[Objection, ...], now_ms: int) -> int | None:
    """In how many seconds a pause is over that stands in the way; None: there is none."""
    ends = [one.limit for one in against if one.obstacle is Obstacle.ABSENT and one.limit is not None]
    return max(1, -(-(max(ends) - now_ms) // 1_000)) if ends else None
