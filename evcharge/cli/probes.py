"""``--health`` of the peers: ``/healthz`` and ``/readyz`` for who looks after their process. Off unless asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from evcharge.cli.common import Failed, parse_address
from evcharge.net.readiness import Readiness, channels

if TYPE_CHECKING:
    from evcharge.net.exposition import Address

F = TypeVar("F", bound=Callable[..., Any])

# Port when --health names a host only: beside those of the metrics of Central, sidecar and publisher.
HEALTH_PORT = 9413


def _read(_context: click.Context, _parameter: click.Parameter, value: str) -> Address | None:
    if value == "off":
        return None
    # Here, because most start without it, and then need no HTTP server.
    from evcharge.net.exposition import Address

    host, port = parse_address(value, HEALTH_PORT)
    if not host:
        raise click.BadParameter(f"{value!r} has no host; 0.0.0.0 is all addresses.")
    return Address(host, port)


def health_option(function: F) -> F:
    """Add ``--health HOST:PORT|off``: an ``Address``, or None."""
    return click.option(
        "--health",
        metavar="HOST:PORT|off",
        default="off",
        callback=_read,
        help="Serve /healthz and /readyz there, as evcharge-health and orchestrators ask them; port 0: any free one.",
    )(function)


class Channel(Protocol):
    """To Central."""

    @property
    def connected(self) -> bool: ...


class HasChannel(Protocol):
    """One of the peers of a process."""

    @property
    def channel(self) -> Channel | None: ...


def while_connected(hosts: Sequence[HasChannel], stop: asyncio.Event) -> Readiness:
    """Ready with a channel to Central.

    Without one an engine goes on charging, and what a monitor thinks of its engine is for Central and not for who runs
    the monitor: so ``/healthz`` asks for neither.
    """

    def unready() -> str | None:
        up = sum(host.channel is not None and host.channel.connected for host in hosts)
        return "draining" if stop.is_set() else channels(up, len(hosts))

    return Readiness(unready=unready)


@asynccontextmanager
async def probed(daemon: str, address: Address | None, readiness: Readiness) -> AsyncIterator[dict[str, str]]:
    """Serve both paths meanwhile. Gives what the line ``ready`` says of it: nothing when it is off.

    Raises Failed: the address cannot be listened on.
    """
    if address is None:
        yield {}
        return
    from evcharge.net.exposition import Exposition

    exposition = Exposition(daemon, address, option="--health")
    try:
        await exposition.start(None, readiness)
    except OSError as error:
        raise Failed(f"{error.strerror or error}.") from error
    try:
        assert exposition.listening is not None
        yield {"probes": exposition.listening}
    finally:
        await exposition.close()
