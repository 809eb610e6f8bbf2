"""What a driver asks for advice: where to charge, and why its session gets what it gets; answered from the state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from evcharge.central.decisions import Decisions
from evcharge.domain.headroom import NO_METERS, base_w, heat_takes, limit_of, measured_all_over, part_of, shares_of
from evcharge.domain.reasons import Basis, Bound, Constraint
from evcharge.domain.reasons import sentence as basis_sentence
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.state import Session, State
from evcharge.domain.stations import Found, Places, find_stations, legacy_stations
from evcharge.domain.words import Health, LimitReason, SessionStatus, Stamp
from evcharge.energy import legacy as old
from evcharge.energy import recommend as en
from evcharge.ids import DriverId, NodeId, SessionId
from protocol import messages as m

# How far the sum of given weights may be from 1: four shares of two digits each.
WEIGHTS_SLACK = 0.02

# Why charge points are left out; a count follows.
_LEFT_OUT = {
    en.Refusal.BAD_DATA: "known by figures that make no sense",
    en.Refusal.OUT_OF_REACH: "out of reach",
    en.Refusal.NO_FITTING_CONNECTOR: "without a connector that fits",
    en.Refusal.OUT_OF_SERVICE: "out of service",
    en.Refusal.WAIT_UNKNOWN: "taken, nobody knows for how long",
    en.Refusal.NO_POWER: "without power to spare",
}
# Why a set-point of before Central's start is what it is: the log has its figures, this has not.
_BEFORE = {
    LimitReason.SHARED: "a capacity is shared with others",
    LimitReason.EQUAL_SHARE: "a capacity is shared with others",
    LimitReason.RATING: "the connector takes no more",
    LimitReason.NO_CAPACITY: "there was not enough for all",
    LimitReason.WAITING: "others had to confirm less before",
    LimitReason.PLAN: "the plan left power for later, or for others",
    LimitReason.RULE: "a rule of the site held it down",
    LimitReason.NEED: "the vehicle needed no more",
    LimitReason.STEADY: "raises are not given too often",
    LimitReason.RAMP: "it was on its way up",
    LimitReason.OPERATOR: "an operator limits its charge point",
    LimitReason.NODE_LOST: "what feeds it was lost",
}
_UNDECIDED = {
    SessionStatus.AUTHORIZED: "Nothing is decided yet: it waits for the vehicle, or for its charge point.",
    SessionStatus.OFFLINE: "Its charge point is out of contact: its last set-point holds, then its fallback.",
}


class Advice:
    """Answers ``recommend`` and ``why``."""

    def __init__(
        self, decisions: Decisions, places: Places, measured_w: Callable[[], Mapping[NodeId, int]] = lambda: NO_METERS
    ) -> None:
        """``measured_w``: the base load that meters show now, by node."""
        self._decisions = decisions
        self._places = places
        self._measured_w = measured_w

    def recommendation(self, asked: m.Recommend, state: State, stamp: Stamp) -> m.Reply | m.Refused:
        """The charge points that suit this vehicle, best first, and why the others do not."""
        here = None
        if asked.latitude is not None and asked.longitude is not None:
            here = (asked.latitude, asked.longitude)
        found = find_stations(state, stamp, self._places, here, asked.plug)
        if asked.mode == "legacy":
            return m.Reply(re=asked.id, recommendation=_by_legacy(asked, state, found))
        if _need_wh(asked) <= 0:
            return _refused(asked.id, RefusalReason.ENERGY_OUT_OF_RANGE)
        if asked.weights is not None and abs(_sum(asked.weights) - 1) > WEIGHTS_SLACK:
            return _refused(asked.id, RefusalReason.WEIGHTS_OUT_OF_RANGE)
        return m.Reply(re=asked.id, recommendation=_by_pareto(asked, state, found))

    def why(self, asked: m.Why, driver_id: DriverId | None, state: State, _stamp: Stamp) -> m.Reply | m.Refused:
        """The newest decision about one of the driver's own sessions; None: an operator asks, about anybody's."""
        if asked.session_id is None:
            driver = None if driver_id is None else state.drivers.get(driver_id)
            own = [] if driver is None else [state.sessions[each] for each in driver.open_sessions]
            session = max(own, key=lambda one: (one.authorized_ms, one.session_id), default=None)
        else:
            session = state.sessions.get(SessionId(asked.session_id))
        if session is None:
            return _refused(asked.id, RefusalReason.UNKNOWN_SESSION, asked.session_id or "")
        if driver_id not in (None, session.driver_id):
            return _refused(asked.id, RefusalReason.NOT_YOUR_SESSION, session.session_id)
        return m.Reply(re=asked.id, why=self._why(session, state))

    def told(self, session_id: str, connector: m.ConnectorView, state: State) -> m.ConnectorView:
        """A connector with why its session gets what it gets."""
        session = state.sessions.get(SessionId(session_id))
        if session is None:
            return connector
        decided = self._decisions.of(session_id)
        basis = self._basis(session, state)
        at_ms = None if decided is None else decided.decided_ms
        ages = [one.age_ms for one in basis.inputs] if basis is not None else []
        return msgspec.structs.replace(
            connector,
            why=_sentence(session, basis, _otherwise(session)),
            decided_ms=at_ms,
            inputs_ms=at_ms - max(ages) if ages and at_ms is not None else None,
        )

    def _basis(self, session: Session, state: State) -> Basis | None:
        """What its newest set-point rests on."""
        decided = self._decisions.of(session.session_id)
        newest = session.lease.newest
        basis = None if decided is None else decided.basis
        if basis is not None and newest is not None and newest.limit_w < session.min_w:
            # Who had nothing is told nothing anew when a limit falls or a node is lost after that; who asks is.
            bound_now = self._full(session, state)
            basis = basis if bound_now is None else Basis(bound_now)
        return basis

    def _why(self, session: Session, state: State) -> m.WhyView:
        decided = self._decisions.of(session.session_id)
        newest = session.lease.newest
        basis = self._basis(session, state)
        bound = None if basis is None else basis.bound
        return m.WhyView(
            session_id=session.session_id,
            cp_id=session.cp_id,
            connector=session.connector,
            state=session.status.value,
            sentence=_sentence(session, basis, _otherwise(session)),
            at_ms=None if decided is None else decided.decided_ms,
            limit_w=None if newest is None else newest.limit_w,
            reason=None if session.limit_reason is None else session.limit_reason.value,
            constraint=None if bound is None else bound.constraint.value,
            node=None if bound is None else bound.node,
            node_limit_w=0 if bound is None else bound.limit_w,
            node_rated_w=0 if bound is None else bound.rated_w,
            others_w=0 if bound is None else bound.others_w,
            sharing=0 if bound is None else bound.sharing,
            inputs=[] if basis is None else [m.InputView(name=one.name, age_ms=one.age_ms) for one in basis.inputs],
            rejected=[]
            if basis is None
            else [m.RejectedView(limit_w=one.limit_w, constraint=one.constraint.value) for one in basis.rejected],
        )

    def _full(self, session: Session, state: State) -> Bound | None:
        """What leaves it less than its smallest current without anybody else: its charge point's operator, or the first
        node that feeds it and is lost, or has too little.
        """
        charge_point = state.charge_points[session.cp_id]
        if charge_point.limit_w is not None and charge_point.limit_w < session.min_w:
            return Bound(Constraint.OPERATOR, session.cp_id, charge_point.limit_w)
        measured_w = measured_all_over(state, self._measured_w())
        for row, part in shares_of(state, session.cp_id):
            node = state.nodes[row.node_id]
            base, limit_w = base_w(node, measured_w.get(row.node_id)), limit_of(state, row)
            if node.health is Health.LOST:
                return Bound(Constraint.NODE_LOST, row.node_id, 0)
            if limit_w - base < part_of(session.min_w, part):
                return Bound(Constraint.MINIMA, str(row), limit_w, base_w=base, rated_w=heat_takes(state, row))
        return None


def _otherwise(session: Session) -> str:
    """What is said where nothing was decided since the start."""
    return _UNDECIDED.get(session.status) or _before(session.limit_reason)


def _before(reason: LimitReason | None) -> str:
    known = "" if reason is None else f" because {_BEFORE[reason]}"
    return f"Decided before Central was started{known}; the figures come with the next set-point."


def _sentence(session: Session, basis: Basis | None, otherwise: str) -> str:
    if session.stop is not None:
        return "Its end was ordered; the ticket follows when the final meter is known."
    if basis is None:
        return otherwise
    # The plan reckons with the stay of earlier sessions where nobody said more: the driver can.
    planned = basis.bound.constraint is Constraint.PLAN or any(
        one.constraint is Constraint.PLAN for one in basis.rejected
    )
    unsaid = "; no departure was said: --depart" if planned and session.depart_by_ms is None else ""
    return f"{basis_sentence(basis, session.min_w)}{unsaid}."


def _by_pareto(asked: m.Recommend, state: State, found: Found) -> m.RecommendationView:
    need_wh = _need_wh(asked)
    vehicle = en.Vehicle(
        need_wh=need_wh,
        range_km=_range_km(asked),
        max_w=asked.max_w,
        plugs=found.plugs,
        # What the way takes is charged again at the same price.
        way_cost_per_km=asked.consumption_wh_per_km / 1_000 * state.site.tariff.price_e4 / 10_000,
    )
    given = asked.weights
    weights = en.Weights() if given is None else _given(given)
    advised = en.recommend(vehicle, found.stations, weights, most=len(found.stations))
    far_km = {station.station_id: station.distance_km for station in found.stations}
    rows = [_option(option, far_km, rank, asked.max_results) for rank, option in enumerate(advised.top, start=1)]
    rows += [
        m.StationView(
            cp_id=one.station_id, excluded=one.reason.value, distance_m=_whole(far_km[one.station_id] * 1_000)
        )
        for one in advised.excluded
    ]
    best = advised.top[0] if advised.top else None
    return m.RecommendationView(
        mode=asked.mode,
        vehicle=_vehicle(asked, need_wh),
        sentence=_told(best, advised.excluded, far_km, located=found.located),
        cp_id=None if best is None else best.station_id,
        connector=None if best is None or best.connector_id is None else int(best.connector_id),
        weights=_weights(weights.normalised()),
        stations=rows,
        left_out=found.left_out,
        located=found.located,
        currency=state.site.tariff.currency,
    )


def _option(option: en.Option, far_km: dict[str, float], rank: int, most: int) -> m.StationView:
    return m.StationView(
        cp_id=option.station_id,
        rank=rank if rank <= most else None,
        connector=None if option.connector_id is None else int(option.connector_id),
        score=round(option.score, 6),
        front=option.pareto,
        parts=_weights(option.contributions),
        cost_minor=round(option.cost * 100),
        time_s=_whole(option.time_s),
        carbon_g=_whole(option.carbon_kg * 1_000),
        queue_s=_whole(option.queue_s),
        power_w=option.power_w,
        distance_m=_whole(far_km[option.station_id] * 1_000),
    )


def _by_legacy(asked: m.Recommend, state: State, found: Found) -> m.RecommendationView:
    decided = old.legacy(asked.battery_percent, legacy_stations(state, found))
    rows = [
        m.LegacyView(
            station_id=row.station_id,
            score=row.score,
            energy_needed_kwh=row.energy_needed_kwh,
            charging_time_hours=row.charging_time_hours,
            carbon_emission_kg=row.carbon_emission_kg,
            explanation=row.explanation,
        )
        for row in decided.all_station_analysis
    ]
    return m.RecommendationView(
        mode=asked.mode,
        vehicle=_vehicle(asked, round((100 - asked.battery_percent) * old.BATTERY_KWH * 10)),
        sentence=decided.system_message,
        cp_id=decided.recommended_station,
        legacy=rows,
        left_out=found.left_out,
        located=found.located,
        currency=state.site.tariff.currency,
    )


def _told(best: en.Option | None, excluded: Sequence[en.Excluded], far_km: dict[str, float], *, located: bool) -> str:
    where = "" if located else " Distances do not count: nobody said where the vehicle or the charge points are."
    if best is None:
        counts = {reason: sum(1 for one in excluded if one.reason is reason) for reason in en.Refusal}
        said = "; ".join(f"{_LEFT_OUT[reason]}: {count}" for reason, count in counts.items() if count)
        return f"No charge point can serve this vehicle now ({said or 'there is none'}).{where}"
    wait = "free now" if best.queue_s == 0 else f"free in about {math.ceil(best.queue_s / 60)} min"
    way = f", {far_km[best.station_id]:.1f} km away" if located else ""
    return f"{best.station_id} suits best: {wait}{way}, {best.power_w / 1_000:g} kW as it looks now.{where}"


def _vehicle(asked: m.Recommend, need_wh: int) -> m.VehicleView:
    return m.VehicleView(
        battery_percent=asked.battery_percent,
        capacity_wh=asked.capacity_wh,
        target_percent=asked.target_percent,
        need_wh=need_wh,
        max_w=asked.max_w,
        range_m=int(_range_km(asked) * 1_000),
        plug=asked.plug,
    )


def _need_wh(asked: m.Recommend) -> int:
    return math.ceil((asked.target_percent - asked.battery_percent) / 100 * asked.capacity_wh)


def _range_km(asked: m.Recommend) -> float:
    return asked.battery_percent / 100 * asked.capacity_wh / asked.consumption_wh_per_km


def _weights(figures: en.Figures) -> m.Weights:
    cost, time, carbon, queue = (min(1.0, max(0.0, round(figure, 6))) for figure in figures)
    return m.Weights(cost=cost, time=time, carbon=carbon, queue=queue)


def _given(weights: m.Weights) -> en.Weights:
    return en.Weights(cost=weights.cost, time=weights.time, carbon=weights.carbon, queue=weights.queue)


def _sum(weights: m.Weights) -> float:
    return weights.cost + weights.time + weights.carbon + weights.queue


def _whole(figure: float) -> int:
    """To the nearest whole unit."""
    return round(figure)


def _refused(re: m.RequestId, reason: RefusalReason, subject: str = "") -> m.Refused:
    return m.Refused(re=re, reason=reason.value, sentence=sentence(reason, subject))
