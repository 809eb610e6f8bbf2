"""``evcharge-nc`` as a person and a script run it: real processes, pipes, files and exit codes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from evcharge.cli.nc import cli
from evcharge.cli.nc_register import parse_valid
from evcharge.console.rows import Row, to_lines
from tests.console.support import leaf, recording, vector
from tests.support.processes import Timeline, until
from tests.support.site import CP, DRIVER, Loopback, Site
from tests.support.wire import CENTRAL, credential

ROOT = Path(__file__).parents[2]
LIST = vector("message-list")


def nc(
    *arguments: object, stdin: str = "", folder: Path, stdout: IO[bytes] | int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """One run of the command."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("EVCHARGE_")}
    return subprocess.run(
        [sys.executable, "-m", "evcharge.cli.nc", *map(str, arguments)],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env={**given, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        check=False,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A recording of one message."""
    path = tmp_path / "a.rec"
    path.write_bytes(recording(("c2s", bytes.fromhex(LIST["frame"]))))
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [str(word) for word in arguments], catch_exceptions=False)


def test_decode_for_scripts_and_for_people(file: Path) -> None:
    keys = file.with_suffix(".keys")
    keys.write_text(leaf(LIST["key"]).line() + "\n")
    result = run("decode", file, "--keylog", keys)
    assert result.exit_code == 0
    first, total = map(json.loads, result.stdout.splitlines())
    assert (first["message"], first["dir"]) == (LIST["meaning"], "c2s")
    assert total["text"] == "1 frames from the client, 0 from Central."
    text = run("decode", file, "--keylog", keys, "--text", "--hex").stdout.splitlines()
    assert text[0] == "    0.000 → list            id=a after=CP-1 [seq 1, 145 B]"
    assert text[1] == "    head    0000  00 00 00 8d 10                                   |.....|"
    assert text[-2].startswith("            ") or "plain" in "".join(text)
    assert json.loads(run("decode", file).stdout.splitlines()[0])["text"] == "sealed, no key"


def test_damage_is_exit_code_1_and_shown(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])
    result = run("decode", file)
    assert result.exit_code == 1
    assert "is cut off" in result.stdout
    keys = file.with_suffix(".keys")
    keys.write_text("nonsense\n")
    result = run("decode", file, "--keylog", keys)
    assert result.exit_code == 1
    assert "line 1 is not" in result.stderr


def test_keys_of_another_channel_and_a_full_disk_are_said(file: Path) -> None:
    keys = file.with_suffix(".keys")
    keys.write_text(f"EVC1 {'00' * 16} c2s 0 {Fernet.generate_key().decode()}\n")
    result = run("decode", file, "--keylog", keys)
    assert (result.exit_code, "of another channel" in result.stderr) == (0, True)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "evcharge.cli.nc", "decode", str(file)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, "cannot write the output: No space left" in done.stderr) == (1, True)


def test_streams_that_the_caller_closed_are_empty_ones(file: Path) -> None:
    for closed in ("<&-", ">&-", "2>&-"):
        command = f"{sys.executable} -m evcharge.cli.nc decode {file} --text {closed}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_files_of_a_channel_that_never_came_are_not_left_behind(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_bytes(credential().to_json())
    for _ in range(2):
        result = run(
            "--central",
            "127.0.0.1:1",
            "--credentials",
            mine,
            "--record",
            tmp_path / "a.rec",
            "--keylog",
            tmp_path / "a.keys",
        )
        assert (result.exit_code, "is Central running" in result.stderr) == (1, True)
        assert [each.name for each in tmp_path.iterdir()] == ["mine.json"]


def test_misuse(tmp_path: Path, file: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_bytes(credential().to_json())
    assert run("--credentials", mine).exit_code == 2
    assert run("--central", "127.0.0.1:1").exit_code == 2
    assert run("--central", "127.0.0.1:x", "--credentials", mine).exit_code == 2
    result = run("--central", "127.0.0.1:1", "--replay", file, "--keylog", tmp_path / "k", "--credentials", mine)
    assert result.exit_code == 2
    assert not (tmp_path / "k").exists()
    same = run(
        "--central", "127.0.0.1:1", "--credentials", mine, "--record", tmp_path / "x", "--keylog", tmp_path / "x"
    )
    assert (same.exit_code, "two files" in same.stderr, (tmp_path / "x").exists()) == (2, True, False)
    before = run("--text", "--keylog", tmp_path / "k", "decode", file)
    assert (before.exit_code, "put the options of `decode` behind it" in before.stderr) == (2, True)
    result = run("--central", "127.0.0.1:1", "--replay", file)
    assert (result.exit_code, "nothing to replay" in result.stderr) == (1, True)


def test_central_s_own_credential_and_files_that_exist(tmp_path: Path) -> None:
    own, mine, taken = (tmp_path / name for name in ("central.json", "mine.json", "taken"))
    own.write_bytes(CENTRAL.to_json())
    mine.write_bytes(credential().to_json())
    taken.write_text("precious")
    result = run("--central", "127.0.0.1:1", "--credentials", own)
    assert result.exit_code == 1
    assert "Central connects to nobody" in result.stderr
    for option in ("--record", "--keylog"):
        result = run("--central", "127.0.0.1:1", "--credentials", mine, option, taken)
        assert result.exit_code == 1
        assert "exists already" in result.stderr
    assert taken.read_text() == "precious"
    result = run("--central", "127.0.0.1:1", "--credentials", mine, "--use-next-key")
    assert "no next key" in result.stderr


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("90s", 90), ("30m", 1_800), ("24h", 86_400)])
def test_times(text: str, seconds: int) -> None:
    assert parse_valid(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "0s", "25h", "86401s", "1d", "-1h", "1h30m", "٣h"])
def test_no_times(tmp_path: Path, text: str) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    result = run("register", "--token-file", token, "--id", "me", "--out", tmp_path / "o", f"--valid={text}")
    assert result.exit_code == 2
    assert "at most 24h" in result.stderr


def test_help_teaches_with_examples() -> None:
    text = run("--help").stdout
    for word in ("Examples:", "evcharge-nc register", '{"type":"list"}', "--replay a.rec", "Exit codes: 0 done"):
        assert word in text


def test_a_row_for_people() -> None:
    row = Row(t=1.5, dir="s2c", what="message", frame="DATA", size=9, seq=3, epoch=2, message={"type": "ack", "n": 1})
    assert list(to_lines(row)) == ["    1.500 ← ack             n=1 [seq 3, epoch 2, 9 B]"]


# --- with a running site ------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, made_registry: Path) -> Iterator[Site]:
    with Site(tmp_path, Loopback(), made_registry, Timeline("console")) as site:
        yield site


@pytest.mark.process
def test_the_whole_walk(site: Site, tmp_path: Path) -> None:
    site.start()
    central = ("--central", f"127.0.0.1:{site.central_port}")
    url = site.sidecar.ready()["url"]
    token = site.registry / "operator.token"
    made = nc("register", "--registry", url, "--token-file", token, "--id", "me", "--out", "me.json", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE((tmp_path / "me.json").stat().st_mode) == 0o600
    assert "evc1_" not in made.stdout + made.stderr

    look = nc("--credentials", "me.json", *central, stdin='{"type":"list"}\n', folder=tmp_path)
    assert look.returncode == 0, look.stderr
    rows = [json.loads(line) for line in look.stdout.splitlines()]
    (reply,) = [row["message"] for row in rows if row.get("message", {}).get("type") == "reply"]
    assert CP in {row["cp_id"] for row in reply["charge_points"]}

    with open("/dev/full", "wb") as full:
        stuck = nc("--credentials", "me.json", *central, stdin='{"type":"list"}\n', folder=tmp_path, stdout=full)
    assert (stuck.returncode, "cannot write the output" in stuck.stderr, "Traceback" in stuck.stderr) == (
        1,
        True,
        False,
    )

    for line, code, says in (
        ('{"type":"lst"}', 2, "did you mean `list`"),
        ('{"type":"stop"}', 2, "Role debug may now send list, query"),
        ('{"type":"query","what":"x"}', 2, "Invalid enum value"),
    ):
        done = nc("--credentials", "me.json", *central, stdin=line, folder=tmp_path)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr

    driver = ("--credentials", site.registry / f"{DRIVER}.json", *central)
    asked = f'{{"type":"charge_request","cp_id":"{CP}","energy_wh":20}}\n'
    # The quiet between two messages of a charge on a busy machine is no end of it.
    followed = nc(*driver, "--wait", 8, "--record", "a.rec", "--keylog", "a.keys", stdin=asked, folder=tmp_path)
    assert followed.returncode == 0, followed.stderr
    assert "will open everything" in followed.stderr
    for name in ("a.rec", "a.keys"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    decoded = nc("decode", "a.rec", "--keylog", "a.keys", folder=tmp_path)
    assert decoded.returncode == 0
    kinds = [json.loads(line).get("message", {}).get("type") for line in decoded.stdout.splitlines()]
    assert kinds.count("ticket") == 1
    assert {"charge_request", "reply", "update"} <= set(kinds)

    before = len(site.history.records)
    replayed = nc("--replay", "a.rec", *central, folder=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    assert "Central refused the replay after 2 of" in replayed.stderr
    # It left a line in the log, and the session is not charged twice.
    until(lambda: len(site.history.records) > before)
    assert len(site.history.tickets()) == 1
    site.central.stop()
    away = nc("--credentials", "me.json", *central, folder=tmp_path)
    assert (away.returncode, "is Central running?" in away.stderr) == (1, True)


@pytest.mark.process
def test_nobody_reads_the_rows_any_more(site: Site, tmp_path: Path) -> None:
    site.start()
    command = [sys.executable, "-m", "evcharge.cli.nc", "--central", f"127.0.0.1:{site.central_port}"]
    command += ["--credentials", str(site.registry / f"{DRIVER}.json")]
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    child.stdin.write(b'{"type":"list"}\n')
    child.stdin.flush()
    assert child.wait(30) in (0, 1)
    child.stdin.close()
    assert b"Traceback" not in child.stderr.read()
    child.stderr.close()
