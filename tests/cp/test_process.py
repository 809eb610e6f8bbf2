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
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evcharge.cp.journal import Journal
from evcharge.net.clock import SiteClockFile
from protocol.credentials import Role
from protocol.errors import RefuseCode
from protocol.events import AuthPresented, Grant
from protocol.messages import (
    Ack,
    Authorize,
    Boot,
    Fault,
    Health,
    Message,
    Outbox,
    Plugged,
    Recovery,
    StartSupply,
    SupplyEnded,
    SupplyStarted,
    SupplyUpdate,
)
from tests.support.fake_central import FakeCentral, Link, address, file_of
from tests.support.wire import T0_MS, credential

pytestmark = pytest.mark.process

SPEED = 600.0


class StoreCentral(FakeCentral):
    """Keeps outboxes like Central: applies what is next, acknowledges, remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[Message] = []

    def _handle(self, link: Link, event: object) -> None:
        if isinstance(event, AuthPresented) and self.refuse is None:
            self.connections += 1
            link.conn.accept(
                Grant(
                    sid=os.urandom(16),
                    secret=os.urandom(32),
                    t0_ms=T0_MS,
                    fence=self.connections,
                    next_n=len(self.applied),
                ),
                self.now(),
            )
            return
        super()._handle(link, event)

    def _answer(self, link: Link, message: Message) -> None:
        if isinstance(message, Outbox):
            assert message.n <= len(self.applied)
            if message.n == len(self.applied):
                self.applied.append(message.payload)
            link.send(Ack(n=message.n))

    def start_session(self, session_id: str) -> None:
        """Authorize and start at once; the vehicle is there."""
        (link,) = (link for link in self.links if link.conn.role is Role.CP)
        clock_ms = link.conn.channel_ms(self.now())
        link.send(Authorize(command_id=1, fence=self.connections, session_id=session_id, connector=1))
        link.send(
            StartSupply(
                command_id=2,
                fence=self.connections,
                session_id=session_id,
                connector=1,
                limit_w=7_360,
                expires_ms=clock_ms + 3_600_000,
                fallback_w=1_380,
                reason="equal_share",
                valid_until_ms=clock_ms + 10_000,
            )
        )


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
        (keys / f"{role.label}.json").write_bytes(file_of(credential(role)))
    return keys


async def test_kill_9_in_mid_session_loses_nothing_that_was_on_disk_and_the_monitor_tells(tmp_path: Path) -> None:
    keys = write_credentials(tmp_path)
    (tmp_path / "monitor").mkdir()
    # The monitor's credential is for another entity in these fixtures; one that watches CP-1 is made of it.
    monitor = credential(Role.MONITOR)
    script = tmp_path / "script.jsonl"
    script.write_text('{"after_s": 0, "cp_id": "CP-1", "do": "plug", "vehicle": {"capacity_wh": 9000000, "soc": 0}}\n')
    clock = tmp_path / "clock.json"
    SiteClockFile(site_ms=T0_MS, speed=SPEED, start_monotonic=time.monotonic()).write(clock)
    async with StoreCentral() as central:
        common = ("--credentials", str(keys), "--central", address(central), "--clock", str(clock))
        cp = ("cp", "run", *common, "--data-dir", str(tmp_path / "data"), "--trace", str(tmp_path / "trace.jsonl"))
        async with process(*cp, "--script", str(script)) as victim:
            health = str((await line_of(victim))["health"])
            await central.until(lambda: bool(central.got(Boot)))
            central.start_session("S1")
            await central.until(lambda: bool(central.applied))
            assert isinstance(central.applied[0], SupplyStarted)
            await central.until(lambda: any(update.meter_wh > 0 for update in central.got(SupplyUpdate)))
            os.kill(victim.pid, signal.SIGKILL)
            await victim.wait()
        told_wh = max(update.meter_wh for update in central.got(SupplyUpdate))
        journal = Journal.open(tmp_path / "data", "CP-1", os.urandom)
        saved = journal.load()
        journal.close()
        assert saved.running[1].session_id == "S1"
        assert saved.meter_wh(1) >= told_wh
        async with (
            process("monitor", "run", *common, "--engine", health) as watcher,
            process(*cp, "--health-listen", health) as heir,
        ):
            assert (await line_of(watcher)) == {"ready": "monitor", "monitors": 1}
            assert (await line_of(heir))["health"] == health
            await central.until(lambda: len(central.applied) == 2)
            ended = central.applied[1]
            assert isinstance(ended, SupplyEnded)
            assert (ended.session_id, ended.reason) == ("S1", "engine_restart")
            assert ended.meter_wh == saved.meter_wh(1) >= told_wh > 0
            # The monitor asks for the entity of its own credential, which this process does not host.
            await central.until(lambda: bool(central.got(Fault)))
            assert monitor.entity != "CP-1"
            assert central.got(Fault) == [Fault(code="unknown_charge_point")]
            assert central.got(Recovery) == []
            assert central.got(Health)[0].engine_ok is False
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
        arguments = ("--credentials", str(keys / "cp.json"), "--central", address(central), "--script", str(script))
        async with process("cp", "run", *arguments, "--data-dir", str(tmp_path / "data")) as child:
            await line_of(child)
            await central.until(lambda: bool(central.got(Plugged)))
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
        async with process(module, "run", "--credentials", str(keys), "--central", address(central), *more) as child:
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
            *("--central", address(central)),
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
            *("--central", address(central)),
            *("--engine", "127.0.0.1:1"),
        ) as (child, screen),
    ):
        await screen.shows("f simulate a fault")
        for key, words in [
            ("s", "MONITOR-1: not known yet"),
            ("f", "is reported faulty"),
            ("r", "are over"),
            ("z?", "f simulate a fault"),
        ]:
            screen.press(key)
            await screen.shows(words)
        await central.until(lambda: bool(central.got(Fault)))
        screen.press("q")
        assert await child.wait() == 0
