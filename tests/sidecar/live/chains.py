"""Records and checkpoints as a log would have them, for who reads them over the wire."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from evcharge.audit.control import signing_key_body
from evcharge.audit.merkle import Frontier, leaf_hash
from evcharge.audit.note import Checkpoint, Signer, write_note
from evcharge.net.tail import Record, read
from protocol.messages import StoredView
from protocol.views import CheckpointView

ORIGIN = "evcharge/test"
SIGNER = Signer(ORIGIN, b"k" * 32)
SUCCESSOR = Signer(ORIGIN, b"n" * 32)
STRANGER = Signer(ORIGIN, b"s" * 32)


def event_body(kind: str, at_ms: int = 0, actor: str = "central", source: str = "", **data: object) -> bytes:
    """A record's body as ``event_codec`` writes it."""
    told = {"at_ms": at_ms, "clock_ms": at_ms, "actor": actor, "source": source, "data": data}
    return msgspec.msgpack.encode((kind, 1, told))


def stored(bodies: Sequence[bytes], first: int = 1) -> list[StoredView]:
    """Records of these bodies; each says that all but the one before it were durable."""
    return [StoredView(seq=seq, durable=max(0, seq - 2), body=body) for seq, body in enumerate(bodies, first)]


def log_of(count: int, signer: Signer = SIGNER) -> list[Record]:
    """A log of ``count`` records: its key first."""
    bodies = [signing_key_body(signer.verifier, None)]
    bodies += [event_body("hold_placed", number, cp_id="CP-1") for number in range(count - 1)]
    return [read(row) for row in stored(bodies)]


def checkpoint_of(records: Sequence[Record], *signers: Signer, key: Signer | None = None) -> CheckpointView:
    """Signed by ``signers``, the first of which Central says it is signed by."""
    signers = signers or (SIGNER,)
    frontier = Frontier()
    frontier.extend([leaf_hash(one.seq, one.durable, one.body) for one in records])
    checkpoint = Checkpoint(ORIGIN, frontier.size, frontier.root())
    verifier = (key or signers[0]).verifier
    return CheckpointView(
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        note=write_note(checkpoint.text(), signers).decode(),
        key=str(verifier),
        key_id=verifier.key_id.hex(),
    )
