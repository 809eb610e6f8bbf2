"""Checkpoints of a real log, every changed bit of them, and notes that are wrong in any way, read twice: by evcharge
and by a reader that was made from the specification alone (``tests.support.signed_note``). Both say the same.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from nacl.signing import VerifyKey
from pymerkle import InmemoryTree

from evcharge.audit.checkpoints import read_checkpoints
from evcharge.audit.control import signing_key
from evcharge.audit.files import OsFiles
from evcharge.audit.keys import NEXT, make
from evcharge.audit.note import MAX_NOTE, MAX_SIGNATURES, BadNote, Note, Signer, Verifier, open_checkpoint
from evcharge.audit.record import Record
from evcharge.central.recall import recall
from tests.audit.support import read
from tests.domain.test_properties import World
from tests.support import signed_note as second

FILES = OsFiles()
ORIGIN = "evcharge/second-reader"
# Records between two checkpoints: few, so that a short log has many.
EVERY = 7
# Malformed notes in one run: an example costs a few milliseconds, most of them hypothesis'.
EXAMPLES = 1_000
_TWO = struct.Struct(">QQ")

Reading = tuple[bytes, int, bytes, tuple[bytes, ...]] | None
"""Origin, size, root, the public keys that say so; None: refused."""


def first_reading(note: bytes, keys: list[Verifier]) -> Reading:
    """evcharge's."""
    try:
        head = open_checkpoint(note, keys)
        return head.origin.encode(), head.size, head.root, tuple(key.public for key in Note.parse(note).verified(keys))
    except BadNote:
        return None


def second_reading(note: bytes, keys: list[Verifier]) -> Reading:
    """The other one's, which gets the keys as text."""
    try:
        head = second.open_checkpoint(note, [second.read_key(str(key)) for key in keys])
    except second.Refused:
        return None
    return head.origin, head.size, head.root, tuple(key.public for key in head.signed_by)


