"""The tree against the definition of RFC 6962 itself, an implementation from elsewhere, and every changed bit."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.merkle import (
    EMPTY_ROOT,
    BadProof,
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_proof,
    edge_of,
    inclusion_proof,
    leaf_hash,
    node_hash,
    stored_count,
    stored_index,
    subtree_root,
)

LEAVES = [leaf_hash(seq, seq - 1, b"event %d" % seq) for seq in range(1, 131)]
SIZES = [*range(1, 34), 63, 64, 65, 127, 128, 129, 130]


def mth(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word; the leaves are hashes already."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


class Store:
    """Every node of a tree, as the file of the log has them."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.frontier = Frontier()
        self.nodes = self.frontier.extend(leaves)

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[stored_index(level, index)]


STORE = Store(LEAVES)


def test_a_leaf_is_what_the_format_says() -> None:
    assert leaf_hash(7, 5, b"x") == sha256(b"\0" + (7).to_bytes(8, "big") + (5).to_bytes(8, "big") + b"x").digest()
    assert node_hash(b"l" * 32, b"r" * 32) == sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_frontier_has_the_root_of_the_definition_at_every_size() -> None:
    frontier = Frontier()
    for size in range(len(LEAVES) + 1):
        assert frontier.root() == mth(LEAVES[:size])
        assert len(frontier.edge) == size.bit_count()
        assert Frontier(size, frontier.edge).root() == frontier.root()
        if size < len(LEAVES):
            frontier.extend([LEAVES[size]])


def test_every_node_has_its_place_in_the_file() -> None:
    for size in range(len(LEAVES) + 1):
        store = Store(LEAVES[:size])
        assert len(store.nodes) == stored_count(size)
        assert subtree_root(0, size, store.node) == mth(LEAVES[:size])
        assert edge_of(size, store.node) == store.frontier.edge


@given(st.lists(st.integers(0, 40), max_size=12))
def test_leaves_in_any_portions_make_the_same_nodes(portions: list[int]) -> None:
    frontier, nodes, at = Frontier(), [], 0
    for portion in portions:
        nodes += frontier.extend(LEAVES[at : at + portion])
        at += portion
    assert nodes == Store(LEAVES[:at]).nodes


@pytest.mark.parametrize("size", SIZES)
def test_every_record_is_shown_to_be_in_every_tree(size: int) -> None:
    root = mth(LEAVES[:size])
    for index in range(size):
        proof = inclusion_proof(index, size, STORE.node)
        check_inclusion(LEAVES[index], index, size, proof, root)
        for wrong in (
            lambda: check_inclusion(LEAVES[index], index, size, [*proof, bytes(32)], root),  # noqa: B023 - called at once
            lambda: check_inclusion(LEAVES[index], index, size, proof[:-1], root if proof else bytes(32)),  # noqa: B023
            lambda: check_inclusion(bytes(32), index, size, proof, root),  # noqa: B023
            lambda: check_inclusion(LEAVES[index], size, size, proof, root),  # noqa: B023
            lambda: check_inclusion(LEAVES[index], -1, size, proof, root),  # noqa: B023
        ):
            with pytest.raises(BadProof):
                wrong()


@pytest.mark.parametrize("second", SIZES)
def test_every_tree_is_shown_to_begin_with_every_smaller_one(second: int) -> None:
    root = mth(LEAVES[:second])
    for first in range(1, second + 1):
        before = mth(LEAVES[:first])
        proof = consistency_proof(first, second, STORE.node)
        check_consistency(first, before, second, root, proof)
        with pytest.raises(BadProof):
            check_consistency(first, before, second, root, [*proof, bytes(32)])
        with pytest.raises(BadProof):
            check_consistency(first, bytes(32), second, root, proof)
        if proof:
            with pytest.raises(BadProof):
                check_consistency(first, before, second, root, proof[:-1])
            with pytest.raises(BadProof):
                check_consistency(first, before, second, bytes(32), proof)


@given(st.integers(1, 130), st.data())
def test_no_flipped_bit_of_a_proof_is_believed(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(1, size))
    root, before = mth(LEAVES[:size]), mth(LEAVES[:first])
    for proof, check in (
        (
            inclusion_proof(index, size, STORE.node),
            lambda proof: check_inclusion(LEAVES[index], index, size, proof, root),
        ),
        (
            consistency_proof(first, size, STORE.node),
            lambda proof: check_consistency(first, before, size, root, proof),
        ),
    ):
        for place in range(len(proof)):
            bit = data.draw(st.integers(0, 255))
            flipped = (int.from_bytes(proof[place], "big") ^ (1 << bit)).to_bytes(32, "big")
            with pytest.raises(BadProof):
                check([*proof[:place], flipped, *proof[place + 1 :]])


def test_nothing_and_itself_need_no_proof() -> None:
    root = mth(LEAVES[:9])
    check_consistency(0, EMPTY_ROOT, 9, root, [])
    check_consistency(9, root, 9, root, [])
    check_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    for first, before, second in ((0, root, 9), (9, EMPTY_ROOT, 9), (10, root, 9), (-1, root, 9)):
        with pytest.raises(BadProof):
            check_consistency(first, before, second, root, [])
    with pytest.raises(BadProof):
        check_consistency(8, mth(LEAVES[:8]), 9, root, [])


def test_proofs_that_cannot_be_made_are_refused_in_words() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="not in a tree"):
            inclusion_proof(index, size, STORE.node)
    for first, second in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="no consistency proof"):
            consistency_proof(first, second, STORE.node)
    with pytest.raises(ValueError, match="another edge"):
        Frontier(3, [bytes(32)])
    with pytest.raises(BadProof, match="at most"):
        check_inclusion(LEAVES[0], 0, 130, [bytes(31)], bytes(32))
    with pytest.raises(BadProof, match="at most"):
        check_inclusion(LEAVES[0], 0, 130, [bytes(32)] * 65, bytes(32))
