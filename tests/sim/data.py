"""Where the real files are, for the tests that look at them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(name: str) -> Path:
    """A real file; the test is skipped where it is not beside this checkout."""
    path = DATA / name
    if not path.exists():
        assert os.environ.get("CI") != "true", f"{path} is absent"
        pytest.skip(f"../shared/data/{name} is not beside this checkout")
    return path
