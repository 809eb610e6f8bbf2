"""Central's view of the registry: look-ups for newcomers, and the change feed that brings revocations.

One path for changes: the feed (``GET /changes``) is followed all the time, so while it is live the kept records are the
registry's own and a handshake costs no HTTP. While the registry is away kept records admit peers for a day, marked as
stale in the audit log; known revocations always hold.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec
import structlog
from yarl import URL

from evcharge.central.records import Kept, KeptRecords
from evcharge.net.clock import Clock
from evcharge.net.ending import heeding_its_end
from protocol.credentials import KEY_SIZE, Credential, Role, b64url, b64url_decode
from protocol.records import RegistryRecord, SignedRecord

log = structlog.get_logger()

# How long one poll of the change feed may wait at the registry, seconds.
POLL_S = 20.0
# Pause after a failed poll, seconds; short, because revocations wait for it.
RETRY_S = 1.0
# A feed that answered within this time is live, seconds: one poll and some slack.
LIVE_S = POLL_S + 5.0
# A registry that did not answer a look-up is not asked again for this long, seconds, unless its feed answers: what is
# kept decides meanwhile, so a site that comes back does not wait at a door where nobody opens.
AWAY_S = 2.0
# A key that the registry did not know is not asked for again for this long, seconds, unless its feed brings news …
DENIED_S = 5.0
# … and so many are remembered, the newest.
MAX_DENIED = 4_096
# Largest answer of the registry, bytes: 500 records of 2 KiB.
MAX_ANSWER = 2 * 1024 * 1024
# What a registry that is away, or something else at its address, leads to: no answer, none that can be read, none that
# is signed (BadRecord is a ValueError). The first two are silence.
_SILENCE = (aiohttp.ClientConnectionError, TimeoutError)
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError, ValueError, RecursionError)


class RegistryAway(Exception):
    """The registry did not answer and nothing kept decides."""


class BadBootstrap(ValueError):
    """``central.json`` cannot be used: one sentence."""


class RegistryAccess(NamedTuple):
    """Where the registry is and how Central proves itself to it."""

    url: URL
    public_key: bytes
    service_token: str

    def __repr__(self) -> str:
        return f"RegistryAccess({str(self.url)!r})"


class Bootstrap(NamedTuple):
    """The content of ``central.json``."""

    credential: Credential
    registry: RegistryAccess


class _RegistryPart(msgspec.Struct):
    url: str
    public_key: str
    service_token: str


class _File(msgspec.Struct):
    credential: msgspec.Raw
    registry: _RegistryPart


class _Answer(msgspec.Struct):
    record: SignedRecord


class _Changes(msgspec.Struct):
    records: list[SignedRecord]


class Found(NamedTuple):
    """A record, and whether it was admitted without the registry's word of today."""

    record: RegistryRecord | None
    stale: bool


def read_bootstrap(path: Path, registry_url: str | None, *, allow_plain: bool) -> Bootstrap:
    """Read ``central.json`` (made by ``evcharge-sidecar init``). Raises BadBootstrap."""
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
        credential = Credential.from_json(bytes(content.credential))
        public_key = b64url_decode(content.registry.public_key)
    except OSError as error:
        raise BadBootstrap(f"cannot read {path}: {error.strerror}; `evcharge-sidecar init` makes it.") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        why = str(error).rstrip(".")
        raise BadBootstrap(f"{path} is not a central.json of `evcharge-sidecar init`: {why}.") from error
    token = content.registry.service_token
    sound = token.isascii() and token.isprintable() and len(public_key) == KEY_SIZE
    if credential.role is not Role.CENTRAL or not token or " " in token or not sound:
        raise BadBootstrap(f"{path} is damaged or not for Central; take the one that `evcharge-sidecar init` made.")
    url = _url(registry_url or content.registry.url)
    if url.scheme == "http" and not allow_plain and not _is_loopback(url.host or ""):
        raise BadBootstrap(
            f"the registry {url} is reached without TLS beyond this machine; use https://, or --allow-plain-registry "
            "on a network that you trust with the look-up token."
        )
    return Bootstrap(credential, RegistryAccess(url, public_key, token))


