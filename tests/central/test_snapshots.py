"""A start from a snapshot is a start from the first record, only sooner; an unsound snapshot is none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from evcharge.audit.files import OsFiles
from evcharge.audit.journal import Journal
from evcharge.audit.keys import CURRENT, load
from evcharge.audit.merkle import check_consistency
from evcharge.audit.note import Signer
from evcharge.audit.recovery import CorruptLog
from evcharge.audit.snapshot import BadSnapshot, Head, decode, list_snapshots, usable
from evcharge.audit.snapshot import encode as encode_snapshot
from evcharge.central.recall import Recalled, recall, remember_source
from evcharge.central.snapshots import CannotSnapshot, Snapshots, make_snapshot
from evcharge.domain.digest import RULES, fingerprint
from evcharge.domain.words import Stamp
from tests.domain.test_properties import World
from tests.support.central import Site, canonical, until
from tests.support.scenario import Domain

FILES = OsFiles()
BODIES = World().log


class SmallFiles(OsFiles):
    """Segments of a few records."""

    def allocate(self, handle: int, size: int) -> None:
        super().allocate(handle, min(size, 4_096))


def opened(data_dir: Path) -> Recalled:
    return recall(data_dir, FILES, origin="evcharge/test", entropy=lambda size: b"k" * size)


def append(journal: Journal, bodies: list[bytes]) -> None:
    for body in bodies:
        journal.append(body)
    journal.flush()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A log of a known day, with a snapshot in its middle."""
    recalled = opened(tmp_path)
    append(recalled.journal, BODIES[:20])
    recalled.journal.close()
    made = make_snapshot(tmp_path, FILES)
    assert made.seq == 22 and Path(made.file).stat().st_mode & 0o777 == 0o600
    recalled = opened(tmp_path)
    append(recalled.journal, BODIES[20:])
    recalled.journal.close()
    return tmp_path


def expected() -> Domain:
    return World()


def test_a_start_from_a_snapshot_gives_the_same_state(data: Path) -> None:
    recalled = opened(data)
    assert recalled.seq == 22, "the snapshot was used"
    assert recalled.records == len(BODIES) - 20 + 2, "the rest of the log, and two marks of recoveries"
    assert fingerprint(recalled.state) == fingerprint(expected().state)
    assert canonical(recalled.state) == canonical(expected().state)
    tree = recalled.attestor.tree
    proof = tree.consistency(10, tree.size)
    check_consistency(10, tree.root_at(10), tree.size, tree.frontier.root(), proof)
    recalled.journal.close()


def test_without_its_tree_a_start_from_a_snapshot_makes_it_anew(data: Path) -> None:
    (data / "log" / "tree").unlink()
    recalled = opened(data)
    assert recalled.seq == 22 and recalled.attestor.tree.root_at(5) != bytes(32)
    recalled.journal.close()


def rewrite(data: Path, **head: object) -> None:
    """The snapshot with another head, signed as it should be."""
    signer = load(data / "log-key", CURRENT, FILES)
    assert signer is not None
    (_, path) = list_snapshots(data / "log", FILES)[0]
    snapshot = decode(path.read_bytes(), [signer.verifier])
    path.write_bytes(encode_snapshot(msgspec.structs.replace(snapshot.head, **head), snapshot.state, signer))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("flip", "damaged"),
        ("cut", "damaged"),
        ("empty", "no snapshot"),
        ("key", "in force there"),
        ("rules", "other rules"),
        ("name", "another record"),
        ("chain", "another record 22"),
        ("offset", "no whole record 22"),
        ("segment", "is not there"),
        ("state", "not the one that was meant"),
        ("edge", "another edge"),
        ("keys", "verifier key"),
    ],
)
def test_a_snapshot_that_is_not_sound_is_not_used(data: Path, harm: str, why: str) -> None:
    (_, path) = list_snapshots(data / "log", FILES)[0]
    good = path.read_bytes()
    match harm:
        case "flip":
            path.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
        case "cut":
            path.write_bytes(good[:-1])
        case "empty":
            path.write_bytes(b"")
        case "key":
            stranger = Signer("evcharge/test", b"x" * 32)
            head = Head(
                seq=22, durable=0, chain=b"", edge=[], segment=1, offset=0, rules=RULES, state_hash=b"", keys=[]
            )
            path.write_bytes(encode_snapshot(head, b"", stranger))
        case "name":
            rewrite(data, seq=21)
        case "rules":
            rewrite(data, rules=RULES + 1)
        case "chain":
            rewrite(data, chain=bytes(32))
        case "offset":
            rewrite(data, offset=9)
        case "segment":
            rewrite(data, segment=5)
        case "state":
            rewrite(data, state_hash=bytes(32))
        case "edge":
            rewrite(data, edge=[bytes(32)])
        case "keys":
            rewrite(data, keys=["nonsense"])
    with capture_logs() as logs:
        recalled = opened(data)
    assert recalled.seq == 0, "from the first record"
    assert logs[0]["event"] == "snapshot.unusable" and why in logs[0]["why"]
    assert canonical(recalled.state) == canonical(expected().state)
    recalled.journal.close()


def test_a_log_that_lost_what_the_snapshot_covers_is_refused(data: Path) -> None:
    path = next((data / "log").glob("audit-*.log"))
    good = path.read_bytes()
    path.write_bytes(good[:600].ljust(len(good), b"\0"))
    with pytest.raises(CorruptLog):
        opened(data)


