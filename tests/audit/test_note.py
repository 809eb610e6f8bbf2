"""Signed notes: what C2SP says is legal, and nothing else is read."""

from __future__ import annotations

import base64
import contextlib
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.note import (
    BadNote,
    Checkpoint,
    Note,
    Signer,
    Verifier,
    check_origin,
    open_checkpoint,
    split_notes,
    write_note,
)

ORIGIN = "evcharge.example/jpl"
SIGNER = Signer(ORIGIN, bytes(range(32)))
OTHER = Signer(ORIGIN, bytes(range(1, 33)))
ROOT = sha256(b"root").digest()
CHECKPOINT = Checkpoint(ORIGIN, 1_234, ROOT)
NOTE = write_note(CHECKPOINT.text(), [SIGNER])
# Published with the format: golang.org/x/mod/sumdb/note, its documentation's example.
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_checkpoint_reads_as_c2sp_has_it() -> None:
    """The verifier of this test knows the text of the specification and nothing of our code."""
    text, _, block = NOTE.decode().partition("\n\n")
    assert text.split("\n") == [ORIGIN, "1234", base64.b64encode(ROOT).decode()]
    dash, name, encoded = block.removesuffix("\n").split(" ")
    raw = base64.b64decode(encoded, validate=True)
    public = SIGNER.verifier.public
    assert (dash, name) == ("\u2014", ORIGIN)
    assert raw[:4] == sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], text.encode() + b"\n")


def test_keys_and_notes_of_go_are_ours() -> None:
    verifier, signer = Verifier.parse(GO_VERIFIER), Signer.parse(GO_SIGNER)
    assert str(verifier) == GO_VERIFIER and signer.private_text() == GO_SIGNER + "\n"
    assert signer.verifier == verifier
    note = Note.parse(GO_NOTE.encode())
    assert note.verified([verifier]) == [verifier]
    assert write_note(note.text, [signer]) == GO_NOTE.encode(), "Ed25519 has one signature for one text"


def test_round_trip() -> None:
    assert open_checkpoint(NOTE, [SIGNER.verifier]) == CHECKPOINT
    assert open_checkpoint(NOTE, [OTHER.verifier, SIGNER.verifier]) == CHECKPOINT
    assert len(NOTE) < 512, "SESSION's field 7"
    both = write_note(CHECKPOINT.text(), [SIGNER, OTHER])
    for signer in (SIGNER, OTHER):
        assert open_checkpoint(both, [signer.verifier]) == CHECKPOINT


def test_every_changed_byte_is_found() -> None:
    for place in range(len(NOTE)):
        for bit in (1, 0x20):
            changed = NOTE[:place] + bytes([NOTE[place] ^ bit]) + NOTE[place + 1 :]
            with pytest.raises(BadNote):
                open_checkpoint(changed, [SIGNER.verifier])
    for end in range(len(NOTE)):
        with pytest.raises(BadNote):
            open_checkpoint(NOTE[:end], [SIGNER.verifier])


def test_a_note_is_lines_of_text() -> None:
    for code in range(0x100):
        whole = f"{ORIGIN}\nwith {chr(code)} in it\n\n" + NOTE.decode().partition("\n\n")[2]
        if code >= 0x20 or chr(code) == "\n":
            assert chr(code) in Note.parse(whole.encode()).text
        else:
            with pytest.raises(BadNote, match="control characters"):
                Note.parse(whole.encode())


def test_a_signature_by_nobody_known_is_none() -> None:
    with pytest.raises(BadNote, match="no known key"):
        open_checkpoint(NOTE, [OTHER.verifier])
    with pytest.raises(BadNote, match="no known key"):
        open_checkpoint(NOTE, [])


def test_a_checkpoint_of_another_log_is_not_this_keys() -> None:
    stranger = Checkpoint("evcharge.example/other", 1, ROOT)
    with pytest.raises(BadNote, match="another log"):
        open_checkpoint(write_note(stranger.text(), [SIGNER]), [SIGNER.verifier])


def test_unknown_signatures_and_extensions_do_not_matter() -> None:
    text = CHECKPOINT.text() + "an extension\nanother one\n"
    assert open_checkpoint(write_note(text, [OTHER, SIGNER]), [SIGNER.verifier]) == CHECKPOINT


