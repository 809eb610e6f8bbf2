"""The three secrets of the charge authorization, each a file of its own (0600), made when they are first needed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from evcharge.sidecar.authority.sealing import Sealer
from evcharge.sidecar.authority.signing import parse_secrets
from evcharge.sidecar.bootstrap import BootstrapError, read_private, write_private
from protocol.credentials import b64url, b64url_decode

log = structlog.get_logger()

# Hashes driver tokens: whoever loses it loses the whole access list.
PEPPER = "pepper"
# Seals the tokens of callbacks that are not delivered yet.
SEAL = "seal.key"
# Signs callbacks; its receivers get a copy.
SIGNING = "callback.secret"
BYTES = 32
PREFIX = "whsec_"


class AuthorityKeys(NamedTuple):
    """What the charge authorization works with."""

    sealer: Sealer
    signing: tuple[bytes, ...]
    """The newest first."""

    def __repr__(self) -> str:
        return "AuthorityKeys(…)"


def load_keys(
    folder: Path, *, entropy: Callable[[int], bytes], environ: Mapping[str, str], signing_env: str
) -> AuthorityKeys:
    """The keys of a folder; the environment's signing secrets win over the file's.

    Raises:
        BootstrapError: a file is open to others or damaged, or the environment variable holds no secrets.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        pepper = _bytes(folder / PEPPER, entropy)
        seal = _bytes(folder / SEAL, entropy)
        given = environ.get(signing_env, "").strip()
        signing = given or _signing(folder / SIGNING, entropy)
    except OSError as error:
        raise BootstrapError(f"Cannot use {folder}: {error.strerror}.") from error
    where = signing_env if given else str(folder / SIGNING)
    try:
        secrets = parse_secrets(signing)
    except ValueError as error:
        raise BootstrapError(f"{where}: {error}.") from None
    # Fernet wants its key with padding.
    return AuthorityKeys(Sealer(pepper, b64url(seal).encode() + b"="), secrets)


def _bytes(file: Path, entropy: Callable[[int], bytes]) -> bytes:
    if not file.exists():
        write_private(file, b64url(entropy(BYTES)).encode() + b"\n")
        log.info("authority.key_made", file=str(file))
    try:
        key = b64url_decode(read_private(file).decode().strip())
    except ValueError:
        key = b""
    if len(key) != BYTES:
        raise BootstrapError(f"{file} is damaged; restore it from your backup.")
    return key


def _signing(file: Path, entropy: Callable[[int], bytes]) -> str:
    if not file.exists():
        write_private(file, new_signing_secret(entropy).encode() + b"\n")
        log.info("authority.key_made", file=str(file))
    try:
        return read_private(file).decode()
    except ValueError:
        raise BootstrapError(f"{file} is damaged; restore it from your backup.") from None


def new_signing_secret(entropy: Callable[[int], bytes]) -> str:
    """A fresh one, as the file has it."""
    return PREFIX + base64.b64encode(entropy(BYTES)).decode()
