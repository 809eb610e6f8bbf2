"""The fuzzing tool: its kept corpus passes, and a target that breaks a promise is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.connection import Connection
from protocol.credentials import Role
from protocol.errors import LocalProtocolError
from tests.support.shared import lacking
from tests.support.wire import Pair
from tools.fuzz import watch as watch_module
from tools.fuzz.reading import Choices
from tools.fuzz.run import CORPUS, NAMES, Promised, Run, have_atheris, summary
from tools.fuzz.seeds import seeds, write
from tools.fuzz.targets import TARGETS, Broken, _open
from tools.fuzz.watch import Figures, Watch
from tools.fuzz.wire import recorded

# What the kept inputs of each target reach at least; less means that the corpus or the target has gone blind.
DEEP = {
    "decoder": {"whole frame", "message", "message refused", "unknown type", "hello", "claims", "claims refused"}
    | {"credential", "credential refused", "password", "password refused", "record", "record refused"},
    "handshake": {"hello", "auth", "Established", "channel opened", "handshake refused"},
    "channel": {"token opened", "message", "closed by the peer", "channel refused"},
}


@pytest.mark.parametrize("name", NAMES)
def test_the_kept_corpus_and_the_golden_vectors_break_nothing(name: str) -> None:
    kept = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    assert len(kept) > 20
    watch = Watch(TARGETS[name])
    for data in [*kept, *seeds(name)]:
        watch(data)
    assert watch.figures.broken == 0
    assert set(watch.figures.reached) >= DEEP[name]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=200))
def test_any_bytes_break_nothing(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_the_recorded_handshake_is_a_whole_one() -> None:
    from_peer, from_central = recorded()
    assert [frame[4] for frame in from_peer] == [1, 3, 0x10, 0x10]
    assert [frame[4] for frame in from_central] == [2, 4, 0x10]


@given(data=st.binary(max_size=300), how=st.binary(min_size=1, max_size=8))
def test_cutting_loses_nothing(data: bytes, how: bytes) -> None:
    assert b"".join(Choices(how).cut(data)) == data


def test_an_exception_of_ours_is_counted_and_let_through() -> None:
    def target(_data: bytes) -> None:
        raise LocalProtocolError("a bug")

    watch = Watch(target)
    with pytest.raises(LocalProtocolError):
        watch(b"x")
    assert watch.figures.broken == 1


def test_an_input_that_is_slow_every_time_is_broken_and_one_that_was_slow_once_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took: list[float] = []
    now_s = 0.0

    def clock() -> float:
        return now_s

    def target(_data: bytes) -> None:
        nonlocal now_s
        now_s += took.pop(0)

    monkeypatch.setattr(watch_module.time, "thread_time", clock)
    watch = Watch(target)
    took += [0.2, 0.001, 0.002, 0.003]
    watch(b"once")
    assert watch.figures.slowest_ms < 50
    took += [0.2] * 4
    with pytest.raises(Broken, match="200 ms"):
        watch(b"always")
    assert bytes.fromhex(watch.figures.slowest_input) == b"always"


def test_sums_go_on_where_they_stopped(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for _ in range(2):
        run = Run("decoder", seed=1, runs=0, seconds=None)
        run.figures = Figures(inputs=10, slowest_ms=3.0, reached={"message": 2})
        promised = Promised.load(path)
        promised.add(run)
    assert promised.figures("decoder") == Figures(inputs=20, slowest_ms=3.0, reached={"message": 4})
    assert promised.kept() and "kept" in summary(promised)
    promised.figures("decoder").inputs = 0
    assert not promised.kept(), "nothing was tried"
    promised.figures("decoder").inputs = 20
    promised.figures("decoder").broken = 1
    assert not promised.kept() and "BROKEN" in summary(promised)


def test_a_fuzzed_channel_is_like_one_that_was_really_opened() -> None:
    """The target puts a Connection together by hand; a field that a real opening sets must not be missing there."""
    made, _ = _open(Role.CP, central=True)
    real = Pair().open().central
    differing = {"_channel", "_dialogue", "_expires", "_frames", "_now", "_opening", "_out", "_pinged"}
    differing |= {"entity", "last_received", "username"}
    for field in set(Connection.__slots__) - differing:
        assert getattr(made, field) == getattr(real, field), field
    assert type(made._channel) is type(real._channel) and type(made._dialogue) is type(real._dialogue)
    assert made._frames.limit == real._frames.limit and made._opening is real._opening is None


def test_seeds_are_named_by_what_they_are(tmp_path: Path) -> None:
    assert write(tmp_path, iter([b"a", b"b", b"a"])) == 2


@pytest.mark.tool
def test_a_short_run_of_the_tool(tmp_path: Path) -> None:
    if not have_atheris():
        lacking("atheris is not installed here (Linux x86_64, Python below 3.14), so nothing was fuzzed")
    command = [sys.executable, "-m", "tools.fuzz", "run", "decoder", "--runs", "3000", "--seed", "7", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["kept"] and answer["inputs"] >= 2_000
    assert answer["targets"]["decoder"]["reached"]["whole frame"] > 0
