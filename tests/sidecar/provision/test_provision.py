"""Provisioning: everything from nothing, nothing twice, and every point at which a run may be killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from evcharge.sidecar import bootstrap
from evcharge.sidecar.bootstrap import BootstrapError, initialise, locked, open_registry
from evcharge.sidecar.database import Database, meta_table
from evcharge.sidecar.layout import LAYOUT
from evcharge.sidecar.oauth.clients import Clients
from evcharge.sidecar.provision import keeping, site
from evcharge.sidecar.provision.keeping import Busy, Report, alone
from evcharge.sidecar.provision.plan import Account, BadPlan, Certificate, Plan
from evcharge.sidecar.provision.site import provision
from evcharge.sidecar.registry.rules import Registry
from protocol.credentials import Credential, Role, b64url_decode
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


@pytest.fixture
def place(tmp_path: Path, database_url: str | None) -> Place:
    return Place(tmp_path, database_url)


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_everything_from_nothing_and_nothing_twice(place: Place) -> None:
    before = os.umask(0)
    try:
        first = await place.run()
    finally:
        os.umask(before)
    assert first.made == ["registry", *[path for path in first.made if path in SECRETS | PUBLIC]]
    assert set(first.made) == {"registry"} | SECRETS | PUBLIC
    assert first.present == first.rotated == first.renewed == first.notes == first.problems == []
    await place.check()
    for folder in [place.data, *(path for path in place.out.rglob("*") if path.is_dir())]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    # Who gets a folder finds in it all that it needs, and of others nothing.
    ca = (place.out / "authority/ca.pem").read_bytes()
    for folder in {(place.out / path).parent for path in SECRETS} - {place.out / "authority"}:
        assert (folder / "ca.pem").read_bytes() == ca
    assert {file.name for file in (place.out / "charge-points/CP-1").iterdir()} == {
        "CP-1.cp.json",
        "CP-1.monitor.json",
        "ca.pem",
    }
    assert (place.out / "central/central.json").read_bytes() == (place.data / "central.json").read_bytes()

    files = place.files()
    again = await place.run()
    assert set(again.present) == set(first.made)
    assert again.made == again.rotated == again.renewed == again.notes == again.problems == []
    assert place.files() == files


async def test_no_secret_is_in_the_report(here: Place) -> None:
    shown = msgspec.json.encode(await here.run()).decode()
    for path in SECRETS:
        for word in (here.out / path).read_text().split('"'):
            assert len(word) < 20 or word.startswith("http") or word not in shown


async def test_what_the_plan_has_more_is_made_and_the_rest_stays(here: Place) -> None:
    await here.run()
    files = here.files()
    more = msgspec.structs.replace(
        PLAN, drivers=["anna", "bert"], accounts=PLAN.accounts | {"x": Account(role="viewer")}
    )
    report = await here.run(more)
    assert set(report.made) == {"drivers/bert/bert.json", "accounts/x/x.json"}
    assert {path: mark for path, mark in here.files().items() if path in files} == files
    # What the plan has no more is let be: to revoke is a decision of its own.
    assert (await here.run(PLAN)).problems == []


# Every place at which something outside is changed; a kill comes before or after it.
STEPS = [
    (bootstrap, "write_private"),
    (site, "write_private"),
    (site, "begin"),
    (site, "finish"),
    (Registry, "register"),
    (Registry, "rotate"),
    (Clients, "add"),
    (Clients, "rotate"),
    (site, "replace_private"),
]


def _count_steps(monkeypatch: pytest.MonkeyPatch, kill_at: int | None) -> list[str]:
    """Counts what changes something; the ``kill_at``-th half-step kills: even ones before, odd ones after."""
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if kill_at is not None and len(seen) > kill_at:
            raise Killed(name)

    def around(holder: Any, name: str) -> None:
        real = getattr(holder, name)

        if isinstance(holder, type):

            async def slow(*given: Any, **more: Any) -> Any:
                step(f"before {name}")
                answer = await real(*given, **more)
                step(f"after {name}")
                return answer

            monkeypatch.setattr(holder, name, slow)
            return

        def quick(*given: Any, **more: Any) -> Any:
            step(f"before {name}")
            answer = real(*given, **more)
            step(f"after {name}")
            return answer

        monkeypatch.setattr(holder, name, quick)

    for holder, name in STEPS:
        around(holder, name)
    return seen


SMALL = Plan(
    url="https://sidecar:8080",
    drivers=["anna"],
    accounts={"admin": Account(role="admin")},
    certificates={"sidecar": Certificate(names=["sidecar"])},
)
BARE = Plan(url="https://sidecar:8080")


@pytest.mark.tool
async def test_a_kill_at_any_point_is_mended_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No power is cut here: what is written is seen by the next run.
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    with pytest.MonkeyPatch.context() as patch:
        seen = _count_steps(patch, None)
        await Place(tmp_path / "whole").run(SMALL)
    assert {f"{when} {name}" for when in ("before", "after") for _, name in STEPS if name != "rotate"} <= set(seen)
    for kill_at, name in enumerate(seen):
        here = Place(tmp_path / str(kill_at))
        with pytest.MonkeyPatch.context() as patch:
            _count_steps(patch, kill_at)
            with pytest.raises(Killed):
                await here.run(SMALL)
        report = await here.run(SMALL)
        assert report.problems == report.amiss == report.notes == report.rotated == [], (kill_at, name)
        await _check_small(here)


async def _check_small(here: Place) -> None:
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


async def test_killed_again_and_again(tmp_path: Path) -> None:
    here = Place(tmp_path)
    for name in ("after register", "after rotate", "after rotate", "before finish"):
        with pytest.MonkeyPatch.context() as patch:
            _kill_at_name(patch, name)
            with pytest.raises(Killed):
                await here.run(SMALL)
    report = await here.run(SMALL)
    assert report.problems == report.rotated == []
    await _check_small(here)


def _kill_at_name(patch: pytest.MonkeyPatch, wanted: str) -> None:
    holder, name = {
        "after register": (Registry, "register"),
        "after rotate": (Registry, "rotate"),
        "before finish": (site, "finish"),
    }[wanted]
    real = getattr(holder, name)
    if wanted == "before finish":

        def quick(file: Path) -> None:
            if file.name == "anna.json" and file.exists():
                raise Killed(wanted)
            real(file)

        patch.setattr(holder, name, quick)
        return

    async def slow(*given: Any, **more: Any) -> Any:
        answer = await real(*given, **more)
        if given[1] != Role.GATEWAY:
            raise Killed(wanted)
        return answer

    patch.setattr(holder, name, slow)


async def test_a_lost_file_is_said_and_made_anew_on_request(place: Place) -> None:
    await place.run()
    old = Credential.from_json((place.out / "drivers/anna/anna.json").read_bytes())
    (place.out / "drivers/anna/anna.json").unlink()
    (place.out / "accounts/desk/desk.json").unlink()
    files = place.files()
    report = await place.run()
    assert report.problems == []
    assert [sentence.partition(" ")[0] for sentence in sorted(report.amiss)] == [
        "accounts/desk/desk.json",
        "drivers/anna/anna.json",
    ]
    assert all(f"--rotate {folder}" in " ".join(report.amiss) for folder in ("drivers/anna", "accounts/desk"))
    assert place.files() == files
    report = await place.run(PLAN, "drivers/anna", "accounts/desk")
    assert set(report.rotated) == {"drivers/anna/anna.json", "accounts/desk/desk.json"}
    assert report.problems == []
    await place.check()
    opened = await place.opened()
    assert await opened.registry.verify_password(old.username, old.password) is None
    await opened.store.close()


async def test_rotating_what_is_there_changes_nothing(here: Place) -> None:
    await here.run()
    files = here.files()
    report = await here.run(PLAN, "drivers/anna")
    assert report.rotated == [] and "nothing is lost there" in report.notes[0]
    assert here.files() == files
    with pytest.raises(BadPlan, match="no such folder"):
        await here.run(PLAN, "drivers/bert")


async def test_only_the_lost_half_of_a_charge_point_is_rotated(here: Place) -> None:
    await here.run()
    (here.out / "charge-points/CP-1/CP-1.monitor.json").unlink()
    engine = (here.out / "charge-points/CP-1/CP-1.cp.json").read_bytes()
    report = await here.run(PLAN, "charge-points/CP-1")
    assert report.rotated == ["charge-points/CP-1/CP-1.monitor.json"]
    assert (here.out / "charge-points/CP-1/CP-1.cp.json").read_bytes() == engine
    await here.check()


async def test_who_was_revoked_stays_so_until_asked_for(here: Place) -> None:
    await here.run()
    opened = await here.opened()
    await opened.registry.revoke("driver-anna")
    await opened.store.close()
    report = await here.run()
    assert report.problems == [] and report.notes == ["drivers/anna/anna.json: driver-anna was revoked."]
    (here.out / "drivers/anna/anna.json").unlink()
    report = await here.run()
    assert report.problems == [] and "--rotate drivers/anna" in report.notes[0]
    report = await here.run(PLAN, "drivers/anna")
    assert report.rotated == ["drivers/anna/anna.json"]
    await here.check()


async def test_files_of_another_registry_are_found(here: Place, tmp_path: Path) -> None:
    await here.run()
    other = Place(tmp_path / "other")
    other.out = here.out
    files = here.files()
    report = await other.run()
    assert "central/central.json belongs to another registry" in " ".join(report.problems)
    assert (len(report.problems), len(report.amiss)) == (1, 6 + 2)
    assert here.files() == files


async def test_damaged_files_are_said_and_let_be(here: Place) -> None:
    await here.run()
    for path in ("drivers/anna/anna.json", "accounts/desk/desk.json", "servers/proxy/tls.key"):
        (here.out / path).write_bytes(b"nonsense")
    files = here.files()
    report = await here.run()
    assert [problem.partition(" ")[0] for problem in report.problems] == ["servers/proxy/tls.key"]
    assert [sentence.partition(" ")[0] for sentence in report.amiss] == [
        "drivers/anna/anna.json",
        "accounts/desk/desk.json",
    ]
    assert here.files() == files


async def _rotated(opened: bootstrap.Opened, _now_ms: int) -> tuple[str, bytes]:
    return "drivers/anna/anna.json", await opened.registry.rotate("driver-anna", 0)


async def _registered_anew(opened: bootstrap.Opened, _now_ms: int) -> tuple[str, bytes]:
    await opened.registry.revoke("cp-cp-1")
    return "charge-points/CP-1/CP-1.cp.json", await opened.registry.register(Role.CP, "CP-1")


async def _client_rotated(opened: bootstrap.Opened, now_ms: int) -> tuple[str, bytes]:
    secret = await Clients(opened.store.database, os.urandom).rotate("desk", now_ms, 0)
    said = {
        "client_id": "desk",
        "client_secret": secret,
        "token_url": "https://localhost:8443/oauth2/token",
    }
    return "accounts/desk/desk.json", msgspec.json.encode(said)


@pytest.mark.parametrize("change", [_rotated, _registered_anew, _client_rotated])
async def test_a_credential_that_was_changed_elsewhere_holds_nothing_back(here: Place, change: Any) -> None:
    await here.run()
    opened = await here.opened()
    path, fresh = await change(opened, here.clock.steady_ms())
    await opened.store.close()
    folder = path.rpartition("/")[0]
    report = await here.run()
    assert report.problems == report.made == report.rotated == []
    (sentence,) = report.amiss
    assert sentence.startswith(path) and "put the present one there" in sentence and f"--rotate {folder}" in sentence
    # The one way that the sentence names.
    (here.out / path).write_bytes(fresh)
    report = await here.run()
    assert report.problems == report.amiss == report.rotated == []
    await here.check()
    # The other one: no step of it says to take the other again.
    (here.out / path).write_bytes(b"{}")
    assert f"--rotate {folder}" in (await here.run()).amiss[0]
    (here.out / path).unlink()
    report = await here.run(PLAN, folder)
    assert (report.rotated, report.amiss, report.problems) == ([path], [], [])
    await here.check()


async def test_hand_outs_of_what_the_registry_does_not_know_are_deleted_and_made_anew(here: Place) -> None:
    await here.run(SMALL)
    opened = await here.opened()
    await Clients(opened.store.database, os.urandom).remove("admin")
    await opened.store.close()
    (here.out / "drivers/bert").mkdir(mode=0o700)
    (here.out / "drivers/anna/anna.json").rename(here.out / "drivers/bert/bert.json")
    plan = msgspec.structs.replace(SMALL, drivers=["bert"])
    report = await here.run(plan)
    assert report.problems == [] and len(report.amiss) == 2
    for path in ("drivers/bert/bert.json", "accounts/admin/admin.json"):
        (sentence,) = [each for each in report.amiss if each.startswith(path)]
        assert "delete it and run this again" in sentence and "--rotate" not in sentence
        (here.out / path).unlink()
    report = await here.run(plan)
    assert (report.made, report.amiss) == (["accounts/admin/admin.json", "drivers/bert/bert.json"], [])


async def test_a_hand_out_that_others_can_read_is_said_and_holds_nothing_back(here: Place) -> None:
    await here.run()
    for path in ("drivers/anna/anna.json", "accounts/desk/desk.json"):
        (here.out / path).chmod(0o644)
    report = await here.run()
    assert report.problems == [] and len(report.amiss) == 2
    assert all("chmod 600" in sentence for sentence in report.amiss)


async def _make_older(opened: bootstrap.Opened) -> None:
    """As the version before last left it: no step from there changes anything that is there."""
    async with opened.store.database.writing() as connection:
        await connection.execute(update(meta_table).where(meta_table.c.name == "schema").values(value=b"2"))


async def test_the_tables_of_a_sidecar_that_serves_stay_as_they_are(place: Place) -> None:
    await place.run(SMALL)
    serving = await place.opened()
    try:
        await _make_older(serving)
        with locked(place.data):
            async with serving.store.database.held():
                with pytest.raises(BootstrapError, match="of an earlier version, and a sidecar serves it"):
                    await place.run(SMALL)
                assert await serving.store.database.layout() == b"2"
        assert (await place.run(SMALL)).problems == []
        assert await serving.store.database.layout() == LAYOUT
    finally:
        await serving.store.close()


async def test_half_a_registry_of_ours_is_made_anew_wherever_its_tables_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    steps = [(Database, "create"), (bootstrap, "write_private"), (Registry, "register")]
    before = place.files()
    kill_at = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.sidecar.provision.test_provision.STEPS", steps)
            seen = _count_steps(patch, kill_at)
            try:
                await place.run(BARE)
            except Killed:
                pass
            else:
                break
        assert (await place.run(BARE)).problems == [], seen[-1]
        opened = await place.opened()
        rows = (await opened.registry.page("", 9, None))[0]
        assert [row.username for row in rows] == ["central", "sidecar"], seen[-1]
        said = msgspec.json.decode((place.data / "central.json").read_bytes())
        signer = b64url_decode(said["registry"]["public_key"])
        assert await opened.store.database.undo(bootstrap.SIGNED_BY, signer)
        await opened.store.close()
        shutil.rmtree(place.data)
        shutil.rmtree(place.out)
        assert place.files() == before
        kill_at += 1
    assert {"after create", "after register", "before write_private"} <= set(seen) and kill_at == len(seen)


async def test_tables_of_another_registry_are_never_cleared(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/elsewhere.sqlite"
    theirs, ours = Place(tmp_path / "theirs", url), Place(tmp_path / "ours", url)
    await theirs.run(BARE)
    for _ in range(2):
        with pytest.raises(BootstrapError, match="holds a registry already"):
            await ours.run(BARE)
    # Also where a run was killed before it could see that.
    with pytest.MonkeyPatch.context() as patch:

        async def killed(*_given: Any) -> None:
            raise Killed

        patch.setattr(Database, "create", killed)
        with pytest.raises(Killed):
            await ours.run(BARE)
    with pytest.raises(BootstrapError, match="holds a registry already"):
        await ours.run(BARE)
    assert (await theirs.run(BARE)).problems == []


async def test_a_clock_that_is_behind_replaces_nothing(here: Place) -> None:
    await here.run()
    files = here.files()
    here.clock.advance(-timedelta(days=40 * 365).total_seconds())
    report = await here.run()
    assert "authority/ca.pem is good from 2025-11-" in report.problems[0] and "set the clock" in report.problems[0]
    assert report.renewed == [] and here.files() == files
    # Made later than the CA: a clock between the two knows the CA alone.
    here.clock.advance(timedelta(days=40 * 365 + 300).total_seconds())
    assert set((await here.run()).renewed) == {"servers/sidecar/tls.crt", "servers/proxy/tls.crt"}
    files = here.files()
    here.clock.advance(-timedelta(days=200).total_seconds())
    report = await here.run()
    assert [problem.partition(" ")[0] for problem in report.problems] == [
        "servers/sidecar/tls.crt",
        "servers/proxy/tls.crt",
    ]
    assert report.renewed == [] and here.files() == files


async def test_a_served_registry_is_not_written_beside_its_sidecar(here: Place) -> None:
    await here.run()
    more = msgspec.structs.replace(PLAN, drivers=["anna", "bert"], passwords=["grafana", "more"])
    with locked(here.data):
        # Nothing to register: it may run while a sidecar serves, as a second `up` does.
        assert (await here.run()).problems == []
        with pytest.raises(BootstrapError, match="stop it first"):
            await here.run(more)
    assert not (here.out / "drivers/bert").exists() or not list((here.out / "drivers/bert").iterdir())
    assert (await here.run(more)).problems == []


async def test_one_run_at_a_time(here: Place) -> None:
    await here.run()
    with alone(here.out), pytest.raises(Busy, match="wait for its end"):
        await here.run()


async def test_a_registry_that_init_made_is_taken_as_it_is(here: Place) -> None:
    await initialise(here.data, PLAN.url, clock=here.clock, entropy=os.urandom)
    report = await here.run()
    assert report.present == ["registry"] and set(report.made) == SECRETS | PUBLIC
    await here.check()


async def test_a_registry_for_another_url_is_not_used(here: Place) -> None:
    await initialise(here.data, "https://elsewhere", clock=here.clock, entropy=os.urandom)
    with pytest.raises(BadPlan, match="made for https://elsewhere"):
        await here.run()


async def test_half_a_registry_that_nobody_began_here_is_never_cleared(here: Place) -> None:
    await here.run()
    (here.data / "sidecar.json").unlink()
    files = here.files()
    with pytest.raises(BootstrapError, match=r"sidecar\.json"):
        await here.run()
    assert here.files() == files


async def test_certificates_are_renewed_in_time_and_their_keys_stay(here: Place) -> None:
    await here.run()
    keys = {path: (here.out / path).read_bytes() for path in SECRETS if path.startswith(("servers", "authority"))}
    here.clock.advance(timedelta(days=200).total_seconds())
    assert (await here.run()).renewed == []
    here.clock.advance(timedelta(days=100).total_seconds())
    assert set((await here.run()).renewed) == {"servers/sidecar/tls.crt", "servers/proxy/tls.crt"}
    assert (await here.run()).renewed == []
    here.clock.advance(timedelta(days=9 * 365).total_seconds())
    assert set((await here.run()).renewed) == PUBLIC
    assert {path: (here.out / path).read_bytes() for path in keys} == keys
    assert (here.out / "central/ca.pem").read_bytes() == (here.out / "authority/ca.pem").read_bytes()


async def test_other_names_and_a_lost_key_make_another_certificate(here: Place) -> None:
    await here.run()
    wider = msgspec.structs.replace(
        PLAN, certificates=PLAN.certificates | {"proxy": Certificate(names=["localhost", "site.example"])}
    )
    assert (await here.run(wider)).renewed == ["servers/proxy/tls.crt"]
    (here.out / "servers/sidecar/tls.key").unlink()
    report = await here.run(wider)
    assert (report.made, report.renewed) == (["servers/sidecar/tls.key"], ["servers/sidecar/tls.crt"])
    (here.out / "authority/ca-key.pem").unlink()
    report = await here.run(wider)
    assert "authority/ca-key.pem is lost" in report.problems[0] and report.made == []


async def test_a_plan_of_names_alone_needs_no_ca(here: Place) -> None:
    await here.run(Plan(url="http://127.0.0.1:8080", drivers=["anna"]))
    assert {path.name for path in here.out.iterdir()} == {"central", "drivers"}
    assert {path.name for path in (here.out / "drivers/anna").iterdir()} == {"anna.json"}
