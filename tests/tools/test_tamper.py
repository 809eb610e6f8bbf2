"""The tampering tool: changes are found, harmless or proven by a witness, and a check that is missing is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from evcharge.audit import replay as replay_module
from evcharge.audit.attest import Attestor
from evcharge.audit.checkpoints import CHECKPOINTS
from evcharge.audit.control import state_said
from evcharge.audit.files import OsFiles
from evcharge.audit.record import MARK
from evcharge.audit.tree import TREE, LogTree
from evcharge.audit.verify import Verification
from evcharge.central.witnesses import Witnesses
from tools.tamper import attacks, judge
from tools.tamper.__main__ import cli
from tools.tamper.bytewise import Unequal, offsets
from tools.tamper.made import make, opened, with_segments, written
from tools.tamper.memory import HERE, Memory
from tools.tamper.run import ATTACKS, Settings, Task, Worker

# Small enough for seconds; several segments and checkpoints all the same.
SETTINGS = Settings(seed=5, records=300, every=211, instances=4, whole_every=10, restart_every=20)
ARGS = ["--seed", "5", "--records", "300", "--whole-every", "10", "--restart-every", "20"]

# What each attack comes to, and where that is not so for all instances.
FOUND = {
    *("removed", "removed-knowing", "swapped", "swapped-knowing", "changed", "changed-knowing", "durable-knowing"),
    *("inserted", "inserted-knowing", "cut-between", "cut-inside", "segments-off-the-end", "segment-out"),
    *("segment-out-knowing", "notes-swapped", "notes-forged"),
}
WITNESS = {
    *("removed-cut", "swapped-cut", "changed-cut", "inserted-cut", "segment-out-cut", "put-back", "regrown"),
    *("regrown-planted", "unsigned-end-witnessed"),
}
# Found, and no place is named: nothing of it is signed.
UNSIGNED = {"new-log", "new-log-unsigned"}
HARMLESS = {"notes-cut", "notes-older", "note-out", "tree-exchanged"}
UNCOVERED = {"unsigned-end"}


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker(SETTINGS)


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, [*ARGS, *args])


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_seed_gives_one_log_with_everything_in_it(worker: Worker) -> None:
    made = worker.made
    assert made.image == make(5, 300).image != make(6, 300).image
    assert len(made.spots) == 300 and len(made.segments) >= 4 and len(made.kept) >= 4
    assert made.kept[-1].checkpoint.size == 300, "closed, so its end is signed"
    bodies = [record.body for record in made.history.records]
    assert bodies.count(MARK) >= 2 and any(state_said(body) for body in bodies)
    assert all(made.image[name].endswith(bytes(8)) for name in made.segments), "reserved and not written"
    assert any(moment.records > made.kept[moment.notes - 1].checkpoint.size for moment in made.moments)


def test_what_the_knowing_attacker_writes_is_right(worker: Worker) -> None:
    made = worker.made
    again = written(attacks.items(made), made.segment_bytes)
    assert with_segments(made.image, again) == made.image


def test_a_recovery_in_memory_leaves_what_one_on_a_disk_leaves(worker: Worker, tmp_path: Path) -> None:
    made, files = worker.made, Memory(worker.made.image)
    for name, data in made.image.items():
        (tmp_path / name).write_bytes(data)
    for directory, each in ((tmp_path, OsFiles()), (HERE, files)):
        journal, _ = opened(directory, each, made.signer, made.segment_bytes)
        journal.append(b"one more")
        journal.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files.image() != made.image


# --- every change -----------------------------------------------------------------------------------------------------


def test_nothing_is_silent() -> None:
    result = invoke("--every", "211", "--instances", "4", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    rows = {row["name"]: row for row in answer["rows"]}
    assert answer["kept"] and set(rows) > set(ATTACKS) == FOUND | WITNESS | UNSIGNED | HARMLESS | UNCOVERED
    for name, row in rows.items():
        assert row["tried"] > 1 and row["silent"] == 0, name
        if name in FOUND | {"record-byte"}:
            assert row["exact"] == row["found"] == row["tried"], name
        elif name in UNSIGNED:
            assert row["found"] == row["tried"], name
        elif name in WITNESS:
            # A moment that was put back may be the end itself, but for a checkpoint.
            assert row["witness"] + sum(row["harmless"].values()) == row["tried"] and row["witness"] > 1, name
        elif name in HARMLESS | {"tree-byte"}:
            assert sum(row["harmless"].values()) == row["tried"], name
    assert rows["unsigned-end"]["uncovered"] == rows["unsigned-end"]["tried"] and rows["unsigned-end"]["concerned"] > 1
    assert sum(rows["tail-byte"]["harmless"].values()) > 1
    assert rows["checkpoint-byte"]["found"] > 1


def test_the_table_says_the_same() -> None:
    result = invoke("--every", "0", "--instances", "1")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("seed 5: 300 records in ") and lines[-1] == "nothing is silent"
    assert lines[3].split() == ["record", "removed", "1", "1", "1", "0", "0", "0", "0"]
    assert any(line.startswith("not covered: 1 of unsigned-end") for line in lines)


def test_each_byte_has_its_place(worker: Worker) -> None:
    """First and last byte of a record, of what is reserved behind it, of each checkpoint, of the derived file."""
    made = worker.made
    size, last = made.segment_bytes, made.spots[-1]
    for spot in (*made.spots[:3], last):
        for offset in (spot.offset, spot.offset + spot.record.size - 1):
            kind, verdict = worker.one(f"{spot.file}:{offset}")
            assert (kind, verdict.outcome, verdict.exact, verdict.refused) == ("record-byte", "found", True, True)
    kind, verdict = worker.one(f"{made.segments[0]}:{size - 1}")
    assert (kind, verdict.outcome, verdict.exact) == ("tail-byte", "found", True)
    kind, verdict = worker.one(f"{last.file}:{size - 1}")
    assert (kind, verdict.outcome, verdict.why, verdict.refused) == ("tail-byte", "harmless", judge.TORN, False)
    for kept in made.kept[:-1]:
        kind, verdict = worker.one(f"{CHECKPOINTS}:{kept.offset}")
        assert (kind, verdict.outcome, verdict.exact) == ("checkpoint-byte", "found", True)
    assert worker.one(f"{CHECKPOINTS}:{len(made.image[CHECKPOINTS]) - 1}")[1].why == judge.FEWER
    assert worker.one(f"{TREE}:0")[1].why == judge.SAME


def test_every_byte_has_its_turn(worker: Worker) -> None:
    made = worker.made
    names = {*made.segments, CHECKPOINTS, TREE}
    assert {name: list(places) for name, places in offsets(made, 1).items()} == {
        name: list(range(len(made.image[name]))) for name in names
    }
    tasks = Worker(SETTINGS._replace(every=7)).tasks()
    tried = {(task.file, offset) for task in tasks for offset in task.offsets}
    assert (
        sum(task.size for task in tasks if task.file)
        == len(tried)
        == sum(len(places) for places in offsets(made, 7).values())
    )


# --- a check that is missing ------------------------------------------------------------------------------------------


def _no_roots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verification, "_wrong", lambda *_: "")


def _no_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verification, "_finish", lambda self: None)


def _no_end_and_no_durable(patch: pytest.MonkeyPatch) -> None:
    _no_end(patch)
    patch.setattr(replay_module._Reader, "largest_durable_behind", lambda *_: 0)


def _central_compares_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attestor, "judged", lambda *_: None)


def _no_witness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Witnesses, "show", lambda *_: None)


def _nodes_are_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LogTree, "begins_with", lambda self, size, root: self.root_at(size) == root)


def _torn_is_cut_too_far(patch: pytest.MonkeyPatch) -> None:
    """A start that loses the last good record when what follows it is torn."""
    real = replay_module.replay

    def losing(*args: object) -> object:
        *items, end = real(*args)  # type: ignore[arg-type]
        yield from items[:-1] if isinstance(end, replay_module.TornTail) else items
        yield end

    patch.setattr("evcharge.audit.recovery.replay", losing)


@pytest.mark.parametrize(
    ("weaken", "attack"),
    [
        (_no_roots, "inserted-knowing"),
        (_no_roots, "changed-knowing"),
        (_no_roots, "durable-knowing"),
        (_no_roots, "notes-forged"),
        (_no_end, "cut-between"),
        (_no_end, "segments-off-the-end"),
        (_central_compares_nothing, "changed-knowing"),
        (_central_compares_nothing, "cut-between"),
        (_no_witness, "put-back"),
        (_no_witness, "changed-cut"),
        (_no_witness, "regrown-planted"),
        (_nodes_are_believed, "regrown-planted"),
    ],
)
def test_a_check_that_is_missing_is_noticed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, weaken: Callable[[pytest.MonkeyPatch], None], attack: str
) -> None:
    weaken(monkeypatch)
    row = worker.do(Task(attack=attack, size=4))[attack]
    assert row.silent == row.tried > 0 and row.reproduce[0][0] == f"{attack}:0"


@pytest.mark.parametrize(
    ("weaken", "kind", "started"),
    [
        (_no_end_and_no_durable, "record-byte", False),
        (_no_end_and_no_durable, "record-byte", True),
        (_torn_is_cut_too_far, "tail-byte", True),
    ],
)
def test_a_byte_that_is_not_found_is_noticed(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    weaken: Callable[[pytest.MonkeyPatch], None],
    kind: str,
    started: bool,
) -> None:
    weaken(monkeypatch)
    last = worker.made.spots[-1]
    offset = last.offset + (30 if kind == "record-byte" else last.record.size)
    found, verdict = worker._bytes.change(last.file, offset, whole=True, started=started)
    assert (found, verdict.outcome) == (kind, "silent")


def test_a_place_that_is_not_exact_is_counted(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "_misfit", lambda *_: "")
    row = worker.do(Task(attack="swapped", size=4))["swapped"]
    assert row.found == row.tried and row.exact == 0, "the next checkpoint finds it, and cannot say where it is"


def test_something_silent_is_said_and_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("--only", "changed-knowing:0").exit_code == 0
    _no_roots(monkeypatch)
    result = invoke("--every", "0", "--instances", "1")
    assert result.exit_code == 1
    line = next(line for line in result.stdout.splitlines() if "changed-knowing" in line)
    assert line == "SILENT another past was accepted: --seed 5 --records 300 --only changed-knowing:0"
    assert result.stdout.splitlines()[-1].endswith("changes are SILENT")
    again = invoke(*line.partition(": ")[2].split())
    assert again.exit_code == 1 and again.stdout == "changed-knowing: silent: another past was accepted\n"
    assert json.loads(invoke("--only", "changed-knowing:0", "--json").stdout)["outcome"] == "silent"


@pytest.mark.parametrize("only", ["changed-knowing", "changed-knowing:x", "nothing:1", "tree:99999999", ":1"])
def test_what_only_does_not_know(only: str) -> None:
    result = invoke("--only", only)
    assert result.exit_code == 2 and "--only" in result.stderr


def test_the_short_way_is_compared_with_the_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = judge.Recorder.prefixes
    monkeypatch.setattr(judge.Recorder, "prefixes", lambda self: [one._replace(signed_up_to=0) for one in real(self)])
    wrong = Worker(SETTINGS)
    with pytest.raises(Unequal):
        wrong.one(f"{wrong.made.spots[-1].file}:{wrong.made.spots[-1].offset}")
    result = invoke("--every", "211", "--instances", "0")
    assert result.exit_code == 1 and "from the first record" in result.stderr


def test_a_verification_that_reads_the_tree_cannot_be_cut_short(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Verification._measure
    monkeypatch.setattr(Verification, "_measure", lambda self: (self._files.open(HERE / TREE), real(self))[1])
    with pytest.raises(Unequal, match="tree's file"):
        worker.one(f"{TREE}:5")


def test_two_processes_count_what_one_does() -> None:
    args = ("--every", "997", "--instances", "2", "--json")
    one, two = invoke(*args), invoke(*args, "--processes", "2")
    assert one.exit_code == two.exit_code == 0
    assert msgspec.json.decode(one.stdout) == msgspec.json.decode(two.stdout)