def _url(text: str) -> URL:
    try:
        url = URL(text)
        if url.scheme in ("http", "https") and url.host:
            return url
    except ValueError:
        pass
    raise BadBootstrap(f"the registry's URL {text!r} has to be one like http://127.0.0.1:8080 or https://host.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RegistryClient:
    """Looks records up and follows the change feed.

    ``changed`` is called for every new record; ``synced`` returns once what followed from it is durable.
    """

    def __init__(
        self,
        access: RegistryAccess,
        kept: KeptRecords,
        clock: Clock,
        changed: Callable[[RegistryRecord], None],
        synced: Callable[[], Awaitable[None]],
        *,
        records_s: float,
        lookup_s: float,
        lookups: int,
    ) -> None:
        """``records_s``: how long kept records admit peers without the registry. ``lookup_s``: how long it may take to
        answer, and ``lookups``: how many may wait for it at the same time."""
        self._access = access
        self._kept = kept
        self._clock = clock
        self._changed = changed
        self._synced = synced
        self._records_ms = records_s * 1000
        self._lookup_s = lookup_s
        self._most_lookups = lookups
        self._lookups = 0
        self._away_until_s = float("-inf")
        # Username and key → until when the registry's no holds, in monotonic seconds.
        self._denied: OrderedDict[tuple[str, bytes], float] = OrderedDict()
        self._live_at_s = float("-inf")
        self._told_rev: int | None = None
        self._session: aiohttp.ClientSession | None = None

    def find_kept(self, username: str, public_key: bytes) -> Found | None:
        """What decides about a newcomer without a question to the registry; None: only a look-up does.

        Raises RegistryAway: nothing decides, and it cannot be asked now.
        """
        now_s = self._clock.monotonic()
        try:
            kept = self._kept_for(username, public_key)
            if kept is not None and (self.live or kept.status == "revoked"):
                return Found(kept, stale=False)
            if self._denied.get((username, public_key), now_s) > now_s:
                return Found(None, stale=False)
            if now_s < self._away_until_s:
                return self._stale(kept)
        except sqlite3.Error as error:
            raise _failed(error) from error
        if self._lookups >= self._most_lookups:
            raise RegistryAway
        return None

    async def look_up(self, username: str, public_key: bytes) -> Found:
        """Ask the registry about a newcomer. Raises RegistryAway when nothing decides."""
        self._lookups += 1
        try:
            record = await self._ask(username, public_key)
            self._away_until_s = float("-inf")
            if record is None:
                self._deny(username, public_key)
            return Found(record, stale=False)
        except _NO_ANSWER as error:
            log.warning("registry.away", error=type(error).__name__)
            if isinstance(error, _SILENCE):
                self._away_until_s = self._clock.monotonic() + AWAY_S
        except sqlite3.Error as error:
            raise _failed(error) from error
        finally:
            self._lookups -= 1
        try:
            # Once more: the feed may have brought a revocation while the look-up waited in vain.
            return self._stale(self._kept_for(username, public_key))
        except sqlite3.Error as error:
            raise _failed(error) from error

    def _stale(self, kept: RegistryRecord | None) -> Found:
        """Without the registry: its word of at most a day ago."""
        age_ms = self._clock.steady_ms() - self._kept.followed().seen_ms
        if kept is None or (age_ms > self._records_ms and kept.status == "active"):
            raise RegistryAway
        return Found(kept, stale=True)

    def _deny(self, username: str, public_key: bytes) -> None:
        self._denied[username, public_key] = self._clock.monotonic() + DENIED_S
        self._denied.move_to_end((username, public_key))
        if len(self._denied) > MAX_DENIED:
            self._denied.popitem(last=False)

    def _kept_for(self, username: str, public_key: bytes) -> RegistryRecord | None:
        """The kept record, if it can decide: of a key that it does not hold only the registry knows whose it is."""
        kept = self._kept.get(username)
        return kept if kept is not None and public_key in kept.keys.values() else None

    @property
    def live(self) -> bool:
        """Whether the change feed answered lately, so that kept records are today's."""
        return self._clock.monotonic() - self._live_at_s < LIVE_S

    async def _ask(self, username: str, public_key: bytes) -> RegistryRecord | None:
        body = {"username": username, "public_key": b64url(public_key)}
        session = self._http()
        # A redirect would carry the token elsewhere.
        request = session.post(self._access.url / "verify", json=body, allow_redirects=False)
        async with asyncio.timeout(self._lookup_s), request as answer:
            if answer.status == 404:
                return None
            answer.raise_for_status()
            signed = msgspec.json.decode(await _body(answer), type=_Answer).record
        self._kept.put(self._kept.verify(signed), signed)
        return self._kept.get(username)

    async def run(self) -> None:
        """Follow the change feed until cancelled."""
        away = False
        try:
            while True:
                try:
                    with heeding_its_end():
                        await self._poll()
                    if away:
                        log.info("registry.back", url=str(self._access.url))
                    away = False
                except (*_NO_ANSWER, sqlite3.Error) as error:
                    if not away:
                        log.warning(
                            "registry.away", url=str(self._access.url), error=str(error) or type(error).__name__
                        )
                    away = True
                    # From now on kept records are yesterday's word: newcomers are looked up, or admitted as stale.
                    self._live_at_s = float("-inf")
                    await asyncio.sleep(RETRY_S)
        finally:
            if self._session is not None:
                await self._session.close()

    async def _poll(self) -> None:
        followed = self._kept.followed()
        # The first answer tells that the registry is there; only then is it worth waiting at its door.
        wait_s = POLL_S if self.live else 0.0
        url = (self._access.url / "changes").with_query(after=str(followed.rev), wait=f"{wait_s:g}")
        async with asyncio.timeout(wait_s + self._lookup_s), self._http().get(url, allow_redirects=False) as answer:
            answer.raise_for_status()
            changes = msgspec.json.decode(await _body(answer), type=_Changes)
        verified = [(self._kept.verify(signed), signed) for signed in changes.records]
        if verified:
            # Who was unknown a moment ago may be among them.
            self._denied.clear()
        # Told first: a revocation acts even when the disk keeps nothing.
        for record, _ in verified:
            newest = self._kept.newest(record)
            if newest is record:
                self._tell(record, after=followed.rev)
            else:
                # A look-up brought it while this answer was under way, and peers are in by it; the feed tells of it
                # again. What others were told of lies between the two, so the position of that stays.
                self._changed(newest)
        for record, signed in verified:
            self._kept.put(record, signed)
        if verified:
            await self._synced()
        # Only what the registry signed moves the position on: an answer that was made up must hide nothing.
        rev = max([followed.rev, *(record.rev for record, _ in verified)])
        self._kept.follow(Kept(rev, self._clock.steady_ms()))
        self._live_at_s = self._clock.monotonic()
        self._away_until_s = float("-inf")

    def _tell(self, record: RegistryRecord, *, after: int) -> None:
        """Pass a change on once, whether or not a look-up has kept the record already.

        After a crash it may be told again: the position moves on only when what followed from it is durable.
        """
        if record.rev > (after if self._told_rev is None else self._told_rev):
            self._changed(record)
            self._told_rev = record.rev

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Authorization": f"Bearer {self._access.service_token}"}
            self._session = aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _failed(error: sqlite3.Error) -> RegistryAway:
    log.error("records.failed", error=str(error))
    return RegistryAway()


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The whole answer; one beyond ``MAX_ANSWER`` is an error, not a full memory."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        body += chunk
        if len(body) > MAX_ANSWER:
            raise aiohttp.ClientPayloadError("the registry's answer is too long")
    return bytes(body)
