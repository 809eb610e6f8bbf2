"""Tree and checkpoints of a log that is written, restarted, damaged: what agrees, what is refused, what is mended."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from evcharge.audit import merkle
from evcharge.audit.attest import Attestor
from evcharge.audit.checkpoints import CHECKPOINTS, EVERY_RECORDS, BadCheckpoints, read_checkpoints
from evcharge.audit.control import signing_key_body
from evcharge.audit.files import OsFiles
from evcharge.audit.journal import Journal
from evcharge.audit.note import Checkpoint, Signer, open_checkpoint, write_note
from evcharge.audit.record import MARK, Record
from evcharge.audit.recovery import CorruptLog, recover
from evcharge.audit.segments import segment_name
from evcharge.audit.tree import TREE, TreeDamaged, open_tree
from tests.audit.support import LIMIT_S, Facts, read

FILES = OsFiles()
ORIGIN = "evcharge.example/test"
SIGNER = Signer(ORIGIN, b"k" * 32)
SUCCESSOR = Signer(ORIGIN, b"n" * 32)


def opened(directory: Path, signer: Signer = SIGNER, retired: Signer | None = None) -> tuple[Journal, Attestor]:
    attestor = Attestor(directory, FILES, signer, retired=retired)
    journal = recover(directory, FILES, lambda _seq, _body: None, attestor=attestor, segment_bytes=8_192)
    attestor.signing = True
    return journal, attestor


def written(directory: Path, count: int = 50) -> list[Record]:
    """A log of ``count`` events and a recovery's mark, signed at its end. Its records."""
    journal, _ = opened(directory)
    facts = Facts()
    journal.start(facts.notify, facts.failed)
    for number in range(count):
        journal.append(b"event %d" % number)
    journal.close()
    assert not facts.failures
    return read(directory, FILES)[0]


def roots(records: list[Record]) -> list[bytes]:
    """The root at every size from 0."""
    frontier, found = merkle.Frontier(), [merkle.EMPTY_ROOT]
    for record in records:
        frontier.extend([merkle.leaf_hash(record.seq, record.durable, record.body)])
        found.append(frontier.root())
    return found


def test_the_end_of_a_log_is_signed(tmp_path: Path) -> None:
    records = written(tmp_path)
    kept, _ = read_checkpoints(tmp_path, FILES)
    newest = open_checkpoint(kept[-1].data, [SIGNER.verifier])
    assert newest == Checkpoint(ORIGIN, len(records), roots(records)[-1])
    assert (tmp_path / CHECKPOINTS).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / TREE).stat().st_mode & 0o777 == 0o600


def test_a_thousand_records_are_signed_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcharge.audit.checkpoints.EVERY_S", 3600.0)
    journal, attestor = opened(tmp_path)
    facts = Facts()
    journal.start(facts.notify, facts.failed)
    for number in range(EVERY_RECORDS * 3):
        journal.append(b"%d" % number)
    journal.close()
    sizes = [one.checkpoint.size for one in read_checkpoints(tmp_path, FILES)[0]]
    assert len(sizes) >= 2 and sizes[-1] == journal.durable
    assert attestor.checkpoints.newest.startswith(ORIGIN.encode())


def test_a_lone_record_is_marked_and_signed_though_nothing_follows(tmp_path: Path) -> None:
    journal, attestor = opened(tmp_path)
    facts, signed = Facts(), threading.Event()
    make = attestor.checkpoints.make

    def watched(now: float) -> None:
        make(now)
        if attestor.tree.size == 3:
            signed.set()

    attestor.checkpoints.make = watched  # type: ignore[method-assign]  # the fact that the test waits for
    journal.start(facts.notify, facts.failed, mark_after_s=0.01)
    seq = journal.append(b"alone")
    assert facts.wait(seq + 1), "a mark follows"
    assert signed.wait(LIMIT_S)
    newest = open_checkpoint(attestor.checkpoints.newest, [SIGNER.verifier])
    records = read(tmp_path, FILES)[0]
    assert [record.body for record in records] == [MARK, b"alone", MARK]
    assert records[-1].durable == seq and newest.size == 3
    journal.close()


def test_proofs_of_a_running_log(tmp_path: Path) -> None:
    records = written(tmp_path, 70)
    journal, attestor = opened(tmp_path)
    tree, at = attestor.tree, roots(read(tmp_path, FILES)[0])
    assert all(tree.begins_with(size, root) for size, root in enumerate(at))
    assert not any(tree.begins_with(size, root) for size, root in enumerate([*at[1:], at[0]]))
    assert tree.size == len(at) - 1 == len(records) + 1
    for size in range(tree.size + 1):
        assert tree.root_at(size) == at[size]
    for seq in (1, 17, 71):
        leaf = merkle.leaf_hash(*records[seq - 1][:3])
        merkle.check_inclusion(leaf, seq - 1, 72, tree.inclusion(seq, 72), at[72])
    for first in (1, 64, 72):
        merkle.check_consistency(first, at[first], 72, at[72], tree.consistency(first, 72))
    for ask in (
        lambda: tree.root_at(73),
        lambda: tree.begins_with(73, at[0]),
        lambda: tree.inclusion(1, 73),
        lambda: tree.consistency(1, 73),
    ):
        with pytest.raises(ValueError, match="the log has 72"):
            ask()
    journal.close()


