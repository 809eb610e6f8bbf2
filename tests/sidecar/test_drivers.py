"""The sidecar speaks for a driver with a credential of its own making, never with somebody else's."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from evcharge.sidecar import drivers as module
from evcharge.sidecar.drivers import DriverCredentials
from tests.sidecar.conftest import Site


async def test_it_is_made_once_and_kept(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "drivers"
    first = await DriverCredentials(folder, site.opened.registry).get("anna")
    assert first is not None
    assert (first.role.label, first.entity) == ("driver", "anna")
    assert await DriverCredentials(folder, site.opened.registry).get("anna") == first
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    status, shown, _ = await site.ask("GET", "/get/anna", token=site.operator)
    assert (status, shown["username"]) == (200, "driver-anna")


async def test_of_many_who_ask_at_once_all_get_one(site: Site, tmp_path: Path) -> None:
    drivers = DriverCredentials(tmp_path / "drivers", site.opened.registry)
    found = await asyncio.gather(*(drivers.get("anna") for _ in range(5)))
    assert found[0] is not None
    assert all(one == found[0] for one in found)


async def test_a_driver_with_a_credential_of_his_own_is_left_alone(site: Site, tmp_path: Path) -> None:
    await site.register("anna", "driver")
    assert await DriverCredentials(tmp_path / "drivers", site.opened.registry).get("anna") is None


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 65, "a\n"])
async def test_a_name_that_nobody_can_have(site: Site, tmp_path: Path, name: str) -> None:
    assert await DriverCredentials(tmp_path / "drivers", site.opened.registry).get(name) is None
    assert not (tmp_path / "drivers").exists()


async def test_a_file_that_others_read_or_that_is_damaged_is_not_used(site: Site, tmp_path: Path) -> None:
    drivers = DriverCredentials(tmp_path / "drivers", site.opened.registry)
    await drivers.get("anna")
    file = tmp_path / "drivers" / "driver-anna.json"
    file.chmod(0o644)
    assert await drivers.get("anna") is None
    file.chmod(0o600)
    assert await drivers.get("anna") is not None
    file.write_bytes(b"{}")
    assert await drivers.get("anna") is None


async def test_a_credential_that_could_not_be_kept_is_made_anew(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a kill: the registration is durable, and its file was never written."""

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    drivers = DriverCredentials(tmp_path / "drivers", site.opened.registry)
    monkeypatch.setattr(module, "write_private", full)
    assert await drivers.get("anna") is None
    monkeypatch.undo()
    found = await DriverCredentials(tmp_path / "drivers", site.opened.registry).get("anna")
    assert found is not None
    person = {"username": "driver-anna", "password": found.password}
    assert (await site.ask("POST", "/verify", body=person))[0] == 200


async def test_one_that_an_operator_revoked_and_gave_to_the_driver_is_his(site: Site, tmp_path: Path) -> None:
    drivers = DriverCredentials(tmp_path / "drivers", site.opened.registry)
    await drivers.get("anna")
    (tmp_path / "drivers" / "driver-anna.json").unlink()
    await site.ask("DELETE", "/register/driver-anna", token=site.operator)
    his = await site.register("anna", "driver")
    assert await drivers.get("anna") is None
    person = {"username": "driver-anna", "password": his["password"]}
    assert (await site.ask("POST", "/verify", body=person))[0] == 200
