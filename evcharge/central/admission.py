"""Who gets in: the registry's record decides, and every stranger that is turned away leaves a line in the log."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from evcharge.central.engine import Engine, Origin
from evcharge.central.peers import Directory, Peer
from evcharge.central.registry import Found, RegistryAway, RegistryClient
from evcharge.central.rejections import Rejection, Rejections
from evcharge.central.takeovers import Takeovers
from evcharge.central.tally import DoorTally, error_code
from evcharge.central.tasks import Tasks
from evcharge.central.translate.incoming import ROLES
from evcharge.central.witnesses import Witnesses
from evcharge.domain.charge_points import outbox_was_lost, owner_of_session
from evcharge.domain.commands import ClearDuplicate, PeerReady, PeerRejected, RaiseDuplicate
from evcharge.domain.state import State
from evcharge.domain.words import Hold, Role
from evcharge.ids import ChargePointId, Fence
from evcharge.net.adapter import Adapter
from evcharge.net.clock import Clock
from evcharge.net.flow import Rate
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
# A process that found another one in its place, seconds: the owner's end is noticed within that time (SPEC §6.1).
RETRY_DUPLICATE_S = 10


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
        gateway_rate: Rate,
        entropy: Callable[[int], bytes],
        witnesses: Witnesses,
        checkpoint: Callable[[], bytes],
    ) -> None:
        """``checkpoint`` gives the newest one of the log."""
        self._engine = engine
        self._witnesses = witnesses
        self._checkpoint = checkpoint
        self._registry = registry
        self._directory = directory
        self._tasks = tasks
        self._clock = clock
        self._gateway_rate = gateway_rate
        self._entropy = entropy
        self._rejections = Rejections(self._record)
        self._takeovers = Takeovers()
        self._last_fence = Fence(0)
        self._admitted: dict[Peer, None] = {}
        """Those whose READY is still to come."""
        self.draining = False
        self.tally = DoorTally()

    def hello(self, adapter: Adapter) -> None:
        """A whole HELLO is here, and a slot for it: answer it."""
        adapter.reply_hello(self._engine.clock_ms())

    def auth(self, adapter: Adapter, event: AuthPresented) -> None:
        """Somebody proved to own a key; the registry's record says whose it is.

        Known peers are decided about at once, on the kept record; only a stranger costs a question and a task.
        """
        if self.draining:
            self._refuse(adapter, event, RefuseCode.DRAINING, RETRY_SOON_S)
            return
        try:
            found = self._registry.find_kept(event.username, event.public_key)
        except RegistryAway:
            self._refuse(adapter, event, RefuseCode.UNAVAILABLE, RETRY_SOON_S)
            return
        if found is None:
            self._tasks.start(self._look_up(adapter, event))
        else:
            self._decide(adapter, event, found)

    async def _look_up(self, adapter: Adapter, event: AuthPresented) -> None:
        try:
            found = await self._registry.look_up(event.username, event.public_key)
        except RegistryAway:
            self._refuse(adapter, event, RefuseCode.UNAVAILABLE, RETRY_SOON_S)
            return
        if self.draining:
            self._refuse(adapter, event, RefuseCode.DRAINING, RETRY_SOON_S)
        elif not adapter.conn.closed:
            self._decide(adapter, event, found)

    def _decide(self, adapter: Adapter, event: AuthPresented, found: Found) -> None:
        verdict = self._judge(event, found)
        if isinstance(verdict, RefuseCode):
            wait_s = RETRY_REVOKED_S if verdict is RefuseCode.REVOKED else RETRY_AFTER_S
            self._refuse(adapter, event, verdict, wait_s)
        elif self._intrudes(ROLES[verdict.role], verdict.entity, event.boot_id, event.outbox_epoch):
            self._refuse(adapter, event, RefuseCode.DUPLICATE_ID, RETRY_DUPLICATE_S)
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
        self._last_fence = Fence(max(self._last_fence, self._engine.state.last_fence) + 1)
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
            not_after_ms=record.not_after_ms,
        )
        if event.checkpoint is not None:
            self._witnesses.show(event.checkpoint, peer.origin.actor)
        adapter.peer = peer
        if record.role is WireRole.GATEWAY:
            adapter.set_rate(self._gateway_rate)
        self._admitted[peer] = None
        # A charge point deletes what lies below next_n, so the number has to be durable before it is told.
        self._engine.ask(lambda state, _stamp: _next_n(state, peer), lambda next_n: self._accept(peer, next_n))

    def _accept(self, peer: Peer, next_n: int | None) -> None:
        accepted = peer.adapter.accept(
            Grant(
                sid=self._entropy(16),
                secret=self._entropy(32),
                t0_ms=self._engine.clock_ms(),
                fence=peer.fence,
                next_n=next_n,
                checkpoint=self._checkpoint() or None,
            )
        )
        if accepted:
            self.tally.decisions["granted_stale" if peer.stale else "granted"] += 1
        if accepted and peer.not_after_ms is not None:
            left_s = (peer.not_after_ms - self._engine.clock_ms()) / 1000
            peer.adapter.conn.expire_by(self._clock.monotonic() + left_s)

    def _refuse(self, adapter: Adapter, event: AuthPresented, code: RefuseCode, retry_after_s: int) -> None:
        if not adapter.refuse(code, retry_after_s):
            # It did not wait for the answer, and has its line for that.
            return
        self.tally.decisions[code.name.lower()] += 1
        failed = code not in (RefuseCode.UNAVAILABLE, RefuseCode.DRAINING, RefuseCode.DUPLICATE_ID)
        self._reject(adapter.address, code.name.lower(), event.username, authentication=failed)

    def ready(self, peer: Peer) -> bool:
        """READY: only now does the newcomer take over from an older channel of the same peer.

        False: it comes late. A newer channel of this peer is open already, so this one was given up by its owner.
        """
        self._admitted.pop(peer, None)
        current = self._directory.current(peer.role, peer.entity)
        if current is not None and current.fence > peer.fence:
            peer.adapter.close(CloseCode.SUPERSEDED)
            return False
        if self._intrudes(peer.role, peer.entity, peer.boot_id, peer.outbox_epoch):
            # The session began while this handshake was under way.
            peer.adapter.close(CloseCode.DUPLICATE_ID)
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
            if older.boot_id != peer.boot_id:
                self._count_takeover(peer.role, peer.entity)
            contested = self._takeovers.contested((peer.role, peer.entity))
            older.adapter.close(CloseCode.DUPLICATE_ID if contested else CloseCode.SUPERSEDED)
        return True

    # --- two processes with one credential (SPEC §6.1) --------------------------------------------------------------

    def resume_alarms(self) -> None:
        """After a restart: charge points that were held for a duplicate id are, until it has been quiet for a while."""
        now_s = self._clock.monotonic()
        for charge_point in self._engine.state.charge_points.values():
            if Hold.DUPLICATE_ID in charge_point.holds:
                self._takeovers.resume((Role.ENGINE, charge_point.cp_id), now_s)

    def _intrudes(self, role: Role, entity: str, boot_id: bytes, outbox_epoch: int | None) -> bool:
        """Whether an engine would come between a running session and the process that runs it."""
        if role is not Role.ENGINE:
            return False
        cp_id = ChargePointId(entity)
        owner = owner_of_session(self._engine.state, cp_id)
        if owner is None or owner == boot_id:
            return False
        current = self._directory.current(role, entity)
        owner_is_here = current is not None and current.boot_id == owner
        other_outbox = outbox_was_lost(self._engine.state.charge_points[cp_id], outbox_epoch)
        intrudes = self._takeovers.contested((role, entity)) or (owner_is_here and other_outbox)
        if intrudes and owner_is_here:
            # An owner that is gone is not fought for: then the alarm ends, and the other one gets in.
            self._count_takeover(role, entity)
        return intrudes

    def _count_takeover(self, role: Role, entity: str) -> None:
        if self._takeovers.count((role, entity), self._clock.monotonic()):
            self._engine.execute(RaiseDuplicate(role=role, entity=entity))

    def _end_alarms(self) -> None:
        for role, entity in self._takeovers.over(self._clock.monotonic()):
            others = (Role.ENGINE, Role.MONITOR) if role in (Role.ENGINE, Role.MONITOR) else ()
            if not any(self._takeovers.contested((other, entity)) for other in others):
                self._engine.execute(ClearDuplicate(role=role, entity=entity))

    # --- strangers --------------------------------------------------------------------------------------------------

    def changed(self, record: RegistryRecord) -> None:
        """A record changed: whoever it does not admit any more, and is not READY yet, comes too late."""
        for peer in list(self._admitted):
            admits = record.status == "active" and peer.public_key in record.keys.values()
            if peer.username == record.username and not admits:
                peer.adapter.close(CloseCode.REVOKED)

    def gone(self, adapter: Adapter, code: CloseCode | None, error: RemoteProtocolError | None, *, clean: bool) -> None:
        """A connection ended without having become a peer: leave a line, unless its refusal has left one."""
        self._admitted.pop(adapter.peer, None)
        if adapter.refused is RefuseCode.BUSY:
            self._reject(adapter.address, "busy", None, authentication=False)
            return
        if adapter.refused is not None:
            return
        wrong_key = isinstance(error, AuthenticationFailed)
        self.tally.failed += 1
        self.tally.decisions["wrong_key"] += wrong_key
        # From AUTH on there is a username; until the record confirms it that is a claim.
        how = _code_of(code, error, clean=clean)
        self._reject(adapter.address, how, adapter.username or None, authentication=wrong_key)

    def _reject(self, source: str, code: str, username: str | None, *, authentication: bool) -> None:
        """Leave a line about somebody who was turned away; floods are counted, not listed."""
        now_s = self._clock.monotonic()
        self._rejections.reject(source, code, username, authentication=authentication, now_s=now_s)

    def turned_away(self, source: str, code: str, count: int) -> None:
        """Leave one line about connections that were dropped before a word was said."""
        self._record(Rejection(source, code, None, False, count))

    def flush(self) -> None:
        """What is due by itself: the minute of counted rejections, alarms that nobody feeds any more."""
        self._rejections.flush(self._clock.monotonic())
        self._end_alarms()

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
        return error_code(error)
    if code is not None:
        return code.name.lower()
    return "closed" if clean else "vanished"
