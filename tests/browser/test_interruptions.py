"""Processes die and come back while the page is open: it says so, keeps its picture, and goes on without a gap."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.support import Screen
from tests.support.processes import until
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


def test_whoever_dies_the_page_comes_back_and_a_sessions_timeline_has_no_gap(
    operator: Screen, complaints: list[str]
) -> None:
    page, site = operator.page, operator.site.site
    services = site.directory / "services.toml"
    _, session_id = site.charge()
    operator.shows("supplying")
    operator.go(f"sessions/{session_id}")
    expect(page.locator(".timeline-panel [data-seq]").first).to_be_visible()
    page.evaluate("window.sameDocument = true")

    site.sidecar.kill()
    expect(page.get_by_test_id("link-state")).to_have_text(re.compile("Stale"))
    expect(page.get_by_test_id("banner")).to_contain_text("No connection to the sidecar")
    assert back(operator, lambda: setattr(site, "sidecar", site.start_sidecar(None, "--services", services))) <= BACK_S

    site.central.kill()
    expect(page.get_by_test_id("link-state")).to_have_text("Central away")
    assert back(operator, lambda: setattr(site, "central", site.start_central())) <= BACK_S

    site.monitor.kill()
    site.monitor = site.start_monitor()
    # Its vehicle is gone with it: the session ends with what its meter has.
    site.cp.kill()
    site.cp = site.start_cp(CP)
    expect(page.get_by_test_id("ticket")).to_be_visible()
    assert page.evaluate("window.sameDocument === true"), "it was never loaded anew"

    logged = {record.seq for record in site.history.records if session_id.encode() in record.body and told(record.body)}
    path = f"/api/history/sessions/{session_id}"

    def kept() -> list[int]:
        rows = operator.site.get(path, "operator")["timeline"]
        return [row["seq"] for row in rows if row["kind"] != "meter_sampled"]

    until(lambda: logged <= set(kept()))
    until(lambda: timeline(operator) == kept(), lambda: f"{timeline(operator)} on the page, {kept()} in the history")
    seen = timeline(operator)
    assert seen == sorted(set(seen)) and logged <= set(seen), "each once, in order, and none is missing"
    # While somebody was away each attempt to reach him was told.
    complaints[:] = [one for one in complaints if "net::ERR_" not in one and "status of 503" not in one]


def told(body: bytes) -> bool:
    """Whether a record of a session belongs into its timeline."""
    kinds = ("charge_authorized", "set_point_issued", "supply_started", "supply_ended", "ticket_issued")
    return any(kind.encode() in body[:32] for kind in kinds)
