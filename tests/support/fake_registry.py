"""A registry for tests of Central: signs records, answers look-ups and the change feed, fails as it is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yarl import URL

from protocol.credentials import Credential, Role, b64url_decode, encode_password
from protocol.records import RegistryRecord, SignedRecord, sign_record
from tests.support.wire import CENTRAL_KEY


class FakeRegistry:
    """``POST /verify`` and ``GET /changes`` on a free port of loopback."""

    def __init__(self) -> None:
        seed = os.urandom(32)
        self.seed = seed
        self.public_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self.token = "service-token"
        self.records: dict[str, RegistryRecord] = {}
        self.rev = 0
        self.port = 0
        self.looked_up: list[str] = []
        self.polls = 0
        self.away = False
        """True: connections are cut without an answer."""
        self.feed_away = False
        """True: the same for the change feed only."""
        self.hold_lookups: asyncio.Event | None = None
        """Look-ups wait for it."""
        self.tamper: Callable[[SignedRecord], SignedRecord] = lambda signed: signed
        self.answer: web.Response | None = None
        """Instead of any other answer."""
        self.away_behind = False
        """True: behind that one the change feed is away."""
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> URL:
        return URL(f"http://127.0.0.1:{self.port}")

    async def start(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/verify", self._verify), web.get("/changes", self._changes)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            self.go_away()
            await self._runner.cleanup()
            self._runner = None

    # --- what tests do --------------------------------------------------------------------------------------------

    def register(self, role: Role, entity: str, username: str | None = None, **record: Any) -> Credential:
        """A new credential (or a new secret for an old name)."""
        name = username or f"{role.label}-{entity}".lower()
        credential = Credential(
            username=name,
            password=encode_password(os.urandom(32)),
            role=role,
            entity=entity,
            epoch=1,
            central_public_key=CENTRAL_KEY,
        )
        values = {"status": "active", "keys": {1: credential.public_key()}} | record
        self.put(RegistryRecord(username=name, role=role, entity=entity, rev=0, **values))
        return credential

    def put(self, record: RegistryRecord) -> None:
        """A new revision of a record."""
        self.rev += 1
        # At the end, as the feed is in the order of revisions.
        self.records.pop(record.username, None)
        self.records[record.username] = msgspec.structs.replace(record, rev=self.rev)
        self._wake()

    def change(self, username: str, **fields: Any) -> None:
        """Change fields of a record."""
        self.put(msgspec.structs.replace(self.records[username], **fields))

    def revoke(self, username: str) -> None:
        """The operator revokes a credential."""
        self.change(username, status="revoked")

    def go_away(self) -> None:
        """Cut everybody who waits, and answer nobody until ``come_back``."""
        self.away = True
        self._wake()

    def cut_feed(self) -> None:
        """Cut the change feed and answer it no more; look-ups go on."""
        self.feed_away = True
        self._wake()

    def come_back(self) -> None:
        """All is well again."""
        self.away = self.feed_away = False

    def signed(self, username: str) -> SignedRecord:
        """A record as it goes out."""
        return self.tamper(sign_record(self.records[username], self.seed))

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.looked_up.append(body["username"])
        if self.hold_lookups is not None:
            await self.hold_lookups.wait()
        if self.away:
            return _cut(request)
        if (odd := self._odd(request)) is not None:
            return odd
        record = self.records.get(body["username"])
        key = b64url_decode(body["public_key"])
        if record is None or key not in record.keys.values():
            return web.json_response({"error": "unknown"}, status=404)
        return _json({"record": self.signed(record.username)})

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        self.polls += 1
        after, wait_s = int(request.query["after"]), float(request.query["wait"])
        if not self._feed_is_away and after >= self.rev and wait_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
        if self._feed_is_away:
            return _cut(request)
        if (odd := self._odd(request)) is not None:
            return odd
        newer = [name for name, record in self.records.items() if record.rev > after]
        return _json({"rev": self.rev, "records": [self.signed(name) for name in newer]})

    @property
    def _feed_is_away(self) -> bool:
        return self.away or self.feed_away

    def _odd(self, request: web.Request) -> web.Response | None:
        """The answer that the test has laid out, or the one for a wrong token."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "unauthorized"}, status=401)
        answer, self.answer = self.answer, None
        self.feed_away |= self.away_behind and answer is not None
        return answer


def _cut(request: web.Request) -> web.Response:
    """No answer: the connection is reset."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
