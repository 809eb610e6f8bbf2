"""``python -m tests.e2e.namespaces``: the resilience cases on five hosts, told line by line. Needs root and ``ip``.

``python -m tests.e2e.namespaces central`` runs those whose name holds the word.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def main(words: list[str]) -> int:
    """Run them in the order of the file; pytest's exit code."""
    file = Path(__file__).with_name("test_namespaces.py")
    chosen = ["-k", " and ".join(words)] if words else []
    return int(pytest.main([str(file), "-s", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *chosen]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
