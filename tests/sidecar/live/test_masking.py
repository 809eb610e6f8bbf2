"""Whoever may not see drivers sees none, wherever one is named."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.net import tail
from evcharge.sidecar.live.records import RECORD_BYTES, entry_of
from evcharge.sidecar.live.sse import Audience, audience_of
from evcharge.sidecar.web.route import Principal
from evcharge.sidecar.web.scopes import ROLES, Scope
from protocol import messages as m
from tests.sidecar.live.chains import event_body, stored
from tests.sidecar.live.reading import events_of
from tests.sidecar.live.served import served
from tests.sidecar.live.site import FakeSite, charge_point

SECRET = "d-Qx7-anna-9921"
ADDRESS = "203.0.113.77"
# Where in a record a driver may stand, as events have them.
PLACES: list[tuple[str, dict[str, Any]]] = [
    ("charge_authorized", {"session_id": "s-1", "cp_id": "CP-1", "driver_id": SECRET, "energy_wh": 5}),
    ("charge_refused", {"driver_id": SECRET, "reason": "reserved", "against": [{"obstacle": "own", "at": SECRET}]}),
    ("request_refused", {"request": "end_charge", "subject": SECRET, "reason": "foreign"}),
    ("peer_connected", {"role": "driver", "entity": SECRET, "username": f"drv-{SECRET}", "boot_id": b"\0"}),
    ("peer_disconnected", {"role": "driver", "entity": SECRET, "cause": "eof"}),
    ("peer_refused", {"code": "unknown", "username": SECRET}),
    ("incident_raised", {"code": "duplicate_id", "detail": f"two of {SECRET} at {ADDRESS}"}),
    ("anomaly_seen", {"code": "stray", "cp_id": "CP-1", "detail": SECRET}),
    ("ticket_issued", {"ticket": {"ticket_id": "t-s-1", "driver_id": SECRET, "energy_wh": 5, "adjustments": [1]}}),
    ("hold_placed", {"cp_id": "CP-1", "hold": "FAULT", "detail": SECRET}),
    ("set_point_issued", {"session_id": "s-1", "grant": {"limit_w": 9, "driver_id": SECRET}, "basis": {"x": SECRET}}),
    ("set_point_issued", {"session_id": "s-1", "grant": SECRET, "adjustments": [SECRET]}),
    ("what_comes_later", {"whoever": SECRET, "nested": {"driver_id": SECRET, "list": [{"a": SECRET}]}, SECRET: 1}),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.just(SECRET) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.just("driver_id"), inner),
    max_leaves=8,
)
FREE = (
    "detail",
    "subject",
    "username",
    "entity",
    "driver_id",
    "against",
    "basis",
    "site",
    "anything",
    "ticket",
    "grant",
)


def told(body: bytes, audience: Audience) -> Any:
    (event,) = events_of(entry_of(tail.read(stored([body])[0])).written[audience])
    return event.data


@given(st.dictionaries(st.sampled_from(FREE), JSON), st.sampled_from(["driver", "engine", "operator"]))
def test_no_driver_is_in_a_viewers_record(data: dict[str, Any], role: str) -> None:
    peer = {} if role == "engine" else {"role": role}
    body = event_body("whatever", 1, actor=f"driver:{SECRET}", source=ADDRESS, **{**data, **peer})
    masked = entry_of(tail.read(stored([body])[0])).written[Audience.MASKED]
    assert SECRET.encode() not in masked
    assert ADDRESS.encode() not in masked


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(PLACES), min_size=1, max_size=8), st.integers(0, 3))
def test_no_driver_is_ever_in_a_viewers_stream(events: list[tuple[str, dict[str, Any]]], before: int) -> None:
    async def live() -> tuple[bytes, bytes]:
        site = FakeSite()
        site.put(charge_point("CP-1", driver=SECRET, session_id="s-1", why="Its need."))
        site.tables["waiting"] = [m.WaitingView(waiting_id="s-2", state="WAITING", cp_id="CP-1", driver_id=SECRET)]
        site.tables["reservations"] = [
            m.ReservationView(
                reservation_id="s-3", state="OPEN", cp_id="CP-1", connector=1, from_ms=0, until_ms=1, driver_id=SECRET
            )
        ]
        for kind, data in events[:before]:
            site.log(event_body(kind, 1, actor=f"driver:{SECRET}", source=ADDRESS, **data))
        async with served(site) as hub:
            pages = [await hub.open("viewer"), await hub.open("operator")]
            for page in pages:
                await page.next("picture")
            site.put(charge_point("CP-1", driver=SECRET, session_id="s-1", why="Another."))
            site.happen("supply_started", session_id="s-1")
            for kind, data in events[before:]:
                site.log(event_body(kind, 1, actor=f"driver:{SECRET}", source=ADDRESS, **data))
            for page in pages:
                while not page.all("points"):
                    await page.read()
                await page.until(len(site.bodies))
            return pages[0].raw, pages[1].raw

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "PACE_S", 0.0)
        viewer, operator = asyncio.run(live())
    assert SECRET.encode() not in viewer
    assert ADDRESS.encode() not in viewer
    assert b"*9921" in viewer
    # The search would find it.
    assert SECRET.encode() in operator
    assert ADDRESS.encode() in operator


@pytest.mark.parametrize(("kind", "data"), PLACES)
def test_who_may_read_the_log_gets_all_of_it(kind: str, data: dict[str, Any]) -> None:
    said = told(event_body(kind, 5, actor="driver:x", source=ADDRESS, **data), Audience.WHOLE)
    assert (said["actor"], said["source"], said["at_ms"], said["cut"]) == ("driver:x", ADDRESS, 5, False)
    assert said["data"] == msgspec.to_builtins(data)


def test_a_viewer_gets_what_the_tables_show() -> None:
    said = told(event_body("ticket_issued", 5, ticket=PLACES[8][1]["ticket"]), Audience.MASKED)
    assert said["data"] == {
        "ticket": {"ticket_id": "t-s-1", "driver_id": "*9921", "energy_wh": 5, "adjustments": [1]},
    }
    assert (said["driver_id"], said["actor"], said["source"], said["by"]) == ("*9921", None, None, None)


def test_whom_a_record_is_about() -> None:
    said = told(event_body("peer_connected", 5, role="engine", entity="CP-7"), Audience.MASKED)
    assert (said["cp_id"], said["driver_id"]) == ("CP-7", None)
    said = told(event_body("charge_queued", 5, waiting_id="s-4"), Audience.WHOLE)
    assert said["session_id"] == "s-4"


@pytest.mark.parametrize(
    "body",
    [
        event_body("central_started", 1, site="x" * RECORD_BYTES),
        msgspec.msgpack.encode(("odd", 1, {"data": {"a": msgspec.msgpack.Ext(5, b"x")}})),
        msgspec.msgpack.encode(("odd", 1, {"data": {"a": {(1, 2): 3}}})),
    ],
)
def test_what_is_too_long_or_no_json_is_said_to_be_left_out(body: bytes) -> None:
    said = told(body, Audience.WHOLE)
    assert (said["cut"], said["data"]) == (True, {})


def test_only_who_sees_both_elsewhere_sees_all() -> None:
    def audience(*scopes: Scope) -> Audience:
        return audience_of(Principal(name="x", scopes=frozenset(scopes)))

    assert audience(Scope.SITE_READ) is Audience.MASKED
    assert audience(Scope.SITE_READ, Scope.SITE_CONTROL) is Audience.MASKED
    assert audience(Scope.SITE_READ, Scope.AUDIT_READ) is Audience.MASKED
    assert audience(Scope.SITE_CONTROL, Scope.AUDIT_READ) is Audience.WHOLE
    assert audience(*ROLES["viewer"]) is Audience.MASKED
    assert audience(*ROLES["operator"]) is audience(*ROLES["admin"]) is Audience.WHOLE
    assert audience_of(None) is Audience.MASKED
