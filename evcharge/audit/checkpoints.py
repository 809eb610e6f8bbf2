"""The file of signed checkpoints: what the log was, at a size, in the words of C2SP. FORMAT.md §9."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from evcharge.audit.files import Files
from evcharge.audit.note import BadNote, Checkpoint, Note, Signer, split_notes, write_note
from evcharge.audit.segments import DRAFT_PREFIX, write_all
from evcharge.audit.tree import LogTree

CHECKPOINTS = "checkpoints"
# A checkpoint is made after so many records, or so long after the one before it when there are any. audit.md
EVERY_RECORDS = 1_000
EVERY_S = 1.0
# The file is synced at most so often, seconds: what it says can be signed again, so a crash may take the last of it.
SYNC_EVERY_S = 1.0


class Kept(NamedTuple):
    """One checkpoint of the file."""

    offset: int
    data: bytes
    checkpoint: Checkpoint


class BadCheckpoints(ValueError):
    """The file holds something else than checkpoints; ``offset`` says where."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(why)
        self.offset = offset


def read_checkpoints(directory: Path, files: Files) -> tuple[list[Kept], int]:
    """All whole checkpoints, oldest first, and how long they are together; a cut last one is left out.

    Signatures are not looked at. Raises BadCheckpoints, OSError.
    """
    if CHECKPOINTS not in files.listdir(directory):
        return [], 0
    handle = files.open(directory / CHECKPOINTS)
    try:
        size, data = files.size(handle), bytearray()
        while len(data) < size and (chunk := files.pread(handle, size - len(data), len(data))):
            data += chunk
    finally:
        with suppress(OSError):
            files.close(handle)
    # What was reserved by a crash, or never reached the medium, reads as zeros.
    whole = bytes(data).rstrip(b"\0")
    kept: list[Kept] = []
    offset = 0
    notes = split_notes(whole)
    for place, note in enumerate(notes):
        try:
            checkpoint = Checkpoint.parse(Note.parse(note).text)
        except BadNote as error:
            if place == len(notes) - 1:
                break
            raise BadCheckpoints(offset, str(error)) from None
        if kept and checkpoint.size < kept[-1].checkpoint.size:
            raise BadCheckpoints(offset, "a checkpoint of a smaller log follows one of a larger")
        kept.append(Kept(offset, note, checkpoint))
        offset += len(note)
    return kept, offset


class Checkpoints:
    """Signs what is durable and appends it to the file. Belongs to the log's writer thread; ``newest`` to anybody."""

    def __init__(self, directory: Path, files: Files, tree: LogTree, signers: Sequence[Signer]) -> None:
        """``signers``: the log's key, and after a rotation the old one too. Nothing is opened before ``start``."""
        self.newest = b""
        """The newest checkpoint, a signed note; empty before the first one."""
        self._directory = directory
        self._files = files
        self._tree = tree
        self._signers = list(signers)
        self._handle: int | None = None
        self._offset = 0
        self._size = 0
        self._made_s = float("-inf")
        self._synced_s = float("-inf")

    def start(self, kept: Sequence[Kept], length: int) -> None:
        """Go on after what was read; everything behind it is dropped for good. Raises OSError."""
        path, draft = self._directory / CHECKPOINTS, self._directory / f"{DRAFT_PREFIX}{CHECKPOINTS}"
        files = self._files
        handle = files.create(draft)
        try:
            # Written anew like the open segment: what a reader saw after a failed sync may be in memory only.
            write_all(files, handle, b"".join(one.data for one in kept), 0)
            files.fsync(handle)
            files.rename(draft, path)
            files.sync_directory(self._directory)
        except BaseException:
            with suppress(OSError):
                files.close(handle)
            raise
        self._handle, self._offset = handle, length
        if kept:
            self.newest, self._size = kept[-1].data, kept[-1].checkpoint.size

    @property
    def made_s(self) -> float | None:
        """When this process signed the newest one, monotonic; None: it has not signed any."""
        return self._made_s if self._made_s > float("-inf") else None

    @property
    def unsigned(self) -> int:
        """Durable records that no checkpoint covers yet."""
        return max(0, self._tree.size - self._size)

    def due_s(self) -> float | None:
        """When the next one is due, monotonic; None: nothing has happened since the last one."""
        return None if self._tree.size <= self._size else self._made_s + EVERY_S

    def full(self) -> bool:
        """Whether so many records came that it is not waited for."""
        return self._tree.size - self._size >= EVERY_RECORDS

    def make(self, now: float) -> None:
        """Sign the log as it is now. Only what is durable may be in the tree. Raises OSError."""
        if self._handle is None or self._tree.size <= self._size:
            return
        size = self._tree.size
        origin = self._signers[0].verifier.name
        note = write_note(Checkpoint(origin, size, self._tree.frontier.root()).text(), self._signers)
        self._tree.flush()
        write_all(self._files, self._handle, note, self._offset)
        self._offset += len(note)
        if now >= self._synced_s + SYNC_EVERY_S:
            self.sync(now)
        self.newest, self._size, self._made_s = note, size, now

    def sync(self, now: float) -> None:
        """What was signed is durable, and the tree with it. Raises OSError."""
        if self._handle is not None:
            self._tree.sync()
            self._files.fdatasync(self._handle)
            self._synced_s = now

    def close(self) -> None:
        """Give the file back."""
        if self._handle is not None:
            with suppress(OSError):
                self._files.close(self._handle)
            self._handle = None
