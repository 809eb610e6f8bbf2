"""Old segments elsewhere, and the log still verifiable: what is left begins at an anchor. FORMAT.md §14.

An anchor says what a verification needs to begin at a segment: the chain and the tree's edge before it, and the keys
that were named until there. It is not trusted: with a wrong edge no signed checkpoint behind it comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from evcharge.audit.checkpoints import CHECKPOINTS, BadCheckpoints, read_checkpoints
from evcharge.audit.files import Files, OsFiles, ReadOnly
from evcharge.audit.merkle import Frontier
from evcharge.audit.note import BadNote, Verifier
from evcharge.audit.record import FIRST_SEQ
from evcharge.audit.replay import FROM_THE_FIRST, Start
from evcharge.audit.segments import DRAFT_PREFIX, list_segments, write_all
from evcharge.audit.snapshot import KEPT, BadSnapshot, start_of, usable

ANCHORS = "anchors"
# Bytes copied at a time.
_COPY_BYTES = 4 << 20
# Largest file of anchors that is read, bytes: at 2 KiB an anchor, 64 MiB a segment, that is 512 TiB of log.
_MAX_ANCHORS = 16 << 20


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a verification may begin: at the segment whose first record is ``seq``. Hashes in hexadecimal."""

    seq: int
    durable: int
    """``durable`` of the record before it."""
    chain: str
    edge: list[str]
    """Of the tree of ``seq - 1`` leaves."""
    keys: list[str]
    """Verifier keys that the log had named, oldest first."""


class Beginning(msgspec.Struct, frozen=True):
    """Where the first segment that is here begins."""

    start: Start
    frontier: Frontier
    keys: list[Verifier]


class CannotArchive(Exception):
    """Nothing was moved; the text says why."""


