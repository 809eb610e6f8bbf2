"""The command lines without a Central: what is misused or missing is said in one sentence."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from evcharge.cli import cp, monitor, peer
from evcharge.cli.common import Failed
from evcharge.cp import runner
from evcharge.cp.journal import Journal
from evcharge.net.registry_client import RegistryCallFailed
from protocol.credentials import Credential, Role
from tests.support.wire import credential


def invoke(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    directory = tmp_path / "keys"
    directory.mkdir()
    for role in (Role.CP, Role.MONITOR):
        made = msgspec.structs.replace(credential(role), entity="CP-1")
        (directory / f"{role.label}.json").write_bytes(made.to_json())
    return directory


@pytest.fixture
def run_cp(tmp_path: Path, keys: Path) -> Callable[..., Result]:
    def run(*more: object) -> Result:
        return invoke(
            cp.cli,
            "run",
            *("--credentials", keys),
            *("--central", "127.0.0.1:1"),
            *("--data-dir", tmp_path / "data"),
            *more,
        )

    return run


# --- register -------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    calls: list[tuple[object, ...]] = []

    async def register(url: str, token: str, role: str, entity: str, *, plain_http: bool = False) -> bytes:
        calls.append((url, token, role, entity, plain_http))
        return f'{{"secret of": "{role}"}}'.encode()

    monkeypatch.setattr(cp, "register", register)
    return calls


def test_register_makes_two_files_that_only_their_owner_reads(
    tmp_path: Path, registry: list[tuple[object, ...]]
) -> None:
    token = tmp_path / "token"
    token.write_text("letmein\n")
    out = tmp_path / "new" / "keys"
    arguments = ("--registry", "http://localhost:1", "--token-file", token, "--id", "CP/1", "--out", out)
    result = invoke(cp.cli, "register", *arguments)
    assert result.exit_code == 0, result.output
    files = {"engine": out / "CP_1.cp.json", "monitor": out / "CP_1.monitor.json"}
    assert json.loads(result.output) == {"cp_id": "CP/1", **{name: str(file) for name, file in files.items()}}
    assert files["engine"].read_text() == '{"secret of": "cp"}'
    assert files["monitor"].read_text() == '{"secret of": "monitor"}'
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
    assert "secret" not in result.output
    assert registry == [
        ("http://localhost:1", "letmein", "cp", "CP/1", False),
        ("http://localhost:1", "letmein", "monitor", "CP/1", False),
    ]
    # Nothing is registered when the files could not be written.
    again = invoke(cp.cli, "register", *arguments)
    assert again.exit_code == 1
    assert "exists already" in again.output
    assert len(registry) == 2


def test_register_says_what_is_wrong(
    tmp_path: Path, registry: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"\xff")
    out = tmp_path / "keys"
    arguments = ("--registry", "http://localhost:1", "--token-file", token, "--id", "CP-1")
    result = invoke(cp.cli, "register", *arguments, "--out", out)
    assert (result.exit_code, "holds no token" in result.output) == (1, True)
    token.write_text("letmein")
    result = invoke(cp.cli, "register", *arguments, "--out", token / "below")
    assert (result.exit_code, "cannot make" in result.output) == (1, True)

    async def register(*_arguments: object, **_more: object) -> bytes:
        raise RegistryCallFailed("The registry sleeps; wake it.")

    monkeypatch.setattr(cp, "register", register)
    result = invoke(cp.cli, "register", *arguments, "--out", out)
    assert (result.exit_code, "The registry sleeps; wake it." in result.output) == (1, True)
    assert list(out.iterdir()) == []


# --- run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [("{oops", "script.jsonl:1: "), ('{"at_ms": 1, "cp_id": "CP-2", "do": "plug"}', "'CP-2' is not hosted here")],
)
def test_a_bad_script_is_misuse(tmp_path: Path, run_cp: Callable[..., Result], line: str, words: str) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text(line)
    result = run_cp("--script", script)
    assert result.exit_code == 2
    assert words in result.output


def test_a_bad_script_of_a_monitor_is_misuse(tmp_path: Path, keys: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text("[]")
    arguments = ("run", "--credentials", keys, "--central", "localhost:1")
    result = invoke(monitor.cli, *arguments, "--engine", "localhost:1", "--script", script)
    assert (result.exit_code, "script.jsonl:1: " in result.output) == (2, True)
    result = invoke(monitor.cli, *arguments, "--engine", "localhost")
    assert (result.exit_code, "needs the port" in result.output) == (2, True)
    result = invoke(monitor.cli, *arguments, "--engine", "localhost:1", "--keys")
    assert (result.exit_code, "needs a terminal" in result.output) == (2, True)


def test_a_rating_that_cannot_be_is_misuse(run_cp: Callable[..., Result]) -> None:
    result = run_cp("--min-kw", 8)
    assert result.exit_code == 2
    assert "the smallest power, 8000 W, is above the largest, 7360 W." in result.output
    result = run_cp("--max-kw", 1, "--phases", 3)
    assert "the smallest power, 4140 W, is above the largest, 1000 W." in result.output


def test_a_data_directory_that_is_taken(tmp_path: Path, run_cp: Callable[..., Result]) -> None:
    other = Journal.open(tmp_path / "data", "CP-1", bytes)
    result = run_cp()
    other.close()
    assert (result.exit_code, "another process runs this charge point" in result.output) == (1, True)


def test_a_trace_that_cannot_be_written(tmp_path: Path, run_cp: Callable[..., Result]) -> None:
    result = run_cp("--trace", tmp_path / "none" / "trace.jsonl")
    assert (result.exit_code, "cannot write" in result.output) == (1, True)


def test_a_health_address_that_is_taken(run_cp: Callable[..., Result]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run_cp("--health-listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.exit_code == 1
    assert "cannot listen for monitors on 127.0.0.1:" in result.output


def test_a_torn_line_at_the_end_of_a_trace_goes(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b'{"t":1}\n{"t":')
    trace = runner.TraceFile(path)
    trace.sink("A")(5, 1, 0)
    trace.close()
    assert path.read_bytes() == b'{"t":1}\n{"t":5,"cp":"A","c":1,"w":0}\n'


def test_a_trace_on_a_full_disk_ends_and_charging_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = runner.TraceFile(tmp_path / "trace.jsonl")
    with Path("/dev/full").open("wb", buffering=0) as full, capture_logs() as logs:
        monkeypatch.setattr(trace, "_file", full)
        trace.sink("A")(5, 1, 0)
        trace.flush()
        trace.sink("A")(6, 1, 0)
        trace.flush()
        trace.close()
    assert [entry["event"] for entry in logs] == ["cp.trace_failed"]
    assert "No space left" in logs[0]["sentence"]


# --- credentials ----------------------------------------------------------------------------------------------------


def test_a_directory_gives_the_credentials_of_one_role_in_order(keys: Path) -> None:
    other = msgspec.structs.replace(credential(Role.CP), entity="CP-0")
    (keys / "z.json").write_bytes(other.to_json())
    found = peer.read_credentials(keys, Role.CP)
    assert [entry.entity for entry in found] == ["CP-0", "CP-1"]
    assert all(isinstance(entry, Credential) for entry in found)


def test_credentials_that_do_not_fit(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(Failed, match="holds no credential with role driver"):
        peer.read_credentials(keys, Role.DRIVER)
    with pytest.raises(Failed, match="is a credential for role monitor, this command needs cp"):
        peer.read_credentials(keys / "monitor.json", Role.CP)
    (keys / "twice.json").write_bytes((keys / "cp.json").read_bytes())
    with pytest.raises(Failed, match="more than one cp credential for CP-1"):
        peer.read_credentials(keys, Role.CP)
    with pytest.raises(Failed, match="cannot read"):
        peer.read_credentials(tmp_path / "none", Role.CP)
    bad = tmp_path / "bad.json"
    bad.write_text('{"password": "evc1_secret"}')
    with pytest.raises(Failed) as caught:
        peer.read_credentials(bad, Role.CP)
    assert "evc1_secret" not in str(caught.value)
    with pytest.raises(Failed, match="cannot read"):
        peer.read_token(tmp_path / "none")


def test_keys_of_a_monitor(capsys: pytest.CaptureFixture[str]) -> None:
    watch = type("W", (), {"hosts": {"A": type("H", (), {"core": monitor.MonitorCore("A")})}})
    core = watch.hosts["A"].core

    async def press() -> bool:
        stop = asyncio.Event()
        for key in "Fs?x":
            monitor.press(key, watch, stop)
        assert core.simulated == "simulated_fault"
        core.verdict = "hot"
        for key in "rsq":
            monitor.press(key, watch, stop)
        return stop.is_set()

    assert asyncio.run(press())
    assert core.simulated is None
    assert "A: hot" in capsys.readouterr().out
