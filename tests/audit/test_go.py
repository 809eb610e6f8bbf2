"""What programs in Go said, kept: proofs that transparency-dev/merkle made, and what golang.org/x/mod/sumdb/note and
transparency-dev/formats said of notes, right and wrong. ``made_with`` in each file names the versions.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from evcharge.audit.merkle import (
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    stored_index,
)
from evcharge.audit.note import BadNote, Note, Verifier, open_checkpoint
from tests.support.signed_note import Refused, read_key
from tests.support.signed_note import open_checkpoint as open_again

HERE = Path(__file__).parent / "golden"
# Why evcharge refuses what Go's programs let through. Their checkpoint takes a root of any size and empty extension
# lines, their base64 takes bits that mean nothing, and of several signatures by one key they verify the first.
STRICTER = (
    "the note is no checkpoint",
    "root is not a SHA-256",
    "not canonical base64",
    "is wrong: the note was changed",
)


class Pair(msgspec.Struct, frozen=True):
    first: int
    """Of an inclusion proof the leaf, from 0."""
    second: int
    path: list[bytes]


class Proofs(msgspec.Struct, frozen=True):
    roots: dict[int, bytes]
    inclusion: list[Pair]
    consistency: list[Pair]


class Judged(msgspec.Struct, frozen=True):
    note: bytes
    size: int | None
    """None: refused."""
    root: bytes | None
    signatures: int


class JudgedLog(msgspec.Struct, frozen=True):
    keys: list[str]
    notes: list[Judged]


class Notes(msgspec.Struct, frozen=True):
    logs: list[JudgedLog]


PROOFS = msgspec.json.decode((HERE / "go_proofs.json").read_bytes(), type=Proofs)
REAL, MADE = msgspec.json.decode((HERE / "go_notes.json").read_bytes(), type=Notes).logs


def test_proofs_that_go_made_are_ours_hash_by_hash() -> None:
    """Its leaf i is the text "entry i"."""
    frontier, nodes, roots = Frontier(), list[bytes](), list[bytes]()
    leaves = [sha256(b"\0entry %d" % number).digest() for number in range(max(PROOFS.roots))]
    for leaf in leaves:
        roots.append(frontier.root())
        nodes += frontier.extend([leaf])
    roots.append(frontier.root())
    assert {size: roots[size] for size in PROOFS.roots} == PROOFS.roots

    def node(level: int, index: int) -> bytes:
        return nodes[stored_index(level, index)]

    for index, size, path in map(msgspec.structs.astuple, PROOFS.inclusion):
        assert inclusion_proof(index, size, node) == path
        check_inclusion(leaves[index], index, size, path, roots[size])
    for first, second, path in map(msgspec.structs.astuple, PROOFS.consistency):
        assert consistency_proof(first, second, node) == path
        check_consistency(first, roots[first], second, roots[second], path)
    assert len(PROOFS.inclusion) == len(PROOFS.consistency) == 60


def test_go_reads_the_checkpoints_of_a_real_log() -> None:
    """One whose key was replaced: the ones in the middle have two signatures."""
    keys = [Verifier.parse(key) for key in REAL.keys]
    assert [each.signatures for each in REAL.notes] == [1] * 4 + [2] * 3 + [1] * 4
    for each in REAL.notes:
        found = open_checkpoint(each.note, keys)
        assert (found.size, found.root) == (each.size, each.root)
        assert len(Note.parse(each.note).verified(keys)) == each.signatures


def test_nothing_is_believed_that_go_refuses() -> None:
    keys = [Verifier.parse(key) for key in MADE.keys]
    both = stricter = 0
    for each in MADE.notes:
        try:
            found = open_checkpoint(each.note, keys)
        except BadNote as error:
            if each.size is not None:
                assert any(reason in str(error) for reason in STRICTER), f"Go reads it, and we say: {error}"
                stricter += 1
            with pytest.raises(Refused):
                open_again(each.note, [read_key(key) for key in MADE.keys])
            continue
        assert (found.size, found.root) == (each.size, each.root)
        assert len(Note.parse(each.note).verified(keys)) == each.signatures
        both += 1
    assert both >= 10 and stricter >= 10 and len(MADE.notes) >= both + stricter + 30
