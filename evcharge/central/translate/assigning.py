"""``assign`` for the wire: where somebody would be sent now, with a sentence for each node that was looked at."""

from __future__ import annotations

from evcharge.central.translate import outgoing
from evcharge.domain.assigning import Alternative, Assigned, assign, wish_of
from evcharge.domain.commands import RequestCharge
from evcharge.domain.consequences import effects_of
from evcharge.domain.effects import Denied
from evcharge.domain.events import ChargeRefused
from evcharge.domain.state import State
from evcharge.domain.words import Stamp
from evcharge.ids import NodeId
from protocol import messages as m


def asked_for(asked: m.Assign) -> RequestCharge:
    """What is wanted, as the charge request that it stands for."""
    return wish_of(asked.energy_wh, asked.power_w, None if asked.substation_id is None else NodeId(asked.substation_id))


def assignment(re: m.RequestId, command: RequestCharge, state: State, stamp: Stamp) -> m.Reply | m.Refused:
    """The answer; a refusal is the one that a charge request would get."""
    found = assign(state, command, stamp)
    if isinstance(found, ChargeRefused):
        (denied,) = effects_of(found, state, stamp)
        assert isinstance(denied, Denied)
        return outgoing.refusal(denied, re)
    cp_id, connector = found.routed
    return m.Reply(
        re=re,
        assignment=m.AssignmentView(
            substation_id=found.node_id,
            cp_id=cp_id,
            connector=connector,
            utilisation=found.utilisation,
            headroom_w=found.headroom_w,
            power_w=found.power_w,
            reason=_reason(found),
            alternatives=[
                m.AlternativeView(
                    substation_id=one.node_id,
                    reason=_against(one),
                    cp_id=None if one.routed is None else one.routed.cp_id,
                    connector=None if one.routed is None else one.routed.connector,
                    utilisation=one.utilisation,
                )
                for one in found.alternatives
            ],
        ),
    )


def _reason(found: Assigned) -> str:
    able = sum(1 for one in found.alternatives if one.routed is not None)
    why = "of those with room it is used least" if able else "no other one has room"
    return (
        f"{found.node_id}: {why}, {found.utilisation} % reserved with this one; "
        f"it would get {found.power_w / 1_000:g} kW now."
    )


def _against(one: Alternative) -> str:
    if one.lost is not None:
        return f"{one.lost} is lost or on trial."
    if one.full is not None:
        return f"{one.full} has {one.left_w / 1_000:g} kW left, too little for one more."
    if one.routed is not None:
        return f"It has room, {one.utilisation} % reserved with one more."
    return "No connector that is well is free there."
