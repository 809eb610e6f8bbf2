"""Captures as tcpdump writes them (pcap, pcapng) become TCP segments, then rows; packets are parsed by dpkt.

dpkt is an optional extra (``pip install 'evcharge[capture]'``): the recordings of the console itself do not need it.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, BinaryIO, NamedTuple

from evcharge.console.decoder import Decoder, Half
from evcharge.console.keys import Keyring
from evcharge.console.reassembly import Data, Gap, Stream
from evcharge.console.rows import Row
from protocol.keylog import C2S, S2C

# First four bytes of a capture: pcap in both byte orders with micro- and nanoseconds, pcapng.
_PCAP = {b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1"}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
# TCP connections that are remembered; of more the one unheard for longest is forgotten.
MAX_LINKS = 1_024
# Link layers: what tcpdump writes on Ethernet, `-i any` and loopback (www.tcpdump.org/linktypes.html).
_ETHERNET, _SLL, _SLL2, _NULL, _LOOP = 1, 113, 276, 0, 108
_RAW = (12, 14, 101, 228, 229)
# Flags of TCP.
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
# How a client's stream begins: a short frame of type HELLO with its magic. SPEC §4.2
_HELLO_HEAD, _HELLO_AT, _HELLO_SIZE = b"\x01EVCH", 4, 9


class CaptureError(Exception):
    """A capture cannot be read (any further); one sentence."""


class Segment(NamedTuple):
    """One TCP segment; addresses as (IP, port)."""

    t: float
    source: tuple[bytes, int]
    target: tuple[bytes, int]
    seq: int
    flags: int
    data: bytes
    cut: int
    """Bytes that were on the wire and are not in the capture (``tcpdump -s``)."""


def is_capture(start: bytes) -> bool:
    """Whether a file that starts so is a capture."""
    return start[:4] in _PCAP or start[:4] == _PCAPNG


def _dpkt() -> Any:
    try:
        import dpkt  # type: ignore[import-untyped]  # it ships no types
    except ImportError:
        raise CaptureError(
            "Reading a capture needs the package dpkt: pip install 'evcharge[capture]'. Recordings do not need it."
        ) from None
    return dpkt


def segments(stream: BinaryIO) -> Iterator[Segment]:
    """The TCP segments of a capture, one packet in memory at a time. Raises CaptureError, also in the middle."""
    dpkt = _dpkt()
    # What dpkt raises for damaged files and packets, beside its own error.
    broken = (dpkt.Error, ValueError, struct.error, IndexError, KeyError, TypeError, AttributeError, OverflowError)
    start = stream.read(4)
    stream.seek(0)
    try:
        reader = dpkt.pcapng.Reader(stream) if start == _PCAPNG else dpkt.pcap.Reader(stream)
        packets = iter(reader)
        link_type = reader.datalink()
    except (*broken, StopIteration):
        raise CaptureError("The capture's header is damaged.") from None
    number, first_s = 0, None
    while True:
        at = stream.tell()
        try:
            stamp, packet = next(packets)
            now_s = float(stamp)
        except StopIteration:
            return
        except broken:
            raise CaptureError(
                f"The capture is damaged or cut after packet {number} (byte {at} of the file)."
            ) from None
        number += 1
        first_s = now_s if first_s is None else first_s
        try:
            segment = _segment(dpkt, link_type, packet, now_s - first_s)
        except broken:
            # Not ours, or cut before the TCP header ends.
            continue
        if segment is not None:
            yield segment


def _segment(dpkt: Any, link_type: int, packet: bytes, t: float) -> Segment | None:
    """The TCP segment in a packet, None for anything else."""
    ip = _network(dpkt, link_type, packet)
    if isinstance(ip, dpkt.ip.IP):
        whole = ip.len - ip.hl * 4
        # Later fragments have no TCP header; TCP over IP avoids them.
        if ip.offset:
            return None
    elif isinstance(ip, dpkt.ip6.IP6):
        whole = ip.plen - sum(len(header) for header in ip.all_extension_headers)
    else:
        return None
    tcp = ip.data
    if not isinstance(tcp, dpkt.tcp.TCP):
        return None
    data = bytes(tcp.data)
    size = whole - tcp.off * 4
    # A sender that lets its network card cut the segments has 0 as the length of what it hands over.
    if whole > 0 and size >= 0:
        data = data[:size]
    cut = max(0, size - len(data)) if whole > 0 else 0
    return Segment(t, (ip.src, tcp.sport), (ip.dst, tcp.dport), tcp.seq, tcp.flags, data, cut)


def _network(dpkt: Any, link_type: int, packet: bytes) -> Any:
    """The IP packet inside a packet of the link layer."""
    if link_type == _ETHERNET:
        return dpkt.ethernet.Ethernet(packet).data
    if link_type == _SLL:
        return dpkt.sll.SLL(packet).data
    if link_type == _SLL2:
        return dpkt.sll2.SLL2(packet).data
    if link_type in (_NULL, _LOOP):
        packet = packet[4:]
    elif link_type not in _RAW:
        raise CaptureError(f"The capture is of link type {link_type}; known are Ethernet, Linux cooked, raw, loopback.")
    return dpkt.ip6.IP6(packet) if packet[:1] and packet[0] >> 4 == 6 else dpkt.ip.IP(packet)


class _Side:
    """One direction of one connection."""

    def __init__(self, half: Half) -> None:
        self.half = half
        self.stream = Stream()


class _Link:
    """One TCP connection; ``client`` is the side that speaks first, as far as it can be told."""

    def __init__(self, number: int, segment: Segment, keys: Keyring, *, blocks: bool) -> None:
        self.decoder = Decoder(keys, blocks=blocks, link=number)
        self.number = number
        self.opened = bool(segment.flags & _SYN)
        # Without a SYN the lower port is taken to be Central's, until a key tells.
        answer = segment.flags & _ACK if self.opened else segment.source[1] < segment.target[1]
        guesses = (S2C, C2S) if answer else (C2S, S2C)
        self.sides = {
            end: _Side(Half(guess if self.opened else None, aligned=self.opened, guess=guess))
            for end, guess in zip((segment.source, segment.target), guesses, strict=True)
        }
        self.judged = not self.opened
        self.foreign = False
        self._head = b""

    def take(self, segment: Segment) -> Iterator[Row]:
        side = self.sides[segment.source]
        if segment.flags & _SYN:
            if not side.stream.begun:
                side.stream.begin(segment.seq + 1)
            return
        for piece in side.stream.segment(segment.seq, segment.data, segment.cut):
            yield from self._piece(side, piece, segment.t)

    def finish(self, t: float) -> Iterator[Row]:
        for side in self.sides.values():
            for piece in side.stream.finish():
                yield from self._piece(side, piece, t)
            if not self.foreign:
                yield from self.decoder.end(side.half, t)

    def _piece(self, side: _Side, piece: Data | Gap, t: float) -> Iterator[Row]:
        half = side.half
        if not self.judged and half.direction == C2S:
            yield from self._judge(piece, t)
        if self.foreign:
            return
        if isinstance(piece, Gap):
            yield from self.decoder.gap(half, piece.size, t)
            return
        yield from self.decoder.feed(half, piece.data, t)
        if half.direction is not None:
            for other in self.sides.values():
                if other is not side and other.half.direction is None:
                    other.half.direction = S2C if half.direction == C2S else C2S

    def _judge(self, piece: Data | Gap, t: float) -> Iterator[Row]:
        """A captured machine speaks other protocols too: only who begins with HELLO is shown."""
        if isinstance(piece, Data):
            self._head += piece.data[: _HELLO_SIZE - len(self._head)]
        tail = self._head[_HELLO_AT:]
        self.judged = isinstance(piece, Gap) or len(self._head) >= _HELLO_SIZE or not _HELLO_HEAD.startswith(tail)
        if self.judged and tail != _HELLO_HEAD and not isinstance(piece, Gap):
            self.foreign = True
            yield Row(t=t, what="note", link=self.number, text="is not evcharge: it does not begin with HELLO.")


def decode_capture(stream: BinaryIO, keys: Keyring, *, blocks: bool = False) -> Iterator[Row]:
    """Every evcharge connection of a capture. Raises CaptureError, also in the middle; rows before it are good."""
    links: OrderedDict[frozenset[tuple[bytes, int]], _Link] = OrderedDict()
    count, t = 0, 0.0
    failure: CaptureError | None = None
    source = segments(stream)
    while True:
        try:
            segment = next(source)
        except StopIteration:
            break
        except CaptureError as error:
            failure = error
            break
        t = segment.t
        ends = frozenset((segment.source, segment.target))
        if len(ends) < 2:
            continue
        link = links.get(ends)
        if link is not None and _anew(link, segment):
            yield from link.finish(t)
            link = None
        if link is None:
            if not segment.flags & _SYN and not segment.data:
                continue
            count += 1
            link = links[ends] = _Link(count, segment, keys, blocks=blocks)
            yield _introduce(link, segment)
        links.move_to_end(ends)
        yield from link.take(segment)
        if len(links) > MAX_LINKS:
            _, oldest = links.popitem(last=False)
            yield from oldest.finish(t)
    for link in links.values():
        yield from link.finish(t)
    if failure is not None:
        raise failure


def _anew(link: _Link, segment: Segment) -> bool:
    """Whether a SYN opens another connection between the same two ends."""
    begun = link.sides[segment.source].stream.begun
    return bool(segment.flags & _SYN) and not segment.flags & _ACK and (begun and not _repeats(link, segment))


def _repeats(link: _Link, segment: Segment) -> bool:
    """Whether this SYN was sent before: nothing has come since from its side."""
    return link.opened and link.sides[segment.source].stream.due == (segment.seq + 1) % (1 << 32)


def _introduce(link: _Link, segment: Segment) -> Row:
    ends = [f"{_address(ip)}:{port}" for ip, port in link.sides]
    arrow = "→" if next(iter(link.sides.values())).half.guess == C2S else "←"
    how = "" if link.opened else ", from the middle"
    return Row(t=segment.t, what="note", link=link.number, text=f"TCP {ends[0]} {arrow} {ends[1]}{how}")


def _address(raw: bytes) -> str:
    address = ip_address(raw)
    return str(address) if address.version == 4 else f"[{address}]"
