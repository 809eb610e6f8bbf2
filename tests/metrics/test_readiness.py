"""``/readyz`` of every daemon: ready when it can do its work, a reason when not, and ``/healthz`` through all of it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from evcharge.central.readiness import Doors
from evcharge.central.readiness import readiness_of as of_central
from evcharge.net import exposition as exposing
from evcharge.net.clock import SystemClock
from evcharge.net.exposition import Address, Exposition
from evcharge.net.readiness import Readiness
from evcharge.sidecar.bootstrap import initialise
from evcharge.sidecar.database import Database
from evcharge.sidecar.readiness import readiness_of as of_sidecar
from evcharge.sidecar.serve import Listen, serve
from protocol.credentials import Role
from tests.cp.central import StoreCentral
from tests.cp.test_process import line_of, process, write_credentials
from tests.metrics.support import LIMIT_S
from tests.support.central import Site, until
from tests.support.fake_central import FakeCentral
from tests.support.ports import free_port
from tests.support.wire import credential


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered from one question to the next, and a disk that is only busy is waited for."""
    monkeypatch.setattr(exposing, "FRESH_S", 0.0)
    monkeypatch.setattr("evcharge.net.metrics.PATIENCE_S", LIMIT_S)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:  # after that one
    """For what hangs for good."""
    monkeypatch.setattr("evcharge.net.metrics.PATIENCE_S", 0.05)


