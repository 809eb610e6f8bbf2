"""The data directory: what init makes, who may read it, and what run refuses."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from evcharge.sidecar import bootstrap
from evcharge.sidecar.assembly import assemble
from evcharge.sidecar.bootstrap import FILES, BootstrapError, initialise, locked, open_registry
from protocol.credentials import Credential, Role
from tests.sidecar.conftest import HandClock

URL = "http://127.0.0.1:8080"


async def make(directory: Path) -> bootstrap.Made:
    return await initialise(directory, URL, clock=HandClock(), entropy=os.urandom)


async def open_(directory: Path) -> bootstrap.Opened:
    return await open_registry(directory, clock=HandClock(), entropy=os.urandom)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022])
async def test_only_the_owner_can_read_what_init_makes(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = await make(tmp_path / "deep" / "r")
    finally:
        os.umask(before)
    directory = Path(made.data_dir)
    assert mode(directory) == 0o700
    assert {path.name for path in directory.iterdir()} >= set(FILES)
    assert all(mode(path) == 0o600 for path in directory.iterdir())
    shown = msgspec.json.encode(made).decode()
    assert (directory / "operator.token").read_text().strip() not in shown


async def test_the_credentials_fit_together(tmp_path: Path) -> None:
    made = await make(tmp_path / "r")
    whole = msgspec.json.decode(Path(made.central).read_bytes())
    central = Credential.from_json(msgspec.json.encode(whole["credential"]))
    sidecar = Credential.from_json(Path(made.sidecar).read_bytes())
    assert (central.role, central.username, central.epoch) == (Role.CENTRAL, "central", 1)
    assert (sidecar.role, sidecar.entity) == (Role.GATEWAY, "sidecar")
    assert sidecar.central_public_key == central.central_public_key == central.public_key()
    assert set(whole["registry"]) == {"url", "public_key", "service_token"}
    assert whole["registry"]["url"] == URL
    opened = await open_(tmp_path / "r")
    assert opened.credential == sidecar
    assert opened.registry.rev == 2
    await opened.store.close()


async def test_a_registry_goes_on_after_a_restart(tmp_path: Path) -> None:
    await make(tmp_path / "r")
    token = (tmp_path / "r" / "operator.token").read_text().strip()
    answers = []
    for entity in ("CP-1", "CP-2"):
        opened = await open_(tmp_path / "r")
        app = assemble(tmp_path / "r", opened, clock=HandClock(), entropy=os.urandom).application
        async with TestClient(TestServer(app)) as client:
            headers = {"Authorization": f"Bearer {token}"}
            async with client.post("/register", json={"entity": entity}, headers=headers) as response:
                answers.append(await response.json())
            async with client.get("/list", headers=headers) as response:
                listed = [row["username"] for row in (await response.json())["credentials"]]
        await opened.store.close()
    assert listed == ["central", "cp-cp-1", "cp-cp-2", "sidecar"]
    assert opened.registry.rev == 4
    assert answers[0]["central"] == answers[1]["central"]


async def test_a_second_init_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    await make(tmp_path / "r")
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    with pytest.raises(BootstrapError, match="holds a registry already"):
        await make(tmp_path / "r")
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


async def test_a_directory_that_others_use_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    (shared / "letter.txt").write_text("x")
    with pytest.raises(BootstrapError, match="open to others"):
        await make(shared)
    assert mode(shared) == 0o755
    (shared / "letter.txt").unlink()
    await make(shared)
    assert mode(shared) == 0o700


async def test_a_private_directory_with_other_files_is_used(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    own.chmod(0o700)
    (own / "notes").write_text("x")
    await make(own)
    assert (own / "notes").read_text() == "x"


async def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = bootstrap.write_private

    def full(path: Path, content: bytes) -> None:
        if path.name == "sidecar.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(bootstrap, "write_private", full)
    with pytest.raises(BootstrapError, match="No space left"):
        await make(tmp_path / "r")
    assert not {path.name for path in (tmp_path / "r").iterdir()} & set(FILES)
    monkeypatch.undo()
    await make(tmp_path / "r")


async def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BootstrapError, match="Cannot make"):
        await make(tmp_path / "file")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://host", "http://", "http://h:99999", "https://h/?a=1"])
async def test_a_bad_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(BootstrapError, match="is not a URL"):
        await initialise(tmp_path / "r", url, clock=HandClock(), entropy=os.urandom)
    assert not (tmp_path / "r").exists()


async def test_run_says_what_is_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="evcharge-sidecar init"):
        await open_(tmp_path / "r")
    with pytest.raises(BootstrapError, match="evcharge-sidecar init"), locked(tmp_path / "r"):
        pass
    await make(tmp_path / "r")
    key = tmp_path / "r" / "registry.key"
    for name in ("registry.key", "sidecar.json", "registry.sqlite"):
        (tmp_path / "r" / name).chmod(0o640)
        with pytest.raises(BootstrapError, match="chmod 600"):
            await open_(tmp_path / "r")
        (tmp_path / "r" / name).chmod(0o600)
    good = key.read_bytes()
    for damaged in (b"", b"xyz", b"\xff", b"A" * 43):
        key.write_bytes(damaged)
        with pytest.raises(BootstrapError, match=r"registry\.key"):
            await open_(tmp_path / "r")
    key.unlink()
    with pytest.raises(BootstrapError, match="backup"):
        await open_(tmp_path / "r")
    key.write_bytes(good)
    key.chmod(0o600)
    sidecar = tmp_path / "r" / "sidecar.json"
    kept = sidecar.read_bytes()
    sidecar.write_bytes(b"{}")
    with pytest.raises(BootstrapError, match=r"sidecar\.json"):
        await open_(tmp_path / "r")
    sidecar.write_bytes(kept)
    await (await open_(tmp_path / "r")).store.close()


async def test_a_database_of_another_kind_is_refused(tmp_path: Path) -> None:
    await make(tmp_path / "r")
    with sqlite3.connect(tmp_path / "r" / "registry.sqlite") as database:
        database.execute("UPDATE meta SET value = x'39' WHERE name = 'schema'")
    database.close()
    with pytest.raises(BootstrapError, match="another version"):
        await open_(tmp_path / "r")
    with sqlite3.connect(tmp_path / "r" / "registry.sqlite") as database:
        database.execute("DROP TABLE meta")
    database.close()
    with pytest.raises(BootstrapError, match="cannot be read"):
        await open_(tmp_path / "r")


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    await make(tmp_path / "r")
    first = locked(tmp_path / "r")
    with first, pytest.raises(BootstrapError, match="Another evcharge-sidecar"), locked(tmp_path / "r"):
        pass
    with locked(tmp_path / "r"):
        pass
