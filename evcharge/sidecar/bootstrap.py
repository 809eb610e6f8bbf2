"""The sidecar's data directory: making it (``init``) and opening it (``run``), without a circle (SPEC §2).

``init`` makes the database, the registry's signing key, the operator's token and the three first credentials;
a program that knows ``central.json`` can then be Central, and whoever holds ``operator.token`` can register
everybody else::

    registry.sqlite   public keys, revisions, hashes of tokens and secrets; not there with PostgreSQL
    jwt/              RSA keys that sign access tokens
    registry.key      Ed25519 seed that signs every record
    operator.token    bearer token for /register, /list, /get
    central.json      for Central: its credential, the registry's URL, public key and service token
    sidecar.json      the sidecar's own credential, role gateway

The directory is 0700 and every file 0600.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yarl import URL

from evcharge.net.clock import Clock
from evcharge.sidecar.auth import Scope, Tokens, new_token, token_hash
from evcharge.sidecar.database import Database, Served, StoreError
from evcharge.sidecar.layout import LAYOUT, STEPS
from evcharge.sidecar.registry.rules import SECRET_BYTES, Registry
from evcharge.sidecar.registry.store import Store
from evcharge.sidecar.registry.views import credential_json
from evcharge.sidecar.settings import SidecarSettings
from protocol.credentials import (
    Credential,
    CredentialError,
    Role,
    b64url,
    b64url_decode,
    public_key,
    static_private_key,
)
from protocol.records import RegistryRecord

DATABASE = "registry.sqlite"
SIGNING_KEY = "registry.key"
OPERATOR_TOKEN = "operator.token"  # noqa: S105  # a file name
CENTRAL = "central.json"
SIDECAR = "sidecar.json"
# Folder of the keys that sign access tokens.
KEYS = "jwt"
FILES = (DATABASE, SIGNING_KEY, OPERATOR_TOKEN, CENTRAL, SIDECAR)
# Where a registry that an earlier version made is reached, unless it was told otherwise.
DEFAULT_URL = b"http://127.0.0.1:8080"
# Username and entity of the two credentials that init makes.
CENTRAL_NAME = "central"
SIDECAR_NAME = "sidecar"
# Seed of an Ed25519 key, in bytes.
SEED_BYTES = 32
# What stands behind the name of a file that is not whole yet.
DRAFT = ".draft"
# Name in the database of the public key that verifies its records.
SIGNED_BY = "registry_public_key"
# Permission bits of group and others.
_OPEN_BITS = stat.S_IRWXG | stat.S_IRWXO


class BootstrapError(Exception):
    """The data directory cannot be made or used; the text is one sentence that says what to do."""


class InUse(BootstrapError):
    """Another process holds the data directory."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """Where ``init`` put things; paths only, no secret."""

    data_dir: str
    operator_token: str
    central: str
    sidecar: str
    registry_public_key: str


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A registry that is ready to serve."""

    store: Store
    registry: Registry
    tokens: Tokens
    url: str
    """Where others reach the sidecar, as ``init`` was told."""
    credential: Credential
    """The sidecar's own."""


async def initialise(
    data_dir: Path, url: str, *, clock: Clock, entropy: Callable[[int], bytes], database_url: str | None = None
) -> Made:
    """Make a new registry in ``data_dir``; its database is a file there unless ``database_url`` names another.

    Raises:
        BootstrapError: there is one already, the directory is open to others, or it cannot be written.
    """
    address = check_url(url)
    try:
        _prepare(data_dir)
    except OSError as error:
        raise BootstrapError(f"Cannot make {data_dir}: {error.strerror}.") from error
    try:
        return await _make(data_dir, address, clock=clock, entropy=entropy, database_url=database_url)
    except (OSError, StoreError) as error:
        with contextlib.suppress(OSError, StoreError):
            await clear_half_made(data_dir, database_url)
        why = f"{error.strerror}." if isinstance(error, OSError) else str(error)
        raise BootstrapError(f"Cannot write the registry in {data_dir}: {why}") from error


