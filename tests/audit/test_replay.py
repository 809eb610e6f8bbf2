"""Every byte changed, cut, removed, swapped: what the reader makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.audit import replay as replay_module
from evcharge.audit.files import OsFiles
from evcharge.audit.record import CHAIN_0, MARK, encode
from evcharge.audit.recovery import CorruptLog
from evcharge.audit.replay import CleanEnd, Corrupt, TornTail
from evcharge.audit.segments import segment_name
from tests.audit.support import HERE, events, open_journal, read, records_bytes
from tools.simulate.disk import Disk, Inode

BODIES = [b"first", b"second, longer", b"", b"fourth" * 9, MARK]
ROOM = 120


def disk_with(**files: bytes) -> Disk:
    disk = Disk()
    for name, data in files.items():
        disk.names[name] = Inode(bytearray(data), bytearray(data))
    return disk


def one_segment(data: bytes, first_seq: int = 1) -> Disk:
    return disk_with(**{segment_name(first_seq): data})


def test_an_empty_directory_is_a_new_log() -> None:
    assert read(HERE, Disk()) == ([], CleanEnd(None, 0, 1))


@pytest.mark.parametrize("room", [0, 1, 7, 8, ROOM])
def test_a_whole_log_is_read_to_its_end(room: int) -> None:
    made = records_bytes(BODIES)
    records, end = read(HERE, one_segment(b"".join(made) + bytes(room)))
    assert [record.body for record in records] == BODIES
    assert end == CleanEnd(HERE / segment_name(1), sum(map(len, made)), 6)


def test_every_byte_changed_in_turn() -> None:
    """Each record calls the one before it durable, so damage below the last record has a witness: Corrupt.

    The last record is a mark. Nothing stands behind it, so damage to it looks like a write that was cut:
    TornTail; what is dropped is the mark, which holds no event, and all events are still read. Bytes in the
    free room behind it are a write that never became a record: TornTail too, and nothing at all is dropped.
    """
    made = records_bytes(BODIES)
    whole = b"".join(made)
    last = len(whole) - len(made[-1])
    data = bytearray(whole + bytes(ROOM))
    for at in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            data[at] ^= flip
            records, end = read(HERE, one_segment(bytes(data)))
            data[at] ^= flip
            if at < last:
                assert isinstance(end, Corrupt), (at, flip, end)
                assert end.seq == len(records) + 1
                assert end.offset == sum(len(record) for record in made[: len(records)]) <= at
            else:
                assert isinstance(end, TornTail), (at, flip, end)
                assert events(records) == BODIES[:-1]
                assert end.offset == (last if at < len(whole) else len(whole))


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 200), st.data())
def test_bytes_removed_from_the_middle_are_never_a_torn_tail(count: int, size: int, data: st.DataObject) -> None:
    made = records_bytes([b"event %d" % number for number in range(count + 1)] + [MARK, MARK])
    whole = b"".join(made)
    kept = len(made[-1]) + len(made[-2])
    at = data.draw(st.integers(0, len(whole) - kept - 1))
    size = min(size, len(whole) - kept - at)
    _, end = read(HERE, one_segment(whole[:at] + whole[at + size :] + bytes(ROOM)))
    assert isinstance(end, Corrupt)


def test_records_removed_swapped_and_repeated_are_corrupt() -> None:
    a, b, c, d, e = records_bytes(BODIES)
    for changed in ([a, c, d, e], [a, c, b, d, e], [a, a, b, c], [b, c, d, e], [a, b, b], [a, b, c, e]):
        _, end = read(HERE, one_segment(b"".join(changed) + bytes(ROOM)))
        assert isinstance(end, Corrupt)
        assert "where" in end.why


def test_a_changed_last_record_with_a_right_checksum_is_corrupt() -> None:
    """Nothing behind it speaks against it, but a cut write does not come with a right checksum."""
    a, b, c = records_bytes([b"a", b"b", b"c"])
    forged, _ = encode(3, 2, b"C", CHAIN_0)
    records, end = read(HERE, one_segment(a + b + forged))
    assert len(records) == 2
    assert isinstance(end, Corrupt)
    assert "chain" in end.why
    assert c != forged


def test_a_durable_that_falls_or_reaches_itself_is_corrupt() -> None:
    one, chain_1 = encode(1, 0, b"", CHAIN_0)
    two, chain_2 = encode(2, 1, b"", chain_1)
    three, _ = encode(3, 0, b"", chain_2)
    _, end = read(HERE, one_segment(one + two + three))
    assert isinstance(end, Corrupt)
    assert "durable" in end.why


def test_one_batch_that_was_cut_in_any_sector_is_a_torn_tail() -> None:
    """Records of one batch all carry the same ``durable``: those behind the hole prove nothing and go."""
    made = records_bytes(BODIES, synced_each=False)
    whole = bytearray(b"".join(made) + bytes(ROOM))
    whole[len(made[0]) : len(made[0]) + 8] = bytes(8)
    records, end = read(HERE, one_segment(bytes(whole)))
    assert len(records) == 1
    assert isinstance(end, TornTail)
    assert (end.offset, end.seq) == (len(made[0]), 2)


def test_zeros_where_a_durable_record_was_are_corrupt() -> None:
    made = records_bytes(BODIES)
    whole = bytearray(b"".join(made) + bytes(ROOM))
    whole[len(made[0]) : len(made[0]) + len(made[1])] = bytes(len(made[1]))
    _, end = read(HERE, one_segment(bytes(whole)))
    assert isinstance(end, Corrupt)
    assert "was durable" in end.why


def test_every_cut_of_the_file_gives_the_records_before_it() -> None:
    made = records_bytes(BODIES)
    whole = b"".join(made)
    for size in range(len(whole) + 1):
        records, end = read(HERE, one_segment(whole[:size]))
        fits = [sum(map(len, made[: count + 1])) <= size for count in range(len(made))].count(True)
        assert [record.body for record in records] == BODIES[:fits]
        border = sum(map(len, made[:fits]))
        assert end.offset == border
        # A cut inside the record that leaves only zeros cannot happen: it begins with EVR1.
        assert isinstance(end, CleanEnd if size == border else TornTail)


def test_several_segments_and_what_can_be_wrong_with_them() -> None:
    a, b, c, d, _ = records_bytes(BODIES)
    first, second, third = segment_name(1), segment_name(3), segment_name(4)
    good = {first: a + b + bytes(40), second: c, third: d + bytes(8)}
    records, end = read(HERE, disk_with(**good))
    assert len(records) == 4
    assert end == CleanEnd(HERE / third, len(d), 5)

    def corrupt(files: dict[str, bytes], name: str, why: str) -> None:
        _, end = read(HERE, disk_with(**files))
        assert isinstance(end, Corrupt)
        assert end.file == HERE / name
        assert why in end.why

    corrupt({first: good[first], third: good[third]}, third, "begins with record 4 where 3 belongs")
    corrupt({second: c, third: d}, second, "the log begins with record 3")
    corrupt({**good, second: c[:-1]}, second, "a later segment exists")
    corrupt({**good, first: a + b[:-8] + bytes(48)}, first, "a later segment exists")
    corrupt({**good, first: a + bytes(len(b))}, second, "where 2 belongs")
    corrupt({**good, "audit-5.log": b""}, "audit-5.log", "the name")
    corrupt({**good, "AUDIT-0000000000000005.LOG": b""}, "AUDIT-0000000000000005.LOG", "the name")
    _, end = read(HERE, disk_with(**{**good, segment_name(5): b"", "tmp-next.log": b"x", "notes": b"x"}))
    assert end == CleanEnd(HERE / segment_name(5), 0, 5)


def test_reading_needs_no_more_than_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows smaller than a record, and damage and magic on their borders, change nothing."""
    made = records_bytes([bytes([number]) * 50 for number in range(8)])
    whole = b"".join(made) + bytes(ROOM)
    for window in (1, 3, 24, 61):
        monkeypatch.setattr(replay_module, "READ_BYTES", window)
        records, end = read(HERE, one_segment(whole))
        assert len(records) == 8
        assert isinstance(end, CleanEnd)
        hurt = bytearray(whole)
        hurt[len(made[0]) + 30] ^= 1
        _, end = read(HERE, one_segment(bytes(hurt)))
        assert isinstance(end, Corrupt)
        assert end.seq == 2


