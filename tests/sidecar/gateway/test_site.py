"""The site's tables over HTTP, who sees which names, and stop, resume and limit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.net.answers import CentralAway, RequestRefused
from evcharge.sidecar.gateway.site import masked
from protocol import messages as m
from tests.sidecar.gateway.support import FakeLink, Http


class Tables:
    """Central's tables, paged as Central pages them."""

    def __init__(self, link: FakeLink, **tables: list[Any]) -> None:
        self.tables = tables
        self.page = 100
        link.says = self.answer

    def answer(self, message: m.Message) -> m.Reply | Exception:
        if isinstance(message, m.Stop | m.Resume):
            return self.hold(message)
        if isinstance(message, m.LimitChargePoint):
            return self.limit(message)
        assert isinstance(message, m.Query)
        rows = self.tables.get(message.what, [])
        if message.one is not None:
            found = [row for row in rows if key(row) == message.one]
            code = f"unknown_{message.what[:-1]}"
            return m.Reply(re=0, **{message.what: found}) if found else RequestRefused(code, "There is none.")
        behind = sorted((row for row in rows if key(row) > (message.after or "")), key=key)
        shown = behind[: self.page]
        following = key(shown[-1]) if len(shown) < len(behind) else None
        return m.Reply(re=0, next=following, **{message.what: shown})

    def hold(self, order: m.Stop | m.Resume) -> m.Reply | Exception:
        rows = self.tables["charge_points"]
        if order.cp_id is not None and order.cp_id not in map(key, rows):
            return RequestRefused("unknown_charge_point", "There is none.")
        for place, row in enumerate(rows):
            if order.cp_id in (None, row.cp_id):
                others = [hold for hold in row.holds if hold != "ADMIN"]
                holds = [*others, "ADMIN"] if isinstance(order, m.Stop) else others
                rows[place] = msgspec.structs.replace(row, holds=holds, state="STOPPED" if holds else "ACTIVATED")
        return m.Reply(re=0)

    def limit(self, order: m.LimitChargePoint) -> m.Reply | Exception:
        rows = self.tables["charge_points"]
        for place, row in enumerate(rows):
            if order.cp_id == row.cp_id:
                rows[place] = msgspec.structs.replace(row, limit_w=order.limit_w)
                return m.Reply(re=0)
        return RequestRefused("unknown_charge_point", "There is none.")


def key(row: Any) -> str:
    return str(getattr(row, row.__struct_fields__[0]))


def points(*names: str, **more: Any) -> list[m.ChargePointView]:
    return [m.ChargePointView(cp_id=name, state="ACTIVATED", substation_id="north", **more) for name in names]


def a_ticket(session_id: str) -> m.TicketView:
    return m.TicketView(
        ticket_id=f"t-{session_id}",
        session_id=session_id,
        cp_id="CP-1",
        driver_id="driver-12345",
        substation_id="north",
        start_ms=1,
        end_ms=2,
        duration_s=3,
        energy_wh=4,
        price_e4=5,
        amount_minor=6,
        currency="EUR",
        status="COMPLETED",
        reason="target_reached",
        average_w=7,
        co2_g=8,
        adjustments=[-9],
    )


# --- tables -----------------------------------------------------------------------------------------------------------


async def test_status_with_and_without_central(link: FakeLink, http: Http) -> None:
    link.say(totals=m.TotalsView(sessions=3, authorized=2, refused=1, energy_wh=5_000))
    told = await http.get("/status", "viewer")
    assert (told["version"], told["central"], told["totals"]["energy_wh"]) == ("1.2.3", "connected", 5_000)
    link.fail(CentralAway("gone"))
    link.state = "disconnected"
    assert await http.get("/status") == {"version": "1.2.3", "central": "disconnected", "totals": None}


