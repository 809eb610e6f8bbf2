"""Captures: TCP put together from segments in any order, damaged and cut files, other traffic."""

from __future__ import annotations

import builtins
import io
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.console import capture
from evcharge.console.reassembly import MAX_SEGMENTS, Data, Gap, Stream
from evcharge.console.rows import Row
from tests.console.support import leaf, rows, vector

CLIENT, CENTRAL = ("10.0.0.5", 40_000), ("10.0.0.1", 7_411)
SYN, SYN_ACK, PUSH, FIN = 0x02, 0x12, 0x18, 0x11
HANDSHAKE = [bytes.fromhex(vector(f"handshake-{name}")["frame"]) for name in ("hello", "reply", "auth", "session")]
READY = vector("ready")
TOKENS = [bytes.fromhex(READY["c2s_frame"]), bytes.fromhex(READY["s2c_frame"])]
LIST = bytes.fromhex(vector("message-list")["frame"])
UP, DOWN = HANDSHAKE[0] + HANDSHAKE[2] + TOKENS[0] + LIST, HANDSHAKE[1] + HANDSHAKE[3] + TOKENS[1]
KEYS = (leaf(READY["c2s_key"], "c2s"), leaf(READY["s2c_key"], "s2c"))
# Sequence numbers that run over 2³² within a few bytes.
ISN_UP, ISN_DOWN = 2**32 - 50, 2**32 - 7

Packet = tuple[bool, int, int, bytes]
"""From the client, sequence number, flags, payload."""


def packets(up: list[bytes], down: list[bytes]) -> list[Packet]:
    """A connection from SYN to FIN, one segment for each piece."""
    made: list[Packet] = [(True, ISN_UP, SYN, b""), (False, ISN_DOWN, SYN_ACK, b"")]
    at = {True: ISN_UP + 1, False: ISN_DOWN + 1}
    for side, pieces in ((True, up), (False, down)):
        for piece in pieces:
            made.append((side, at[side] % 2**32, PUSH, piece))
            at[side] += len(piece)
    made.append((True, at[True] % 2**32, FIN, b""))
    return made


def file_of(
    found: list[Packet], *, ng: bool = False, v6: bool = False, link: str = "ether", snap: int = 65_535
) -> bytes:
    """A capture with these packets."""
    stream = io.BytesIO()
    number = {"ether": 1, "raw": 101, "null": 0}[link]
    writer: Any
    if ng:
        idb = dpkt.pcapng.InterfaceDescriptionBlockLE(linktype=number, snaplen=65_535)
        writer = dpkt.pcapng.Writer(stream, idb=idb)
    else:
        writer = dpkt.pcap.Writer(stream, linktype=number)
    for index, (up, seq, flags, payload) in enumerate(found):
        source, target = (CLIENT, CENTRAL) if up else (CENTRAL, CLIENT)
        tcp = dpkt.tcp.TCP(sport=source[1], dport=target[1], seq=seq, flags=flags, data=payload)
        packet: Any
        if v6:
            ends = [socket.inet_pton(socket.AF_INET6, f"fd00::{end[0].rpartition('.')[2]}") for end in (source, target)]
            packet = dpkt.ip6.IP6(src=ends[0], dst=ends[1], nxt=6, plen=len(tcp), data=tcp)
            packet.extension_hdrs = {}
        else:
            ends = [socket.inet_aton(end[0]) for end in (source, target)]
            packet = dpkt.ip.IP(src=ends[0], dst=ends[1], p=6, len=20 + len(tcp), data=tcp)
        if link == "ether":
            kind = 0x86DD if v6 else 0x0800
            packet = dpkt.ethernet.Ethernet(src=bytes(6), dst=bytes(6), type=kind, data=packet)
        raw = (b"\x02\x00\x00\x00" if link == "null" else b"") + bytes(packet)
        writer.writepkt(raw[:snap], ts=1000 + index / 10)
    return stream.getvalue()


def shown(found: list[Row]) -> list[str]:
    return [f"{row.dir} {row.kind or row.frame}" for row in found if row.frame is not None]


ALL_UP = ["c2s HELLO", "c2s AUTH", "c2s READY", "c2s APP"]
ALL_DOWN = ["s2c REPLY", "s2c SESSION", "s2c READY"]


def sides(found: list[Row]) -> tuple[list[str], list[str]]:
    names = shown(found)
    return [name for name in names if name.startswith("c2s")], [name for name in names if name.startswith("s2c")]


@pytest.mark.parametrize(
    "kind", [{}, {"ng": True}, {"v6": True}, {"link": "raw"}, {"link": "null"}, {"link": "raw", "v6": True}]
)
def test_a_whole_connection(kind: dict[str, Any]) -> None:
    found = rows(file_of(packets([UP[:9], UP[9:200], UP[200:]], [DOWN]), **kind), *KEYS)
    assert sides(found) == (ALL_UP, ALL_DOWN)
    assert not [row for row in found if row.what == "bad"]
    assert {row.link for row in found[:-1]} == {1}
    assert [row.message for row in found if row.message] == [vector("message-list")["meaning"]]
    assert "→" in str(found[0].text)
    assert ":7411" in str(found[0].text)