class WithArchive(ReadOnly):
    """The operating system, where a log's folder also has the segments of an archive. For readers only."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def listdir(self, path: Path) -> list[str]:
        own = super().listdir(path)
        if not any(name.startswith("audit-") for name in own):
            return own
        older = (one.path.name for one in list_segments(self._archive, OsFiles())[0])
        return own + [name for name in older if name not in own]

    def open(self, path: Path) -> int:
        try:
            return super().open(path)
        except FileNotFoundError:
            return super().open(self._archive / path.name)


def beginning(directory: Path, files: Files) -> Beginning:
    """Of the first segment here; of the first record where nothing was archived. Raises OSError.

    Where the anchor is missing or no anchor, too: then the replay says that records are missing.
    """
    segments, _ = list_segments(directory, files)
    anchor = read_anchors(directory, files).get(segments[0].first_seq) if segments else None
    if anchor is None or anchor.seq == FIRST_SEQ:
        return Beginning(FROM_THE_FIRST, Frontier(), [])
    try:
        edge = [bytes.fromhex(one) for one in anchor.edge]
        chain = bytes.fromhex(anchor.chain)
        frontier = Frontier(anchor.seq - 1, edge)
        keys = [Verifier.parse(key) for key in anchor.keys]
    except (ValueError, BadNote):
        return Beginning(FROM_THE_FIRST, Frontier(), [])
    return Beginning(Start(anchor.seq, anchor.durable, chain, anchor.seq, 0), frontier, keys)


def read_anchors(directory: Path, files: Files) -> dict[int, Anchor]:
    """By the number of the segment; lines that are none are left out. Raises OSError."""
    if ANCHORS not in files.listdir(directory):
        return {}
    handle = files.open(directory / ANCHORS)
    try:
        data = bytearray()
        while len(data) < _MAX_ANCHORS and (chunk := files.pread(handle, _COPY_BYTES, len(data))):
            data += chunk
    finally:
        with suppress(OSError):
            files.close(handle)
    anchors: dict[int, Anchor] = {}
    for line in bytes(data).splitlines():
        # Not UTF-8, too deep, no anchor at all: all the same.
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            anchor = msgspec.json.decode(line, type=Anchor)
            anchors[anchor.seq] = anchor
    return anchors


def archivable(directory: Path, files: Files, keys: Sequence[Verifier], keep: int, *, rules: int) -> int:
    """Segments with a number below this one are needed by no start: snapshots by these ``rules`` stand behind them.

    At least ``keep`` segments stay. Raises CannotArchive, OSError.
    """
    numbers = [one.first_seq for one in list_segments(directory, files)[0]]
    needed = []
    for snapshot in usable(directory, files, keys, rules=rules, reject=lambda _path, _why: None):
        with suppress(BadSnapshot):
            start_of(snapshot.head, directory, files)
            needed.append(snapshot.head.segment)
    if len(needed) < KEPT:
        raise CannotArchive(
            f"there are {len(needed)} of {KEPT} snapshots from which Central could start, so it may need all records; "
            "it makes one each 100,000 records, `evcharge-audit snapshot` one of a log that nobody writes"
        )
    return min([*needed, *numbers[-keep:]])


def move(directory: Path, destination: Path, files: Files, anchors: Mapping[int, Anchor], below: int) -> list[Path]:
    """Move the segments whose number is below ``below`` to ``destination``; where they are now.

    ``anchors``: of all segments here. Every copy is durable, read again and compared before an original goes.
    Raises CannotArchive, OSError, BlockingIOError (somebody else does it); whatever happens, each record is in at least
    one of the two folders.
    """
    files.make_directory(destination)
    if destination.resolve().is_relative_to(directory.resolve().parent):
        raise CannotArchive(f"{destination} lies in Central's data folder: give a folder elsewhere")
    lock = files.lock(destination)
    try:
        return _move(directory, destination, files, anchors, below)
    finally:
        with suppress(OSError):
            files.close(lock)


def _move(directory: Path, destination: Path, files: Files, anchors: Mapping[int, Anchor], below: int) -> list[Path]:
    _same_log(directory, destination, files)
    # What Central has begun since is not verified yet, and stays.
    below = max((seq for seq in anchors if seq <= below), default=0)
    old = [one for one in list_segments(directory, files)[0] if one.first_seq < below]
    copies = [_copy(path, destination, files) for _, path in old]
    if not copies:
        return []
    for folder in (destination, directory):
        known = read_anchors(folder, files) | {one: anchors[one] for one, _ in old} | {below: anchors[below]}
        _write(folder, ANCHORS, _lines(known), files)
    kept, _ = read_checkpoints(directory, files)
    covered = [one.data for one in kept if one.checkpoint.size < below]
    _write(destination, CHECKPOINTS, b"".join(covered), files)
    for _, path in old:
        files.remove(path)
    files.sync_directory(directory)
    return copies


def _same_log(directory: Path, destination: Path, files: Files) -> None:
    """An archive holds one log. Raises CannotArchive."""
    try:
        origins = {
            kept.checkpoint.origin for one in (directory, destination) for kept in read_checkpoints(one, files)[0]
        }
    except BadCheckpoints as error:
        raise CannotArchive(f"the checkpoints in {destination} cannot be read: {error}") from None
    if len(origins) > 1:
        raise CannotArchive(f"{destination} holds another log ({', '.join(sorted(origins))}): give a folder of its own")


def _lines(anchors: Mapping[int, Anchor]) -> bytes:
    return b"".join(msgspec.json.encode(anchors[seq]) + b"\n" for seq in sorted(anchors))


def _copy(path: Path, destination: Path, files: Files) -> Path:
    """A durable, compared copy in ``destination``."""
    target = destination / path.name
    if target.exists() and target.samefile(path):
        raise CannotArchive(f"{target} is the very file that would be moved")
    digest = _digest(path, files)
    if target.name in files.listdir(destination):
        if _digest(target, files) != digest:
            raise CannotArchive(f"{target} is there already and is another file")
        # Whoever put it there may not have synced it.
        handle = files.open(target)
        try:
            files.fsync(handle)
        finally:
            files.close(handle)
        files.sync_directory(destination)
        return target
    draft = destination / f"{DRAFT_PREFIX}{path.name}"
    if draft.name in files.listdir(destination):
        files.remove(draft)
    source, sink = files.open(path), files.create(draft)
    try:
        offset = 0
        while chunk := files.pread(source, _COPY_BYTES, offset):
            write_all(files, sink, chunk, offset)
            offset += len(chunk)
        files.fsync(sink)
    finally:
        for handle in (source, sink):
            with suppress(OSError):
                files.close(handle)
    if _digest(draft, files) != digest:
        raise CannotArchive(f"the copy of {path.name} in {destination} is not what was written")
    files.rename(draft, target)
    files.sync_directory(destination)
    return target


def _digest(path: Path, files: Files) -> bytes:
    digest, offset = sha256(), 0
    handle = files.open(path)
    try:
        while chunk := files.pread(handle, _COPY_BYTES, offset):
            digest.update(chunk)
            offset += len(chunk)
    finally:
        with suppress(OSError):
            files.close(handle)
    return digest.digest()


def _write(folder: Path, name: str, data: bytes, files: Files) -> None:
    """Put a file there in one step, durably."""
    draft = folder / f"{DRAFT_PREFIX}{name}"
    if draft.name in files.listdir(folder):
        files.remove(draft)
    handle = files.create(draft)
    try:
        write_all(files, handle, data, 0)
        files.fsync(handle)
    finally:
        with suppress(OSError):
            files.close(handle)
    files.rename(draft, folder / name)
    files.sync_directory(folder)
