"""``evcharge-demo`` as its user meets it: real processes, real sockets, one short day."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evcharge.net.backoff import CAP_S
from tests.metrics.support import Told, get

pytestmark = pytest.mark.process

# A morning at a site of six: at 1,200-fold time its three hours last nine seconds, and the shortest stay three: a
# process that a busy machine keeps waiting for a second still comes before the car has gone.
MORNING = datetime(2026, 3, 4, 7, 0, tzinfo=UTC)
STAYS = [
    # station, minutes after seven, minutes of stay, kWh
    ("A", 0, 90, 6.125),
    ("B", 2, 100, 7.4),
    ("C", 3, 110, 5.0),
    ("D", 5, 60, 3.333),
    ("E", 9, 120, 8.0),
    ("F", 10, 120, 4.2),
    # The bay is handed over at the same minute,
    ("A", 90, 60, 2.5),
    # and this car comes while the bay is still taken.
    ("D", 50, 60, 2.0),
    ("B", 110, 70, 3.0),
    # More than its stay can give: it leaves before it has what it asked for.
    ("C", 120, 60, 40.0),
]
FAST = ["--speed", "1200", "--capacity-kw", "25"]
# Enough of a site for what is tested beside the day itself.
SMALL = ["--processes", "1", "--capacity-kw", "25"]


def instant(minutes: int) -> str:
    return (MORNING + timedelta(minutes=minutes)).isoformat()


def write(path: Path, stays: list[tuple[str, int, int, float]]) -> Path:
    rows = [f"{instant(start)},{instant(start + stay)},{kwh},{name}" for name, start, stay, kwh in stays]
    path.write_text("arrival,departure,delivered_kwh,station_id\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    return write(tmp_path / "sessions.csv", STAYS)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """An hour at two bays."""
    return write(tmp_path / "short.csv", [("A", 0, 55, 6.0), ("B", 1, 55, 5.0)])


def processes_of(directory: Path) -> dict[int, str]:
    """Processes that name the directory in their command line: pid → the module they run."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(str(directory) in word for word in words) and "evcharge.cli.demo" not in words:
                found[int(entry.name)] = next((word for word in words if word.startswith("evcharge.cli")), words[0])
    return found


