"""Charges over HTTP: whose they are, what is asked for, and a request that comes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from evcharge.net.answers import RequestRefused, Unanswered
from evcharge.net.client import Refusal
from evcharge.sidecar.database import Database
from evcharge.sidecar.gateway.channels import NoCredential
from evcharge.sidecar.gateway.repeats import KEPT_MS, Repeats, keys_table
from evcharge.sidecar.layout import LAYOUT
from evcharge.sidecar.web.problem import Problem
from protocol import messages as m
from protocol.errors import RefuseCode
from tests.sidecar.conftest import HandClock
from tests.sidecar.gateway.support import FakeDrivers, FakeLink, Http

WISH = {"vehicle_id": "CAR-1", "requested_kw": 11, "duration_s": 3600}


def granted(drivers: FakeDrivers) -> None:
    """Every request gets a session of its own, at CP-7."""

    def says(message: m.Message) -> m.Reply:
        number = len(drivers.asked) // 2
        wanted = getattr(message, "energy_wh", None)
        view = m.SessionView(
            session_id=f"s-{number}", state="AUTHORIZED", cp_id="CP-7", connector=2, requested_wh=wanted, expires_ms=9
        )
        return m.Reply(re=0, session=view)

    drivers.says = says


def at_north(link: FakeLink) -> None:
    link.say(charge_points=[m.ChargePointView(cp_id="CP-7", state="ACTIVATED", substation_id="north")])


async def test_a_charge_for_the_clients_own_driver(link: FakeLink, drivers: FakeDrivers, http: Http) -> None:
    granted(drivers)
    at_north(link)
    status, body, headers = await http.ask("POST", "/charge", "ev/anna", json=WISH)
    assert (status, body) == (
        202,
        {
            "session_id": "s-1",
            "substation_id": "north",
            "status": "AUTHORIZED",
            "vehicle_id": "CAR-1",
            "cp_id": "CP-7",
            "connector": 2,
            "requested_wh": 11_000,
            "expires_ms": 9,
        },
    )
    wish = m.ChargeRequest(
        id=0, cp_id="*", energy_wh=11_000, power_w=11_000, by="ev-anna", trace=headers["X-Request-ID"]
    )
    assert drivers.asked[0] == ("anna", wish)


@pytest.mark.parametrize(
    ("kw", "seconds", "power_w", "energy_wh"),
    [(7, 1_800, 7_000, 3_500), (22, 60, 22_000, 367), (0.0001, 1, 1, 1), (50.0005, 3_600, 50_001, 50_001)],
)
async def test_energy_is_power_times_time_rounded_up(
    drivers: FakeDrivers, http: Http, kw: float, seconds: int, power_w: int, energy_wh: int
) -> None:
    granted(drivers)
    await http.ask("POST", "/charge", json=WISH | {"requested_kw": kw, "duration_s": seconds})
    (asked,) = (it for it in drivers.asked if isinstance(it, m.ChargeRequest))
    assert (asked.power_w, asked.energy_wh) == (power_w, energy_wh)


@pytest.mark.parametrize("away", [True, False])
async def test_a_session_is_told_although_its_substation_is_not_known(
    link: FakeLink, drivers: FakeDrivers, http: Http, away: bool
) -> None:
    granted(drivers)
    if away:
        link.fail(Unanswered("late"))
    status, body, _ = await http.ask("POST", "/charge", json=WISH)
    assert (status, body["session_id"], body["substation_id"]) == (202, "s-1", None)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestRefused("busy", "All are taken.", 12), 503, "busy"),
        (RequestRefused("no_capacity", "Full."), 503, "no_capacity"),
        (RequestRefused("too_many_sessions", "Enough."), 409, "too_many_sessions"),
        (RequestRefused("energy_out_of_range", "Too much."), 422, "energy_out_of_range"),
        (Refusal(RefuseCode.REVOKED), 403, "driver_refused"),
        (NoCredential("anna"), 403, "no_driver"),
        (Unanswered("late"), 504, "central_timeout"),
    ],
)
async def test_a_no_in_its_place(drivers: FakeDrivers, http: Http, error: Exception, status: int, code: str) -> None:
    drivers.fail(error)
    assert await http.refusal("POST", "/charge", json=WISH) == (status, code)


async def test_all_full_says_when_to_come_back(drivers: FakeDrivers, http: Http) -> None:
    drivers.fail(RequestRefused("busy", "All are taken.", 12))
    _, body, headers = await http.ask("POST", "/charge", json=WISH)
    assert (headers["Retry-After"], body["detail"]) == ("12", "All are taken.")


async def test_who_has_no_driver_and_who_may_not(drivers: FakeDrivers, http: Http) -> None:
    assert await http.refusal("POST", "/charge", "ev", json=WISH) == (403, "no_driver")
    assert await http.refusal("DELETE", "/sessions/s-1", "ev") == (403, "no_driver")
    assert await http.refusal("POST", "/charge", "viewer/anna", json=WISH) == (403, "forbidden")
    assert not drivers.asked


async def test_without_central_nobody_waits(link: FakeLink, drivers: FakeDrivers, http: Http) -> None:
    link.state = "disconnected"
    assert await http.refusal("POST", "/charge", json=WISH) == (503, "central_away")
    assert await http.refusal("DELETE", "/sessions/s-1") == (503, "central_away")
    assert not drivers.asked


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"requested_kw": 0}, "requested_kw"),
        ({"requested_kw": -1}, "requested_kw"),
        ({"requested_kw": 10_001}, "requested_kw"),
        ({"requested_kw": "11"}, "requested_kw"),
        ({"duration_s": 0}, "duration_s"),
        ({"duration_s": 1.5}, "duration_s"),
        ({"vehicle_id": ""}, "vehicle_id"),
        ({"vehicle_id": "x" * 65}, "vehicle_id"),
        ({"vehicle_id": "CAR\nlog.line"}, "vehicle_id"),
        ({"vehicle_id": "CAR\n"}, "vehicle_id"),
        ({"driver_id": "ben"}, "driver_id"),
    ],
)
async def test_a_bad_field_is_named(drivers: FakeDrivers, http: Http, more: dict[str, Any], field: str) -> None:
    status, body, _ = await http.ask("POST", "/charge", json=WISH | more)
    assert (status, list(body["fields"])) == (422, [field])
    assert not drivers.asked


async def test_a_repetition_keeps_the_first_requests_id(drivers: FakeDrivers, http: Http) -> None:
    """It is not done again, so what was done has the id of who did it; each answer has its own."""
    granted(drivers)
    said = []
    for trace in ("first", "second"):
        head = {"Idempotency-Key": "once", "X-Request-ID": trace}
        status, _, headers = await http.ask("POST", "/charge", "ev/anna", headers=head, json=WISH)
        said.append((status, headers["X-Request-ID"]))
    assert said == [(202, "first"), (202, "second")]
    assert [it.trace for it in drivers.asked if isinstance(it, m.ChargeRequest)] == ["first"]


async def test_the_end_of_ones_own_session(drivers: FakeDrivers, http: Http) -> None:
    status, body, headers = await http.ask("DELETE", "/sessions/s-1.2", "ev/anna")
    assert (status, body) == (202, {"session_id": "s-1.2", "status": "ENDING"})
    order = m.EndCharge(id=0, session_id="s-1.2", by="ev-anna", trace=headers["X-Request-ID"])
    assert drivers.asked[0] == ("anna", order)


async def test_anothers_session_looks_like_none(drivers: FakeDrivers, http: Http) -> None:
    said = []
    for reason in ("unknown_session", "not_your_session"):
        drivers.fail(RequestRefused(reason, f"secret {reason}"))
        status, body, _ = await http.ask("DELETE", "/sessions/s-1", "ev/anna", headers={"X-Request-ID": "same"})
        said.append((status, body))
    assert said[0] == said[1]
    assert said[0][0] == 404 and "secret" not in str(said)


async def test_why_for_ones_own_session_alone(drivers: FakeDrivers, http: Http) -> None:
    view = m.WhyView(
        session_id="s-1",
        cp_id="CP-1",
        connector=1,
        state="SUPPLYING",
        sentence="It is shared.",
        inputs=[m.InputView(name="base_w", age_ms=5)],
        rejected=[m.RejectedView(limit_w=7_000, constraint="capacity")],
    )
    drivers.say(why=view)
    status, body, _ = await http.ask("GET", "/sessions/s-1/why", "ev/anna")
    assert (status, body["sentence"], body["inputs"]) == (200, "It is shared.", [{"name": "base_w", "age_ms": 5}])
    assert body["rejected"] == [{"limit_w": 7_000, "constraint": "capacity"}]
    assert drivers.asked[0] == ("anna", m.Why(id=0, session_id="s-1"))
    drivers.say()
    assert await http.refusal("GET", "/sessions/s-1/why") == (502, "central_answer")


async def test_where_somebody_would_be_sent(link: FakeLink, drivers: FakeDrivers, http: Http) -> None:
    full = m.AlternativeView(substation_id="south", reason="south: full")
    view = m.AssignmentView(
        substation_id="north",
        cp_id="CP-1",
        connector=1,
        utilisation=40,
        headroom_w=9_000,
        power_w=7_000,
        reason="north: least",
        alternatives=[full],
    )
    link.say(assignment=view)
    body = {"requested_kw": 7, "duration_s": 1_800, "substation_id": "north"}
    status, said, _ = await http.ask("POST", "/assign", "operator", json=body)
    assert (status, said["cp_id"], said["utilisation_percent"], said["power_w"]) == (200, "CP-1", 40, 7_000)
    assert said["alternatives"] == [
        {
            "substation_id": "south",
            "reason": "south: full",
            "cp_id": None,
            "connector": None,
            "utilisation_percent": None,
        }
    ]
    assert link.asked == [m.Assign(id=0, power_w=7_000, energy_wh=3_500, substation_id="north")]
    for given, asked in (
        ({}, m.Assign(id=0)),
        ({"requested_kw": 11}, m.Assign(id=0, power_w=11_000)),
        ({"duration_s": 60}, m.Assign(id=0)),
    ):
        assert (await http.ask("POST", "/assign", json=given))[0] == 200
        assert link.asked[-1] == asked
    link.fail(RequestRefused("no_capacity", "Full.", 20))
    status, _, headers = await http.ask("POST", "/assign", json={})
    assert (status, headers["Retry-After"]) == (503, "20")
    link.fail(RequestRefused("unknown_substation", "There is none."))
    assert await http.refusal("POST", "/assign", json={"substation_id": "x"}) == (404, "unknown_substation")
    link.say()
    assert await http.refusal("POST", "/assign", json={}) == (502, "central_answer")
    assert await http.refusal("POST", "/assign", "ev/anna", json={}) == (403, "forbidden")
    assert not drivers.asked


@pytest.mark.parametrize("path", ["/sessions/a%2Fb", "/sessions/-a", "/sessions/" + "x" * 65])
async def test_a_word_that_is_no_id_is_not_found(drivers: FakeDrivers, http: Http, path: str) -> None:
    assert await http.refusal("DELETE", path) == (404, "not_found")
    assert not drivers.asked


# --- the same request again ------------------------------------------------------------------------------------------


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def test_the_same_key_gives_the_same_session(link: FakeLink, drivers: FakeDrivers, http: Http) -> None:
    granted(drivers)
    at_north(link)
    first = await http.ask("POST", "/charge", "ev/anna", json=WISH, headers=key("k"))
    again = await http.ask("POST", "/charge", "ev/anna", json=WISH, headers=key("k"))
    assert first[:2] == again[:2]
    assert (await http.ask("POST", "/charge", "ev/anna", json=WISH, headers=key("l")))[1]["session_id"] == "s-2"
    assert (await http.ask("POST", "/charge", "ev/ben", json=WISH, headers=key("k")))[1]["session_id"] == "s-3"
    assert (await http.ask("POST", "/charge", "ev/anna", json=WISH))[1]["session_id"] == "s-4"
    other = WISH | {"requested_kw": 7}
    assert await http.refusal("POST", "/charge", "ev/anna", json=other, headers=key("k")) == (422, "key_reused")
    assert (await http.ask("POST", "/charge", "ev/anna", json=WISH, headers=key("x" * 129)))[0] == 400


async def test_a_failure_is_tried_anew(drivers: FakeDrivers, http: Http) -> None:
    drivers.fail(RequestRefused("busy", "All are taken."))
    assert (await http.ask("POST", "/charge", json=WISH, headers=key("k")))[0] == 503
    granted(drivers)
    assert (await http.ask("POST", "/charge", json=WISH, headers=key("k")))[0] == 202


async def test_what_became_of_it_is_not_known(drivers: FakeDrivers, http: Http) -> None:
    """Central may have acted: the same key must not make a second session."""
    drivers.fail(Unanswered("No answer."))
    assert (await http.ask("POST", "/charge", json=WISH, headers=key("k")))[0] == 504
    granted(drivers)
    for _ in range(2):
        assert await http.refusal("POST", "/charge", json=WISH, headers=key("k")) == (409, "outcome_unknown")
    assert (await http.ask("POST", "/charge", json=WISH, headers=key("l")))[0] == 202


@pytest.fixture
async def repeats(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[Repeats, Database, HandClock]]:
    database = Database.file(tmp_path / "x.sqlite") if database_url is None else Database.open(database_url)
    await database.create(LAYOUT)
    clock = HandClock()
    yield Repeats(database, clock), database, clock
    await database.close()


class Deed:
    """Something that is to be done once."""

    def __init__(self) -> None:
        self.go, self.done = asyncio.Event(), 0

    async def __call__(self) -> bytes:
        await self.go.wait()
        self.done += 1
        return str(self.done).encode()


async def test_two_at_once_are_one_and_who_hangs_up_does_not_undo_it(
    repeats: tuple[Repeats, Database, HandClock],
) -> None:
    once, deed = repeats[0].once, Deed()
    asked = [asyncio.create_task(once("anna", "k", b"1", deed)) for _ in range(3)]
    await asyncio.sleep(0)
    asked[0].cancel()
    deed.go.set()
    assert await asyncio.gather(*asked[1:]) == [b"1", b"1"]
    assert await once("anna", "k", b"1", deed) == b"1"
    for name in ("", "x" * 129, "a\nb", "é"):
        with pytest.raises(Problem):
            await once("anna", name, b"1", deed)
    assert deed.done == 1


async def test_a_key_outlives_the_process_and_is_never_used_twice(repeats: tuple[Repeats, Database, HandClock]) -> None:
    first, database, clock = repeats
    done, died = Deed(), Deed()
    done.go.set()
    assert await first.once("anna", "done", b"1", done) == b"1"
    dying = asyncio.create_task(first.once("anna", "died", b"1", died))
    while not died.go.is_set():
        async with database.reading() as connection:
            if len((await connection.execute(select(keys_table))).all()) == 2:
                break
    dying.cancel()

    second, again = Repeats(database, clock), Deed()
    again.go.set()
    assert await second.once("anna", "done", b"1", again) == b"1"
    with pytest.raises(Problem) as caught:
        await second.once("anna", "died", b"1", again)
    assert caught.value.code == "outcome_unknown"
    with pytest.raises(Problem) as caught:
        await second.once("anna", "done", b"2", again)
    assert caught.value.code == "key_reused"
    assert again.done == 0
    clock.advance(KEPT_MS / 1000)
    assert await second.once("anna", "died", b"1", again) == b"1", "a day later it is a new key"
    died.go.set()
