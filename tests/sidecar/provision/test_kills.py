"""Every point at which a run of provisioning may be killed: the next one mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evcharge.sidecar import bootstrap
from evcharge.sidecar.bootstrap import BootstrapError
from evcharge.sidecar.database import Database
from evcharge.sidecar.oauth.clients import Clients
from evcharge.sidecar.provision import accounts, hand_outs, issuing, site
from evcharge.sidecar.registry.rules import Registry
from protocol.credentials import Role, b64url_decode
from tests.sidecar.provision.support import BARE, SMALL, Killed, Place, check_small

# Every place at which something outside is changed; a kill comes before or after it.
STEPS: list[tuple[Any, str]] = [
    *((module, "write_private") for module in (bootstrap, hand_outs, accounts, issuing, site)),
    *((module, name) for module in (accounts, site) for name in ("begin", "finish")),
    (Registry, "register"),
    (Registry, "rotate"),
    (Clients, "add"),
    (Clients, "rotate"),
    (issuing, "replace_private"),
]


def _count_steps(
    monkeypatch: pytest.MonkeyPatch, kill_at: int | None, steps: Sequence[tuple[Any, str]] = STEPS
) -> list[str]:
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

    for holder, name in steps:
        around(holder, name)
    return seen


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
        await check_small(here)


async def test_killed_again_and_again(tmp_path: Path) -> None:
    here = Place(tmp_path)
    for name in ("after register", "after rotate", "after rotate", "before finish"):
        with pytest.MonkeyPatch.context() as patch:
            _kill_at_name(patch, name)
            with pytest.raises(Killed):
                await here.run(SMALL)
    report = await here.run(SMALL)
    assert report.problems == report.rotated == []
    await check_small(here)


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


async def test_half_a_registry_of_ours_is_made_anew_wherever_its_tables_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    steps: list[tuple[Any, str]] = [(Database, "create"), (bootstrap, "write_private"), (Registry, "register")]
    before = place.files()
    kill_at = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            seen = _count_steps(patch, kill_at, steps)
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


async def test_half_a_registry_that_nobody_began_here_is_never_cleared(here: Place) -> None:
    await here.run()
    (here.data / "sidecar.json").unlink()
    files = here.files()
    with pytest.raises(BootstrapError, match=r"sidecar\.json"):
        await here.run()
    assert here.files() == files
