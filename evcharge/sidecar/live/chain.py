"""Whether Central's log is the one that it signed: a reader of its own, from FORMAT.md §8 to §10 alone.

Every record becomes a leaf of the Merkle tree of RFC 6962; of the tree only the right edge is held. At the size of a
checkpoint the root that was read has to be the root that was signed. Nothing of Central's own code is used for that.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# Sizes whose roots can still be told. A checkpoint comes 1 s or 1,000 records behind the newest record (FORMAT.md §9)
# and is asked for each second; a log grows by some thousand records in that time.
WINDOW = 16_384
# Longest note that is read, characters, and signatures in it: ours has one or two.
NOTE_CHARS = 4_096
SIGNATURES = 16
# Ed25519 in a key's own bytes (c2sp.org/signed-note), and the sizes of its parts.
_ED25519 = b"\x01"
_KEY_ID = 4
_HASH = 32
_LEAF = struct.Struct(">cQQ")
_NODE = b"\x01"
_SIZE = re.compile(r"[1-9][0-9]{0,18}")
_SIGNING_KEY = "signing_key"
_VERIFY = "run 'evcharge-audit verify' on Central's log before anybody relies on it"

# The roots of complete subtrees, smallest first, as a list that shares its end: what was an edge stays one.
_Edge = tuple[bytes, Any]


class Stored(Protocol):
    """What is read of a record: ``evcharge.net.tail.Record``."""

    @property
    def seq(self) -> int: ...
    @property
    def durable(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def kind(self) -> str: ...
    @property
    def data(self) -> dict[str, Any]: ...


class Signed(Protocol):
    """What is read of a checkpoint: ``protocol.views.CheckpointView``."""

    @property
    def size(self) -> int: ...
    @property
    def root(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def key(self) -> str: ...


class Verdict(NamedTuple):
    """What is known of the log."""

    ok: bool | None
    """None: nothing was compared yet."""
    seq: int
    """Records 1 to this one are those that were signed."""
    sentence: str
    """For a person: what is known, or what to do."""


class BadState(ValueError):
    """What was kept of a chain cannot be read: begin at record 1."""


class NotNext(ValueError):
    """A record that does not follow the last one."""


class Chain:
    """The tree over the records that were added, from record 1 on, and what its signatures say."""

    def __init__(self) -> None:
        self.size = 0
        """Records that were added."""
        self.keys: list[str] = []
        """Verifier keys that the log named, the one in force last; who keeps ``state`` has pinned them."""
        self.verdict = Verdict(None, 0, "No checkpoint was compared yet.")
        """The newest."""
        self._edge: _Edge | None = None
        # The edge at each of the newest sizes, the last one at ``size``.
        self._edges: deque[_Edge | None] = deque([None], maxlen=WINDOW)
        self._due: Signed | None = None
        # A contradiction stays one, whatever is signed afterwards.
        self._fault: str | None = None

    # --- records ------------------------------------------------------------------------------------------------------

    def add(self, record: Stored) -> None:
        """The next record.

        Raises:
            NotNext
        """
        if record.seq != self.size + 1:
            raise NotNext(f"record {record.seq} came where {self.size + 1} is due")
        node = sha256(_LEAF.pack(b"\0", record.seq, record.durable) + record.body).digest()
        edge, carry = self._edge, self.size
        while carry & 1:
            assert edge is not None
            node = sha256(_NODE + edge[0] + node).digest()
            edge, carry = edge[1], carry >> 1
        self._edge = (node, edge)
        self._edges.append(self._edge)
        self.size += 1
        if record.kind == _SIGNING_KEY:
            self._name_key(record)
        if self._due is not None and self._due.size <= self.size:
            self.judge(self._due)

    def root(self) -> bytes:
        """Of all records that were added."""
        return _root(self._edge)

    def _name_key(self, record: Stored) -> None:
        """A record that names the key which signs from here on: the one before has to have signed it (§10)."""
        key, signature = record.data.get("key"), record.data.get("signature")
        if not isinstance(key, str) or not isinstance(signature, bytes) or _public(key) is None:
            self._accuse(f"Record {record.seq} names a signing key that is none")
            return
        before = self.keys[-1] if self.keys else None
        text = f"evcharge log key 1\n{before}\n{key}\n"
        if signature if before is None else not _holds(before, text.encode(), signature):
            self._accuse(f"Record {record.seq} names a new signing key that the one before did not sign")
        elif key not in self.keys:
            self.keys.append(key)
        else:
            # Named again: it signs from here on.
            self.keys.remove(key)
            self.keys.append(key)

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def judge(self, checkpoint: Signed | None, *, newest_seq: int | None = None, asked_at: int = 0) -> Verdict:
        """Compare; a checkpoint of more records than were added waits until they are there.

        ``newest_seq``: where Central says that its log ends; ``asked_at``: ``size`` when it was asked for that.
        """
        if newest_seq is not None and newest_seq < asked_at:
            self._accuse(f"Central's log ends with record {newest_seq} and had {asked_at} before: it lost its end")
        if self._fault is not None or checkpoint is None:
            return self.verdict
        if checkpoint.size > self.size:
            # The newest is worth more; but one that is waited for already is reached first, however fast the log grows.
            self._due = self._due or checkpoint
            if self.verdict.ok is None:
                sentence = f"{self.size} of {checkpoint.size} signed records were read so far."
                self.verdict = Verdict(None, 0, sentence)
            return self.verdict
        if self._due is not None and self._due.size <= self.size:
            self._due = None
        back = self.size - checkpoint.size
        if back >= len(self._edges) or checkpoint.size < self.verdict.seq:
            # An older one than can be compared; a newer one follows.
            return self.verdict
        why = self._against(checkpoint, _root(self._edges[-1 - back]))
        if why is None:
            sentence = f"Records 1 to {checkpoint.size} were read and are those that Central signed."
            self.verdict = Verdict(True, checkpoint.size, sentence)
        else:
            self._accuse(why)
        return self.verdict

    def _against(self, checkpoint: Signed, root: bytes) -> str | None:
        """What speaks against it; None: nothing."""
        if checkpoint.key not in self.keys:
            return "Central signs its log with a key that no record of it names"
        text = _signed_text(checkpoint.note, self.keys)
        if text is None:
            return f"The checkpoint of {checkpoint.size} records is not signed by a key of this log"
        said = _read(text)
        if said is None or said[0] != checkpoint.key.partition("+")[0]:
            return f"The checkpoint of {checkpoint.size} records is of another log than its key"
        if said[1:] != (checkpoint.size, checkpoint.root):
            return f"The checkpoint of {checkpoint.size} records was signed for something else"
        if checkpoint.root != root.hex():
            return f"Records 1 to {checkpoint.size} as they were read are not those that Central signed"
        return None

    def _accuse(self, why: str) -> None:
        self._fault = self._fault or why
        self.verdict = Verdict(False, self.verdict.seq, f"{self._fault}; {_VERIFY}.")

    # --- keeping it ---------------------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """What ``restore`` goes on from, some hundred bytes."""
        edge: list[bytes] = []
        rest = self._edge
        while rest is not None:
            edge.append(rest[0])
            rest = rest[1]
        kept = _Kept(size=self.size, edge=edge, keys=self.keys, verified=self.verdict.seq, fault=self._fault)
        return msgspec.msgpack.encode(kept)

    @classmethod
    def restore(cls, state: bytes) -> Chain:
        """As it was when ``state`` was taken.

        Raises:
            BadState
        """
        try:
            kept = msgspec.msgpack.decode(state, type=_Kept)
        except msgspec.MsgspecError:
            raise BadState("the state of a chain cannot be read") from None
        whole = len(kept.edge) == kept.size.bit_count() and all(len(one) == _HASH for one in kept.edge)
        if kept.size < 0 or not whole or any(_public(key) is None for key in kept.keys):
            raise BadState("the state of a chain does not fit together")
        chain = cls()
        for node in reversed(kept.edge):
            chain._edge = (node, chain._edge)
        chain.size, chain.keys = kept.size, kept.keys
        chain._edges = deque([chain._edge], maxlen=WINDOW)
        if kept.verified:
            sentence = f"Records 1 to {kept.verified} were read and are those that Central signed."
            chain.verdict = Verdict(True, kept.verified, sentence)
        if kept.fault is not None:
            chain._accuse(kept.fault)
        return chain


class _Kept(msgspec.Struct, array_like=True):
    size: int
    edge: list[bytes]
    keys: list[str]
    verified: int
    fault: str | None


def _root(edge: _Edge | None) -> bytes:
    if edge is None:
        return sha256().digest()
    node, rest = edge
    while rest is not None:
        node, rest = sha256(_NODE + rest[0] + node).digest(), rest[1]
    return node


# --- signed notes (c2sp.org/signed-note, FORMAT.md §9) ----------------------------------------------------------------


def _signed_text(note: str, keys: Iterable[str]) -> str | None:
    """The text of a note that one of ``keys`` signed; None: none did, or a signature that is named for one is wrong."""
    text, blank, block = note.rpartition("\n\n")
    lines = block.splitlines()
    if not blank or not block.endswith("\n") or len(note) > NOTE_CHARS or len(lines) > SIGNATURES:
        return None
    text += "\n"
    known = {tuple(key.split("+")[:2]): key for key in keys}
    signed = False
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        raw = _unbase64(encoded)
        if dash != "—" or raw is None:
            return None
        key = known.get((name, raw[:_KEY_ID].hex()))
        if key is None:
            continue
        if not _holds(key, text.encode(), raw[_KEY_ID:]):
            return None
        signed = True
    return text if signed else None


def _read(text: str) -> tuple[str, int, str] | None:
    """Origin, size and root (hexadecimal) of a checkpoint."""
    lines: Sequence[str] = text.split("\n")
    if len(lines) < 4 or not _SIZE.fullmatch(lines[1]):
        return None
    root = _unbase64(lines[2])
    return None if root is None or len(root) != _HASH else (lines[0], int(lines[1]), root.hex())


def _public(key: str) -> bytes | None:
    """Of a verifier key, ``name+id+base64(0x01 ‖ public key)``; None: it is none."""
    parts = key.split("+", 2)
    raw = _unbase64(parts[2]) if len(parts) == 3 and parts[0] else None
    if raw is None or len(raw) != 1 + _HASH or raw[:1] != _ED25519:
        return None
    key_id = sha256(parts[0].encode() + b"\n" + raw).digest()[:_KEY_ID]
    return raw[1:] if key_id.hex() == parts[1] else None


def _holds(key: str, text: bytes, signature: bytes) -> bool:
    public = _public(key)
    if public is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _unbase64(text: str) -> bytes | None:
    try:
        raw = binascii.a2b_base64(text.encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
