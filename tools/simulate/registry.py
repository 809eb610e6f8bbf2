"""The registry as Central sees it, ``POST /verify`` and ``GET /changes`` of SPEC §2, on the simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yarl import URL

from evcharge.central.registry import Bootstrap, RegistryAccess
from protocol.credentials import Credential, Role, b64url_decode, encode_password, public_key, static_private_key
from protocol.records import RegistryRecord, sign_record

SECRET_BYTES = 32
TOKEN = "service-token"


class Registry:
    """Knows all credentials of a site from the start."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._seed = entropy(SECRET_BYTES)
        secret = entropy(SECRET_BYTES)
        self._central_key = public_key(static_private_key(secret, "central", Role.CENTRAL, 1))
        self._central = self._credential("central", Role.CENTRAL, "", secret)
        self._records: dict[str, RegistryRecord] = {}
        self._changed = asyncio.Event()
        self.host, self.port = "", 0

    @property
    def bootstrap(self) -> Bootstrap:
        """What Central is given."""
        key = Ed25519PrivateKey.from_private_bytes(self._seed).public_key().public_bytes_raw()
        access = RegistryAccess(URL(f"http://{self.host}:{self.port}"), key, TOKEN)
        return Bootstrap(self._central, access)

    def register(self, role: Role, entity: str) -> Credential:
        """A new credential."""
        credential = self._credential(f"{role.label}-{entity}".lower(), role, entity, self._entropy(SECRET_BYTES))
        self._records[credential.username] = RegistryRecord(
            username=credential.username,
            role=role,
            entity=entity,
            keys={1: credential.public_key()},
            status="active",
            rev=len(self._records) + 1,
        )
        return credential

    def _credential(self, username: str, role: Role, entity: str, secret: bytes) -> Credential:
        return Credential(
            username=username,
            password=encode_password(secret),
            role=role,
            entity=entity,
            epoch=1,
            central_public_key=self._central_key,
        )

    async def start(self, host: str) -> None:
        """Serve; in the process whose context this is."""
        app = web.Application()
        app.add_routes([web.post("/verify", self._verify), web.get("/changes", self._changes)])
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        self.host = host
        self.port = runner.addresses[0][1]

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            key = b64url_decode(body["public_key"])
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400)
        record = self._records.get(body["username"])
        if record is None or key not in record.keys.values():
            return web.json_response({"error": "unknown"}, status=404)
        return _json({"record": sign_record(record, self._seed)})

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        try:
            after, wait_s = int(request.query["after"]), float(request.query["wait"])
        except (ValueError, KeyError):
            return web.Response(status=400)
        newer = [record for record in self._records.values() if record.rev > after]
        if not newer and wait_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
        return _json({"rev": len(self._records), "records": [sign_record(record, self._seed) for record in newer]})


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
