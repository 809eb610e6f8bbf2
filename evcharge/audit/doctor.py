"""What is wrong with a log, and the safe way out. Reads only; nothing here ever changes or removes a file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from evcharge.audit.checkpoints import CHECKPOINTS
from evcharge.audit.files import Files
from evcharge.audit.room import BALLAST, LOW_BYTES
from evcharge.audit.segments import BROKEN_SUFFIX, DRAFT_PREFIX, SPARE
from evcharge.audit.snapshot import usable
from evcharge.audit.tree import TREE
from evcharge.audit.verify import Progress, Report, Verification


class Finding(msgspec.Struct, frozen=True):
    """One thing to know: what, and what to do."""

    grave: bool
    """Central does not start, or should not."""
    what: str
    do: str


class Diagnosis(msgspec.Struct, frozen=True):
    """The verification and what follows from it."""

    report: Report
    findings: list[Finding]


_ANEW = "Proofs are made from the log meanwhile. Move the file away before the next start, which makes it anew."
_COPY = "First copy the whole folder somewhere safe, and work on the copy."


def examine(directory: Path, files: Files, progress: Progress | None = None) -> Diagnosis:
    """Verify, and look around. Raises OSError."""
    tree = _TreeFile(directory, files)
    verification = Verification(directory, files)
    verification.nodes = tree.compare
    report = verification.run(progress)
    findings = _damage(report, directory)
    if report.torn:
        findings.append(
            Finding(
                False,
                f"The last write was cut: {report.torn}.",
                "Nothing acknowledged is missing. Start Central: it keeps a copy of the torn file and goes on.",
            )
        )
    names = files.listdir(directory)
    broken = sorted(name for name in names if BROKEN_SUFFIX in name)
    if broken:
        findings.append(
            Finding(
                False,
                f"Torn files of earlier crashes are kept: {', '.join(broken)}.",
                "Nobody reads them; look at them or move them away.",
            )
        )
    findings += _signatures(report) + _snapshots(directory, files)
    if any(name.startswith(DRAFT_PREFIX) and name != SPARE for name in names):
        findings.append(
            Finding(False, "A start or a roll-over was interrupted (tmp- files).", "The next start removes them.")
        )
    wrong_tree = tree.finding()
    if wrong_tree is not None and report.damage is None:
        findings.append(wrong_tree)
    free = files.free(directory)
    if free < LOW_BYTES:
        ballast = directory.parent / BALLAST
        findings.append(
            Finding(
                True,
                f"The disk has {free >> 20} MiB left; below {LOW_BYTES >> 20} MiB nothing new is authorized.",
                f"Free some. If Central cannot start for want of room, remove {ballast}: it is there for that.",
            )
        )
    return Diagnosis(report, findings)


def _signatures(report: Report) -> list[Finding]:
    """What is not signed although it should be."""
    if report.damage is not None or not report.keys:
        return []
    if not report.checkpoints:
        what = f"The log names a signing key, and no checkpoint is there: none of {report.records:,} records is signed."
        return [
            Finding(True, what, f"Was the file `checkpoints` removed? {_COPY} Put it back; Central starts without.")
        ]
    if report.unread:
        what = f"Behind the last checkpoint stand {report.unread} bytes that are none."
        return [
            Finding(False, what, "A write was cut, or they were damaged. The next start drops them and signs anew.")
        ]
    return []


def _snapshots(directory: Path, files: Files) -> list[Finding]:
    """Snapshots that no start can use."""
    wrong: list[tuple[Path, str]] = []
    for _ in usable(directory, files, [], rules=None, reject=lambda path, why: wrong.append((path, why))):
        pass
    do = "A start uses another one, or replays all records. Central makes new ones by itself; it may be removed."
    return [Finding(False, f"{path.name} is of no use: {why}.", do) for path, why in wrong]


def _damage(report: Report, directory: Path) -> list[Finding]:
    damage = report.damage
    if damage is None:
        return []
    where = f"{damage.file} at offset {damage.offset}, record {damage.seq}: {damage.why}."
    if damage.file.endswith(CHECKPOINTS):
        if "no known key" in damage.why:
            do = f"{_COPY} Was the folder log-key exchanged? Put back the one that belongs to this log."
        elif "ends with record" in damage.why:
            do = (
                f"{_COPY} Records that were durable are gone: the end was cut off, or an older copy was put back. Put "
                "back the newest copy of the whole folder. If there is none, the checkpoint is the proof of what is "
                "missing: keep it, and begin a new history in an empty folder."
            )
        else:
            do = f"{_COPY} Compare the file with a backup; the records themselves may be whole ({directory})."
    else:
        do = (
            f"{_COPY} Put back this file from the last good copy; `verify` says whether it fits. Without a copy, "
            f"records 1 to {max(0, damage.seq - 1)} are sound and can be read with `show`; begin a new history in an "
            "empty folder, and keep this one."
        )
    return [Finding(True, where, do)]


class _TreeFile:
    """Compares the file of tree nodes with the nodes that the log gives."""

    def __init__(self, directory: Path, files: Files) -> None:
        self.wrong = False
        self._files = files
        self._handle = files.open(directory / TREE) if TREE in files.listdir(directory) else None
        self._offset = 0

    def compare(self, nodes: list[bytes]) -> None:
        """The next nodes."""
        expected = b"".join(nodes)
        if self._handle is not None and not self.wrong:
            self.wrong = self._files.pread(self._handle, len(expected), self._offset) != expected
        self._offset += len(expected)

    def finding(self) -> Finding | None:
        """What there is to say at the end."""
        if self._handle is None:
            return Finding(False, "The file `tree` is missing.", "The next start makes it.") if self._offset else None
        self._files.close(self._handle)
        if not self.wrong:
            return None
        return Finding(False, "The file `tree` does not fit to the log.", _ANEW)
