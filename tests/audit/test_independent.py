"""10,000 Merkle proofs against pymerkle, which knows nothing of ours: same roots, same paths, same verdicts.

pymerkle hashes as RFC 6962 does and splits a tree as it does. Its inclusion proofs are those of RFC 9162 with the leaf
in front. Its consistency proofs are not minimal: where RFC 6962 §2.1.2 names one subtree right of the older tree's
end, pymerkle names the parts that its first leaf's path has; ``as_rfc`` puts them together. It proves nothing about
an empty older tree, and for equal sizes its path is the root, where ours is empty.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence

import pytest
from pymerkle import ConsistencyProof, InclusionProof, InmemoryTree, InvalidProof, verify_consistency, verify_inclusion

from evcharge.audit.merkle import (
    EMPTY_ROOT,
    BadProof,
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    stored_index,
)

pytestmark = pytest.mark.tool

SEED = 20_261_121
# Leaves of the tree: past 4,096, so that a level begins and is not complete.
LEAVES = 5_000
# Proofs of each kind; with both kinds 10,000.
PAIRS = 5_000
# Proofs of each kind of which every bit is changed once, ours; pymerkle sees every tenth of them.
WHOLE = 150
ALGORITHM = "sha256"
_TWO = struct.Struct(">QQ")

Proof = list[bytes]


class Trees:
    """The same records in both trees."""

    def __init__(self) -> None:
        rng = random.Random(SEED)
        self.theirs = InmemoryTree(algorithm=ALGORITHM)
        self.leaves: list[bytes] = []
        self.roots = [EMPTY_ROOT]
        frontier, self.nodes = Frontier(), list[bytes]()
        durable = 0
        for seq in range(1, LEAVES + 1):
            durable, body = rng.randint(durable, seq - 1), rng.randbytes(rng.randrange(60))
            self.theirs.append_entry(_TWO.pack(seq, durable) + body)
            leaf = leaf_hash(seq, durable, body)
            self.leaves.append(leaf)
            self.nodes += frontier.extend([leaf])
            self.roots.append(frontier.root())

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[stored_index(level, index)]

    # --- pymerkle's verdict about proofs in our form ------------------------------------------------------------------

    def includes(self, leaf: bytes, index: int, size: int, path: Proof, root: bytes) -> bool:
        """Does pymerkle believe our proof? Its ``rule`` says left or right, from index and size alone."""
        if not 0 <= index < size <= LEAVES:
            return False
        rule = self.theirs.prove_inclusion(index + 1, size).rule
        proof = InclusionProof(ALGORITHM, True, size, index + 1, rule, [leaf, *path])
        return not _invalid(lambda: verify_inclusion(leaf, root, proof, index=index + 1, size=size))

    def consistent(self, first: int, first_root: bytes, second: int, root: bytes, path: Proof) -> bool:
        """Does pymerkle come from our proof to both roots? Where the forms are one, its whole check is asked too."""
        if not 0 < first < second <= LEAVES:
            return False
        shape = self.theirs.prove_consistency(first, second)
        joined = shape.subset.index(1)
        # RFC 6962: a complete older tree is not in the path, its reader has the root.
        whole = [first_root, *path] if sum(shape.subset) == 1 else path
        if len(whole) != len(shape.rule) - joined + 1:
            return False
        hashes = [whole[1], whole[0], *whole[2:]]
        rule, subset = shape.rule[joined - 1 :], shape.subset[joined - 1 :]
        proof = ConsistencyProof(ALGORITHM, True, second, first, rule, subset, hashes)
        believed = proof.retrieve_prior_state() == first_root and proof.compute_root() == root
        if joined == 1:
            assert believed != _invalid(
                lambda: verify_consistency(first_root, root, proof, prior_size=first, later_size=second)
            )
        return believed


def as_rfc(proof: ConsistencyProof) -> Proof:
    """pymerkle's path as RFC 6962 §2.1.2 has it."""
    joined = proof.subset.index(1)
    if joined == 0:
        return []
    right = proof.path[0]
    for bit, sibling in zip(proof.rule[: joined - 1], proof.path[1:joined], strict=True):
        assert bit == 0, "right of the older tree's end there is nothing on the left"
        right = proof.hasher.hash_pair(right, sibling)
    older_end, *above = proof.path[joined:]
    return [right, *above] if sum(proof.subset) == 1 else [older_end, right, *above]


