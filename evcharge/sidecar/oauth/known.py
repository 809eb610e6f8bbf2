"""Which client apps there are, in memory: a token of one that was removed ends within seconds, without a query each."""

from __future__ import annotations

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
        self._since: dict[str, int] = {}

    def since(self, name: str) -> int | None:
        """Part of ``Known``."""
        return self._since.get(name)

    def add(self, client: OAuthClient) -> None:
        """One that got a token just now."""
        self._since[client.client_id] = client.created_ms

    async def look_again(self) -> None:
        """For one that is not known: it may have been added a moment ago."""
        if self._clock.monotonic() - self._looked_s >= LEAST_S:
            await self.refresh()

    async def refresh(self) -> None:
        """Look; while the database does not answer, the last look counts."""
        self._looked_s = self._clock.monotonic()
        try:
            self._since = {client.client_id: client.created_ms for client in await self._clients.listed()}
        except (SQLAlchemyError, OSError) as error:
            log.error("oauth.clients_not_read", kind=type(error).__name__)  # noqa: TRY400
