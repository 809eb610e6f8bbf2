"""Pages of a log on a real disk: every record once, in bounded steps, and nothing that was not written."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit import pages
from evcharge.audit.event_codec import encode
from evcharge.audit.files import OsFiles
from evcharge.audit.lines import Filter, line_of
from evcharge.audit.merkle import leaf_hash
from evcharge.audit.pages import Found, Pages, Unreadable
from evcharge.audit.record import CHAIN_0, HEADER_SIZE, Record
from evcharge.audit.record import encode as encode_record
from evcharge.audit.segments import list_segments
from evcharge.domain import events as e
from evcharge.domain.words import Stamp
from tests.audit.support import open_journal, read
from tests.support.samples import SAMPLES

FILES = OsFiles()
LAST = 250
STAMP = Stamp(at_ms=1, clock_ms=2, actor="driver:anna", source="192.0.2.7")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 250 records in many segments, events of every kind and marks among them."""
    directory = tmp_path_factory.mktemp("made") / "log"
    journal, _ = open_journal(directory, FILES, 4_096)
    for event in itertools.islice(itertools.cycle(SAMPLES), LAST - 1):
        journal.append(encode(event, STAMP))
    journal.flush()
    journal.close()
    assert len(list_segments(directory, FILES)[0]) > 5
    return directory


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little work at a time, so that a small log is a long one."""
    monkeypatch.setattr(pages, "MARK_EVERY", 4)
    monkeypatch.setattr(pages, "WALK_RECORDS", 9)
    monkeypatch.setattr(pages, "SCAN_RECORDS", 5)


def nobody(_seq: int) -> None:
    """The tree cannot be asked."""


def all_of(
    reader: Pages, wanted: Filter, limit: int, after: int = 0, before: int = LAST + 1, *, newest_first: bool = False
) -> list[Found]:
    """All pages, one after the other."""
    found: list[Found] = []
    for _ in range(1_000):
        page = reader.page(after, before, limit, wanted, newest_first=newest_first)
        assert len(page.rows) <= limit
        found += page.rows
        if page.next_seq is None:
            return found
        if newest_first:
            before = page.next_seq
        else:
            after = page.next_seq
    raise AssertionError("it never ends")


def records(directory: Path) -> list[Record]:
    return read(directory, FILES)[0]


def seqs(found: Sequence[Found]) -> list[int]:
    return [one.record.seq for one in found]


WANTED = [
    Filter(),
    Filter(cp="cp-1"),
    Filter(session="s-1"),
    Filter(kinds=frozenset({"mark"})),
    Filter(kinds=frozenset({"charge_authorized"}), cp="cp-1"),
    Filter(cp="nowhere"),
]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("wanted", WANTED)
def test_pages_together_are_the_log(made: Path, wanted: Filter, newest_first: bool) -> None:
    expected = [one for one in records(made) if wanted.takes(line_of(one))]
    assert bool(expected) == (wanted.cp != "nowhere")
    found = all_of(Pages(made, FILES, nobody), wanted, 3, newest_first=newest_first)
    assert [one.record for one in found] == (expected[::-1] if newest_first else expected)
    assert [one.leaf for one in found] == [leaf_hash(it.record.seq, it.record.durable, it.record.body) for it in found]


@given(
    bounds=st.tuples(st.integers(0, LAST + 2), st.integers(0, LAST + 1)),
    limit=st.integers(1, 100),
    work=st.tuples(st.integers(2, 40), st.integers(1, 40)),
    newest_first=st.booleans(),
)
def test_any_bounds_any_steps(
    made: Path, bounds: tuple[int, int], limit: int, work: tuple[int, int], newest_first: bool
) -> None:
    """Each record between the bounds exactly once, in order, however little is done at a time."""
    after, before = bounds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "MARK_EVERY", work[0] // 2)
        patch.setattr(pages, "WALK_RECORDS", work[0])
        patch.setattr(pages, "SCAN_RECORDS", work[1])
        found = all_of(Pages(made, FILES, nobody), Filter(), limit, after, before, newest_first=newest_first)
    expected = list(range(after + 1, before))
    assert seqs(found) == (expected[::-1] if newest_first else expected)


def test_one_page_does_bounded_work(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits, so rows say nothing: what was read does."""
    monkeypatch.setattr(pages, "MARK_EVERY", 4)
    monkeypatch.setattr(pages, "WALK_RECORDS", 20)
    monkeypatch.setattr(pages, "SCAN_RECORDS", 10)
    asked: list[int] = []

    class Counting(OsFiles):
        def pread(self, handle: int, size: int, offset: int) -> bytes:
            asked.append(size)
            return super().pread(handle, size, offset)

    reader = Pages(made, Counting(), nobody)
    page = reader.page(0, LAST + 1, 100, Filter(cp="nowhere"), newest_first=False)
    assert (page.rows, page.next_seq) == ([], 10)
    assert len(asked) <= 20, "ten records and the way to them"
    monkeypatch.setattr(pages, "SCAN_RECORDS", 1 << 20)
    monkeypatch.setattr(pages, "WALK_RECORDS", 1 << 20)
    monkeypatch.setattr(pages, "SCAN_BYTES", 1_000)
    page = reader.page(0, LAST + 1, 100, Filter(cp="nowhere"), newest_first=False)
    assert page.next_seq is not None
    assert sum(one.size for one in records(made)[: page.next_seq - 1]) < 1_000
    assert sum(one.size for one in records(made)[: page.next_seq]) >= 1_000


