"""Client apps (subscriptions): who may get access tokens, with which scopes; secrets as hashes only.

A secret is 32 random bytes, so its plain SHA-256 is enough to keep: there is nothing to guess. While a secret is
rotated the old one stays good for a while, so a client can change it without a gap.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)

from evcharge.sidecar.database import Conflict, Database, metadata
from evcharge.sidecar.web.scopes import Scope, parse_scopes, scope_text
from protocol.credentials import b64url

# Names stand in tokens, logs and files.
CLIENT_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Under these names the two tokens of ``init`` stand in logs and throttles.
RESERVED = ("operator", "central")
SECRET_BYTES = 32
# Bytes of a secret's mark: no two secrets of a site share one.
MARK_BYTES = 12
# What tells a person, and a scanner of secrets, what it is.
SECRET_PREFIX = "evc1_"  # noqa: S105  # no secret
# Most client apps of a site, and rows of one page: a site has a handful.
CLIENTS = 1_000
# How long the old secret stays good after a rotation unless told otherwise, seconds: a day to restart what uses it.
OVERLAP_S = 86_400
# Longest description, in characters.
ABOUT_CHARS = 200

clients_table = Table(
    "oauth_clients",
    metadata,
    Column("client_id", String(64), primary_key=True),
    Column("scopes", String(1024), nullable=False),
    Column("driver_id", String(64)),
    Column("about", String(ABOUT_CHARS), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
secrets_table = Table(
    "oauth_secrets",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("client_id", ForeignKey("oauth_clients.client_id"), nullable=False, index=True),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
)


class OAuthClient(msgspec.Struct, frozen=True, kw_only=True):
    """A client app as lists show it: no secret, and no hash of one."""

    client_id: str
    scopes: frozenset[Scope]
    created_ms: int
    driver_id: str | None = None
    """The driver that is charged for its charges."""
    about: str = ""


class ClientExists(Exception):
    """The name is taken."""


class Clients:
    """The client apps of a site."""

    def __init__(self, database: Database, entropy: Callable[[int], bytes]) -> None:
        self._database = database
        self._entropy = entropy

    async def add(self, client: OAuthClient) -> str:
        """Store a new one; its secret, which nobody can read again.

        Raises:
            ValueError: the name is none, there is no scope, or there are too many clients.
            ClientExists
        """
        if CLIENT_ID.fullmatch(client.client_id) is None:
            raise ValueError("a client's name is 1 to 64 of a-z 0-9 . _ - and starts with a letter or digit")
        if client.client_id in RESERVED:
            raise ValueError(f"{client.client_id} is the name of one of the sidecar's own tokens")
        if not client.scopes or Scope.REGISTRY_SERVICE in client.scopes:
            raise ValueError("a client has one scope at least, and never Central's own")
        if len(client.about) > ABOUT_CHARS:
            raise ValueError(f"a description has {ABOUT_CHARS} characters at most")
        row = {
            "client_id": client.client_id,
            "scopes": scope_text(client.scopes),
            "driver_id": client.driver_id,
            "about": client.about,
            "created_ms": client.created_ms,
        }
        secret = self._secret()
        try:
            async with self._database.writing() as connection:
                present = await connection.execute(select(clients_table.c.client_id).limit(CLIENTS))
                if len(present.all()) >= CLIENTS:
                    raise ValueError(f"there are {CLIENTS} clients already; remove one first")
                await connection.execute(insert(clients_table), [row])
                await connection.execute(insert(secrets_table), [_row(client.client_id, secret, client.created_ms)])
        except Conflict:
            taken = f"There is a client {client.client_id} already; rotate its secret, or remove it."
            raise ClientExists(taken) from None
        return secret

    async def get(self, client_id: str) -> OAuthClient | None:
        """The client of this name."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(clients_table).where(clients_table.c.client_id == client_id))
            row = rows.mappings().first()
        return None if row is None else _client(row)

    async def listed(self) -> list[OAuthClient]:
        """All of them, by name."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(clients_table).order_by(clients_table.c.client_id))
            return [_client(row) for row in rows.mappings()]

    async def good_secrets(self) -> dict[str, dict[str, int | None]]:
        """For each client the marks of its secrets, with when they end, UTC ms (None: not by themselves)."""
        found: dict[str, dict[str, int | None]] = {}
        async with self._database.reading() as connection:
            rows = await connection.execute(select(secrets_table))
            for row in rows.mappings():
                found.setdefault(row["client_id"], {})[_mark(row["sha256"])] = row["until_ms"]
        return found

    async def rotate(self, client_id: str, now_ms: int, overlap_s: int = OVERLAP_S) -> str | None:
        """A new secret; those of before end after ``overlap_s`` at the latest. None: there is no such client."""
        secret, until_ms = self._secret(), now_ms + overlap_s * 1000
        mine = secrets_table.c.client_id == client_id
        async with self._database.writing() as connection:
            named = clients_table.c.client_id == client_id
            known = await connection.execute(select(clients_table.c.client_id).where(named))
            if known.first() is None:
                return None
            later = secrets_table.c.until_ms.is_(None) | (secrets_table.c.until_ms > until_ms)
            await connection.execute(update(secrets_table).where(mine & later).values(until_ms=until_ms))
            await connection.execute(delete(secrets_table).where(mine & (secrets_table.c.until_ms <= now_ms)))
            await connection.execute(insert(secrets_table), [_row(client_id, secret, now_ms)])
        return secret

    async def remove(self, client_id: str) -> bool:
        """Take it away with its secrets; False: there is none."""
        async with self._database.writing() as connection:
            await connection.execute(delete(secrets_table).where(secrets_table.c.client_id == client_id))
            gone = await connection.execute(delete(clients_table).where(clients_table.c.client_id == client_id))
        return gone.rowcount > 0

    async def authenticate(self, client_id: str, secret: str, now_ms: int) -> OAuthClient | None:
        """The client whose good secret this is; the same work for an unknown name as for a wrong secret."""
        given = _sha256(secret)
        name = client_id if CLIENT_ID.fullmatch(client_id) else "-"
        good = (secrets_table.c.client_id == name) & (
            secrets_table.c.until_ms.is_(None) | (secrets_table.c.until_ms > now_ms)
        )
        async with self._database.reading() as connection:
            hashes = (await connection.execute(select(secrets_table.c.sha256).where(good))).scalars().all()
            rows = await connection.execute(select(clients_table).where(clients_table.c.client_id == name))
            row = rows.mappings().first()
        fits = False
        for stored in hashes or [bytes(32)]:
            fits |= hmac.compare_digest(given, stored)
        return _client(row) if fits and row is not None else None

    def _secret(self) -> str:
        return SECRET_PREFIX + b64url(self._entropy(SECRET_BYTES))


def secret_mark(secret: str) -> str:
    """By which a session tells the secret that opened it: nothing can be done with it, and nothing learnt from it."""
    return _mark(_sha256(secret))


def _mark(sha256: bytes) -> str:
    return b64url(hashlib.sha256(b"evcharge session\0" + sha256).digest()[:MARK_BYTES])


def _row(client_id: str, secret: str, now_ms: int) -> dict[str, object]:
    return {"client_id": client_id, "sha256": _sha256(secret), "created_ms": now_ms}


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _client(row: RowMapping) -> OAuthClient:
    return OAuthClient(
        client_id=row["client_id"],
        scopes=parse_scopes(row["scopes"]),
        created_ms=row["created_ms"],
        driver_id=row["driver_id"],
        about=row["about"],
    )
