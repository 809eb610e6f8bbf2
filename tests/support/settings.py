"""Settings of a Central that is not started, and what an operator reads of a mistake in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evcharge.central.settings import Settings


def settings(tmp_path: Path, **values: Any) -> Settings:
    given: dict[str, Any] = {"data_dir": tmp_path, "registry_url": "http://127.0.0.1:1"}
    return Settings(**(given | values))


def site_file(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return settings(tmp_path, site_file=path)


def sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    """What the operator reads: one line that ends like a sentence and names no exception."""
    text = str(error.value)
    assert "\n" not in text and text.endswith((".", "`?")) and not text.endswith("..")
    assert "Error" not in text and "Traceback" not in text
    return text