class Log(NamedTuple):
    """A log that lived three times; before the second life its key was replaced."""

    records: list[Record]
    checkpoints: list[bytes]
    keys: list[Verifier]

    def signed_by(self, count: int) -> bytes:
        """The last checkpoint with so many signatures."""
        return [note for note in self.checkpoints if len(Note.parse(note).signatures) == count][-1]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    data, rng = tmp_path_factory.mktemp("second"), random.Random(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evcharge.audit.checkpoints.EVERY_RECORDS", EVERY)
        for life in range(3):
            if life == 1:
                make(data / "log-key", NEXT, ORIGIN, FILES, rng.randbytes)
            recalled = recall(data, FILES, origin=ORIGIN, entropy=rng.randbytes)
            for body in World().log:
                recalled.journal.append(body)
                if rng.random() < 0.4:
                    recalled.journal.flush()
            recalled.journal.flush()
            recalled.journal.close()
    records = read(data / "log", FILES)[0]
    named = [found for record in records if (found := signing_key(record.body)) is not None]
    kept = [one.data for one in read_checkpoints(data / "log", FILES)[0]]
    return Log(records, kept, [one.key for one in named])


def test_both_read_every_checkpoint_of_a_growing_log(log: Log) -> None:
    tree = InmemoryTree(algorithm="sha256")
    tree.append_entries([_TWO.pack(record.seq, record.durable) + record.body for record in log.records])
    sizes, signers = [], []
    for note in log.checkpoints:
        reading = second_reading(note, log.keys)
        assert reading is not None and reading == first_reading(note, log.keys)
        origin, size, root, signed_by = reading
        assert origin == ORIGIN.encode() and root == tree.get_root(size)
        sizes.append(size)
        signers.append(signed_by)
    assert sizes == sorted(set(sizes)) and len(sizes) > 8 and sizes[-1] == len(log.records)
    old, new = (key.public for key in log.keys)
    assert list(dict.fromkeys(signers)) == [(old,), (new, old), (new,)], "until the next start both keys sign"


def test_while_a_key_is_replaced_each_key_alone_is_enough(log: Log) -> None:
    note = log.signed_by(2)
    both = second_reading(note, log.keys)
    for key in log.keys:
        reading = second_reading(note, [key])
        assert both is not None and reading == (*both[:3], (key.public,)) == first_reading(note, [key])
    after = log.checkpoints[-1]
    assert second_reading(after, log.keys[:1]) is None and first_reading(after, log.keys[:1]) is None


def test_the_old_key_says_which_one_follows(log: Log) -> None:
    (said,) = (found for record in log.records if (found := signing_key(record.body)) is not None and found.signature)
    old, new = log.keys
    VerifyKey(old.public).verify(f"evcharge log key 1\n{old}\n{new}\n".encode(), said.signature)


def test_no_changed_bit_of_a_checkpoint_is_believed(log: Log) -> None:
    note = log.signed_by(1)
    for changed in _every_bit(note):
        assert first_reading(changed, log.keys) is None
        assert second_reading(changed, log.keys) is None


def test_a_changed_bit_under_two_signatures_costs_one_of_them_or_all(log: Log) -> None:
    note = log.signed_by(2)
    whole, fewer = second_reading(note, log.keys), 0
    assert whole is not None
    for changed in _every_bit(note):
        reading = second_reading(changed, log.keys)
        assert reading == first_reading(changed, log.keys)
        if reading is not None:
            assert reading[:3] == whole[:3] and len(reading[3]) == 1, "a line of an unknown key is ignored"
            fewer += 1
    assert fewer


def _every_bit(note: bytes) -> list[bytes]:
    return [
        note[:place] + bytes([note[place] ^ 1 << bit]) + note[place + 1 :]
        for place in range(len(note))
        for bit in range(8)
    ]


# --- notes that are wrong in any way ----------------------------------------------------------------------------------

SIGNERS = [Signer(ORIGIN, b"a" * 32), Signer(ORIGIN, b"b" * 32), Signer("witness.example/w", b"c" * 32)]
SEEDS = [b"a" * 32, b"b" * 32, b"c" * 32]
KEYS = [signer.verifier for signer in SIGNERS]
ROOT = second._base64(bytes(range(0xDF, 0xFF)))

Line = Callable[[bytes], bytes]
"""A line below a text."""


def _right(number: int) -> Line:
    return lambda text: second.sign_line(KEYS[number].name.encode(), SEEDS[number], text)


def _wrong(number: int) -> Line:
    """By a known key, of another text."""
    return lambda text: second.sign_line(KEYS[number].name.encode(), SEEDS[number], text + b"x")


def _short(number: int, size: int) -> Line:
    return lambda _text: second.write_line(KEYS[number].name.encode(), KEYS[number].key_id, bytes(size))


def _named(name: str) -> Line:
    """By a key that nobody knows, under a name that is legal or not."""
    return lambda text: second.sign_line(name.encode(), b"n" * 32, text)


def _other_id(number: int) -> Line:
    return lambda _text: second.write_line(KEYS[number].name.encode(), b"none", bytes(64))


def _bent(old: bytes, new: bytes) -> Line:
    """Right, written wrongly."""
    return lambda text: _right(0)(text).replace(old, new)


def _loose(text: bytes) -> bytes:
    """Right, but for the bits of base64 that mean nothing."""
    line = _right(0)(text)
    return line[:-3] + bytes([line[-3] + 1]) + line[-2:]


# Legal lines; a note of these alone is right when one of the first two is there.
RIGHT = [_right(0), _right(1), _right(2), _named("stranger.example/s"), _other_id(0)]
LINES = [
    *RIGHT,
    *(_wrong(number) for number in range(3)),
    *(_short(0, size) for size in (0, 1, 63, 65)),
    *map(_named, (ORIGIN, "stranger.example/s", "ünï", "a\x7fb", "\ufeffx", "a\u200bb", "x" * 300)),
    *map(_named, ("a+b", "+", "a b", "", "a\u2003b", "a\u00a0b", "a\u0085b", "a\u3000", "a\u2028b")),
    *(_other_id(number) for number in range(3)),
    *(
        _bent(old, new)
        for old, new in (
            (second.EM_DASH, b"-"),
            (second.EM_DASH + b" ", second.EM_DASH + b"  "),
            (b"=\n", b"\n"),
            (b"=\n", b"==\n"),
            (b"=\n", b"= \n"),
            (b"=\n", b"=\r\n"),
            (b"=\n", b"=\n\n"),
            (b"\n", b""),
            (b"+", b"-"),
        )
    ),
    _loose,
]
ORIGINS = st.sampled_from([KEYS[2].name, "other.example/log", "", "a b", "\u2014 a b"])
SIZES = st.sampled_from(
    ["0", "1234567", "9" * 19, "00", "01", "-1", "+1", "1e3", "1_0", "", " 1", "1 ", "\u0661", "1\uff12"]
)
ROOTS = st.sampled_from(
    [
        second._base64(bytes(31)).decode(),
        second._base64(bytes(33)).decode(),
        ROOT.decode().rstrip("="),
        ROOT.decode().replace("/", "_"),
        second._base64(bytes(32)).decode()[:-2] + "B=",
        "",
    ]
)
MORE = st.lists(st.sampled_from(["extension", "\u2014 x y", "", "\u2028", "a\tb", "\x7f"]), min_size=1, max_size=2)
ENDS = st.sampled_from([b"", b"\n\n", b"\n\n\n", b"\r\n"])
# What is put into a note at any place: what such a text is made of, and what it must not be made of.
SCRAPS = st.sampled_from(
    [b"", b"\n", b"\n\n", b" ", b"+", b"=", b"\0", b"\r", b"\t", b"\xff", b"\xe2\x80", second.EM_DASH]
)


@st.composite
def notes(draw: st.DrawFn) -> bytes:
    """A note that somebody may have made, by mistake or with intent: right, but for at most two things."""
    wrong = draw(st.sets(st.sampled_from(["origin", "size", "root", "more", "end", "line", "bytes"]), max_size=2))
    rows = [
        draw(ORIGINS) if "origin" in wrong else ORIGIN,
        draw(SIZES) if "size" in wrong else "42",
        draw(ROOTS) if "root" in wrong else ROOT.decode(),
        *(draw(MORE) if "more" in wrong else ()),
    ]
    text = "\n".join(rows).encode() + (draw(ENDS) if "end" in wrong else b"\n")
    lines = draw(st.lists(st.sampled_from(RIGHT), min_size=1, max_size=3))
    if "line" in wrong:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
    note = text + b"\n" + b"".join(line(text) for line in lines)
    if "bytes" in wrong:
        begin = draw(st.integers(0, len(note)))
        end = draw(st.sampled_from([begin, begin, begin + 1, begin + 7, len(note)]))
        note = note[:begin] + draw(SCRAPS) + note[end:]
    return note


@settings(max_examples=EXAMPLES)
@given(notes())
def test_both_say_the_same_of_any_note(note: bytes) -> None:
    reading = first_reading(note, KEYS)
    if len(note) > MAX_NOTE or note.count(b"\n" + second.EM_DASH) > MAX_SIGNATURES:
        assert reading is None, "evcharge has limits"
    else:
        assert reading == second_reading(note, KEYS)


@pytest.mark.parametrize("signatures", [0, 1, 2])
def test_some_of_those_notes_are_right(signatures: int) -> None:
    """A test of the test: it compares more than refusals."""
    found = find(notes(), lambda note: len((second_reading(note, KEYS) or ((), 0, 0, ()))[3]) == signatures)
    assert (first_reading(found, KEYS) is None) == (signatures == 0)
