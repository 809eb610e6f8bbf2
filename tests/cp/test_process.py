"""Real processes on the real wire: kill -9 in mid-session, a monitor beside it, refusals, a person at the keys."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from evcharge.cp.journal import Journal
from evcharge.net.clock import SiteClockFile
from protocol.credentials import Role
from protocol.errors import RefuseCode
from protocol.messages import (
    Boot,
    Fault,
    Health,
    Recovery,
    SupplyEnded,
    SupplyStarted,
    SupplyUpdate,
)
from tests.cp.central import StoreCentral
from tests.support.wire import T0_MS, credential

pytestmark = pytest.mark.process

SPEED = 600.0


@asynccontextmanager
async def process(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command of the house; killed at the end if it is still there."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"evcharge.cli.{module}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.communicate()


async def line_of(child: asyncio.subprocess.Process) -> dict[str, object]:
    assert child.stdout is not None
    line = await child.stdout.readline()
    if not line:
        assert child.stderr is not None
        pytest.fail((await child.stderr.read()).decode())
    return dict(json.loads(line))


def write_credentials(directory: Path) -> Path:
    keys = directory / "keys"
    keys.mkdir()
    for role in (Role.CP, Role.MONITOR):
        mine = msgspec.structs.replace(credential(role), entity="CP-1")
        (keys / f"{role.label}.json").write_bytes(mine.to_json())
    return keys


async def test_kill_9_in_mid_session_loses_nothing_that_was_on_disk_and_the_monitor_tells(tmp_path: Path) -> None:
    keys = write_credentials(tmp_path)
    script = tmp_path / "script.jsonl"
    script.write_text('{"after_s": 0, "cp_id": "CP-1", "do": "plug", "vehicle": {"capacity_wh": 9000000, "soc": 0}}\n')
    clock = tmp_path / "clock.json"
    SiteClockFile(site_ms=T0_MS, speed=SPEED, start_monotonic=time.monotonic()).write(clock)
    async with StoreCentral() as central:
        common = ("--credentials", str(keys), "--central", central.address, "--clock", str(clock))
        cp = ("cp", "run", *common, "--data-dir", str(tmp_path / "data"), "--trace", str(tmp_path / "trace.jsonl"))
        async with process(*cp, "--script", str(script)) as victim, AsyncExitStack() as watching:
            health = str((await line_of(victim))["health"])
            watcher = await watching.enter_async_context(process("monitor", "run", *common, "--engine", health))
            assert (await line_of(watcher)) == {"ready": "monitor", "monitors": 1}
            await central.until(lambda: bool(central.got(Boot)))
            central.start_session("S1")
            await central.until(lambda: bool(central.applied))
            assert isinstance(central.applied[0], SupplyStarted)
            await central.until(lambda: any(update.meter_wh > 0 for update in central.got(SupplyUpdate)))
            await central.until(lambda: bool(central.got(Recovery)))
            os.kill(victim.pid, signal.SIGKILL)
            await victim.wait()
            told_wh = max(update.meter_wh for update in central.got(SupplyUpdate))
            journal = Journal.open(tmp_path / "data", "CP-1", os.urandom)
            saved = journal.load()
            journal.close()
            assert saved.running[1].session_id == "S1"
            assert saved.meter_wh(1) >= told_wh
            await central.until(lambda: bool(central.got(Fault)))
            assert central.got(Fault) == [Fault(code="engine_silent")]
            # On a busy machine one was missed earlier, or one more since; those in a row until then are the fault.
            before = central.received[: central.received.index(Fault(code="engine_silent"))]
            looks = [message.engine_ok for message in before if isinstance(message, Health)]
            assert looks[-4:] in ([False] * 3, [True] + [False] * 3)

            heir = await watching.enter_async_context(process(*cp, "--health-listen", health))
            assert (await line_of(heir))["health"] == health
            await central.until(lambda: len(central.applied) == 2)
            ended = central.applied[1]
            assert isinstance(ended, SupplyEnded)
            assert (ended.session_id, ended.reason) == ("S1", "engine_restart")
            assert ended.meter_wh == saved.meter_wh(1) >= told_wh > 0
            await central.until(lambda: len(central.got(Recovery)) == 2)
            for child in (watcher, heir):
                child.send_signal(signal.SIGTERM)
            output, _ = await heir.communicate()
            assert json.loads(output) == {"meters": {"CP-1": {"1": ended.meter_wh}}}
            await watcher.communicate()
            assert (heir.returncode, watcher.returncode) == (0, 0)
    trace = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert [point["w"] for point in trace] == [0, 7_360, 0]


async def test_sigterm_in_mid_session_ends_it_with_its_final_meter(tmp_path: Path) -> None:
    keys = write_credentials(tmp_path)
    script = tmp_path / "script.jsonl"
    script.write_text('{"after_s": 0, "cp_id": "CP-1", "do": "plug"}\n')
    async with StoreCentral() as central:
        arguments = ("--credentials", str(keys / "cp.json"), "--central", central.address, "--script", str(script))
        async with process("cp", "run", *arguments, "--data-dir", str(tmp_path / "data")) as child:
            await line_of(child)
            await central.until(lambda: bool(central.got(Boot)))
            central.start_session("S1")
            await central.until(lambda: bool(central.applied))
            child.send_signal(signal.SIGTERM)
            output, _ = await child.communicate()
            assert child.returncode == 0
        (_, ended) = central.applied
        assert isinstance(ended, SupplyEnded)
        assert ended.reason == "engine_shutdown"
        assert json.loads(output) == {"meters": {"CP-1": {"1": ended.meter_wh}}}


@pytest.mark.parametrize("module", ["cp", "monitor"])
async def test_a_refused_peer_says_in_one_sentence_what_to_do(tmp_path: Path, module: str) -> None:
    keys = write_credentials(tmp_path)
    more = ("--data-dir", str(tmp_path / "data")) if module == "cp" else ("--engine", "127.0.0.1:1")
    async with StoreCentral() as central:
        central.refuse = RefuseCode.REVOKED
        async with process(module, "run", "--credentials", str(keys), "--central", central.address, *more) as child:
            _, errors = await child.communicate()
    assert child.returncode == 1
    last = errors.decode().splitlines()[-1]
    assert last.startswith("error: Central refused this ")
    assert "ask the operator for a new one" in last


@asynccontextmanager
async def terminal(module: str, *arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Screen]]:
    """A command on a terminal of its own."""
    master, slave = pty.openpty()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"evcharge.cli.{module}",
        *arguments,
        stdin=slave,
        stdout=slave,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
    )
    os.close(slave)
    screen = Screen(master)
    try:
        yield child, screen
    finally:
        screen.close()
        if child.returncode is None:
            child.kill()
        await child.wait()


class Screen:
    """What a terminal shows, and its keys."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._text = ""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, self._read)

    def press(self, key: str) -> None:
        os.write(self._fd, key.encode())

    async def shows(self, words: str) -> None:
        """Wait until the words appear after what was waited for before."""
        while words not in self._text:
            self._more.clear()
            await self._more.wait()
        self._text = self._text[self._text.index(words) + len(words) :]

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._text += data.decode(errors="replace")
        self._more.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)


