"""The drivers of the feeder drill: each has a charge point of its own, and charges there for as long as it goes on.

``python -m tools.drill.feeder_drivers SETTINGS`` prints ``{"ready": …}``. A session that ends without having been asked
to is followed by another one. After a line on its stdin it ends all sessions, waits for the tickets, prints
``{"finished": …}`` and ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import msgspec

from evcharge.cli.common import configure_logging, print_json
from evcharge.cli.peer import read_credentials
from evcharge.driver.client import DriverClient, RequestFailed, RequestRefused, Unreachable
from evcharge.net.clock import SystemClock
from protocol.credentials import Credential, Role
from tools.drill.crash_load import line_on_stdin
from tools.drill.drivers import CONNECT_S, Confirming
from tools.drill.history import History, RecordingClient

# Seconds between two attempts: a charge point may be away for a minute.
PAUSE_S = 0.5
# Longest wait for all sessions to end and their tickets to come, seconds.
FINISH_S = 60.0


class Settings(msgspec.Struct, kw_only=True):
    """What the process is told."""

    credentials: Path
    """Folder with one file for each driver."""
    host: str
    port: int
    places: dict[str, str]
    """Driver → its charge point."""
    history: Path


class Stayer:
    """One driver."""

    def __init__(self, client: DriverClient, cp_id: str) -> None:
        self._client = client
        self._cp_id = cp_id
        self._finishing = asyncio.Event()
        self._task = asyncio.create_task(self._stay())

    async def finish(self) -> None:
        """End the session; return when its ticket is here. Raises what the driver's task ended with."""
        self._finishing.set()
        await self._task
        # Central answers in order: behind this answer no ticket is on its way any more.
        await self._insist(self._client.tickets)
        await self._client.leave()

    async def _stay(self) -> None:
        """Session after session, until the finish."""
        client = self._client
        client.come_back()
        while not self._finishing.is_set():
            with suppress(Unreachable, RequestRefused, RequestFailed):
                await client.connected()
                await self._charge()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._finishing.wait(), PAUSE_S)

    async def _charge(self) -> None:
        client = self._client
        try:
            session_id = (await client.charge(self._cp_id)).session_id
        except RequestFailed:
            # The answer was lost: it may have been granted.
            await client.connected()
            found = await client.own_session_at(self._cp_id)
            if found is None:
                return
            session_id = found
            client.follow(session_id)
        outcome = asyncio.create_task(client.outcome(session_id))
        finishing = asyncio.create_task(self._finishing.wait())
        try:
            await asyncio.wait({outcome, finishing}, return_when=asyncio.FIRST_COMPLETED)
            if not outcome.done():
                await self._insist(partial(client.end, session_id))
            await outcome
        finally:
            outcome.cancel()
            finishing.cancel()

    async def _insist(self, request: Callable[[], Awaitable[object]]) -> None:
        """Ask until there is an answer; a refusal is one, for the session may have ended by itself."""
        while True:
            with suppress(Unreachable, RequestFailed):
                await self._client.connected()
                with suppress(RequestRefused):
                    await request()
                return
            await asyncio.sleep(PAUSE_S)


async def stay(settings: Settings, credentials: list[Credential]) -> None:
    """All drivers until a line on stdin, then the end. Raises TimeoutError."""
    clock = SystemClock()
    history = History(settings.history)
    drivers = [
        Stayer(
            DriverClient(
                credential,
                settings.host,
                settings.port,
                clock=clock,
                entropy=os.urandom,
                watcher=Confirming(),
                connect_s=CONNECT_S,
                make_client=partial(RecordingClient, history=history),
            ),
            settings.places[credential.entity],
        )
        for credential in credentials
    ]
    print_json({"ready": "drivers", "drivers": len(drivers)})
    sys.stdout.flush()
    await line_on_stdin()
    async with asyncio.timeout(FINISH_S):
        await asyncio.gather(*(driver.finish() for driver in drivers))
    history.close()
    print_json({"finished": True})


@click.command()
@click.argument("settings")
def main(settings: str) -> None:
    """SETTINGS: JSON with credentials, host, port, places, history."""
    given = msgspec.json.decode(settings, type=Settings, dec_hook=lambda kind, text: kind(text))
    configure_logging("warning")
    asyncio.run(stay(given, read_credentials(given.credentials, Role.DRIVER)))


if __name__ == "__main__":
    main()
