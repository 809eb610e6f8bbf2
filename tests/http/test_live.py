"""The stream of real processes: killed and started again while a page looks, and not a record is missed."""

from __future__ import annotations

import json
import threading
import time
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from evcharge.sidecar.settings import DRAIN_S
from tests.support.http_site import HttpSite
from tests.support.processes import until
from tests.support.site import CP

pytestmark = pytest.mark.process

# When a page comes back, as ``retry`` tells it to, and how long it may then take until it sees the site again.
RETRY_S = 1.0
RECOVERED_S = 5.0
# Longer than the stream is silent.
SILENT_S = 20.0


class Page(threading.Thread):
    """Reads the stream and comes back with its last id, as a browser does."""

    def __init__(self, http_site: HttpSite, kind: str) -> None:
        super().__init__(daemon=True)
        self._url = f"{http_site.url}/api/live"
        self._headers = {"Authorization": f"Bearer {http_site.token(kind)}"}
        self._over = threading.Event()
        self._last = ""
        self.events: list[tuple[str, Any]] = []
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            more = {"Last-Event-ID": self._last} if self._last else {}
            try:
                with urlopen(Request(self._url, headers=self._headers | more), timeout=SILENT_S) as answer:
                    self._read(answer)
            except (HTTPException, URLError, OSError, ValueError):
                # Cut within an event: what is not whole does not count.
                pass
            self._over.wait(RETRY_S)

    def _read(self, answer: Any) -> None:
        fields: dict[str, str] = {}
        for line in answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            else:
                if "event" in fields:
                    self._last = fields.get("id", self._last)
                    self.events.append((fields["event"], json.loads(fields["data"])))
                fields = {}
            if self._over.is_set():
                return

    def all(self, name: str) -> list[Any]:
        return [data for event, data in list(self.events) if event == name]

    @property
    def renewed(self) -> bool:
        """Whether it has a picture of after Central came back: one of before may still have been under way."""
        events = list(self.events)
        behind = max(number for number, (event, _) in enumerate(events) if event in ("hello", "link"))
        event, said = events[behind]
        link = said["link"] if event == "hello" else said
        return link["state"] == "connected" and "picture" in [event for event, _ in events[behind:]]

    def state(self, cp_id: str) -> str:
        """Of a charge point as the page has it."""
        state = ""
        for event, data in list(self.events):
            for row in data["charge_points"] if event == "picture" else data["rows"] if event == "points" else []:
                state = row["state"] if row["cp_id"] == cp_id else state
        return state

    def close(self) -> None:
        self._over.set()


def post(http_site: HttpSite, path: str) -> None:
    headers = {"Authorization": f"Bearer {http_site.token('operator')}", "Content-Type": "application/json"}
    with urlopen(Request(http_site.url + path, headers=headers, method="POST", data=b"")) as answer:
        assert answer.status == 200


def test_a_page_stays_right_whatever_is_killed(http_site: HttpSite) -> None:
    site = http_site.site
    page, viewer = Page(http_site, "operator"), Page(http_site, "viewer")
    try:
        for one in (page, viewer):
            until(lambda one=one: one.state(CP) == "ACTIVATED", lambda one=one: repr(one.events[-3:]))
        post(http_site, f"/api/cps/{CP}/stop")
        began = time.monotonic()
        until(lambda: page.state(CP) == viewer.state(CP) == "STOPPED")
        assert time.monotonic() - began < 2

        site.sidecar.kill()
        http_site.start_sidecar()
        up = time.monotonic()
        until(lambda: len(page.all("picture")) >= 2 and len(viewer.all("picture")) >= 2)
        assert time.monotonic() - up < RECOVERED_S
        assert page.all("hello")[-1]["resumed"] is True

        site.central.kill()
        until(lambda: page.all("link") and page.all("link")[-1]["state"] == "disconnected")
        site.central = site.start_central()
        up = time.monotonic()
        until(lambda: page.renewed)
        assert time.monotonic() - up < RECOVERED_S
        post(http_site, f"/api/cps/{CP}/resume")
        until(lambda: page.state(CP) == viewer.state(CP) == "ACTIVATED")

        until(lambda: page.all("record")[-1]["seq"] == viewer.all("record")[-1]["seq"])
        for one in (page, viewer):
            seqs = [said["seq"] for said in one.all("record")]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            assert one.all("gap") == []
        assert {said["source"] for said in viewer.all("record")} == {None}
    finally:
        page.close()
        viewer.close()


def test_a_drain_does_not_wait_for_pages(http_site: HttpSite) -> None:
    page = Page(http_site, "viewer")
    try:
        until(lambda: page.all("picture"))
        began = time.monotonic()
        code = http_site.site.sidecar.stop()
        took_s = time.monotonic() - began
        # The next test finds the site as this one did.
        http_site.start_sidecar()
        assert code == 0
        # The whole of it: parts, streams, database. Who waits for an answer that goes on is given up after this time.
        assert took_s < DRAIN_S
    finally:
        page.close()
