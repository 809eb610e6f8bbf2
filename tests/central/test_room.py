"""A disk that fills up: new charging stops long before, what runs goes on, and a ballast is there for the operator."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from evcharge.audit.doctor import examine
from evcharge.audit.files import OsFiles
from evcharge.audit.journal import JournalFailed
from evcharge.audit.room import BACK_BYTES, BALLAST, LOW_BYTES, SESSION_BYTES, keep_ballast, short_by
from evcharge.central import room as room_module
from evcharge.domain import events as e
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import Site
from tools.simulate.disk import Disk, Fault

HERE = Path("/nowhere")
PLENTY = 1 << 40
SIZE = 1 << 20


@pytest.mark.parametrize(
    ("free", "held", "sessions", "low", "short"),
    [
        (LOW_BYTES, SESSION_BYTES, 0, False, 0),
        (LOW_BYTES - 1, SESSION_BYTES, 0, False, 1),
        # What the log has not reserved yet has to be free.
        (LOW_BYTES, SESSION_BYTES, 1, False, SESSION_BYTES),
        (LOW_BYTES + SESSION_BYTES, SESSION_BYTES, 1, False, 0),
        (LOW_BYTES, 100 * SESSION_BYTES, 99, False, 0),
        # Once low it has to become clearly better.
        (LOW_BYTES, SESSION_BYTES, 0, True, BACK_BYTES),
        (LOW_BYTES + BACK_BYTES, SESSION_BYTES, 0, True, 0),
    ],
)
def test_how_much_is_missing(free: int, held: int, sessions: int, low: bool, short: int) -> None:
    assert short_by(free, held, sessions, low=low) == short


async def test_a_full_disk_stops_new_charging_and_lets_the_rest_go_on(tmp_path: Path) -> None:
    async with Site(tmp_path / "site") as site:
        engine, driver, session_id = await site.charging()
        await site.engine("CP-2")
        site.central._room.look(LOW_BYTES - 1)
        site.central._room.look(LOW_BYTES - 2)
        with pytest.raises(RequestRefused, match="free some room"):
            await site.charge(driver, "CP-2")
        incident = await site.line(e.IncidentRaised, code="disk_low")
        assert "255 MiB are free" in incident.detail
        engine.put(m.SupplyEnded(session_id=session_id, meter_wh=2_000, reason="vehicle_full"))
        assert (await site.line(e.TicketIssued)).ticket.session_id == session_id
        site.central._room.look(LOW_BYTES + 1)
        with pytest.raises(RequestRefused):
            await site.charge(driver, "CP-2")
        site.central._room.look(PLENTY)
        await site.charge(driver, "CP-2")
        assert len([it for it in site.logged(e.IncidentRaised) if it.code == "disk_low"]) == 1


async def test_a_start_on_a_full_disk_serves_those_who_charge(tmp_path: Path) -> None:
    async with Site(tmp_path / "site") as site:
        assert not (site.directory / "central" / BALLAST).exists(), "the tests' Central keeps none"
        await site.stop()
        site.disk.room = LOW_BYTES - 1
        await site.start(ballast_mib=1)
        assert site.central._engine.low_on_disk
        assert not (site.directory / "central" / BALLAST).exists()


async def test_the_disk_is_looked_at_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "LOOK_S", 0)
    async with Site(tmp_path / "site") as site:
        site.disk.room = 0
        assert (await site.line(e.IncidentRaised, code="disk_low")).detail
        site.disk.failing["free"] = errno.EIO
        failure = await site.central.failure
        assert isinstance(failure, JournalFailed) and isinstance(failure.__cause__, OSError)
        await asyncio.sleep(0)


def test_a_ballast_is_made_once_and_only_where_there_is_room() -> None:
    disk = Disk()
    assert keep_ballast(HERE, disk, SIZE)
    assert len(disk.names[BALLAST].seen) == SIZE
    calls = len(disk.calls)
    assert keep_ballast(HERE, disk, SIZE)
    assert disk.calls[calls:] == ["listdir"], "it is there already"
    disk = Disk()
    assert not keep_ballast(HERE, disk, 0)
    disk.room = SIZE + LOW_BYTES
    assert not keep_ballast(HERE, disk, SIZE)
    assert not disk.names
    # What a crash left half made.
    disk.room = PLENTY
    disk.create(HERE / f"tmp-{BALLAST}")
    assert keep_ballast(HERE, disk, SIZE)
    assert list(disk.names) == [BALLAST]


@pytest.mark.parametrize(("number", "told"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_a_ballast_that_the_disk_does_not_take(number: int, told: bool) -> None:
    at = Disk()
    keep_ballast(HERE, at, SIZE)
    disk = Disk(Fault(at.calls.index("allocate") + 1, number))
    if told:
        with pytest.raises(OSError, match="Input/output"):
            keep_ballast(HERE, disk, SIZE)
    else:
        assert not keep_ballast(HERE, disk, SIZE)
    assert not disk.names and disk.open_handles == 0


class AlmostFull(OsFiles):
    def free(self, path: Path) -> int:
        return LOW_BYTES - 1


def test_the_doctor_names_the_ballast(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    findings = examine(tmp_path / "log", AlmostFull()).findings
    assert any("255 MiB" in finding.what and str(tmp_path / BALLAST) in finding.do for finding in findings)
