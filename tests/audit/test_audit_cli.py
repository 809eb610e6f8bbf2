"""``evcharge-audit`` as people and scripts use it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evcharge.audit.attest import Attestor
from evcharge.audit.checkpoints import CHECKPOINTS, read_checkpoints
from evcharge.audit.event_codec import encode
from evcharge.audit.files import OsFiles
from evcharge.audit.keys import CURRENT, load
from evcharge.audit.receipt import ticket_told
from evcharge.audit.recovery import recover
from evcharge.audit.segments import segment_name
from evcharge.central.recall import recall
from evcharge.cli.audit import cli
from evcharge.domain import commands as c
from evcharge.domain.events import HoldLifted, HoldPlaced, TicketAdjusted, TicketIssued
from evcharge.domain.site import NodeConfig
from evcharge.domain.words import Hold, Stamp
from evcharge.ids import CommandId, NodeId
from evcharge.units import Watts
from tests.domain.test_properties import World
from tests.support.samples import SAMPLES
from tests.support.scenario import (
    BEN,
    CP,
    MAIN,
    OTHER,
    Scenario,
    charging,
    connected,
    reallocate,
    report,
    request,
    site,
)

FILES = OsFiles()
EVENTS = World().log


def run(*arguments: object, **more: Any) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments], **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a Central that had a known day."""
    data = tmp_path_factory.mktemp("data")
    recalled = recall(data, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size)
    for body in EVENTS:
        recalled.journal.append(body)
    recalled.journal.flush()
    recalled.journal.close()
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def key_of(data: Path) -> str:
    return str(json.loads(run("verify", data / "log", "--json").stdout)["keys"][0])


def test_a_whole_log_is_ok(made: Path) -> None:
    shown = run("verify", made / "log")
    assert shown.exit_code == 0
    records = len(EVENTS) + 2
    assert f"ok       {records} records in 1 segment" in shown.stdout and f"up to record {records}" in shown.stdout
    said = json.loads(run("verify", made / "log", "--json", "--state", "--key", key_of(made)).stdout)
    assert (said["ok"], said["records"], said["damage"], said["states"]) == (True, records, None, 0)


def test_damage_is_exit_code_1_with_file_place_and_number(data: Path) -> None:
    path = data / "log" / segment_name(1)
    raw = bytearray(path.read_bytes())
    raw[300] ^= 1
    path.write_bytes(raw)
    shown = run("verify", data / "log")
    assert shown.exit_code == 1
    assert f"damaged  {path} at offset" in shown.stdout and "record 3:" in shown.stdout
    said = json.loads(run("verify", data / "log", "--json").stdout)
    assert not said["ok"] and said["damage"]["seq"] == 3
    doctor = run("doctor", data / "log")
    assert doctor.exit_code == 1 and "grave" in doctor.stdout and "last good copy" in doctor.stdout
    assert not json.loads(run("doctor", data / "log", "--json").stdout)["ok"]


def test_misuse_is_exit_code_2(made: Path, tmp_path: Path) -> None:
    for arguments in (
        ("verify",),
        ("verify", tmp_path / "none"),
        ("verify", made / "log", "--key", "nonsense"),
        ("prove", made / "log"),
        ("prove", made / "log", 1, "--since", made / "log" / CHECKPOINTS),
        ("prove", made / "log", 0),
        ("check-proof", made / "log" / CHECKPOINTS),
        ("show", made / "log", "--kind", "nonsense"),
        ("show", made / "log", "--since", "yesterday"),
        ("nonsense",),
    ):
        found = run(*arguments)
        assert (found.exit_code, "Traceback" in found.output) == (2, False), arguments


