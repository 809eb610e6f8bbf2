"""A person before the page: what she does, and what she sees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.support.http_site import HttpSite
from tests.support.site import CP

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREEN = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
AXE = Path(__file__).parents[2] / "evcharge" / "sidecar" / "page" / "node_modules" / "axe-core" / "axe.min.js"
# What axe-core calls grave; moderate and minor findings are for people to weigh.
GRAVE = ("serious", "critical")


class Screen:
    """One tab."""

    def __init__(self, page: Page, site: HttpSite, accounts: dict[str, str]) -> None:
        self.page = page
        self.site = site
        self.accounts = accounts

    # --- what she does

    def go(self, path: str = "") -> None:
        """Open an address below the page."""
        self.page.goto(f"{self.site.url}/ui/{path}")

    def log_in(self, role: str) -> None:
        """Open the page and log in."""
        self.go()
        self.page.get_by_label("Client id").fill(f"the-{role}")
        self.page.get_by_label("Client secret").fill(self.accounts[role])
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("navigation", name="Pages")).to_be_visible()

    def visit(self, name: str) -> None:
        """Follow a link of the navigation."""
        self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()
        expect(self.page.locator("main")).to_have_attribute("data-page", re.compile(f"^{name}"))

    def open_point(self, cp_id: str = CP) -> None:
        """From the table to the charge point's own page."""
        self.row(cp_id).get_by_role("link", name=cp_id, exact=True).click()
        expect(self.page.get_by_role("heading", level=1, name=cp_id)).to_be_visible()

    def command(self, what: str) -> None:
        """Give an order on a charge point's page and confirm it."""
        self.page.get_by_role("group", name="Commands").get_by_role("button", name=what, exact=True).click()
        self.page.get_by_role("dialog").get_by_role("button", name=what, exact=True).click()

    # --- what she sees

    def live(self) -> None:
        """The picture is there and fresh."""
        expect(self.page.get_by_test_id("link-state")).to_have_text("Live")

    def row(self, cp_id: str = CP) -> Locator:
        """A charge point's row in the table."""
        return self.page.locator(f'[data-cp="{cp_id}"]')

    def shows(self, state: str, cp_id: str = CP) -> None:
        """The table says so."""
        expect(self.row(cp_id).locator(".c-state")).to_have_text(re.compile(state, re.IGNORECASE))

    def number(self, test_id: str) -> float:
        """The figure of a tile."""
        text = self.page.get_by_test_id(test_id).locator(".tile-value").inner_text()
        found = re.search(r"[\d.,]+", text)
        assert found is not None, text
        return float(found[0].replace(",", ""))

    def grave(self) -> list[str]:
        """What axe-core finds that shuts people out."""
        # Through the debugger, not the page: its policy runs no script of others.
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: dict[str, Any] = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]}"
            for one in found["violations"]
            if one["impact"] in GRAVE
        ]
