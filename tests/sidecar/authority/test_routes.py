"""The routes as clients see them: what is acknowledged, what is refused, and what the pages show."""

from __future__ import annotations

from typing import Any

import pytest

from evcharge.sidecar.authority.settings import AuthoritySettings
from tests.sidecar.authority.conftest import STATION, TOKEN, MakePlace, Place
from tests.sidecar.conftest import one_database

ASK, CHECK, INSERT = "/api/chargingRequestValidator/", "/api/checkauthority/", "/api/insertACL/"
PAIR = {"station_id": STATION, "driver_token": TOKEN}


async def test_a_request_is_acknowledged_when_it_is_stored(place: Place) -> None:
    body = {**PAIR, "callback_url": place.hook()}
    for path in (ASK, ASK.rstrip("/")):
        status, said, _ = await place.ask("POST", path, json=body)
        assert (status, said["status"], set(said)) == (202, "accepted", {"status", "message", "request_id"})
        entry = await place.logged(said["request_id"])
        assert (entry["status"], entry["callback"], entry["attempts"]) == ("pending", "pending", 0)
        assert (entry["client"], entry["callback_host"]) == ("shop", "receiver.example")
    assert (await place.rows("requests"), await place.rows("queue"), await place.rows("callbacks")) == (2, 2, 0)


@pytest.mark.parametrize(
    ("body", "bad"),
    [
        ({}, {"station_id", "driver_token", "callback_url"}),
        ({"station_id": "x", "driver_token": 7, "more": 1}, {"station_id", "driver_token", "callback_url", "more"}),
        ({"station_id": STATION + "\n"}, {"station_id"}),
        ({"station_id": "0f8fad5bd9cb469fa16570867728950e\n"}, {"station_id"}),
        ({"station_id": "0f8fad5b-d9cb-469f-a165-70867728950"}, {"station_id"}),
        ({"station_id": "0f8fad5bd-9cb-469f-a165-70867728950e"}, {"station_id"}),
        ({"station_id": "g" * 32}, {"station_id"}),
        ({"station_id": "٣" * 36}, {"station_id"}),
        ({"driver_token": "x" * 19}, {"driver_token"}),
        ({"driver_token": "x" * 81}, {"driver_token"}),
        ({"driver_token": "x" * 20 + "\n"}, {"driver_token"}),
        ({"driver_token": "x" * 19 + "/"}, {"driver_token"}),
        ({"callback_url": "http://10.0.0.1/"}, {"callback_url"}),
        ({"callback_url": "http://[::1]/"}, {"callback_url"}),
        ({"callback_url": "http://2130706433/"}, {"callback_url"}),
        ({"callback_url": "http://localhost/"}, {"callback_url"}),
        ({"callback_url": "ftp://receiver.example/"}, {"callback_url"}),
        ({"callback_url": "http://u:secret-word@receiver.example/"}, {"callback_url"}),
        ({"callback_url": "http://receiver.example/" + "x" * 2048}, {"callback_url"}),
        ({"station_id": "g" * 36 + "\n", "callback_url": "http://127.0.0.2/"}, {"station_id"}),
        ({"driver_token": "x" * 20 + "\n", "callback_url": "http://127.0.0.2/"}, {"driver_token"}),
    ],
)
@one_database
async def test_every_bad_field_is_named_in_a_400(place: Place, body: dict[str, Any], bad: set[str]) -> None:
    good: dict[str, Any] = {} if not body or "more" in body else {**PAIR, "callback_url": place.hook()}
    status, said, _ = await place.ask("POST", ASK, json={**good, **body})
    assert (status, said["code"], set(said["fields"])) == (400, "bad_fields", bad)
    assert "secret-word" not in str(said)
    assert (await place.rows("requests"), await place.rows("queue")) == (0, 0)


@pytest.mark.parametrize(
    "station", [STATION, STATION.upper(), STATION.replace("-", ""), "Z" * 36, "0f8fad5bd9cb469fa16570867728950eABCD"]
)
async def test_each_kind_of_station_id(place: Place, station: str) -> None:
    request_id = await place.request(station_id=station)
    assert (await place.logged(request_id))["station_id"] == station, "as it was sent"


@pytest.mark.parametrize(
    ("who", "method", "path", "status"),
    [
        ("a authority:read authority:write", "POST", ASK, 403),
        ("a authority:request authority:write", "POST", CHECK, 403),
        ("a authority:request authority:read", "POST", INSERT, 403),
        ("a authority:request authority:write", "GET", "/api/acl/", 403),
        ("a authority:request authority:write", "GET", "/api/getrequestlog/", 403),
        ("a authority:request authority:write", "GET", "/api/deadletters/", 403),
        ("a authority:request authority:read", "DELETE", f"/api/acl/{STATION}", 403),
        ("a authority:request authority:read", "POST", f"/api/deadletters/{STATION}/retry", 403),
        ("a authority:read authority:write", "GET", f"/api/requests/{STATION}", 403),
        ("a", "DELETE", f"/api/acl/{STATION}", 404),
        ("a", "DELETE", "/api/acl/x", 404),
        ("a", "POST", f"/api/deadletters/{STATION}/retry", 404),
        ("a", "GET", f"/api/requests/{STATION}", 404),
        ("a", "GET", "/api/getrequestlog?limit=0", 400),
        ("a", "GET", "/api/getrequestlog?status=perhaps", 400),
        ("a", "GET", "/api/acl?after=-1", 400),
        ("a", "GET", "/api/acl?before=1", 400),
    ],
)
@one_database
async def test_who_may_do_what(place: Place, who: str, method: str, path: str, status: int) -> None:
    assert (await place.ask(method, path, who, json={}))[0] == status


