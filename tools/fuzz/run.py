"""Fuzzing processes, their sums over several runs, and what was promised of them."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from tools.fuzz.seeds import seeds, write
from tools.fuzz.watch import FLAT_MIB, LOOK_EVERY, SLOWEST_S, Figures

NAMES: Final = ("decoder", "handshake", "channel")
CORPUS = Path(__file__).parents[2] / "tests" / "fuzz_corpus"
ROOT = Path(__file__).parents[2]
# Longest input, in bytes: longer ones repeat what shorter ones reach, and cost their time.
MAX_LEN = 1_024
# Lines of a failed process that are shown, and bytes of the input that broke it.
TAIL = 30
MAX_SHOWN = 2_048


def have_atheris() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


class Run:
    """One process that fuzzes one target. ``corpus`` None: a copy of the kept one, which stays as it is."""

    def __init__(
        self, name: str, *, seed: int, runs: int | None, seconds: int | None, corpus: Path | None = None
    ) -> None:
        self.name = name
        self.figures = Figures()
        self.broken_input: bytes | None = None
        self._limits = [f"-seed={seed}", f"-max_len={MAX_LEN}", "-print_final_stats=0", "-verbosity=0"]
        if runs is not None:
            self._limits.append(f"-runs={runs}")
        if seconds is not None:
            self._limits.append(f"-max_total_time={seconds}")
        self._idle = runs == 0
        self._corpus = corpus
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Run:
        """Begin; does nothing when all inputs were run before."""
        if self._idle:
            return self
        self._scratch = tempfile.TemporaryDirectory(prefix="evcharge-fuzz-")
        folder = Path(self._scratch.name)
        corpus = self._corpus or folder / "corpus"
        write(corpus, seeds(self.name))
        kept = [str(CORPUS / self.name)] if (CORPUS / self.name).is_dir() else []
        command = [sys.executable, "-m", "tools.fuzz.child", self.name, str(folder / "figures"), "fuzz"]
        self._process = subprocess.Popen(
            [*command, *self._limits, f"-artifact_prefix={folder}/", str(corpus), *kept],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        return self

    def wait(self, say: Callable[[str], None]) -> None:
        """Until it ends. A broken promise is said with its input."""
        if self._process is None or self._scratch is None:
            say(f"{self.name}: all inputs were run before")
            return
        try:
            _, errors = self._process.communicate()
        finally:
            self._process.kill()
        folder = Path(self._scratch.name)
        figures = folder / "figures"
        if figures.exists():
            self.figures = msgspec.json.decode(figures.read_bytes(), type=Figures)
        for path in [*folder.glob("crash-*"), *folder.glob("timeout-*"), *folder.glob("oom-*")]:
            self.broken_input = path.read_bytes()
        if self._process.returncode != 0:
            say("\n".join(errors.splitlines()[-TAIL:]))
            if self.broken_input is not None:
                shown = self.broken_input[:MAX_SHOWN].hex()
                say(f"{self.name}: this input, as hex: {shown}")
                say(f"save it (xxd -r -p > input) and run: python -m tools.fuzz reproduce {self.name} input")
            self.figures.broken = max(1, self.figures.broken)
        say(f"{self.name}: {self.figures.inputs:,} inputs, slowest {self.figures.slowest_ms:.1f} ms")
        self._scratch.cleanup()


def left(wanted: int, done: int) -> int:
    """Inputs that are still to be run, in whole steps of what a process counts at once."""
    return -(-max(0, wanted - done) // LOOK_EVERY) * LOOK_EVERY


def merge(name: str, small: Path, found: Path) -> None:
    """Copy into ``small`` the fewest inputs of ``found`` that reach all that ``found`` reaches.

    Raises CalledProcessError.
    """
    with tempfile.TemporaryDirectory(prefix="evcharge-fuzz-") as scratch:
        # libFuzzer starts itself anew for each crash that it meets, by its own name.
        again = Path(scratch, "again")
        command = shlex.join(
            [sys.executable, "-m", "tools.fuzz.child", name, str(Path(scratch, "figures")), str(again)]
        )
        again.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {command} "$@"\n', encoding="utf-8")
        again.chmod(0o700)
        arguments = [str(again), "-merge=1", "-max_len=512", str(small), str(found)]
        subprocess.run(arguments, check=True, capture_output=True)


class Promised:
    """The sums of all runs, kept in a file when there is one."""

    def __init__(self, path: Path | None, sums: dict[str, Figures]) -> None:
        self._path = path
        self._sums = sums

    @classmethod
    def load(cls, path: Path | None) -> Promised:
        """Go on with ``path``; begin anew when it is missing or None."""
        known = path is not None and path.exists()
        return cls(path, msgspec.json.decode(path.read_bytes(), type=dict[str, Figures]) if path and known else {})

    def figures(self, name: str) -> Figures:
        """The sums of one target."""
        return self._sums.setdefault(name, Figures())

    def add(self, run: Run) -> None:
        """Take a finished run into account."""
        self.figures(run.name).add(run.figures)
        if self._path is not None:
            draft = self._path.with_suffix(".tmp")
            draft.write_bytes(msgspec.json.encode(self._sums))
            draft.replace(self._path)

    def kept(self) -> bool:
        """Whether every promise was."""
        return all(
            sums.inputs > 0 and not sums.broken and sums.slowest_ms <= SLOWEST_S * 1000 and sums.grown_mib <= FLAT_MIB
            for sums in self._sums.values()
        )

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "kept": self.kept(),
            "inputs": sum(sums.inputs for sums in self._sums.values()),
            "targets": {name: msgspec.to_builtins(sums) for name, sums in self._sums.items()},
        }

    def items(self) -> list[tuple[str, Figures]]:
        """Target and sums."""
        return list(self._sums.items())


def summary(promised: Promised) -> str:
    """For people: what was promised and what was measured."""
    lines = [
        f"{'target':10} {'inputs':>12} {'slowest':>10} {'memory':>16} {'broken':>7}   share of inputs that reached"
    ]
    for name, sums in promised.items():
        deep = ", ".join(f"{what} {count / sums.inputs:.1%}" for what, count in sorted(sums.reached.items()))
        grown = f"{sums.settled_mib:.0f} +{sums.grown_mib:.0f} MiB" if sums.settled_mib else "not settled"
        lines.append(f"{name:10} {sums.inputs:>12,} {sums.slowest_ms:>7.1f} ms {grown:>16} {sums.broken:>7}   {deep}")
    verdict = "kept" if promised.kept() else "BROKEN"
    inputs = sum(sums.inputs for _, sums in promised.items())
    lines.append(
        f"{inputs:,} inputs; promised: nothing but RemoteProtocolError, at most {SLOWEST_S * 1000:.0f} ms an input, "
        f"memory flat (+{FLAT_MIB} MiB): {verdict}"
    )
    return "\n".join(lines)
