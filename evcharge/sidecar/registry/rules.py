"""The registry: who may connect, as which role, with which public key (SPEC §2).

A registration makes a 32-byte secret, derives the public key from it, stores the key and answers the secret
once. After that nobody can read the secret again, this registry included.

Names. A username belongs to one (role, entity) for ever. Registering an entity again after its credential was
revoked (or, for role debug, has expired) keeps the username and takes the next epoch: the record becomes
active again with the new key only and a higher revision, the old key is retired and never valid again. A
charge point keeps its ``station_id`` through all of this. So a follower of the change feed must end a channel
when its record is revoked *or* no longer holds the key that the channel used.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import uuid
from collections.abc import Callable

import structlog
from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.database import Conflict
from evcharge.sidecar.registry.names import ENTITY, NOBODY, USERNAME, bad_life, bad_names, default_username
from evcharge.sidecar.registry.refusals import (
    Ambiguous,
    Exists,
    Invalid,
    Pinned,
    RevisionAhead,
    Revoked,
    Unknown,
)
from evcharge.sidecar.registry.store import Reader, Store, Writer
from evcharge.sidecar.registry.views import View, credential_json, view
from evcharge.sidecar.settings import (
    CHANGES_ROWS,
    LIST_ROWS,
    SidecarSettings,
)
from protocol.credentials import (
    CredentialError,
    Role,
    decode_password,
    public_key,
    static_private_key,
)
from protocol.records import RegistryRecord, SignedRecord, sign_record

log = structlog.get_logger()

# Username of the sidecar's own credential, which ``init`` makes.
SIDECAR = "sidecar"
# Bytes of a secret. SPEC §2
SECRET_BYTES = 32
# Epochs of one username that may be active at once. SPEC §2, rotation
MAX_EPOCHS = 2
# Longest overlap of a rotation, and what it is unless the operator says otherwise, seconds. SPEC §2.6
OVERLAP_MAX_S = 86_400
DEFAULT_OVERLAP_S = 3_600
# Largest revision: the largest integer that every JSON reader keeps exact. SPEC §2.5
MAX_REV = 2**53 - 1
# How long to wait after the database failed, and at most before the next look: the clock may have been set, seconds.
RETIRE_RETRY_S = 5.0
RETIRE_LOOK_S = 60.0


class Registry:
    """The registry's rules over a store. All methods are safe to call at once from one loop."""

    def __init__(
        self,
        store: Store,
        *,
        signing_key: bytes,
        central: bytes,
        rev: int,
        clock: Clock,
        entropy: Callable[[int], bytes],
        settings: SidecarSettings | None = None,
    ) -> None:
        self._store = store
        self._signing_key = signing_key
        self._central = central
        self._clock = clock
        self._entropy = entropy
        self._settings = settings or SidecarSettings()
        self._rev = rev
        self._changed = asyncio.Event()
        self._rotated = asyncio.Event()
        self._closing = False

    def __repr__(self) -> str:
        return f"Registry(rev={self._rev})"

    @property
    def rev(self) -> int:
        """Newest revision."""
        return self._rev

    async def register(
        self,
        role: Role,
        entity: str,
        username: str | None = None,
        *,
        valid_s: int | None = None,
        own: bool = False,
    ) -> bytes:
        """A new credential, as the JSON that is answered once and never again.

        ``valid_s`` is its life in seconds, for role debug only; None: the settings' (an hour). ``own``: the sidecar
        keeps it for itself.

        Raises:
            Invalid: a bad role, entity, username or life.
            Exists: the (role, entity) has a live credential, or the username belongs to someone else.
        """
        bad = bad_names(role, entity, username) | bad_life(role, valid_s)
        if bad:
            raise Invalid(bad)
        username = username or default_username(role, entity)
        secret = self._entropy(SECRET_BYTES)
        try:
            async with self._store.writing() as writer:
                record = await self._admit(writer, role, entity, username, secret, valid_s)
                await writer.mark_own(username, own=own)
        except Conflict:
            raise _taken(role, entity) from None
        self._announce(record.rev)
        epoch = max(record.keys)
        return credential_json(username, secret, record, epoch, self._central)

    async def _admit(
        self, writer: Writer, role: Role, entity: str, username: str, secret: bytes, valid_s: int | None
    ) -> RegistryRecord:
        now_ms = self._clock.steady_ms()
        same_name = await writer.find(username)
        if same_name is not None and (same_name.role, same_name.entity) != (role, entity):
            raise Exists(f"The username {username} is taken; choose another one.")
        earlier = [record for record in await writer.find_entity(entity) if record.role is role]
        for record in earlier:
            if record.status != "active":
                continue
            if not expired(record, now_ms):
                raise _taken(role, entity, record.username)
            if record.username != username:
                await writer.replace(replace(record, status="revoked"))
        epoch = await writer.next_epoch(username)
        private = static_private_key(secret, username, role, epoch)
        lifetime_ms = (self._settings.debug_lifetime_s if valid_s is None else valid_s) * 1000
        fresh = RegistryRecord(
            username=username,
            role=role,
            entity=entity,
            keys={epoch: public_key(private)},
            status="active",
            not_after_ms=now_ms + lifetime_ms if role is Role.DEBUG else None,
            rev=0,
            station_id=self._station_id(role, earlier),
        )
        if same_name is None:
            return await writer.add(fresh)
        return await writer.replace(fresh, new_keys=True)

    def _station_id(self, role: Role, earlier: list[RegistryRecord]) -> str | None:
        if role is not Role.CP:
            return None
        known = [record.station_id for record in earlier if record.station_id is not None]
        return known[0] if known else str(uuid.UUID(bytes=self._entropy(16), version=4))

    async def verify_password(self, username: str, password: str) -> RegistryRecord | None:
        """The live record that this password belongs to, or None.

        An unknown name, a malformed password and a wrong one cost the same derivations and comparisons.
        """
        try:
            secret, well_formed = decode_password(password), True
        except CredentialError:
            secret, well_formed = bytes(SECRET_BYTES), False
        # A name that nobody can have is looked up and derived like any other.
        username = username if USERNAME.fullmatch(username) else NOBODY
        async with self._store.reading() as reader:
            record = await reader.find(username)
        role = Role.CP if record is None else record.role
        known = [] if record is None else list(record.keys.items())[:MAX_EPOCHS]
        fits = False
        for epoch, stored in known + [(1, bytes(SECRET_BYTES))] * (MAX_EPOCHS - len(known)):
            derived = public_key(static_private_key(secret, username, role, epoch))
            fits |= hmac.compare_digest(derived, stored)
        if record is None or not (fits and well_formed) or not self._live(record):
            return None
        return record

    async def look_up(self, username: str, key: bytes) -> SignedRecord | None:
        """Central's look-up: the signed record of the name that owns this key, revoked or not; None: unknown.

        A key that was retired finds the name's present record, which does not hold it any more.
        """
        if USERNAME.fullmatch(username) is None:
            return None
        async with self._store.reading() as reader:
            if not await reader.owns_key(username, key):
                return None
            record = await reader.find(username)
        return None if record is None else sign_record(record, self._signing_key)

    async def page(self, after: str, limit: int, role: Role | None) -> tuple[list[View], str | None]:
        """One page by username, and the ``after`` of the next one (None: that was all)."""
        limit = min(limit, LIST_ROWS)
        async with self._store.reading() as reader:
            records = await reader.page(after, limit + 1, role)
        rows = [view(record) for record in records[:limit]]
        return rows, rows[-1].username if len(records) > limit else None

    async def is_own(self, username: str) -> bool:
        """Whether the sidecar made this credential for itself."""
        async with self._store.reading() as reader:
            return await reader.is_own(username)

    async def get(self, name: str) -> View:
        """The credential with this username, else the only one of this entity.

        Raises:
            Unknown, Ambiguous
        """
        async with self._store.reading() as reader:
            return view(await _resolve(reader, name))

    async def revoke(self, name: str) -> View:
        """Revoke a credential; the change feed tells Central. Revoking again changes nothing.

        Raises:
            Unknown, Ambiguous, Pinned
        """
        async with self._store.writing() as writer:
            record = await _resolve(writer, name)
            if record.role is Role.CENTRAL:
                raise Pinned("Central's own key is pinned by its peers; make a new registry with init instead.")
            if record.username == SIDECAR:
                raise Pinned("This is the sidecar's own credential: without it the gateway is cut off for good.")
            if record.status == "active":
                record = await writer.replace(replace(record, status="revoked"))
        self._announce(record.rev)
        return view(record)

    async def rotate(self, name: str, overlap_s: int) -> bytes:
        """A new secret for a live credential, as the JSON that is answered once.

        The key of before is good for ``overlap_s`` more seconds, so that its owner can change without a gap; of three
        in that time the oldest ends at once.

        Raises:
            Invalid: the overlap is out of range.
            Unknown, Ambiguous, Pinned
            Revoked: there is nothing to rotate.
        """
        if not 0 <= overlap_s <= OVERLAP_MAX_S:
            raise Invalid({"overlap_s": f"is 0 to {OVERLAP_MAX_S} seconds."})
        secret = self._entropy(SECRET_BYTES)
        now_ms = self._clock.steady_ms()
        async with self._store.writing() as writer:
            record = await _resolve(writer, name)
            if record.role is Role.CENTRAL:
                raise Pinned("Central's own key is pinned by its peers; make a new registry with init instead.")
            if record.username == SIDECAR:
                raise Pinned("This is the sidecar's own credential: nobody would give it the new secret.")
            if record.status != "active" or expired(record, now_ms):
                raise Revoked(f"The credential {record.username} has ended; register the {record.role.label} again.")
            epoch = await writer.next_epoch(record.username)
            fresh = public_key(static_private_key(secret, record.username, record.role, epoch))
            old = max(record.keys)
            record = await writer.rotate(record, fresh, now_ms + overlap_s * 1000)
            if overlap_s == 0:
                record = await writer.retire(record.username, old) or record
        self._announce(record.rev)
        self._rotated.set()
        return credential_json(record.username, secret, record, epoch, self._central)

    async def retire_due(self) -> float:
        """End the keys whose overlap is over; seconds until the next one is due, infinite: none is."""
        while True:
            async with self._store.reading() as reader:
                due = await reader.due()
            if not due:
                return math.inf
            wait_s = (due[0][0] - self._clock.steady_ms()) / 1000
            if wait_s > 0:
                return wait_s
            _, username, epoch = due[0]
            async with self._store.writing() as writer:
                record = await writer.retire(username, epoch)
            if record is not None:
                self._announce(record.rev)
                log.info("registry.key_retired", username=username, epoch=epoch, rev=record.rev)

    async def keep_retiring(self) -> None:
        """End keys when their overlap is over, until cancelled."""
        while True:
            try:
                wait_s = await self.retire_due()
            except (SQLAlchemyError, OSError, Conflict) as error:
                log.error("registry.retiring_failed", kind=type(error).__name__)  # noqa: TRY400
                wait_s = RETIRE_RETRY_S
            self._rotated.clear()
            await _wait(self._rotated, min(wait_s, RETIRE_LOOK_S))

    async def changes(self, after: int, wait_s: float = 0.0) -> tuple[int, list[SignedRecord]]:
        """The ``after`` to go on with, and up to 500 signed records above ``after``, oldest change first.

        Without a record it waits up to ``wait_s`` seconds and answers the moment that something changes.

        Raises:
            RevisionAhead: ``after`` is above every revision that was ever made here.
        """
        if after > self._rev:
            raise RevisionAhead(
                f"This registry's newest revision is {self._rev}, you know {after}: its database is an older "
                "copy; restore the newest one."
            )
        if after == self._rev and wait_s > 0 and not self._closing:
            # No await lies between the comparison and taking the event, so no change can slip between them.
            await _wait(self._changed, min(wait_s, self._settings.wait_s))
        async with self._store.reading() as reader:
            records = await reader.changes(after, CHANGES_ROWS)
        rev = records[-1].rev if records else after
        return rev, [sign_record(record, self._signing_key) for record in records]

    def close(self) -> None:
        """Wake every waiting feed; none waits any more."""
        self._closing = True
        self._changed.set()

    def _announce(self, rev: int) -> None:
        if rev > self._rev:
            self._rev = rev
            self._changed.set()
            self._changed = asyncio.Event()

    def _live(self, record: RegistryRecord) -> bool:
        return record.status == "active" and not expired(record, self._clock.steady_ms())


def expired(record: RegistryRecord, now_ms: int) -> bool:
    """Whether the record's time is over."""
    return record.not_after_ms is not None and now_ms >= record.not_after_ms


async def _resolve(reader: Reader, name: str) -> RegistryRecord:
    """A username wins over an entity; a live credential of an entity wins over its revoked ones."""
    record = await reader.find(name) if USERNAME.fullmatch(name) else None
    if record is not None:
        return record
    records = await reader.find_entity(name) if ENTITY.fullmatch(name) else []
    chosen = [record for record in records if record.status == "active"] or records
    if not chosen:
        raise Unknown("Nobody is registered under this username or entity.")
    if len(chosen) > 1:
        names = ", ".join(record.username for record in chosen)
        raise Ambiguous(f"This entity has several credentials; name one by its username: {names}.")
    return chosen[0]


def _taken(role: Role, entity: str, username: str | None = None) -> Exists:
    name = f" as {username}" if username else ""
    return Exists(f"The {role.label} {entity} is registered already{name}; revoke that credential first.")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
