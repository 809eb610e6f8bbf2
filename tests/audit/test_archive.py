"""Old segments moved elsewhere: what is left verifies alone, all of it verifies together, and Central starts."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from evcharge.audit.archive import ANCHORS, CannotArchive, WithArchive, archivable, move, read_anchors
from evcharge.audit.checkpoints import CHECKPOINTS, read_checkpoints
from evcharge.audit.files import OsFiles
from evcharge.audit.keys import CURRENT, load
from evcharge.audit.merkle import Frontier
from evcharge.audit.note import Checkpoint, Verifier, write_note
from evcharge.audit.segments import list_segments
from evcharge.audit.snapshot import list_snapshots
from evcharge.audit.tree import TREE
from evcharge.audit.verify import Report, Verification, verify
from evcharge.central.recall import Recalled, recall
from evcharge.central.snapshots import CannotSnapshot, make_snapshot
from evcharge.domain.digest import RULES, fingerprint
from tests.audit.test_audit_cli import EVENTS, run

FILES = OsFiles()
SEGMENT = 1_024


def start(data: Path, key: bytes = b"k") -> Recalled:
    return recall(data, FILES, origin="evcharge/test", entropy=lambda size: key * size)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a Central whose day took many segments, with a snapshot in the middle and one near the end."""
    data = tmp_path_factory.mktemp("archive")
    recalled = start(data)
    journal = recalled.journal
    journal._segment_bytes = journal._segment.capacity = SEGMENT
    for place, body in enumerate(EVENTS):
        journal.append(body)
        journal.flush()
        if place in (len(EVENTS) // 2, len(EVENTS) - 3):
            make_snapshot(data, FILES, up_to=journal.durable)
    journal.close()
    for _, path in list_segments(data / "log", FILES)[0]:
        # A file that ends early counts as if zeros followed, and nobody has to copy 64 MiB of them.
        path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(8))
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def archive(data: Path, to: Path, *more: object) -> list[str]:
    shown = run("archive", data / "log", to, "--json", *more)
    assert shown.exit_code == 0, shown.output
    moved: list[str] = json.loads(shown.stdout)["moved"]
    return moved


def checked(log: Path, archive: Path | None = None, trusted: str = "") -> Report:
    files = FILES if archive is None else WithArchive(archive)
    return verify(log, files, trusted=Verifier.parse(trusted) if trusted else None)


