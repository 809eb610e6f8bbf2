"""evcharge-central from the shell: help, mistakes, the ready line, signals and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from evcharge.central.settings import Settings
from evcharge.cli.central import cli
from evcharge.domain import events as e
from evcharge.net.client import ChannelInfo, Client
from evcharge.net.clock import SystemClock
from protocol import messages as m
from protocol.credentials import Role, b64url
from tests.support.fake_registry import FakeRegistry
from tests.support.history import History
from tests.support.wire import CENTRAL

# Enough for a process to start and to stop on a busy machine, in seconds.
LIMIT_S = 30.0
# A disk that is full from the first synced record on, and a domain with a bug, put in before Central starts.
FULL_DISK = """
import errno, os
from evcharge.central import service
class Full(service.OsFiles):
    def fdatasync(self, handle):
        if os.path.exists(os.environ["EVCHARGE_TEST_FULL"]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().fdatasync(handle)
service.OsFiles = Full
"""
A_BUG = """
from evcharge.central import admission
def broken(*_):
    raise ZeroDivisionError("a bug")
admission.Admission.flush = broken
"""


def central_json(directory: Path, registry: FakeRegistry | None = None, **content: object) -> Path:
    """For a registry that runs, or for one that is away."""
    path = directory / "central.json"
    about: dict[str, object] = {"url": "http://127.0.0.1:9", "public_key": b64url(bytes(32)), "service_token": "t"}
    if registry is not None:
        about = {"url": str(registry.url), "public_key": b64url(registry.public_key), "service_token": registry.token}
    own = msgspec.Raw(CENTRAL.to_json())
    path.write_bytes(msgspec.json.encode({"credential": own, "registry": about | content}))
    return path


class Process:
    """A Central of its own process."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self._process = process
        self.ready = ready

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> tuple[int | None, str]:
        """Exit code and stderr."""
        async with asyncio.timeout(LIMIT_S):
            _, errors = await self._process.communicate()
        return self._process.returncode, errors.decode()


@asynccontextmanager
async def central(directory: Path, *arguments: str, before: str = "") -> AsyncIterator[Process]:
    """A running one; ``before`` is executed in its process first."""
    start = f"{before}\nfrom evcharge.cli.central import main\nmain()"
    files = ("--credentials", str(directory / "central.json"), "--data-dir", str(directory / "data"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", start, *files, "--port", "0", "--drain-s", "0.2", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "EVCHARGE_TEST_FULL": str(directory / "full")},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            line = await process.stdout.readline()
        assert line, (await process.communicate())[1].decode()
        yield Process(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def invoke(*arguments: object) -> tuple[int, str]:
    """In this process, for what ends before anything is served: exit code and all that was said."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


# --- help and mistakes ------------------------------------------------------------------------------------------------


def test_help_names_every_setting() -> None:
    code, text = invoke("--help")
    assert code == 0
    flags = {"capacity_kw": "--capacity-kw", "site_file": "--site", "registry_url": "--registry"}
    for name in Settings.__struct_fields__:
        assert flags.get(name, f"--{name.replace('_', '-')}") in text
    for more in ("--credentials", "--config", "--clock", "--log-level", "evcharge-sidecar init", "70"):
        assert more in text


def test_without_credentials_it_is_misuse() -> None:
    code, text = invoke()
    assert code == 2 and "--credentials" in text


def test_a_bad_central_json_is_one_sentence(tmp_path: Path) -> None:
    path = central_json(tmp_path, public_key="short")
    code, text = invoke("--credentials", path, "--data-dir", tmp_path / "data")
    assert code == 1
    assert text.startswith("error: ") and text.count("\n") == 1 and "Traceback" not in text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--capacity-kw", "-3"], "--capacity-kw has to be above 0"),
        (["--price-per-kwh", "nan"], "--price-per-kwh has to be a number"),
        (["--site", "none.toml"], "cannot read the site file none.toml"),
        (["--registry", "nonsense"], "has to be one like"),
        (["--registry", "http://192.0.2.1"], "--allow-plain-registry"),
        (["--data-dir", "{file}/data"], "{file}/data: Not a directory"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_1(arguments: list[str], expected: str, tmp_path: Path) -> None:
    path = central_json(tmp_path)
    arguments = [argument.replace("{file}", str(path)) for argument in arguments]
    if "--data-dir" not in arguments:
        arguments += ["--data-dir", str(tmp_path / "data")]
    code, text = invoke("--credentials", path, "--log-level", "error", *arguments)
    assert code == 1, text
    assert text.startswith("error: ") and text.count("\n") == 1, text
    assert expected.replace("{file}", str(path)) in text


def test_a_port_in_use_is_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = central_json(tmp_path)
        code, text = invoke(
            "--credentials", path, "--data-dir", tmp_path / "data", "--port", port, "--log-level", "error"
        )
    assert code == 1
    assert text == (
        f"error: Central cannot start: 127.0.0.1 port {port} is in use: stop the other process or take another port.\n"
    )


def test_damaged_records_are_exit_1(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry-records.sqlite").write_bytes(b"x" * 2_000)
    code, text = invoke(
        "--credentials", central_json(tmp_path), "--data-dir", tmp_path / "data", "--log-level", "error"
    )
    assert code == 1 and text.startswith("error: ") and "move it away" in text and text.count("\n") == 1


def test_a_damaged_log_is_exit_1(tmp_path: Path) -> None:
    path = central_json(tmp_path)
    common = ("--credentials", path, "--data-dir", tmp_path / "data", "--log-level", "error")
    assert invoke(*common, "--host", "192.0.2.1")[0] == 1, "a start that fails late has written records"
    (log,) = (tmp_path / "data" / "log").glob("audit-*.log")
    with log.open("r+b") as file:
        file.seek(40)
        file.write(b"\xff")
    code, text = invoke(*common)
    assert code == 1 and "the audit log is damaged" in text and text.count("\n") == 1


# --- processes --------------------------------------------------------------------------------------------------------


class Chatter:
    """A driver that asks without end."""

    def __init__(self, credential: Any, port: int) -> None:
        self.client = Client(
            credential, "127.0.0.1", port, clock=SystemClock(), listener=self, boot_id=os.urandom(16), give_up=True
        )
        self.drained = asyncio.Event()
        self.answers = 0

    def channel_up(self, _info: ChannelInfo) -> None:
        self._ask()

    def channel_down(self, _why: str) -> None:
        """The end is what the test waits for."""

    def message(self, message: m.Message) -> None:
        if isinstance(message, m.Drain):
            self.drained.set()
        elif isinstance(message, m.Refused):
            self.answers += 1
            self._ask()

    def _ask(self) -> None:
        self.client.send(m.EndCharge(id="again", session_id="s-none"))


@pytest.mark.process
async def test_sigterm_drains_and_exits_with_0_while_peers_talk(tmp_path: Path) -> None:
    registry = FakeRegistry()
    await registry.start()
    central_json(tmp_path, registry)
    try:
        async with central(tmp_path) as process:
            assert process.ready["ready"] == "central"
            assert process.ready["host"] == "127.0.0.1"
            assert process.ready["log"] == str(tmp_path / "data" / "log")
            driver = Chatter(registry.register(Role.DRIVER, "anna"), process.ready["port"])
            running = asyncio.create_task(driver.client.run())
            async with asyncio.timeout(LIMIT_S):
                await driver.client.wait_connected()
                while driver.answers < 3:
                    await asyncio.sleep(0.01)
            process.signal(signal.SIGTERM)
            async with asyncio.timeout(LIMIT_S):
                await driver.drained.wait()
            code, errors = await process.end()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    finally:
        await registry.stop()
    assert code == 0, errors
    assert "Traceback" not in errors and "handler_failed" not in errors
    history = History(tmp_path / "data" / "log")
    assert isinstance(history.logged[-1].event, e.CentralStopped)
    assert len(history.all(e.RequestRefused)) >= driver.answers, "whatever was answered is in the log"


@pytest.mark.process
async def test_a_dead_log_is_exit_70_with_one_sentence(tmp_path: Path) -> None:
    central_json(tmp_path)
    async with central(tmp_path, "--log-level", "error", before=FULL_DISK) as process:
        (tmp_path / "full").touch()
        _, writer = await asyncio.open_connection("127.0.0.1", process.ready["port"])
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        code, errors = await process.end()
        writer.close()
    assert code == 70
    assert errors.splitlines()[-1] == (
        f"error: the disk of {tmp_path / 'data'} is full: free some space, start again; nothing acknowledged is lost."
    )
    assert "Traceback" not in errors
    (tmp_path / "full").unlink()
    async with central(tmp_path, before=FULL_DISK) as process:
        process.signal(signal.SIGINT)
        assert (await process.end())[0] == 0


@pytest.mark.process
async def test_a_bug_is_exit_70_with_one_sentence_and_its_trace_in_the_logs(tmp_path: Path) -> None:
    central_json(tmp_path)
    async with central(tmp_path, before="from evcharge.central import service\nservice.FLUSH_S = 0.0\n" + A_BUG) as it:
        code, errors = await it.end()
    assert code == 70
    *logs, last = errors.splitlines()
    assert last.startswith("error: Central stopped itself because of a bug (ZeroDivisionError): start it again")
    (entry,) = (json.loads(line) for line in logs if "central.failed" in line)
    assert entry["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert entry["exception"][0]["frames"]
