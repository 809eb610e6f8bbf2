"""Watching: a charge from its request to its ticket, a stop, a fault; all without a reload."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from evcharge.domain.events import HoldPlaced
from tests.browser.support import Screen
from tests.support.site import CP, DRIVER, SECOND_CP

# From the monitor's report to the page, seconds (the promise), as the browser's clock sees it.
FAULT_S = 2.0


def mark(screen: Screen) -> None:
    """A page that is loaded anew has lost this."""
    screen.page.evaluate("window.sameDocument = true")


def never_reloaded(screen: Screen) -> bool:
    return bool(screen.page.evaluate("window.sameDocument === true"))


def test_a_charge_from_its_request_to_its_ticket(operator: Screen) -> None:
    page, site = operator.page, operator.site.site
    mark(operator)
    operator.shows("free")
    driver, session_id = site.charge()
    operator.shows("supplying")
    row = operator.row()
    expect(row.locator(".c-driver")).to_contain_text(DRIVER)
    expect(row.locator(".c-kw")).to_contain_text(re.compile(r"[1-9]"))
    expect(row.locator(".c-why")).to_contain_text(re.compile(r"kW"))
    expect(page.get_by_test_id("tile-SUPPLYING").locator(".tile-value")).to_have_text("1")
    operator.open_point()
    page.get_by_role("article", name="Connector 1").get_by_role("link", name=session_id).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(session_id)
    timeline = page.locator(".timeline-panel")
    expect(timeline).to_contain_text(re.compile("authori", re.IGNORECASE))
    ticket = site.end(driver, session_id)
    expect(page.get_by_role("heading", name="Ticket")).to_be_visible()
    shown_kwh = float(page.get_by_test_id("ticket-kwh").inner_text().split()[0])
    # To a tenth; a browser and Python do not round 0.15 the same way.
    assert abs(round(shown_kwh * 1000) - ticket["energy_wh"]) <= 50
    assert never_reloaded(operator)
    seqs = [int(each) for each in timeline.locator("[data-seq]").evaluate_all("rows => rows.map(r => r.dataset.seq)")]
    assert seqs and seqs == sorted(set(seqs)), "each once and in order"
    page.get_by_role("link", name="Overview", exact=True).first.click()
    operator.shows("free")


def test_stopped_and_resumed(operator: Screen) -> None:
    mark(operator)
    page = operator.page
    operator.open_point(SECOND_CP)
    operator.command("Stop")
    expect(page.get_by_test_id("command-result")).to_contain_text("Stopped")
    expect(
        page.locator("main").get_by_text(re.compile("^\\W*Out of order|^\\W*Stopped", re.IGNORECASE)).first
    ).to_be_visible()
    assert operator.site.get(f"/api/cps/{SECOND_CP}", "operator")["holds"] == ["ADMIN"]
    operator.command("Resume")
    expect(page.get_by_test_id("command-result")).to_contain_text("Resumed")
    expect(page.get_by_role("group", name="Commands").get_by_role("button", name="Stop")).to_be_visible()
    assert operator.site.get(f"/api/cps/{SECOND_CP}", "operator")["holds"] == []
    assert never_reloaded(operator)
    rows = operator.site.get("/api/audit?kind=hold_placed", "operator")["records"]
    assert rows[-1]["by"] == "the-operator" and rows[-1]["trace"]


def test_limited(operator: Screen) -> None:
    page = operator.page
    operator.open_point(SECOND_CP)
    page.get_by_role("group", name="Commands").get_by_role("button", name="Limit …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Power").fill("-3")
    dialog.get_by_role("button", name="Limit").click()
    expect(dialog).to_contain_text("Give a power in kW")
    dialog.get_by_label("Power").fill("7.4")
    dialog.get_by_role("button", name="Limit").click()
    expect(page.get_by_test_id("command-result")).to_contain_text("Limited to 7.4 kW")
    expect(page.get_by_test_id("cp-power")).to_contain_text("limited to 7.4 kW")
    assert operator.site.get(f"/api/cps/{SECOND_CP}", "operator")["limit_w"] == 7_400
    page.get_by_role("button", name="Remove the limit").click()
    expect(page.get_by_test_id("command-result")).to_contain_text("removed")
    assert operator.site.get(f"/api/cps/{SECOND_CP}", "operator").get("limit_w") is None


def test_a_fault_is_seen_within_two_seconds_of_the_monitors_report(operator: Screen, tmp_path: Path) -> None:
    page, site = operator.page, operator.site.site
    operator.shows("free")
    faults = page.get_by_role("region", name="Faults and alerts")
    expect(faults).not_to_contain_text(CP)
    script = tmp_path / "fault.jsonl"
    told = [{"after_s": 4, "do": "fault", "code": "arc_fault"}, {"after_s": 10, "do": "recover"}]
    script.write_text("".join(json.dumps({**one, "cp_id": CP}) + "\n" for one in told))
    assert site.monitor.stop() == 0
    site.monitor = site.start_monitor("--script", script)
    site.monitor.ready()
    # The moment at which it stands there, by the clock of this machine, which is the site's.
    page.evaluate(
        """(cp) => {
            window.seen = null;
            const look = () => {
                const region = [...document.querySelectorAll("section")].find((one) => /^Faults/.test(one.innerText));
                const row = document.querySelector(`[data-cp="${cp}"] .c-why`);
                if (region?.innerText.includes(cp) && /fault/i.test(row?.textContent ?? "")) window.seen = Date.now();
                else requestAnimationFrame(look);
            };
            look();
        }""",
        CP,
    )
    operator.shows("out of order")
    page.wait_for_function("window.seen !== null")
    seen_ms = page.evaluate("window.seen")
    reported_ms = [one.stamp.at_ms for one in site.history.logged if isinstance(one.event, HoldPlaced)][-1]
    assert 0 <= seen_ms - reported_ms <= FAULT_S * 1000
    operator.shows("free")


def test_a_viewer_sees_no_driver_and_no_command(screen: Screen) -> None:
    site = screen.site.site
    driver, session_id = site.charge()
    screen.log_in("viewer")
    screen.live()
    screen.shows("supplying")
    expect(screen.row().locator(".c-driver")).to_have_text(re.compile(r"^\*\w{1,2}$"))
    screen.open_point()
    expect(screen.page.get_by_role("group", name="Commands")).to_have_count(0)
    assert DRIVER not in screen.page.content()
    screen.visit("Drivers")
    expect(screen.page.locator("main")).to_contain_text("may not see who is registered")
    assert DRIVER not in screen.page.content()
    site.end(driver, session_id)