def test_corrupt_logs_are_refused_untouched(tmp_path: Path) -> None:
    made = records_bytes(BODIES)
    hurt = bytearray(b"".join(made))
    hurt[70] ^= 1
    path = tmp_path / segment_name(1)
    path.write_bytes(hurt)
    (tmp_path / "tmp-next.log").write_bytes(b"draft")
    with pytest.raises(CorruptLog) as caught:
        open_journal(tmp_path, OsFiles())
    assert str(path) in str(caught.value)
    assert "offset" in str(caught.value)
    assert "record 1" in str(caught.value) or "record 2" in str(caught.value)
    assert "start again" in str(caught.value)
    assert path.read_bytes() == bytes(hurt)
    assert sorted(name.name for name in tmp_path.iterdir()) == [path.name, "tmp-next.log"]


def test_a_quoted_record_inside_an_event_is_not_evidence_when_it_is_older() -> None:
    """An event that holds the bytes of an older record, in a torn tail, does not stop the start."""
    old, _ = encode(1, 0, b"old", CHAIN_0)
    made = records_bytes([b"one", b"two", old], synced_each=False)
    hurt = bytearray(b"".join(made))
    hurt[len(made[0]) + len(made[1])] ^= 1
    _, end = read(HERE, one_segment(bytes(hurt)))
    assert isinstance(end, TornTail)
    assert end.seq == 3
