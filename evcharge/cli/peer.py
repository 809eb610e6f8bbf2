"""What the commands of Central's peers share: reading credentials, SIGTERM, registering."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from evcharge.cli.common import Failed, write_secret
from evcharge.net.registry_client import RegistryCallFailed, register
from protocol.credentials import MAX_JSON, Credential, CredentialError, Role

# Port of Central when --central names a host only.
CENTRAL_PORT = 7411


def read_credentials(path: Path, role: Role) -> list[Credential]:
    """One file, or all files of a directory that have this role, by entity. Raises Failed with what to do."""
    if path.is_dir():
        found = [_read(file) for file in sorted(path.glob("*.json"))]
        credentials = [credential for credential in found if credential.role is role]
        if not credentials:
            raise Failed(f"{path} holds no credential with role {role.label}; register one first.")
    else:
        credentials = [_read(path)]
        if credentials[0].role is not role:
            raise Failed(
                f"{path} is a credential for role {credentials[0].role.label}, this command needs {role.label}."
            )
    entities = [credential.entity for credential in credentials]
    twice = sorted({entity for entity in entities if entities.count(entity) > 1})
    if twice:
        raise Failed(f"{path} holds more than one {role.label} credential for {', '.join(twice)}; keep one of each.")
    return sorted(credentials, key=lambda credential: credential.entity)


def _read(file: Path) -> Credential:
    try:
        with file.open("rb") as stream:
            return Credential.from_json(stream.read(MAX_JSON + 1))
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    except CredentialError as error:
        raise Failed(f"{file}: {error}") from error


registry_option = click.option("--registry", default="http://127.0.0.1:8080", metavar="URL", help="The registry.")
token_option = click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="File with the operator's token, as evcharge-sidecar init wrote it.",
)


plain_http_option = click.option(
    "--plain-http", is_flag=True, help="Allow http:// to another machine: secrets cross the net unencrypted."
)


def read_token(file: Path) -> str:
    """The operator's token. Raises Failed."""
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Failed(f"{file} holds no token; use the operator.token that evcharge-sidecar init wrote.") from None


def register_into(out: Path, registry: str, token_file: Path, role: Role, entity: str, *, plain_http: bool) -> None:
    """Register one peer; its secret goes to the new file ``out`` and nowhere else. Raises Failed."""
    token = read_token(token_file)
    if out.exists():
        raise Failed(f"{out} exists already; move it away first, secrets are not overwritten.")
    if not out.parent.is_dir():
        # Before the registry is asked: the secret is shown once, and the id would be taken.
        raise Failed(f"cannot write {out}: there is no folder {out.parent}; make it first.")
    try:
        answer = asyncio.run(register(registry, token, role.label, entity, plain_http=plain_http))
    except RegistryCallFailed as error:
        raise Failed(error.sentence) from error
    write_secret(out, answer)


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets; needs a running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


credentials_option = click.option(
    "--credentials",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Credential file, or a directory: all of its credentials with the right role.",
)

central_option = click.option(
    "--central", required=True, metavar="HOST:PORT", help=f"Where Central listens; port {CENTRAL_PORT} if left out."
)
