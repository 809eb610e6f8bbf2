"""A process whose wall clock can be stepped from outside, by a library that is preloaded into it (``step_clock.c``).

``python -m tools.drill.stepped LIBRARY FILE MODULE ARGUMENTS…`` becomes ``python -m MODULE ARGUMENTS…`` on that clock.
The machine's own clock stays as it is, and so do the monotonic clocks, as with a real step.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("step_clock.c")
# What the library adds to the wall clock: a signed number of nanoseconds.
_OFFSET = struct.Struct("=q")
# Longest time that the compiler may take, seconds.
COMPILE_S = 60.0


class NoCompiler(Exception):
    """The library cannot be made here; the sentence says what to install."""


def build(folder: Path) -> Path:
    """Compile the library into ``folder``. Raises NoCompiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        raise NoCompiler("clock steps need Linux and a C compiler (apt-get install gcc): nothing was measured.")
    library = folder / "step_clock.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S, check=False)  # our own source
    if done.returncode != 0:
        raise NoCompiler(f"{compiler} cannot build {SOURCE.name}: nothing was measured.\n{done.stderr.strip()}")
    return library


class StepClock:
    """The offset of one wall clock; several processes may share it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.offset_s = 0.0
        self.file.write_bytes(_OFFSET.pack(0))

    def step(self, by_s: float) -> None:
        """Move the clock, forwards or back; every process that uses it sees that at once."""
        self.offset_s += by_s
        with self.file.open("r+b") as file:
            file.write(_OFFSET.pack(int(self.offset_s * 1e9)))

    def wrap(self, library: Path, *arguments: str) -> list[str]:
        """The arguments of Python for ``-m ARGUMENTS`` on this clock."""
        return ["-m", "tools.drill.stepped", str(library), str(self.file), *arguments]


def main() -> None:
    """Become the program, with the library in front."""
    library, file, *program = sys.argv[1:]
    environment = {**os.environ, "LD_PRELOAD": library, "STEP_CLOCK_FILE": file}
    os.execve(sys.executable, [sys.executable, "-m", *program], environment)  # the same interpreter


if __name__ == "__main__":
    main()
