"""From the log on the disk to the state that Central goes on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from evcharge.audit.attest import Attestor
from evcharge.audit.control import signing_key_body, state_said
from evcharge.audit.event_codec import decode
from evcharge.audit.files import Files
from evcharge.audit.journal import Journal
from evcharge.audit.keys import CURRENT, NEXT, BadKeyFile, load, make, promote
from evcharge.audit.note import Signer
from evcharge.audit.recovery import recover
from evcharge.domain.digest import RULES, Digest
from evcharge.domain.events import PeerConnected, PeerDisconnected
from evcharge.domain.evolve import evolve
from evcharge.domain.state import Stamp, State

# Replayed records between two progress lines.
PROGRESS_EVERY = 100_000

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

    def __init__(self, state: State, *, seen: Callable[[Stamp], None]) -> None:
        """``seen`` is called with the stamp of everybody who came or went."""
        self.state = state
        self.digest = Digest(state)
        self.records = 0
        self.journal: Journal
        self.attestor: Attestor
        self._seen = seen

    def apply(self, seq: int, body: bytes) -> None:
        """One record, in order. Raises Diverged, UnknownKind, msgspec.DecodeError."""
        logged = decode(body)
        if logged is not None:
            self.digest.touch(logged.event)
            evolve(self.state, logged.event, logged.stamp)
            if isinstance(logged.event, PeerConnected | PeerDisconnected):
                self._seen(logged.stamp)
        elif (said := state_said(body)) is not None and said.rules == RULES and said.hash != self.digest.value():
            raise Diverged(seq)
        self.records += 1
        if self.records % PROGRESS_EVERY == 0:
            log.info("log.replaying", records=self.records, seq=seq)


def recall(
    state: State,
    data_dir: Path,
    files: Files,
    *,
    origin: str,
    entropy: Callable[[int], bytes],
    seen: Callable[[Stamp], None],
) -> Recalled:
    """Recover the log in ``data_dir / "log"`` into ``state``, with its signing key in ``data_dir / "log-key"``.

    ``origin`` names a log that is new. Raises LogInUse, CorruptLog, BadKeyFile, Diverged, UnknownKind, OSError.
    """
    keys = data_dir / "log-key"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.make_directory(keys)
    successor = load(keys, NEXT, files)
    current = load(keys, CURRENT, files)
    if current is None and successor is None:
        current = make(keys, CURRENT, origin, files, entropy)
    signer, retired = (current, None) if successor is None else (successor, current)
    assert signer is not None
    recalled = Recalled(state, seen=seen)
    recalled.attestor = Attestor(data_dir / "log", files, signer, retired=retired)
    recalled.journal = recover(data_dir / "log", files, recalled.apply, attestor=recalled.attestor)
    try:
        _name_key(recalled, signer, retired)
    except BaseException:
        recalled.journal.close()
        raise
    if successor is not None:
        promote(keys, files)
    recalled.attestor.signing = True
    log.info("log.replayed", records=recalled.records, sessions=len(state.sessions))
    return recalled


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