async def _make(
    data_dir: Path, url: str, *, clock: Clock, entropy: Callable[[int], bytes], database_url: str | None
) -> Made:
    seed = entropy(SEED_BYTES)
    signer = _public_of(seed)
    operator, service = new_token(Scope.OPERATOR, entropy), new_token(Scope.SERVICE, entropy)
    secret = entropy(SECRET_BYTES)
    pinned = public_key(static_private_key(secret, CENTRAL_NAME, Role.CENTRAL, 1))
    # Before the database, in which it is known by this key: so whoever finds half of this can tell whose it is.
    write_private(data_dir / SIGNING_KEY, b64url(seed).encode() + b"\n")
    if database_url is None:
        # SQLite keeps the mode of a file that exists and gives it to the journal beside it.
        write_private(data_dir / DATABASE, b"")
    store = Store(open_database(data_dir, database_url))
    try:
        about = {
            "url": url.encode(),
            "central_public_key": pinned,
            SIGNED_BY: signer,
            "operator_token_sha256": token_hash(operator),
            "service_token_sha256": token_hash(service),
        }
        try:
            await store.database.create(LAYOUT, about)
        except StoreError:
            # Nothing of ours is there, and what is there is no business of this key.
            (data_dir / SIGNING_KEY).unlink()
            raise
        async with store.writing() as writer:
            central = await writer.add(
                RegistryRecord(
                    username=CENTRAL_NAME,
                    role=Role.CENTRAL,
                    entity=CENTRAL_NAME,
                    keys={1: pinned},
                    status="active",
                    rev=0,
                )
            )
        registry = Registry(store, signing_key=seed, central=pinned, rev=central.rev, clock=clock, entropy=entropy)
        sidecar = await registry.register(Role.GATEWAY, SIDECAR_NAME, SIDECAR_NAME)
    finally:
        await store.close()
    reached = {"url": url, "public_key": b64url(signer), "service_token": service}
    own = msgspec.Raw(credential_json(CENTRAL_NAME, secret, central, 1, pinned))
    write_private(data_dir / OPERATOR_TOKEN, operator.encode() + b"\n")
    write_private(data_dir / CENTRAL, msgspec.json.encode({"credential": own, "registry": reached}))
    write_private(data_dir / SIDECAR, sidecar)
    return Made(
        data_dir=str(data_dir),
        operator_token=str(data_dir / OPERATOR_TOKEN),
        central=str(data_dir / CENTRAL),
        sidecar=str(data_dir / SIDECAR),
        registry_public_key=b64url(signer),
    )


async def clear_half_made(data_dir: Path, database_url: str | None) -> None:
    """Undo an ``initialise`` that did not come to its end; ``sidecar.json`` is not there, so nobody has used it.

    Tables in a database elsewhere go only where they are of this directory's signing key.

    Raises:
        StoreError: the database cannot be reached; then nothing is undone.
        OSError
    """
    if database_url is not None:
        with contextlib.suppress(BootstrapError):
            # Without its key nothing of it is in the database.
            signer = _public_of(_read_seed(data_dir / SIGNING_KEY))
            database = open_database(data_dir, database_url)
            try:
                await database.undo(SIGNED_BY, signer)
            finally:
                await database.close()
    # The key goes last: a kill in between leaves what is asked for above.
    names = [*(name for name in FILES if name != SIGNING_KEY), f"{DATABASE}-wal", f"{DATABASE}-shm", SIGNING_KEY]
    for name in (*(f"{name}{DRAFT}" for name in FILES), *names):
        (data_dir / name).unlink(missing_ok=True)


async def open_registry(
    data_dir: Path,
    *,
    clock: Clock,
    entropy: Callable[[int], bytes],
    settings: SidecarSettings | None = None,
    database_url: str | None = None,
    alone: bool = False,
) -> Opened:
    """The registry that ``initialise`` made, in the layout of this version.

    ``alone``: the caller holds the directory (``locked``).

    Raises:
        BootstrapError: it is not there, open to others, damaged, its parts do not belong together, or it is of an
            earlier version and another process serves it.
    """
    check_database(data_dir, database_url)
    seed = _read_seed(data_dir / SIGNING_KEY)
    try:
        credential = Credential.from_json(read_private(data_dir / SIDECAR))
    except CredentialError as error:
        raise BootstrapError(f"{data_dir / SIDECAR} is damaged: {error}") from error
    store = Store(open_database(data_dir, database_url))
    name = DATABASE if database_url is None else "the database"
    try:
        await bring_up_to_date(store.database, data_dir, alone=alone)
        meta = await store.check()
        async with store.reading() as reader:
            rev = await reader.rev()
    except BootstrapError:
        await store.close()
        raise
    except StoreError as error:
        await store.close()
        raise BootstrapError(f"{data_dir}, {name}: {error}") from error
    if meta.get(SIGNED_BY) != _public_of(seed):
        await store.close()
        raise BootstrapError(f"{data_dir / SIGNING_KEY} is not the key of {name}; restore both from one backup.")
    registry = Registry(
        store,
        signing_key=seed,
        central=meta["central_public_key"],
        rev=rev,
        clock=clock,
        entropy=entropy,
        settings=settings,
    )
    tokens = Tokens(
        {
            Scope.OPERATOR: meta["operator_token_sha256"],
            Scope.SERVICE: meta["service_token_sha256"],
        }
    )
    url = meta.get("url", DEFAULT_URL).decode()
    return Opened(store=store, registry=registry, tokens=tokens, url=url, credential=credential)