@pytest.mark.parametrize("name", ["a+b", "a\u2003b", "a\u00a0b", "a\u0085b", "\u2028"])
def test_a_strangers_name_is_a_legal_one_too(name: str) -> None:
    """Go's verifier refuses the whole note."""
    with pytest.raises(BadNote, match="a dash, a name"):
        open_checkpoint(NOTE + f"\u2014 {name} {base64.b64encode(bytes(68)).decode()}\n".encode(), [SIGNER.verifier])


def test_every_signature_by_a_known_key_is_verified() -> None:
    """c2sp.org/signed-note: MUST; one that is right does not excuse another."""
    right, wrong = SIGNER.line(CHECKPOINT.text()).encode(), SIGNER.line("x\n").encode()
    assert open_checkpoint(NOTE + right, [SIGNER.verifier]) == CHECKPOINT
    assert Note.parse(NOTE + right).verified([SIGNER.verifier]) == [SIGNER.verifier]
    with pytest.raises(BadNote, match="is wrong"):
        open_checkpoint(NOTE + wrong, [SIGNER.verifier])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n1\n",
        f"\n1\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n01\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n+1\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n1 \n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n{10**19}\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n1\n{base64.b64encode(ROOT[:31]).decode()}\n",
        f"{ORIGIN}\n1\n{base64.b64encode(ROOT).decode()[:-1]}\n",
        f"{ORIGIN}\n1\n{base64.urlsafe_b64encode(bytes([255]) * 32).decode()}\n",
        f"{ORIGIN}\n1\n{base64.b64encode(ROOT).decode()}",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(BadNote):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "name",
        "name+c74f20a3",
        GO_VERIFIER.replace("c74f20a3", "c74f20a4"),
        GO_VERIFIER.replace("PeterNeumann", "PeterNeuman"),
        GO_VERIFIER.replace("PeterNeumann", "Peter Neumann"),
        GO_VERIFIER[:-4],
        GO_VERIFIER.replace("+AR", "+AQ"),
        "n+00000000+" + base64.b64encode(b"\x02" + bytes(32)).decode(),
    ],
)
def test_keys_that_were_changed(key: str) -> None:
    with pytest.raises(BadNote):
        Verifier.parse(key)
    with pytest.raises(BadNote):
        Signer.parse("PRIVATE+KEY+" + key)
    with pytest.raises(BadNote):
        Signer.parse(key)


def test_a_private_key_is_not_printed() -> None:
    secret = SIGNER.private_text().rsplit("+", 1)[1].strip()
    assert secret not in repr(SIGNER)
    with pytest.raises(BadNote) as caught:
        Signer.parse(SIGNER.private_text().replace("evcharge.example", "evcharge.invalid"))
    assert secret not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\tb", "a\u2003b", "x" * 65, "a\x07b", "a\u202eb"])
def test_names_that_no_log_has(name: str) -> None:
    with pytest.raises(ValueError, match="log's name"):
        check_origin(name)
    with pytest.raises(ValueError, match="log's name"):
        Signer(name, bytes(32))


def test_a_file_of_notes_falls_into_its_notes() -> None:
    notes = [
        write_note(Checkpoint(ORIGIN, size, ROOT).text(), signers)
        for size, signers in ((1, [SIGNER]), (2, [SIGNER, OTHER]), (3, [OTHER]))
    ]
    assert split_notes(b"".join(notes)) == notes
    assert split_notes(b"") == []
    assert split_notes(b"".join(notes)[:-1]) == [*notes[:2], notes[2][:-1]]


@given(st.binary(max_size=600))
def test_any_bytes_are_a_note_or_bad(data: bytes) -> None:
    assert b"".join(split_notes(data)) == data
    for candidate in (data, NOTE + data):
        with contextlib.suppress(BadNote):
            Note.parse(candidate)


def test_bounds() -> None:
    with pytest.raises(BadNote, match="bytes"):
        Note.parse(b"x" * 5_000)
    with pytest.raises(BadNote, match="more than 16"):
        Note.parse(write_note("x\n", [Signer(f"n{number}", bytes(32)) for number in range(17)]))
    with pytest.raises(BadNote, match="control"):
        Note.parse(NOTE.replace(b"1234", b"12\t4"))
