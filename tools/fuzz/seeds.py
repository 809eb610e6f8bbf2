"""First inputs: what the golden vectors say, in the form that each target reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # it ships no types

from protocol.credentials import b64url_decode
from tools.fuzz.wire import PEER

# Kinds of the decoder's inputs: 0x0c claims, 0x0d hello, 0x0e credential and password, 0x0f record, 8 grammar.
VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
# Order of the roles in the targets' choice.
ROLES = ["cp", "monitor", "driver", "debug", "gateway"]


def seeds(target: str) -> Iterator[bytes]:
    """Inputs for ``target``."""
    for path in sorted(VECTORS.glob("*.json")):
        vector = json.loads(path.read_text(encoding="utf-8"))
        if target == "decoder":
            yield from _decoder(vector)
        elif target == "channel" and "msgpack" in vector:
            yield from _channel(vector)
    if target == "decoder":
        yield b"\x0c" + msgpack.packb({1: "cp-1", 2: 1, 3: "CP-1", 4: bytes(16), 5: 1, 6: b"", 7: 2**64 - 1})
        yield b"\x0e" + PEER.to_json()
        yield b"\x0e" + PEER.password.encode()
        yield from (
            bytes([8, role, central, kind, *range(40)]) for role in range(5) for central in (0, 1) for kind in range(40)
        )
    if target == "handshake":
        # Side, changed or raw, how many changes, then where, how, and with what.
        for central in (0, 1):
            yield from (bytes([central, 1, 0, frame, how, 0, 8, 1]) for frame in range(4) for how in range(8))
            yield bytes([central, 8])


def _decoder(vector: dict[str, object]) -> Iterator[bytes]:
    if isinstance(frame := vector.get("frame"), str):
        yield bytes([0, 0, 0, 0, 0, 0]) + bytes.fromhex(frame)
        yield bytes([0, 1, 0, 0, 0, 2]) + bytes.fromhex(frame)
        if frame[8:10] == "01":
            yield b"\x0d" + bytes.fromhex(frame[10:])
    for role, central in _speakers(vector):
        yield bytes([4, role, central]) + bytes.fromhex(str(vector["msgpack"]))
    if "signed" in vector:
        signed = {"signed": vector["signed"], "signature": vector["signature"]}
        yield b"\x0f\x01" + json.dumps(signed).encode()
        yield b"\x0f\0" + b64url_decode(str(vector["signed"]))


def _channel(vector: dict[str, object]) -> Iterator[bytes]:
    body = bytes.fromhex(str(vector["msgpack"]))
    if len(body) > 255:
        return
    for role, central in _speakers(vector):
        # A sealed message, whole; then the same again after a key update.
        step = bytes([12, len(body)]) + body + b"\0"
        yield bytes([central, role]) + step + b"\x04\0" + step


def _speakers(vector: dict[str, object]) -> Iterator[tuple[int, int]]:
    """Who reads a message: the role of the peer, and whether Central is the reader."""
    for key, central in (("from", 1), ("to", 0)):
        names = vector.get(key, [])
        assert isinstance(names, list)
        yield from ((ROLES.index(name), central) for name in names if name in ROLES)


def write(folder: Path, inputs: Iterator[bytes]) -> int:
    """Put inputs into a corpus folder, named by their digest as libFuzzer does; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    names = set()
    for data in inputs:
        name = sha256(data).hexdigest()[:40]
        (folder / name).write_bytes(data)
        names.add(name)
    return len(names)
