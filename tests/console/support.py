"""Frames and keys of the golden vectors, and recordings made of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from evcharge.console.keys import Keyring
from evcharge.console.offline import decode
from evcharge.console.rows import Row
from protocol.keylog import LeafKey

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
SID = bytes([0x44]) * 16


def vector(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return loaded


def leaf(key: str, direction: str = "c2s", epoch: int = 0) -> LeafKey:
    return LeafKey(SID, direction, epoch, key.encode())


def recording(*pieces: tuple[str, bytes]) -> bytes:
    """A recording with one line for each piece."""
    lines = [{"evcharge_recording": 1, "role": "cp", "sid": SID.hex()}]
    lines += [{"t": n / 10, "dir": way, "hex": data.hex()} for n, (way, data) in enumerate(pieces)]  # type: ignore[misc]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def rows(data: bytes, *keys: LeafKey) -> list[Row]:
    """What decode shows of a file with these bytes."""
    return list(decode(io.BytesIO(data), Keyring(keys)))
