"""Runs the tests against each mutant, in a copy of the tree and a fresh fork that has imported no code of it yet."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

# Imported here so that a fork has them already: only what is mutated, and its tests, is imported anew each time.
import cryptography.fernet  # noqa: F401
import hypothesis.strategies  # noqa: F401
import msgpack  # type: ignore[import-untyped]  # noqa: F401
import msgspec
import pytest

from tools.mutation.operators import Mutant, mutants

ROOT = Path(__file__).parents[2]
# What a copy needs for the tests to run.
COPIED = ("protocol", "evcharge", "tests", "tools", "setup.cfg", "pyproject.toml")
# A mutant may run for so many times the unchanged tests' time, and some seconds: a loop that never ends is killed too.
PATIENCE, PATIENCE_S = 3.0, 5.0
# Examples of a property: enough to find most, few enough for hundreds of runs.
EXAMPLES = 30

Verdict = Literal["killed", "timeout", "survived"]


class Module(msgspec.Struct, frozen=True):
    """A module and the tests that have to notice its mutants, quickest first."""

    path: str
    tests: tuple[str, ...]


# The tests of the open channel and of the handshake.
CHANNEL = ("tests/wire/test_connection.py", "tests/wire/test_legality.py", "tests/wire/test_channel_life.py")
OPENING = tuple(f"tests/wire/test_handshake{part}.py" for part in ("", "_keys", "_payloads", "_answers"))
MODULES = {
    "frames": Module("protocol/frames.py", ("tests/wire/test_frames.py", "tests/wire/test_spec.py", *CHANNEL)),
    "cipher": Module("protocol/cipher.py", ("tests/wire/test_cipher.py", "tests/wire/test_kat.py", *CHANNEL)),
    "noise": Module("protocol/noise.py", ("tests/wire/test_kat.py", *OPENING)),
    "handshake": Module("protocol/handshake.py", (*OPENING, "tests/wire/test_kat.py", "tests/wire/test_spec.py")),
    "states": Module("protocol/states.py", ("tests/wire/test_spec.py", *CHANNEL)),
    "journal": Module("evcharge/audit/journal.py", ("tests/audit/test_journal.py", "tests/audit/test_faults.py")),
    "recovery": Module("evcharge/audit/recovery.py", ("tests/audit/test_journal.py", "tests/audit/test_faults.py")),
}
"""The modules of the promise; noise is the inside of the handshake."""


class Result(msgspec.Struct):
    """What became of one mutant."""

    key: str
    line: int
    verdict: Verdict


class Forked:
    """The tests of one module in forks of this process, which must not have imported ``protocol`` or ``evcharge``."""

    def __init__(self, folder: Path, module: Module) -> None:
        self._folder = folder
        self._module = module
        self._limit_s = 600.0

    def unchanged(self) -> float:
        """Run the tests on the code as it is; how long they took. Raises RuntimeError when they fail."""
        began = time.monotonic()
        if self._run() != "survived":
            raise RuntimeError(f"the tests of {self._module.path} fail on the code as it is")
        took_s = time.monotonic() - began
        self._limit_s = took_s * PATIENCE + PATIENCE_S
        return took_s

    def verdict(self, source: str, mutant: Mutant) -> Verdict:
        """Run the tests on a mutant."""
        path = self._folder / self._module.path
        path.write_text(mutant.apply(source), encoding="utf-8")
        try:
            return self._run()
        finally:
            path.write_text(source, encoding="utf-8")

    def _run(self) -> Verdict:
        child = os.fork()
        if child == 0:
            os._exit(_tests(self._folder, self._module.tests))
        end = time.monotonic() + self._limit_s
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return "survived" if status == 0 else "killed"
            time.sleep(0.005)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout"


def _tests(folder: Path, tests: Sequence[str]) -> int:
    """In the fork: the tests, up to the first failure; 0 when all pass."""
    os.setpgid(0, 0)
    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry and Path(entry).resolve() != ROOT)]
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.split(".")[0] in ("protocol", "evcharge", "tests", "tools")]:
        del sys.modules[name]
    os.environ["EVCHARGE_EXAMPLES"] = str(EXAMPLES)
    plugins = ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
    return int(pytest.main(["-x", "-q", "--no-header", "--tb=no", "--hypothesis-seed=1", *plugins, *tests]))


def copy_tree(folder: Path) -> None:
    """Copy what the tests need, and what they read beside it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        (folder.parent / "shared").symlink_to(shared.resolve())


def fingerprint(name: str) -> str:
    """Of the module's source."""
    return sha256((ROOT / MODULES[name].path).read_bytes()).hexdigest()


def run_module(name: str, folder: Path, known: dict[str, Result]) -> Iterator[tuple[int, int, Result]]:
    """Each mutant's number, how many there are, and what became of it; ``known`` ones are not run again."""
    module = MODULES[name]
    source = (ROOT / module.path).read_text(encoding="utf-8")
    forked = Forked(folder, module)
    found = list(mutants(source))
    todo = [mutant for mutant in found if _full_key(mutant, source) not in known]
    if todo:
        forked.unchanged()
    for number, mutant in enumerate(found, 1):
        key = _full_key(mutant, source)
        result = known.get(key) or Result(key, mutant.line, forked.verdict(source, mutant))
        yield number, len(found), result


def _full_key(mutant: Mutant, source: str) -> str:
    """The key, with a number when the same change is possible several times in one function."""
    same = [other for other in _keys(source) if other[0] == mutant.key]
    place = [start for _, start in same].index(mutant.start)
    return mutant.key if place == 0 else f"{mutant.key} #{place + 1}"


_CACHE: dict[int, list[tuple[str, int]]] = {}


def _keys(source: str) -> list[tuple[str, int]]:
    number = hash(source)
    if number not in _CACHE:
        _CACHE[number] = [(mutant.key, mutant.start) for mutant in mutants(source)]
    return _CACHE[number]