class Demo:
    """A running ``evcharge-demo``."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.stderr = ""

    async def line(self, part: str) -> str:
        """The next line on stderr that has this part."""
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.stderr += line
            if part in line:
                return line
        raise AssertionError(f"no line with {part!r} in:\n{self.stderr}")

    async def end(self) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        out, err = await asyncio.wait_for(self.process.communicate(), 100)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), self.stderr + err.decode()


@contextlib.asynccontextmanager
async def demo(directory: Path, *arguments: str) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "evcharge.cli.demo",
        "--data-dir",
        str(directory),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Demo(process, directory)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def run(directory: Path, *arguments: str) -> tuple[int, str, str]:
    async with demo(directory, *arguments) as running:
        return await running.end()


async def test_a_morning_from_request_to_ticket(tmp_path: Path, sessions: Path) -> None:
    directory = tmp_path / "data"
    code, out, err = await run(directory, "--sessions", str(sessions), *FAST, "--exit", "--json")
    assert code == 0, err
    day: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert day["sessions"] == len(STAYS) == day["authorized"] + day["refused"]
    assert day["started"] == day["tickets"] == day["authorized"] - day["expired"]
    assert day["started"] == len(STAYS)
    assert day["energy_wh_tickets"] == day["energy_wh_meters"]
    asked_wh = sum(round(kwh * 1000) for *_, kwh in STAYS[:-1])
    # What fitted was delivered, and to the last car no more than an hour at an outlet gives.
    assert 0.85 * asked_wh < day["energy_wh_tickets"] < asked_wh + 7360
    assert 0 < day["peak_w"] <= day["capacity_w"] == 25_000
    assert day["amount_minor"] > 0 and day["wall_s"] > 0
    assert "bay taken: 1." in err
    assert not processes_of(directory)
    join = json.loads((directory / "demo.json").read_text())
    assert set(join) == {"central", "sidecar", "log", "metrics", "page", "credentials", "operator_token"}
    assert set(join["metrics"]) == {"central", "sidecar"}
    for file in [*join["credentials"].values(), join["operator_token"]]:
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    roles = {name: json.loads(Path(file).read_text())["role"] for name, file in join["credentials"].items()}
    assert roles == {"operator": "gateway", "charge_point": "cp", "driver": "driver"}
    assert list(Path(join["log"]).iterdir())


async def test_a_tight_day_has_plans_a_line_and_reasons(tmp_path: Path) -> None:
    """Seven cars come where two have room for their smallest current, at two prices."""
    # One after the other, a fraction of a second each, and all before the first has what it needs (24 minutes at 4 kW
    # are 1.6 kWh, and two share them): whoever is the fourth finds two that charge.
    crowd = [(name, 4 * number, 240, 1.2) for number, name in enumerate("ABCDEFG")]
    sessions = write(tmp_path / "crowd.csv", crowd)
    row = {"effective_start": "01-01", "effective_end": "12-31", "dow_mask": "ALL", "demand_charge": 1}
    tariff = tmp_path / "tariff.json"
    tariff.write_text(json.dumps({"schedule": [{**row, "times": [0, 8, 9], "tariffs": [0.1, 0.4, 0.1]}]}))
    directory = tmp_path / "data"
    code, out, err = await run(
        directory,
        *("--sessions", str(sessions), "--tariff", str(tariff), "--queue", "--surroundings"),
        *("--capacity-kw", "4", "--speed", "900", "--processes", "1", "--exit", "--json"),
    )
    assert code == 0, err
    day = json.loads(out.splitlines()[-1])
    # An offer stands for two seconds of real time: a car that begins as its own ends has a session more.
    assert 7 <= day["sessions"] == day["authorized"] + day["refused"]
    assert day["started"] == day["tickets"]
    assert day["energy_wh_tickets"] == day["energy_wh_meters"] > 0
    assert day["peak_w"] <= day["capacity_w"] == 4_000
    assert day["plans"] >= 1
    # Of seven two begin, and of the others one does not stand in line.
    assert 3 <= day["waited"] <= 5
    assert 1 <= day["served"] <= day["waited"]
    assert " wait  |" in err and "plan number" in err
    told = []
    for command in day["why"]:
        words = command.split()
        assert words[:2] == ["evcharge-audit", "why"]
        why = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "evcharge.cli.audit", *words[1:]), stdout=asyncio.subprocess.PIPE
        )
        told.append((await why.communicate())[0].decode())
        assert why.returncode == 0
    limited, refused = told
    assert "set-point" in limited and "ticket t-" in limited
    assert "was refused: The substation of" in refused and "(site has 4 kW" in refused


async def test_it_stays_up_for_others_who_join_with_the_spare_credentials(tmp_path: Path, short: Path) -> None:
    directory = tmp_path / "data"
    async with demo(directory, "--sessions", str(short), *SMALL, "--speed", "600", "--json") as running:
        await running.line("The day is over")
        join = json.loads((directory / "demo.json").read_text())
        ticket = await charge_with_the_spares(tmp_path, join)
        assert ticket["energy_wh"] == 500
        central = Told(await asyncio.to_thread(get, join["metrics"]["central"]))
        # The guest's is the third.
        assert central.value("evcharge_tickets_total") == 3
        # The sidecar was there before Central, and tries again after a while: the day may be over sooner.
        async with asyncio.timeout(CAP_S + 30):
            while (
                Told(await asyncio.to_thread(get, join["metrics"]["sidecar"])).value("evcharge_central_connected") != 1
            ):
                await asyncio.sleep(0.2)
        running.process.send_signal(signal.SIGINT)
        code, out, err = await running.end()
    assert code == 0, err
    day = json.loads(out.splitlines()[-1])
    # The guest's charge is the guest's: at its own charge point, by its own meter.
    assert (day["sessions"], day["started"], day["tickets"]) == (2, 2, 2)
    assert day["energy_wh_tickets"] == day["energy_wh_meters"] <= 11_000
    assert "Others joined" in err
    assert not processes_of(directory)


async def charge_with_the_spares(tmp_path: Path, join: dict[str, Any]) -> dict[str, Any]:
    """Run the spare charge point with a car at it and charge there as the spare driver; the ticket."""
    script = tmp_path / "guest.jsonl"
    car = {"after_s": 0, "cp_id": "SPARE-CP", "connector": 1, "do": "plug", "vehicle": {"need_wh": 9000}}
    script.write_text(json.dumps(car))
    central = ["--central", f"{join['central']['host']}:{join['central']['port']}"]
    engine = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evcharge.cli.cp", "run", *central),
        *("--credentials", join["credentials"]["charge_point"]),
        *("--data-dir", str(tmp_path / "guest"), "--script", str(script)),
        *("--clock", str(Path(join["log"]).parents[1] / "clock.json")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert engine.stderr is not None
        while b"cp.connected" not in await engine.stderr.readline():
            assert not engine.stderr.at_eof()
        driver = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "evcharge.cli.driver", "charge", "SPARE-CP", "--energy-kwh", "0.5", "--wait"),
            *("--json", *central, "--credentials", join["credentials"]["driver"]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(driver.communicate(), 60)
        assert driver.returncode == 0, err.decode()
    finally:
        engine.terminate()
        await engine.communicate()
    said = [json.loads(line) for line in out.splitlines()]
    return next(line for line in said if line["what"] == "ticket")


async def test_sigterm_in_the_middle_drains_and_still_agrees(tmp_path: Path, short: Path) -> None:
    directory = tmp_path / "data"
    async with demo(directory, "--sessions", str(short), *SMALL, "--speed", "80", "--exit", "--json") as running:
        await running.line("2 started")
        running.process.terminate()
        code, out, err = await running.end()
    assert code == 1
    assert "stopped before the day was over" in err.lower()
    day = json.loads(out.splitlines()[-1])
    assert day["tickets"] == day["started"] > 0
    assert day["energy_wh_tickets"] == day["energy_wh_meters"] > 0
    assert not processes_of(directory)


async def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async with demo(directory, "--json") as running:
        await running.line("as separate processes")
        running.process.terminate()
        code, out, err = await running.end()
    assert (code, out) == (1, "")
    assert "stopped before the site was ready" in err
    assert not processes_of(directory)


@pytest.mark.parametrize("module", ["central", "cp"])
async def test_a_child_that_dies_ends_the_demo_with_its_name(tmp_path: Path, short: Path, module: str) -> None:
    directory = tmp_path / "data"
    async with demo(directory, "--sessions", str(short), *SMALL, "--speed", "60", "--exit") as running:
        # Nothing here is for a terminal: progress goes to stdout, and stderr has the one error.
        assert running.process.stdout is not None
        while b"Everybody is connected" not in await running.process.stdout.readline():
            assert not running.process.stdout.at_eof()
        victims = [pid for pid, name in processes_of(directory).items() if name == f"evcharge.cli.{module}"]
        os.kill(victims[0], signal.SIGKILL)
        code, _, err = await running.end()
    assert code == 1
    assert "was killed by SIGKILL" in err
    assert "Traceback" not in err
    assert not processes_of(directory)


async def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await run(tmp_path / "data", "--port", str(port), "--exit", "--json")
    assert (code, out) == (1, "")
    assert f"port {port} of 127.0.0.1 cannot be used" in err
    assert "Traceback" not in err
    assert not processes_of(tmp_path / "data")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--capacity-kw", "0"], "0.0 is not in the range"),
        (["--capacity-kw", "-3"], "not in the range"),
        (["--capacity-kw", "nan"], "have to be numbers"),
        (["--sessions", "none.csv"], "does not exist"),
        (["--date", "2019-05-03"], "give --sessions FILE too"),
        (["--date", "yesterday"], "does not match the format"),
        (["--speed", "0"], "not in the range"),
    ],
)
async def test_misuse_is_told_at_once(tmp_path: Path, arguments: list[str], says: str) -> None:
    code, out, err = await run(tmp_path / "data", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "data").exists()


async def test_a_bad_file_names_its_line_and_a_missing_date_the_days_there_are(tmp_path: Path, sessions: Path) -> None:
    code, out, err = await run(tmp_path / "data", "--sessions", str(sessions), "--date", "2026-03-05")
    assert (code, out) == (2, "")
    assert "it has 2026-03-04 to 2026-03-04" in err
    sessions.write_text(sessions.read_text() + "now,then,1,A\n")
    code, out, err = await run(tmp_path / "data", "--sessions", str(sessions))
    assert (code, out) == (2, "")
    assert f"{sessions}:{len(STAYS) + 2}: arrival 'now'" in err


async def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    code, _, err = await run(tmp_path)
    assert code == 2
    assert "is not empty" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
