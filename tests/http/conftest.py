"""A site with its HTTP side for clients that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_site import HttpSite, open_http
from tests.support.processes import Timeline
from tests.support.site import Loopback, Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever is the first of its file waits for six processes that start; on a busy machine that is a minute."""
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="module")
def http_site(made_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpSite]:
    """Registry, Central, two charge points, and a sidecar that is connected."""
    folder = tmp_path_factory.mktemp("http")
    with Site(folder, Loopback(), made_registry, Timeline("a site with its HTTP side")) as site:
        yield open_http(site, folder)
