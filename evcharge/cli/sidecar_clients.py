"""``evcharge-sidecar client`` and ``keys``: client apps, their secrets and access tokens, without the HTTP side.

They work on the data directory itself, so whoever may read it may use them; a sidecar that serves it meanwhile sees
what they did within seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from sqlalchemy.exc import SQLAlchemyError

from evcharge.cli.commands import Group
from evcharge.cli.common import CONTEXT, Failed, configure_logging, make_clock, print_json, write_secret
from evcharge.cli.sidecar_options import data_dir_option, database_option
from evcharge.net.clock import Clock
from evcharge.sidecar.bootstrap import (
    KEYS,
    BootstrapError,
    bring_up_to_date,
    check_database,
    open_database,
    public_url,
)
from evcharge.sidecar.database import Database, StoreError, first_line
from evcharge.sidecar.oauth.clients import OVERLAP_S, ClientExists, Clients, OAuthClient
from evcharge.sidecar.oauth.endpoint import TOKEN_LIFE_S, TOKEN_PATH
from evcharge.sidecar.oauth.keys import ANNOUNCE_S, TOKEN_LIFE_MAX_S, KeyFolder, published, signs
from evcharge.sidecar.oauth.tokens import issue
from evcharge.sidecar.registry.names import ENTITY
from evcharge.sidecar.services import BadServices, Services, load_services
from evcharge.sidecar.web.scopes import ROLES, Scope, parse_scopes, scope_text

T = TypeVar("T")

_scopes_option = click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help=f"One of {', '.join(sorted(s.value for s in Scope))}."
)
_services_option = click.option(
    "--services",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=None,
    help="The settings file that run is given, if it changes issuer or audience.",
)


@click.group(cls=Group, context_settings=CONTEXT)
def client() -> None:
    """Client apps and people: who may get access tokens or log in to the page, and for what."""
    configure_logging("warning")


@client.command()
@click.argument("name")
@data_dir_option
@database_option
@_scopes_option
@click.option("--role", type=click.Choice(sorted(ROLES)), default=None, help="All scopes of a role.")
@click.option("--driver", default=None, metavar="ID", help="Driver that is charged for what it asks POST /charge for.")
@click.option("--about", default="", help="What it is, for people.")
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write name, secret and token URL there (0600) instead of showing the secret.",
)
def add(  # one argument for each option
    *,
    name: str,
    data_dir: Path,
    database: str | None,
    scopes: tuple[str, ...],
    role: str | None,
    driver: str | None,
    about: str,
    secret_file: Path | None,
) -> None:
    """Make a client app, or a person's account. Its secret is shown once.

    Somebody who runs the site: --role operator anna; with this name and secret she logs in to the page, at /ui/ of the
    sidecar. A driver's app: --role driver --driver ANNA. A dashboard: --role viewer.
    """
    wanted = _scopes(scopes) | (frozenset() if role is None else ROLES[role])
    if not wanted:
        raise click.UsageError("Give it a --role, or --scope for each thing that it may do.")
    if driver is not None and ENTITY.fullmatch(driver) is None:
        raise click.UsageError("--driver is 1 to 64 letters, digits or . _ : @ + - and starts with a letter or digit.")
    if Scope.CHARGE in wanted and driver is None:
        click.echo("Without --driver it cannot charge: nobody would pay for it.", err=True)
    _check_secret_file(secret_file)

    async def make(clients: Clients, clock: Clock, _url: str) -> str:
        made = OAuthClient(client_id=name, scopes=wanted, created_ms=clock.steady_ms(), driver_id=driver, about=about)
        return await clients.add(made)

    secret, url = _with_clients(data_dir, database, make)
    _hand_over(name, secret, url, secret_file)


@client.command(name="list")
@data_dir_option
@database_option
def list_clients(data_dir: Path, database: str | None) -> None:
    """Show client apps with their scopes; no secrets."""

    async def look(clients: Clients, _clock: Clock, _url: str) -> list[OAuthClient]:
        return await clients.listed()

    rows, _ = _with_clients(data_dir, database, look)
    if not sys.stdout.isatty():
        print_json(
            [{**msgspec.structs.asdict(row), "scopes": sorted(scope.value for scope in row.scopes)} for row in rows]
        )
        return
    if not rows:
        click.echo("There are no client apps; make one with evcharge-sidecar client add.")
    for row in rows:
        made = datetime.fromtimestamp(row.created_ms / 1000, UTC)
        driver = "" if row.driver_id is None else f"  for driver {row.driver_id}"
        click.echo(f"{row.client_id}  since {made:%Y-%m-%d}{driver}  {row.about}\n  {scope_text(row.scopes)}")


@client.command()
@click.argument("name")
@data_dir_option
@database_option
@click.option(
    "--overlap-s",
    type=click.IntRange(0, 30 * 86_400),
    default=OVERLAP_S,
    help="How long the old secret stays good, seconds.",
)
@click.option(
    "--secret-file", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write it there (0600)."
)
def rotate(name: str, data_dir: Path, database: str | None, overlap_s: int, secret_file: Path | None) -> None:
    """Give a client app a new secret; shown once."""
    _check_secret_file(secret_file)

    async def turn(clients: Clients, clock: Clock, _url: str) -> str | None:
        return await clients.rotate(name, clock.steady_ms(), overlap_s)

    secret, url = _with_clients(data_dir, database, turn)
    if secret is None:
        raise Failed(_nobody(name))
    _hand_over(name, secret, url, secret_file)


@client.command()
@click.argument("name")
@data_dir_option
@database_option
def remove(name: str, data_dir: Path, database: str | None) -> None:
    """Take a client app away: its tokens end within five seconds."""

    async def take(clients: Clients, _clock: Clock, _url: str) -> bool:
        return await clients.remove(name)

    gone, _ = _with_clients(data_dir, database, take)
    if not gone:
        raise Failed(_nobody(name))
    click.echo(f"Removed {name}.", err=True)


@client.command()
@click.argument("name")
@data_dir_option
@database_option
@_services_option
@_scopes_option
@click.option(
    "--life-s", type=click.IntRange(60, TOKEN_LIFE_MAX_S), default=TOKEN_LIFE_S, help="Life of the token, seconds."
)
def token(
    name: str, data_dir: Path, database: str | None, services: Path | None, scopes: tuple[str, ...], life_s: int
) -> None:
    """Print an access token of a client app, as POST /oauth2/token would give it."""
    wanted = _scopes(scopes)
    try:
        oauth = (Services() if services is None else load_services(services)).oauth
        keys = _keys(data_dir)
    except (BadServices, BootstrapError) as error:
        raise Failed(str(error)) from error

    async def sign(clients: Clients, clock: Clock, url: str) -> str:
        found = await clients.get(name)
        if found is None:
            raise Failed(_nobody(name))
        if not wanted <= found.scopes:
            raise Failed(f"{name} may have: {scope_text(found.scopes)}.")
        now_ms = clock.steady_ms()
        if not keys.keys:
            keys.add(now_ms)
        return issue(
            signs(keys.keys.values(), now_ms),
            issuer=oauth.issuer or url,
            audience=oauth.audience,
            client=name,
            scopes=wanted or found.scopes,
            now_s=now_ms // 1000,
            life_s=life_s,
            entropy=os.urandom,
            since=found.created_ms,
            more={} if found.driver_id is None else {"driver": found.driver_id},
        )

    text, _ = _with_clients(data_dir, database, sign)
    click.echo(text)


@click.group(cls=Group, context_settings=CONTEXT)
def keys() -> None:
    """Keys that sign access tokens."""
    configure_logging("warning")


@keys.command(name="list")
@data_dir_option
def list_keys(data_dir: Path) -> None:
    """Show the keys, oldest first: which one signs, and which only verify."""
    folder = _keys(data_dir)
    now_ms = make_clock(None).steady_ms()
    shown = published(folder.keys.values(), now_ms)
    signing = signs(shown, now_ms).kid if shown else None
    rows = [{"kid": key.kid, "created_ms": key.created_ms, "signs": key.kid == signing} for key in shown]
    if not sys.stdout.isatty():
        print_json(rows)
        return
    for key in shown:
        made = datetime.fromtimestamp(key.created_ms / 1000, UTC)
        click.echo(f"{key.kid}  since {made:%Y-%m-%d %H:%M}  {'signs' if key.kid == signing else 'verifies'}")


@keys.command(name="rotate")
@data_dir_option
def rotate_keys(data_dir: Path) -> None:
    """Make a new signing key; it signs ten minutes from now, and the old one verifies until its tokens are gone."""
    folder, now_ms = _keys(data_dir), make_clock(None).steady_ms()
    waiting = [key.created_ms for key in folder.keys.values() if key.created_ms + ANNOUNCE_S * 1000 > now_ms]
    if waiting and len(folder.keys) > 1:
        signs_s = max(waiting) // 1000 + ANNOUNCE_S - now_ms // 1000
        raise Failed(f"A new key is announced already; it signs in {signs_s} s. Wait for it before the next one.")
    try:
        key = folder.add(now_ms)
    except (BootstrapError, OSError) as error:
        raise Failed(str(error)) from error
    print_json({"kid": key.kid, "created_ms": key.created_ms})


def _keys(data_dir: Path) -> KeyFolder:
    if not data_dir.is_dir():
        raise Failed(f"There is no {data_dir}; make it with evcharge-sidecar init first.")
    folder = KeyFolder(data_dir / KEYS)
    try:
        folder.refresh()
    except BootstrapError as error:
        raise Failed(str(error)) from error
    return folder


def _with_clients(
    data_dir: Path, database_url: str | None, work: Callable[[Clients, Clock, str], Awaitable[T]]
) -> tuple[T, str]:
    """Do ``work`` on the directory's client apps; its result, and the sidecar's URL."""
    return asyncio.run(_work(data_dir, database_url, work))


async def _work(
    data_dir: Path, database_url: str | None, work: Callable[[Clients, Clock, str], Awaitable[T]]
) -> tuple[T, str]:
    opened: Database | None = None
    try:
        check_database(data_dir, database_url)
        opened = open_database(data_dir, database_url)
        await bring_up_to_date(opened, data_dir)
        url = await public_url(opened)
        return await work(Clients(opened, os.urandom), make_clock(None), url), url
    except (BootstrapError, StoreError, ClientExists, ValueError) as error:
        raise Failed(_sentence(str(error))) from error
    except (SQLAlchemyError, OSError) as error:
        raise Failed(f"The database does not answer: {first_line(error)}") from error
    finally:
        if opened is not None:
            await opened.close()


def _scopes(words: tuple[str, ...]) -> frozenset[Scope]:
    try:
        return parse_scopes(" ".join(words))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _check_secret_file(file: Path | None) -> None:
    """Before anything is made whose secret could then not be kept. Raises Failed."""
    if file is None:
        return
    if file.exists():
        raise Failed(f"{file} exists already; move it away first, secrets are not overwritten.")
    if not os.access(file.absolute().parent, os.W_OK):
        raise Failed(f"{file.absolute().parent} cannot be written; name another folder for the secret.")


def _hand_over(name: str, secret: str, url: str, file: Path | None) -> None:
    said = {"client_id": name, "client_secret": secret, "token_url": url + TOKEN_PATH}
    if file is not None:
        write_secret(file, msgspec.json.encode(said) + b"\n")
        click.echo(f"Wrote the secret of {name} to {file}.", err=True)
        return
    if not sys.stdout.isatty():
        print_json(said)
        return
    click.echo(f"client_id      {name}\nclient_secret  {secret}\ntoken_url      {url + TOKEN_PATH}")
    click.echo("The secret is not shown again; only its hash is kept.", err=True)


def _nobody(name: str) -> str:
    return f"There is no client app {name}; see evcharge-sidecar client list."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