async def bring_up_to_date(database: Database, data_dir: Path, *, alone: bool = False) -> None:
    """Take the tables from an earlier layout to this version's, never under a sidecar that serves them.

    ``alone``: the caller holds the directory (``locked``).

    Raises:
        BootstrapError: they are of an earlier layout, and another process serves them.
        StoreError: the layout is of another version, or the database cannot be read.
    """
    if await database.layout() not in STEPS:
        # Today's, or one that is refused: nothing is changed.
        await database.upgrade(STEPS, LAYOUT)
        return
    try:
        # What is elsewhere is held by its own lock; the commands that use it may have no data directory.
        with contextlib.nullcontext() if alone or not database.sqlite else locked(data_dir):
            async with database.held():
                await database.upgrade(STEPS, LAYOUT)
    except (InUse, Served):
        raise BootstrapError(
            f"The registry of {data_dir} is of an earlier version, and a sidecar serves it; stop that first, "
            "then it is brought up to date."
        ) from None


def check_database(data_dir: Path, database_url: str | None) -> None:
    """Refuse a directory without a database of its own, unless the database is elsewhere.

    Raises:
        BootstrapError
    """
    if database_url is not None:
        return
    if not (data_dir / DATABASE).is_file():
        elsewhere = (data_dir / SIGNING_KEY).is_file()
        hint = "name its database with --database" if elsewhere else "make one with evcharge-sidecar init first"
        raise BootstrapError(f"There is no registry in {data_dir}; {hint}.")
    check_private(data_dir / DATABASE)


async def public_url(database: Database) -> str:
    """Where others reach the sidecar, as ``init`` was told."""
    async with Store(database).reading() as reader:
        return (await reader.meta()).get("url", DEFAULT_URL).decode()


def open_database(data_dir: Path, database_url: str | None) -> Database:
    """The database of this directory, or the one that the URL names. Raises StoreError."""
    return Database.file(data_dir / DATABASE) if database_url is None else Database.open(database_url)


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory: two registries on one database would not hear of each other's revocations.

    Raises:
        InUse: another process holds it.
        BootstrapError: it is not there.
    """
    try:
        handle = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BootstrapError(f"Cannot open {data_dir}: {error.strerror}; run evcharge-sidecar init first.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"Another evcharge-sidecar serves {data_dir}; stop it first.") from None
        yield
    finally:
        os.close(handle)


def check_url(url: str) -> str:
    """The registry's URL without a trailing slash.

    Raises:
        BootstrapError: it is none.
    """
    try:
        parsed = URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host) and not parsed.query_string
    except ValueError:
        usable = False
    if not usable:
        raise BootstrapError(f"{url!r} is not a URL like http://127.0.0.1:8080.")
    return url.rstrip("/")


def write_private(path: Path, content: bytes) -> None:
    """A new file that only its owner reads, on disk when this returns. Raises OSError, also when it exists.

    It appears with all of its content or not at all: what a kill or a full disk leaves behind is a draft.
    """
    draft = path.with_name(path.name + DRAFT)
    draft.unlink(missing_ok=True)
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # Unlike a renaming this fails where a file of this name is.
        path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_private(path: Path) -> bytes:
    """A file that only its owner reads.

    Raises:
        BootstrapError: it is missing or others can read it.
    """
    check_private(path)
    return path.read_bytes()


def check_private(path: Path) -> None:
    """Refuse a file that group or others may touch.

    Raises:
        BootstrapError
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BootstrapError(f"Cannot read {path}: {error.strerror}; restore it from your backup.") from error
    if mode & _OPEN_BITS:
        raise BootstrapError(f"{path} can be read by others; run chmod 600 {path}.")


def _prepare(data_dir: Path) -> None:
    """A directory of our own: new, or empty, or already private and without a registry."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    present = sorted(entry.name for entry in data_dir.iterdir())
    taken = [name for name in FILES if name in present]
    if taken:
        raise BootstrapError(
            f"{data_dir} holds a registry already ({', '.join(taken)}); run it, or choose another directory."
        )
    if data_dir.stat().st_mode & _OPEN_BITS:
        if present:
            raise BootstrapError(f"{data_dir} is in use and open to others; choose a new directory.")
        data_dir.chmod(0o700)


def _public_of(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _read_seed(path: Path) -> bytes:
    try:
        seed = b64url_decode(read_private(path).decode().strip())
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise BootstrapError(f"{path} is damaged; restore it from your backup.")
    return seed