async def asked(address: object, path: str = "/readyz") -> tuple[int, str]:
    """Status and sentence, as a probe gets them."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=LIMIT_S) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()

    return await asyncio.to_thread(get)


# --- Central ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Site(tmp_path, metrics=Address("127.0.0.1", 0)) as running:
        yield running


async def test_central_is_ready_once_it_serves_and_a_probe_writes_nothing(site: Site) -> None:
    before = site.central._journal.last
    assert await asked(site.central.metrics_address) == (200, "ready")
    assert await asked(site.central.metrics_address, "/healthz") == (200, "ok")
    assert site.central._journal.last == before


@pytest.mark.usefixtures("impatient")
async def test_a_disk_that_hangs_makes_central_unready_until_it_goes_on(site: Site) -> None:
    address = site.central.metrics_address
    site.disk.hold()
    engine = site.join(site.credential(Role.CP, "CP-1"))
    await until(lambda: site.disk.waiting > 0)
    status, why = await asked(address)
    assert status == 503 and "the log was not durable" in why
    assert await asked(address, "/healthz") == (200, "ok"), "a restart would not mend the disk"
    site.disk.release()
    await engine.up()
    while await asked(address) != (200, "ready"):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("impatient")
async def test_a_log_that_failed_is_said(site: Site) -> None:
    address = site.central.metrics_address
    site.disk.failing["fdatasync"] = errno.EIO
    site.join(site.credential(Role.CP, "CP-1"))
    await until(site.central.failure.done)
    status, why = await asked(address)
    assert status == 503 and "its log failed" in why


async def test_what_comes_first_and_last_in_central_s_life() -> None:
    facts = {"failed": False, "draining": False, "listening": False}

    async def synced() -> None:
        return

    readiness = of_central(
        Doors(
            synced=synced,
            failed=lambda: facts["failed"],
            draining=lambda: facts["draining"],
            listening=lambda: facts["listening"],
        )
    )
    await readiness.look()
    assert readiness.unready() == "starting"
    facts["listening"] = True
    assert readiness.unready() is None
    facts["draining"], facts["listening"] = True, False
    assert readiness.unready() == "draining"


# --- sidecar ----------------------------------------------------------------------------------------------------------


async def test_the_sidecar_is_ready_without_central_and_says_how_it_stands(tmp_path: Path) -> None:
    await initialise(tmp_path / "r", "http://127.0.0.1:8080", clock=SystemClock(), entropy=os.urandom)
    exposition, up, stop = Exposition("sidecar", Address("127.0.0.1", 0)), asyncio.Event(), asyncio.Event()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        work = serve(
            tmp_path / "r",
            Listen(host="127.0.0.1", port=0),
            central=("127.0.0.1", taken.getsockname()[1]),
            clock=SystemClock(),
            entropy=os.urandom,
            ready=lambda _url: up.set(),
            stop=stop,
            exposition=exposition,
        )
        serving = asyncio.create_task(work)
        await up.wait()
        assert await asked(exposition.listening) == (200, "ready; Central: disconnected")
        assert await asked(exposition.listening, "/healthz") == (200, "ok")
        stop.set()
        await serving


class Ill(Database):
    """A database that does not answer, or not in time."""

    def __init__(self) -> None:
        self.hangs = False

    async def ping(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        raise OperationalError("select 1", None, OSError("gone"))


@pytest.mark.usefixtures("impatient")
async def test_a_sidecar_is_unready_while_its_database_does_not_answer() -> None:
    facts = {"serving": False, "stopping": False}
    database = Ill()
    readiness = of_sidecar(database, None, serving=lambda: facts["serving"], stopping=lambda: facts["stopping"])
    assert readiness.unready() == "starting"
    facts["serving"] = True
    for database.hangs in (False, True):
        await readiness.look()
        assert readiness.unready() == "the database does not answer"
    facts["stopping"] = True
    assert readiness.unready() == "draining"
    assert readiness.note() == "Central: not asked for"


# --- the peers --------------------------------------------------------------------------------------------------------


@pytest.mark.process
async def test_charge_point_and_monitor_live_without_central_and_are_ready_with_it(tmp_path: Path) -> None:
    keys = write_credentials(tmp_path)
    async with StoreCentral() as central:
        health = ("--health", "127.0.0.1:0")
        alone = ("--credentials", str(keys), "--central", "127.0.0.1:1", *health)
        common = ("--credentials", str(keys), "--central", central.address, *health)
        async with (
            process("cp", "run", *alone, "--data-dir", str(tmp_path / "1")) as lonely,
            process("cp", "run", *common, "--data-dir", str(tmp_path / "2")) as cp,
        ):
            address = (await line_of(lonely))["probes"]
            assert await asked(address, "/healthz") == (200, "ok")
            assert await asked(address) == (503, "not ready: no channel to Central")
            assert (await asked(address, "/metrics"))[0] == 404
            line = await line_of(cp)
            assert line["probes"] != line["health"], "monitors have their own address, and their own words"
            async with process("monitor", "run", *common, "--engine", str(line["health"])) as monitor:
                for address in (line["probes"], (await line_of(monitor))["probes"]):
                    while await asked(address) != (200, "ready"):
                        assert cp.returncode is None and monitor.returncode is None
                for child in (monitor, cp, lonely):
                    child.send_signal(signal.SIGTERM)
                    await child.communicate()
                    assert child.returncode == 0


@pytest.mark.process
@pytest.mark.parametrize("what", ["points", "sessions"])
async def test_an_automated_driver_ends_on_sigterm_with_what_it_came_to(tmp_path: Path, what: str) -> None:
    """In a container it is PID 1, which the kernel ends for no signal that it does not handle."""
    (tmp_path / "anna.json").write_bytes(credential(Role.DRIVER).to_json())
    (tmp_path / "points").write_text("CP-1\nCP-2\n")
    (tmp_path / "sessions").write_text(
        '{"session": "a", "cp_id": "CP-1", "arrive_ms": 1, "depart_ms": 9000000000000, "energy_wh": 40}\n'
    )
    files = ("--sessions", str(tmp_path / "sessions")) if what == "sessions" else (str(tmp_path / "points"),)
    async with FakeCentral() as central:
        where = ("--central", f"127.0.0.1:{central.port}", "--credentials", str(tmp_path / "anna.json"))
        async with process("driver", "auto", *where, "--health", "127.0.0.1:0", "--json", *files) as driver:
            line = await line_of(driver)
            while line.get("ready") != "driver":
                line = await line_of(driver)
            assert await asked(line["probes"]) == (200, "ready")
            while line.get("what") != "authorized":
                line = await line_of(driver)
            driver.send_signal(signal.SIGTERM)
            summary = line
            while "authorized" not in summary or "what" in summary:
                summary = await line_of(driver)
            assert (summary["authorized"], summary["tickets"]) == (1, 0)
            await driver.communicate()
            assert driver.returncode == 0


@pytest.mark.process
async def test_an_automated_driver_that_waits_for_central_ends_on_sigterm_too(tmp_path: Path) -> None:
    (tmp_path / "anna.json").write_bytes(credential(Role.DRIVER).to_json())
    (tmp_path / "points").write_text("CP-1\n")
    where = ("--central", "127.0.0.1:1", "--credentials", str(tmp_path / "anna.json"))
    address = f"127.0.0.1:{free_port()}"
    async with process("driver", "auto", *where, "--health", address, str(tmp_path / "points")) as driver:
        while True:
            try:
                answer = await asked(address)
                break
            except urllib.error.URLError:
                assert driver.returncode is None
        assert answer == (503, "not ready: no channel to Central")
        driver.send_signal(signal.SIGTERM)
        output, _ = await driver.communicate()
        assert driver.returncode == 0 and b'"authorized":0' in output


@pytest.mark.process
async def test_an_address_for_health_that_is_taken_is_said_with_its_option(tmp_path: Path) -> None:
    keys = write_credentials(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        common = ("--credentials", str(keys), "--central", "127.0.0.1:1", "--health", address)
        async with process("cp", "run", *common, "--data-dir", str(tmp_path / "data")) as cp:
            _, said = await cp.communicate()
    assert cp.returncode == 1
    assert b"in use" in said and b"--health" in said and b"Traceback" not in said


def test_ready_unless_told_otherwise() -> None:
    assert (Readiness().unready(), Readiness().note()) == (None, "")
