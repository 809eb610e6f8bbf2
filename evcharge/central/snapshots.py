"""Snapshots of the state, made by a process of their own: Central's loop never waits for one.

That process replays what came since the last snapshot, as every start would, and compares each hash of the state that
Central has left in the log. So a snapshot is the result of an independent replay, or it does not come into being.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from evcharge.audit.attest import Attestor
from evcharge.audit.files import Files
from evcharge.audit.folding import Folding
from evcharge.audit.keys import CURRENT, load
from evcharge.audit.merkle import Frontier, leaf_hash
from evcharge.audit.record import Record
from evcharge.audit.replay import Corrupt, replay
from evcharge.audit.segments import list_segments
from evcharge.audit.snapshot import Head, list_snapshots, write
from evcharge.central.recall import Diverged, Recalled, remember_source, resume
from evcharge.domain.digest import RULES, plain_state
from evcharge.domain.events import PeerConnected, PeerDisconnected
from evcharge.domain.state import State

# Records between two snapshots. audit.md
EVERY_RECORDS = 100_000
# Central's charging comes first: the process that replays is this much nicer.
NICENESS = 15
# How long after a failure the next attempt comes, records.
AGAIN_RECORDS = 10_000

log = structlog.get_logger()


class CannotSnapshot(Exception):
    """There is no snapshot; the text says why."""


class Made(msgspec.Struct, frozen=True):
    """What was made."""

    file: str
    seq: int
    records: int
    """Replayed for it."""
    bytes: int


def make_snapshot(data_dir: Path, files: Files, *, up_to: int | None = None) -> Made:
    """Replay and write a snapshot behind record ``up_to``, which has to be durable; None: of a log that nobody writes.

    Raises CannotSnapshot, BadKeyFile, Diverged, UnknownKind, OSError.
    """
    directory = data_dir / "log"
    signer = load(data_dir / "log-key", CURRENT, files)
    if signer is None:
        raise CannotSnapshot(f"there is no signing key in {data_dir / 'log-key'}: Central makes it when it starts")
    recalled = Recalled(State())
    # It only keeps the tree's edge and the names of keys; nothing is opened or written.
    recalled.attestor = Attestor(directory, files, signer)
    start = resume(recalled, directory, files, [signer.verifier])
    folding = Folding(recalled.state)
    # What is durable stands in segments that are there already.
    firsts = {first for first, _ in list_segments(directory, files)[0]}
    segment, offset = start.segment, start.offset
    frontier = recalled.attestor.resumed or Frontier()
    last: Record | None = None
    if up_to is not None and up_to <= recalled.seq:
        raise CannotSnapshot(f"the snapshot behind record {recalled.seq} is as new as record {up_to}")
    for item in replay(directory, files, start):
        if isinstance(item, Corrupt):
            raise CannotSnapshot(f"the log is damaged: {item.file} at offset {item.offset}: {item.why}")
        if not isinstance(item, Record):
            break
        logged = folding.take(item)
        if logged is not None and isinstance(logged.event, PeerConnected | PeerDisconnected):
            remember_source(recalled.sources, logged.stamp)
        if folding.diverged is not None:
            raise Diverged(item.seq)
        recalled.attestor.name_key(item)
        frontier.extend([leaf_hash(item.seq, item.durable, item.body)])
        if item.seq in firsts:
            segment, offset = item.seq, 0
        elif last is not None:
            offset += last.size
        last = item
        if item.seq == up_to:
            break
    if last is None or (up_to is not None and last.seq != up_to):
        raise CannotSnapshot(
            "there is nothing new in the log" if last is None else f"the log has no record {up_to} yet"
        )
    head = Head(
        seq=last.seq,
        durable=last.durable,
        chain=last.chain,
        edge=frontier.edge,
        segment=segment,
        offset=offset,
        rules=RULES,
        state_hash=folding.digest.value(),
        keys=[str(key) for key in recalled.attestor.named],
        sources=recalled.sources,
    )
    state = msgspec.msgpack.encode(plain_state(recalled.state))
    path = write(directory, files, head, state, signer)
    return Made(str(path), last.seq, folding.records, len(state))


class Snapshots:
    """Starts the other process every so many durable records."""

    def __init__(self, data_dir: Path, seq: int, durable: Callable[[], int]) -> None:
        """``seq``: the last record of the newest snapshot."""
        self.made = 0
        self._data_dir = data_dir
        self._durable = durable
        self._next = seq + EVERY_RECORDS

    async def run(self, pause_s: float = 1.0) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(pause_s)
            durable = self._durable()
            if durable >= self._next:
                done = await self._make(durable)
                self._next = durable + (EVERY_RECORDS if done else AGAIN_RECORDS)

    async def _make(self, up_to: int) -> bool:
        command = ["-m", "evcharge.cli.audit", "snapshot", str(self._data_dir), "--up-to", str(up_to), "--json"]
        process = await asyncio.create_subprocess_exec(
            "nice",
            f"-n{NICENESS}",
            sys.executable,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, errors = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            sentence = errors.decode(errors="replace").strip().rpartition("\n")[2]
            log.error("snapshot.failed", seq=up_to, sentence=sentence, code=process.returncode)
            return False
        self.made += 1
        log.info("snapshot.made", **msgspec.json.decode(said))
        return True


def newest_snapshot(data_dir: Path, files: Files) -> int:
    """The record behind which the newest snapshot stands; 0: there is none. Raises OSError."""
    found = list_snapshots(data_dir / "log", files)
    return found[0][0] if found else 0
