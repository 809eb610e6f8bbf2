"""Every byte of the log's files, changed one at a time.

What stands before a changed byte is what it was: a verification goes on behind the record before it, from where the
verification of the unchanged log was there. Some are verified from the first record as well: both reports have to be
equal in every field.
"""

from __future__ import annotations

import random
from bisect import bisect_right

from evcharge.audit.checkpoints import CHECKPOINTS
from evcharge.audit.replay import FROM_THE_FIRST, Start
from evcharge.audit.segments import SegmentName, list_segments
from evcharge.audit.tree import TREE
from tools.tamper.judge import Case, Place, Prefix, Recorder, restart, seen, weigh
from tools.tamper.made import Made
from tools.tamper.memory import HERE, Memory
from tools.tamper.row import Row, Verdict

ROWS = {
    "record-byte": "byte of a record",
    "tail-byte": "byte behind the last record of a segment",
    "checkpoint-byte": "byte of `checkpoints`",
    "tree-byte": "byte of `tree`",
}


class Unequal(Exception):
    """The short way gave another answer than the verification from the first record: the short way is wrong."""


class Bytes:
    """Changes bytes of one log."""

    def __init__(self, made: Made) -> None:
        self._made = made
        files = Memory(made.image)
        self._prefixes = Recorder(HERE, files, trusted=made.signer.verifier).prefixes()
        self._firsts = {one.path.name: one for one in list_segments(HERE, files)[0]}
        self._spots = {
            name: [spot for spot in made.spots if spot.file == name] for name in (*self._firsts, CHECKPOINTS, TREE)
        }
        self._offsets = {name: [spot.offset for spot in spots] for name, spots in self._spots.items()}
        self._masks = {name: _masks(made.seed, name, len(data)) for name, data in made.image.items()}

    def change(self, file: str, offset: int, *, whole: bool, started: bool) -> tuple[str, Verdict]:
        """The kind of the byte and what became of its change. ``started``: a start of Central is tried. Raises Unequal.

        ``whole``: it is verified from the first record too.
        """
        made = self._made
        old = made.image[file]
        new = b"".join((old[:offset], bytes([old[offset] ^ self._masks[file][offset]]), old[offset + 1 :]))
        kind, place, prefix, start = self._where(file, offset)
        case = Case({**made.image, file: new}, made.history, place)
        key = made.signer.verifier
        found = seen(case.image, key, prefix, start)
        if file == TREE and TREE in found.opened:
            raise Unequal("a verification looks into the tree's file: the short way must not leave out records")
        if whole:
            all_of_it = seen(case.image, key)
            left_out = 0 if start is None else start.seq - 1
            if all_of_it.report != found.report or list(all_of_it.records)[left_out:] != list(found.records):
                raise Unequal(f"{file}:{offset}: {found.report} and from the first record {all_of_it.report}")
        central = restart(case, made.signer, made.segment_bytes) if started else None
        return kind, weigh(case, found, central, made.signer, 0 if start is None else start.seq - 1)

    def _where(self, file: str, offset: int) -> tuple[str, Place | None, Prefix | None, Start | None]:
        """Kind, where it must be reported, and how far the log before it is known."""
        made, prefixes = self._made, self._prefixes
        if file == CHECKPOINTS:
            kept = next(kept for kept in reversed(made.kept) if kept.offset <= offset)
            return "checkpoint-byte", Place(CHECKPOINTS, kept.offset, None), None, None
        if file == TREE:
            last = made.spots[-1]
            seq = last.record.seq
            return "tree-byte", None, prefixes[seq - 1], self._start(self._firsts[last.file], last.offset, seq)
        spots = self._spots[file]
        spot = spots[bisect_right(self._offsets[file], offset) - 1]
        seq, begin = spot.record.seq, spot.offset
        kind = "record-byte"
        if offset >= begin + spot.record.size:
            kind, seq, begin = "tail-byte", seq + 1, begin + spot.record.size
        start = self._start(self._firsts[file], begin, seq)
        return kind, Place(file, begin, seq), prefixes[seq - 1], start

    def _start(self, segment: SegmentName, offset: int, seq: int) -> Start:
        if seq == FROM_THE_FIRST.seq:
            return FROM_THE_FIRST
        before = self._prefixes[seq - 1]
        return Start(seq, before.durable, before.chain, segment.first_seq, offset)


def rows() -> dict[str, Row]:
    """Nothing counted yet."""
    return {name: Row(name, what) for name, what in ROWS.items()}


def offsets(made: Made, every: int) -> dict[str, range]:
    """Which bytes of which files: each ``every``-th, from a seeded one."""
    return {
        name: range(random.Random(f"{made.seed}/{name}/first").randrange(every), len(made.image[name]), every)
        for name in (*made.segments, CHECKPOINTS, TREE)
    }


def _masks(seed: int, name: str, size: int) -> bytes:
    """With what each byte is combined; never zero, which would change nothing."""
    return bytes(1 + byte % 255 for byte in random.Random(f"{seed}/{name}").randbytes(size))
