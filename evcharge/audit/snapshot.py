"""The state at one record, so that a start need not begin at the first one. FORMAT.md §13.

    "EVS1" | be32 length of the head | head | state | SHA-256 of all before | Ed25519 signature

Head and state are MessagePack. The signature is the log's key's, over a sentence and the hash. A snapshot is worth what
its replay was worth: it is written by a process of its own, which has compared every hash of the state on its way.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from evcharge.audit.files import Files
from evcharge.audit.note import BadNote, Signer, Verifier
from evcharge.audit.record import MAX_RECORD, BadRecord
from evcharge.audit.record import decode as decode_record
from evcharge.audit.replay import Start
from evcharge.audit.segments import DRAFT_PREFIX, segment_name, write_all

MAGIC = b"EVS1"
# Snapshots that are kept: the newest, and one before it in case the newest is damaged. audit.md
KEPT = 2
# Largest snapshot that is read, bytes: a million sessions.
MAX_SNAPSHOT = 2 << 30

_LENGTH = struct.Struct(">I")
_HASH, _SIGNATURE = 32, 64
_SENTENCE = "evcharge snapshot 1\n"
_NAME = re.compile(r"snapshot-([0-9a-f]{16})\.evs")


Rejected = Callable[[Path, str], None]
"""Is told which snapshot cannot be used, and why."""


class BadSnapshot(ValueError):
    """This file is no snapshot that can be used; the text says why."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where in the log a snapshot stands."""

    seq: int
    """The last record that it covers."""
    durable: int
    """``durable`` of that record."""
    chain: bytes
    edge: list[bytes]
    """Of the tree of ``seq`` leaves."""
    segment: int
    """Number of the segment in which that record stands …"""
    offset: int
    """… at this offset."""
    rules: int
    """By which rules events became this state."""
    state_hash: bytes
    keys: list[str]
    """Verifier keys that the log has named, oldest first."""
    sources: dict[str, int] = {}
    """Addresses from which peers came, and when they did last, channel clock ms."""


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot that was read: its signature was right."""

    head: Head
    state: bytes


def snapshot_name(seq: int) -> str:
    """The file of the snapshot behind record ``seq``."""
    return f"snapshot-{seq:016x}.evs"


def encode(head: Head, state: bytes, signer: Signer) -> bytes:
    """The file's bytes."""
    packed = msgspec.msgpack.encode(head)
    plain = b"".join((MAGIC, _LENGTH.pack(len(packed)), packed, state))
    digest = sha256(plain).digest()
    return b"".join((plain, digest, signer.sign(_SENTENCE + digest.hex())))


def decode(data: bytes, keys: Sequence[Verifier]) -> Snapshot:
    """A snapshot that is signed by the key that was in force there, or by one of ``keys`` that the log named later.

    Whether the former is one of this log's, the replay behind it tells. Raises BadSnapshot.
    """
    smallest = len(MAGIC) + _LENGTH.size + _HASH + _SIGNATURE
    if len(data) < smallest or not data.startswith(MAGIC):
        raise BadSnapshot("the file is no snapshot, or is cut")
    plain, digest, signature = data[: -_HASH - _SIGNATURE], data[-_HASH - _SIGNATURE : -_SIGNATURE], data[-_SIGNATURE:]
    if sha256(plain).digest() != digest:
        raise BadSnapshot("the file was damaged, or is cut")
    size = _LENGTH.unpack_from(plain, len(MAGIC))[0]
    begin = len(MAGIC) + _LENGTH.size
    try:
        head = msgspec.msgpack.decode(plain[begin : begin + size], type=Head)
    except msgspec.MsgspecError as error:
        raise BadSnapshot(f"the head of the snapshot cannot be read: {error}") from None
    named = verifiers(head.keys)
    # One that was made later, of an earlier moment, is signed by a key that the log names only behind it.
    signers = [*named[-1:], *(key for key in keys if key not in named)]
    if not any(key.holds(_SENTENCE + digest.hex(), signature) for key in signers):
        raise BadSnapshot("the snapshot is not signed by the key that was in force there")
    return Snapshot(head, plain[begin + size :])


def write(directory: Path, files: Files, head: Head, state: bytes, signer: Signer) -> Path:
    """Write a snapshot durably, then drop all but the newest ones. Raises OSError."""
    path = directory / snapshot_name(head.seq)
    draft = directory / f"{DRAFT_PREFIX}{path.name}"
    with suppress(FileNotFoundError):
        files.remove(draft)
    handle = files.create(draft)
    try:
        write_all(files, handle, encode(head, state, signer), 0)
        files.fsync(handle)
    finally:
        with suppress(OSError):
            files.close(handle)
    files.rename(draft, path)
    files.sync_directory(directory)
    for _, old in list_snapshots(directory, files)[KEPT:]:
        files.remove(old)
    return path


def list_snapshots(directory: Path, files: Files) -> list[tuple[int, Path]]:
    """All snapshots, newest first: the record that each covers, and its file. Raises OSError."""
    matches = (_NAME.fullmatch(name) for name in files.listdir(directory))
    return sorted(((int(match[1], 16), directory / match[0]) for match in matches if match), reverse=True)


def usable(
    directory: Path, files: Files, keys: Sequence[Verifier], *, rules: int | None, reject: Rejected
) -> Iterator[Snapshot]:
    """All that are whole and by these rules (None: by any), newest first; ``reject`` hears of the others.

    Raises OSError.
    """
    for seq, path in list_snapshots(directory, files):
        try:
            snapshot = decode(_read(path, files), keys)
        except BadSnapshot as error:
            reject(path, str(error))
            continue
        if snapshot.head.seq != seq:
            reject(path, "its name is that of another record")
        elif rules is not None and snapshot.head.rules != rules:
            reject(path, "an evcharge with other rules has made it")
        else:
            yield snapshot


def start_of(head: Head, directory: Path, files: Files) -> Start:
    """Where a replay goes on behind a snapshot. Raises BadSnapshot: the log has another record there; OSError."""
    path = directory / segment_name(head.segment)
    if path.name not in files.listdir(directory):
        raise BadSnapshot(f"{path.name}, in which its last record stands, is not there")
    handle = files.open(path)
    try:
        data = files.pread(handle, MAX_RECORD, head.offset)
    finally:
        with suppress(OSError):
            files.close(handle)
    try:
        record = decode_record(data)
    except BadRecord as error:
        raise BadSnapshot(f"the log has no whole record {head.seq} where it ends: {error}") from None
    if (record.seq, record.durable, record.chain) != (head.seq, head.durable, head.chain):
        raise BadSnapshot(f"the log has another record {head.seq}")
    return Start(head.seq + 1, head.durable, head.chain, head.segment, head.offset + record.size)


def _read(path: Path, files: Files) -> bytes:
    handle = files.open(path)
    try:
        size = files.size(handle)
        if size > MAX_SNAPSHOT:
            raise BadSnapshot(f"the file is larger than {MAX_SNAPSHOT >> 20} MiB")
        data = bytearray()
        while len(data) < size and (chunk := files.pread(handle, size - len(data), len(data))):
            data += chunk
        return bytes(data)
    finally:
        with suppress(OSError):
            files.close(handle)


def verifiers(texts: Sequence[str]) -> list[Verifier]:
    """The keys of a head. Raises BadSnapshot."""
    try:
        return [Verifier.parse(text) for text in texts]
    except BadNote as error:
        raise BadSnapshot(str(error)) from None
