"""What all tests share: plain logging, and the number of hypothesis' examples (``EVCHARGE_EXAMPLES=5000`` for more)."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.site import make_registry

# Moderate, so that the whole suite stays fast; a test that needs more of them says so itself.
EXAMPLES = 40

settings.register_profile(
    "evcharge",
    max_examples=int(os.environ.get("EVCHARGE_EXAMPLES", EXAMPLES)),
    deadline=None,
    # As hypothesis' own profile for CI has it: a change that is tried there is not refused for an old mistake that was
    # found by chance. Everywhere else each run searches on.
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("evcharge")


# Marks of tests that take long: these begin first, so that none of them is alone at the end.
LONG = ("netns", "process", "tool")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests first, otherwise the order as it is; those of containers only for who asks for them."""
    if not _asks_for_containers(config):
        left = [item for item in items if item.get_closest_marker("containers") is not None]
        items[:] = [item for item in items if item.get_closest_marker("containers") is None]
        config.hook.pytest_deselected(items=left)
    items.sort(key=lambda item: not any(item.get_closest_marker(mark) for mark in LONG))


def _asks_for_containers(config: pytest.Config) -> bool:
    """They are named by ``-m`` or by their folder: to build an image and start an engine takes root and minutes."""
    named = any("tests/containers" in argument for argument in config.args)
    return named or "containers" in config.option.markexpr


@pytest.fixture(scope="session")
def made_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For every site of real processes, which takes a copy: making one is six processes, for all workers once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "registered"
    folder.mkdir(exist_ok=True)
    made = folder / "made"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.symlink_to(make_registry(Path(tempfile.mkdtemp(dir=folder))))
    return made.resolve()


@pytest.fixture(autouse=True)
def plain_logging() -> None:
    """A command that ran in this process must not leave its log level to the next test."""
    structlog.reset_defaults()
