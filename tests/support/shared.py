"""Files that are beside this checkout, not in it: real data, and known answers that came from elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


def real(name: str) -> Path:
    """A file of real data; the test is skipped where it is absent, and fails in CI."""
    return _beside(f"data/{name}")


def shared(name: str) -> Any:
    """A JSON file of known answers; skipped where it is absent, a failure in CI."""
    return json.loads(_beside(name).read_text())


def lacking(sentence: str) -> NoReturn:
    """Skip the test and say why; in CI nothing may be lacking, so there it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


def _beside(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        lacking(f"../shared/{name} is not beside this checkout")
    return path
