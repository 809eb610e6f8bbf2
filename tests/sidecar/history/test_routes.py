"""The history over HTTP: what each route says, what it refuses, who sees whom, and that every query has its index."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Select, insert, text

from evcharge.domain import events as e
from evcharge.domain.words import Hold, LimitReason
from evcharge.energy.leases import Grant
from evcharge.ids import ChargePointId, DriverId, NodeId
from evcharge.sidecar.history import exports
from evcharge.sidecar.history import queries as q
from evcharge.sidecar.history import schemas as s
from evcharge.sidecar.history import tables as t
from evcharge.sidecar.history.concern import History
from evcharge.sidecar.history.follower import Follower
from evcharge.sidecar.history.spread import QUARTER_MS, Calendar
from evcharge.sidecar.history.store import Store
from evcharge.sidecar.routes.history import ROUTES
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.openapi import ProblemBody, document
from evcharge.sidecar.web.problem import MEDIA_TYPE
from evcharge.sidecar.web.route import Limit
from evcharge.units import Watts
from tests.sidecar.conftest import START_MS, HandClock
from tests.sidecar.gateway.support import Named
from tests.sidecar.history.support import KEY, LogLink, bodies_of, fill, records_of
from tests.sidecar.history.test_fold import CP, A, B, authorized, ended, sampled, started, ticket

BEGIN = START_MS - START_MS % QUARTER_MS
END = BEGIN + 2 * QUARTER_MS
WIDE = [msgspec.structs.replace(route, limit=Limit("wide", 1_000_000)) for route in ROUTES]


def day() -> list[bytes]:
    """One charge, one that waits for its vehicle, a hold, a refusal."""
    other = ChargePointId("CP-2")
    refused = e.ChargeRefused(driver_id=DriverId("berta-the-long"), cp_id=CP, reason="busy")  # type: ignore[arg-type]
    set_point = e.SetPointIssued(session_id=A, grant=Grant(1, 7_000, 1_400, 9), reason=LimitReason.RULE)
    site = e.CentralStarted.__struct_fields__
    assert site == ("site",)
    return [
        KEY,
        *bodies_of(
            (BEGIN, e.NodeLost(node_id=NodeId("north"), cause="reported")),
            (BEGIN, authorized()),
            (BEGIN + 1, set_point),
            (BEGIN + 2, started_at(BEGIN)),
            (BEGIN + QUARTER_MS, sampled(2_000, 8_000)),
            (BEGIN + QUARTER_MS, e.HoldPlaced(cp_id=CP, hold=Hold.FAULT, detail="=cmd()")),
            (END, ended(5_000, END)),
            (END, ticket_at(4_000)),
            (END + 1, authorized(B, other)),
            (END + 2, e.HoldLifted(cp_id=CP, hold=Hold.FAULT)),
            (END + 3, refused),
            (END + 4, e.CapacityChanged(substation_id=NodeId("north"), capacity_w=Watts(9_000))),
        ),
    ]


def started_at(at_ms: int) -> e.SupplyStarted:
    return started(1_000, at_ms)


def ticket_at(energy_wh: int) -> e.TicketIssued:
    made = ticket(energy_wh, END).ticket
    return e.TicketIssued(ticket=msgspec.structs.replace(made, start_ms=BEGIN))


class Http:
    """Asks, and checks that whatever is answered is declared."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    async def ask(self, path: str, who: str | None = "operator") -> tuple[int, Any, Any]:
        head = {} if who is None else {"Authorization": f"Bearer {who}"}
        async with self._client.get(f"/api/history/{path}", headers=head) as answer:
            raw = await answer.read()
            if answer.status >= 400:
                assert answer.content_type == MEDIA_TYPE
                return answer.status, msgspec.json.decode(raw, type=ProblemBody), answer.headers
            if answer.content_type == "text/csv":
                return answer.status, raw, answer.headers
            return answer.status, msgspec.json.decode(raw), answer.headers

    async def get(self, path: str, who: str = "operator") -> Any:
        status, body, _ = await self.ask(path, who)
        assert status == 200, body
        return body


