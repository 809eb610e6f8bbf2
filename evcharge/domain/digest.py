"""A fingerprint of the whole state that costs what changed, not what there is. FORMAT.md §11.

The state falls into parts (a charge point, a session, a driver …). The fingerprint is over the sum of their hashes,
so one event needs only the parts that it touches anew, and ten thousand charge points make no pause.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from evcharge.domain import events as e
from evcharge.domain.alerts import in_scope, key_of
from evcharge.domain.feeds import above, feeds_of, path_of
from evcharge.domain.state import ChargePoint, State
from evcharge.domain.words import Role
from evcharge.ids import ChargePointId, SessionId

# Number of the rules by which events become state, and of the state's shape: raised whenever a log gives another state
# than before, so that a newer program does not take its own progress for damage. A golden test watches over it.
RULES: Final = 7
# Parts that may wait to be hashed anew; a few microseconds each, so that no event waits a millisecond for it.
MOST_DIRTY = 256
# Hashes are added modulo this: 256 bits.
_MODULUS: Final = 1 << 256
_TAG = b"evcharge state 1\0"

_ENCODE = msgspec.msgpack.Encoder().encode


class Part(NamedTuple):
    """Names a part: the field of ``State`` that holds it, and its key there."""

    section: str
    key: str


# Fields of State that are maps of parts; all other fields together are one part, see ``_rest``.
SECTIONS: Final = ("charge_points", "sessions", "drivers", "nodes", "provisional", "waiting", "reservations", "alerts")
# Fields that follow from the others.
DERIVED: Final = ("spots",)
# Attributes of events that name a part.
_NAMES: Final = {
    "cp_id": "charge_points",
    "session_id": "sessions",
    "driver_id": "drivers",
    "substation_id": "nodes",
    "node_id": "nodes",
    "waiting_id": "waiting",
    "behind": "waiting",
    "reservation_id": "reservations",
}


class Digest:
    """The fingerprint of one state. Call ``touch`` with every event *before* it is applied."""

    __slots__ = ("_dirty", "_hashes", "_state", "_sum")

    def __init__(self, state: State) -> None:
        self._state = state
        self._hashes: dict[Part, int] = {}
        self._dirty: set[Part] = set()
        self._sum = 0
        self._all()

    def touch(self, event: e.Event) -> Collection[Part]:
        """Remember which parts ``event`` is about to change, and say which; none: any may."""
        if len(self._dirty) >= MOST_DIRTY:
            self._settle()
        if isinstance(event, e.CentralStarted):
            self._all()
            nodes = (*event.site.capacities, *event.site.assignments.values())
            self._dirty.update(Part("nodes", node) for node in nodes)
            return ()
        parts = list(touched(event, self._state))
        self._dirty.update(parts)
        return parts

    def value(self) -> bytes:
        """SHA-256 over the parts as they are now."""
        self._settle()
        return sha256(
            _TAG + len(self._hashes).to_bytes(8, "big") + self._sum.to_bytes(32, "big") + _rest(self._state)
        ).digest()

    def _all(self) -> None:
        """Every part that there is: at a start, where any may change."""
        self._dirty.update(self._hashes)
        self._dirty.update(Part(section, key) for section in SECTIONS for key in getattr(self._state, section))

    def _settle(self) -> None:
        """Hash what was touched; what is no longer there counts nothing."""
        state, hashes, total = self._state, self._hashes, self._sum
        for part in self._dirty:
            value = getattr(state, part.section).get(part.key)
            total -= hashes.pop(part, 0)
            if value is not None:
                written = _ENCODE((part.section, part.key, plain(value)))
                hashes[part] = new = int.from_bytes(sha256(written).digest(), "big")
                total += new
        self._dirty.clear()
        self._sum = total % _MODULUS


def fingerprint(state: State) -> bytes:
    """``Digest.value`` of a state, made from nothing."""
    return Digest(state).value()


def touched(event: e.Event, state: State) -> Iterator[Part]:
    """The parts that ``event`` may change, asked before it is applied; more than it changes does no harm."""
    if isinstance(event, e.PeerConnected | e.PeerDisconnected):
        yield from _of_peer(event, state)
        return
    if isinstance(event, e.ChargePointMoved | e.MoveCompleted):
        yield from _of_move(event, state)
        return
    if isinstance(event, e.WeatherAlerted | e.WeatherCleared):
        yield Part("alerts", key_of(event.kind, event.cp_id, event.node_id))
        yield from (Part("charge_points", one.cp_id) for one in in_scope(state, event.cp_id, event.node_id))
        return
    about: Any = event.ticket if isinstance(event, e.TicketIssued) else event
    for name, section in _NAMES.items():
        key = getattr(about, name, None)
        if key is None:
            continue
        if section == "nodes" and key in state.nodes:
            # What is reserved at a node is reserved above it as well.
            yield from (Part(section, node_id) for node_id in above(state, key))
        else:
            yield Part(section, key)
    if isinstance(event, e.ChargeAuthorized):
        yield from (Part("nodes", node_id) for node_id in feeds_of(state, event.cp_id))
    session_id = getattr(about, "session_id", None)
    if session_id is None:
        return
    yield Part("provisional", session_id)
    session = state.sessions.get(session_id)
    if session is not None:
        yield Part("charge_points", session.cp_id)
        yield Part("drivers", session.driver_id)
        yield from (Part("nodes", node_id) for node_id in feeds_of(state, session.cp_id))


def _of_move(event: e.ChargePointMoved | e.MoveCompleted, state: State) -> Iterator[Part]:
    yield Part("charge_points", event.cp_id)
    for connector in state.charge_points[event.cp_id].connectors.values():
        if connector.session_id is not None:
            yield Part("sessions", connector.session_id)
    yield from (Part("nodes", node_id) for node_id in feeds_of(state, event.cp_id))
    if isinstance(event, e.ChargePointMoved):
        yield from (Part("nodes", node_id) for node_id in path_of(state, event.cp_id, event.to_id))


def _of_peer(event: e.PeerConnected | e.PeerDisconnected, state: State) -> Iterator[Part]:
    if event.role is Role.DRIVER:
        yield Part("drivers", event.entity)
    if event.role not in (Role.ENGINE, Role.MONITOR):
        return
    yield Part("charge_points", event.entity)
    charge_point = state.charge_points.get(ChargePointId(event.entity))
    for connector in () if charge_point is None else charge_point.connectors.values():
        if connector.session_id is not None:
            yield Part("sessions", SessionId(connector.session_id))


def plain(value: Any) -> Any:
    """A part as it is encoded: maps keep their order, which means something; the one set has none, so it is sorted."""
    if isinstance(value, ChargePoint) and value.holds:
        return msgspec.structs.replace(value, holds=sorted(value.holds))
    return value


def plain_state(state: State) -> State:
    """A copy for a file: what has no order of its own is sorted, so that one state has one text."""
    parts = {cp_id: plain(charge_point) for cp_id, charge_point in state.charge_points.items()}
    return msgspec.structs.replace(state, charge_points=parts, spots=None)


def _rest(state: State) -> bytes:
    """Everything of the state that is no map of parts."""
    names = (name for name in state.__struct_fields__ if name not in SECTIONS and name not in DERIVED)
    return sha256(_ENCODE([(name, getattr(state, name)) for name in names])).digest()
