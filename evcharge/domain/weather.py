"""Decisions about the weather: alerts that begin and end, and what the heat leaves of the limits.

Kinds are independent, and so are scopes: cold that is over ends no storm, and one charge point's alert no other's.
Central ends none by itself: a source that says nothing has not said that the weather is fine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evcharge.domain import events as e
from evcharge.domain.alerts import in_scope, key_of
from evcharge.domain.charge_points import open_sessions_at
from evcharge.domain.commands import Derate, ReportWeather
from evcharge.domain.health import unknown
from evcharge.domain.reasons import Objection, Obstacle
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.sessions import next_command, stop_session
from evcharge.domain.state import ChargePoint, State
from evcharge.domain.words import SessionStatus, StopCause
from evcharge.ids import CommandId

# The request of refusals.
_REQUEST = "weather_alert"


def report_weather(state: State, command: ReportWeather) -> list[e.Event]:
    """An alert that is new, or over; said again it is no event. What has begun goes on to its end, unless the site has
    it otherwise.
    """
    kind, cp_id, node_id = command.kind, command.cp_id, command.node_id
    if cp_id is not None and cp_id not in state.charge_points:
        against = (Objection(Obstacle.UNKNOWN, cp_id),)
        reason = RefusalReason.UNKNOWN_CHARGE_POINT
        return [e.RequestRefused(request=_REQUEST, subject=cp_id, reason=reason, against=against)]
    if node_id is not None and node_id not in state.nodes:
        return [unknown(_REQUEST, node_id)]
    if command.active == (key_of(kind, cp_id, node_id) in state.alerts):
        return []
    if not command.active:
        return [e.WeatherCleared(kind=kind, cp_id=cp_id, node_id=node_id)]
    alerted = e.WeatherAlerted(
        kind=kind,
        cp_id=cp_id,
        node_id=node_id,
        milli_c=command.milli_c,
        detail=command.detail,
        simulated=command.simulated,
    )
    return [alerted, *_stops(state, in_scope(state, cp_id, node_id))]


def _stops(state: State, closed: Sequence[ChargePoint]) -> Iterator[e.Event]:
    """What did not begin may not begin any more; what runs ends where the site has it so."""
    command_id = next_command(state)
    for charge_point in closed:
        for session in open_sessions_at(state, charge_point.cp_id):
            if state.site.weather_stops or session.status is SessionStatus.AUTHORIZED:
                ended = stop_session(session, StopCause.WEATHER, command_id)
                command_id = CommandId(command_id + len(ended))
                yield from ended


def derate(state: State, command: Derate) -> list[e.Event]:
    """What the heat leaves of the limits, where the site asks for it and that is news."""
    if state.site.assumed_share is None or command.derated == state.derated:
        return []
    return [e.DeratingChanged(derated=command.derated)]
