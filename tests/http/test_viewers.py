"""Who may only look sees no driver, whatever there is to ask."""

from __future__ import annotations

import re
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.http_site import HttpSite
from tests.support.processes import until
from tests.support.site import CP, DRIVER, OTHER_DRIVER

pytestmark = pytest.mark.process


def asked(http_site: HttpSite, path: str) -> tuple[int, bytes]:
    """What a viewer is answered, whatever its form."""
    request = Request(http_site.url + path, headers={"Authorization": f"Bearer {http_site.token('viewer')}"})
    try:
        with urlopen(request) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def test_no_route_that_a_viewer_may_ask_names_a_driver(http_site: HttpSite) -> None:
    site = http_site.site
    driver, session_id = site.charge()
    until(lambda: http_site.get(f"/api/history/sessions/{session_id}", "viewer").get("session") is not None)
    told: dict[str, bytes] = {}
    for path, operations in http_site.get("/openapi.json")["paths"].items():
        if "get" not in operations or path == "/api/live":
            # The stream has tests of its own.
            continue
        named = session_id if "session" in path else CP
        status, body = asked(http_site, path.replace("{id}", named).replace("{seq}", "1"))
        if status == 200:
            told[path] = body
    site.end(driver, session_id)
    assert {"/api/cps", "/api/sessions", "/api/history/sessions/{id}", "/api/history/sessions.csv"} <= set(told)
    names = re.compile(rf"\b({DRIVER}|{OTHER_DRIVER})\b".encode(), re.IGNORECASE)
    assert [path for path, body in told.items() if names.search(body)] == []