async def test_nobody_is_allowed_before_an_entry_is_there(place: Place) -> None:
    async def check(**more: str) -> tuple[bool, str]:
        _, said, _ = await place.ask("POST", CHECK, json={**PAIR, **more})
        assert set(said) == {"allowed", "reason"}
        return said["allowed"], said["reason"]

    assert await check() == (False, "not_listed")
    await place.allow()
    assert await check() == (True, "listed")
    assert await check(driver_token=TOKEN + "x") == (False, "not_listed")
    assert await check(driver_token=TOKEN.upper()) == (False, "not_listed")
    assert await check(station_id="Z" * 36) == (False, "not_listed")
    assert await check(station_id=STATION.replace("-", "").upper()) == (True, "listed"), "the same UUID"


async def test_inserting_twice_is_there_once_and_the_expiry_is_the_last_one(place: Place) -> None:
    status, first, _ = await place.ask("POST", INSERT, json={**PAIR, "valid_s": 60})
    assert (status, first["active"], first["expires_at"]) == (201, True, "2025-11-21T00:01:00Z")
    place.clock.advance(59.999)
    assert (await place.ask("POST", CHECK, json=PAIR))[1]["allowed"]
    place.clock.advance(0.001)
    assert (await place.ask("POST", CHECK, json=PAIR))[1] == {"allowed": False, "reason": "expired"}
    status, second, _ = await place.ask("POST", INSERT.rstrip("/"), "other", json=PAIR)
    assert (status, second["entry_id"], second["expires_at"]) == (200, first["entry_id"], None)
    assert (second["created_at"], second["client"]) == (first["created_at"], "other")
    assert (await place.ask("POST", CHECK, json=PAIR))[1]["allowed"]
    assert await place.rows("acl") == 1


@pytest.mark.parametrize(
    ("given", "expires", "active"),
    [
        ({"expires_at": "2025-11-21T01:00:00+01:00"}, "2025-11-21T00:00:00Z", False),
        ({"expires_at": "2025-11-21T00:00:00.001Z"}, "2025-11-21T00:00:00.001000Z", True),
        ({"expires_at": "2025-11-22T00:00:00Z", "valid_s": 1}, "2025-11-21T00:00:01Z", True),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "1970-01-01T00:00:00Z", False),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "9999-12-31T00:00:00Z", True),
    ],
)
async def test_expiries(place: Place, given: dict[str, Any], expires: str, active: bool) -> None:
    said = await place.allow(**given)
    assert (said["expires_at"], said["active"]) == (expires, active)
    assert (await place.ask("POST", CHECK, json=PAIR))[1]["allowed"] is active


@pytest.mark.parametrize(
    "given",
    [{"expires_at": "2025-11-22T00:00:00"}, {"expires_at": "tomorrow"}, {"expires_at": 1}, {"valid_s": 0}, {"x": 1}],
)
@one_database
async def test_an_expiry_that_is_none(place: Place, given: dict[str, Any]) -> None:
    status, said, _ = await place.ask("POST", INSERT, json={**PAIR, **given})
    assert (status, set(said["fields"]), await place.rows("acl")) == (400, set(given), 0)


async def test_the_list_is_paged_and_entries_can_be_removed(place: Place) -> None:
    made = [await place.allow(f"{TOKEN}{number}") for number in range(5)]
    await place.allow(station="Z" * 36)
    path, shown, pages = "/api/acl?limit=2", [], 0
    while path:
        status, said, _ = await place.ask("GET", path)
        assert status == 200 and len(said["entries"]) <= 2
        shown += said["entries"]
        pages += 1
        path = "" if said["next"] is None else f"/api/acl/?limit=2&after={said['next']}"
    assert (shown[:5], len(shown), pages) == (made, 6, 3)
    _, said, _ = await place.ask("GET", f"/api/acl/?station_id={STATION.upper()}")
    assert said == {"entries": made, "next": None}
    assert (await place.ask("DELETE", f"/api/acl/{made[0]['entry_id']}"))[0] == 204
    assert (await place.ask("DELETE", f"/api/acl/{made[0]['entry_id']}"))[0] == 404
    assert (await place.ask("POST", CHECK, json={**PAIR, "driver_token": TOKEN + "0"}))[1]["reason"] == "not_listed"
    assert (await place.ask("POST", CHECK, json={**PAIR, "driver_token": TOKEN + "1"}))[1]["allowed"]