@pytest.mark.parametrize("what", ["missing", "short", "empty", "wrong edge", "longer"])
def test_the_file_of_nodes_is_made_anew_where_it_does_not_fit(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = written(tmp_path)
    path = tmp_path / TREE
    whole = path.read_bytes()
    # The edge of 51 = 110011 leaves: the node over the first 32, which is the 63rd that came into being, is part of it.
    changed = {
        "missing": None,
        "short": whole[:1_000],
        "empty": b"",
        "wrong edge": whole[: 62 * 32] + bytes(32) + whole[63 * 32 :],
        "longer": whole + b"x" * 3_200,
    }[what]
    rebuilt = []
    rebuild = Attestor._rebuild
    monkeypatch.setattr(Attestor, "_rebuild", lambda self: rebuilt.append(1) or rebuild(self))
    path.unlink()
    if changed is not None:
        path.write_bytes(changed)
    journal, attestor = opened(tmp_path)
    journal.close()
    assert bool(rebuilt) == (what == "wrong edge")
    at = roots(read(tmp_path, FILES)[0])
    assert path.read_bytes()[: len(whole)] == whole
    tree = open_tree(tmp_path, FILES)
    tree.begin(merkle.Frontier(len(at) - 1, attestor.tree.frontier.edge))
    assert not tree.damaged and [tree.root_at(size) for size in range(len(at))] == at
    assert len(records) == 51
    tree.close()


def test_damage_inside_the_file_of_nodes_shows_in_the_root(tmp_path: Path) -> None:
    records = written(tmp_path)
    path = tmp_path / TREE
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    journal, attestor = opened(tmp_path)
    assert attestor.tree.root_at(1) != roots(records)[1]
    assert attestor.tree.root_at(51) == roots(records)[51]
    journal.close()


def refused(directory: Path, match: str, signer: Signer = SIGNER) -> CorruptLog:
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(CorruptLog, match=match) as caught:
        opened(directory, signer)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before, "a refusal changes nothing"
    return caught.value


def test_a_log_that_is_shorter_than_its_last_checkpoint_is_refused(tmp_path: Path) -> None:
    """The one damage that the segments alone cannot show: the last records, cut off cleanly."""
    records = written(tmp_path)
    segment = tmp_path / segment_name(1)
    end = sum(record.size for record in records[:-1])
    data = segment.read_bytes()
    segment.write_bytes(data[:end] + bytes(len(data) - end))
    error = refused(tmp_path, "ends with record 50, and a signed checkpoint says that 51 were durable")
    assert error.end.file == tmp_path / CHECKPOINTS


def test_a_history_that_was_written_anew_is_refused(tmp_path: Path) -> None:
    """Whoever has the whole disk can make a log whose chain is right; the signed checkpoint tells."""
    written(tmp_path / "real")
    journal, _ = opened(tmp_path / "false", Signer(ORIGIN, b"f" * 32))
    for number in range(50):
        journal.append(b"event %d" % (number + 1))
    journal.close()
    (tmp_path / "false" / CHECKPOINTS).write_bytes((tmp_path / "real" / CHECKPOINTS).read_bytes())
    refused(tmp_path / "false", "another root")


def test_a_checkpoint_by_another_key_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    refused(tmp_path, "no known key", SUCCESSOR)


def test_a_file_of_checkpoints_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / CHECKPOINTS
    good = path.read_bytes()
    smaller = write_note(Checkpoint(ORIGIN, 3, bytes(32)).text(), [SIGNER])
    for data, match in (("nonsense\n\n\u2014 x y\n".encode() + good, "base64"), (good + smaller + good, "smaller")):
        path.write_bytes(data)
        with pytest.raises(BadCheckpoints):
            read_checkpoints(tmp_path, FILES)
        refused(tmp_path, match)


@pytest.mark.parametrize("cut", [1, 40, 150])
def test_a_checkpoint_that_was_cut_is_dropped(tmp_path: Path, cut: int) -> None:
    written(tmp_path)
    path = tmp_path / CHECKPOINTS
    path.write_bytes(path.read_bytes()[:-cut])
    journal, _ = opened(tmp_path)
    journal.close()
    kept, length = read_checkpoints(tmp_path, FILES)
    assert length == path.stat().st_size and kept[-1].checkpoint.size == 52


def test_keys_follow_each_other_in_the_log(tmp_path: Path) -> None:
    journal, _ = opened(tmp_path)
    journal.append(signing_key_body(SIGNER.verifier, None))
    journal.append(signing_key_body(SUCCESSOR.verifier, SIGNER))
    journal.close()
    journal, attestor = opened(tmp_path, SUCCESSOR, SIGNER)
    assert attestor.key == SUCCESSOR.verifier
    journal.append(b"more")
    journal.close()
    newest = read_checkpoints(tmp_path, FILES)[0][-1].data
    for signer in (SIGNER, SUCCESSOR):
        assert open_checkpoint(newest, [signer.verifier]).size == journal.durable


@pytest.mark.parametrize("signed_by", [None, SUCCESSOR])
def test_a_key_that_the_key_before_it_did_not_name_is_refused(tmp_path: Path, signed_by: Signer | None) -> None:
    journal, _ = opened(tmp_path)
    journal.append(signing_key_body(SIGNER.verifier, None))
    journal.append(signing_key_body(SUCCESSOR.verifier, signed_by))
    journal.close()
    refused(tmp_path, "did not say so")


def test_nodes_that_are_not_there_cannot_be_asked_for(tmp_path: Path) -> None:
    tree = open_tree(tmp_path, FILES)
    tree.extend([bytes(32)] * 3)
    tree.flush()
    assert tree.root_at(3) == merkle.Frontier(3, tree.frontier.edge).root()
    tree.close()
    with pytest.raises(TreeDamaged):
        tree.root_at(3)