def test_what_is_left_and_all_of_it_verify(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    before = checked(log)
    first = start(data)
    first.journal.close()
    state = fingerprint(first.state)
    moved = archive(data, to)
    assert moved and all(Path(path).parent == to for path in moved)
    left = checked(log, trusted=before.keys[0])
    assert left.damage is None and left.first > 1 and left.records > before.records
    assert 0 < left.checkpoints <= before.checkpoints + 3
    whole = checked(log, to, trusted=before.keys[0])
    assert whole.damage is None and whole.first == 1
    assert (whole.root, whole.chain) == (left.root, left.chain)
    again = start(data)
    assert again.seq > 0, "it began with a snapshot"
    assert fingerprint(again.state) == state
    again.journal.close()
    alone = checked(to, trusted=before.keys[0])
    assert alone.damage is None and alone.records == left.first - 1, "the archive verifies by itself"
    assert not archive(data, to), "there is nothing more to move"


def test_people_are_told_what_is_elsewhere(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    assert "segments to" in run("archive", log, to).stdout
    assert "nothing to move" in run("archive", log, to).stdout
    first = checked(log).first
    assert f"records 1 to {first - 1:,} are not here" in run("verify", log).stdout
    assert run("verify", log, "--state").exit_code == 2
    assert run("verify", log, "--state", "--archive", to).exit_code == 0
    shown = run("show", log, "--json")
    assert json.loads(shown.stdout.splitlines()[0])["seq"] == first
    assert "were archived" in shown.stderr
    whole = run("show", log, "--json", "--archive", to)
    assert json.loads(whole.stdout.splitlines()[0])["seq"] == 1 and not whole.stderr
    assert run("prove", log, 5).exit_code == 1
    proof = tmp_path / "proof"
    assert run("prove", log, 5, "--archive", to, "--out", proof).exit_code == 0
    key = checked(log).keys[0]
    assert run("check-proof", proof, "--key", key).exit_code == 0
    assert run("doctor", log).exit_code == 0


def test_nothing_is_moved_that_a_snapshot_needs_or_that_is_to_stay(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    numbers = [one.first_seq for one in list_segments(log, FILES)[0]]
    keys = [Verifier.parse(key) for key in checked(log).keys]
    assert archivable(log, FILES, keys, 1, rules=RULES) in numbers
    assert archivable(log, FILES, keys, len(numbers), rules=RULES) == 1
    with pytest.raises(CannotArchive, match="0 of 2 snapshots"):
        archivable(log, FILES, keys, 1, rules=RULES + 1)
    assert not archive(data, to, "--keep", len(numbers))
    for _, path in list_snapshots(log, FILES):
        path.unlink()
    assert "0 of 2 snapshots" in run("archive", log, to).stderr
    assert [one.first_seq for one in list_segments(log, FILES)[0]] == numbers


def test_a_damaged_log_is_not_moved(data: Path, tmp_path: Path) -> None:
    log = data / "log"
    path = list_segments(log, FILES)[0][0].path
    raw = bytearray(path.read_bytes())
    raw[300] ^= 1
    path.write_bytes(raw)
    shown = run("archive", log, tmp_path / "old")
    assert shown.exit_code == 1 and "nothing was moved" in shown.stderr
    assert not (tmp_path / "old").exists()


def test_a_changed_anchor_or_record_behind_it_is_found(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    archive(data, to)
    first = checked(log).first
    good = (log / ANCHORS).read_bytes()
    anchor = json.loads(good.splitlines()[-1])
    assert anchor["seq"] == first
    for change in (
        {"edge": [anchor["edge"][0][::-1], *anchor["edge"][1:]]},
        {"chain": "00" * 32},
        {"durable": first},
        {"chain": "zz"},
        {"edge": []},
        {"keys": ["nonsense"]},
        {"seq": first + 1},
    ):
        (log / ANCHORS).write_bytes(json.dumps(anchor | change).encode() + b"\n")
        assert checked(log).damage is not None, change
    (log / ANCHORS).write_bytes(b"nonsense\n" + good)
    assert checked(log).damage is None
    (log / ANCHORS).unlink()
    damage = checked(log).damage
    assert damage is not None and "are not here" in damage.why


def test_an_anchor_cannot_bring_a_key_of_its_own(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    archive(data, to)
    key = checked(log).keys[0]
    stranger = start(tmp_path / "other", b"o")
    stranger.journal.close()
    other = stranger.attestor.keys[0]
    anchors = [json.loads(line) for line in (log / ANCHORS).read_bytes().splitlines()]
    for anchor in anchors:
        anchor["keys"] = [key, str(other)]
    (log / ANCHORS).write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in anchors))
    assert checked(log, trusted=key).damage is None, "its own checkpoints still prove it"
    signer = stranger.attestor._signer
    kept = read_checkpoints(log, FILES)[0]
    forged = [write_note(Checkpoint(signer.verifier.name, *one.checkpoint[1:]).text(), [signer]) for one in kept]
    (log / CHECKPOINTS).write_bytes(b"".join(forged))
    assert checked(log).damage is None, "it agrees with itself"
    damage = checked(log, trusted=key).damage
    assert damage is not None and "signed by the key that you gave" in damage.why


def test_a_start_that_needs_what_is_elsewhere_says_so(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    archive(data, to)
    for _, path in list_snapshots(log, FILES):
        path.unlink()
    with pytest.raises(Exception, match="snapshot --archive"):
        start(data)
    with pytest.raises(CannotSnapshot, match="snapshot --archive"):
        make_snapshot(data, FILES)
    assert run("snapshot", data, "--archive", to).exit_code == 0
    start(data).journal.close()


def test_a_damaged_tree_cannot_be_made_anew_without_the_first_records(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    archive(data, to)
    (log / TREE).write_bytes(b"x" * len((log / TREE).read_bytes()))
    with pytest.raises(Exception, match="put their segments back for one start"):
        start(data)
    for one in list_segments(to, FILES)[0]:
        shutil.copy(one.path, log)
    start(data).journal.close()
    assert archive(data, to)


def test_a_copy_that_differs_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    log, to = data / "log", tmp_path / "old"
    to.mkdir()
    name = list_segments(log, FILES)[0][0].path.name
    (to / name).write_bytes(b"another log")
    shown = run("archive", log, to)
    assert shown.exit_code == 1 and "is another file" in shown.stderr
    assert (log / name).exists()


NEVER = 0


class Failing(OsFiles):
    """Fails at the call number ``at``; syncs nothing, which would only take time here."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.ENOSPC, "full")

    def create(self, path: Path) -> int:
        self._count()
        return super().create(path)

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        self._count()
        return super().pwrite(handle, data, offset)

    def fsync(self, handle: int) -> None:
        self._count()

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        super().rename(old, new)

    def sync_directory(self, path: Path) -> None:
        self._count()

    def remove(self, path: Path) -> None:
        self._count()
        super().remove(path)


def test_whatever_fails_and_whenever_nothing_is_lost_and_it_can_be_done_again(made: Path, tmp_path: Path) -> None:
    verification = Verification(made / "log", FILES)
    report = verification.run()
    # Two segments: everything that can fail happens, and some of it twice.
    below = sorted(verification.anchors)[2]
    at, failed = 0, True
    while failed:
        at += 1
        data, to = tmp_path / str(at) / "data", tmp_path / str(at) / "old"
        shutil.copytree(made, data)
        failed = False
        try:
            move(data / "log", to, Failing(at), verification.anchors, below)
        except OSError:
            failed = True
        together = checked(data / "log", to, trusted=report.keys[0])
        assert together.damage is None and together.records == report.records, f"call {at}"
        move(data / "log", to, Failing(NEVER), verification.anchors, below)
        assert checked(data / "log").damage is None and checked(to).damage is None
        shutil.rmtree(tmp_path / str(at))
    assert at > 20


@pytest.mark.parametrize("where", ["log", "log/old", "old", "link"])
def test_a_folder_of_central_itself_is_no_archive(data: Path, where: str) -> None:
    """Found in review: the originals were taken for copies, and removed."""
    if where == "link":
        (data.parent / "link").symlink_to(data / "log")
    before = sorted((data / "log").glob("audit-*.log"))
    to = data.parent / "link" if where == "link" else data / where
    shown = run("archive", data / "log", to)
    assert shown.exit_code == 1 and "data folder" in shown.stderr
    assert sorted((data / "log").glob("audit-*.log")) == before


def test_a_hard_link_is_no_copy(data: Path, tmp_path: Path) -> None:
    first = list_segments(data / "log", FILES)[0][0].path
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / first.name).hardlink_to(first)
    assert "very file" in run("archive", data / "log", tmp_path / "old").stderr
    assert first.exists()


def test_a_checkpoint_that_ends_where_the_rest_begins_proves_the_anchor(data: Path, tmp_path: Path) -> None:
    """Found in review: it was compared with the next record's root."""
    log, to = data / "log", tmp_path / "old"
    verification = Verification(log, FILES)
    report = verification.run()
    signer = load(data / "log-key", CURRENT, FILES)
    assert signer is not None
    below = archivable(log, FILES, [signer.verifier], 2, rules=RULES)
    edge = [bytes.fromhex(one) for one in verification.anchors[below].edge]
    note = write_note(Checkpoint("evcharge/test", below - 1, Frontier(below - 1, edge).root()).text(), [signer])
    kept = [one for one in read_checkpoints(log, FILES)[0] if one.checkpoint.size >= below]
    (log / CHECKPOINTS).write_bytes(note + b"".join(one.data for one in kept))
    archive(data, to)
    left = checked(log, trusted=report.keys[0])
    assert left.damage is None and left.first == below and left.checkpoints == 1 + len(kept)
    assert run("doctor", log).exit_code == 0
    wrong = write_note(Checkpoint("evcharge/test", below - 1, bytes(32)).text(), [signer])
    (log / CHECKPOINTS).write_bytes(wrong + b"".join(one.data for one in kept))
    assert checked(log).damage is not None


def test_one_at_a_time(data: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    lock = FILES.lock(tmp_path / "old")
    assert "another one archives" in run("archive", data / "log", tmp_path / "old").stderr
    FILES.close(lock)


def test_anchors_of_a_folder_without_any(tmp_path: Path) -> None:
    assert read_anchors(tmp_path, FILES) == {}
    with pytest.raises(CannotArchive):
        archivable(tmp_path, FILES, [], 1, rules=RULES)