async def test_the_list_has_an_end(make_place: MakePlace) -> None:
    place = await make_place(AuthoritySettings(acl_entries=2))
    await place.allow()
    await place.allow(TOKEN + "2")
    status, said, _ = await place.ask("POST", INSERT, json={**PAIR, "driver_token": TOKEN + "3"})
    assert (status, said["code"], await place.rows("acl")) == (409, "acl_full", 2)
    assert (await place.ask("POST", INSERT, json=PAIR))[0] == 200, "one that is there can still be changed"


async def test_the_log_is_filtered_and_the_newest_comes_first(place: Place) -> None:
    await place.allow()
    made = []
    for number in range(4):
        place.clock.advance(1)
        made.append(await place.request(TOKEN if number % 2 else "unknown-token-of-nobody"))
    await place.request(station_id="Z" * 36)
    await place.concern.worker.step()
    made.append(await place.request())

    async def ids(query: str = "") -> list[str]:
        _, said, _ = await place.ask("GET", f"/api/getrequestlog{query}")
        return [entry["request_id"] for entry in said["entries"]]

    assert await ids(f"?station_id={STATION}") == made[::-1]
    assert await ids("?status=allowed") == [made[3], made[1]]
    assert await ids(f"?status=not_allowed&station_id={STATION.replace('-', '')}") == [made[2], made[0]]
    assert await ids("?status=pending") == [made[4]]
    assert await ids("?status=unknown") == await ids("?status=invalid") == []
    assert await ids(f"?request_id={made[2]}") == [made[2]]
    _, first, _ = await place.ask("GET", "/api/getrequestlog?limit=4")
    _, rest, _ = await place.ask("GET", f"/api/getrequestlog?limit=4&before={first['next']}")
    assert [entry["request_id"] for entry in (first["entries"] + rest["entries"])[2:]] == made[3::-1]
    assert rest["next"] is None
    entry = await place.logged(made[1])
    assert entry["received_at"] == "2025-11-21T00:00:02Z" and entry["decided_at"] == "2025-11-21T00:00:04Z"
    assert (entry["status"], entry["reason"]) == ("allowed", "listed")


async def test_a_request_belongs_to_its_client(place: Place) -> None:
    request_id = await place.request(who="anna")
    status, said, _ = await place.ask("GET", f"/api/requests/{request_id}", "anna authority:request")
    assert (status, said["status"], said["station_id"], said["decided_at"]) == (200, "pending", STATION, None)
    assert (await place.ask("GET", f"/api/requests/{request_id}", "ben authority:request"))[0] == 404
    await place.concern.worker.step()
    _, said, _ = await place.ask("GET", f"/api/requests/{request_id}", "anna authority:request")
    assert (said["status"], said["callback"]) == ("not_allowed", "pending")


async def test_a_full_queue_is_503_and_stores_nothing(make_place: MakePlace) -> None:
    place = await make_place(AuthoritySettings(backlog=3, client_backlog=2, full_retry_s=7))

    async def post(who: str) -> tuple[int, Any, Any]:
        return await place.ask("POST", ASK, who, json={**PAIR, "callback_url": place.hook()})

    assert [(await post(who))[0] for who in ("anna", "anna", "anna", "ben", "ben")] == [202, 202, 503, 202, 503]
    status, said, headers = await post("carl")
    assert (status, said["code"], headers["Retry-After"]) == (503, "queue_full", "7")
    assert (await place.rows("requests"), await place.rows("queue")) == (3, 3)
    # Decided, they are callbacks that wait, which is as bad.
    await place.concern.worker.step()
    assert (await place.rows("queue"), await place.rows("callbacks")) == (0, 3)
    assert [(await post(who))[0] for who in ("anna", "ben", "carl")] == [503] * 3


async def test_callbacks_that_wait_are_counted_for_each_client(make_place: MakePlace) -> None:
    place = await make_place(AuthoritySettings(client_backlog=2))
    for _ in range(2):
        await place.request(who="anna")
    await place.concern.worker.step()
    body = {**PAIR, "callback_url": place.hook()}
    assert [(await place.ask("POST", ASK, who, json=body))[0] for who in ("anna", "ben")] == [503, 202]


async def test_no_token_is_shown_or_stored_as_it_is(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    secret_path = "/hook/of-a-secret-path"
    await place.allow()
    request_id = await place.request(callback_url=place.hook(secret_path))
    await place.ask("POST", CHECK, json=PAIR)
    await place.concern.worker.step()
    for path in ("/api/acl/", "/api/getrequestlog/", f"/api/requests/{request_id}", "/api/deadletters/"):
        assert (await place.ask("GET", path))[0] == 200
    assert not any(TOKEN in text or "secret-path" in text for text in place.texts)
    assert TOKEN not in caplog.text
    if place.database.sqlite:
        folder = place.database.engine.url.database
        assert folder is not None
        for suffix in ("", "-wal"):
            with open(folder + suffix, "rb") as file:
                stored = file.read()
            assert TOKEN.encode() not in stored and b"secret-path" not in stored
