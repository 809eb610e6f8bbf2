"""From the log on the disk to the state that Central goes on with."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from evcharge.audit.attest import Attestor
from evcharge.audit.control import signing_key_body, state_said
from evcharge.audit.event_codec import decode
from evcharge.audit.files import Files
from evcharge.audit.journal import Journal
from evcharge.audit.keys import CURRENT, NEXT, BadKeyFile, load, make, promote
from evcharge.audit.merkle import Frontier
from evcharge.audit.note import Signer, Verifier
from evcharge.audit.recovery import recover
from evcharge.audit.replay import FROM_THE_FIRST, Start
from evcharge.audit.snapshot import BadSnapshot, Snapshot, snapshot_name, start_of, usable, verifiers
from evcharge.audit.threads import Threads
from evcharge.domain.digest import RULES, fingerprint
from evcharge.domain.events import PeerConnected, PeerDisconnected
from evcharge.domain.evolve import evolve
from evcharge.domain.state import State
from evcharge.domain.words import Stamp

# Replayed records between two progress lines.
PROGRESS_EVERY = 100_000
# Records between two comparisons of the whole state with what the log says of it: each costs as much as thousands of
# records. Every hash is compared by `evcharge-audit verify --state`, and by the process that makes snapshots.
CHECK_EVERY = 100_000
_COMINGS_AND_GOINGS = frozenset({PeerConnected, PeerDisconnected})
# Addresses that are remembered; as many as the front door does (net.sources).
SOURCES_KEPT = 8_192

log = structlog.get_logger()


class Diverged(Exception):
    """A replay gave another state than Central had when it wrote the log."""

    def __init__(self, seq: int) -> None:
        super().__init__(
            f"replaying the audit log gives another state than Central had at record {seq}. Nothing was changed. "
            "Start the version of evcharge that wrote the log, and report this with both versions."
        )
        self.seq = seq


class Recalled:
    """What a replay has made; ``journal`` is ready to be started."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.records = 0
        """Records that were replayed."""
        self.seq = 0
        """The last one of a snapshot from which it began; 0: it began with the first record."""
        self.sources: dict[str, int] = {}
        """Address → when a peer came from there or left last, channel clock ms."""
        self.journal: Journal
        self.attestor: Attestor
        self._check_at = 0

    def apply(self, seq: int, body: bytes) -> None:
        """One record, in order. Raises Diverged, UnknownKind, msgspec.DecodeError."""
        logged = decode(body)
        if logged is not None:
            evolve(self.state, logged.event, logged.stamp)
            if type(logged.event) in _COMINGS_AND_GOINGS:
                remember_source(self.sources, logged.stamp)
        elif self.records >= self._check_at and (said := state_said(body)) is not None and said.rules == RULES:
            self._check_at = self.records + CHECK_EVERY
            if said.hash != fingerprint(self.state):
                raise Diverged(seq)
        self.records += 1
        if self.records % PROGRESS_EVERY == 0:
            log.info("log.replaying", records=self.records, seq=seq)

    def take(self, snapshot: Snapshot) -> None:
        """Begin with a snapshot. Raises BadSnapshot."""
        try:
            state = msgspec.msgpack.decode(snapshot.state, type=State)
        except msgspec.MsgspecError as error:
            raise BadSnapshot(f"the state cannot be read: {error}") from None
        if fingerprint(state) != snapshot.head.state_hash:
            raise BadSnapshot("the state is not the one that was meant")
        self.state, self.seq = state, snapshot.head.seq
        self.sources = dict(snapshot.head.sources)


def remember_source(sources: dict[str, int], stamp: Stamp) -> None:
    """A peer of this address was there. Those that were not seen for longest are forgotten first."""
    if stamp.source:
        sources.pop(stamp.source, None)
        sources[stamp.source] = stamp.clock_ms
        if len(sources) > SOURCES_KEPT:
            del sources[next(iter(sources))]


def recall(
    data_dir: Path,
    files: Files,
    *,
    origin: str,
    entropy: Callable[[int], bytes],
    threads: Threads | None = None,
) -> Recalled:
    """Recover the log in ``data_dir / "log"``, with its signing key in ``data_dir / "log-key"``.

    ``origin`` names a log that is new; ``threads``: where its writer runs. Raises LogInUse, CorruptLog, BadKeyFile,
    Diverged, UnknownKind, OSError.
    """
    keys, directory = data_dir / "log-key", data_dir / "log"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.make_directory(keys)
    files.make_directory(directory)
    successor = load(keys, NEXT, files)
    current = load(keys, CURRENT, files)
    fresh = current is None and successor is None
    if fresh:
        current = make(keys, CURRENT, origin, files, entropy)
    signer, retired = (current, None) if successor is None else (successor, current)
    assert signer is not None
    recalled = Recalled(State())
    recalled.attestor = Attestor(directory, files, signer, retired=retired)
    # What a replay builds stays: looking at it again and again for garbage took a third of the time.
    gc.disable()
    try:
        _recover(recalled, directory, files, signer, retired, threads)
    finally:
        gc.enable()
    if successor is not None:
        promote(keys, files)
    recalled.attestor.signing = True
    if current is not None and not fresh and recalled.seq == 0 and recalled.records <= 1:
        log.warning("log.new_history", sentence=f"{directory} was empty, and {keys} was not: did the log get lost?")
    log.info("log.replayed", records=recalled.records, since=recalled.seq, sessions=len(recalled.state.sessions))
    return recalled


def _recover(
    recalled: Recalled,
    directory: Path,
    files: Files,
    signer: Signer,
    retired: Signer | None,
    threads: Threads | None,
) -> None:
    start = resume(recalled, directory, files, [each.verifier for each in (signer, retired) if each is not None])
    recalled.journal = recover(
        directory, files, recalled.apply, attestor=recalled.attestor, start=start, threads=threads
    )
    try:
        _name_key(recalled, signer, retired)
    except BaseException:
        recalled.journal.close()
        raise


def resume(recalled: Recalled, directory: Path, files: Files, keys: Sequence[Verifier]) -> Start:
    """Begin with the newest snapshot that can be used, and where the replay goes on. Raises OSError."""

    def reject(path: Path, why: str) -> None:
        log.warning("snapshot.unusable", file=str(path), why=why)

    for found in usable(directory, files, keys, rules=RULES, reject=reject):
        try:
            head = found.head
            start, named = start_of(head, directory, files), verifiers(head.keys)
            frontier = Frontier(head.seq, head.edge)
            recalled.take(found)
        except (BadSnapshot, ValueError) as error:
            reject(directory / snapshot_name(found.head.seq), str(error))
        else:
            recalled.attestor.resume(frontier, named)
            return start
    return FROM_THE_FIRST


def _name_key(recalled: Recalled, signer: Signer, retired: Signer | None) -> None:
    """Have the log name the key that signs it, before it signs anything new. Raises BadKeyFile, OSError."""
    named = recalled.attestor.key
    if named == signer.verifier:
        return
    if named is not None and (retired is None or retired.verifier != named):
        raise BadKeyFile(
            f"the log is signed by the key {named}, and {signer.verifier} is another one. "
            "Put back the folder log-key from a backup."
        )
    recalled.journal.append(signing_key_body(signer.verifier, retired if named is not None else None))
    recalled.journal.flush()
