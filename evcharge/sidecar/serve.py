"""Running the sidecar: HTTP first, then the channel to Central; a drain in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from evcharge.net.clock import Clock
from evcharge.net.witness import Witness
from evcharge.sidecar.app import make_app
from evcharge.sidecar.bootstrap import locked, open_registry
from evcharge.sidecar.link import CentralLink
from evcharge.sidecar.settings import DRAIN_S, SidecarSettings


class CannotListen(Exception):
    """The address cannot be listened on; the text says what to do."""


async def serve(
    data_dir: Path,
    host: str,
    port: int,
    *,
    central: tuple[str, int] | None,
    clock: Clock,
    entropy: Callable[[int], bytes],
    ready: Callable[[str], None],
    stop: asyncio.Event,
    settings: SidecarSettings | None = None,
) -> None:
    """Serve the registry until ``stop`` is set; ``ready`` is called with the real URL.

    Raises:
        BootstrapError: the data directory cannot be used.
        CannotListen: the address is taken or not ours.
    """
    with locked(data_dir):
        opened = await open_registry(data_dir, clock=clock, entropy=entropy, settings=settings)
        link = None
        if central is not None:
            witness = Witness(data_dir / "central.witness")
            link = CentralLink(opened.credential, *central, clock=clock, entropy=entropy, witness=witness)
        state = "unset" if link is None else None
        app = make_app(
            opened.registry,
            opened.tokens,
            clock,
            settings,
            central=lambda: state or (link.state if link is not None else "unset"),
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_S)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise CannotListen(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
            ready(_url(runner))
            await _until(stop, link)
        finally:
            await runner.cleanup()
            await opened.store.close()


async def _until(stop: asyncio.Event, link: CentralLink | None) -> None:
    """Run the link until ``stop``; its end by itself is a failure of ours and ends the sidecar."""
    if link is None:
        await stop.wait()
        return
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run(), name="link to Central")
        await stop.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def _url(runner: web.AppRunner) -> str:
    address, port = runner.addresses[0][:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
