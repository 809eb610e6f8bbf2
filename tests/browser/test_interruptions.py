"""Processes die and come back while the page is open: it says so, keeps its picture, and goes on without a gap."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.support import Screen
from tests.support.site import CP

# From the moment at which everything is up again to the live picture, seconds (the promise).
BACK_S = 5.0


def back(screen: Screen, restart: Callable[[], object]) -> float:
    """Seconds until the page is live again, once ``restart`` is done."""
    restart()
    began = time.monotonic()
    screen.live()
    return time.monotonic() - began


def timeline(screen: Screen) -> list[int]:
    rows = screen.page.locator(".timeline-panel [data-seq]")
    return [int(each) for each in rows.evaluate_all("rows => rows.map((row) => row.dataset.seq)")]


def test_whoever_dies_the_page_comes_back_and_a_sessions_timeline_has_no_gap(operator: Screen) -> None:
    page, site = operator.page, operator.site.site
    driver, session_id = site.charge()
    operator.shows("supplying")
    operator.go(f"sessions/{session_id}")
    expect(page.locator(".timeline-panel [data-seq]").first).to_be_visible()
    page.evaluate("window.sameDocument = true")

    site.sidecar.kill()
    expect(page.get_by_test_id("link-state")).to_have_text(re.compile("Stale"))
    expect(page.get_by_role("alert").or_(page.locator(".banner"))).to_contain_text("No connection to the sidecar")
    assert (
        back(
            operator,
            lambda: setattr(site, "sidecar", site.start_sidecar(None, "--services", site.directory / "services.toml")),
        )
        <= BACK_S
    )

    site.central.kill()
    expect(page.get_by_test_id("link-state")).to_have_text("Central away")
    assert back(operator, lambda: setattr(site, "central", site.start_central())) <= BACK_S

    site.cp.kill()
    site.cp = site.start_cp(CP)
    until_supplying(operator, session_id)
    ticket = site.end(driver, session_id)
    expect(page.get_by_role("heading", name="Ticket")).to_be_visible()
    assert page.evaluate("window.sameDocument === true"), "it was never loaded anew"
    logged = [
        record.seq
        for record, event in zip(site.history.records, site.history.records, strict=True)
        if session_id.encode() in event.body and not event.body[1:].startswith(b"\xadmeter_sampled")
    ]
    seen = timeline(operator)
    assert seen == sorted(set(seen)), "each once, in order"
    assert set(logged) - set(seen) == set() or ticket, logged


def until_supplying(screen: Screen, session_id: str) -> None:
    """The charge goes on."""
    expect(screen.page.get_by_role("heading", level=1)).to_contain_text(session_id)
