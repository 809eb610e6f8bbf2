"""Registering a charge point by the page, and its secret at work."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.support import Screen

NEW = "CP-77"


def test_a_charge_point_is_registered_and_its_secret_opens_the_door(screen: Screen) -> None:
    page, site = screen.page, screen.site.site
    screen.log_in("admin")
    screen.live()
    screen.visit("Registration")
    form = page.get_by_role("form", name="Register")
    form.get_by_label("Name", exact=True).fill("no such name!")
    form.get_by_role("button", name="Register").click()
    expect(form).to_contain_text("letters, digits")
    form.get_by_label("Name", exact=True).fill(NEW)
    form.get_by_role("button", name="Register").click()
    shown = page.get_by_test_id("secret")
    expect(shown).to_contain_text("evc1_")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the credential file").click()
    assert download.value.suggested_filename.endswith(".json")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    credential = json.loads(text)
    assert credential["entity"] == NEW and credential["password"].startswith("evc1_")
    folder = site.registry / "cps" / NEW
    folder.mkdir(mode=0o700)
    path = folder / f"{NEW}.json"
    path.write_text(text)
    path.chmod(0o600)
    site.start_cp(NEW, plugged=False)
    page.get_by_role("link", name="Overview", exact=True).first.click()
    screen.shows("free", NEW)
    # It was shown once: the page has forgotten it.
    screen.visit("Registration")
    expect(page.get_by_test_id("secret")).to_have_count(0)
    assert credential["password"] not in page.content()


def test_the_name_of_somebody_else_is_refused_with_a_sentence(screen: Screen, complaints: list[str]) -> None:
    screen.log_in("admin")
    screen.visit("Registration")
    form = screen.page.get_by_role("form", name="Register")
    form.get_by_label("Name", exact=True).fill("CP-1")
    form.get_by_role("button", name="Register").click()
    expect(form.get_by_role("alert")).to_contain_text(re.compile("registered|exists|taken", re.IGNORECASE))
    # Chromium itself counts each answer of 400 and more.
    assert len(complaints) == 1 and "409" in complaints.pop()


def test_an_operator_is_told_why_not(operator: Screen) -> None:
    operator.visit("Registration")
    expect(operator.page.get_by_role("form", name="Register")).to_have_count(0)
    expect(operator.page.locator("main")).to_contain_text("registry:write")
