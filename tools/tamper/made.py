"""The log that is tampered with: made from a seed by the real journal, signed by the real attestor.

The journal is flushed by its caller instead of by its thread, and checkpoints are made after so many records instead of
after so much time: so the same seed gives the same log, byte for byte.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from evcharge.audit.attest import Attestor
from evcharge.audit.checkpoints import CHECKPOINTS, Kept, read_checkpoints
from evcharge.audit.control import signing_key_body
from evcharge.audit.files import Files, OsFiles
from evcharge.audit.journal import Journal
from evcharge.audit.note import Signer
from evcharge.audit.record import CHAIN_0, Record, encode
from evcharge.audit.recovery import recover
from evcharge.audit.replay import replay
from evcharge.audit.segments import list_segments, segment_name
from tools.bench.long_log import Site
from tools.tamper.memory import HERE, Image, Memory

RECORDS = 1_000
ORIGIN = "evcharge/tamper"
# Segments that a log takes, the last one not full.
SEGMENTS = 5
# A little more than such a record takes, bytes; only the number of segments depends on it.
RECORD_BYTES = 250
# Records between two checkpoints: ten in a log of RECORDS.
CHECKPOINT_EVERY = 90
# Records of one commit: as they come at a busy site.
LARGEST_BATCH = 24
# How often quiet follows a commit, and so a mark.
QUIET = 0.1
# Moment of a checkpoint: no other is due by time before the next one that is asked for.
NEVER_AGAIN = float("inf")


class Spot(NamedTuple):
    """A record and where it stands."""

    file: str
    offset: int
    record: Record


class History(NamedTuple):
    """What was written: records and signed checkpoints, oldest first."""

    records: Sequence[Record]
    notes: Sequence[bytes]


class Moment(NamedTuple):
    """The folder behind a commit, as kill -9 would leave it."""

    image: Image
    records: int
    notes: int
    """How many checkpoints there were."""


class Made:
    """A log, and what it was on its way."""

    def __init__(self, seed: int, image: Image, moments: Sequence[Moment], signer: Signer, segment_bytes: int) -> None:
        self.seed = seed
        self.image = image
        self.moments = moments
        self.signer = signer
        self.segment_bytes = segment_bytes
        self.spots = spots(image)
        self.kept: list[Kept] = read_checkpoints(HERE, Memory(image))[0]
        self.history = History([spot.record for spot in self.spots], [kept.data for kept in self.kept])

    @cached_property
    def segments(self) -> list[str]:
        """Names, in order."""
        return sorted({spot.file for spot in self.spots})

    def at(self, moment: Moment) -> History:
        """What had been written at that moment."""
        return History(self.history.records[: moment.records], self.history.notes[: moment.notes])

    def covering(self, seq: int) -> Kept:
        """The first checkpoint that covers a record; every record is below the last one."""
        return next(kept for kept in self.kept if kept.checkpoint.size >= seq)


def make(seed: int, wanted: int = RECORDS) -> Made:
    """A log of exactly ``wanted`` records, closed, with a restart in its middle."""
    chance = random.Random(f"{seed}/log")
    signer = Signer(ORIGIN, chance.randbytes(32))
    segment_bytes = wanted * RECORD_BYTES // SEGMENTS // 4_096 * 4_096 or 4_096
    site = Site(points=chance.randint(6, 12), say_state_every=chance.randint(60, 110))
    bodies = site.bodies(wanted)
    moments: list[Moment] = []
    with tempfile.TemporaryDirectory(prefix="evcharge-tamper-") as scratch:
        directory = Path(scratch, "log")
        notes = 0
        for until in (wanted // 2, wanted):
            journal, attestor = opened(directory, OsFiles(), signer, segment_bytes)
            notes, signed = notes + 1, journal.last
            while journal.last < until:
                for _ in range(min(chance.randint(1, LARGEST_BATCH), until - journal.last)):
                    journal.append(next(bodies))
                journal.flush()
                if chance.random() < QUIET and journal.last < until:
                    journal.mark()
                    journal.flush()
                if journal.durable - signed >= CHECKPOINT_EVERY:
                    attestor.checkpoints.make(NEVER_AGAIN)
                    notes, signed = notes + 1, journal.durable
                moments.append(Moment(_image(directory), journal.durable, notes))
            notes += attestor.tree.size > signed
            journal.close()
        image = _image(directory)
    return Made(seed, image, moments, signer, segment_bytes)


def opened(directory: Path, files: Files, signer: Signer, segment_bytes: int) -> tuple[Journal, Attestor]:
    """Recover, name the key and sign, as a start of Central does. Raises CorruptLog."""
    attestor = Attestor(directory, files, signer)
    journal = recover(directory, files, lambda *_: None, attestor=attestor, segment_bytes=segment_bytes)
    if attestor.key is None:
        journal.append(signing_key_body(signer.verifier, None))
        journal.flush()
    attestor.checkpoints.make(NEVER_AGAIN)
    attestor.signing = True
    return journal, attestor


def spots(image: Image) -> list[Spot]:
    """All records with their places. The log is whole."""
    files = Memory(image)
    firsts = {one.first_seq: one.path.name for one in list_segments(HERE, files)[0]}
    found: list[Spot] = []
    file, offset = "", 0
    for item in replay(HERE, files):
        if isinstance(item, Record):
            if item.seq in firsts:
                file, offset = firsts[item.seq], 0
            found.append(Spot(file, offset, item))
            offset += item.size
    return found


def written(records: Iterable[tuple[int, bytes]], segment_bytes: int) -> dict[str, bytes]:
    """Segments with these (durable, body), as the journal lays them out: checksums and chain are right."""
    made: dict[str, bytes] = {}
    chain, name, data = CHAIN_0, segment_name(1), bytearray()
    for seq, (durable, body) in enumerate(records, 1):
        record, chain = encode(seq, durable, body, chain)
        if len(data) + len(record) > segment_bytes:
            made[name] = bytes(data).ljust(segment_bytes, b"\0")
            name, data = segment_name(seq), bytearray()
        data += record
    made[name] = bytes(data).ljust(segment_bytes, b"\0")
    return made


def with_segments(image: Image, segments: Image) -> dict[str, bytes]:
    """The image with other segments."""
    return {name: data for name, data in image.items() if not name.endswith(".log")} | dict(segments)


def with_notes(image: Image, notes: Iterable[bytes]) -> dict[str, bytes]:
    """The image with other checkpoints."""
    return {**image, CHECKPOINTS: b"".join(notes)}


def _image(directory: Path) -> dict[str, bytes]:
    # A draft is never part of the log; there is none, for only the journal's thread makes one ahead of time.
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
