"""For everybody: every page without grave faults of access, on a phone, and with the keyboard alone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.support import PHONE, Screen
from tests.support.site import CP

PAGES = ("Overview", "History", "Substations", "Drivers", "Registration", "Audit", "Weather")


def test_no_page_shuts_anybody_out(screen: Screen) -> None:
    screen.go()
    expect(screen.page.get_by_role("button", name="Log in")).to_be_visible()
    found = {"Login": screen.grave()}
    screen.log_in("admin")
    screen.live()
    for scheme in ("light", "dark"):
        screen.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # a literal of its own kind
        for name in PAGES:
            screen.visit(name)
            found[f"{name}, {scheme}"] = screen.grave()
        screen.visit("Overview")
        screen.open_point()
        found[f"charge point, {scheme}"] = screen.grave()
    assert {name: grave for name, grave in found.items() if grave} == {}


def test_on_a_phone_nothing_is_wider_than_the_screen(screen: Screen) -> None:
    screen.page.set_viewport_size(PHONE)  # type: ignore[arg-type]  # a literal of its own kind
    screen.log_in("operator")
    screen.live()
    expect(screen.row()).to_be_visible()
    for path in ("", "history", "substations", "drivers", "registration", "audit", "weather", f"charge-points/{CP}"):
        screen.go(path)
        expect(screen.page.locator("main")).to_be_visible()
        screen.live()
        width = screen.page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"/ui/{path} is {width} wide"


def test_the_first_screen_needs_no_scrolling(operator: Screen) -> None:
    height = operator.page.evaluate("document.documentElement.scrollHeight")
    assert height <= 900
    for name in ("Energy flow", "Charge points", "Faults and alerts", "Waiting", re.compile("Plan"), "Audit log"):
        expect(operator.page.get_by_role("region", name=name)).to_be_in_viewport()


def test_with_the_keyboard_alone(screen: Screen) -> None:
    screen.go()
    page = screen.page
    expect(page.get_by_label("Client id")).to_be_focused()
    page.keyboard.type("the-operator")
    page.keyboard.press("Tab")
    page.keyboard.type(screen.accounts["operator"])
    page.keyboard.press("Enter")
    screen.live()
    page.keyboard.press("/")
    page.keyboard.type(CP)
    expect(page.get_by_test_id("row-count")).to_contain_text("1 of")
    page.keyboard.press("ArrowDown")
    expect(screen.row().get_by_role("link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name=CP)).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement?.textContent?.trim()") == "Stop":
            break
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    # While one is open no key goes anywhere.
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("h")
    expect(page.locator("main")).to_have_attribute("data-page", "History")


def test_a_wrong_secret_is_said_and_no_session_is_opened(screen: Screen, complaints: list[str]) -> None:
    screen.go()
    screen.page.get_by_label("Client id").fill("the-operator")
    screen.page.get_by_label("Client secret").fill("wrong")
    screen.page.get_by_role("button", name="Log in").click()
    expect(screen.page.get_by_role("alert")).to_contain_text("not known")
    assert screen.page.context.cookies() == []
    # Chromium itself counts each answer of 400 and more.
    assert len(complaints) == 1 and "401" in complaints.pop()


def test_logged_out_means_out(operator: Screen, context: BrowserContext) -> None:
    kept = context.cookies()
    operator.page.locator("details.menu summary").click()
    operator.page.get_by_role("button", name="Log out").click()
    expect(operator.page.get_by_role("button", name="Log in")).to_be_visible()
    assert context.cookies() == []
    context.add_cookies(kept)  # type: ignore[arg-type]  # what cookies() gives is what add_cookies() takes
    answer = context.request.get(f"{operator.site.url}/api/cps")
    assert answer.status == 401


def test_whoever_could_not_be_logged_out_is_told(operator: Screen, complaints: list[str]) -> None:
    page = operator.page
    page.route("**/ui/logout", lambda route: route.abort())
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("alert")).to_contain_text("still be logged in")
    assert page.context.cookies() != []
    assert len(complaints) == 1 and "logout" in complaints.pop()


def test_logging_out_counts_for_who_logged_in_last_in_another_tab(operator: Screen, complaints: list[str]) -> None:
    page, context = operator.page, operator.page.context
    other = Screen(context.new_page(), operator.site, operator.accounts)
    # As a second log-in does it that began before the first one was done.
    told = other.page.request.post(
        f"{operator.site.url}/ui/login",
        data={"client_id": "the-admin", "client_secret": operator.accounts["admin"]},
    )
    assert told.status == 200
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert context.cookies() == []
    # The old session's token for requests was none of the new session's.
    assert len(complaints) == 1 and "403" in complaints.pop()


@pytest.mark.parametrize("what", ["sessions", "days"])
def test_history_leaves_as_csv(operator: Screen, what: str) -> None:
    driver, session_id = operator.site.site.charge()
    ticket = operator.site.site.end(driver, session_id)
    operator.visit("History")
    link = operator.page.get_by_role("link", name=re.compile(f"{what}.*csv|csv.*{what}", re.IGNORECASE)).first
    address = link.get_attribute("href")
    assert address is not None

    def text() -> str:
        answer = operator.page.context.request.get(f"{operator.site.url}{address}")
        assert answer.ok and answer.headers["content-type"].startswith("text/csv")
        return answer.text()

    wanted = session_id if what == "sessions" else str(ticket["energy_wh"])
    for _ in range(200):
        if wanted in text() or what == "days":
            break
        operator.page.wait_for_timeout(50)
    assert text().splitlines()[0].count(",") >= 3
    assert wanted in text() or what == "days"
    with operator.page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename.endswith(".csv")
