from __future__ import annotations

import hashlib
import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.record import (
    CHAIN_0,
    MARK,
    MAX_BODY,
    MAX_RECORD,
    BadRecord,
    chain_after,
    decode,
    encode,
    record_size,
)

NUMBERS = st.integers(1, 2**64 - 1).flatmap(lambda seq: st.tuples(st.just(seq), st.integers(0, seq - 1)))


def test_golden_bytes_of_a_record_built_by_hand() -> None:
    body = b"\x93\xa4mark\x01\x80"
    header = b"EVR1" + (8).to_bytes(4, "big") + (7).to_bytes(8, "big") + (5).to_bytes(8, "big")
    before = hashlib.sha256(b"evcharge audit 1").digest()
    chain = hashlib.sha256(b"evlog\x01" + before + header + body).digest()
    plain = header + body + chain
    expected = plain + zlib.crc32(plain).to_bytes(4, "big") + bytes(4)
    assert len(expected) == 72
    assert encode(7, 5, body, before) == (expected, chain)
    assert hashlib.sha256(expected).hexdigest() == GOLDEN


# Computed once from the lines above; a change of the format must be seen as one.
GOLDEN = "067d2578f1e0e8235eee0ec7d74cc6fe54d3697468fbb0cb0a04f948c531da8d"


def test_the_mark_is_plain_msgpack() -> None:
    assert msgpack.unpackb(MARK) == ["mark", 1, {}]
    assert hashlib.sha256(b"evcharge audit 1").digest() == CHAIN_0


@given(NUMBERS, st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.binary(max_size=20))
def test_round_trip_anywhere_in_a_buffer(numbers: tuple[int, int], body: bytes, chain: bytes, around: bytes) -> None:
    seq, durable = numbers
    data, after = encode(seq, durable, body, chain)
    record = decode(around + data + around, len(around))
    assert (record.seq, record.durable, record.body, record.chain) == (seq, durable, body, after)
    assert record.size == len(data) == record_size(len(body))
    assert len(data) % 8 == 0
    assert chain_after(chain, record) == after


@given(st.binary(max_size=64), st.data())
def test_any_changed_byte_is_seen(body: bytes, data: st.DataObject) -> None:
    whole, _ = encode(3, 2, body, CHAIN_0)
    at = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    with pytest.raises(BadRecord):
        decode(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])


@given(st.binary(max_size=64), st.data())
def test_any_cut_is_seen(body: bytes, data: st.DataObject) -> None:
    whole, _ = encode(3, 2, body, CHAIN_0)
    with pytest.raises(BadRecord):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_bad(data: bytes) -> None:
    with pytest.raises(BadRecord):
        decode(b"EVR1" + data)


def test_the_chain_binds_everything_before() -> None:
    first, after_first = encode(1, 0, b"a", CHAIN_0)
    second = decode(encode(2, 1, b"b", after_first)[0])
    other = encode(1, 0, b"A", CHAIN_0)[1]
    assert chain_after(after_first, second) == second.chain
    assert chain_after(other, second) != second.chain
    assert decode(first).chain == after_first


def test_limits() -> None:
    whole, _ = encode(1, 0, bytes(MAX_BODY), CHAIN_0)
    assert len(whole) == MAX_RECORD
    assert decode(whole).body == bytes(MAX_BODY)
    with pytest.raises(ValueError, match="larger than"):
        encode(1, 0, bytes(MAX_BODY + 1), CHAIN_0)
    for seq, durable in ((0, 0), (5, 5), (5, 6), (5, -1), (2**64, 1)):
        with pytest.raises(ValueError, match="cannot say"):
            encode(seq, durable, b"", CHAIN_0)


def test_a_length_above_the_limit_is_refused_before_it_is_read() -> None:
    header = b"EVR1" + (MAX_BODY + 1).to_bytes(4, "big") + bytes(16)
    with pytest.raises(BadRecord, match="length"):
        decode(header + bytes(2 * MAX_BODY))
