"""Files of requests: what is read, and that every bad line is named."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evcharge.driver import scripted
from evcharge.driver.scripted import (
    ScriptError,
    Stay,
    Wish,
    check_labels,
    energy_wh,
    read_points,
    read_sessions,
)

ANY_FILE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "requests"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_points_with_energy_comments_and_blank_lines(tmp_path: Path) -> None:
    text = "\ufeff# the first floor\n\nCP-1\r\n  CP-2   7.5 # two hours\nCP-3 0.0014\n#CP-4\n"
    assert read_points(write(tmp_path, text)) == [
        Wish(cp_id="CP-1", line=3),
        Wish(cp_id="CP-2", energy_wh=7500, line=4),
        Wish(cp_id="CP-3", energy_wh=1, line=5),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("CP-1 many", "'many' is not a number of kWh"),
        ("CP-1 -5", "not more than 0"),
        ("CP-1 0", "not more than 0"),
        ("CP-1 0.0001", "not more than 0"),
        ("CP-1 nan", "out of range"),
        ("CP-1 1e9", "out of range"),
        ("CP-1 5 kWh", "at most one energy"),
        ("C" * 65, "at most 64 characters"),
    ],
)
def test_a_bad_point_names_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    file = write(tmp_path, f"CP-0 5\n\n{line}\n")
    with pytest.raises(ScriptError) as error:
        read_points(file)
    assert f"{file}:3: " in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize("read", [read_points, read_sessions])
def test_files_that_cannot_be_used(tmp_path: Path, read: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(read)
    for content, says in ((b"", "one "), (b"\n \n", "one "), (b"CP-1\n\xff\n", ":2: not UTF-8")):
        if read is read_sessions and b"CP" in content:
            content = b"\n\xff\n"
        with pytest.raises(ScriptError, match=says):
            read(write(tmp_path, content))
    with pytest.raises(ScriptError, match="Cannot read"):
        read(tmp_path / "nothing")
    monkeypatch.setattr(scripted, "MAX_LINES", 3)
    with pytest.raises(ScriptError, match="more than 3 lines"):
        read(write(tmp_path, "\n" * 9))
    monkeypatch.setattr(scripted, "MAX_FILE", 3)
    with pytest.raises(ScriptError, match="split it"):
        read(write(tmp_path, "CP-1"))


def line(**fields: object) -> str:
    values = {"session": "a", "cp_id": "CP-1", "connector": 1, "arrive_ms": 10, "depart_ms": 20, "energy_wh": 5}
    return json.dumps({key: value for key, value in (values | fields).items() if value != "-"})


def test_sessions_come_by_arrival(tmp_path: Path) -> None:
    text = "\n".join(
        [line(arrive_ms=15), line(session="b"), "", line(session="c", energy_wh="-", connector="-", more=1)]
    )
    stays = read_sessions(write(tmp_path, text))
    assert [stay.session for stay in stays] == ["b", "c", "a"]
    assert stays[0] == Stay(session="b", cp_id="CP-1", connector=1, arrive_ms=10, depart_ms=20, energy_wh=5)
    assert (stays[1].energy_wh, stays[1].connector) == (None, 0)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", "not a session"),
        ("[]", "not a session"),
        ("[" * 5000, "not a session"),
        (line(cp_id="-"), "cp_id"),
        (line(cp_id=""), "cp_id"),
        (line(energy_wh=-5), "energy_wh"),
        (line(energy_wh=0.5), "energy_wh"),
        (line(arrive_ms="x"), "arrive_ms"),
        (line(connector=99), "connector"),
        (line(depart_ms=10), "depart_ms is not after"),
        (line(session="first"), "line 1 too"),
    ],
)
def test_a_bad_session_names_file_and_line(tmp_path: Path, bad: str, says: str) -> None:
    file = write(tmp_path, f"{line(session='first')}\n{bad}\n")
    with pytest.raises(ScriptError) as error:
        read_sessions(file)
    assert f"{file}:2: " in str(error.value)
    assert says in str(error.value)


def test_labels_name_drivers_where_there_are_several(tmp_path: Path) -> None:
    stays = read_sessions(write(tmp_path, f"{line()}\n{line(session='b')}\n"))
    check_labels(tmp_path, stays, {"anybody"})
    check_labels(tmp_path, stays, {"a", "b", "c"})
    with pytest.raises(ScriptError, match="'b' names none"):
        check_labels(tmp_path, stays, {"a", "c"})


@given(st.integers(-(10**9), 10**9))
def test_energy_is_exact_to_the_watt_hour(value: int) -> None:
    whole, part = divmod(abs(value), 1000)
    assert energy_wh(f"{'-' if value < 0 else ''}{whole}.{part:03d}") == value


@given(st.text(max_size=12))
def test_any_text_is_an_energy_or_a_value_error(text: str) -> None:
    try:
        assert abs(energy_wh(text)) <= 10**9
    except ValueError as error:
        assert str(error)


@ANY_FILE
@given(data=st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_file_is_read_or_refused_with_a_sentence(tmp_path: Path, data: bytes) -> None:
    file = write(tmp_path, data)
    for read in (read_points, read_sessions):
        try:
            assert read(file)
        except ScriptError as error:
            assert str(file) in str(error)


@ANY_FILE
@given(
    st.lists(
        st.builds(
            Stay,
            session=st.uuids().map(str),
            cp_id=st.text("ABC-1", min_size=1, max_size=5),
            arrive_ms=st.integers(0, 100),
            depart_ms=st.integers(101, 200),
            energy_wh=st.none() | st.integers(1, 9),
            connector=st.integers(0, 2),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda stay: stay.session,
    )
)
def test_what_is_written_is_read(tmp_path: Path, stays: list[Stay]) -> None:
    file = write(tmp_path, b"\n".join(map(msgspec.json.encode, stays)))
    assert sorted(read_sessions(file), key=lambda stay: stay.session) == sorted(stays, key=lambda stay: stay.session)
