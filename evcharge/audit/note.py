"""C2SP signed notes and checkpoints with Ed25519: text in, text out. FORMAT.md §9.

After https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint; keys are written as Go's ``sumdb/note`` writes
them, so that the tools of that world read ours.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from evcharge.audit.merkle import HASH_SIZE

# Longest note that is read, in bytes. Ours have 250; a few more signatures fit.
MAX_NOTE = 4096
# Most signatures that are looked at. C2SP allows a verifier any limit of at least 16.
MAX_SIGNATURES = 16
# Longest name of a key and first line of a checkpoint, so that SESSION's field 7 holds a checkpoint.
MAX_ORIGIN = 64
# Ed25519 in the key's own bytes. c2sp.org/signed-note, "Signature types"
_ED25519 = b"\x01"
_KEY_ID_SIZE = 4
_SEED_SIZE = 32
_SIGNATURE = "— "
_PRIVATE = "PRIVATE+KEY"
# A loop over the characters took as long as the rest of ``parse``, and a start reads many notes.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class BadNote(ValueError):
    """No note, or no signature of the expected key on it; the text says why."""


class Checkpoint(NamedTuple):
    """What a checkpoint says: the first ``size`` records of the log ``origin`` have this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The signed part."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Extension lines behind the root are allowed and mean nothing here. Raises BadNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not lines[0] or not _SIZE.fullmatch(lines[1]) or "" in lines[:-1]:
            raise BadNote("the note is no checkpoint: origin, size, root")
        root = _base64(lines[2])
        if len(root) != HASH_SIZE:
            raise BadNote("the checkpoint's root is not a SHA-256")
        return cls(lines[0], int(lines[1]), root)


