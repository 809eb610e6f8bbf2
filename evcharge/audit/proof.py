"""Proofs that leave the house: one record is in a signed log, one signed log begins with another. FORMAT.md §9.

A proof is a JSON object that holds all that its reader needs but the key: that one he has to have from elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from evcharge.audit import merkle
from evcharge.audit.checkpoints import read_checkpoints
from evcharge.audit.files import Files
from evcharge.audit.follow import Follower
from evcharge.audit.merkle import BadProof, Frontier, Nodes, leaf_hash
from evcharge.audit.note import BadNote, Checkpoint, Note, Verifier, open_checkpoint
from evcharge.audit.record import Record
from evcharge.audit.replay import replay
from evcharge.audit.tree import TreeDamaged, open_tree

T = TypeVar("T")

# Longest proof that is read, in bytes: a record of 1 MiB in base64 and 64 hashes.
MAX_PROOF_FILE = 2 << 20


# Largest sequence number of a proof: what every reader of JSON keeps exact.
MAX_SEQ = 2**53 - 1


class CannotProve(Exception):
    """There is no such proof; the text says why."""


class Inclusion(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="evcharge inclusion 1"):
    """Record ``seq`` is in the log that ``checkpoint`` signs. Bytes are base64."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]
    durable: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
    body: str
    proof: list[str]
    checkpoint: str


class Consistency(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="evcharge consistency 1"):
    """The log of ``checkpoint`` begins with the log of ``older``, both signed."""

    older: str
    proof: list[str]
    checkpoint: str


Proof = Inclusion | Consistency


class Shown(msgspec.Struct, frozen=True):
    """What a proof showed."""

    kind: Literal["inclusion", "consistency"]
    origin: str
    size: int
    """Records that the newer checkpoint covers."""
    seq: int
    """The record; of a consistency proof the size of the older log."""
    body: bytes = b""


class Prover:
    """Makes proofs from a log's files: from the file of tree nodes or, where that does not fit, from all records."""

    def __init__(self, directory: Path, files: Files) -> None:
        """Raises CannotProve: no checkpoint was ever signed here. OSError, BadCheckpoints."""
        self._directory = directory
        self._files = files
        kept, _ = read_checkpoints(directory, files)
        if not kept:
            raise CannotProve(f"there is no signed checkpoint in {directory} yet")
        self._kept = kept
        self.rebuilt = False
        """The file of the tree was of no use, so the whole log was read."""

    @property
    def newest(self) -> Checkpoint:
        """The newest checkpoint."""
        return self._kept[-1].checkpoint

    def inclusion(self, seq: int) -> Inclusion:
        """Proof that record ``seq`` is in the log. Raises CannotProve, OSError."""
        newest = self._kept[-1]
        size = newest.checkpoint.size
        if not 1 <= seq <= size:
            raise CannotProve(f"the newest checkpoint covers records 1 to {size}, not {seq}")
        record = next(iter(Follower(self._directory, self._files, seq).records()), None)
        if record is None or record.seq != seq:
            raise CannotProve(f"record {seq} cannot be read: `evcharge-audit verify` says where the log is damaged")
        note = newest.data

        def make(nodes: Nodes) -> Inclusion:
            return include(record, note, lambda seq, size: merkle.inclusion_proof(seq - 1, size, nodes))

        return self._made(make)

    def consistency(self, older: bytes) -> Consistency:
        """Proof that the log still begins as ``older``, a checkpoint, says. Raises CannotProve, BadNote, OSError."""
        newest = self._kept[-1]
        before = Checkpoint.parse(Note.parse(older).text)
        if before.size > newest.checkpoint.size:
            raise CannotProve(f"the older checkpoint covers {before.size} records, the log's newest {self.newest.size}")

        def make(nodes: Nodes) -> list[bytes]:
            same = before.size in (0, newest.checkpoint.size)
            proof = [] if same else merkle.consistency_proof(before.size, newest.checkpoint.size, nodes)
            merkle.check_consistency(before.size, before.root, newest.checkpoint.size, newest.checkpoint.root, proof)
            return proof

        return Consistency(older=older.decode(), proof=_texts(self._made(make)), checkpoint=newest.data.decode())

    def _made(self, make: Callable[[Nodes], T]) -> T:
        tree = open_tree(self._directory, self._files)
        try:
            return make(tree.stored)
        except (TreeDamaged, BadProof):
            self.rebuilt = True
        finally:
            tree.close()
        nodes = self._nodes()
        try:
            return make(lambda level, index: nodes[merkle.stored_index(level, index)])
        except (IndexError, BadProof) as error:
            raise CannotProve(f"the log does not fit to its signed checkpoint: {error}") from None

    def _nodes(self) -> list[bytes]:
        frontier, nodes = Frontier(), list[bytes]()
        for item in replay(self._directory, self._files):
            if isinstance(item, Record):
                nodes += frontier.extend([leaf_hash(item.seq, item.durable, item.body)])
        return nodes


def include(record: Record, note: bytes, prove: Callable[[int, int], list[bytes]]) -> Inclusion:
    """Proof that ``record`` is in the log that ``note``, a checkpoint, signs. Only the signature is not looked at.

    ``prove(seq, size)`` gives the hashes. Raises BadProof: they do not lead to the checkpoint's root; BadNote, and what
    ``prove`` raises.
    """
    newest = Checkpoint.parse(Note.parse(note).text)
    proof = prove(record.seq, newest.size)
    leaf = leaf_hash(record.seq, record.durable, record.body)
    merkle.check_inclusion(leaf, record.seq - 1, newest.size, proof, newest.root)
    return Inclusion(
        seq=record.seq,
        durable=record.durable,
        body=base64.b64encode(record.body).decode(),
        proof=_texts(proof),
        checkpoint=note.decode(),
    )


def check(proof: Proof, keys: Sequence[Verifier]) -> Shown:
    """Does the proof show what it says, to somebody who trusts ``keys``?

    Raises BadNote (signature), BadProof, ValueError (base64).
    """
    newer = open_checkpoint(proof.checkpoint.encode(), keys)
    hashes = [base64.b64decode(text, validate=True) for text in proof.proof]
    if isinstance(proof, Inclusion):
        body = base64.b64decode(proof.body, validate=True)
        leaf = leaf_hash(proof.seq, proof.durable, body)
        merkle.check_inclusion(leaf, proof.seq - 1, newer.size, hashes, newer.root)
        return Shown("inclusion", newer.origin, newer.size, proof.seq, body)
    older = open_checkpoint(proof.older.encode(), keys)
    if older.origin != newer.origin:
        raise BadNote("the two checkpoints are of two logs")
    merkle.check_consistency(older.size, older.root, newer.size, newer.root, hashes)
    return Shown("consistency", newer.origin, newer.size, older.size)


def _texts(hashes: list[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]
