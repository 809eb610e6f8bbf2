"""A number, or the sentence that says why there is none; never 0 instead."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.sensors.pick import BadReading, Picked, at, check_pointer, instant_ms, pick

# The document and the answers of RFC 6901 §5.
RFC = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}
ANSWERS = {
    "": RFC,
    "/foo": ["bar", "baz"],
    "/foo/0": "bar",
    "/": 0,
    "/a~1b": 1,
    "/c%d": 2,
    "/e^f": 3,
    "/g|h": 4,
    "/i\\j": 5,
    '/k"l': 6,
    "/ ": 7,
    "/m~0n": 8,
}


@pytest.mark.parametrize("pointer", list(ANSWERS))
def test_the_pointers_of_the_standard(pointer: str) -> None:
    check_pointer(pointer)
    assert at(RFC, pointer) == ANSWERS[pointer]


def test_a_tilde_and_a_one_are_not_a_slash() -> None:
    assert at({"~1": 5, "/": 6}, "/~01") == 5


@pytest.mark.parametrize("pointer", ["/bar", "/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/bar", "/foo/0/0", "/ /x"])
def test_what_is_not_there_is_not_there(pointer: str) -> None:
    check_pointer(pointer)
    with pytest.raises(BadReading, match="nothing at"):
        at(RFC, pointer)


@pytest.mark.parametrize("pointer", ["foo", "a/b", "/a~b", "/a~2", "/a~", "/" * 33])
def test_what_is_no_pointer(pointer: str) -> None:
    with pytest.raises(ValueError, match=r"^(is no|goes)"):
        check_pointer(pointer)


def names(parts: list[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


@given(st.lists(st.text(max_size=5), max_size=6), st.integers(-(10**6), 10**6))
def test_any_path_that_was_made_is_found(parts: list[str], value: int) -> None:
    document: object = value
    for part in reversed(parts):
        document = {part: document}
    assert at(document, names(parts)) == value


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"12", 12.0), (b" -3.5\n", -3.5), (b"+1e3", 1000.0), (b".5", 0.5), (b"5.", 5.0), (b"0", 0.0)],
)
def test_a_number_alone(data: bytes, value: float) -> None:
    assert pick(data, None, None, "s") == Picked(value, None)


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"nan", b"inf", b"-Infinity", b"1e999", b"1_0", b"0x10", b"true", b'"1"', b"1 2", b"12 W", b"\xff",
     b"{}", b"1" * 30, b"\xd9\xa1", b"--1", b"1,5"],
)  # fmt: skip
def test_what_is_no_number_alone(data: bytes) -> None:
    with pytest.raises(BadReading):
        pick(data, None, None, "s")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"12", b'{"p": null}', b'{"p": "12"}', b'{"p": true}', b'{"p": NaN}', b'{"p": 1e999}',
     b'{"q": 1}', b'{"p": [1]}', b"[" * 10_000, b'{"p": ' + b"9" * 400 + b"}"],
)  # fmt: skip
def test_what_is_no_number_in_json(data: bytes) -> None:
    with pytest.raises(BadReading):
        pick(data, "/p", None, "s")


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_finite_number_or_none(data: bytes) -> None:
    for pointer in (None, "", "/p"):
        try:
            assert math.isfinite(pick(data, pointer, None, "s").value)
        except BadReading as error:
            assert data.strip() == b"" or len(data) < 3 or data.decode(errors="replace") not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["p", "t", "0"]), inner),
    max_leaves=6,
)


@given(JSON, st.sampled_from(["s", "ms", "iso"]))
def test_any_json_is_a_finite_number_or_none(document: object, unit: str) -> None:
    try:
        found = pick(json.dumps(document).encode(), "/p", "/t", unit)  # type: ignore[arg-type]
    except BadReading:
        return
    assert isinstance(document, dict)
    assert not isinstance(document["p"], bool | str | None)
    assert found.value == document["p"]


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.integers(-720, 720))
def test_an_instant_is_the_same_in_each_notation(naive: datetime, offset_min: int) -> None:
    instant = naive.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_min)))
    ms = int(instant.timestamp()) * 1000
    assert instant_ms(instant.isoformat(), "iso") == instant_ms(ms, "ms") == instant_ms(ms // 1000, "s") == ms


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("2026-01-31T12:00:00", "iso"),
        ("yesterday", "iso"),
        (1_700_000_000, "iso"),
        ("0001-01-01T00:00:00+23:59", "ms"),
        ("1700000000", "s"),
        (True, "s"),
        (None, "ms"),
        (1e308, "s"),
        (float("inf"), "ms"),
    ],
)
def test_what_is_no_instant(value: object, unit: str) -> None:
    with pytest.raises(BadReading):
        instant_ms(value, unit)  # type: ignore[arg-type]


def test_zulu_is_an_offset() -> None:
    assert instant_ms("2026-01-31T12:00:00Z", "iso") == datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000
