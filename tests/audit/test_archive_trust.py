"""Archives and keys that were rotated, and what somebody can do who has the disk and not the key."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from evcharge.audit.archive import ANCHORS
from evcharge.audit.checkpoints import CHECKPOINTS
from evcharge.audit.merkle import stored_count
from evcharge.audit.note import Checkpoint, Signer, write_note
from evcharge.audit.record import encode
from evcharge.audit.segments import list_segments, segment_name
from evcharge.audit.tree import TREE, TreeDamaged
from evcharge.central.snapshots import make_snapshot
from tests.audit.test_archive import FILES, SEGMENT, archive, checked, data, made, start
from tests.audit.test_audit_cli import EVENTS, run

__all__ = ["data", "made"]


# --- with a key that was rotated --------------------------------------------------------------------------------------


def lives_on(data: Path, events: int = 12) -> None:
    """A life of Central that writes some more, with a snapshot in its middle and one at its end."""
    recalled = start(data, b"r")
    journal = recalled.journal
    journal._segment_bytes = SEGMENT
    for place in range(events):
        journal.append(EVENTS[-1])
        journal.flush()
        if place in (events // 2, events - 1):
            make_snapshot(data, FILES, up_to=journal.durable)
    journal.close()


def rotate(data: Path) -> None:
    assert run("rotate-key", data).exit_code == 0
    start(data).journal.close()


def test_a_rotated_key_a_snapshot_and_two_starts(data: Path) -> None:
    """Found in review: the keys of a snapshot stood in another order than in the log, and no start believed it."""
    rotate(data)
    lives_on(data)
    for _ in range(2):
        again = start(data)
        assert again.seq > len(EVENTS) and len(again.attestor.named) == 2
        again.journal.close()
    assert checked(data / "log").damage is None


def test_a_snapshot_of_before_the_rotation_is_still_one(data: Path, tmp_path: Path) -> None:
    """Found in review: only the present key's counted, and with an archive there is nothing else."""
    log, to = data / "log", tmp_path / "old"
    archive(data, to)
    rotate(data)
    for _ in range(2):
        again = start(data)
        assert again.seq > 0
        again.journal.close()
    assert make_snapshot(data, FILES).seq > len(EVENTS)
    start(data).journal.close()
    keys = checked(log, to).keys
    assert len(keys) == 2 and checked(log, to, trusted=keys[0]).damage is None


# --- what somebody can do who has the disk and not the key ------------------------------------------------------------


def test_an_invented_log_above_the_newest_checkpoint_is_not_believed(data: Path) -> None:
    """Found in review: with an anchor no checkpoint was compared, and all was said to be well."""
    log = data / "log"
    key = checked(log).keys[0]
    shutil.rmtree(log / "nothing", ignore_errors=True)
    for _, path in list_segments(log, FILES)[0]:
        path.unlink()
    durable, first, chain = 999, 1_001, bytes(32)
    made = b""
    for seq in range(first, first + 5):
        data_, chain = encode(seq, durable, b"invented", chain)
        made += data_
    (log / segment_name(first)).write_bytes(made)
    edge = [bytes([place]).hex() * 32 for place in range((first - 1).bit_count())]
    for keys in ([key], []):
        anchor = {"seq": first, "durable": durable, "chain": "00" * 32, "edge": edge, "keys": keys}
        (log / ANCHORS).write_bytes(json.dumps(anchor).encode() + b"\n")
        assert checked(log).damage is not None and checked(log, trusted=key).damage is not None


def test_a_long_tail_that_nobody_signed_is_not_believed_for_a_key(tmp_path: Path) -> None:
    recalled = start(tmp_path)
    recalled.journal.append(EVENTS[-1])
    recalled.journal.flush()
    recalled.attestor.checkpoints.make(0.0)
    recalled.attestor.signing = False
    for _ in range(2_100):
        recalled.journal.append(EVENTS[-1])
    recalled.journal.flush()
    recalled.journal.close()
    report = checked(tmp_path / "log")
    assert report.damage is None and report.unsigned > 2_000
    damage = checked(tmp_path / "log", trusted=report.keys[0]).damage
    assert damage is not None and "are not signed" in damage.why
    assert "chained and not signed yet" in run("verify", tmp_path / "log").stdout


# --- the file of nodes, when the first records are elsewhere ----------------------------------------------------------


def test_a_tree_that_is_behind_goes_on_from_the_anchor(data: Path, tmp_path: Path) -> None:
    """Found in review: kill -9 leaves it a second behind, and a new snapshot stood behind its end."""
    log, to = data / "log", tmp_path / "old"
    whole = (log / TREE).read_bytes()
    archive(data, to)
    first = checked(log).first
    (log / TREE).write_bytes(whole[: stored_count(first) * 32])
    assert run("snapshot", data, "--archive", to).exit_code == 0
    start(data).journal.close()
    assert (log / TREE).read_bytes()[: len(whole)] == whole


def test_what_only_the_archive_could_clear_up_is_no_proof(data: Path, tmp_path: Path) -> None:
    archive(data, tmp_path / "old")
    recalled = start(data)
    with pytest.raises(TreeDamaged, match="were archived"):
        recalled.attestor.mend()
    recalled.journal.close()


def test_an_archive_holds_one_log(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "old"
    to.mkdir()
    other = Signer("evcharge/other", b"o" * 32)
    (to / CHECKPOINTS).write_bytes(write_note(Checkpoint("evcharge/other", 0, sha256(b"").digest()).text(), [other]))
    shown = run("archive", data / "log", to)
    assert shown.exit_code == 1 and "holds another log" in shown.stderr
