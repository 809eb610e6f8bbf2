"""Credentials that are no more: what the registry says of a record ends the channels that stand on it."""

from __future__ import annotations

from collections.abc import Callable

from evcharge.central.admission import Admission
from evcharge.central.engine import Engine
from evcharge.central.peers import Directory, Peer
from evcharge.central.translate.incoming import ROLES
from evcharge.domain import commands as c
from evcharge.domain.charge_points import open_sessions_at
from evcharge.domain.state import State
from evcharge.domain.words import Role
from evcharge.ids import ChargePointId
from evcharge.net.clock import Clock
from evcharge.net.timers import TimerWheel
from protocol.errors import CloseCode
from protocol.records import RegistryRecord

# How long a revoked engine keeps its channel, seconds: enough for the stop to reach it and its final meter to come
# back, well within the 2 s that SPEC §2.6 allows.
REVOKED_ENGINE_S = 0.75


class Revoking:
    """Hears of changed records and closes channels."""

    def __init__(
        self,
        state: Callable[[], State],
        engine: Engine,
        admission: Admission,
        directory: Directory,
        timers: TimerWheel,
        clock: Clock,
    ) -> None:
        self._state = state
        self._engine = engine
        self._admission = admission
        self._directory = directory
        self._timers = timers
        self._clock = clock

    def close(self, peer: Peer) -> None:
        """End the channel of a revoked peer; an engine with a session first gets the time to report its final meter."""
        if peer.role is Role.ENGINE and open_sessions_at(self._state(), ChargePointId(peer.entity)):
            due_s = self._clock.monotonic() + REVOKED_ENGINE_S
            self._timers.schedule(due_s, lambda: peer.adapter.close(CloseCode.REVOKED))
        else:
            peer.adapter.close(CloseCode.REVOKED)

    def record_changed(self, record: RegistryRecord) -> None:
        """The registry changed a record: a revocation ends the channel, whoever uses it now."""
        role = ROLES.get(record.role)
        if role is None:
            return
        self._admission.changed(record)
        current = self._directory.current(role, record.entity)
        if record.status != "revoked":
            replaced = current is not None and current.public_key not in record.keys.values()
            if current is not None and current.username == record.username and replaced:
                # The credential was made anew; the channel stands on the one that is no more.
                self.close(current)
            return
        if current is not None and current.username != record.username:
            # A newer credential of the same entity is in use; the old one opens nothing any more.
            return
        self._engine.execute(c.RevokePeer(role=role, entity=record.entity, username=record.username))
