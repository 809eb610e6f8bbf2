"""Which client apps and secrets there are, in memory.

A token of a client that was removed, and a session that was opened with a secret that is good no more, end within
seconds, without a query each.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.oauth.clients import Clients, OAuthClient

log = structlog.get_logger()

# How long a client that was removed may go on with a token that it has, seconds.
LOOK_S = 5.0
# At least this lies between two looks that tokens of unknown clients lead to, seconds.
LEAST_S = 0.05


class KnownClients:
    """All client apps by name, as of the last look."""

    def __init__(self, clients: Clients, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._looked_s = -LEAST_S
        self._looks = 0
        self._looking = asyncio.Lock()
        self._since: dict[str, int] = {}
        self._secrets: dict[str, dict[str, int | None]] = {}

    def since(self, name: str) -> int | None:
        """Part of ``Known``."""
        return self._since.get(name)

    def add(self, client: OAuthClient, mark: str | None = None) -> None:
        """One that got a token just now; with ``mark`` a session, by the secret with this mark."""
        self._since[client.client_id] = client.created_ms
        if mark is not None:
            # Until the next look, which knows when the secret ends.
            self._secrets.setdefault(client.client_id, {}).setdefault(mark, None)

    def has_secret(self, name: str, mark: str, now_ms: int) -> bool:
        """Whether the secret with this mark is a good one of the client at ``now_ms``, UTC."""
        marks = self._secrets.get(name, {})
        if mark not in marks:
            return False
        until_ms = marks[mark]
        return until_ms is None or until_ms > now_ms

    async def look_again(self) -> None:
        """For one that is not known: it may have been added a moment ago, behind the last look however short."""
        seen = self._looks
        async with self._looking:
            if self._looks != seen:
                # One began while this one waited: it has seen all that there was.
                return
            if (early_s := LEAST_S - (self._clock.monotonic() - self._looked_s)) > 0:
                await asyncio.sleep(early_s)
            await self._look()

    async def refresh(self) -> None:
        """Look; while the database does not answer, the last look counts."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        self._looked_s = self._clock.monotonic()
        self._looks += 1
        try:
            listed, secrets = await self._clients.listed(), await self._clients.good_secrets()
        except (SQLAlchemyError, OSError) as error:
            log.error("oauth.clients_not_read", kind=type(error).__name__)  # noqa: TRY400
            return
        self._since = {client.client_id: client.created_ms for client in listed}
        self._secrets = secrets