class Verifier(NamedTuple):
    """The public half of a log's signing key."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that choose among keys and prove nothing."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_SIZE]

    def __str__(self) -> str:
        """As people and Go's tools pass it on: ``name+id+key``."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Raises BadNote."""
        name, key_id, key = _three(text.strip(), "a verifier key is name+id+key")
        raw = _base64(key)
        if len(raw) != 1 + _SEED_SIZE or raw[:1] != _ED25519:
            raise BadNote("the verifier key is not an Ed25519 key")
        found = cls(name, raw[1:])
        if found.key_id.hex() != key_id:
            raise BadNote("the verifier key's id does not fit to it: a character was changed")
        return found

    def holds(self, text: str, signature: bytes) -> bool:
        """Is this the key's signature of ``text``?"""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """The private half."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        """``seed``: 32 random bytes. Raises ValueError for a name that a note cannot carry."""
        check_origin(name)
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> bytes:
        """The bare signature."""
        return self._key.sign(text.encode())

    def line(self, text: str) -> str:
        """The signature as a line of a note."""
        verifier = self.verifier
        return f"{_SIGNATURE}{verifier.name} {base64.b64encode(verifier.key_id + self.sign(text)).decode()}\n"

    def private_text(self) -> str:
        """For a file that nobody else reads."""
        verifier, seed = self.verifier, self._key.private_bytes_raw()
        return f"{_PRIVATE}+{verifier.name}+{verifier.key_id.hex()}+{base64.b64encode(_ED25519 + seed).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Signer:
        """Read ``private_text``. Raises BadNote, which quotes nothing of it."""
        head, _, rest = text.strip().removeprefix(_PRIVATE).partition("+")
        if head or not text.startswith(_PRIVATE + "+"):
            raise BadNote("this is no signing key: it does not begin with PRIVATE+KEY+")
        name, key_id, key = _three(rest, "a signing key is PRIVATE+KEY+name+id+key")
        raw = _base64(key)
        if len(raw) != 1 + _SEED_SIZE or raw[:1] != _ED25519:
            raise BadNote("the signing key is not an Ed25519 key")
        found = cls(name, raw[1:])
        if found.verifier.key_id.hex() != key_id:
            raise BadNote("the signing key's id does not fit to it: the file was changed")
        return found

    def __repr__(self) -> str:
        return f"Signer({self.verifier})"


class Note(NamedTuple):
    """A text and what stands under it; nothing is verified yet."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]
    """Name, key id, signature."""

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Raises BadNote."""
        if len(data) > MAX_NOTE:
            raise BadNote(f"a note has at most {MAX_NOTE} bytes")
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            raise BadNote("the note is not UTF-8") from None
        if _CONTROL.search(whole):
            raise BadNote("the note has control characters in it")
        text, blank, block = whole.rpartition("\n\n")
        if not blank or not block.endswith("\n"):
            raise BadNote("the note has no signatures, or is cut")
        lines = block[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise BadNote(f"the note has more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(map(_signature, lines)))

    def verified(self, verifiers: Iterable[Verifier]) -> list[Verifier]:
        """Which of ``verifiers`` signed it. Raises BadNote: none did, or one is named whose signature is wrong."""
        known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
        found: list[Verifier] = []
        for name, key_id, signature in self.signatures:
            verifier = known.get((name, key_id))
            if verifier is None:
                continue
            if not verifier.holds(self.text, signature):
                raise BadNote(f"the signature of {name} is wrong: the note was changed, or another key has made it")
            if verifier not in found:
                found.append(verifier)
        if not found:
            raise BadNote("no known key has signed the note")
        return found


def write_note(text: str, signers: Iterable[Signer]) -> bytes:
    """The note, signed by each."""
    return (text + "\n" + "".join(signer.line(text) for signer in signers)).encode()


def open_checkpoint(data: bytes, verifiers: Iterable[Verifier]) -> Checkpoint:
    """A checkpoint that one of ``verifiers`` has signed, for the log of that name. Raises BadNote."""
    note = Note.parse(data)
    signed_by = note.verified(verifiers)
    checkpoint = Checkpoint.parse(note.text)
    if all(verifier.name != checkpoint.origin for verifier in signed_by):
        raise BadNote("the checkpoint is of another log than its key")
    return checkpoint


def split_notes(data: bytes) -> list[bytes]:
    """The notes of a file in which one follows the other; the last one is cut when it does not end in a line's end."""
    notes: list[bytes] = []
    begin = at = 0
    signature = _SIGNATURE.encode()
    while (end := data.find(b"\n", at)) >= 0:
        at = end + 1
        if data.startswith(signature, data.rfind(b"\n", 0, end) + 1) and not data.startswith(signature, at):
            notes.append(data[begin:at])
            begin = at
    if begin < len(data):
        notes.append(data[begin:])
    return notes


def check_origin(name: str) -> None:
    """Raises ValueError unless a note's key may have this name (c2sp.org/signed-note)."""
    if not _is_key_name(name) or len(name.encode()) > MAX_ORIGIN:
        raise ValueError(f"a log's name has 1 to {MAX_ORIGIN} bytes, no space and no plus sign")
    if not name.isprintable():
        raise ValueError("a log's name can be printed")


def _is_key_name(name: str) -> bool:
    """What c2sp.org/signed-note says of the name of any key, a stranger's too."""
    return name != "" and "+" not in name and not any(char.isspace() for char in name)


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_SIGNATURE).partition(" ")
    if not line.startswith(_SIGNATURE) or not _is_key_name(name) or not encoded:
        raise BadNote("a signature is a dash, a name and base64")
    raw = _base64(encoded)
    if len(raw) <= _KEY_ID_SIZE:
        raise BadNote("a signature is too short")
    return name, raw[:_KEY_ID_SIZE], raw[_KEY_ID_SIZE:]


def _three(text: str, why: str) -> tuple[str, str, str]:
    name, _, rest = text.partition("+")
    key_id, _, key = rest.partition("+")
    try:
        check_origin(name)
    except ValueError:
        raise BadNote(why) from None
    return name, key_id, key


def _base64(text: str) -> bytes:
    try:
        raw = binascii.a2b_base64(text.encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise BadNote("a part of the note is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise BadNote("a part of the note is not canonical base64")
    return raw
