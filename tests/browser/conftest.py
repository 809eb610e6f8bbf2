"""Debian's Chromium before a whole site of real processes; whatever the page complains about fails its test.

Nothing may be asked of another host, no console error and no error of the page's own may come. Chromium itself is not
told to fetch anything.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.browser.support import CHROMIUM, FLAGS, SCREEN, Screen
from tests.support.http_site import HttpSite, add_client, open_http
from tests.support.processes import Timeline
from tests.support.site import Loopback, Site

# Longest wait for any fact on the page, milliseconds: two cores may be busy with other tests.
PATIENCE_MS = 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them start processes."""
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.process)
            item.add_marker(pytest.mark.timeout(300))


# Not for the whole session: while Playwright is there, its own event loop counts as running in this thread, and no
# other test that comes later could run one.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is not here; make system-deps installs it")
        pytest.skip(
            f"{CHROMIUM} is not here; 'make system-deps' as root, or apt-get install chromium fonts-dejavu-core"
        )
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def page_registry(made_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry of every site before it has accounts; they are made in it once."""
    folder = tmp_path_factory.mktemp("page-registry") / "registry"
    shutil.copytree(made_registry, folder)
    return folder


@pytest.fixture(scope="session")
def accounts(page_registry: Path) -> dict[str, str]:
    """Role → secret of the person who has it; their names are the roles'."""
    return {
        role: add_client(page_registry, f"the-{role}", "--role", role)["client_secret"]
        for role in ("viewer", "operator", "admin")
    }


@pytest.fixture(scope="module")
def site(page_registry: Path, accounts: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpSite]:
    """Registry, Central, two charge points, a monitor, and a sidecar that is connected."""
    folder = tmp_path_factory.mktemp("page")
    with Site(folder, Loopback(), page_registry, Timeline("a site with its page")) as site:
        yield open_http(site, folder)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that knows nothing yet."""
    context = browser.new_context(viewport=SCREEN, locale="en-GB", timezone_id="Europe/Berlin")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def complaints(context: BrowserContext, site: HttpSite) -> Iterator[list[str]]:
    """What the page complains about; a test that expects one takes it out."""
    found: list[str] = []
    host = urlsplit(site.url).netloc

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def asked(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != host:
            found.append(f"asked {request.url}")

    def opened(page: Page) -> None:
        page.on("pageerror", lambda error: found.append(f"page error: {error}"))

    context.on("console", said)
    context.on("request", asked)
    context.on("page", opened)
    yield found
    assert found == []


@pytest.fixture
def screen(context: BrowserContext, complaints: list[str], site: HttpSite, accounts: dict[str, str]) -> Screen:
    """The page, nobody logged in."""
    return Screen(context.new_page(), site, accounts)


@pytest.fixture
def operator(screen: Screen) -> Screen:
    """The first screen as an operator sees it, live."""
    screen.log_in("operator")
    screen.live()
    return screen
