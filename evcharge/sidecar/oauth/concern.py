"""OAuth2 as a part of the sidecar: its handlers, and keys and clients that are looked after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from evcharge.net.clock import Clock
from evcharge.sidecar.bootstrap import BootstrapError
from evcharge.sidecar.oauth.endpoint import OAuth
from evcharge.sidecar.oauth.external import ExternalKeys
from evcharge.sidecar.oauth.keys import KeyFolder
from evcharge.sidecar.oauth.known import LOOK_S, KnownClients
from evcharge.sidecar.web.route import Handler

log = structlog.get_logger()

# How often it is asked whether a new signing key is due, seconds: they live for months.
KEYS_LOOK_S = 3_600.0


class OAuthConcern:
    """The authorization server."""

    def __init__(
        self, oauth: OAuth, keys: KeyFolder, known: KnownClients, external: ExternalKeys | None, clock: Clock
    ) -> None:
        self._oauth = oauth
        self._keys = keys
        self._known = known
        self._external = external
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """Part of ``Concern``."""
        return self._oauth.handlers()

    async def run(self) -> None:
        """Part of ``Concern``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_clients(), name="client apps")
            tasks.create_task(self._renew_keys(), name="signing keys")
            if self._external is not None:
                tasks.create_task(self._external.run(), name="external keys")

    async def _follow_clients(self) -> None:
        while True:
            await self._known.refresh()
            await asyncio.sleep(LOOK_S)

    async def _renew_keys(self) -> None:
        while True:
            try:
                self._keys.refresh()
                if self._keys.due(self._clock.steady_ms()):
                    # A key pair takes a tenth of a second.
                    await asyncio.to_thread(self._keys.add, self._clock.steady_ms())
            except (BootstrapError, OSError) as error:
                log.error("oauth.key_not_renewed", why=str(error))  # noqa: TRY400
            await asyncio.sleep(KEYS_LOOK_S)
