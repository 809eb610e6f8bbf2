"""``evcharge-driver`` as a person and a script see it: what is printed, exit codes, one sentence for every failure."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from evcharge.cli import driver as module
from evcharge.cli.driver import cli
from evcharge.cli.driver_options import Door, parse_depart, parse_until
from evcharge.cli.driver_text import local_time
from evcharge.cli.driver_view import charge_point_rows
from evcharge.driver import client as client_module
from evcharge.sidecar.assembly import assemble
from evcharge.sidecar.bootstrap import initialise, open_registry
from protocol import messages as m
from protocol.credentials import Credential, Role
from protocol.errors import RefuseCode
from tests.sidecar.conftest import HandClock
from tests.support.fake_central import FakeCentral, charge_point
from tests.support.wire import credential


class InThread:
    """A Central in a thread of its own, because a command runs its own loop."""

    def __init__(self) -> None:
        self.central = FakeCentral()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FakeCentral:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.central.listen(), self._loop).result(10)
        return self.central

    def wait(self, fact: Callable[[], bool]) -> None:
        """Until what the command sent last has arrived."""
        asyncio.run_coroutine_threadsafe(self.central.until(fact), self._loop).result(10)

    def __exit__(self, *_error: object) -> None:
        asyncio.run_coroutine_threadsafe(self.central.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def thread() -> Iterator[InThread]:
    made = InThread()
    with made:
        yield made


@pytest.fixture
def central(thread: InThread) -> FakeCentral:
    return thread.central


Command = Callable[..., Result]


@pytest.fixture
def command(central: FakeCentral, credential_file: Path) -> Command:
    """Run a verb against the Central of the test."""

    def invoke(*arguments: str, **more: Any) -> Result:
        verb, rest = arguments[:1], arguments[1:]
        where = ("--central", f"127.0.0.1:{central.port}", "--credentials", str(credential_file))
        return CliRunner().invoke(cli, [*verb, *where, *rest], catch_exceptions=False, **more)

    return invoke


def deliver(central: FakeCentral) -> None:
    def at_once(_driver: str, session: m.SessionView) -> None:
        central.start(session.session_id)
        central.update(session.session_id, energy_wh=600, amount_minor=18)
        central.finish(session.session_id, session.requested_wh or 1000)

    central.on_request = at_once


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_shows_each_connector(central: FakeCentral, command: Command) -> None:
    central.rows = [charge_point("CP-1", connectors=2), m.ChargePointView(cp_id="CP\x1b[2J", state="DISCONNECTED")]
    result = command("list")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "charge point\tconnector\tstate\tpower\twho",
        "CP-1\t#1\tACTIVATED\t1.4-7.4 kW\t",
        "CP-1\t#2\tACTIVATED\t1.4-7.4 kW\t",
        "CP?[2J\t\tDISCONNECTED\t\t",
    ]
    (rows,) = lines(command("list", "--json"))
    assert rows[0]["connectors"][1]["max_w"] == 7400


def test_an_empty_site(command: Command) -> None:
    result = command("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no charge point" in result.stderr
    assert "No tickets" in command("tickets").stderr


def test_charge_and_wait_until_the_ticket(thread: InThread, central: FakeCentral, command: Command) -> None:
    deliver(central)
    result = command("charge", "CP-1", "--energy-kwh", "7.5", "--depart", "+2h", "--wait")
    assert result.exit_code == 0
    (ticket,) = [line for line in result.stdout.splitlines() if line.startswith("ticket ")]
    assert "authorized at CP-1 #1, session " in result.stdout
    assert "charging  0.600 kWh" in result.stdout
    assert "limit 7.00 kW" in result.stdout
    assert "shared with the others who charge there" in result.stdout
    assert "7.500 kWh at CP-1 for 2.25 EUR in 1:00:00, completed (target reached)" in ticket
    request = central.got(m.ChargeRequest)[0]
    assert request.energy_wh == 7500
    assert request.depart_by_ms is not None
    thread.wait(lambda: len(central.confirmed) == 1)


def test_a_ticket_that_another_program_took_is_shown_all_the_same(
    central: FakeCentral, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ASK_AGAIN_S", 0.02)
    monkeypatch.setattr(central, "send_ticket", lambda _ticket: None)
    central.on_request = lambda _driver, session: central.finish(session.session_id, 1000)
    result = command("charge", "CP-1", "--wait")
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if line.startswith("ticket ")]


def test_charge_for_scripts(central: FakeCentral, command: Command) -> None:
    deliver(central)
    told = lines(command("charge", "CP-1", "--wait", "--json"))
    assert {line["what"] for line in told} >= {"authorized", "update", "ticket"}
    assert [line["energy_wh"] for line in told if line["what"] == "ticket"] == [1000]
    (only,) = lines(command("charge", "CP-2", "--json"))
    assert (only["what"], only["cp_id"]) == ("authorized", "CP-2")


def test_without_wait_the_ticket_is_left_for_later(thread: InThread, central: FakeCentral, command: Command) -> None:
    deliver(central)
    assert "authorized at CP-1" in command("charge", "CP-1").stdout
    assert central.confirmed == []
    result = command("tickets")
    assert "\tCP-1\t1.000 kWh\t0.30 EUR\t1:00:00\tcompleted (target reached)\t" in result.stdout
    assert len(lines(command("tickets", "--json"))[0]) == 1
    thread.wait(lambda: central.confirmed == [central.ticket_book["DRIVER-1"][0].ticket_id] * 2)


def test_a_session_that_never_begins_fails(central: FakeCentral, command: Command) -> None:
    central.on_request = lambda _driver, session: central.expire(session.session_id)
    result = command("charge", "CP-1", "--wait")
    assert result.exit_code == 1
    assert "ended before it began (expired)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--energy-kwh", "x"], "'x' is not a number of kWh"),
        (["--energy-kwh", "inf"], "out of range"),
        (["--depart", "25:00"], "HH:MM or +2h"),
        (["--depart", "+"], "HH:MM or +2h"),
        (["--connector", "99"], "99 is not in the range"),
    ],
)
def test_misuse_is_exit_code_2(command: Command, arguments: list[str], says: str) -> None:
    result = command("charge", "CP-1", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_central_s_no_is_one_sentence(central: FakeCentral, command: Command) -> None:
    central.refusals["CP-1"] = ["energy_out_of_range"]
    result = command("charge", "CP-1", "--energy-kwh", "-5")
    assert (result.exit_code, result.stderr) == (1, "error: No: energy_out_of_range.\n")
    result = command("end", "s-77")
    assert (result.exit_code, result.stderr) == (1, "error: No: unknown_session.\n")


def test_end_shows_the_ticket(central: FakeCentral, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for cp_id in ("CP-1", "CP-2", "CP-3"):
        command("charge", cp_id)
    first, second, third = list(central.sessions)
    assert "0.000 kWh at CP-1" in command("end", first).stdout
    central.on_end = lambda session_id: central.expire(session_id)
    assert "there is no ticket" in command("end", second).stdout
    monkeypatch.setattr(module, "TICKET_S", 0.01)
    central.on_end = lambda _session_id: None
    assert "final meter is not known yet" in command("end", third).stdout


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (RefuseCode.UNKNOWN, "register again"),
        (RefuseCode.REVOKED, "was revoked"),
        (RefuseCode.WRONG_ROLE, "another role"),
    ],
)
def test_a_refused_driver_gets_one_sentence(
    central: FakeCentral, command: Command, code: RefuseCode, says: str, tmp_path: Path
) -> None:
    central.refuse = code
    points = tmp_path / "points"
    points.write_text("CP-1\n")
    for arguments in (["list"], ["auto", str(points)]):
        result = command(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: Central refused this driver: ")
        assert says in result.stderr
        assert "Traceback" not in result.stderr


def test_credentials_that_cannot_be_used(central: FakeCentral, tmp_path: Path) -> None:
    runner = CliRunner()
    where = ["--central", f"127.0.0.1:{central.port}"]
    result = runner.invoke(cli, ["list", *where])
    assert result.exit_code == 1
    assert "EVCHARGE_DRIVER_CREDENTIALS" in result.stderr
    for content, says in (
        (credential(Role.CP).to_json(), "credential for role cp"),
        (b"{}", "credential"),
        (credential(Role.DRIVER).to_json().replace(b"evc1_A", b"evc1_B"), "typing error"),
    ):
        file = tmp_path / "file.json"
        file.write_bytes(content)
        result = runner.invoke(cli, ["list", *where, "--credentials", str(file)])
        assert result.exit_code == 1
        assert says in result.stderr
        assert credential(Role.DRIVER).password not in result.stderr
    assert runner.invoke(cli, ["list", *where, "--credentials", str(tmp_path / "none")]).exit_code == 2


def test_nobody_listens(credential_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door.only, "__defaults__", (None, 0.05))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(cli, ["list", "--central", where, "--credentials", str(credential_file)])
    assert result.exit_code == 1
    assert f"error: Central at {where} does not answer" in result.stderr
    result = CliRunner().invoke(cli, ["list", "--central", "host:x", "--credentials", str(credential_file)])
    assert result.exit_code == 2


def test_options_stand_before_or_after_the_verb_or_in_the_environment_or_a_file(
    central: FakeCentral, credential_file: Path, tmp_path: Path
) -> None:
    where = f"127.0.0.1:{central.port}"
    config = tmp_path / "driver.toml"
    config.write_text(f'[driver]\ncentral = "{where}"\ncredentials = "{credential_file}"\n')
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[driver]\ncentral = "127.0.0.1:1"\n')
    both = {"EVCHARGE_DRIVER_CENTRAL": where, "EVCHARGE_DRIVER_CREDENTIALS": str(credential_file)}
    for arguments, variables in [
        (["--central", where, "--credentials", str(credential_file), "list"], {}),
        (["--central", "127.0.0.1:1", "list", "--central", where, "--credentials", str(credential_file)], {}),
        (["list"], both),
        (["--config", str(config), "list"], {}),
        (["--config", str(wrong), "list"], both),
        (["--config", str(wrong), "--central", where, "list", "--credentials", str(credential_file)], {}),
    ]:
        result = CliRunner().invoke(
            cli, arguments, env=variables, auto_envvar_prefix="EVCHARGE_DRIVER", catch_exceptions=False
        )
        assert result.exit_code == 0, (arguments, result.stderr)


def test_auto_over_a_file_of_points(central: FakeCentral, command: Command, tmp_path: Path) -> None:
    deliver(central)
    central.refusals["CP-2"] = ["busy"]
    points = tmp_path / "points"
    points.write_text("CP-1 1.5\nCP-2  # taken\nCP-3\n")
    result = command("auto", str(points), "--pause", "0")
    assert result.exit_code == 0
    ready, summary = lines(result)
    assert ready == {"ready": "driver", "drivers": 1}
    assert summary == {
        "sessions": 3,
        "authorized": 2,
        "refused": 1,
        "started": 2,
        "expired": 0,
        "tickets": 2,
        "energy_wh": 2500,
        "amount_minor": 75,
        "refusals": {"2:CP-2": "busy"},
    }
    assert "refused  label=2:CP-2" in result.stderr
    told = lines(command("auto", str(points), "--pause", "0", "--json", "--fault-rate", "1", "--seed", "1"))
    assert {"request", "authorized", "ticket", "fault"} <= {line.get("what") for line in told}
    assert told[-1]["sessions"] == 3


def test_auto_over_a_file_of_sessions(central: FakeCentral, command: Command, tmp_path: Path) -> None:
    deliver(central)
    sessions = tmp_path / "sessions"
    row = {"session": "a", "cp_id": "CP-1", "connector": 1, "arrive_ms": 1, "depart_ms": 2**50, "energy_wh": 40}
    rows = [row, row | {"session": "b", "cp_id": "CP-2"}]
    sessions.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    summary = lines(command("auto", "--sessions", str(sessions)))[-1]
    assert (summary["sessions"], summary["tickets"], summary["energy_wh"]) == (2, 2, 80)


def test_auto_with_one_credential_per_session(central: FakeCentral, tmp_path: Path) -> None:
    deliver(central)
    folder = tmp_path / "drivers"
    folder.mkdir()
    for number in (1, 2):
        who = credential(Role.DRIVER, number, bytes(range(number, number + 32)))
        (folder / f"{number}.json").write_bytes(who.to_json())
    sessions = tmp_path / "sessions"
    row = {"session": "DRIVER-1", "cp_id": "CP-1", "arrive_ms": 1, "depart_ms": 2**50, "energy_wh": 40}
    where = ["--central", f"127.0.0.1:{central.port}", "--credentials", str(folder)]
    sessions.write_bytes(b"\n".join(map(msgspec.json.encode, [row, row | {"session": "DRIVER-2", "cp_id": "CP-2"}])))
    result = CliRunner().invoke(cli, ["auto", *where, "--sessions", str(sessions)], catch_exceptions=False)
    assert lines(result)[-1]["tickets"] == 2
    assert {name for name, _ in central.received} == {"DRIVER-1", "DRIVER-2"}
    sessions.write_bytes(msgspec.json.encode(row | {"session": "nobody"}))
    result = CliRunner().invoke(cli, ["auto", *where, "--sessions", str(sessions)])
    assert result.exit_code == 2
    assert "'nobody' names none" in result.stderr
    result = CliRunner().invoke(cli, ["list", *where])
    assert result.exit_code == 1
    assert "several drivers (DRIVER-1, DRIVER-2)" in result.stderr


def test_auto_misused(command: Command, tmp_path: Path) -> None:
    points = tmp_path / "points"
    points.write_text("CP-1\nCP-2 lots\n")
    result = command("auto", str(points))
    assert result.exit_code == 2
    assert f"{points}:2: 'lots' is not a number of kWh" in result.stderr
    assert command("auto").exit_code == 2
    assert command("auto", str(points), "--sessions", str(points)).exit_code == 2


def test_without_a_verb_there_is_a_prompt(central: FakeCentral, credential_file: Path) -> None:
    central.rows = [charge_point("CP-1")]
    central.on_request = lambda _driver, session: (central.start(session.session_id), None)[1]
    central.refusals["CP-9"] = ["out_of_order"]
    typed = (
        "help\nlist\nfly\ncharge\ncharge CP-1 x\ncharge CP-9\nend\nwatch\ncharge CP-1 2.5 +2h\n\nend\ntickets\nquit\n"
    )
    result = typed_in(central, credential_file, typed)
    for says in (
        "Driver DRIVER-1",
        "charge CP [KWH] [DEPART]",
        "CP-1\t#1",
        "There is no 'fly'",
        "'x' is not a number of kWh",
        "No: out_of_order.",
        "No charge of this window runs",
        "ticket t-",
        "0.000 kWh",
    ):
        assert says in result, says
    request = central.got(m.ChargeRequest)[-1]
    assert request.energy_wh == 2500
    assert request.depart_by_ms is not None


def test_the_prompt_ends_with_its_input_and_names_what_still_runs(central: FakeCentral, credential_file: Path) -> None:
    central.on_request = lambda _driver, session: (central.start(session.session_id), None)[1]
    result = typed_in(central, credential_file, "charge CP-1\n")
    (session_id,) = central.sessions
    assert f"Still charging: {session_id}" in result


def typed_in(central: FakeCentral, credential_file: Path, text: str) -> str:
    """Run the prompt with ``text`` on its standard input; what it printed."""
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    with os.fdopen(read) as stdin, pytest.MonkeyPatch.context() as patch:
        where = ["--central", f"127.0.0.1:{central.port}", "--credentials", str(credential_file)]
        runner = CliRunner()
        patch.setattr("evcharge.cli.driver_prompt.stdin_descriptor", stdin.fileno)
        result = runner.invoke(cli, where, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_register_keeps_the_secret_in_its_file(tmp_path: Path) -> None:
    made = tmp_path / "registry"

    async def prepare() -> None:
        await initialise(made, "http://127.0.0.1:8080", clock=HandClock(), entropy=os.urandom)

    asyncio.run(prepare())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve() -> tuple[TestServer, Any]:
        opened = await open_registry(made, clock=HandClock(), entropy=os.urandom)
        server = TestServer(assemble(made, opened, clock=HandClock(), entropy=os.urandom).application)
        await server.start_server()
        return server, opened

    async def end(server: TestServer, opened: Any) -> None:
        await server.close()
        await opened.store.close()

    server, opened = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    try:
        out = tmp_path / "anna.json"
        arguments = ["register", "--registry", str(server.make_url("/")), "--id", "anna", "--out", str(out)]
        token = ["--token-file", str(made / "operator.token")]
        result = CliRunner().invoke(cli, [*arguments, *token], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        kept = Credential.from_json(out.read_bytes())
        assert (kept.entity, kept.role, out.stat().st_mode & 0o777) == ("anna", Role.DRIVER, 0o600)
        assert kept.password not in result.output
        result = CliRunner().invoke(cli, [*arguments, *token])
        assert result.exit_code == 1
        assert "exists already" in result.stderr
        out.unlink()
        result = CliRunner().invoke(cli, [*arguments, *token])
        assert result.exit_code == 1
        assert "registered already" in result.stderr
        assert not out.exists()
        bad = tmp_path / "token"
        bad.write_text("wrong")
        result = CliRunner().invoke(cli, [*arguments, "--token-file", str(bad)])
        assert "operator.token" in result.stderr
    finally:
        asyncio.run_coroutine_threadsafe(end(server, opened), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_departures() -> None:
    now_ms = 1_763_683_200_000
    assert parse_depart("+2h", now_ms) == now_ms + 7_200_000
    assert parse_depart("+90m", now_ms) == now_ms + 5_400_000
    assert parse_depart("+1h30m", now_ms) == now_ms + 5_400_000
    for hour in range(24):
        then_ms = parse_depart(f"{hour:02d}:30", now_ms)
        assert 0 < then_ms - now_ms <= 25 * 3_600_000
        then = datetime.fromtimestamp(then_ms / 1000).astimezone()
        assert (then.hour, then.minute) == (hour, 30)
    for bad in ("", "2h", "+", "+h", "12", "24:00", "12:60", "noon", "+2h\n"):
        with pytest.raises(ValueError, match="departure"):
            parse_depart(bad, now_ms)


def test_a_folder_that_is_not_there_is_found_before_the_id_is_taken(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    out = tmp_path / "nowhere" / "bob.json"
    arguments = ["register", "--registry", "http://127.0.0.1:1", "--token-file", str(token), "--id", "bob"]
    result = CliRunner().invoke(cli, [*arguments, "--out", str(out)])
    assert result.exit_code == 1
    assert "make it first" in result.stderr


def test_a_span_that_cannot_be_meant_is_asked_about() -> None:
    """The end before the beginning is the next day's: over a night that is meant, for nearly a day it is a slip."""
    evening_ms = parse_depart("23:00", 1_763_683_200_000)
    assert parse_until("07:00", evening_ms) == evening_ms + 8 * 3_600_000
    assert parse_until("+23h", evening_ms) == evening_ms + 23 * 3_600_000
    with pytest.raises(ValueError, match=r"until 22:00 would be 23 hours; if that is meant, write \+23h"):
        parse_until("22:00", evening_ms)


@pytest.mark.parametrize(("reason", "helps"), [("busy", True), ("no_capacity", True), ("stopped", False)])
def test_who_is_refused_where_waiting_helps_is_told(
    central: FakeCentral, command: Command, reason: str, helps: bool
) -> None:
    central.refusals["CP-1"] = [reason]
    result = command("charge", "CP-1")
    assert result.exit_code == 1
    assert ("With --wait you wait in line for it." in result.stderr) is helps


@pytest.mark.parametrize(("limit_w", "who"), [(0, "yours, paused: no power for it now"), (1, "yours"), (None, "yours")])
def test_a_session_without_power_is_seen_in_the_list(limit_w: int | None, who: str) -> None:
    row = charge_point("CP-1")
    own = msgspec.structs.replace(row.connectors[0], state="SUPPLYING", session_id="s-1", limit_w=limit_w)
    (line,) = charge_point_rows([msgspec.structs.replace(row, connectors=[own])])
    assert line[-1] == who


def test_times_name_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert local_time(1_763_683_200_000) == "2025-11-21 01:00:00 CET"
    finally:
        monkeypatch.undo()
        time.tzset()