async def test_a_person_at_the_keys_of_a_charge_point(tmp_path: Path) -> None:
    keys = write_credentials(tmp_path)
    async with (
        StoreCentral() as central,
        terminal(
            "cp",
            "run",
            *("--credentials", str(keys)),
            *("--central", central.address),
            *("--data-dir", str(tmp_path / "data")),
            *("--connectors", "2"),
        ) as (child, screen),
    ):
        await screen.shows("ready")
        await screen.shows("p plug a vehicle in")
        await screen.shows("CP-1#1  online  free")
        for key, words in [
            ("u", "No vehicle is plugged in"),
            ("p", "vehicle plugged in  battery 30 %"),
            ("p", "plugged in already"),
            ("f", "OUT OF ORDER (simulated_fault)"),
            ("r", "CP-1#1  online  vehicle"),
            ("e", "OUT OF ORDER (emergency_stop)"),
            ("r", "CP-1#1  online  vehicle"),
            ("u", "free"),
            ("p", "vehicle plugged in"),
        ]:
            screen.press(key)
            await screen.shows(words)
        central.start_session("S1")
        await screen.shows("supplying 7.36 kW (limit 7.36 kW)")
        screen.press("zc")
        await screen.shows("CP-1#2  online  free")
        screen.press("n?")
        await screen.shows("p plug a vehicle in")
        screen.press("q")
        await screen.shows("meter 0.000 kWh")
        assert await child.wait() == 0
        assert [type(payload) for payload in central.applied] == [SupplyStarted, SupplyEnded]


async def test_a_person_at_the_keys_of_a_monitor(tmp_path: Path) -> None:
    keys = write_credentials(tmp_path)
    async with (
        StoreCentral() as central,
        terminal(
            "monitor",
            "run",
            *("--credentials", str(keys)),
            *("--central", central.address),
            *("--engine", "127.0.0.1:1"),
        ) as (child, screen),
    ):
        await screen.shows("f simulate a fault")
        for key, words in [
            ("s", "CP-1: "),
            ("f", "is reported faulty"),
            ("r", "are over"),
            ("z?", "f simulate a fault"),
        ]:
            screen.press(key)
            await screen.shows(words)
        await central.until(lambda: bool(central.got(Fault)))
        screen.press("q")
        assert await child.wait() == 0
