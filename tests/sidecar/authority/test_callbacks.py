"""Callbacks: signed, tried again at the right time, dead at the right time, and never in each other's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import callbacks_table
from tests.sidecar.authority.conftest import STATION, TOKEN, MakePlace, Place
from tests.sidecar.conftest import START_MS
from tests.support.wire_peers import turns, until


async def next_try_ms(place: Place) -> int:
    """After now, of the only callback."""
    async with place.database.reading() as connection:
        at_ms = await connection.scalar(select(callbacks_table.c.next_try_ms))
    assert at_ms is not None
    return int(at_ms) - place.clock.steady_ms()


async def move(place: Place, seconds: float) -> None:
    place.clock.advance(seconds)
    place.concern.sender.ring()


async def test_the_callers_url_gets_the_decision_signed(place: Place) -> None:
    await place.allow()
    place.clock.advance(1.5)
    async with place.working():
        request_id = await place.request(callback_url=place.hook("/hook?for=me"))
        entry = await place.until_logged(request_id, callback="delivered")
    # The receiver has checked the signature.
    ((path, body, head),) = place.receiver.got
    assert body == {
        "request_id": request_id,
        "station_id": STATION,
        "driver_token": TOKEN,
        "status": "allowed",
        "message": "The driver may charge at this station.",
        "decided_at": "2025-11-21T00:00:01.500000Z",
    }
    assert (path, head["webhook-id"]) == ("/hook", request_id)
    assert head["webhook-timestamp"] == str(START_MS // 1000 + 1)
    assert head["Host"] == f"receiver.example:{place.receiver.port}"
    assert (entry["attempts"], entry["callback_said"]) == (1, "204")
    assert entry["finished_at"] == "2025-11-21T00:00:01.500000Z"
    assert await place.rows("callbacks") == 0, "the sealed token is gone"


async def test_three_retries_then_it_is_dead_and_an_operator_sends_it_again(place: Place) -> None:
    place.receiver.script["/hook"] = [500, 503, 302, 429]
    async with place.working():
        request_id = await place.request()
        for attempt, (longest_s, said) in enumerate(((2, "500"), (10, "503"), (50, "302")), 1):
            entry = await place.until_logged(request_id, attempts=attempt)
            assert (entry["callback"], entry["callback_said"], entry["finished_at"]) == ("pending", said, None)
            assert await next_try_ms(place) == longest_s * 750, "from half of it on: the random number is 0.5"
            await move(place, longest_s * 0.75 - 0.25)
            assert (await place.logged(request_id))["attempts"] == attempt, "not yet"
            await move(place, 0.25)
        entry = await place.until_logged(request_id, callback="dead")
        assert (entry["attempts"], entry["callback_said"], entry["status"]) == (4, "429", "not_allowed")
        _, said, _ = await place.ask("GET", "/api/deadletters")
        (letter,) = said["entries"]
        assert (letter["request_id"], letter["attempts"], letter["callback_host"]) == (
            request_id,
            4,
            "receiver.example",
        )
        assert letter["dead_since"] == entry["finished_at"]
        status, said, _ = await place.ask("POST", f"/api/deadletters/{request_id}/retry")
        assert (status, said) == (202, {"request_id": request_id, "callback": "pending"})
        entry = await place.until_logged(request_id, callback="delivered")
    assert entry["attempts"] == 5
    assert (await place.ask("GET", "/api/deadletters/"))[1] == {"entries": [], "next": None}
    assert (await place.ask("POST", f"/api/deadletters/{request_id}/retry"))[0] == 404
    bodies = place.receiver.bodies()
    assert len(bodies) == 5 and all(body == bodies[0] for body in bodies), "the same answer each time"
    ids = {(head["webhook-id"], head["webhook-signature"]) for _, _, head in place.receiver.got}
    assert {name for name, _ in ids} == {request_id} and len(ids) > 1, "each try is signed for its own time"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418])
async def test_a_receiver_that_refuses_is_not_asked_again(place: Place, status: int) -> None:
    place.receiver.script["/hook"] = [status]
    async with place.working():
        request_id = await place.request()
        entry = await place.until_logged(request_id, callback="dead")
    assert (entry["attempts"], entry["callback_said"]) == (1, str(status))


@pytest.mark.parametrize(
    ("addresses", "callback", "said"),
    [
        (["10.0.0.1"], "dead", "refused"),
        (["127.0.0.1", "10.0.0.1"], "dead", "refused"),
        (["::1"], "dead", "refused"),
        (None, "pending", "dns"),
    ],
)
async def test_a_name_that_leads_inside_is_dead_and_one_that_leads_nowhere_is_tried_again(
    place: Place, addresses: list[str] | None, callback: str, said: str
) -> None:
    del place.names["receiver.example"]
    if addresses is not None:
        place.names["receiver.example"] = addresses
    async with place.working():
        request_id = await place.request()
        entry = await place.until_logged(request_id, attempts=1)
    assert (entry["callback"], entry["callback_said"], place.receiver.got) == (callback, said, [])


async def test_a_name_that_changes_between_acceptance_and_callback(place: Place) -> None:
    """Rebinding: what was public when it was accepted, or at the first try, is judged again at each."""
    place.receiver.script["/hook"] = [500]
    async with place.working():
        request_id = await place.request()
        await place.until_logged(request_id, attempts=1)
        place.names["receiver.example"] = ["192.168.0.1"]
        await move(place, 60)
        entry = await place.until_logged(request_id, callback="dead")
    assert (entry["callback_said"], len(place.receiver.got)) == ("refused", 1)


async def test_a_retry_survives_a_restart(make_place: MakePlace) -> None:
    place: Place = await make_place()
    place.receiver.script["/hook"] = [500]
    async with place.working():
        request_id = await place.request()
        await place.until_logged(request_id, attempts=1)
    again: Place = await make_place()
    async with again.working():
        assert (await again.logged(request_id))["callback"] == "pending"
        again.clock.advance(1.5)
        again.concern.sender.ring()
        entry = await again.until_logged(request_id, callback="delivered")
    assert entry["attempts"] == 2


async def test_what_was_in_flight_at_the_end_is_sent_again(make_place: MakePlace) -> None:
    place: Place = await make_place()
    place.receiver.gates["/hook"] = asyncio.Event()
    async with place.working():
        request_id = await place.request()
        await until(lambda: place.receiver.got)
    assert (await place.logged(request_id))["attempts"] == 0
    place.receiver.gates["/hook"].set()
    again: Place = await make_place()
    async with again.working():
        await again.until_logged(request_id, callback="delivered")
    assert [head["webhook-id"] for _, _, head in place.receiver.got] == [request_id] * 2


async def test_a_slow_receiver_holds_nobody_else(make_place: MakePlace) -> None:
    place: Place = await make_place(AuthoritySettings(deliveries=6, deliveries_per_host=2))
    place.receiver.gates["/slow"] = asyncio.Event()
    async with place.working():
        slow = [await place.request(callback_url=place.hook("/slow")) for _ in range(12)]
        await until(lambda: place.receiver.open == 2)
        quick = [await place.request(callback_url=place.hook("/quick", "other.example")) for _ in range(12)]
        for request_id in quick:
            await place.until_logged(request_id, callback="delivered")
        assert (len(place.receiver.bodies("/slow")), place.receiver.open) == (2, 2), "two of it at once, not more"
        place.receiver.gates["/slow"].set()
        for request_id in slow:
            await place.until_logged(request_id, callback="delivered", attempts=1)
    assert len(place.receiver.got) == 24


async def test_a_client_with_many_slow_receivers_holds_nobody_else(make_place: MakePlace) -> None:
    """However many names they have: what is bounded is the client."""
    place: Place = await make_place(AuthoritySettings(deliveries=6, deliveries_per_host=6, deliveries_per_client=2))
    place.receiver.gates["/slow"] = asyncio.Event()
    async with place.working():
        for name in ("receiver.example", "other.example") * 4:
            await place.request(who="anna", callback_url=place.hook("/slow", name))
        await until(lambda: place.receiver.open == 2)
        quick = [await place.request(who="ben", callback_url=place.hook("/quick")) for _ in range(6)]
        for request_id in quick:
            await place.until_logged(request_id, callback="delivered")
        assert (len(place.receiver.bodies("/slow")), place.receiver.open) == (2, 2), "two of anna's at once, not more"
        place.receiver.gates["/slow"].set()
        await until(lambda: len(place.receiver.got) == 14)


async def test_no_more_are_in_flight_than_the_settings_say(make_place: MakePlace) -> None:
    place: Place = await make_place(AuthoritySettings(deliveries=3, deliveries_per_host=3))
    place.receiver.gates["/hook"] = asyncio.Event()
    async with place.working():
        made = [await place.request() for _ in range(4)]
        made += [await place.request(callback_url=place.hook("/x", "other.example"))]
        await until(lambda: place.receiver.open == 3)
        await place.until_logged(made[-1], status="not_allowed")
        await turns()
        assert len(place.receiver.got) == 3
        place.receiver.gates["/hook"].set()
        for request_id in made:
            await place.until_logged(request_id, callback="delivered")


async def test_a_receiver_that_does_not_answer_costs_one_try(make_place: MakePlace) -> None:
    place: Place = await make_place(AuthoritySettings(callback_s=0.1))
    place.receiver.gates["/hook"] = asyncio.Event()
    async with place.working():
        request_id = await place.request()
        entry = await place.until_logged(request_id, attempts=1)
    assert (entry["callback"], entry["callback_said"]) == ("pending", "timeout")


async def test_a_receiver_may_ask_for_time(place: Place) -> None:
    answer: dict[str, Any] = {"status": 503, "retry_after": "120"}
    place.receiver.script["/hook"] = [answer, {"status": 429, "retry_after": "99999"}]
    async with place.working():
        request_id = await place.request()
        await place.until_logged(request_id, attempts=1)
        assert await next_try_ms(place) == 120_000
        await move(place, 120)
        await place.until_logged(request_id, attempts=2)
        assert await next_try_ms(place) == 300_000, "within a bound"


async def test_due_callbacks_start_by_themselves_when_their_time_comes(make_place: MakePlace) -> None:
    """Nobody rings: the loop waits for as long as the row says."""
    place: Place = await make_place(AuthoritySettings(retry_base_s=0.125))
    place.receiver.script["/hook"] = [500]
    async with place.working():
        request_id = await place.request()
        await place.until_logged(request_id, attempts=1)
        place.clock.advance(0.125)
        await place.until_logged(request_id, callback="delivered")
