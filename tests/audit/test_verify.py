"""Offline: every change of a log is found or harmless, whoever reads while it is written sees whole records only."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from evcharge.audit.attest import Attestor
from evcharge.audit.checkpoints import CHECKPOINTS, read_checkpoints
from evcharge.audit.control import signing_key_body, state_body
from evcharge.audit.doctor import examine
from evcharge.audit.event_codec import encode
from evcharge.audit.files import OsFiles
from evcharge.audit.folding import Folding
from evcharge.audit.follow import Follower
from evcharge.audit.journal import Journal
from evcharge.audit.lines import Filter, line_of, parse_when, when
from evcharge.audit.note import BadNote, Signer
from evcharge.audit.proof import CannotProve, Consistency, Inclusion, Prover, check
from evcharge.audit.record import Record
from evcharge.audit.recovery import recover
from evcharge.audit.segments import segment_name
from evcharge.audit.tree import TREE
from evcharge.audit.verify import Verification, verify
from evcharge.domain import events as e
from evcharge.domain.digest import RULES, fingerprint
from evcharge.domain.evolve import evolve
from evcharge.domain.state import State
from evcharge.domain.words import Role, Stamp
from evcharge.ids import Fence
from tests.audit.support import Facts, read

FILES = OsFiles()
ORIGIN = "evcharge.example/test"
SIGNER = Signer(ORIGIN, b"k" * 32)
SUCCESSOR = Signer(ORIGIN, b"n" * 32)
STAMP = Stamp(at_ms=1_700_000_000_123, clock_ms=50_000, actor="driver:anna", source="10.0.0.1")
SEGMENT = 4_096


def opened(directory: Path, signer: Signer = SIGNER, retired: Signer | None = None) -> Journal:
    attestor = Attestor(directory, FILES, signer, retired=retired)
    journal = recover(directory, FILES, lambda *_: None, attestor=attestor, segment_bytes=SEGMENT)
    if attestor.key != signer.verifier:
        journal.append(signing_key_body(signer.verifier, retired))
        journal.flush()
    attestor.signing = True
    return journal


def event(number: int) -> e.Event:
    return e.PeerConnected(
        role=Role.DRIVER, entity=f"anna-{number}", username="u", fence=Fence(number), boot_id=b"\1" * 16
    )


def written(directory: Path, count: int = 60) -> Path:
    """A log of real events in several segments, signed at its end."""
    journal = opened(directory)
    facts = Facts()
    journal.start(facts.notify, facts.failed)
    for number in range(count):
        journal.append(encode(event(number), STAMP))
    journal.close()
    return directory


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("log"))


def copy(log: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(log, tmp_path / "copy"))


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("audit-*.log"))


def test_a_whole_log(log: Path) -> None:
    records = read(log, FILES)[0]
    steps: list[tuple[int, int]] = []
    report = verify(log, FILES, trusted=SIGNER.verifier, progress=lambda done, total: steps.append((done, total)))
    assert report.damage is None and not report.torn
    assert (report.records, report.segments) == (len(records), len(segments(log))) == (62, report.segments)
    assert report.chain == records[-1].chain.hex()
    assert report.signed_up_to == 62 and report.keys == [str(SIGNER.verifier)]
    assert report.root == read_checkpoints(log, FILES)[0][-1].checkpoint.root.hex()
    assert steps[-1] == (report.bytes, report.bytes) and report.segments > 2


def test_another_key_is_not_trusted(log: Path) -> None:
    report = verify(log, FILES, trusted=SUCCESSOR.verifier)
    assert report.damage is not None and "signed by the key that you gave" in report.damage.why


def test_an_empty_folder_is_a_whole_log_of_nothing(tmp_path: Path) -> None:
    report = verify(tmp_path, FILES)
    assert report.damage is None and report.records == 0


def test_a_rotated_key(tmp_path: Path) -> None:
    written(tmp_path)
    journal = opened(tmp_path, SUCCESSOR, SIGNER)
    journal.append(encode(event(99), STAMP))
    journal.close()
    report = verify(tmp_path, FILES, trusted=SIGNER.verifier)
    assert report.damage is None and report.keys == [str(SIGNER.verifier), str(SUCCESSOR.verifier)]
    later = verify(tmp_path, FILES, trusted=SUCCESSOR.verifier)
    assert later.damage is None and later.signed_up_to == later.records, "its checkpoints cover all that was before it"
    assert 0 < later.checkpoints < report.checkpoints


def test_every_byte_that_is_changed_is_found_or_is_behind_the_last_record(log: Path, tmp_path: Path) -> None:
    """One byte in each of many places of every file; the tool `tools.tamper` does all of them."""
    directory = copy(log, tmp_path)
    for path in [*segments(directory), directory / CHECKPOINTS]:
        good = path.read_bytes()
        used = len(good.rstrip(b"\0"))
        for place in range(0, used, 97):
            path.write_bytes(good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :])
            report = verify(directory, FILES, trusted=SIGNER.verifier)
            assert report.damage is not None, (path.name, place)
        path.write_bytes(good)
    assert verify(directory, FILES).damage is None


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_segment_that_is_missing_is_found(log: Path, tmp_path: Path, which: int) -> None:
    directory = copy(log, tmp_path)
    segments(directory)[which].unlink()
    assert verify(directory, FILES).damage is not None


def test_records_that_were_swapped_removed_or_cut_off_are_found(log: Path, tmp_path: Path) -> None:
    directory = copy(log, tmp_path)
    path = segments(directory)[0]
    good = path.read_bytes()
    records = [record for record in read(directory, FILES)[0] if record.seq < 8]
    cuts = [0]
    for record in records:
        cuts.append(cuts[-1] + record.size)
    pieces = [good[a:b] for a, b in pairwise(cuts)]
    rest = good[cuts[-1] :]
    for changed in (
        [pieces[1], pieces[0], *pieces[2:]],
        [pieces[0], *pieces[2:]],
        [*pieces[:3], pieces[2], *pieces[3:]],
    ):
        path.write_bytes((b"".join(changed) + rest)[: len(good)].ljust(len(good), b"\0"))
        assert verify(directory, FILES).damage is not None
    path.write_bytes(good)
    last = segments(directory)[-1]
    data = last.read_bytes()
    sizes = [record.size for record in read(directory, FILES)[0] if record.seq >= int(last.name[6:22], 16)]
    end = sum(sizes[:-1])
    last.write_bytes(data[:end] + bytes(len(data) - end))
    damage = verify(directory, FILES).damage
    assert damage is not None and "signed checkpoint says" in damage.why, "the chain alone cannot know"


def test_a_torn_tail_is_no_damage(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal._attestor.signing = False  # type: ignore[union-attr]  # the process dies before it signs
    for number in range(3):
        journal.append(encode(event(number), STAMP))
    journal.close()
    path = segments(tmp_path)[-1]
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    path.write_bytes(data[: used - 9] + bytes(len(data) - used + 9))
    report = verify(tmp_path, FILES)
    assert report.damage is None and "record 5" in report.torn


def test_hashes_of_the_state_come_out_again(tmp_path: Path) -> None:
    journal, state = opened(tmp_path), State()
    for number in range(3):
        evolve(state, event(number), STAMP)
        journal.append(encode(event(number), STAMP))
    journal.append(state_body(RULES, fingerprint(state)))
    journal.append(state_body(RULES + 1, bytes(32)))
    journal.append(state_body(RULES, bytes(32)))
    journal.close()
    folding = Folding()
    Verification(tmp_path, FILES).run(None, folding.take)
    assert folding.compared == 1
    assert folding.diverged is not None and folding.diverged.seq == 8 and "another state" in folding.diverged.why


# --- following --------------------------------------------------------------------------------------------------------


def test_a_follower_sees_each_whole_record_once_while_it_is_written(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    follower = Follower(tmp_path, FILES)
    seen = [record.seq for record in follower.records()]
    assert seen == [1, 2]
    facts = Facts()
    journal.start(facts.notify, facts.failed)
    for number in range(60):
        seq = journal.append(encode(event(number), STAMP))
        if number % 7 == 0:
            assert facts.wait(seq)
            seen += [record.seq for record in follower.records()]
            assert seen == list(range(1, seq + 1))
    journal.close()
    seen += [record.seq for record in follower.records()]
    assert seen == list(range(1, 63)) and list(follower.records()) == []
    again = opened(tmp_path)
    assert [record.seq for record in follower.records()] == [63], "in the file that took the old one's place"
    again.close()


def test_a_follower_may_begin_anywhere(log: Path) -> None:
    for seq in (1, 2, 30, 62, 63, 100):
        assert [record.seq for record in Follower(log, FILES, seq).records()] == list(range(seq, 63))


def test_half_a_record_is_not_there_yet(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = segments(tmp_path)[0]
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    follower = Follower(tmp_path, FILES)
    path.write_bytes(data[: used - 20].ljust(len(data), b"\0"))
    assert [record.seq for record in follower.records()] == [1, 2, 3, 4]
    path.write_bytes(data)
    assert [record.seq for record in follower.records()] == [5]


# --- proofs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["none", "missing", "wrong"])
def test_every_record_can_be_proven(log: Path, tmp_path: Path, damage: str) -> None:
    directory = copy(log, tmp_path)
    if damage == "missing":
        (directory / TREE).unlink()
    if damage == "wrong":
        (directory / TREE).write_bytes(bytes((log / TREE).stat().st_size))
    for seq in (1, 2, 33, 62):
        prover = Prover(directory, FILES)
        proof = prover.inclusion(seq)
        shown = check(proof, [SIGNER.verifier])
        assert (shown.kind, shown.seq, shown.size, shown.origin) == ("inclusion", seq, 62, ORIGIN)
        assert shown.body == read(directory, FILES)[0][seq - 1].body
        assert prover.rebuilt == (damage != "none")


def test_what_a_proof_cannot_show(log: Path) -> None:
    proof = Prover(log, FILES).inclusion(5)
    with pytest.raises(BadNote):
        check(proof, [SUCCESSOR.verifier])
    for changed in (
        Inclusion(seq=6, durable=proof.durable, body=proof.body, proof=proof.proof, checkpoint=proof.checkpoint),
        Inclusion(seq=5, durable=0, body=proof.body, proof=proof.proof, checkpoint=proof.checkpoint),
        Inclusion(seq=5, durable=proof.durable, body="AAAA", proof=proof.proof, checkpoint=proof.checkpoint),
        Inclusion(seq=5, durable=proof.durable, body="?", proof=proof.proof, checkpoint=proof.checkpoint),
    ):
        with pytest.raises(ValueError):
            check(changed, [SIGNER.verifier])
    for seq in (63, 10**9):
        with pytest.raises(CannotProve, match="covers records 1 to 62"):
            Prover(log, FILES).inclusion(seq)


def test_a_log_is_shown_to_begin_with_an_older_one(tmp_path: Path) -> None:
    written(tmp_path)
    older = read_checkpoints(tmp_path, FILES)[0][-1].data
    journal = opened(tmp_path)
    journal.append(encode(event(1), STAMP))
    journal.close()
    proof = Prover(tmp_path, FILES).consistency(older)
    shown = check(proof, [SIGNER.verifier])
    assert (shown.kind, shown.seq, shown.size) == ("consistency", 62, 64)
    newest = proof.checkpoint
    same = Prover(tmp_path, FILES).consistency(newest.encode())
    assert check(same, [SIGNER.verifier]).seq == 64
    with pytest.raises(CannotProve, match="covers 64 records"):
        shutil.rmtree(tmp_path)
        Prover(written(tmp_path), FILES).consistency(newest.encode())
    with pytest.raises(ValueError):
        check(Consistency(older=older.decode(), proof=[], checkpoint=newest), [SIGNER.verifier])


def test_without_a_checkpoint_there_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(CannotProve, match="no signed checkpoint"):
        Prover(tmp_path, FILES)


# --- doctor -----------------------------------------------------------------------------------------------------------


def test_a_sound_log_needs_no_doctor(log: Path) -> None:
    diagnosis = examine(log, FILES)
    assert [finding.what for finding in diagnosis.findings if finding.grave] == []


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("record", "from the last good copy"),
        ("end", "end was cut off"),
        ("checkpoint", "Compare the file with a backup"),
        ("tree", "makes it anew"),
    ],
)
def test_the_doctor_knows_a_way_out_and_changes_nothing(log: Path, tmp_path: Path, harm: str, says: str) -> None:
    directory = copy(log, tmp_path)
    path = {"checkpoint": directory / CHECKPOINTS, "tree": directory / TREE}.get(harm, directory / segment_name(1))
    data = bytearray(path.read_bytes())
    if harm == "end":
        for segment in segments(directory)[1:]:
            segment.unlink()
    elif harm == "checkpoint":
        data[:2] = b"xx"
        path.write_bytes(data)
    else:
        data[30 if harm == "record" else -30] ^= 1
        data[64:96] = bytes(32)
        path.write_bytes(data)
    before = {each.name: each.read_bytes() for each in directory.iterdir()}
    diagnosis = examine(directory, FILES)
    assert any(says in finding.do for finding in diagnosis.findings), diagnosis.findings
    assert any(finding.grave for finding in diagnosis.findings) == (harm != "tree")
    assert {each.name: each.read_bytes() for each in directory.iterdir()} == before


# --- lines ------------------------------------------------------------------------------------------------------------


def record(body: bytes) -> Record:
    return Record(7, 6, body, bytes(32), 100)


def test_a_record_as_a_line() -> None:
    line = line_of(record(encode(event(3), STAMP)))
    assert (line.seq, line.kind, line.actor, when(line.at_ms)) == (
        7,
        "peer_connected",
        "driver:anna",
        "2023-11-14 22:13:20.123",
    )
    assert line.data["entity"] == "anna-3"
    for wanted, takes in (
        (Filter(), True),
        (Filter(actor="anna"), True),
        (Filter(actor="driver:anna"), True),
        (Filter(actor="ben"), False),
        (Filter(driver="anna-3"), True),
        (Filter(cp="anna-3"), False),
        (Filter(kinds=frozenset({"peer_connected"})), True),
        (Filter(kinds=frozenset({"mark"})), False),
        (Filter(since_ms=1_700_000_000_123), True),
        (Filter(since_ms=1_700_000_000_124), False),
        (Filter(until_ms=1_700_000_000_123), False),
    ):
        assert wanted.takes(line) == takes, wanted


def test_records_of_the_logs_own_and_what_nobody_can_read() -> None:
    key = line_of(record(signing_key_body(SIGNER.verifier, None)))
    assert (key.kind, key.at_ms, key.data["key"]) == ("signing_key", None, str(SIGNER.verifier))
    assert Filter().takes(key) and not Filter(actor="anna").takes(key)
    for body in (b"", b"\xff", b"\x93\xa1k\x01\x90", b"\x93\xa4mark\x01\x81\xa5at_ms\xa1x"):
        assert line_of(record(body)).kind == "unreadable"


def test_times_are_utc() -> None:
    assert parse_when("2023-11-14T22:13:20") == parse_when("2023-11-14T23:13:20+01:00") == 1_700_000_000_000
    assert when(None) == "" and when(10**17) == f"{10**17} ms"