def test_a_snapshot_may_stand_anywhere_in_several_segments(tmp_path: Path) -> None:
    recalled = recall(tmp_path, SmallFiles(), origin="evcharge/test", entropy=lambda size: b"k" * size)
    recalled.journal._segment_bytes = recalled.journal._segment.capacity = 2_048
    append(recalled.journal, BODIES)
    recalled.journal.close()
    last = recalled.journal.durable
    assert len(list((tmp_path / "log").glob("audit-*.log"))) > 2
    for seq in range(3, last + 1):
        for _, path in list_snapshots(tmp_path / "log", FILES):
            path.unlink()
        assert make_snapshot(tmp_path, FILES, up_to=seq).seq == seq
        signer = load(tmp_path / "log-key", CURRENT, FILES)
        assert signer is not None
        found = next(usable(tmp_path / "log", FILES, [signer.verifier], rules=RULES, reject=lambda *_: None), None)
        assert found is not None and found.head.seq == seq
        again = opened(tmp_path)
        assert again.seq == seq and canonical(again.state) == canonical(expected().state)
        again.journal._attestor = None
        again.journal.close()


def test_two_are_kept_and_each_builds_on_the_one_before(data: Path) -> None:
    for seq in (23, 24):
        assert make_snapshot(data, FILES, up_to=seq).records == 1
    assert [seq for seq, _ in list_snapshots(data / "log", FILES)] == [24, 23]


def test_what_cannot_be_a_snapshot(data: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotSnapshot, match="as new as record 20"):
        make_snapshot(data, FILES, up_to=20)
    with pytest.raises(CannotSnapshot, match="no record 5000 yet"):
        make_snapshot(data, FILES, up_to=5_000)
    make_snapshot(data, FILES)
    with pytest.raises(CannotSnapshot, match="nothing new"):
        make_snapshot(data, FILES)
    (tmp_path / "none" / "log").mkdir(parents=True)
    (tmp_path / "none" / "log-key").mkdir()
    with pytest.raises(CannotSnapshot, match="no signing key"):
        make_snapshot(tmp_path / "none", FILES)
    recalled = opened(data)
    append(recalled.journal, [BODIES[-1]])
    recalled.journal.close()
    path = next((data / "log").glob("audit-*.log"))
    good = bytearray(path.read_bytes())
    good[len(bytes(good).rstrip(b"\0")) - 400] ^= 1
    path.write_bytes(good)
    with pytest.raises(CannotSnapshot, match="is damaged"):
        make_snapshot(data, FILES)


def test_addresses_of_peers_are_remembered_beyond_the_records_that_named_them(data: Path) -> None:
    stamps = [Stamp(at_ms=1, clock_ms=number, source=f"10.0.0.{number % 3}") for number in range(5)]
    sources: dict[str, int] = {}
    for stamp in [*stamps, Stamp(at_ms=1, clock_ms=9)]:
        remember_source(sources, stamp)
    assert list(sources.items()) == [("10.0.0.2", 2), ("10.0.0.0", 3), ("10.0.0.1", 4)]
    with pytest.raises(BadSnapshot):
        decode(encode_snapshot(_head(), b"", Signer("evcharge/a", b"a" * 32)), [])


def _head() -> Head:
    return Head(seq=1, durable=0, chain=b"", edge=[], segment=1, offset=0, rules=1, state_hash=b"", keys=[])


async def test_a_running_central_has_snapshots_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the shipped program, in a process of its own, of a log that goes on being written."""
    monkeypatch.setattr("evcharge.central.snapshots.EVERY_RECORDS", 10)
    # It is waited for here, on a machine that may have a lot to do.
    monkeypatch.setattr("evcharge.central.snapshots.NICENESS", 0)
    async with Site(tmp_path) as site:
        await site.charging()
        snapshots = Snapshots(tmp_path / "central", 0, lambda: site.central._journal.durable)
        work = asyncio.create_task(snapshots.run(pause_s=0.001))
        await until(lambda: snapshots.made)
        work.cancel()
        expected_state = canonical(site.state)
        # Who came back would change the state while it is compared.
        for peer in site.peers:
            peer.run.cancel()
        await site.restart(killed=True)
        await site.settled()
        (made, _) = list_snapshots(tmp_path / "central" / "log", FILES)[0]
        assert made > 10
        assert canonical(site.history.state()) != expected_state, "a start changes the links"
        assert canonical(site.history.state()) == canonical(site.state)


async def test_a_snapshot_that_fails_is_said_and_charging_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evcharge.central.snapshots.EVERY_RECORDS", 10)
    # It is waited for here, on a machine that may have a lot to do.
    monkeypatch.setattr("evcharge.central.snapshots.NICENESS", 0)
    async with Site(tmp_path) as site:
        await site.charging()
        snapshots = Snapshots(tmp_path / "nowhere", 0, lambda: site.central._journal.durable)
        with capture_logs() as logs:
            work = asyncio.create_task(snapshots.run(pause_s=0.001))
            await until(lambda: any(line["event"] == "snapshot.failed" for line in logs))
        work.cancel()
        assert snapshots._next > 10_000 and not snapshots.made
