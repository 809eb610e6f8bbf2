"""Hand-outs that are lost, old, damaged or of somebody else: said, and made anew when that is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evcharge.sidecar import bootstrap
from evcharge.sidecar.oauth.clients import Clients
from evcharge.sidecar.provision.plan import BadPlan
from protocol.credentials import Credential, Role
from tests.sidecar.provision.support import PLAN, SMALL, Place


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
