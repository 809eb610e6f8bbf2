"""What becomes of a message, whatever is in it and whatever the tables have."""

from __future__ import annotations

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.authority.kafka.fate import (
    DEAD_BYTES,
    DEATHS,
    KEY_BYTES,
    Death,
    Fate,
    Known,
    dead_message,
    fate,
    named,
)
from evcharge.sidecar.authority.queue import Waiting
from evcharge.sidecar.authority.tables import Decision, Reason

NAME = "11111111-2222-4333-8444-555555555555"
ONE = Waiting(request_id=NAME, client="shop", station_id="x", received_ms=1, sealed=b"sealed")
DATA = msgspec.msgpack.encode(ONE)
OTHER = msgspec.msgpack.encode(msgspec.structs.replace(ONE, sealed=b"other"))
NOISE = b"\xc1 noise"
NO_TEXT = DATA.replace(b"\xa4shop", b"\xa4\xff\xff\xff\xff")

rows = st.builds(
    Known,
    st.none() | st.sampled_from([each.value for each in Decision]),
    st.sampled_from([Reason.UNREADABLE.value, Reason.BAD_FIELDS.value]),
    st.none() | st.integers(1, 9),
    st.none() | st.sampled_from([DATA, OTHER, NOISE]),
)
damaged = st.builds(
    lambda at, byte: DATA[:at] + bytes([byte]) + DATA[at + 1 :], st.integers(0, len(DATA) - 1), st.integers(0, 255)
)
values = st.binary(max_size=80) | damaged | st.sampled_from([DATA, OTHER, NOISE, NO_TEXT, b"\x91" * 100_000])
keys = st.none() | st.binary(max_size=40) | st.just(NAME.encode())


@given(values, keys, st.dictionaries(st.just(NAME), rows))
def test_any_message_has_one_fate_and_only_what_was_accepted_is_decided(
    value: bytes, key: bytes | None, known: dict[str, Known]
) -> None:
    found = fate(value, key, known)
    row = known.get(found.request_id or "")
    assert (found.request_id is None) == (row is None), "no word of a request that nobody knows"
    assert not (found.open and found.death)
    if found.open:
        assert row is not None and row.decision is None and row.data in (None, value)
    if found.number is not None:
        assert row is not None and found.number == row.number
        assert found.open or row.decision is not None, "a row goes when its request is decided"


@given(st.text(max_size=40))
def test_a_name_that_is_none_never_gets_to_the_database(text: str) -> None:
    name = named(msgspec.msgpack.encode(msgspec.structs.replace(ONE, request_id=text)), None)
    assert name is None or str(uuid.UUID(name)) == text


@pytest.mark.parametrize(
    ("value", "row", "expected"),
    [
        (DATA, Known(None, None, 7, DATA), Fate(NAME, open=True, number=7)),
        (DATA, Known(None, None, None, None), Fate(NAME, open=True)),
        (OTHER, Known(None, None, 7, DATA), Fate(NAME, death=Death.ALTERED)),
        (NOISE, Known(None, None, 7, DATA), Fate(NAME, death=Death.UNREADABLE)),
        (NOISE, Known(None, None, 7, NOISE), Fate(NAME, open=True, number=7)),
        (DATA, Known("allowed", "listed", 7, DATA), Fate(NAME, number=7)),
        (OTHER, Known("allowed", "listed", None, None), Fate(NAME)),
        (DATA, Known("invalid", "bad_fields", 7, DATA), Fate(NAME, death=Death.BAD_FIELDS, number=7)),
        (DATA, None, Fate(None, death=Death.UNKNOWN_REQUEST)),
        (NOISE, None, Fate(None, death=Death.UNREADABLE)),
        (NO_TEXT, None, Fate(None, death=Death.UNREADABLE)),
    ],
)
def test_what_becomes_of_it(value: bytes, row: Known | None, expected: Fate) -> None:
    assert fate(value, NAME.encode(), {} if row is None else {NAME: row}) == expected


keys_of_others = st.none() | st.binary(max_size=30) | st.just(b"k" * 200_000)


@given(st.sampled_from(Death), st.binary(max_size=30), keys_of_others, st.integers(0, 200_000))
def test_what_is_put_aside_is_small_and_says_why_and_where_from(
    why: Death, value: bytes, key: bytes | None, more: int
) -> None:
    whole = value + b"x" * more
    dead = dead_message(why, NAME, whole, key, ("requests", 3, 99))
    said = {name: text.decode() for name, text in dead.headers}
    assert (said["reason"], said["sentence"]) == (why.value, DEATHS[why])
    assert (said["source_topic"], said["source_partition"], said["source_offset"]) == ("requests", "3", "99")
    assert said["request_id"] == NAME and dead.value == whole[:DEAD_BYTES]
    assert dead.key == (None if key is None else key[:KEY_BYTES])
    size = len(dead.value) + len(dead.key or b"") + sum(len(name) + len(text) for name, text in dead.headers)
    assert size < 70_000, "a topic that takes 80 KiB takes it"
    assert ("cut_from_bytes" in said) == (len(whole) > DEAD_BYTES)
