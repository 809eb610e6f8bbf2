"""Recordings and key logs on disk."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.console.keys import MAX_KEYS, KeyLogError, Keyring, read_key_log
from evcharge.console.recording import (
    MAX_PIECE,
    Piece,
    Recorder,
    RecordingError,
    new_private_file,
    read_recording,
)
from evcharge.console.replay import client_frames
from tests.console.support import SID, leaf, recording, rows, vector

KEY = vector("message-list")["key"]


class Kept(io.BytesIO):
    """A file whose content can be read after it was closed."""

    def close(self) -> None:
        self.kept = self.getvalue()
        super().close()


@given(st.lists(st.tuples(st.sampled_from(["c2s", "s2c"]), st.binary(max_size=50)), max_size=40), st.integers(0, 40))
def test_what_was_written_is_read(pieces: list[tuple[str, bytes]], session_after: int) -> None:
    stream = Kept()
    recorder = Recorder(stream, started_ms=5, role="cp")
    for number, (direction, data) in enumerate(pieces):
        if number == session_after:
            recorder.session(SID)
        recorder.piece(number / 8, direction, data)
    recorder.close()
    found = [(piece.direction, piece.data) for piece in read_recording(io.BytesIO(stream.kept))]
    assert found == [piece for piece in pieces if piece[1]]
    head = json.loads(stream.kept.splitlines()[0])
    assert (head["evcharge_recording"], head["started_ms"], head["role"]) == (1, 5, "cp")


def test_the_header_names_the_channel_and_each_piece_has_its_limit() -> None:
    stream = Kept()
    recorder = Recorder(stream, started_ms=0, role="driver")
    recorder.piece(0.0, "c2s", b"hello")
    assert stream.getvalue() == b""
    recorder.session(SID)
    assert json.loads(stream.getvalue().splitlines()[0])["sid"] == SID.hex()
    recorder.piece(0.5, "s2c", bytes(MAX_PIECE + 1))
    recorder.close()
    assert [len(piece.data) for piece in read_recording(io.BytesIO(stream.kept))] == [5, MAX_PIECE, 1]


def test_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    new_private_file(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        new_private_file(path)


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        (b'{"t":1,"dir":"c2s","hex":"00"}', "is cut off"),
        (b'{"t":1,"dir":"up","hex":"00"}\n', "a direction other than"),
        (b'{"t":1,"dir":"c2s","hex":"0"}\n', "is damaged"),
        (b'{"t":1e999,"dir":"c2s","hex":"00"}\n', ""),
        (b"{}\n", "is damaged"),
        (b"\xff\n", "is damaged"),
        (b'{"t":1,"dir":"c2s","hex":"' + b"0" * 2 * MAX_PIECE + b"0" * 300 + b'"}\n', "is too long"),
    ],
)
def test_damage_names_line_and_byte_and_keeps_what_was_before(tail: bytes, says: str) -> None:
    frame = bytes.fromhex(vector("message-list")["frame"])
    good = recording(("c2s", frame))
    found = rows(good + tail, leaf(KEY))
    assert found[0].message is not None
    assert found[1].what == "bad"
    assert found[1].text is not None
    assert says in found[1].text
    assert f"Line 3 (byte {len(good)} of the file)" in found[1].text


def test_another_layout_and_no_recording() -> None:
    assert "update" in str(rows(b'{"evcharge_recording":2}\n')[0].text)
    assert "no recording" in str(rows(b"hello")[0].text)
    assert "no header" in str(rows(b'{"a":1}\n')[0].text)


def test_a_key_log(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# mine\n\n{leaf(KEY).line()}\r\n{leaf(KEY, 's2c').line()}\n")
    assert len(read_key_log(path)) == 2
    for bad in (leaf(KEY).line()[:-3], "x" * 1000, "\0"):
        path.write_text(f"{leaf(KEY).line()}\n{bad}\n")
        with pytest.raises(KeyLogError, match="line 2") as caught:
            read_key_log(path)
        assert KEY[:20] not in str(caught.value)


def test_keys_are_bounded() -> None:
    with pytest.raises(KeyLogError, match="more than"):
        Keyring(leaf(KEY, epoch=number) for number in range(MAX_KEYS + 1))


def test_the_client_s_frames_of_a_recording() -> None:
    hello, auth = (bytes.fromhex(vector(f"handshake-{name}")["frame"]) for name in ("hello", "auth"))
    pieces = [
        Piece(0, "c2s", hello[:7], 2),
        Piece(0, "s2c", b"x", 3),
        Piece(0, "c2s", hello[7:] + auth, 4),
        Piece(0, "c2s", bytes(4), 5),
    ]
    assert client_frames(pieces) == [hello, auth]
    for nothing in ([], pieces[2:], [Piece(0, "c2s", auth, 2)]):
        with pytest.raises(RecordingError, match="nothing to replay"):
            client_frames(nothing)
