"""Reading on and on: every record once, in order, however large the runs are and wherever segments end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.files import OsFiles
from evcharge.audit.pages import Pages, Unreadable
from evcharge.audit.record import CHAIN_0, Record, encode
from evcharge.audit.runs import AROUND, Runs
from evcharge.audit.segments import segment_name


def write(directory: Path, sizes: list[int], cuts: set[int]) -> list[tuple[int, int, bytes]]:
    """A log with bodies of these sizes and a new segment before each number in ``cuts``."""
    chain, segment = CHAIN_0, bytearray()
    first, made = 1, []
    for seq, size in enumerate(sizes, start=1):
        if seq in cuts and seq > 1:
            _file(directory, first).write_bytes(bytes(segment) + bytes(64))
            segment, first = bytearray(), seq
        body = bytes([seq % 256]) * size
        data, chain = encode(seq, seq - 1, body, chain)
        segment += data
        made.append((seq, seq - 1, body))
    _file(directory, first).write_bytes(bytes(segment) + bytes(64))
    return made


def _file(directory: Path, first: int) -> Path:
    return directory / segment_name(first)


def plain(records: list[Record]) -> list[tuple[int, int, bytes]]:
    return [(record.seq, record.durable, record.body) for record in records]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, OsFiles(), Pages(tmp_path, OsFiles(), lambda _seq: None))


logs = st.tuples(
    st.lists(st.integers(0, 200), min_size=1, max_size=40), st.sets(st.integers(1, 40)), st.integers(1, 2_000)
)


@given(logs, st.data())
def test_reading_on_gives_everything_once(
    tmp_path_factory: pytest.TempPathFactory, log: tuple[list[int], set[int], int], data: st.DataObject
) -> None:
    sizes, cuts, size = log
    directory = tmp_path_factory.mktemp("log")
    made = write(directory, sizes, cuts)
    runs = Runs(directory, OsFiles(), Pages(directory, OsFiles(), lambda _seq: None))
    begin = data.draw(st.integers(1, len(made)))
    durable = data.draw(st.integers(begin, len(made)))
    found: list[tuple[int, int, bytes]] = []
    while begin + len(found) <= durable:
        run = plain(runs.run(begin + len(found), durable + 1, size))
        assert run, "there is always one at least"
        assert len(run) == 1 or sum(len(body) + AROUND for _, _, body in run) <= size
        found += run
    assert found == made[begin - 1 : durable]


def test_nothing_to_read(runs: Runs, tmp_path: Path) -> None:
    write(tmp_path, [10, 10], set())
    assert runs.run(3, 3, 1_000) == []


def test_what_comes_before_damage_is_given_first(runs: Runs, tmp_path: Path) -> None:
    made = write(tmp_path, [10, 10, 10, 10], {3})
    path = _file(tmp_path, 3)
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    assert plain(runs.run(1, 5, 10_000)) == made[:2]
    with pytest.raises(Unreadable) as no:
        runs.run(3, 5, 10_000)
    assert no.value.seq == 3


def test_a_segment_that_is_gone(runs: Runs, tmp_path: Path) -> None:
    write(tmp_path, [10, 10, 10, 10], {3})
    _file(tmp_path, 1).unlink()
    with pytest.raises(Unreadable):
        runs.run(1, 5, 10_000)
    assert [record.seq for record in runs.run(3, 5, 10_000)] == [3, 4]