@pytest.fixture
async def http(store: Store, calendar: Calendar, clock: HandClock) -> AsyncIterator[Http]:
    """The day above, served."""
    bodies = day()
    await fill(store, calendar, records_of(bodies), 5)
    async with serving(store, calendar, clock, LogLink(bodies)) as made:
        yield made


class serving:  # noqa: N801  # a context manager like those of contextlib
    def __init__(self, store: Store, calendar: Calendar, clock: HandClock, link: LogLink | None) -> None:
        self._follower = Follower(lambda: store.database, link, calendar=calendar, clock=clock)
        history = History(self._follower, calendar=calendar, clock=clock)
        api = Api(WIDE, history.handlers(), door=Named(), clock=clock)
        self._client: TestClient[Any, Any] = TestClient(TestServer(api.application()))

    async def __aenter__(self) -> Http:
        await self._client.start_server()
        self._task = asyncio.create_task(self._follower.run())
        async with asyncio.timeout(20):
            while self._follower.store is None or not self._follower.position.seq:
                await asyncio.sleep(0.001)
        return Http(self._client)

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task
        await self._client.close()


async def test_how_far_it_goes(http: Http) -> None:
    said = await http.get("state")
    assert (said["available"], said["seq"], said["first_seq"], said["missing"]) == (True, len(day()), 1, 0)
    assert (said["schema"], said["time_zone"], said["sentence"]) == (t.SCHEMA, "UTC", None)
    assert set(said["chain"]) == {"ok", "seq", "sentence"}


async def test_sessions_come_newest_first_in_pages(http: Http) -> None:
    said = await http.get("sessions?limit=1")
    assert [one["session_id"] for one in said["sessions"]] == [B]
    said = await http.get(f"sessions?limit=1&after={said['next']}")
    assert said["next"] is None
    (one,) = said["sessions"]
    assert one == {
        "session_id": A,
        "cp_id": CP,
        "connector": 1,
        "driver_id": "anna",
        "substation_id": "north",
        "status": "COMPLETED",
        "authorized_ms": BEGIN,
        "start_ms": BEGIN,
        "end_ms": END,
        "stop": "unplugged",
        "min_w": 1_400,
        "max_w": 10_000,
        "requested_wh": None,
        "energy_wh": 4_000,
        "amount_minor": 120,
        "currency": "EUR",
        "co2_g": 1_000,
        "provisional": False,
        "ticket_id": "t-s-1",
    }
    for query, found in {
        "cp_id=CP-2": [B],
        "cp_id=CP-9": [],
        "status=AUTHORIZED": [B],
        "driver_id=anna": [B, A],
        f"from_ms={END}": [B],
        f"until_ms={END}": [A],
        f"from_ms={BEGIN + 1}&until_ms={END}": [],
    }.items():
        said = await http.get(f"sessions?{query}")
        assert [one["session_id"] for one in said["sessions"]] == found, query


async def test_a_session_has_its_ticket_and_its_timeline(http: Http) -> None:
    said = await http.get("sessions/s-1")
    assert (said["ticket"]["ticket_id"], said["ticket"]["adjustments"]) == ("t-s-1", [])
    kinds = [row["kind"] for row in said["timeline"]]
    assert kinds == [
        "charge_authorized",
        "set_point_issued",
        "supply_started",
        "hold_placed",
        "supply_ended",
        "ticket_issued",
    ]
    assert [row["seq"] for row in said["timeline"]] == sorted(row["seq"] for row in said["timeline"])
    limit = said["timeline"][1]
    assert (limit["limit_w"], limit["reason"], limit["why"]) == (7_000, "rule", "a rule of the site")
    assert limit["text"] == "set-point 7 kW (1.4 kW if Central is lost): a rule of the site"
    assert (said["more"], said["upto_seq"]) == (False, len(day()))
    later = await http.get(f"sessions/s-1?after_seq={said['timeline'][3]['seq']}")
    assert later["timeline"] == said["timeline"][4:]
    status, problem, _ = await http.ask("sessions/nobody")
    assert (status, problem.code) == (404, "not_found")


