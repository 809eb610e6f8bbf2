"""A site to provision, and what has to be there then."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import msgspec

from evcharge.sidecar import bootstrap
from evcharge.sidecar.bootstrap import open_registry
from evcharge.sidecar.oauth.clients import Clients
from evcharge.sidecar.provision import keeping
from evcharge.sidecar.provision.keeping import Report
from evcharge.sidecar.provision.plan import Account, Certificate, Plan
from evcharge.sidecar.provision.site import provision
from protocol.credentials import Credential
from tests.sidecar.conftest import HandClock

PLAN = Plan(
    url="https://sidecar:8080",
    public_url="https://localhost:8443",
    charge_points=["CP-1", "CP:2"],
    drivers=["anna"],
    gateways=["events"],
    passwords=["grafana"],
    accounts={"admin": Account(role="admin"), "desk": Account(role="viewer", about="a screen")},
    certificates={"sidecar": Certificate(names=["sidecar"]), "proxy": Certificate(names=["localhost", "127.0.0.1"])},
)
SECRETS = {
    "central/central.json",
    "charge-points/CP-1/CP-1.cp.json",
    "charge-points/CP-1/CP-1.monitor.json",
    "charge-points/CP_2/CP_2.cp.json",
    "charge-points/CP_2/CP_2.monitor.json",
    "drivers/anna/anna.json",
    "gateways/events/events.json",
    "accounts/admin/admin.json",
    "accounts/desk/desk.json",
    "authority/ca-key.pem",
    "servers/sidecar/tls.key",
    "servers/proxy/tls.key",
    "passwords/grafana/password",
}
PUBLIC = {"authority/ca.pem", "servers/sidecar/tls.crt", "servers/proxy/tls.crt"}


class Killed(BaseException):
    """As SIGKILL: nothing after it happens, and nothing cleans up."""


class Place:
    """A data directory, a folder of secrets, and a clock."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        self.data = folder / "data"
        self.out = folder / "out"
        self.clock = HandClock()
        self.database_url = database_url

    async def run(self, plan: Plan = PLAN, *rotate: str) -> Report:
        return await provision(
            self.data,
            plan,
            self.out,
            clock=self.clock,
            entropy=os.urandom,
            database_url=self.database_url,
            rotate=rotate,
        )

    def files(self) -> dict[str, str]:
        """Every file below both folders that is no database, by its path: a hash of its content."""
        found = {}
        for root in (self.data, self.out):
            for file in root.rglob("*"):
                if file.is_file() and not file.name.startswith("registry.sqlite"):
                    found[str(file.relative_to(root.parent))] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found

    async def opened(self) -> bootstrap.Opened:
        return await open_registry(self.data, clock=self.clock, entropy=os.urandom, database_url=self.database_url)

    async def check(self) -> None:
        """Every file of the plan is there, private, and good: what holds it is let in."""
        opened = await self.opened()
        try:
            for path in SECRETS:
                file = self.out / path
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, path
                if file.suffix != ".json" or path.startswith(("accounts", "central")):
                    continue
                held = Credential.from_json(file.read_bytes())
                live = await opened.registry.verify_password(held.username, held.password)
                assert live is not None, path
                # One good key: what a broken run left in the registry is good no more.
                assert list(live.keys) == [held.epoch], path
            clients = Clients(opened.store.database, os.urandom)
            for name, account in PLAN.accounts.items():
                said = msgspec.json.decode((self.out / f"accounts/{name}/{name}.json").read_bytes())
                assert said["token_url"] == "https://localhost:8443/oauth2/token"
                found = await clients.authenticate(name, said["client_secret"], self.clock.steady_ms())
                assert found is not None and found.scopes == account.wanted
        finally:
            await opened.store.close()
        assert not list(self.out.rglob(f"*{keeping.PENDING}")) + list(self.out.rglob(f"*{bootstrap.DRAFT}"))


SMALL = Plan(
    url="https://sidecar:8080",
    drivers=["anna"],
    accounts={"admin": Account(role="admin")},
    certificates={"sidecar": Certificate(names=["sidecar"])},
)
BARE = Plan(url="https://sidecar:8080")


async def check_small(here: Place) -> None:
    opened = await here.opened()
    try:
        held = Credential.from_json((here.out / "drivers/anna/anna.json").read_bytes())
        live = await opened.registry.verify_password(held.username, held.password)
        assert live is not None and list(live.keys) == [held.epoch]
        said = msgspec.json.decode((here.out / "accounts/admin/admin.json").read_bytes())
        clients = Clients(opened.store.database, os.urandom)
        assert await clients.authenticate("admin", said["client_secret"], here.clock.steady_ms()) is not None
    finally:
        await opened.store.close()
    left = [path for path in here.out.rglob("*") if path.suffix in (keeping.PENDING, bootstrap.DRAFT)]
    assert left == []
    assert (here.out / "central/central.json").read_bytes() == (here.data / "central.json").read_bytes()
