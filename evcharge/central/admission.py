"""Who gets in: the registry's record decides, and every stranger that is turned away leaves a line in the log."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

from evcharge.central.engine import Engine, Origin
from evcharge.central.peers import Directory, Peer
from evcharge.central.registry import Found, RegistryAway, RegistryClient
from evcharge.central.rejections import Rejection, Rejections
from evcharge.central.tasks import Tasks
from evcharge.central.translate.incoming import ROLES
from evcharge.domain.charge_points import outbox_was_lost
from evcharge.domain.commands import PeerReady, PeerRejected
from evcharge.domain.state import Role, State
from evcharge.ids import ChargePointId, Fence
from evcharge.net.adapter import Adapter
from evcharge.net.clock import Clock
from protocol.connection import AuthPresented, Grant
from protocol.credentials import Role as WireRole
from protocol.errors import AuthenticationFailed, CloseCode, RefuseCode, RemoteProtocolError
from protocol.records import RegistryRecord

# A refused peer comes back after this long, seconds: what it lacks does not change by itself soon.
RETRY_AFTER_S = 60
# A revoked one after this long, seconds (SPEC §5.4).
RETRY_REVOKED_S = 3_600
# When only the moment is bad (registry away, drain), seconds.
RETRY_SOON_S = 5


class Admission:
    """Answers HELLO and AUTH; hands out fences."""

    def __init__(
        self,
        engine: Engine,
        registry: RegistryClient,
        directory: Directory,
        tasks: Tasks,
        clock: Clock,
        *,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._directory = directory
        self._tasks = tasks
        self._clock = clock
        self._entropy = entropy
        self._rejections = Rejections(self._record)
        self._last_fence = Fence(engine.state.last_fence)
        self._refused: set[Adapter] = set()
        self._admitted: set[Peer] = set()
        """Those whose READY is still to come."""
        self.draining = False

    def hello(self, adapter: Adapter) -> None:
        """A whole HELLO is here: answer it."""
        adapter.reply_hello(self._engine.clock_ms())

    def auth(self, adapter: Adapter, event: AuthPresented) -> None:
        """Somebody proved to own a key; the registry's record says whose it is."""
        self._tasks.start(self._admit(adapter, event))

    async def _admit(self, adapter: Adapter, event: AuthPresented) -> None:
        if self.draining:
            self._refuse(adapter, event, RefuseCode.DRAINING, RETRY_SOON_S)
            return
        try:
            found = await self._registry.find(event.username, event.public_key)
        except RegistryAway:
            self._refuse(adapter, event, RefuseCode.UNAVAILABLE, RETRY_SOON_S)
            return
        if adapter.conn.closed:
            return
        verdict = self._judge(event, found)
        if isinstance(verdict, RefuseCode):
            wait_s = RETRY_REVOKED_S if verdict is RefuseCode.REVOKED else RETRY_AFTER_S
            self._refuse(adapter, event, verdict, wait_s)
        else:
            self._grant(adapter, event, verdict, stale=found.stale)

    def _judge(self, event: AuthPresented, found: Found) -> RegistryRecord | RefuseCode:
        """Key, status, age, role and entity must all agree with the record; from then on only the record counts."""
        record = found.record
        if record is None:
            return RefuseCode.UNKNOWN
        # Every key is compared, so that the time does not tell which of them was near.
        matches = [hmac.compare_digest(key, event.public_key) for key in record.keys.values()]
        if not any(matches):
            return RefuseCode.UNKNOWN
        if record.status != "active":
            return RefuseCode.REVOKED
        if record.not_after_ms is not None and self._engine.clock_ms() > record.not_after_ms:
            return RefuseCode.EXPIRED
        if record.role != event.role or record.entity != event.entity or record.role is WireRole.CENTRAL:
            return RefuseCode.WRONG_ROLE
        return record

    def _grant(self, adapter: Adapter, event: AuthPresented, record: RegistryRecord, *, stale: bool) -> None:
        self._last_fence = Fence(self._last_fence + 1)
        peer = Peer(
            adapter,
            role=ROLES[record.role],
            entity=record.entity,
            username=record.username,
            public_key=event.public_key,
            fence=self._last_fence,
            boot_id=event.boot_id,
            outbox_epoch=event.outbox_epoch,
            stale=stale,
        )
        adapter.peer = peer
        self._admitted.add(peer)
        # A charge point deletes what lies below next_n, so the number has to be durable before it is told.
        self._engine.ask(lambda state, _stamp: _next_n(state, peer), lambda next_n: self._accept(peer, next_n))

    def _accept(self, peer: Peer, next_n: int | None) -> None:
        peer.adapter.accept(
            Grant(
                sid=self._entropy(16),
                secret=self._entropy(32),
                t0_ms=self._engine.clock_ms(),
                fence=peer.fence,
                next_n=next_n,
            )
        )

    def _refuse(self, adapter: Adapter, event: AuthPresented, code: RefuseCode, retry_after_s: int) -> None:
        if not adapter.refuse(code, retry_after_s):
            # It did not wait for the answer, and has its line for that.
            return
        self._refused.add(adapter)
        failed = code not in (RefuseCode.UNAVAILABLE, RefuseCode.DRAINING)
        self._reject(adapter.address, code.name.lower(), event.username, authentication=failed)

    def ready(self, peer: Peer) -> bool:
        """READY: only now does the newcomer take over from an older channel of the same peer.

        False: it comes late. A newer channel of this peer is open already, so this one was given up by its owner.
        """
        self._admitted.discard(peer)
        current = self._directory.current(peer.role, peer.entity)
        if current is not None and current.fence > peer.fence:
            peer.adapter.close(CloseCode.SUPERSEDED)
            return False
        peer.ready = True
        older = self._directory.take_over(peer)
        self._engine.execute(
            PeerReady(
                role=peer.role,
                entity=peer.entity,
                username=peer.username,
                fence=peer.fence,
                boot_id=peer.boot_id,
                outbox_epoch=peer.outbox_epoch,
                stale_record=peer.stale,
            ),
            peer.origin,
        )
        if older is not None:
            older.adapter.close(CloseCode.SUPERSEDED)
        return True

    def changed(self, record: RegistryRecord) -> None:
        """A record changed: whoever it does not admit any more, and is not READY yet, comes too late."""
        for peer in list(self._admitted):
            admits = record.status == "active" and peer.public_key in record.keys.values()
            if peer.username == record.username and not admits:
                peer.adapter.close(CloseCode.REVOKED)

    def gone(self, adapter: Adapter, code: CloseCode | None, error: RemoteProtocolError | None, *, clean: bool) -> None:
        """A connection ended without having become a peer: leave a line, unless its refusal has left one."""
        self._admitted.discard(adapter.peer)
        if adapter in self._refused:
            self._refused.discard(adapter)
            return
        wrong_key = isinstance(error, AuthenticationFailed)
        # From AUTH on there is a username; until the record confirms it that is a claim.
        how = _code_of(code, error, clean=clean)
        self._reject(adapter.address, how, adapter.username or None, authentication=wrong_key)

    def _reject(self, source: str, code: str, username: str | None, *, authentication: bool) -> None:
        """Leave a line about somebody who was turned away; floods are counted, not listed."""
        now_s = self._clock.monotonic()
        self._rejections.reject(source, code, username, authentication=authentication, now_s=now_s)

    def turned_away(self, count: int) -> None:
        """Leave one line about connections for which there was no room."""
        self._record(Rejection("*", "no_room", None, False, count))

    def flush(self) -> None:
        """Close the minute of counted rejections when it is over."""
        self._rejections.flush(self._clock.monotonic())

    def close(self) -> None:
        """Leave the lines that were only counted so far."""
        self._rejections.close()

    def _record(self, rejection: Rejection) -> None:
        self._engine.execute(
            PeerRejected(
                code=rejection.code,
                username=rejection.username,
                authentication=rejection.authentication,
                count=rejection.count,
            ),
            Origin(actor="stranger", source=rejection.source),
        )


def _next_n(state: State, peer: Peer) -> int | None:
    """Which outbox item Central expects from an engine."""
    if peer.role is not Role.ENGINE:
        return None
    charge_point = state.charge_points.get(ChargePointId(peer.entity))
    if charge_point is None or outbox_was_lost(charge_point, peer.outbox_epoch):
        return 0
    return charge_point.next_n


def _code_of(code: CloseCode | None, error: RemoteProtocolError | None, *, clean: bool) -> str:
    """How a connection ended, as a code for the log: ``timed_out``, ``frame_too_large``, ``superseded`` …"""
    if error is not None:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    if code is not None:
        return code.name.lower()
    return "closed" if clean else "vanished"
