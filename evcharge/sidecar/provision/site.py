"""Making what a plan says and is not there yet, without a served registry::

    OUT/authority/ca.pem, ca-key.pem            the CA; its key is for provisioning alone
    OUT/central/central.json
    OUT/charge-points/ID/ID.cp.json, ID.monitor.json
    OUT/drivers/ID/ID.json
    OUT/gateways/ID/ID.json
    OUT/accounts/NAME/NAME.json                 name, secret and token URL
    OUT/servers/NAME/tls.crt, tls.key
    OUT/passwords/NAME/password
    OUT/…/ca.pem                                in each of these folders, where there are certificates

Each folder is what one program needs, and nothing of anybody else. Nothing is overwritten, with two exceptions: a
certificate that ends soon, and copies of the CA's certificate. A run that is killed anywhere is completed by the next
one: what the registry knows and nobody ever got is given a new secret, and tables of a registry that was not finished
are made anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from evcharge.net.clock import Clock
from evcharge.sidecar.bootstrap import (
    CENTRAL,
    FILES,
    SIDECAR,
    BootstrapError,
    Opened,
    clear_half_made,
    initialise,
    locked,
    open_registry,
    read_private,
    write_private,
)
from evcharge.sidecar.oauth.clients import ClientExists, Clients, OAuthClient
from evcharge.sidecar.oauth.endpoint import TOKEN_PATH
from evcharge.sidecar.provision.certificates import (
    BadCertificate,
    Pair,
    authority,
    fits,
    new_key,
    read_pair,
    renewed,
    server,
)
from evcharge.sidecar.provision.keeping import Report, alone, begin, begun, finish, private_folder, replace_private
from evcharge.sidecar.provision.plan import Account, BadPlan, Certificate, Plan, file_name
from evcharge.sidecar.registry.refusals import RegistryRefused
from evcharge.sidecar.registry.rules import Registry
from protocol.credentials import Credential, CredentialError, Role, b64url
from protocol.records import RegistryRecord

# Random bytes of a password.
PASSWORD_BYTES = 24
CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca-key.pem"
SERVER_CERTIFICATE = "tls.crt"
SERVER_KEY = "tls.key"
PASSWORD = "password"  # noqa: S105  # a file name
# Beside the registry while it is made for the first time.
REGISTRY = "registry"


class Peer(msgspec.Struct, frozen=True):
    """One credential of the plan."""

    role: Role
    entity: str
    folder: str
    name: str

    @property
    def path(self) -> str:
        """Below ``--out``."""
        return f"{self.folder}/{self.name}"


def peers(plan: Plan) -> list[Peer]:
    """Every credential that the plan asks for, Central's and the sidecar's own apart."""
    found = []
    for entity in plan.charge_points:
        name = file_name(entity)
        for role in (Role.CP, Role.MONITOR):
            found.append(Peer(role, entity, f"charge-points/{name}", f"{name}.{role.label}.json"))
    for role, kind, entities in (
        (Role.DRIVER, "drivers", plan.drivers),
        (Role.GATEWAY, "gateways", plan.gateways),
    ):
        for entity in entities:
            name = file_name(entity)
            found.append(Peer(role, entity, f"{kind}/{name}", f"{name}.json"))
    return found


async def provision(
    data_dir: Path,
    plan: Plan,
    out: Path,
    *,
    clock: Clock,
    entropy: Callable[[int], bytes],
    database_url: str | None = None,
    rotate: Iterable[str] = (),
) -> Report:
    """Make what is missing. ``rotate``: folders below ``out`` whose lost secrets are to be replaced.

    Raises:
        BadPlan: it contradicts the registry that is there, or ``rotate`` names no folder of it.
        BootstrapError: the registry cannot be made, opened or written, for example because a sidecar serves it.
        Busy: another run is at work.
        OSError, SQLAlchemyError
    """
    site = _Site(data_dir, plan, out, clock, entropy, database_url, frozenset(rotate))
    private_folder(out)
    with alone(out):
        await site.make()
    return site.report


class _Site:
    def __init__(
        self,
        data_dir: Path,
        plan: Plan,
        out: Path,
        clock: Clock,
        entropy: Callable[[int], bytes],
        database_url: str | None,
        rotate: frozenset[str],
    ) -> None:
        self._data_dir = data_dir
        self._plan = plan
        self._out = out
        self._clock = clock
        self._entropy = entropy
        self._database_url = database_url
        self._peers = peers(plan)
        self.report = Report()
        folders = {peer.folder for peer in self._peers} | {f"accounts/{file_name(name)}" for name in plan.accounts}
        for folder in sorted(rotate - folders):
            raise BadPlan(f"--rotate {folder}: the plan has no such folder; there are {', '.join(sorted(folders))}.")
        self._rotate = rotate
        self._rotated: set[str] = set()

    async def make(self) -> None:
        """Everything, in an order in which each step needs only those before it."""
        await self._make_registry()
        self._hand_central()
        async with self._opened() as opened:
            missing = [peer for peer in self._peers if not await self._is_there(opened, peer)]
            await self._make_accounts(opened)
        if missing:
            # A sidecar that serves would not hear of what is written beside it.
            with locked(self._data_dir):
                async with self._opened(alone=True) as opened, opened.store.database.held():
                    for peer in missing:
                        await self._make_peer(opened.registry, opened, peer)
        self._make_certificates()
        for name in self._plan.passwords:
            self._keep_new(f"passwords/{name}/{PASSWORD}", lambda: b64url(self._entropy(PASSWORD_BYTES)).encode())
        for folder in sorted(self._rotate - self._rotated):
            self.report.notes.append(
                f"{folder}: nothing is lost there, so nothing was rotated; delete first what is to be made anew."
            )

    # The registry.

    async def _make_registry(self) -> None:
        private_folder(self._data_dir)
        last = self._data_dir / SIDECAR
        mark = self._data_dir / REGISTRY
        with contextlib.ExitStack() as stack:
            if begun(mark) or not any((self._data_dir / name).exists() for name in FILES):
                stack.enter_context(locked(self._data_dir))
                # The last file of a registry: with it everything is there, and somebody may have used it since.
                if begun(mark) and not last.exists():
                    await clear_half_made(self._data_dir, self._database_url)
                if not last.exists():
                    begin(mark)
                    await initialise(
                        self._data_dir,
                        self._plan.url,
                        clock=self._clock,
                        entropy=self._entropy,
                        database_url=self._database_url,
                    )
                    self.report.made.append(REGISTRY)
                    finish(mark)
                    return
                finish(mark)
        self.report.present.append(REGISTRY)

    @contextlib.asynccontextmanager
    async def _opened(self, *, alone: bool = False) -> AsyncIterator[Opened]:
        opened = await open_registry(
            self._data_dir, clock=self._clock, entropy=self._entropy, database_url=self._database_url, alone=alone
        )
        try:
            if opened.url != self._plan.url.rstrip("/"):
                raise BadPlan(
                    f"The registry in {self._data_dir} was made for {opened.url}, the plan says {self._plan.url}; "
                    "put the registry's own into the plan, and tell Central another one with --registry."
                )
            yield opened
        finally:
            await opened.store.close()

    def _hand_central(self) -> None:
        content = read_private(self._data_dir / CENTRAL)
        file = self._keep_new(f"central/{CENTRAL}", lambda: content)
        if file.read_bytes() != content:
            self._problem(f"central/{CENTRAL}", "belongs to another registry; move it away and run this again")

    # Peers.

    async def _is_there(self, opened: Opened, peer: Peer) -> bool:
        """Whether nothing has to be registered for it; says so where that is so."""
        file = self._file(peer.path)
        record = await _record(opened, peer)
        if file.exists():
            finish(file)
            self._judge(opened, peer, file, record)
            return True
        if record is None or begun(file) or peer.folder in self._rotate:
            return False
        if record.status != "active":
            self.report.notes.append(
                f"{peer.path}: {record.username} was revoked, and stays so; take it out of the plan, or run this with "
                f"--rotate {peer.folder}."
            )
        else:
            self._amiss(
                peer.path,
                f"is lost, and the registry knows {record.username}; put it back, or run this with "
                f"--rotate {peer.folder}: then it gets a new secret, and the old one ends",
            )
        return True

    def _judge(self, opened: Opened, peer: Peer, file: Path, record: RegistryRecord | None) -> None:
        try:
            found = Credential.from_json(read_private(file))
        except (CredentialError, BootstrapError, OSError) as error:
            known = record is not None and record.status == "active"
            self._amiss(peer.path, f"cannot be used ({_why(error)}); {_remedy(peer.folder, known=known)}")
            return
        if record is None:
            self._amiss(peer.path, f"is no credential of this registry; {_remedy(peer.folder, known=False)}")
        elif record.status != "active" and found.username == record.username:
            self.report.notes.append(f"{peer.path}: {record.username} was revoked.")
        elif found.central_public_key != opened.credential.central_public_key:
            self._amiss(peer.path, f"is of another registry; {_remedy(peer.folder, known=True)}")
        elif found.public_key() not in record.keys.values():
            self._amiss(peer.path, f"is an old credential of {record.username}; {_remedy(peer.folder, known=True)}")
        else:
            self.report.present.append(peer.path)

    async def _make_peer(self, registry: Registry, opened: Opened, peer: Peer) -> None:
        file = self._file(peer.path)
        record = await _record(opened, peer)
        ours = begun(file)
        begin(file)
        try:
            if record is None or record.status != "active":
                answer = await registry.register(peer.role, peer.entity)
            else:
                # Begun and not finished: the secret of then never left the process that was killed.
                answer = await registry.rotate(record.username, 0)
        except RegistryRefused as error:
            finish(file)
            self._amiss(peer.path, f"was not made: {error.sentence.rstrip('.')}")
            return
        write_private(file, answer)
        finish(file)
        self._say_made(peer.folder, peer.path, rotated=record is not None and not ours)

    # Accounts.

    async def _make_accounts(self, opened: Opened) -> None:
        clients = Clients(opened.store.database, self._entropy)
        for name, account in self._plan.accounts.items():
            await self._make_account(clients, name, account)

    async def _make_account(self, clients: Clients, name: str, account: Account) -> None:
        folder = f"accounts/{file_name(name)}"
        path = f"{folder}/{file_name(name)}.json"
        file = self._file(path)
        now_ms = self._clock.steady_ms()
        known = await clients.get(name)
        if known is not None and (known.scopes, known.driver_id) != (account.wanted, account.driver):
            self.report.notes.append(
                f"accounts/{name}: may do something else than the plan says; to make it anew run evcharge-sidecar "
                f"client remove {name}, move its file away, and run this again."
            )
        if file.exists():
            finish(file)
            try:
                good = await _good(clients, name, file, now_ms)
            except (BootstrapError, OSError) as error:
                self._amiss(path, f"cannot be used ({_why(error)}); {_remedy(folder, known=known is not None)}")
                return
            if good:
                self.report.present.append(path)
            elif known is None:
                self._amiss(path, f"is of an account that was removed; {_remedy(folder, known=False)}")
            else:
                self._amiss(path, f"holds no good secret of {name} any more; {_remedy(folder, known=True)}")
            return
        if known is not None and not begun(file) and folder not in self._rotate:
            self._amiss(
                path,
                f"is lost, and {name} is known; put it back, or run this with --rotate {folder}: then it gets a new "
                "secret, and the old one ends",
            )
            return
        ours = begun(file)
        begin(file)
        secret = await clients.rotate(name, now_ms, 0)
        if secret is None:
            about, wanted = account.about, account.wanted
            made = OAuthClient(client_id=name, scopes=wanted, created_ms=now_ms, driver_id=account.driver, about=about)
            try:
                secret = await clients.add(made)
            except (ClientExists, ValueError) as error:
                finish(file)
                self._amiss(path, f"was not made: {_why(error)}")
                return
        url = (self._plan.public_url or self._plan.url).rstrip("/")
        said = {"client_id": name, "client_secret": secret, "token_url": url + TOKEN_PATH}
        write_private(file, msgspec.json.encode(said) + b"\n")
        finish(file)
        self._say_made(folder, path, rotated=known is not None and not ours)

    # Certificates.

    def _make_certificates(self) -> None:
        if not self._plan.certificates:
            return
        now = datetime.fromtimestamp(self._clock.steady_ms() / 1000, UTC)
        ca = self._authority(now)
        if ca is None:
            return
        for name, wanted in self._plan.certificates.items():
            self._server(name, wanted, ca, now)
        for folder in self._folders():
            copy = self._file(f"{folder}/{CA_CERTIFICATE}")
            if not copy.exists() or copy.read_bytes() != ca.pem:
                replace_private(copy, ca.pem)

    def _authority(self, now: datetime) -> Pair | None:
        path, key_path = f"authority/{CA_CERTIFICATE}", f"authority/{CA_KEY}"
        key, file = self._file(key_path), self._file(path)
        if file.exists() and not key.exists():
            self._problem(
                key_path,
                f"is lost; put it back, or move {path} away and run this again: then there is a new CA, and whoever "
                f"trusts the old one needs the new {CA_CERTIFICATE}",
            )
            return None
        self._keep_new(key_path, new_key)
        name = self._plan.authority.name
        try:
            if not file.exists():
                made = authority(read_private(key), name, now)
                write_private(file, made.pem)
                self.report.made.append(path)
                return made
            found = read_pair(read_private(key), file.read_bytes())
            if self._too_early(path, found, now):
                return None
            if not found.ends_soon(now):
                self.report.present.append(path)
                return found
            fresh = renewed(found, now)
            replace_private(file, fresh.pem)
        except BadCertificate as error:
            self._problem(path, f"{error}; put both back from one backup")
            return None
        self.report.renewed.append(path)
        return fresh

    def _server(self, name: str, wanted: Certificate, ca: Pair, now: datetime) -> None:
        path, key_path = f"servers/{name}/{SERVER_CERTIFICATE}", f"servers/{name}/{SERVER_KEY}"
        key = self._keep_new(key_path, new_key)
        file = self._file(path)
        try:
            fresh = server(read_private(key), wanted.names, wanted.days, ca, now)
        except BadCertificate as error:
            self._problem(key_path, f"{error}; move it away and run this again")
            return
        if not file.exists():
            write_private(file, fresh.pem)
            self.report.made.append(path)
            return
        try:
            found = read_pair(read_private(key), file.read_bytes())
            if self._too_early(path, found, now):
                return
            good = fits(found, wanted.names, ca) and not found.ends_soon(now)
        except BadCertificate:
            # Its key was lost and made anew: nobody pins it, the CA vouches for the next one.
            good = False
        if good:
            self.report.present.append(path)
            return
        replace_private(file, fresh.pem)
        self.report.renewed.append(path)

    def _too_early(self, path: str, found: Pair, now: datetime) -> bool:
        """Whether the clock is of a time before the certificate, as one without a battery is until somebody sets it."""
        early = found.begins_later(now)
        if early:
            begin = found.certificate.not_valid_before_utc
            self._problem(
                path,
                f"is good from {begin:%Y-%m-%d %H:%M} UTC on, and the clock says {now:%Y-%m-%d %H:%M}; set the clock "
                "and run this again (if the clock is right, move the certificate away first)",
            )
        return early

    # Files.

    def _folders(self) -> list[str]:
        """Every folder that one program gets."""
        return [
            "central",
            *sorted({peer.folder for peer in self._peers}),
            *(f"accounts/{file_name(name)}" for name in self._plan.accounts),
            *(f"servers/{name}" for name in self._plan.certificates),
            *(f"passwords/{name}" for name in self._plan.passwords),
        ]

    def _file(self, path: str) -> Path:
        """A file below ``out``, whose folder is there."""
        file = self._out / path
        private_folder(file.parent)
        return file

    def _keep_new(self, path: str, content: Callable[[], bytes]) -> Path:
        """The file, made if it is not there."""
        file = self._file(path)
        if file.exists():
            self.report.present.append(path)
        else:
            write_private(file, content())
            self.report.made.append(path)
        return file

    def _say_made(self, folder: str, path: str, *, rotated: bool) -> None:
        if rotated:
            self._rotated.add(folder)
        (self.report.rotated if rotated else self.report.made).append(path)

    def _problem(self, path: str, sentence: str) -> None:
        self.report.problems.append(f"{path} {sentence}.")

    def _amiss(self, path: str, sentence: str) -> None:
        self.report.amiss.append(f"{path} {sentence}.")


def _remedy(folder: str, *, known: bool) -> str:
    """What to do with a hand-out that is not good. ``known``: the registry has a live one in its place."""
    if not known:
        return "delete it and run this again, which makes one, or take it out of the plan"
    return (
        f"put the present one there (0600), or delete it and run this with --rotate {folder}, "
        "which ends the present one"
    )


def _why(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return (said or str(error)).rstrip(".")


async def _record(opened: Opened, peer: Peer) -> RegistryRecord | None:
    """The newest word on a peer: its live credential, else one that was revoked."""
    async with opened.store.reading() as reader:
        found = [record for record in await reader.find_entity(peer.entity) if record.role is peer.role]
    return next((record for record in found if record.status == "active"), found[-1] if found else None)


async def _good(clients: Clients, name: str, file: Path, now_ms: int) -> bool:
    try:
        said = msgspec.json.decode(read_private(file), type=dict[str, str])
    except msgspec.MsgspecError:
        return False
    if said.get("client_id") != name:
        return False
    return await clients.authenticate(name, said.get("client_secret", ""), now_ms) is not None
