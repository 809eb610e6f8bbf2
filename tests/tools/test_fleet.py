"""The parts of a load generator that have to be right, or every figure is wrong."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from tools.bench import peer
from tools.latencies import BUCKET, Latencies

seconds = st.lists(st.floats(1e-5, 30.0), min_size=1, max_size=200)


def latencies(values: list[float]) -> Latencies:
    found = Latencies()
    for value in values:
        found.add(value)
    return found


@given(seconds, st.floats(0.01, 1.0))
def test_a_quantile_is_never_too_low_and_at_most_one_bucket_too_high(values: list[float], share: float) -> None:
    exact = sorted(values)[math.ceil(len(values) * share) - 1]
    found = latencies(values).quantile_s(share)
    assert exact * (1 - 1e-9) <= found <= exact * BUCKET * (1 + 1e-9)


@given(seconds, seconds)
def test_two_histograms_are_as_one(first: list[float], second: list[float]) -> None:
    merged = latencies(first)
    merged.merge(latencies(second))
    together = latencies(first + second)
    assert (merged.counts, merged.most_s, len(merged)) == (together.counts, together.most_s, len(together))


def test_nothing_measured_is_zero_and_the_smallest_time_has_a_place() -> None:
    assert Latencies().quantile_s(0.99) == 0.0
    assert latencies([0.0]).quantile_s(0.5) == 0.0


frames = st.lists(
    st.tuples(st.sampled_from([Opcode.TEXT, Opcode.PING]), st.binary(max_size=300).filter(lambda data: len(data) < 126))
    | st.tuples(st.just(Opcode.TEXT), st.binary(min_size=126, max_size=400)),
    max_size=8,
)


@given(frames, st.integers(1, 50))
def test_the_peers_client_finds_every_frame_however_the_stream_is_cut(
    said: list[tuple[Opcode, bytes]], piece: int
) -> None:
    stream = b"".join(Frame(opcode, data).serialize(mask=False) for opcode, data in said)
    buffer, texts, pings = bytearray(), 0, []
    for start in range(0, len(stream), piece):
        buffer += stream[start : start + piece]
        more, asked = peer.take_frames(buffer)
        texts += more
        pings += asked
    assert texts == sum(opcode is Opcode.TEXT for opcode, _ in said)
    assert pings == [data for opcode, data in said if opcode is Opcode.PING]
    assert not buffer


@given(st.binary(max_size=1_000))
def test_the_peers_client_writes_frames_that_the_library_reads(data: bytes) -> None:
    written = peer.client_frame(peer.TEXT, data)
    # The mask is zero: the same frame without one differs in the mask bit and the four bytes of the mask alone.
    plain = Frame(Opcode.TEXT, data).serialize(mask=False)
    head = len(plain) - len(data)
    assert written[:1] == plain[:1]
    assert written[1] == plain[1] | 0x80
    assert written[2:head] == plain[2:head]
    assert written[head:] == bytes(4) + data
