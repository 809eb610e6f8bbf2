"""The Merkle tree over the log: hashes, roots and proofs of RFC 6962 (and RFC 9162 §2). FORMAT.md §8.

All of it is pure. A tree of ``size`` leaves is never held: what grows is a ``Frontier`` of at most 64 hashes, and
proofs ask for the nodes that they need. Node (level, index) covers the leaves index·2^level … (index+1)·2^level - 1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

HASH_SIZE = 32
# The root of no leaves at all: SHA-256 of nothing. RFC 6962 §2.1
EMPTY_ROOT = sha256().digest()
# Hashes of the longest proof: a tree of 2^63 leaves.
MAX_PROOF = 64

_NODE = b"\x01"
_LEAF_HEAD = struct.Struct(">cQQ")

Nodes = Callable[[int, int], bytes]
"""(level, index) → the hash of a complete subtree."""


class BadProof(ValueError):
    """The proof does not show what it should; the text says why."""


def leaf_hash(seq: int, durable: int, body: bytes) -> bytes:
    """The hash of one record: 0x00, then be64 seq, be64 durable, body."""
    return sha256(_LEAF_HEAD.pack(b"\0", seq, durable) + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return sha256(_NODE + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its complete subtrees, largest first."""

    __slots__ = ("edge", "size")

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        """Raises ValueError unless ``edge`` has one hash for each bit of ``size``."""
        if size < 0 or len(edge) != size.bit_count() or any(len(one) != HASH_SIZE for one in edge):
            raise ValueError(f"a tree of {size} leaves has another edge")
        self.size = size
        """How many leaves."""
        self.edge = list(edge)

    def extend(self, leaves: Iterable[bytes]) -> list[bytes]:
        """Add leaf hashes. Returns the hashes that came into being, each leaf followed by what it completed."""
        made: list[bytes] = []
        edge, size = self.edge, self.size
        for leaf in leaves:
            made.append(leaf)
            node, carry = leaf, size
            while carry & 1:
                node = sha256(_NODE + edge.pop() + node).digest()
                made.append(node)
                carry >>= 1
            edge.append(node)
            size += 1
        self.size = size
        return made

    def root(self) -> bytes:
        """The root of the tree as it is."""
        if not self.edge:
            return EMPTY_ROOT
        *rest, root = self.edge
        for left in reversed(rest):
            root = node_hash(left, root)
        return root

    def copy(self) -> Frontier:
        """One that grows by itself."""
        return Frontier(self.size, self.edge)


def stored_index(level: int, index: int) -> int:
    """The place of a node in the order in which ``Frontier.extend`` makes them, from 0."""
    # Behind the last leaf of a subtree stand the nodes that it completed; this one is the level-th of them.
    last_leaf = ((index + 1) << level) - 1
    return stored_count(last_leaf) + level


def stored_count(size: int) -> int:
    """How many nodes a tree of ``size`` leaves has made: each leaf, each pair, each pair of pairs …"""
    return 2 * size - size.bit_count()


def subtree_root(begin: int, end: int, nodes: Nodes) -> bytes:
    """The root over the leaves ``begin`` … ``end - 1``; ``begin`` as RFC 6962 splits a tree."""
    size = end - begin
    if size == 0:
        return EMPTY_ROOT
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return nodes(level, begin >> level)
    middle = begin + _split(size)
    return node_hash(subtree_root(begin, middle, nodes), subtree_root(middle, end, nodes))


def edge_of(size: int, nodes: Nodes) -> list[bytes]:
    """The frontier's edge of a tree of ``size`` leaves."""
    edge, begin = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            edge.append(nodes(level, begin >> level))
            begin += 1 << level
    return edge


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The audit path of leaf ``index`` (from 0) in a tree of ``size`` leaves. RFC 6962 §2.1.1"""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(subtree_root(middle, end, nodes))
            end = middle
        else:
            path.append(subtree_root(begin, middle, nodes))
            begin = middle
    return path[::-1]


def consistency_proof(first: int, second: int, nodes: Nodes) -> list[bytes]:
    """Shows that the tree of ``second`` leaves begins with that of ``first``. RFC 6962 §2.1.2"""
    if not 0 < first <= second:
        raise ValueError(f"there is no consistency proof from {first} to {second} leaves")
    path: list[bytes] = []
    begin, end, whole = 0, second, True
    while first != end:
        middle = begin + _split(end - begin)
        if first <= middle:
            path.append(subtree_root(middle, end, nodes))
            end = middle
        else:
            path.append(subtree_root(begin, middle, nodes))
            begin, whole = middle, False
    if not whole:
        path.append(subtree_root(begin, end, nodes))
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Is ``leaf`` number ``index`` of the tree with this root? RFC 9162 §2.1.3.2. Raises BadProof."""
    if not 0 <= index < size:
        raise BadProof(f"leaf {index} cannot be in a tree of {size}")
    _check_sizes(proof)
    fn, sn, found = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise BadProof("the proof is too long")
        if fn & 1 or fn == sn:
            found = node_hash(sibling, found)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            found = node_hash(found, sibling)
        fn >>= 1
        sn >>= 1
    if sn:
        raise BadProof("the proof is too short")
    if found != root:
        raise BadProof("the proof leads to another root")


def check_consistency(first: int, first_root: bytes, second: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Does the second tree begin with the first? RFC 9162 §2.1.4.2. Raises BadProof."""
    if not 0 <= first <= second:
        raise BadProof(f"a tree of {second} cannot begin with one of {first}")
    _check_sizes(proof)
    if first in (0, second):
        # A tree begins with nothing, and with itself; neither needs a proof.
        if proof:
            raise BadProof("the proof is too long")
        if first_root != (root if first else EMPTY_ROOT):
            raise BadProof("two trees of one size have two roots" if first else "nothing has another root")
        return
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise BadProof("the proof is too short")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise BadProof("the proof is too long")
        if fn & 1 or fn == sn:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            new = node_hash(new, sibling)
        fn >>= 1
        sn >>= 1
    if sn:
        raise BadProof("the proof is too short")
    if old != first_root:
        raise BadProof("the proof leads to another first root")
    if new != root:
        raise BadProof("the proof leads to another root")


def _check_sizes(proof: Sequence[bytes]) -> None:
    if len(proof) > MAX_PROOF or any(len(one) != HASH_SIZE for one in proof):
        raise BadProof(f"a proof is at most {MAX_PROOF} hashes of {HASH_SIZE} bytes")


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
