"""One record of the log: bytes in, bytes out. FORMAT.md §2 and §3.

"EVR1" | be32 len | be64 seq | be64 durable | body | chain[32] | be32 crc32 | zero padding to a multiple of 8
"""

from __future__ import annotations

import struct
import zlib
from hashlib import sha256
from typing import NamedTuple

MAGIC = b"EVR1"
# Largest body, in bytes. The largest event (a plan of every connector of a site) is far below. FORMAT.md §2
MAX_BODY = 1 << 20
# Records begin at multiples of this many bytes. FORMAT.md §2
ALIGNMENT = 8
# The chain before the first record. FORMAT.md §3
CHAIN_0 = sha256(b"evcharge audit 1").digest()
# The first sequence number; 0 means "nothing". FORMAT.md §2
FIRST_SEQ = 1
# A record that says only "all before me is durable": msgpack of ["mark", 1, {}]. FORMAT.md §4
MARK = b"\x93\xa4mark\x01\x80"

_HEADER = struct.Struct(">4sIQQ")
_CRC = struct.Struct(">I")
_CHAIN_TAG = b"evlog\x01"
_CHAIN_SIZE = 32

HEADER_SIZE = _HEADER.size
_LARGEST_SEQ = 2**64 - 1


class BadRecord(ValueError):
    """These bytes are not one whole record; the text says why."""


class Record(NamedTuple):
    """One whole record. ``chain`` is what it carries: whether it is right, ``chain_after`` tells."""

    seq: int
    durable: int
    """Highest sequence number known to be on the medium when this record was made; below ``seq``."""
    body: bytes
    chain: bytes
    size: int
    """Bytes in the file, padding included."""


def record_size(body_size: int) -> int:
    """Bytes that a record with a body of ``body_size`` bytes takes in the file."""
    return -(-(HEADER_SIZE + body_size + _CHAIN_SIZE + _CRC.size) // ALIGNMENT) * ALIGNMENT


# The largest record, in bytes.
MAX_RECORD = record_size(MAX_BODY)


def encode(seq: int, durable: int, body: bytes, chain_before: bytes) -> tuple[bytes, bytes]:
    """The record's bytes and its chain. ``ValueError``: body too large, or impossible numbers."""
    if len(body) > MAX_BODY:
        raise ValueError(f"an event of {len(body)} bytes is larger than the {MAX_BODY} that a record holds")
    if not 0 <= durable < seq <= _LARGEST_SEQ:
        raise ValueError(f"a record {seq} cannot say that {durable} is durable")
    header = _HEADER.pack(MAGIC, len(body), seq, durable)
    chain = sha256(b"".join((_CHAIN_TAG, chain_before, header, body))).digest()
    plain = b"".join((header, body, chain))
    data = plain + _CRC.pack(zlib.crc32(plain))
    return data + bytes(-len(data) % ALIGNMENT), chain


def chain_after(chain_before: bytes, record: Record) -> bytes:
    """The chain that ``record`` must carry behind ``chain_before``."""
    header = _HEADER.pack(MAGIC, len(record.body), record.seq, record.durable)
    return sha256(b"".join((_CHAIN_TAG, chain_before, header, record.body))).digest()


def needed(buffer: bytes, offset: int = 0) -> int:
    """How many bytes the record at ``offset`` takes, from its header. Raises BadRecord."""
    if len(buffer) - offset < HEADER_SIZE:
        raise BadRecord("the file ends inside the header")
    magic, size, _, _ = _HEADER.unpack_from(buffer, offset)
    if magic != MAGIC:
        raise BadRecord("no record begins here")
    if size > MAX_BODY:
        raise BadRecord(f"the length {size} is above {MAX_BODY}")
    return record_size(size)


def peek(buffer: bytes, offset: int, seq: int) -> int:
    """How many bytes record ``seq`` at ``offset`` takes, by its header alone. Raises BadRecord: it is another one."""
    if len(buffer) - offset < HEADER_SIZE:
        raise BadRecord("the file ends inside the header")
    magic, length, found, _ = _HEADER.unpack_from(buffer, offset)
    # As in ``decode``: a page may pass tens of thousands.
    if magic != MAGIC or length > MAX_BODY:
        needed(buffer, offset)
    if found != seq:
        raise BadRecord(f"record {found} stands in its place")
    return record_size(length)


def decode(buffer: bytes, offset: int = 0) -> Record:
    """The whole record at ``offset``. Raises BadRecord: cut, wrong checksum, non-zero padding."""
    if len(buffer) - offset < HEADER_SIZE:
        raise BadRecord("the file ends inside the header")
    magic, length, seq, durable = _HEADER.unpack_from(buffer, offset)
    # The same as in ``needed``, written out: a start reads a million of them.
    if magic != MAGIC or length > MAX_BODY:
        needed(buffer, offset)
    end = offset + HEADER_SIZE + length + _CHAIN_SIZE
    size = -(-(end + _CRC.size - offset) // ALIGNMENT) * ALIGNMENT
    if len(buffer) - offset < size:
        raise BadRecord("the file ends inside the record")
    if _CRC.unpack_from(buffer, end)[0] != zlib.crc32(memoryview(buffer)[offset:end]):
        raise BadRecord("the checksum is wrong")
    if any(buffer[end + _CRC.size : offset + size]):
        raise BadRecord("the padding is not zero")
    body = buffer[offset + HEADER_SIZE : end - _CHAIN_SIZE]
    return Record(seq, durable, body, buffer[end - _CHAIN_SIZE : end], size)
