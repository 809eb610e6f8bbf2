"""Provisioning: everything from nothing, nothing twice, and a registry that is there already."""

from __future__ import annotations

import os
import stat

import msgspec
import pytest
from sqlalchemy import update

from evcharge.sidecar.bootstrap import BootstrapError, Opened, initialise, locked
from evcharge.sidecar.database import meta_table
from evcharge.sidecar.layout import LAYOUT
from evcharge.sidecar.provision.keeping import Busy, alone
from evcharge.sidecar.provision.plan import Account, BadPlan
from tests.sidecar.provision.support import PLAN, PUBLIC, SECRETS, SMALL, Place


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


async def _make_older(opened: Opened) -> None:
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


async def test_a_served_registry_is_not_written_beside_its_sidecar(here: Place) -> None:
    await here.run()
    more = msgspec.structs.replace(PLAN, drivers=["anna", "bert"], passwords=["grafana", "more"])
    with locked(here.data):
        # Nothing to register: it may run while a sidecar serves, as a second `up` does.
        assert (await here.run()).problems == []
        report = await here.run(more)
        assert report.problems == [
            "drivers/bert/bert.json cannot be made while a sidecar serves this registry; stop it and run this again."
        ]
        # All the rest is done, and told.
        assert report.made == ["passwords/more/password"]
    assert not (here.out / "drivers/bert/bert.json").exists()
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
