"""Credentials with which the sidecar speaks for drivers: of those whose client app asks it to charge.

Each is registered here when it is first needed and kept in a file of its own (0600). A driver who has a credential
already keeps it for himself: nobody can be charged through a client app of the operator's without a credential that
was made for that.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from evcharge.sidecar.bootstrap import BootstrapError, read_private, write_private
from evcharge.sidecar.registry.names import ENTITY, default_username
from evcharge.sidecar.registry.refusals import Exists, RegistryRefused
from evcharge.sidecar.registry.rules import Registry
from protocol.credentials import Credential, CredentialError, Role

log = structlog.get_logger()


class DriverCredentials:
    """The files of a folder, made as they are needed."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._folder = folder
        self._registry = registry
        self._making = asyncio.Lock()

    async def get(self, driver_id: str) -> Credential | None:
        """The credential for this driver; None: he has one of his own, or his file cannot be used."""
        if ENTITY.fullmatch(driver_id) is None:
            log.error("drivers.bad_id", driver=driver_id)
            return None
        file = self._folder / f"{default_username(Role.DRIVER, driver_id)}.json"
        async with self._making:
            if not file.exists():
                return await self._make(driver_id, file)
            try:
                return Credential.from_json(read_private(file))
            except (BootstrapError, CredentialError, OSError) as error:
                log.error("drivers.unreadable", driver=driver_id, why=str(error))  # noqa: TRY400
                return None

    async def _make(self, driver_id: str, file: Path) -> Credential | None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        content: bytes | None
        try:
            content = await self._registry.register(Role.DRIVER, driver_id, own=True)
        except Exists:
            content = await self._again(driver_id)
        if content is None:
            return None
        try:
            write_private(file, content)
        except OSError as error:
            # The next attempt makes it anew: the registry knows that it is ours.
            log.error("drivers.not_kept", driver=driver_id, why=error.strerror)  # noqa: TRY400
            return None
        log.info("drivers.registered", driver=driver_id)
        return Credential.from_json(content)

    async def _again(self, driver_id: str) -> bytes | None:
        """A new secret for one that was made here, and whose file was lost before it was written."""
        username = default_username(Role.DRIVER, driver_id)
        if not await self._registry.is_own(username):
            log.warning("drivers.has_his_own", driver=driver_id)
            return None
        try:
            return await self._registry.rotate(username, 0)
        except RegistryRefused as error:
            log.warning("drivers.ended", driver=driver_id, why=error.sentence)
            return None