async def test_a_long_timeline_comes_in_parts(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (await http.get("sessions/s-1"))["timeline"]
    monkeypatch.setattr(s, "TIMELINE_ROWS", 2)
    found: list[Any] = []
    while True:
        said = await http.get(f"sessions/s-1?after_seq={found[-1]['seq'] if found else 0}")
        found += said["timeline"]
        if not said["more"]:
            break
        assert len(said["timeline"]) == 2
    assert found == whole


async def test_a_charge_point_over_some_time(http: Http) -> None:
    said = await http.get(f"charge-points/CP-1?from_ms={BEGIN}&until_ms={END}")
    assert said["energy"] == [[BEGIN, 1_000, 0], [BEGIN + QUARTER_MS, 3_000, 8_000]]
    assert [one["session_id"] for one in said["sessions"]] == [A]
    assert [row["kind"] for row in said["changes"]] == ["supply_started", "hold_placed"]
    nothing = await http.get("charge-points/CP-9")
    assert (nothing["energy"], nothing["sessions"], nothing["changes"]) == ([], [], [])


async def test_energy_in_steps_that_fit_a_screen(http: Http) -> None:
    said = await http.get(f"energy?from_ms={BEGIN}&until_ms={END}")
    assert (said["step_ms"], said["rows"]) == (QUARTER_MS, [[BEGIN, 1_000, 0], [BEGIN + QUARTER_MS, 3_000, 8_000]])
    assert (await http.get(f"energy?from_ms={BEGIN}&until_ms={END}&substation_id=north"))["rows"] == said["rows"]
    assert (await http.get(f"energy?from_ms={BEGIN}&until_ms={END}&substation_id=south"))["rows"] == []
    year = await http.get(f"energy?from_ms={END - 360 * 86_400_000}&until_ms={END}")
    assert year["step_ms"] == 6 * 3_600_000
    assert sum(row[1] for row in year["rows"]) == 4_000
    for wrong in (f"from_ms={END}&until_ms={BEGIN}", f"from_ms=0&until_ms={END}", "from_ms=-1", "step_ms=5"):
        status, problem, _ = await http.ask(f"energy?{wrong}")
        assert (status, problem.code) == (422, "bad_fields"), wrong


async def test_days_and_today(http: Http, calendar: Calendar) -> None:
    name = calendar.day(END)
    said = await http.get(f"days?from={name}&until={name}")
    expected = {
        "day": name,
        "sessions": 1,
        "energy_wh": 4_000,
        "amount_minor": 120,
        "currency": "EUR",
        "co2_g": 1_000,
        "co2_avoided_g": 2_778,
        "busy_s": 1_800,
        "utilisation_percent": 0.0,
        "refused": 1,
    }
    assert (said["time_zone"], said["days"]) == ("UTC", [expected])
    assert (await http.get("days"))["days"] == [expected]
    today = await http.get("today")
    assert {field: today[field] for field in today if field in expected} == {
        field: value for field, value in expected.items() if field in today
    }
    for wrong in (
        "from=2026-02-30",
        f"from={name}&until=2001-01-01",
        "from=0001-01-01",
        "until=0001-01-01&from=0002-01-01",
    ):
        status, problem, _ = await http.ask(f"days?{wrong}")
        assert (status, problem.code) == (422, "bad_fields"), wrong
    assert (await http.get("days?until=0001-01-02"))["days"] == []


async def test_changes_behind_a_record(http: Http) -> None:
    said = await http.get("changes?limit=3")
    assert len(said["changes"]) == 3
    rest = await http.get(f"changes?after_seq={said['next_seq']}")
    assert rest["next_seq"] is None
    whole = (await http.get("changes"))["changes"]
    assert [*said["changes"], *rest["changes"]] == whole
    assert {row["cp_id"] for row in (await http.get("changes?cp_id=CP-2"))["changes"]} == {"CP-2"}
    assert {row["session_id"] for row in (await http.get("changes?session_id=s-1"))["changes"]} == {"s-1"}


async def test_drivers_are_masked_for_who_may_not_control(http: Http) -> None:
    seen = await http.get("changes", "viewer")
    assert (
        "berta-the-long" not in msgspec.json.encode(seen).decode() and "anna" not in msgspec.json.encode(seen).decode()
    )
    assert "=cmd()" not in msgspec.json.encode(seen).decode(), "a free text may name anybody"
    assert [one["driver_id"] for one in (await http.get("sessions", "viewer"))["sessions"]] == ["*na", "*na"]
    assert "anna" not in msgspec.json.encode(await http.get("sessions/s-1", "viewer")).decode()
    _, raw, _ = await http.ask("sessions.csv", "viewer")
    assert b"anna" not in raw and b"*na" in raw
    for path in ("sessions?driver_id=anna", "sessions.csv?driver_id=anna"):
        status, problem, _ = await http.ask(path, "viewer")
        assert (status, problem.code) == (403, "forbidden"), "nor found by guessing"
    for route in ROUTES:
        status, _, _ = await http.ask(route.path.removeprefix("/api/history/").replace("{id}", "x"), None)
        assert status == 401
        status, _, _ = await http.ask(route.path.removeprefix("/api/history/").replace("{id}", "x"), "driver")
        assert status == 403


async def test_files(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PART_ROWS", 1)
    _, raw, headers = await http.ask("sessions.csv")
    assert headers["Content-Disposition"] == 'attachment; filename="evcharge-sessions.csv"'
    rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    assert [row["session_id"] for row in rows] == [B, A]
    assert (rows[1]["amount"], rows[1]["energy_wh"], rows[1]["driver"]) == ("1.20", "4000", "anna")
    assert list(rows[1].values())[6] == exports.instant(BEGIN)
    _, raw, _ = await http.ask("energy.csv")
    rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    assert [(row["quarter"], row["energy_wh"], row["peak_w"]) for row in rows] == [
        (exports.instant(BEGIN), "1000", "0"),
        (exports.instant(BEGIN + QUARTER_MS), "3000", "8000"),
    ]
    _, raw, _ = await http.ask("days.csv")
    (row,) = csv.DictReader(io.StringIO(raw.decode(), newline=""))
    assert (row["amount"], row["sessions"]) == ("1.20", "1")


async def test_without_its_database_the_routes_say_so(calendar: Calendar, clock: HandClock) -> None:
    for follower in (None, Follower(lambda: None, None, calendar=calendar, clock=clock)):  # type: ignore[arg-type, return-value]
        history = History(follower, calendar=calendar, clock=clock)
        api = Api(WIDE, history.handlers(), door=Named(), clock=clock)
        async with TestClient(TestServer(api.application())) as client:
            http = Http(client)
            assert (await http.get("state"))["available"] is False
            for path in ("sessions", "sessions/x", "charge-points/x", "energy", "days", "today", "changes", "days.csv"):
                status, problem, headers = await http.ask(path)
                assert (status, problem.code) == (503, "history")
                assert "Retry-After" in headers and problem.detail.endswith(".")


async def test_a_table_that_is_gone_is_a_503_and_no_trace(http: Http, store: Store) -> None:
    async with store.database.writing() as connection:
        await connection.execute(text("DROP TABLE history_sessions"))
    status, problem, _ = await http.ask("sessions")
    assert (status, problem.code) == (503, "history")
    assert "history_sessions" not in problem.detail


def test_the_document_has_files_too() -> None:
    said = document(ROUTES, title="t", version="1", token_path="/oauth2/token")
    content = said["paths"]["/api/history/sessions.csv"]["get"]["responses"]["200"]["content"]
    assert content == {"text/csv": {"schema": {"type": "string"}}}


# --- indexes ----------------------------------------------------------------------------------------------------------


def asked() -> dict[str, Select[Any]]:
    """Every query of the routes, with each filter."""

    class One:
        session_id, cp_id, connector, substation_id, seq, last_seq = "s", "CP-1", 1, "north", 5, 900

    place = (BEGIN, 5)
    found: dict[str, Select[Any]] = {
        "session": q.session("s"),
        "ticket": q.ticket("s"),
        "adjustments": q.adjustments("t"),
        "newest states": q.newest_states("CP-1", BEGIN, END, 100),
        "point": q.point_energy("CP-1", BEGIN, END, QUARTER_MS),
        "node": q.node_energy("", BEGIN, END, QUARTER_MS),
        "days": q.days("2026-01-01", "2026-02-01"),
        "sessions": q.sessions(s.SessionsFilter(), None, 100),
        "sessions behind": q.sessions(s.SessionsFilter(), place, 100),
        "sessions between": q.sessions(s.SessionsFilter(from_ms=1, until_ms=END), place, 100),
        "sessions of a point": q.sessions(s.SessionsFilter(cp_id="CP-1"), place, 100),
        "sessions of a driver": q.sessions(s.SessionsFilter(driver_id="anna"), place, 100),
        "sessions of a status": q.sessions(s.SessionsFilter(status="EXPIRED"), place, 100),
        "sessions of all": q.sessions(s.SessionsFilter(cp_id="CP-1", driver_id="a", status="EXPIRED"), place, 100),
    }
    for number, part in enumerate(q.timeline(One, 0, 100)):  # type: ignore[arg-type]
        found[f"timeline {number}"] = part
    for name, filters in {
        "": (None, None),
        "cp": ("CP-1", None),
        "session": (None, "s"),
        "both": ("CP-1", "s"),
    }.items():
        for number, part in enumerate(q.changes(*filters, 5, 100)):
            found[f"changes {name} {number}"] = part
    return found


async def test_every_query_has_its_index(store: Store) -> None:
    """A table of some thousand rows, so that a planner has a reason to use them."""
    quarter, many = QUARTER_MS, range(4_000)
    row = {column.name: None for column in t.states_table.columns} | {"kind": "x", "data": b"\x80", "at_ms": 1}
    spread = [{"seq": n, "cp_id": f"CP-{n % 97}", "session_id": f"s-{n % 499}", "node_id": f"n-{n % 89}"} for n in many]
    session = dict.fromkeys((column.name for column in t.sessions_table.columns), 0)
    session |= {"substation_id": "n", "status": "EXPIRED", "provisional": False, "stop": "", "currency": ""}
    bill = dict.fromkeys((column.name for column in t.tickets_table.columns), 0)
    bill |= dict.fromkeys(("cp_id", "driver_id", "substation_id", "currency", "status", "reason"), "x")
    bill |= {"provisional": False}
    late = dict.fromkeys((column.name for column in t.adjustments_table.columns), 0) | {
        "session_id": "",
        "driver_id": "",
    }
    sums = [{"quarter_ms": n * quarter, "energy_wh": 1, "peak_w": 1} for n in many]
    async with store.database.writing() as connection:
        for table in (t.states_table, t.decisions_table):
            await connection.execute(insert(table), [row | each for each in spread])
        sessions = [
            session
            | {"session_id": f"s-{n}", "ticket_id": "", "seq": n, "authorized_ms": BEGIN + n}
            | {"cp_id": f"CP-{n % 97}", "driver_id": f"d-{n % 83}", "status": ("EXPIRED", "COMPLETED")[n % 50 > 0]}
            for n in many
        ]
        await connection.execute(insert(t.sessions_table), sessions)
        bills = [bill | {"ticket_id": f"t-{n}", "session_id": f"s-{n}", "seq": n} for n in many]
        await connection.execute(insert(t.tickets_table), bills)
        lates = [late | {"seq": n, "ticket_id": f"t-{n}"} for n in many]
        await connection.execute(insert(t.adjustments_table), lates)
        points = [each | {"cp_id": f"CP-{n % 7}"} for n, each in enumerate(sums)]
        await connection.execute(insert(t.points_table), points)
        await connection.execute(insert(t.nodes_table), [each | {"node_id": str(n % 7)} for n, each in enumerate(sums)])
        await connection.execute(text("ANALYZE"))
    explain = "EXPLAIN QUERY PLAN" if store.database.sqlite else "EXPLAIN"
    for name, query in asked().items():
        said = str(query.compile(store.database.engine.sync_engine, compile_kwargs={"literal_binds": True}))
        async with store.database.reading() as connection:
            rows = await connection.exec_driver_sql(f"{explain} {said}")
            plan = [str(tuple(each)) for each in rows]
        scans = [line for line in plan if "SCAN" in line or "Seq Scan" in line]
        # Days are few; the newest sessions of all are read from the end of their index, as many as are asked for.
        few = [line for line in scans if "history_days" in line or name in {"sessions", "sessions behind"}]
        assert scans == few, (name, plan)
        assert not [line for line in scans if "sessions" in line and "history_sessions_by_time" not in line], (
            name,
            plan,
        )
