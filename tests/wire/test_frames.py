"""Frames: every cut, bad lengths after four bytes, and never more held than one frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import CloseCode, FrameTooLarge
from protocol.frames import FrameDecoder, encode_frame
from tests.support.wire import every_cut


def read(pieces: list[bytes], limit: int = 1024) -> list[tuple[int, bytes]]:
    decoder, found = FrameDecoder(limit), []
    for piece in pieces:
        decoder.feed(piece)
        while (frame := decoder.next_frame()) is not None:
            found.append(frame)
        assert decoder.held <= limit + 3
    return found


def test_layout() -> None:
    assert encode_frame(0x10, b"ab") == b"\0\0\0\x03\x10ab"


def test_every_cut() -> None:
    stream = encode_frame(1, b"") + encode_frame(0x10, b"body" * 50) + encode_frame(0x7F, b"x")
    every_cut(stream, read)
    assert read([stream]) == [(1, b""), (0x10, b"body" * 50), (0x7F, b"x")]


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 400), max_size=20),
)
def test_any_frames_in_any_pieces(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(*one) for one in frames)
    pieces = []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]
    assert read([*pieces, stream]) == frames


@pytest.mark.parametrize("limit", [1024, 65_536])
def test_limits_are_exact(limit: int) -> None:
    assert read([limit.to_bytes(4, "big") + bytes(limit)], limit) == [(0, bytes(limit - 1))]
    for bad in (0, limit + 1, 2**31, 2**32 - 1):
        decoder = FrameDecoder(limit)
        decoder.feed(bad.to_bytes(4, "big"))
        with pytest.raises(FrameTooLarge) as caught:
            decoder.next_frame()
        assert caught.value.code is CloseCode.PROTOCOL
        assert decoder.held == 0


def test_bad_length_waits_for_its_fourth_byte_only() -> None:
    decoder = FrameDecoder(1024)
    decoder.feed(b"\xff\xff\xff")
    assert decoder.next_frame() is None
    decoder.feed(b"\xff")
    with pytest.raises(FrameTooLarge):
        decoder.next_frame()


def test_frames_before_a_bad_one_are_delivered() -> None:
    decoder = FrameDecoder(1024)
    decoder.feed(encode_frame(1, b"a") + b"\0\0\0\0")
    assert decoder.next_frame() == (1, b"a")
    with pytest.raises(FrameTooLarge):
        decoder.next_frame()


def test_taken_frames_are_let_go() -> None:
    decoder = FrameDecoder(65_536)
    decoder.feed(encode_frame(1, bytes(60_000)) + b"\0\0")
    assert decoder.next_frame() is not None
    assert decoder.next_frame() is None
    assert decoder.held == 2 and len(decoder._buffer) == 2


def test_taken_frames_are_let_go_before_half_a_frame_too() -> None:
    decoder = FrameDecoder(65_536)
    decoder.feed(encode_frame(1, bytes(60_000)) + encode_frame(2, b"half of it")[:9])
    assert decoder.next_frame() is not None
    assert decoder.held == 9, "what waits behind a taken frame"
    assert decoder.next_frame() is None
    assert decoder.held == 9 and len(decoder._buffer) == 9


def test_nothing_is_kept_of_the_last_frame() -> None:
    decoder = FrameDecoder(1024)
    decoder.feed(encode_frame(1, b"a") + encode_frame(2, b"b"))
    assert decoder.next_frame() == (1, b"a") and decoder.next_frame() == (2, b"b")
    assert not decoder._buffer
    decoder.feed(encode_frame(3, b"c"))
    assert decoder.next_frame() == (3, b"c"), "without asking in between whether there is more"


def test_clear_forgets_where_it_was() -> None:
    decoder = FrameDecoder(1024)
    decoder.feed(encode_frame(1, b"a") + encode_frame(2, b"b"))
    assert decoder.next_frame() == (1, b"a")
    decoder.clear()
    assert decoder.held == 0
    decoder.feed(encode_frame(3, b"c"))
    assert decoder.next_frame() == (3, b"c")


def test_a_body_is_bytes_however_it_came() -> None:
    stream = encode_frame(1, b"whole") + encode_frame(2, b"in pieces")
    for pieces in ([stream], [stream[:3], stream[3:12], stream[12:]]):
        assert [type(body) for _, body in read(pieces)] == [bytes, bytes]


def test_limit_can_be_raised_between_frames() -> None:
    decoder = FrameDecoder(8)
    decoder.feed(encode_frame(1, b"a") + encode_frame(2, bytes(100)))
    assert decoder.next_frame() == (1, b"a")
    decoder.limit = 1000
    assert decoder.next_frame() == (2, bytes(100))


def test_more_bytes_while_frames_still_wait() -> None:
    decoder = FrameDecoder(1024)
    stream = encode_frame(1, b"a") + encode_frame(2, b"b") + encode_frame(3, b"cc")
    decoder.feed(stream[:13])
    assert decoder.next_frame() == (1, b"a")
    decoder.feed(stream[13:])
    assert decoder.next_frame() == (2, b"b") and decoder.next_frame() == (3, b"cc")
    assert decoder.next_frame() is None and decoder.held == 0


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    decoder = FrameDecoder(64)
    decoder.feed(data)
    try:
        while decoder.next_frame() is not None:
            pass
    except FrameTooLarge:
        pass
    assert decoder.held <= 67
