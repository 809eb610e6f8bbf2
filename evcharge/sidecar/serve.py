"""Running the sidecar: HTTP first, then its parts and the channel to Central; a drain in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from evcharge.net.clock import Clock
from evcharge.net.exposition import Exposition
from evcharge.net.link import CentralLink
from evcharge.net.own_certificate import BadCertificateFile, load_own_certificate
from evcharge.net.readiness import Readiness
from evcharge.net.witness import Witness
from evcharge.sidecar.assembly import Assembled, Outside, assemble
from evcharge.sidecar.bootstrap import locked, open_registry
from evcharge.sidecar.readiness import readiness_of
from evcharge.sidecar.services import Services
from evcharge.sidecar.settings import DRAIN_S, SidecarSettings
from evcharge.sidecar.web.server import Runner

# With TLS 1.2: forward secrecy and authenticated encryption alone; no client of today needs what else there is.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

Work = Callable[[], Coroutine[Any, Any, None]]


class CannotListen(Exception):
    """The address cannot be listened on; the text says what to do."""


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Where to serve, and with which certificate."""

    host: str
    port: int
    certificate: Path | None = None
    """PEM, with its chain; None: plain HTTP."""
    key: Path | None = None


async def serve(
    data_dir: Path,
    listen: Listen,
    *,
    central: tuple[str, int] | None,
    clock: Clock,
    entropy: Callable[[int], bytes],
    ready: Callable[[str], None],
    stop: asyncio.Event,
    settings: SidecarSettings | None = None,
    services: Services | None = None,
    database_url: str | None = None,
    outside: Outside | None = None,
    exposition: Exposition | None = None,
) -> None:
    """Serve until ``stop`` is set; ``ready`` is called with the real URL. ``exposition`` serves the metrics, if any.

    Raises:
        BootstrapError: the data directory cannot be used.
        BadServices, LackingSecret, BadBroker: the settings of a service cannot.
        CannotListen: the address is taken or not ours, or the certificate cannot be read.
    """
    context = tls_context(listen)
    with locked(data_dir):
        opened = await open_registry(
            data_dir, clock=clock, entropy=entropy, settings=settings, database_url=database_url, alone=True
        )
        try:
            async with opened.store.database.held():
                link = None
                if central is not None:
                    witness = Witness(data_dir / "central.witness")
                    link = CentralLink(opened.credential, *central, clock=clock, entropy=entropy, witness=witness)
                url: list[str] = []
                assembled = assemble(
                    data_dir,
                    opened,
                    clock=clock,
                    entropy=entropy,
                    settings=settings,
                    services=services,
                    link=link,
                    outside=outside,
                    address=central,
                    listening=lambda: url[0] if url else None,
                )
                runner = Runner(assembled.application, drain_s=DRAIN_S, entropy=entropy)
                await runner.setup()
                try:
                    if exposition is not None:
                        readiness = readiness_of(
                            opened.store.database, link, serving=lambda: bool(url), stopping=stop.is_set
                        )
                        await _expose(exposition, assembled, readiness)
                    try:
                        await web.TCPSite(runner, listen.host, listen.port, ssl_context=context).start()
                    except OSError as error:
                        raise CannotListen(
                            f"Cannot listen on {listen.host}:{listen.port}: {error.strerror}."
                        ) from error
                    url.append(_url(runner, secure=context is not None))
                    works: list[Work] = [concern.run for concern in assembled.concerns]
                    works.append(opened.store.database.keep_held)
                    ready(url[0])
                    await _until(stop, works if link is None else [*works, link.run])
                finally:
                    await runner.cleanup()
                    if exposition is not None:
                        await exposition.close()
        finally:
            await opened.store.close()


def tls_context(listen: Listen) -> ssl.SSLContext | None:
    """TLS 1.2 and later with the certificate's files; None: plain HTTP.

    Raises:
        CannotListen: a file is missing, or the two do not belong together.
    """
    if listen.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    try:
        load_own_certificate(context, listen.certificate, listen.key)
    except BadCertificateFile as error:
        raise CannotListen(str(error)) from error
    return context


async def _expose(exposition: Exposition, assembled: Assembled, readiness: Readiness) -> None:
    try:
        await exposition.start(assembled.metrics, readiness)
    except OSError as error:
        raise CannotListen(f"{(error.strerror or str(error)).capitalize()}.") from error


async def _until(stop: asyncio.Event, works: list[Work]) -> None:
    """Run what works by itself until ``stop``; a failure of ours in one of them ends the sidecar."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work()) for work in works]
        await stop.wait()
        for task in running:
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _url(runner: web.AppRunner, *, secure: bool) -> str:
    address, port = runner.addresses[0][:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"
