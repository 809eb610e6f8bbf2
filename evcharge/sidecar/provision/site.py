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
    InUse,
    Opened,
    clear_half_made,
    initialise,
    locked,
    open_registry,
    read_private,
    write_private,
)
from evcharge.sidecar.database import Served
from evcharge.sidecar.oauth.clients import Clients
from evcharge.sidecar.oauth.endpoint import TOKEN_PATH
from evcharge.sidecar.provision.accounts import Accounts
from evcharge.sidecar.provision.hand_outs import HandOuts, remedy, why
from evcharge.sidecar.provision.issuing import Issuing
from evcharge.sidecar.provision.keeping import Report, alone, begin, begun, finish, private_folder
from evcharge.sidecar.provision.plan import BadPlan, Plan, file_name
from evcharge.sidecar.registry.refusals import RegistryRefused
from evcharge.sidecar.registry.rules import Registry
from protocol.credentials import Credential, CredentialError, Role, b64url
from protocol.records import RegistryRecord

# Random bytes of a password.
PASSWORD_BYTES = 24
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
        return await site.make()


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
        self._clock = clock
        self._entropy = entropy
        self._database_url = database_url
        self._peers = peers(plan)
        folders = {peer.folder for peer in self._peers} | {f"accounts/{file_name(name)}" for name in plan.accounts}
        for folder in sorted(rotate - folders):
            raise BadPlan(f"--rotate {folder}: the plan has no such folder; there are {', '.join(sorted(folders))}.")
        self._out = HandOuts(out, rotate)

    async def make(self) -> Report:
        """Everything, in an order in which each step needs only those before it."""
        await self._make_registry()
        self._hand_central()
        async with self._opened() as opened:
            missing = [peer for peer in self._peers if not await self._is_there(opened, peer)]
            token_url = (self._plan.public_url or self._plan.url).rstrip("/") + TOKEN_PATH
            clients = Clients(opened.store.database, self._entropy)
            accounts = Accounts(self._out, clients, self._clock, token_url)
            for name, account in self._plan.accounts.items():
                await accounts.make(name, account)
        if self._plan.certificates:
            now = datetime.fromtimestamp(self._clock.steady_ms() / 1000, UTC)
            Issuing(self._out, now).make(self._plan.certificates, self._plan.authority.name, self._folders())
        for name in self._plan.passwords:
            self._out.keep_new(f"passwords/{name}/{PASSWORD}", lambda: b64url(self._entropy(PASSWORD_BYTES)).encode())
        if missing:
            await self._make_peers(missing)
        for folder in self._out.not_rotated:
            self._out.report.notes.append(
                f"{folder}: nothing is lost there, so nothing was rotated; delete first what is to be made anew."
            )
        return self._out.report

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
                    self._out.report.made.append(REGISTRY)
                    finish(mark)
                    return
                finish(mark)
        self._out.report.present.append(REGISTRY)

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
        file = self._out.keep_new(f"central/{CENTRAL}", lambda: content)
        if file.read_bytes() != content:
            self._out.problem(f"central/{CENTRAL}", "belongs to another registry; move it away and run this again")

    # Peers.

    async def _is_there(self, opened: Opened, peer: Peer) -> bool:
        """Whether nothing has to be registered for it; says so where that is so."""
        file = self._out.file(peer.path)
        record = await _record(opened, peer)
        if file.exists():
            finish(file)
            self._judge(opened, peer, file, record)
            return True
        if record is None or begun(file) or peer.folder in self._out.rotate:
            return False
        if record.status != "active":
            self._out.report.notes.append(
                f"{peer.path}: {record.username} was revoked, and stays so; take it out of the plan, or run this with "
                f"--rotate {peer.folder}."
            )
        else:
            self._out.amiss(
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
            self._out.amiss(peer.path, f"cannot be used ({why(error)}); {remedy(peer.folder, known=known)}")
            return
        if record is None:
            self._out.amiss(peer.path, f"is no credential of this registry; {remedy(peer.folder, known=False)}")
        elif record.status != "active" and found.username == record.username:
            self._out.report.notes.append(f"{peer.path}: {record.username} was revoked.")
        elif found.central_public_key != opened.credential.central_public_key:
            self._out.amiss(peer.path, f"is of another registry; {remedy(peer.folder, known=True)}")
        elif found.public_key() not in record.keys.values():
            self._out.amiss(peer.path, f"is an old credential of {record.username}; {remedy(peer.folder, known=True)}")
        else:
            self._out.report.present.append(peer.path)

    async def _make_peers(self, missing: list[Peer]) -> None:
        try:
            # A sidecar that serves would not hear of what is written beside it.
            with locked(self._data_dir):
                async with self._opened(alone=True) as opened, opened.store.database.held():
                    for peer in missing:
                        await self._make_peer(opened.registry, opened, peer)
        except (InUse, Served):
            self._out.problem(
                ", ".join(peer.path for peer in missing),
                "cannot be made while a sidecar serves this registry; stop it and run this again",
            )

    async def _make_peer(self, registry: Registry, opened: Opened, peer: Peer) -> None:
        file = self._out.file(peer.path)
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
            self._out.amiss(peer.path, f"was not made: {error.sentence.rstrip('.')}")
            return
        write_private(file, answer)
        finish(file)
        self._out.say_made(peer.folder, peer.path, rotated=record is not None and not ours)

    def _folders(self) -> list[str]:
        """Every folder that one program gets."""
        return [
            "central",
            *sorted({peer.folder for peer in self._peers}),
            *(f"accounts/{file_name(name)}" for name in self._plan.accounts),
            *(f"servers/{name}" for name in self._plan.certificates),
            *(f"passwords/{name}" for name in self._plan.passwords),
        ]


async def _record(opened: Opened, peer: Peer) -> RegistryRecord | None:
    """The newest word on a peer: its live credential, else one that was revoked."""
    async with opened.store.reading() as reader:
        found = [record for record in await reader.find_entity(peer.entity) if record.role is peer.role]
    return next((record for record in found if record.status == "active"), found[-1] if found else None)
