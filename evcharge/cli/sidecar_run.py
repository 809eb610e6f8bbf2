"""``evcharge-sidecar run``: serves a registry's directory."""

from __future__ import annotations

import ipaddress
import os
import random
from pathlib import Path

import click
import msgspec
import structlog
import uvloop

from evcharge.cli.commands import Command
from evcharge.cli.common import (
    Failed,
    clock_option,
    levels_on_signals,
    log_options,
    make_clock,
    metrics_option,
    parse_address,
    ready,
)
from evcharge.cli.peer import CENTRAL_PORT, stop_on_signals
from evcharge.cli.sidecar_options import DEFAULT_HOST, DEFAULT_PORT, data_dir_option, database_option
from evcharge.net.exposition import Address, Exposition
from evcharge.sidecar.assembly import Outside
from evcharge.sidecar.bootstrap import BootstrapError
from evcharge.sidecar.database import StoreError
from evcharge.sidecar.outgoing.secrets import LackingSecret
from evcharge.sidecar.sensors.mqtt import BadBroker
from evcharge.sidecar.serve import CannotListen, Listen, serve
from evcharge.sidecar.services import BadServices, Services, load_services
from evcharge.sim.sensors import SimulatedSensors, SimulatedSite

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)

log = structlog.get_logger()


@click.command(cls=Command)
@data_dir_option
@database_option
@click.option("--host", default=DEFAULT_HOST, help="Address to listen on; beyond loopback use TLS.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, help="Port; 0: any free one.")
@click.option("--central", default=None, metavar="HOST:PORT", help="Connect to Central as a gateway.")
@click.option(
    "--services",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help="TOML file with the settings of the services: tokens, limits, weather, sensors, authorizations.",
)
@click.option("--tls-cert", type=_FILE, default=None, help="Certificate with its chain, PEM: serve HTTPS.")
@click.option("--tls-key", type=_FILE, default=None, help="Its key, PEM, if it is not in the same file.")
@metrics_option("127.0.0.1:9411")
@clock_option
@log_options
def run(  # one argument for each option
    *,
    data_dir: Path,
    database: str | None,
    host: str,
    port: int,
    central: str | None,
    services: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    metrics: Address | None,
    clock_file: Path | None,
) -> None:
    """Serve until SIGTERM."""
    address = None if central is None else parse_address(central, CENTRAL_PORT)
    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key needs --tls-cert.")
    if not is_loopback(host) and tls_cert is None:
        log.warning(
            "sidecar.not_loopback",
            host=host,
            sentence="Passwords cross this address unencrypted; use --tls-cert, or put a TLS proxy in front of it.",
        )
    try:
        asked = Services() if services is None else load_services(services)
        listen = Listen(host=host, port=port, certificate=tls_cert, key=tls_key)
        uvloop.run(_run(data_dir, listen, address, asked, database, metrics, clock_file))
    except (BootstrapError, BadServices, BadBroker, CannotListen, LackingSecret, StoreError) as error:
        raise Failed(str(error)) from error


async def _run(
    data_dir: Path,
    listen: Listen,
    central: tuple[str, int] | None,
    services: Services,
    database: str | None,
    metrics: Address | None,
    clock_file: Path | None,
) -> None:
    levels_on_signals()
    stop = stop_on_signals()
    try:
        simulated = SimulatedSensors(msgspec.convert(services.simulated_site, SimulatedSite))
    except msgspec.ValidationError as error:
        raise Failed(f"The table simulated_site: {error}.") from error
    exposition = None if metrics is None else Exposition("sidecar", metrics)

    def say(url: str) -> None:
        served = None if exposition is None else exposition.listening
        ready("sidecar", url=url, **({} if served is None else {"metrics": served}))

    await serve(
        data_dir,
        listen,
        central=central,
        clock=make_clock(clock_file),
        entropy=os.urandom,
        ready=say,
        stop=stop,
        services=services,
        database_url=database,
        outside=Outside(environ=os.environ, random=random.random, simulated=simulated),
        exposition=exposition,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
