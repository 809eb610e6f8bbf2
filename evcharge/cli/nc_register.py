"""``evcharge-nc register``: a short-lived credential that may look and not act."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import click
import msgspec

from evcharge.cli.commands import Command
from evcharge.cli.common import Failed, print_json, write_secret
from evcharge.cli.peer import plain_http_option, read_token, registry_option, token_option
from evcharge.console.live import utc
from evcharge.net.registry_client import RegistryCallFailed, register
from protocol.credentials import Role

# Longest life of a debug credential, in seconds: the registry gives no more. SPEC §8
MAX_VALID_S = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600}


@click.command("register", cls=Command)
@registry_option
@token_option
@click.option("--id", "entity", required=True, help="Who looks: your name stands in Central's log.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="New file (0600).")
@click.option("--valid", default="1h", metavar="TIME", help="How long, like 90s, 30m or 24h (the most there is).")
@plain_http_option
def register_command(registry: str, token_file: Path, entity: str, out: Path, valid: str, plain_http: bool) -> None:
    """Make a short-lived credential of role debug: it may list and query, and Central's log names it."""
    valid_s = parse_valid(valid)
    token = read_token(token_file)
    if out.exists():
        raise Failed(f"{out} exists already; move it away first, secrets are not overwritten.")
    if not out.parent.is_dir():
        # Before the registry is asked: the secret is shown once, and the id would be taken.
        raise Failed(f"cannot write {out}: there is no folder {out.parent}; make it first.")
    asking = register(registry, token, Role.DEBUG.label, entity, plain_http=plain_http, valid_s=valid_s)
    try:
        answer = asyncio.run(asking)
    except RegistryCallFailed as error:
        raise Failed(error.sentence) from error
    write_secret(out, answer)
    until_ms = msgspec.json.decode(answer, type=_Life).not_after_ms
    until = "" if until_ms is None else utc(until_ms)
    if sys.stdout.isatty():
        click.echo(f"Valid until {until}. Next: evcharge-nc --credentials {out} --central 127.0.0.1")
    else:
        print_json({"debug": entity, "credentials": str(out), "valid_until": until})


class _Life(msgspec.Struct):
    not_after_ms: int | None = None


def parse_valid(text: str) -> int:
    """Seconds of ``90s``, ``30m`` or ``24h``; anything else is misuse."""
    found = re.fullmatch(r"([0-9]{1,6})([smh])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= MAX_VALID_S:
        raise click.BadParameter(f"{text!r} is no time like 90s, 30m or 1h, at most 24h.", param_hint="--valid")
    return seconds