@pytest.mark.usefixtures("quick")
def test_a_place_is_walked_to_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a long segment is reached by asking again, and then known."""
    journal, _ = open_journal(tmp_path / "log", FILES, 1 << 18)
    for number in range(99):
        journal.append(encode(SAMPLES[number % len(SAMPLES)], STAMP))
    journal.flush()
    journal.close()
    reader = Pages(tmp_path / "log", FILES, nobody)
    turns = 0
    while not (page := reader.page(0, 101, 2, Filter(), newest_first=True)).rows:
        assert page.next_seq == 101
        turns += 1
    assert turns > 5 and seqs(page.rows) == [100, 99]
    assert seqs(reader.page(0, 101, 2, Filter(), newest_first=True).rows) == [100, 99]
    assert reader.record(50).seq == 50
    assert Pages(tmp_path / "log", FILES, nobody).record(100).seq == 100, "one record is looked for until it is there"


def test_what_is_not_durable_yet_is_not_there(made: Path) -> None:
    reader = Pages(made, FILES, nobody)
    assert seqs(reader.page(0, 101, 100, Filter(), newest_first=True).rows) == list(range(100, 0, -1))
    assert all_of(reader, Filter(), 100, 100, 101) == []


def test_more_records_come_while_pages_are_asked_for(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    journal, _ = open_journal(directory, FILES, 2_048)
    reader = Pages(directory, FILES, nobody)
    found: list[Found] = []
    for number in range(60):
        journal.append(encode(SAMPLES[number % len(SAMPLES)], STAMP))
        journal.flush()
        found += reader.page(len(found), journal.durable + 1, 100, Filter(), newest_first=False).rows
    assert seqs(found) == list(range(1, 62))
    journal.close()


@pytest.mark.usefixtures("quick")
def test_a_record_inside_a_text_is_none(tmp_path: Path) -> None:
    """Whoever may write a text of his own cannot write a record of his own."""
    directory = tmp_path / "log"
    journal, _ = open_journal(directory, FILES)
    real = encode(e.IncidentRaised(code="real", detail=""), STAMP)
    # With a body that begins at any remainder of 8 one of these stands where records begin.
    forged, _ = encode_record(3, 2, encode(e.IncidentRaised(code="forged", detail=""), STAMP), CHAIN_0)
    for place in range(8):
        journal.append(b"\x93\xa4text\x01" + b"." * place + forged + real)
    journal.flush()
    journal.close()
    found = all_of(Pages(directory, FILES, nobody), Filter(), 100, before=10)
    assert [one.record for one in found] == records(directory)
    assert len(found) == 9 and found[2].line.kind == "unreadable"


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "copy"
    directory.mkdir()
    for path in made.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def place_of(directory: Path, seq: int) -> tuple[Path, int]:
    """File and offset of a record."""
    first, path = [one for one in list_segments(directory, FILES)[0] if one.first_seq <= seq][-1]
    return path, sum(one.size for one in records(directory) if first <= one.seq < seq)


def spoil(directory: Path, seq: int, offset: int) -> None:
    path, place = place_of(directory, seq)
    data = bytearray(path.read_bytes())
    data[place + offset] ^= 1
    path.write_bytes(data)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("offset", [0, 5, 15, 20, HEADER_SIZE + 4])
def test_a_changed_byte_is_named_and_what_was_before_it_is_shown(copy: Path, offset: int) -> None:
    """Magic, length, number, durable, body."""
    spoil(copy, 120, offset)
    reader = Pages(copy, FILES, nobody)
    after = 0
    found: list[int] = []
    with pytest.raises(Unreadable) as wrong:
        while True:
            page = reader.page(after, LAST + 1, 100, Filter(), newest_first=False)
            found += seqs(page.rows)
            assert page.next_seq is not None
            after = page.next_seq
    assert wrong.value.seq == 120
    assert found == list(range(1, 120))
    with pytest.raises(Unreadable):
        reader.record(120)
    assert reader.record(200).seq == 200


def test_a_record_that_is_not_the_trees_is_not_shown(copy: Path) -> None:
    leaves = {one.seq: leaf_hash(one.seq, one.durable, one.body) for one in records(copy)}
    assert len(all_of(Pages(copy, FILES, leaves.get), Filter(), 100)) == LAST
    leaves[7] = bytes(32)
    reader = Pages(copy, FILES, leaves.get)
    assert seqs(reader.page(0, LAST + 1, 100, Filter(), newest_first=False).rows) == list(range(1, 7))
    with pytest.raises(Unreadable, match="record 7: the tree has another one"):
        reader.page(6, LAST + 1, 100, Filter(), newest_first=False)
    with pytest.raises(Unreadable, match="record 7"):
        reader.record(7)


def test_a_segment_that_is_gone(copy: Path) -> None:
    segments, _ = list_segments(copy, FILES)
    gone = segments[3]
    gone.path.unlink()
    reader = Pages(copy, FILES, nobody)
    found = reader.page(0, LAST + 1, 1_000, Filter(), newest_first=False)
    assert found.next_seq == gone.first_seq - 1
    with pytest.raises(Unreadable, match=f"record {gone.first_seq}"):
        reader.page(found.next_seq, LAST + 1, 100, Filter(), newest_first=False)
    assert reader.record(segments[4].first_seq).seq == segments[4].first_seq


def test_an_empty_folder(tmp_path: Path) -> None:
    reader = Pages(tmp_path, FILES, nobody)
    with pytest.raises(Unreadable, match="there is no segment"):
        reader.page(0, 5, 100, Filter(), newest_first=True)


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_log_whose_beginning_was_archived(copy: Path, newest_first: bool) -> None:
    segments, _ = list_segments(copy, FILES)
    for _, path in segments[:2]:
        path.unlink()
    reader = Pages(copy, FILES, nobody)
    first = segments[2].first_seq
    assert reader.first() == first
    expected = list(range(first, LAST + 1))
    found = seqs(all_of(reader, Filter(), 100, newest_first=newest_first))
    assert found == (expected[::-1] if newest_first else expected)
    with pytest.raises(Unreadable, match="its segment is not here"):
        reader.record(1)


def test_no_handle_stays_open(made: Path, copy: Path) -> None:
    """Whether a page ends, breaks off or fails."""
    opened: set[int] = set()

    class Watching(OsFiles):
        def open(self, path: Path) -> int:
            handle = super().open(path)
            opened.add(handle)
            return handle

        def close(self, handle: int) -> None:
            opened.discard(handle)
            super().close(handle)

    reader = Pages(made, Watching(), nobody)
    all_of(reader, Filter(), 7)
    reader.page(0, LAST + 1, 3, Filter(), newest_first=True)
    reader.record(9)
    spoil(copy, 2, 20)
    with pytest.raises(Unreadable):
        Pages(copy, Watching(), nobody).record(2)
    assert not opened