async def test_substations(link: FakeLink, http: Http) -> None:
    row = m.SubstationView(substation_id="north", capacity_w=9, worst_case_w=8, load_w=7, sessions=6, utilisation=5)
    Tables(link, substations=[row])
    told = await http.get("/substations")
    assert told["next"] is None
    assert told["substations"] == [
        {
            "substation_id": "north",
            "parent": None,
            "capacity_w": 9,
            "limit_w": None,
            "base_w": 0,
            "worst_case_w": 8,
            "load_w": 7,
            "sessions": 6,
            "home_sessions": 0,
            "health": "UP",
            "since_ms": None,
            "utilisation_percent": 5,
            "measured_w": None,
            "measured_age_ms": None,
            "offered_w": 0,
            "fallback_w": 0,
        }
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("page", [1, 3, 100])
async def test_pages_have_every_row_once(link: FakeLink, http: Http, limit: int, page: int) -> None:
    names = [f"CP-{number}" for number in range(7)]
    Tables(link, charge_points=points(*names)).page = page
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        told = await http.get(f"/api/cps?limit={limit}&after={after}")
        assert 1 <= len(told["charge_points"]) <= min(limit, page)
        found += [row["cp_id"] for row in told["charge_points"]]
        after = told["next"]
    assert found == names


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=" + "x" * 65, "page=2"])
async def test_a_bad_page_is_named(link: FakeLink, http: Http, query: str) -> None:
    status, body, _ = await http.ask("GET", f"/api/tickets?{query}")
    assert (status, len(body["fields"])) == (422, 1)


async def test_viewers_see_the_end_of_a_drivers_name_and_operators_all(link: FakeLink, http: Http) -> None:
    connector = m.ConnectorView(
        connector=1, state="SUPPLYING", session_id="s-1", driver="driver-12345", reason="shared"
    )
    session = m.SessionView(session_id="s-1", state="SUPPLYING", cp_id="CP-1", driver_id="driver-12345")
    Tables(
        link,
        charge_points=points("CP-1", connectors=[connector, m.ConnectorView(connector=2, state="ACTIVATED")]),
        sessions=[session],
        tickets=[a_ticket("s-0")],
    )
    for who, name in (("viewer", "*2345"), ("operator", "driver-12345")):
        row = (await http.get("/api/cps", who))["charge_points"][0]
        assert [one["driver_id"] for one in row["connectors"]] == [name, None]
        assert (await http.get("/api/cps/CP-1", who)) == row
        assert (await http.get("/api/sessions", who))["sessions"][0]["driver_id"] == name
        assert (await http.get("/api/sessions/s-1", who))["session"]["driver_id"] == name
        assert (await http.get("/api/tickets", who))["tickets"][0]["driver_id"] == name
        assert (await http.get("/api/sessions/s-0", who))["ticket"]["driver_id"] == name


@given(st.text(max_size=64))
def test_a_mask_hides_at_least_as_much_as_it_shows(name: str) -> None:
    said = masked(name)
    assert said[0] == "*" and name.endswith(said[1:])
    assert len(said) - 1 <= min(4, len(name) / 2)


async def test_one_charge_point_among_many(link: FakeLink, http: Http) -> None:
    names = ["CP-1", "CP-10", "CP-100", "CP-11", "CP-2", "CP", "C"]
    Tables(link, charge_points=points(*names)).page = 1
    for name in names:
        assert (await http.get(f"/api/cps/{name}"))["cp_id"] == name
    for path in ("/api/cps/CP-3", "/api/cps/CP-12", "/api/cps/D", "/api/cps/a%20b"):
        assert await http.refusal("GET", path) == (404, "not_found")


async def test_a_session_open_settled_or_unknown(link: FakeLink, http: Http) -> None:
    running = m.SessionView(session_id="s-1", state="SUPPLYING", cp_id="CP-1")
    Tables(link, sessions=[running], tickets=[a_ticket("s-0")])
    told = await http.get("/api/sessions/s-1")
    assert (told["state"], told["session"]["cp_id"], told["ticket"]) == ("SUPPLYING", "CP-1", None)
    told = await http.get("/api/sessions/s-0")
    assert (told["state"], told["session"], told["ticket"]["adjustments"]) == ("COMPLETED", None, [-9])
    assert await http.refusal("GET", "/api/sessions/s-2") == (404, "not_found")
    link.fail(CentralAway("gone"))
    assert await http.refusal("GET", "/api/sessions/s-1") == (503, "central_away")


# --- stop and resume --------------------------------------------------------------------------------------------------


async def test_one_is_stopped_and_resumed_and_the_answer_says_what_changed(link: FakeLink, http: Http) -> None:
    Tables(link, charge_points=points("CP-1", "CP-2", holds=["FAULT"]))
    for order, changed, holds in (
        ("stop", True, ["FAULT", "ADMIN"]),
        ("stop", False, ["FAULT", "ADMIN"]),
        ("resume", True, ["FAULT"]),
        ("resume", False, ["FAULT"]),
    ):
        status, body, _ = await http.ask("POST", f"/api/cps/CP-2/{order}", "operator")
        assert (status, body) == (200, {"cp_id": "CP-2", "changed": changed, "state": "STOPPED", "holds": holds})
    assert all(order.cp_id == "CP-2" for order in link.asked if isinstance(order, m.Stop | m.Resume))


async def test_all_are_stopped_first_and_counted_then(link: FakeLink, http: Http) -> None:
    Tables(link, charge_points=points("A", "B", "C")).page = 2
    assert (await http.ask("POST", "/api/cps/stop", "operator"))[1] == {"charge_points": 3, "stopped": 3}
    assert [type(message) for message in link.asked] == [m.Stop, m.Query, m.Query]
    await http.ask("POST", "/api/cps/B/resume", "operator")
    assert (await http.ask("POST", "/api/cps/resume", "operator"))[1] == {"charge_points": 3, "stopped": 0}


async def test_an_order_says_who_gave_it_and_by_which_request(link: FakeLink, http: Http) -> None:
    Tables(link, charge_points=points("CP-1"))
    for number, path in enumerate(("CP-1/stop", "CP-1/resume", "stop", "resume")):
        await http.ask("POST", f"/api/cps/{path}", "operator/", headers={"X-Request-ID": f"r-{number}"})
    orders = [(type(it), it.by, it.trace) for it in link.asked if isinstance(it, m.Stop | m.Resume)]
    assert orders == [
        (kind, "operator-", f"r-{number}") for number, kind in enumerate((m.Stop, m.Resume, m.Stop, m.Resume))
    ]


async def test_an_unknown_one_and_one_who_may_not(link: FakeLink, http: Http) -> None:
    Tables(link, charge_points=points("CP-1"))
    assert await http.refusal("POST", "/api/cps/CP-9/stop") == (404, "unknown_charge_point")
    for path in ("/api/cps/CP-1/stop", "/api/cps/CP-1/resume", "/api/cps/stop", "/api/cps/resume"):
        assert await http.refusal("POST", path, "viewer") == (403, "forbidden")
    assert [type(message) for message in link.asked].count(m.Stop) == 1


async def test_one_is_limited_and_the_answer_says_what_changed(link: FakeLink, http: Http) -> None:
    Tables(link, charge_points=points("CP-1", "CP-2"))
    for limit_w, changed in ((7_000, True), (7_000, False), (0, True), (None, True), (None, False)):
        status, body, _ = await http.ask("PUT", "/api/cps/CP-2/limit", "operator", json={"limit_w": limit_w})
        expected = {"cp_id": "CP-2", "limit_w": limit_w, "changed": changed, "state": "ACTIVATED"}
        assert (status, body) == (200, expected)
        assert (await http.ask("GET", "/api/cps/CP-2", "viewer"))[1]["limit_w"] == limit_w
        assert (await http.ask("GET", "/api/cps/CP-1", "viewer"))[1]["limit_w"] is None
    assert all(order.cp_id == "CP-2" for order in link.asked if isinstance(order, m.LimitChargePoint))


@pytest.mark.parametrize("body", [{}, {"limit_w": -1}, {"limit_w": 10_000_001}, {"limit_w": 7.5}, {"limit_w": "7000"}])
async def test_a_limit_that_is_none_is_not_asked_for(link: FakeLink, http: Http, body: dict[str, Any]) -> None:
    Tables(link, charge_points=points("CP-1"))
    assert (await http.refusal("PUT", "/api/cps/CP-1/limit", json=body))[0] == 422
    assert not link.asked


async def test_a_limit_for_an_unknown_one_or_by_one_who_may_not(link: FakeLink, http: Http) -> None:
    Tables(link, charge_points=points("CP-1"))
    body = {"limit_w": 7_000}
    assert await http.refusal("PUT", "/api/cps/CP-9/limit", json=body) == (404, "unknown_charge_point")
    assert await http.refusal("PUT", "/api/cps/CP-1/limit", "viewer", json=body) == (403, "forbidden")
    assert [order.cp_id for order in link.asked if isinstance(order, m.LimitChargePoint)] == ["CP-9"]


async def test_a_list_that_never_ends_is_given_up(link: FakeLink, http: Http) -> None:
    link.say(charge_points=points("CP-1"), next="CP-1")
    assert await http.refusal("POST", "/api/cps/stop") == (502, "central_answer")


async def test_a_client_sees_its_own_drivers_sessions_alone(link: FakeLink, http: Http) -> None:
    session = m.SessionView(session_id="s-1", state="SUPPLYING", cp_id="CP-1", connector=1, driver_id="anna")
    Tables(link, sessions=[session], tickets=[])
    found = await http.get("/sessions/s-1", "ev/anna")
    assert (found["state"], found["session"]["driver_id"]) == ("SUPPLYING", "anna")
    assert await http.refusal("GET", "/sessions/s-1", "ev/ben") == (404, "unknown_session")
    assert await http.refusal("GET", "/sessions/s-2", "ev/anna") == (404, "unknown_session")
    assert await http.refusal("GET", "/sessions/s-1", "ev") == (403, "no_driver")
    assert await http.refusal("GET", "/sessions/s-1", "viewer") == (403, "forbidden")
