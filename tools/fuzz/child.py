"""One fuzzing process: ``python -m tools.fuzz.child TARGET FIGURES SELF libFuzzer-arguments``. It never returns.

``SELF`` is the command by which libFuzzer starts more of the same; only a merge does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # it ships no types


def main() -> None:
    """Instrument the protocol while it is imported, then hand over."""
    name, figures, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["protocol"]):
        from tools.fuzz.targets import TARGETS
    from tools.fuzz.watch import Watch

    watch = Watch(TARGETS[name], Path(figures))
    atheris.Setup(arguments, watch)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
