"""Watches the disk's room: below the reserve nothing new is authorized, and the log says so once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from evcharge.audit.files import Files
from evcharge.audit.journal import JournalFailed
from evcharge.audit.room import BALLAST, keep_ballast, short_by
from evcharge.central.engine import Engine
from evcharge.domain.commands import RaiseIncident

# How often the room is looked at, seconds: at 30 MB/s a disk takes minutes to fill the reserve.
LOOK_S = 5.0

log = structlog.get_logger()


class Room:
    """Opens and closes the engine for new charging."""

    def __init__(
        self, directory: Path, files: Files, engine: Engine, held: Callable[[], int], *, ballast_bytes: int
    ) -> None:
        """``held``: bytes that the log has reserved already."""
        self._directory = directory
        self._files = files
        self._engine = engine
        self._held = held
        self._ballast_bytes = ballast_bytes

    def begin(self) -> None:
        """Before the door opens. Raises OSError."""
        if not keep_ballast(self._directory, self._files, self._ballast_bytes) and self._ballast_bytes:
            log.warning("disk.no_ballast", sentence=f"there is no room for a ballast in {self._directory}")
        self.look(self._files.free(self._directory))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                # A file system may take its time to answer.
                free = await asyncio.to_thread(self._files.free, self._directory)
            except OSError as error:
                raise JournalFailed(f"the audit log failed: {error}") from error
            self.look(free)

    def look(self, free: int) -> None:
        """So many bytes are free now."""
        engine = self._engine
        short = short_by(free, self._held(), len(engine.state.sessions), low=engine.low_on_disk)
        if bool(short) == engine.low_on_disk:
            return
        engine.low_on_disk = bool(short)
        free_mib = free >> 20
        if short:
            detail = f"{free_mib} MiB are free in {self._directory}, {(short >> 20) + 1} MiB too few for new charging"
            log.error("disk.low", sentence=f"{detail}: free some, or remove {BALLAST} for a start")
            engine.execute(RaiseIncident(code="disk_low", detail=detail))
        else:
            log.info("disk.room_again", free_mib=free_mib)