def test_a_proof_is_made_checked_and_refused_when_changed(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    assert run("prove", data / "log", 5, "--out", file).exit_code == 0
    good = run("check-proof", file, "--key", key_of(data))
    assert good.exit_code == 0 and "record 5 is in the log evcharge/test" in good.stdout
    piped = run("check-proof", "-", "--key", key_of(data), "--json", input=run("prove", data / "log", 5).stdout)
    assert json.loads(piped.stdout)["shows"] == "inclusion"
    file.write_text(file.read_text().replace('"seq": 5', '"seq": 6'))
    bad = run("check-proof", file, "--key", key_of(data))
    assert (bad.exit_code, "does not hold" in bad.stderr) == (1, True)
    file.write_text("{}")
    assert run("check-proof", file, "--key", key_of(data)).exit_code == 1
    assert run("prove", data / "log", 10_000).exit_code == 1


def test_a_kept_checkpoint_is_proven_to_be_the_beginning(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(read_checkpoints(data / "log", FILES)[0][-1].data)
    recalled = recall(data, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size)
    recalled.journal.close()
    proof = run("prove", data / "log", "--since", kept)
    assert proof.exit_code == 0
    shown = run("check-proof", "-", "--key", key_of(data), input=proof.stdout)
    assert f"of {len(EVENTS) + 3} records begins with that of {len(EVENTS) + 2}" in shown.stdout
    kept.write_text("no note")
    assert run("prove", data / "log", "--since", kept).exit_code == 1


def test_records_are_shown_and_filtered(made: Path) -> None:
    whole = run("show", made / "log").stdout.splitlines()
    assert len(whole) == len(EVENTS) + 2
    lines = [json.loads(line) for line in run("show", made / "log", "--json").stdout.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(EVENTS) + 3))
    for option, value in (("--cp", "cp-1"), ("--driver", "anna"), ("--kind", "charge_authorized"), ("--kind", "mark")):
        some = run("show", made / "log", option, value, "--json").stdout.splitlines()
        assert 0 < len(some) < len(whole), option
    assert run("show", made / "log", "--until", "2000-01-01").stdout == ""
    assert len(run("show", made / "log", "--since", "2000-01-01").stdout.splitlines()) == len(EVENTS)


def test_why_a_session_got_what_it_got(made: Path) -> None:
    line = run("show", made / "log", "--kind", "charge_authorized", "--json").stdout.splitlines()[0]
    session_id = json.loads(line)["data"]["session_id"]
    told = run("why", made / "log", session_id).stdout
    assert "was authorized at cp-" in told and "set-point" in told and "kW if Central is lost)" in told
    assert "because of" in told or "takes" in told or "shared by" in told, "the basis is told"
    steps = [json.loads(line) for line in run("why", made / "log", session_id, "--json").stdout.splitlines()]
    assert [step["seq"] for step in steps] == sorted(step["seq"] for step in steps)
    ruling = run("why", made / "log", session_id, "--at", "2100-01-01", "--json").stdout.splitlines()
    assert 1 <= len(ruling) <= 2
    nobody = run("why", made / "log", "s-nobody")
    assert (nobody.exit_code, "no session, charge point, driver or node" in nobody.stderr) == (1, True)


def test_why_a_charge_point_refused(tmp_path: Path) -> None:
    scenario = Scenario().given(site(2_000), *connected(), *connected(OTHER), request())
    scenario.when(request("s-2", OTHER, BEN))
    recalled = recall(tmp_path, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size)
    for body in scenario.log:
        recalled.journal.append(body)
    recalled.journal.flush()
    recalled.journal.close()
    told = run("why", tmp_path / "log", OTHER).stdout
    assert "ben was refused: The substation of cp-2 cannot serve one more vehicle now" in told
    assert "(main has 2 kW, 1.38 kW of it taken; what is left is kept for others who come first" in told
    assert "cp-2 connected" in told and "anna" not in told


def test_one_request_is_found_and_named(tmp_path: Path) -> None:
    """What a gateway said of whom it acted for; a text that somebody else wrote into a log is shown, not obeyed."""
    scenario = Scenario().given(site(), *connected())
    held = HoldPlaced(cp_id=CP, hold=Hold.ADMIN)
    said = Stamp(at_ms=5, clock_ms=6, actor="operator:gw-1", by="dispatcher", trace="7f3c-19")
    strange = Stamp(at_ms=7, clock_ms=8, actor="operator:gw-1", by="=1+\x1b[2J", trace="x")
    lifted = HoldLifted(cp_id=CP, hold=Hold.ADMIN)
    recalled = recall(tmp_path, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size)
    for body in (*scenario.log, encode(held, said), encode(lifted, strange)):
        recalled.journal.append(body)
    recalled.journal.flush()
    recalled.journal.close()
    log = tmp_path / "log"
    (line,) = run("show", log, "--trace", "7f3c-19").stdout.splitlines()
    assert "operator:gw-1" in line and line.endswith("hold=ADMIN  (for dispatcher, request 7f3c-19)")
    (found,) = map(json.loads, run("show", log, "--by", "dispatcher", "--cp", CP, "--json").stdout.splitlines())
    assert (found["kind"], found["by"], found["trace"]) == ("hold_placed", "dispatcher", "7f3c-19")
    assert not {"by", "trace"} & set(json.loads(run("show", log, "--json").stdout.splitlines()[1]))
    for wrong in (("--trace", "7f3c-1"), ("--by", "disp"), ("--trace", "x", "--by", "dispatcher")):
        assert run("show", log, *wrong).stdout == ""
    told = run("why", log, CP).stdout
    assert "cp-1 may not charge: ADMIN (operator:gw-1, for dispatcher, request 7f3c-19)" in told
    step = [json.loads(line) for line in run("why", log, CP, "--json").stdout.splitlines()][-2]
    assert (step["actor"], step["by"], step["trace"]) == ("operator:gw-1", "dispatcher", "7f3c-19")
    for shown in (told, run("show", log, "--trace", "x").stdout):
        assert "\x1b" not in shown and "for =1+\\x1b[2J" in shown
    rows = list(csv.DictReader(io.StringIO(run("export", log, "--cp", CP).stdout)))
    assert [(row["by"], row["trace"]) for row in rows[-2:]] == [("dispatcher", "7f3c-19"), ("'=1+\x1b[2J", "x")]


def test_a_table_for_a_spreadsheet(made: Path, tmp_path: Path) -> None:
    rows = list(csv.reader(io.StringIO(run("export", made / "log").stdout)))
    assert rows[0][0] == "seq" and len(rows) == len(EVENTS) + 3
    out = tmp_path / "log.csv"
    assert run("export", made / "log", "--cp", "cp-1", "--out", out).exit_code == 0
    assert all(row[6] == "cp-1" for row in list(csv.reader(out.open(newline="")))[1:])
    assert run("export", made / "log", "--out", tmp_path / "none" / "x").exit_code == 1


def test_a_key_is_rotated_by_the_next_start(data: Path) -> None:
    old = key_of(data)
    asked = run("rotate-key", data)
    assert asked.exit_code == 0
    new = asked.stdout.split()[2]
    assert new != old and (data / "log-key" / "next").stat().st_mode & 0o777 == 0o600
    assert run("rotate-key", data).exit_code == 1, "one at a time"
    recall(data, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size).journal.close()
    said = json.loads(run("verify", data / "log", "--json", "--key", old).stdout)
    assert said["ok"] and said["keys"] == [old, new]
    assert [path.name for path in (data / "log-key").iterdir()] == ["current"]
    recall(data, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size).journal.close()
    assert json.loads(run("verify", data / "log", "--json", "--key", old).stdout)["ok"]


def test_another_key_than_the_logs_does_not_go_on(data: Path) -> None:
    from evcharge.audit.keys import BadKeyFile

    (data / "log-key" / "current").unlink()
    with pytest.raises(BadKeyFile, match="from a backup"):
        recall(data, FILES, origin="evcharge/test", entropy=lambda size: b"x" * size)


def test_a_snapshot_by_hand(data: Path) -> None:
    made = run("snapshot", data)
    assert made.exit_code == 0 and f"{len(EVENTS) + 2} records replayed" in made.stdout
    assert run("snapshot", data).exit_code == 1, "there is nothing new"


def test_the_command_follows_a_log_until_nobody_reads(made: Path) -> None:
    command = [sys.executable, "-m", "evcharge.cli.audit", "show", str(made / "log"), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        assert "mark" in first
        process.terminate()
        assert "Traceback" not in process.stderr.read()


def attestor_of(data: Path) -> Attestor:
    signer = load(data / "log-key", CURRENT, FILES)
    assert signer is not None
    attestor = Attestor(data / "log", FILES, signer)
    attestor.signing = True
    return attestor


def test_a_ticket_has_its_receipt(data: Path, tmp_path: Path) -> None:
    issued = next(sample for sample in SAMPLES if isinstance(sample, TicketIssued))
    journal = recover(data / "log", FILES, lambda *_: None, attestor=attestor_of(data))
    journal.append(encode(issued, Stamp(at_ms=1, clock_ms=2)))
    journal.flush()
    journal.close()
    receipt, ticket = tmp_path / "receipt", issued.ticket
    assert run("prove", data / "log", "--ticket", ticket.ticket_id, "--out", receipt).exit_code == 0
    shown = run("check-proof", receipt, "--key", key_of(data))
    assert shown.exit_code == 0 and f"ticket {ticket.ticket_id}: {ticket.driver_id} at" in shown.stdout
    none = run("prove", data / "log", "--ticket", "t-none")
    assert (none.exit_code, "no ticket t-none" in none.stderr) == (1, True)
    assert run("prove", data / "log", 1, "--ticket", "t-none").exit_code == 2


def test_other_records_tell_no_ticket() -> None:
    assert ticket_told(EVENTS[0]) == "" and ticket_told(b"nonsense") == ""
    adjusted = next(sample for sample in SAMPLES if isinstance(sample, TicketAdjusted))
    told = ticket_told(encode(adjusted, Stamp(at_ms=1, clock_ms=2)))
    assert told.startswith(f"ticket {adjusted.ticket_id} adjusted by {adjusted.energy_wh} Wh")


# --- what a stranger does ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["verify", "show", "export", "doctor", "prove", "why", "archive"])
def test_a_folder_without_a_log_is_misuse(made: Path, tmp_path: Path, command: str) -> None:
    more = {"prove": ["1"], "why": ["CP-1"], "archive": [tmp_path / "x"]}.get(command, [])
    nothing = run(command, tmp_path, *more)
    assert (nothing.exit_code, "there is no audit log" in nothing.stderr) == (2, True)
    data = run(command, made, *more)
    assert (data.exit_code, f"did you mean {made / 'log'}?" in data.stderr) == (2, True)


@pytest.mark.parametrize("seq", ["-1", "0", str(10**30), "true"])
def test_a_proof_with_an_odd_number_is_refused(made: Path, tmp_path: Path, seq: str) -> None:
    proof = run("prove", made / "log", 5).stdout.replace('"seq": 5', f'"seq": {seq}')
    shown = run("check-proof", "-", "--key", key_of(made), input=proof)
    assert shown.exit_code == 1 and "is no proof" in shown.stderr


def piped(made: Path, *arguments: str, to: str) -> subprocess.CompletedProcess[bytes]:
    command = (
        f"{sys.executable} -m evcharge.cli.audit {' '.join(arguments)} {made / 'log'} {to}; exit ${{PIPESTATUS[0]}}"
    )
    return subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)


def test_output_that_cannot_be_written_is_no_damage(made: Path) -> None:
    full = piped(made, "verify", to="> /dev/full")
    assert (full.returncode, b"cannot be written: No space left" in full.stderr) == (74, True)
    assert b"Traceback" not in full.stderr
    unread = piped(made, "show", to="| true")
    assert unread.returncode in (0, 141) and not unread.stderr


def test_why_a_session_was_lowered_and_fed_from_elsewhere(tmp_path: Path) -> None:
    zoo = NodeId("zoo")
    capacities = {MAIN: Watts(22_000), zoo: Watts(22_000), NodeId("else"): Watts(9_000)}
    scenario = Scenario().given(
        site(capacities=capacities, nodes={MAIN: NodeConfig(backups=(zoo,))}), *connected(), *charging()
    )
    scenario.given(report(NodeId("else"), ok=False), report(MAIN, ok=False, cause="breaker open"))
    for _ in range(3):
        scenario.given(reallocate())
        newest = scenario.session().lease.newest
        assert newest is not None
        scenario.given(c.ReportResult(cp_id=CP, command_id=CommandId(newest.command_id), outcome="done"))
    recalled = recall(tmp_path, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size)
    for body in scenario.log:
        recalled.journal.append(body)
    recalled.journal.flush()
    recalled.journal.close()
    told = run("why", tmp_path / "log", "s-1").stdout
    assert "main was lost (breaker open)" in told
    assert "main is lost or on trial: no more than 1.38 kW until a backup feeds it or the node is well again" in told
    assert "cp-1 is fed from zoo instead of main: main is lost" in told
    assert "else" not in told, "another node is not its business"
