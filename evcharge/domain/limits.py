"""What an operator allows a charge point: no connector of it draws more, until another limit is set.

The rating of a connector and of its session stays what it is; where watts are given away or promised, ``most_w`` and
``most_at`` count. Only ``Node.wanted_w`` stays with ratings: whoever was told more before the limit may still draw it,
and nobody may be given that power for free.
"""

from __future__ import annotations

from evcharge.domain import events as e
from evcharge.domain.commands import LimitChargePoint
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import ChargePoint, Connector, Session, State
from evcharge.units import Watts

# Largest limit that can be set, W: 10 MW. The largest connector in use (megawatt charging) ends at 3.75 MW; more is a
# slip of the keyboard.
MAX_LIMIT_W = 10_000_000


def limit_charge_point(state: State, command: LimitChargePoint) -> list[e.Event]:
    """Another limit, from now on, or none any more; nothing happens where it is so already."""
    cp_id, limit_w = command.cp_id, command.limit_w
    charge_point = state.charge_points.get(cp_id)
    if charge_point is None:
        reason, against = RefusalReason.UNKNOWN_CHARGE_POINT, Objection(Obstacle.UNKNOWN, cp_id)
    elif limit_w is not None and not 0 <= limit_w <= MAX_LIMIT_W:
        reason = RefusalReason.LIMIT_OUT_OF_RANGE
        against = Objection(Obstacle.RANGE, "limit_w", value=limit_w, limit=MAX_LIMIT_W)
    elif charge_point.limit_w == limit_w:
        return []
    else:
        return [e.ChargePointLimited(cp_id=cp_id, limit_w=None if limit_w is None else Watts(limit_w))]
    return [e.RequestRefused(request="limit_charge_point", subject=cp_id, reason=reason, against=(against,))]


def most_w(state: State, session: Session) -> int:
    """The most that a session may be given, W: its rating, or the operator's limit; 0 where that is below its smallest
    current.
    """
    return _under(state.charge_points[session.cp_id], session.min_w, session.max_w)


def most_at(charge_point: ChargePoint, connector: Connector) -> int:
    """The same for a session that would begin at a connector."""
    return _under(charge_point, connector.min_w, connector.max_w)


def too_low(charge_point: ChargePoint, connector: Connector) -> bool:
    """Whether the operator's limit leaves a connector less than its smallest current: nothing begins there."""
    return charge_point.limit_w is not None and charge_point.limit_w < connector.min_w


def against_limit(charge_point: ChargePoint, at: str, connector: Connector) -> Objection:
    """That it is ``too_low`` at the connector ``at``."""
    return Objection(Obstacle.LIMIT, at, value=charge_point.limit_w, limit=connector.min_w)


def _under(charge_point: ChargePoint, min_w: int, max_w: int) -> int:
    limit_w = charge_point.limit_w
    if limit_w is None or limit_w >= max_w:
        return max_w
    return limit_w if limit_w >= min_w else 0