def _invalid(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidProof:
        return True
    return False


def _refused(check: Callable[..., None], *args: object) -> bool:
    try:
        check(*args)
    except BadProof:
        return True
    return False


def _flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")


def _one_bit(hashes: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """The hashes with one bit changed somewhere."""
    place = rng.randrange(len(hashes))
    return [*hashes[:place], _flipped(hashes[place], rng.randrange(256)), *hashes[place + 1 :]]


def _every_bit(hashes: Sequence[bytes]) -> Iterator[list[bytes]]:
    for place, one in enumerate(hashes):
        for bit in range(256):
            yield [*hashes[:place], _flipped(one, bit), *hashes[place + 1 :]]


def _sizes(rng: random.Random) -> Iterator[int]:
    """Sizes of trees: around each power of two, then as many small ones as large ones."""
    for power in range(13):
        yield from (size for size in ((1 << power) - 1, 1 << power, (1 << power) + 1) if size)
    while True:
        yield min(LEAVES, int(2 ** rng.uniform(0, LEAVES.bit_length())))


def _pairs(count: int, salt: int, least: int) -> list[tuple[int, int]]:
    """(a number from ``least`` to below the size + ``least``, size)."""
    rng = random.Random(SEED + salt)
    sizes = _sizes(rng)
    return [(rng.randrange(least, size + least), size) for size in (next(sizes) for _ in range(count))]


@pytest.fixture(scope="module")
def trees() -> Trees:
    return Trees()


def test_every_root_and_leaf_is_pymerkles(trees: Trees) -> None:
    for size in range(LEAVES + 1):
        assert trees.theirs.get_root(size) == trees.roots[size]
    assert [trees.theirs.get_leaf(seq) for seq in range(1, LEAVES + 1)] == trees.leaves


def test_5000_inclusion_proofs(trees: Trees) -> None:
    rng = random.Random(SEED)
    sizes_believed = 0
    for index, size in _pairs(PAIRS, 1, 0):
        leaf, root = trees.leaves[index], trees.roots[size]
        path, theirs = inclusion_proof(index, size, trees.node), trees.theirs.prove_inclusion(index + 1, size)
        assert theirs.path == [leaf, *path]
        check_inclusion(leaf, index, size, theirs.path[1:], root)
        assert trees.includes(leaf, index, size, path, root)

        bad_leaf, bad_root, *bad_path = _one_bit([leaf, root, *path], rng)
        assert _refused(check_inclusion, bad_leaf, index, size, bad_path, bad_root)
        assert not trees.includes(bad_leaf, index, size, bad_path, bad_root)

        other = index ^ 1 << rng.randrange(size.bit_length())
        assert _refused(check_inclusion, leaf, other, size, path, root)
        assert not trees.includes(leaf, other, size, path, root)

        # Trees of several sizes may give a leaf the same path; the size is true because it is signed beside the root.
        resized = size ^ 1 << rng.randrange(size.bit_length())
        if resized <= LEAVES:
            believed = not _refused(check_inclusion, leaf, index, resized, path, root)
            assert believed == trees.includes(leaf, index, resized, path, root)
            sizes_believed += believed
    assert 0 < sizes_believed < PAIRS, "both verdicts were compared"


def test_5000_consistency_proofs(trees: Trees) -> None:
    rng = random.Random(SEED + 1)
    sizes_believed = 0
    for first, second in _pairs(PAIRS, 2, 1):
        before, root = trees.roots[first], trees.roots[second]
        path, theirs = consistency_proof(first, second, trees.node), trees.theirs.prove_consistency(first, second)
        verify_consistency(before, root, theirs, prior_size=first, later_size=second)
        assert as_rfc(theirs) == path
        check_consistency(first, before, second, root, as_rfc(theirs))
        assert first == second or trees.consistent(first, before, second, root, path)

        bad_before, bad_root, *bad_path = _one_bit([before, root, *path], rng)
        assert _refused(check_consistency, first, bad_before, second, bad_root, bad_path)
        assert not trees.consistent(first, bad_before, second, bad_root, bad_path)
        theirs.path = _one_bit(theirs.path, rng)
        assert _invalid(lambda: verify_consistency(before, root, theirs))  # noqa: B023 - called at once

        other = first ^ 1 << rng.randrange(second.bit_length())
        assert _refused(check_consistency, other, before, second, root, path)
        assert not trees.consistent(other, before, second, root, path)

        resized = second ^ 1 << rng.randrange(second.bit_length())
        if resized <= LEAVES and first != second:
            believed = not _refused(check_consistency, first, before, resized, root, path)
            assert believed == trees.consistent(first, before, resized, root, path)
            sizes_believed += believed
    assert 0 < sizes_believed < PAIRS, "both verdicts were compared"


def test_every_bit_of_an_inclusion_proof_counts(trees: Trees) -> None:
    for number, (index, size) in enumerate(_pairs(WHOLE, 3, 0)):
        hashes = [trees.leaves[index], trees.roots[size], *inclusion_proof(index, size, trees.node)]
        for leaf, root, *path in _every_bit(hashes):
            assert _refused(check_inclusion, leaf, index, size, path, root)
            assert number % 10 or not trees.includes(leaf, index, size, path, root)


def test_every_bit_of_a_consistency_proof_counts(trees: Trees) -> None:
    for number, (first, second) in enumerate(_pairs(WHOLE, 4, 1)):
        hashes = [trees.roots[first], trees.roots[second], *consistency_proof(first, second, trees.node)]
        for before, root, *path in _every_bit(hashes):
            assert _refused(check_consistency, first, before, second, root, path)
            assert number % 10 or not trees.consistent(first, before, second, root, path)
