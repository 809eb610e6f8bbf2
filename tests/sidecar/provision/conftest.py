"""Places to provision."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sidecar.provision.support import Place


@pytest.fixture
def place(tmp_path: Path, database_url: str | None) -> Place:
    return Place(tmp_path, database_url)


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(tmp_path)
