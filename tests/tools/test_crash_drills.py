"""The crash drills: their reports, their clocks, and each of them for a few cycles."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evcharge.net.backoff import CAP_S
from tests.support.processes import until
from tools.daemon import DaemonFailed
from tools.drill import central_kills, charge_point_kills, clock_steps
from tools.drill.crash_report import Outcome, Promise, none_of, spread
from tools.drill.crash_site import CrashSite
from tools.drill.log_check import LogFacts
from tools.drill.stepped import NoCompiler, StepClock, build

ROOT = Path(__file__).parents[2]
# Longest time that a drill of a few cycles may take on a busy machine, seconds: clients may stay away for CAP_S.
DRILL_S = CAP_S + 110


# --- reports ------------------------------------------------------------------------------------------------------


def test_a_broken_promise_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Outcome(drill="x", promises=[none_of("losses", 0)], figures={"count": 12_345})
    with pytest.raises(SystemExit) as stop:
        kept.exit()
    assert stop.value.code == 0
    broken = Outcome(
        drill="x", promises=[none_of("losses", 2), Promise("y", "1", "1", True)], figures={}, problems=["!"]
    )
    with pytest.raises(SystemExit) as stop:
        broken.exit()
    assert stop.value.code == 1
    broken.show(as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kept"], shown["promises"][0]["measured"], shown["problems"]) == (False, "2", ["!"])
    kept.show(as_json=False)
    out = capsys.readouterr().out
    assert "12,345" in out
    assert "losses" in out


def test_percentiles() -> None:
    assert spread([]) == {}
    values = [number / 1000 for number in range(1, 101)]
    random.Random(1).shuffle(values)
    assert spread(values) == {"p50": 0.051, "p99": 0.1, "count": 100}


@pytest.mark.parametrize("drill", [central_kills, charge_point_kills, clock_steps])
def test_a_folder_with_something_else_is_not_touched(drill: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    result = CliRunner().invoke(drill.command, ["--state", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds something" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("drill", [central_kills, charge_point_kills])
def test_a_state_that_is_none_is_refused(drill: Any, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    result = CliRunner().invoke(drill.command, ["--state", str(tmp_path)])
    assert result.exit_code == 2
    assert "use another --state" in result.output


# --- stepped clocks -----------------------------------------------------------------------------------------------

with_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@with_compiler
def test_only_the_wall_clock_is_stepped_and_at_once(tmp_path: Path) -> None:
    clock = StepClock(tmp_path / "clock")
    library = build(tmp_path)
    (tmp_path / "say.py").write_text(
        "import sys, time\n"
        "from datetime import datetime\n"
        "for line in sys.stdin:\n"
        "    began, now = time.monotonic(), datetime.now().timestamp()\n"
        "    print(time.time(), time.time_ns() / 1e9, now, began, time.monotonic(), flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, *clock.wrap(library, "say")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> list[float]:
            process.stdin.write("\n")
            process.stdin.flush()
            return [float(word) for word in process.stdout.readline().split()]

        begin = ask()
        clock.step(-7_200)
        stepped = ask()
        clock.step(10_800)
        again = ask()
        process.stdin.close()
    for said, step_s in ((stepped, -7_200), (again, 3_600)):
        passed_s = said[3] - begin[3]
        assert 0 <= passed_s < 60
        # All clocks were read between two looks at the one that is not stepped.
        unsure_s = said[4] - said[3] + begin[4] - begin[3]
        for kind in range(3):
            assert said[kind] - begin[kind] == pytest.approx(passed_s + step_s, abs=0.01 + unsure_s)


def test_without_a_compiler_the_clock_drill_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(NoCompiler, match="apt-get install gcc"):
        build(tmp_path)
    result = CliRunner().invoke(clock_steps.command, ["--state", str(tmp_path / "new")])
    assert result.exit_code == 2
    assert "skipped: " in result.output


# --- the drills themselves ----------------------------------------------------------------------------------------


def drill(module: str, *arguments: object) -> dict[str, Any]:
    """Run a drill as a process; what it printed. Every promise has to be kept."""
    program = f"from tools.drill.{module} import command; command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--json", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DRILL_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert outcome["kept"] is True
    return outcome


@pytest.mark.tool
async def test_central_can_be_killed_at_every_stage(tmp_path: Path) -> None:
    site = await CrashSite.open(tmp_path / "site", charge_points=1, drivers=1)
    try:
        usual_s = await site.start_central()
        await site.kill_draining_central(0.05)
        ended = 0
        for share in (0.2, 0.6, 0.9, 30.0):
            if await site.kill_starting_central(usual_s * share):
                ended += 1
            else:
                await site.kill_central()
        assert 1 <= ended < 4, "it is ready some time"
        with pytest.raises(DaemonFailed, match="ended by itself"):
            await site.kill_central()
        await site.start_central()
        live_hash = await site.stop_central()
        assert live_hash == LogFacts.read(site.log_dir).state_hash()
        assert "Traceback" not in (tmp_path / "site" / "central.log").read_text()
    finally:
        await site.close()
    files = list((tmp_path / "site" / "credentials").rglob("*.json"))
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.tool
@pytest.mark.timeout(3 * DRILL_S)
def test_central_is_killed_and_the_drill_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    few = ["--charge-points", "3", "--drivers", "3", "--state", str(folder)]
    program = "from tools.drill.central_kills import command; command()"
    with subprocess.Popen([sys.executable, "-c", program, "--cycles", "50", *few], cwd=ROOT) as broken_off:
        until(lambda: kills(folder) >= 1, deadline_s=DRILL_S)
        broken_off.kill()
    before = kills(folder)
    outcome = drill("central_kills", "--cycles", before + 2, "--round", before + 1, *few)
    assert outcome["promises"][0]["measured"] == str(before + 2)
    assert outcome["figures"]["starts of the load"] == 3, "one before, and one for each round"
    assert outcome["figures"]["rounds"] == 2
    assert outcome["figures"]["sessions"] > 0
    state = json.loads((folder / "state.json").read_bytes())
    assert state["kills"] == state["serving"] + state["starting"] + state["draining"] == before + 2
    again = drill("central_kills", "--cycles", before + 2, *few)
    assert again["figures"] == outcome["figures"] | {"seconds a cycle": again["figures"]["seconds a cycle"]}


def kills(folder: Path) -> int:
    """How far a drill is."""
    file = folder / "state.json"
    return int(json.loads(file.read_bytes())["kills"]) if file.exists() else 0


@pytest.mark.tool
@pytest.mark.timeout(DRILL_S + 10)
def test_charge_points_are_killed_while_they_charge(tmp_path: Path) -> None:
    outcome = drill("charge_point_kills", "--cycles", 3, "--charge-points", 2, "--state", tmp_path / "state")
    assert outcome["figures"]["kills of the charge points"] == 3
    assert outcome["figures"]["sessions charging at a kill"] >= 3


@pytest.mark.tool
@pytest.mark.timeout(DRILL_S + 10)
@with_compiler
def test_running_clocks_are_stepped(tmp_path: Path) -> None:
    outcome = drill("clock_steps", "--steps", "running", "--hold-s", 1, "--state", tmp_path / "state")
    assert outcome["figures"]["steps"] == 6
    assert outcome["figures"]["tickets"] >= 6