@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_any_order_and_any_repeats(dice: random.Random, size: int) -> None:
    cut = packets([UP[n : n + size] for n in range(0, len(UP), size)], [DOWN])
    opening, rest = cut[:2], cut[2:-1]
    rest += dice.choices(rest, k=5)
    # Retransmissions that overlap two segments.
    start = dice.randrange(len(UP))
    rest.append((True, (ISN_UP + 1 + start) % 2**32, PUSH, UP[start : start + 90]))
    dice.shuffle(rest)
    found = rows(file_of(opening + rest), *KEYS)
    assert sides(found) == (ALL_UP, ALL_DOWN)
    assert not [row for row in found if row.what == "bad"]


def test_a_lost_segment_is_a_gap_and_the_next_frame_is_found() -> None:
    lost = len(HANDSHAKE[0]) + 20
    pieces = [UP[:lost], UP[lost : lost + 30], UP[lost + 30 :]]
    cut = packets(pieces, [DOWN])
    del cut[3]
    found = rows(file_of(cut), *KEYS)
    assert sides(found) == (["c2s HELLO", "c2s READY", "c2s APP"], ALL_DOWN)
    (bad,) = [row for row in found if row.what == "bad"]
    assert bad.text == f"byte {len(HANDSHAKE[0])}: 30 bytes are missing, 20 bytes before them are part of a frame."


def test_from_the_middle_of_a_segment_and_who_is_who_by_the_key() -> None:
    tail = LIST[40:] + LIST
    cut = [(True, 5, PUSH, tail), (False, 9, PUSH, TOKENS[1])]
    found = rows(file_of(cut), *KEYS)
    assert shown(found) == ["c2s APP", "s2c READY"]
    # The ports say the contrary: the key wins.
    swapped = [(not up, seq, flags, data) for up, seq, flags, data in cut]
    assert shown(rows(file_of(swapped), *KEYS)) == ["c2s APP", "s2c READY"]
    assert shown(rows(file_of(cut))) == ["c2s DATA", "s2c DATA"]


def test_short_snapshots_are_gaps() -> None:
    found = rows(file_of(packets([UP], [DOWN]), snap=120), *KEYS)
    missing = [row for row in found if row.what == "bad"]
    assert len(missing) >= 2
    assert "bytes are missing" in str(missing[0].text)


def test_other_traffic_is_named_once() -> None:
    found = rows(file_of(packets([b"GET / HTTP/1.1\r\n\r\n"], [b"HTTP/1.1 200 OK\r\n"])))
    assert shown(found) == []
    assert [row.text for row in found][1:] == [
        "is not evcharge: it does not begin with HELLO.",
        "0 frames from the client, 0 from Central.",
    ]


def test_the_same_ports_again_are_another_connection() -> None:
    again = packets([UP], [DOWN])
    moved = [(up, (seq + 1_000_000) % 2**32, flags, data) for up, seq, flags, data in again]
    found = rows(file_of([*again, *moved]), *KEYS)
    assert [row.link for row in found if row.frame == "HELLO"] == [1, 2]
    # A SYN that is sent twice is not.
    assert {row.link for row in rows(file_of([again[0], *again]), *KEYS)[:-1]} == {1}


def test_a_cut_capture_keeps_what_was_before() -> None:
    whole = file_of(packets([UP], [DOWN]))
    assert sides(rows(whole[:-20], *KEYS)) == (ALL_UP, ALL_DOWN)
    for end in range(0, len(whole), 37):
        assert rows(whole[:end], *KEYS)[-1].what == "note"


@given(st.data(), st.booleans())
def test_any_damage_is_a_sentence(data: st.DataObject, ng: bool) -> None:
    whole = bytearray(file_of(packets([UP], [DOWN]), ng=ng))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert rows(bytes(whole), *KEYS)[-1].what == "note"


@given(st.sampled_from([b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a"]), st.binary(max_size=200))
def test_any_bytes_after_a_magic_are_a_sentence(magic: bytes, rest: bytes) -> None:
    assert rows(magic + rest)[-1].what == "note"


def test_without_dpkt_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    known: Callable[..., Any] = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "dpkt":
            raise ImportError(name)
        return known(name, *more)

    whole = file_of(packets([UP], [DOWN]))
    monkeypatch.setattr(builtins, "__import__", without)
    bad, _ = rows(whole)
    assert "pip install 'evcharge[capture]'" in str(bad.text)


def test_memory_of_a_stream_is_bounded() -> None:
    stream = Stream()
    stream.begin(0)
    given = [piece for n in range(MAX_SEGMENTS + 1) for piece in stream.segment(10 + 2 * n, b"x")]
    assert given[:2] == [Gap(10), Data(b"x")]
    assert len(stream._waiting) <= MAX_SEGMENTS


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_LINKS", 3)

    def many() -> Iterator[capture.Segment]:
        for port in range(9):
            ends = ((b"\x7f\0\0\1", 10_000 + port), (b"\x7f\0\0\1", 7_411))
            yield capture.Segment(0.0, *ends, 0, SYN, b"", 0)
            yield capture.Segment(0.0, *ends, 1, PUSH, HANDSHAKE[0][:-1], 0)

    monkeypatch.setattr(capture, "segments", lambda _stream: many())
    found = rows(file_of([]))
    assert [row.link for row in found if row.what == "bad"] == [*range(1, 10)]
