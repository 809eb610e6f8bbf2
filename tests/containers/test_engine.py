"""What the tests' engine says when it cannot be had: a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.containers import engine as module
from tests.containers.engine import Engine, EngineFailed, lacks


def test_tools_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVCHARGE_DOCKER_HOST", raising=False)
    monkeypatch.setattr(
        module, "_which", lambda tool: None if tool in ("dockerd", "mmdebstrap") else f"/usr/bin/{tool}"
    )
    why = lacks()
    assert why is not None and "dockerd, mmdebstrap" in why and "make containers" in why
    with pytest.raises(EngineFailed, match="make containers"):
        Engine()
    monkeypatch.setenv("EVCHARGE_DOCKER_HOST", "unix:///nowhere")
    assert lacks() is None, "a running engine needs no more than its client"


def test_an_engine_of_its_own_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVCHARGE_DOCKER_HOST", raising=False)
    monkeypatch.setattr(module, "_which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    why = lacks()
    assert why is not None and "root" in why and "EVCHARGE_DOCKER_HOST" in why


def test_an_engine_that_is_named_has_to_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVCHARGE_DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    engine = Engine()
    with pytest.raises(EngineFailed, match="EVCHARGE_DOCKER_HOST"), engine:
        pytest.fail("it answered")
    assert not engine.folder.exists()
