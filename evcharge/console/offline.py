"""A recording or a capture becomes rows, one at a time, so that files of any size can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from evcharge.console.capture import CaptureError, decode_capture, is_capture
from evcharge.console.decoder import Decoder, Half
from evcharge.console.keys import Keyring
from evcharge.console.recording import RecordingError, is_recording, read_recording
from evcharge.console.rows import Row
from protocol.keylog import C2S, S2C

# Bytes that tell what a file is.
_START = 16


class Tally:
    """What was seen, for the last line."""

    def __init__(self) -> None:
        self.frames = {C2S: 0, S2C: 0, "": 0}
        self.sealed = 0
        self.bad = 0

    def count(self, row: Row) -> None:
        if row.frame is not None:
            self.frames[row.dir] += 1
            self.sealed += row.frame == "DATA" and row.epoch is None
        self.bad += row.what == "bad"

    def row(self, t: float) -> Row:
        """The sum as a row."""
        sealed = f", {self.sealed} of them sealed without a key" if self.sealed else ""
        bad = f"; damaged in {self.bad} place{'s' * (self.bad > 1)}" if self.bad else ""
        text = f"{self.frames[C2S]} frames from the client, {self.frames[S2C]} from Central{sealed}{bad}."
        return Row(t=t, what="note", text=text)


def decode(stream: BinaryIO, keys: Keyring, *, blocks: bool = False) -> Iterator[Row]:
    """The rows of a file and their sum; whatever is in it, damage becomes a row, never an exception but OSError."""
    tally, t = Tally(), 0.0
    try:
        for row in _rows(stream, keys, blocks=blocks):
            t = row.t
            tally.count(row)
            yield row
    except (RecordingError, CaptureError) as error:
        tally.bad += 1
        yield Row(t=t, what="bad", text=str(error))
    yield tally.row(t)


def _rows(stream: BinaryIO, keys: Keyring, *, blocks: bool) -> Iterator[Row]:
    start = stream.read(_START)
    stream.seek(0)
    if is_capture(start):
        yield from decode_capture(stream, keys, blocks=blocks)
    elif is_recording(start):
        yield from _decode_recording(stream, keys, blocks=blocks)
    else:
        raise RecordingError("This is no recording of evcharge-nc and no capture (pcap, pcapng).")


def _decode_recording(stream: BinaryIO, keys: Keyring, *, blocks: bool) -> Iterator[Row]:
    decoder = Decoder(keys, blocks=blocks)
    halves = {C2S: Half(C2S), S2C: Half(S2C)}
    t, failure = 0.0, None
    pieces = read_recording(stream)
    while True:
        try:
            piece = next(pieces)
        except StopIteration:
            break
        except RecordingError as error:
            failure = error
            break
        t = piece.t
        yield from decoder.feed(halves[piece.direction], piece.data, t)
    for half in halves.values():
        yield from decoder.end(half, t)
    if failure is not None:
        raise failure
