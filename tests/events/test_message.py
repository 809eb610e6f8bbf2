"""Records as messages: what a consumer relies on."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.events.keys import Keys, Learned
from evcharge.events.message import AROUND, MOST_VALUE, Format, message_of
from evcharge.events.parcels import (
    MAX_MESSAGE_BYTES,
    MOST_BYTES,
    MOST_RECORDS,
    PIECE_BYTES,
    next_transaction,
    parcels,
)
from evcharge.events.position import Position, Row, kept_of, rows_of
from evcharge.net.tail import Record, read
from protocol import messages as m
from tests.support.log_central import bodies

TEXT = st.text(max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def record(body: bytes, seq: int = 7) -> Record:
    return read(m.StoredView(seq=seq, durable=seq, body=body))


def stored(kind: str, data: Any, **stamp: Any) -> Record:
    stamp = {"at_ms": 1, "clock_ms": 2, "actor": "a", "source": "s"} | stamp
    return record(msgspec.msgpack.encode([kind, 3, {**stamp, "data": data}]))


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_both_formats_say_the_same(form: Format) -> None:
    message = message_of(stored("hold_placed", {"cp_id": "CP-1", "n": 2**60}, trace="r-1"), Keys(), "site", form)
    value = json.loads(message.value) if form == "json" else msgspec.msgpack.decode(message.value)
    assert value == {
        "seq": 7,
        "kind": "hold_placed",
        "version": 3,
        "at_ms": 1,
        "clock_ms": 2,
        "actor": "a",
        "source": "s",
        "by": None,
        "trace": "r-1",
        "data": {"cp_id": "CP-1", "n": 2**60},
    }
    assert dict(message.headers)["content-type"] == f"application/{form}".encode()
    assert message.key == b"CP-1"


@given(body=st.binary(max_size=200) | ANYTHING.map(msgspec.msgpack.encode), form=st.sampled_from(["json", "msgpack"]))
def test_any_bytes_become_a_message_with_their_number_and_nothing_of_them_is_lost(body: bytes, form: Format) -> None:
    message = message_of(record(body), Keys(), "site", form)
    value = json.loads(message.value) if form == "json" else msgspec.msgpack.decode(message.value)
    assert value["seq"] == 7
    assert dict(message.headers)["seq"] == b"7"
    assert message.digest == sha256(body).digest()
    if value["data"] is None:
        assert base64.b64decode(value["body"]) == body


@given(data=st.dictionaries(TEXT, ANYTHING, max_size=5))
def test_no_value_is_longer_than_a_topic_is_made_for(data: dict[str, Any]) -> None:
    one = stored("some_kind", data)
    message = message_of(one, Keys(), "x" * 64, "json")
    assert len(message.value) <= 6 * len(one.body) + AROUND
    assert MAX_MESSAGE_BYTES == MOST_VALUE + AROUND


def test_what_json_cannot_say_goes_as_it_is() -> None:
    one = record(msgspec.msgpack.encode(["odd", 1, {"at_ms": 1, "data": {"m": {(1, 2): 3}}}]))
    value = json.loads(message_of(one, Keys(), "site", "json").value)
    assert value["data"] is None
    assert base64.b64decode(value["body"]) == one.body


def test_a_stand_in_has_the_hash_and_is_small() -> None:
    one = stored("incident_raised", {"cp_id": "CP-1", "detail": "x" * 100_000})
    message = message_of(one, Keys(), "site", "json", cut=True)
    assert message.size < 1_000
    assert json.loads(message.value)["sha256"] == sha256(one.body).hexdigest()
    assert dict(message.headers)["cut"] == b"1"
    assert message.key == b"CP-1"


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"cp_id": "CP-1"}, "CP-1"),
        ({"cp_id": "*"}, "*"),
        ({"cp_id": 5}, "*"),
        ({"ticket": {"cp_id": "CP-2", "session_id": "s-9"}}, "CP-2"),
        ({"role": "monitor", "entity": "CP-3"}, "CP-3"),
        ({"role": "driver", "entity": "anna"}, "*"),
        ({"session_id": "s-1"}, "CP-7"),
        ({"session_id": "s-2"}, "*"),
        ({"waiting_id": "w", "session_id": "s-1"}, "CP-7"),
        ({"ticket_id": "t-s-1", "driver_id": "anna"}, "CP-7"),
        ({"reservation_id": "s-1"}, "CP-7"),
        ({"root_id": "site"}, "*"),
    ],
)
def test_the_key_of_a_record(data: dict[str, Any], key: str) -> None:
    keys = Keys({"s-1": "CP-7"})
    assert keys.key_of(data)[0] == key


def test_a_session_is_learned_once_and_the_oldest_are_forgotten() -> None:
    keys = Keys(most=2)
    assert keys.key_of({"session_id": "a", "cp_id": "1"}) == ("1", [Learned("a", "1")])
    assert keys.key_of({"session_id": "a", "cp_id": "1"}) == ("1", [])
    assert keys.key_of({"session_id": "b", "cp_id": "2"}) == ("2", [Learned("b", "2")])
    assert keys.key_of({"session_id": "c", "cp_id": "3"}) == ("3", [Learned("c", "3"), Learned("a", None)])
    assert keys.key_of({"session_id": "a"})[0] == "*"
    assert len(keys) == 2


SAID = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["1", "2", None])), max_size=40)


@given(said=SAID, cut_at=st.integers(0, 40))
def test_what_was_learned_is_the_same_after_a_restart(said: list[tuple[str, str | None]], cut_at: int) -> None:
    datas = [{"session_id": session} | ({} if cp is None else {"cp_id": cp}) for session, cp in said]
    through = Keys(most=3)
    expected = [through.key_of(data)[0] for data in datas]
    first, rows, found = Keys(most=3), list[Row](), list[str]()
    for data in datas[:cut_at]:
        key, learned = first.key_of(data)
        rows += rows_of("log/topic", Position(seq=1), learned)
        found.append(key)
    again = Keys(kept_of("log/topic", rows).charges, most=3)
    found += [again.key_of(data)[0] for data in datas[cut_at:]]
    assert found == expected


def test_positions_of_other_logs_are_not_looked_at() -> None:
    rows = [
        *rows_of("a/t", Position(seq=4, sha256="ab"), [Learned("s", "CP")]),
        *rows_of("b/t", Position(seq=9), []),
        Row(b"a/t2", b"nonsense"),
    ]
    kept = kept_of("a/t", rows)
    assert kept.position == Position(seq=4, sha256="ab")
    assert kept.charges == {"s": "CP"}
    with pytest.raises(ValueError, match="malformed"):
        kept_of("a/t2", rows)


# --- parcels ----------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 60), most=st.integers(1, 3_000), partitions=st.integers(1, 5))
def test_parcels_keep_every_message_and_its_order(count: int, most: int, partitions: int) -> None:
    keys = Keys()
    messages = [message_of(record(body, seq), keys, "site", "json") for seq, body in enumerate(bodies(count), start=1)]
    made = list(parcels(messages, lambda key: sum(key) % partitions, most))
    assert sorted(one.seq for parcel in made for one in parcel.messages) == list(range(1, count + 1))
    for partition in range(partitions):
        seqs = [one.seq for parcel in made if parcel.partition == partition for one in parcel.messages]
        assert seqs == sorted(seqs)
    for parcel in made:
        assert len(parcel.messages) == 1 or sum(one.size for one in parcel.messages) <= most
    assert 1 <= next_transaction(messages) <= count
    assert PIECE_BYTES < 1 << 20


def test_a_transaction_has_its_limits() -> None:
    (one,) = [message_of(record(body), Keys(), "site", "json") for body in bodies(1)]
    assert next_transaction([one] * (MOST_RECORDS + 1)) == MOST_RECORDS
    long = msgspec.structs.replace(one, value=b"x" * (MOST_BYTES - one.size))
    assert next_transaction([long, long, long]) == 1
    assert next_transaction([one, long, long]) == 1
    assert next_transaction([]) == 0
