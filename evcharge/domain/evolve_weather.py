"""How the weather changes what is true: who is held by an alert, and what the heat leaves of the limits."""

from __future__ import annotations

from evcharge.domain import events as e
from evcharge.domain.alerts import in_scope, is_covered, key_of
from evcharge.domain.applying import apply
from evcharge.domain.state import Alert, ChargePoint, Derated, State
from evcharge.domain.words import Hold, Stamp
from evcharge.energy.rules import Fault
from evcharge.ids import ChargePointId
from evcharge.units import Millis


@apply.register
def _weather_alerted(event: e.WeatherAlerted, state: State, stamp: Stamp) -> None:
    state.alerts[key_of(event.kind, event.cp_id, event.node_id)] = Alert(
        kind=event.kind,
        cp_id=event.cp_id,
        node_id=event.node_id,
        since_ms=Millis(stamp.at_ms),
        milli_c=event.milli_c,
        detail=event.detail,
        simulated=event.simulated,
    )
    for charge_point in in_scope(state, event.cp_id, event.node_id):
        charge_point.holds.add(Hold.WEATHER)
        _looked_at_anew(state, charge_point.cp_id)


@apply.register
def _weather_cleared(event: e.WeatherCleared, state: State, _stamp: Stamp) -> None:
    state.alerts.pop(key_of(event.kind, event.cp_id, event.node_id), None)
    for charge_point in in_scope(state, event.cp_id, event.node_id):
        follow_weather(state, charge_point)
        _looked_at_anew(state, charge_point.cp_id)


def follow_weather(state: State, charge_point: ChargePoint) -> None:
    """Held while any alert covers it, and not otherwise."""
    if is_covered(state.alerts, state.site, charge_point.cp_id):
        charge_point.holds.add(Hold.WEATHER)
    else:
        charge_point.holds.discard(Hold.WEATHER)


def _looked_at_anew(state: State, cp_id: ChargePointId) -> None:
    """What is free there: one record is about many charge points (``routing.outdate`` sees one)."""
    if state.spots is not None:
        state.spots.stale[cp_id] = None


@apply.register
def _derating_changed(event: e.DeratingChanged, state: State, _stamp: Stamp) -> None:
    state.derated = event.derated


def follow_derating(state: State) -> None:
    """By the configuration: nothing is derated, or at worst until somebody says how hot it is."""
    share = state.site.assumed_share
    if share is None:
        state.derated = None
    elif state.derated is None:
        state.derated = Derated(share=share, fault=Fault.MISSING)
