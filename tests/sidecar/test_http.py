"""The registry over HTTP: a credential's whole life, refusals, secrets, feed and paging."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from evcharge.sidecar.registry import rules as module
from evcharge.sidecar.web import api as api_module
from evcharge.sidecar.web.route import BODY_BYTES
from protocol.credentials import Credential, Role, b64url, decode_password, key_id
from tests.sidecar.conftest import HandClock, MakeSite, Site, everything, one_database


def read(answer: dict[str, Any]) -> Credential:
    return Credential.from_json(msgspec.json.encode(answer))


async def look_up(site: Site, username: str, key: bytes) -> tuple[int, Any]:
    body = {"username": username, "public_key": b64url(key)}
    status, answer, _ = await site.ask("POST", "/verify", token=site.service, body=body)
    return status, answer


async def test_a_credential_lives_from_registration_to_revocation(site: Site) -> None:
    answer = await site.register("CP-1")
    credential = read(answer)
    assert set(answer) == {"username", "password", "role", "entity", "epoch", "central", "station_id"}
    assert (credential.username, credential.role, credential.entity, credential.epoch) == ("cp-cp-1", 1, "CP-1", 1)
    central = Credential.from_json(msgspec.json.encode(site.central["credential"]))
    assert credential.central_public_key == central.public_key()
    assert answer["central"]["kid"] == b64url(key_id(central.public_key()))

    person = {"username": "cp-cp-1", "password": answer["password"]}
    status, said, _ = await site.ask("POST", "/verify", body=person)
    assert (status, said) == (200, {"valid": True, "username": "cp-cp-1", "role": "cp", "entity": "CP-1"})

    status, found = await look_up(site, "cp-cp-1", credential.public_key())
    record = site.open(found["record"])
    assert status == 200
    assert (record.role, record.entity, record.status, record.not_after_ms) == (Role.CP, "CP-1", "active", None)
    assert record.keys == {1: credential.public_key()}
    assert record.station_id == answer["station_id"]

    status, shown, _ = await site.ask("GET", "/get/CP-1", token=site.operator)
    assert (status, shown["username"], shown["status"]) == (200, "cp-cp-1", "active")

    status, revoked, _ = await site.ask("DELETE", "/register/cp-cp-1", token=site.operator)
    assert (status, revoked["status"], revoked["rev"]) == (200, "revoked", record.rev + 1)
    again = await site.ask("DELETE", "/register/cp-cp-1", token=site.operator)
    assert again[:2] == (200, revoked)

    status, found = await look_up(site, "cp-cp-1", credential.public_key())
    assert (status, site.open(found["record"]).status) == (200, "revoked")
    status, said, _ = await site.ask("POST", "/verify", body=person)
    assert (status, said["code"]) == (401, "invalid")


async def test_registering_again_after_a_revocation_takes_the_next_epoch_and_keeps_the_station(site: Site) -> None:
    first = await site.register("CP-1")
    await site.ask("DELETE", "/register/CP-1", token=site.operator)
    second = await site.register("CP-1")
    assert (second["username"], second["epoch"]) == (first["username"], 2)
    assert second["station_id"] == first["station_id"]
    _, records = await site.changes()
    newest = next(record for record in records if record.username == "cp-cp-1")
    assert newest.keys == {2: read(second).public_key()}
    assert newest.status == "active"
    # The old key finds a record that does not hold it: Central turns it away.
    status, found = await look_up(site, "cp-cp-1", read(first).public_key())
    assert status == 200
    assert read(first).public_key() not in site.open(found["record"]).keys.values()
    status, *_ = await site.ask("POST", "/verify", body={"username": "cp-cp-1", "password": first["password"]})
    assert status == 401


async def test_a_username_belongs_to_one_entity_for_ever(site: Site) -> None:
    await site.register("CP-1", username="north")
    await site.ask("DELETE", "/register/north", token=site.operator)
    body = {"role": "cp", "entity": "CP-2", "username": "north"}
    status, said, _ = await site.ask("POST", "/register", token=site.operator, body=body)
    assert (status, said["code"]) == (409, "exists")
    assert "north" in said["detail"]


async def test_no_secret_is_in_any_other_answer_or_log_or_in_the_database(site: Site) -> None:
    with capture_logs() as logs:
        answer = await site.register("CP-1")
        for method, path, body in [
            ("POST", "/register", {"entity": "CP-1"}),
            ("POST", "/verify", {"username": "cp-cp-1", "password": answer["password"]}),
            ("POST", "/verify", {"username": "cp-cp-1", "password": answer["password"][:-1] + "!"}),
            ("POST", "/verify", {"username": answer["password"], "password": "x"}),
            ("GET", "/list", None),
            ("GET", "/get/CP-1", None),
            ("GET", f"/get/{answer['password']}", None),
            ("GET", "/health", None),
            ("DELETE", "/register/CP-1", None),
        ]:
            await site.ask(method, path, token=site.operator, body=body)
        await site.changes()
    secret = decode_password(answer["password"])
    private = read(answer).private_key()
    said = "".join(site.answers) + repr(logs)
    # The last 6 characters check the first ones; a part of the password is a leak as well.
    for part in (answer["password"][5:30], answer["password"][20:48], site.operator, site.service, private.hex()):
        assert part not in said
    hidden = [secret, private, answer["password"].encode()[5:40], site.operator.encode(), site.service.encode()]
    hidden.append((site.directory / "registry.key").read_bytes().strip())
    stored = await everything(site.database)
    assert read(answer).public_key() in stored, "the search would not find raw bytes"
    assert all(value not in stored for value in hidden)
    assert answer["password"] not in repr(site.opened.registry) + repr(site.opened.credential)


@pytest.mark.parametrize("body", [{"entity": "CP-1"}, {"entity": "CP-1", "username": "other"}])
async def test_a_second_registration_is_refused_without_a_secret(site: Site, body: dict[str, str]) -> None:
    await site.register("CP-1")
    status, said, headers = await site.ask("POST", "/register", token=site.operator, body=body)
    assert (status, said["code"]) == (409, "exists")
    assert "cp-cp-1" in said["detail"]
    assert "password" not in said
    assert headers["Cache-Control"] == "no-store"


async def test_of_two_registrations_at_once_one_wins(site: Site) -> None:
    bodies = [{"entity": "CP-1", "username": f"name-{number}"} for number in range(6)]
    asked = [site.ask("POST", "/register", token=site.operator, body=body) for body in bodies]
    statuses = sorted(status for status, *_ in await asyncio.gather(*asked))
    assert statuses == [201, 409, 409, 409, 409, 409]
    _, records = await site.changes()
    assert sum(record.entity == "CP-1" for record in records) == 1


async def test_entity_is_one_per_role(site: Site) -> None:
    for role in ("cp", "monitor", "driver", "debug", "gateway"):
        answer = await site.register("CP-1", role)
        assert answer["username"] == f"{role}-cp-1"
        assert ("station_id" in answer) == (role == "cp")
    status, said, _ = await site.ask("GET", "/get/CP-1", token=site.service)
    assert (status, said["code"]) == (409, "ambiguous")
    assert all(f"{role}-cp-1" in said["detail"] for role in ("cp", "monitor", "driver"))
    status, said, _ = await site.ask("DELETE", "/register/CP-1", token=site.operator)
    assert status == 409
    status, said, _ = await site.ask("DELETE", "/register/CP-77", token=site.operator)
    assert (status, said["code"]) == (404, "unknown")


@pytest.mark.parametrize("name", ["entity", "cp_id", "id"])
async def test_a_charge_point_may_be_named_by_its_id(site: Site, name: str) -> None:
    status, answer, headers = await site.ask("POST", "/register", token=site.operator, body={name: "CP-9"})
    assert (status, answer["role"], answer["entity"]) == (201, "cp", "CP-9")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"entity"}),
        ({"role": "pilot", "entity": "", "username": "Ä"}, {"role", "entity", "username"}),
        ({"role": 3, "entity": 4, "username": 5}, {"role", "entity", "username"}),
        ({"role": "central", "entity": "central2"}, {"role"}),
        ({"role": "driver", "cp_id": "anna"}, {"entity"}),
        ({"entity": "CP-1", "cp_id": "CP-2"}, {"entity"}),
        ({"cp_id": ["CP-1"]}, {"cp_id"}),
        ({"entity": "CP-1\n"}, {"entity"}),
        ({"entity": "a/b"}, {"entity"}),
        ({"entity": "a" * 65}, {"entity"}),
        ({"entity": "CP-1", "username": "UPPER"}, {"username"}),
        ({"entity": "CP-1", "username": ""}, {"username"}),
    ],
)
@one_database
async def test_every_bad_field_is_named(site: Site, body: dict[str, object], fields: set[str]) -> None:
    status, said, _ = await site.ask("POST", "/register", token=site.operator, body=body)
    assert (status, said["code"], set(said["fields"])) == (422, "bad_fields", fields)
    assert all(name in said["detail"] for name in fields)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'"text"', b"[" * 9000, b'{"entity": "\xff"}', b'{"a":1}x']
)
@one_database
async def test_a_body_that_is_no_object_is_refused(site: Site, data: bytes) -> None:
    for path in ("/register", "/verify"):
        status, said, _ = await site.ask("POST", path, token=site.operator, data=data)
        assert (status, said["code"]) == (400, "bad_request")
        assert said["detail"]


@one_database
async def test_a_body_above_the_limit_is_refused(site: Site) -> None:
    data = b'{"entity": "CP-1", "note": "' + b"x" * BODY_BYTES + b'"}'
    status, said, _ = await site.ask("POST", "/register", token=site.operator, data=data)
    assert (status, said["code"]) == (413, "too_large")


@one_database
async def test_other_paths_and_methods_answer_json_too(site: Site) -> None:
    status, said, headers = await site.ask("GET", "/nothing")
    assert (status, said["code"]) == (404, "not_found")
    assert headers["Cache-Control"] == "no-store"
    status, said, headers = await site.ask("PUT", "/register")
    assert (status, said["code"]) == (405, "method_not_allowed")
    assert headers["Allow"] == "POST"


GUARDED = [
    ("POST", "/register", "operator"),
    ("DELETE", "/register/x", "operator"),
    ("GET", "/list", "any"),
    ("GET", "/get/x", "any"),
    ("GET", "/changes", "service"),
]


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
@one_database
async def test_each_route_asks_for_its_token(make_site: MakeSite, method: str, path: str, scope: str) -> None:
    site: Site = await make_site(failed_authentications=100)
    for token in (None, "", "x", site.operator[:-1], site.operator + "x", "ö"):
        header = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with site.client.request(method, path, headers=header) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert (await response.json())["code"] == "unauthorized"
    async with site.client.request(method, path, headers={"Authorization": f"Basic {site.operator}"}) as response:
        assert response.status == 401
    for name, token in (("operator", site.operator), ("service", site.service)):
        status, said, _ = await site.ask(method, path, token=token)
        if scope in (name, "any"):
            assert status not in (401, 403)
        else:
            assert (status, said["code"]) == (403, "forbidden")


async def test_failed_authentications_are_throttled_but_a_good_token_passes(site: Site, clock: HandClock) -> None:
    statuses = [(await site.ask("GET", "/list", token="wrong"))[0] for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    status, said, headers = await site.ask("GET", "/list", token="wrong")
    assert (status, said["code"]) == (429, "throttled")
    assert int(headers["Retry-After"]) == 600
    assert (await site.ask("GET", "/list", token=site.operator))[0] == 200
    clock.advance(600.0)
    assert (await site.ask("GET", "/list", token="wrong"))[0] == 401


async def test_password_checks_are_throttled_and_look_ups_are_not(site: Site, clock: HandClock) -> None:
    answer = await site.register("CP-1")
    person = {"username": "cp-cp-1", "password": answer["password"]}
    statuses = [(await site.ask("POST", "/verify", body=person))[0] for _ in range(31)]
    assert statuses == [200] * 30 + [429]
    clock.advance(60.0)
    assert (await site.ask("POST", "/verify", body=person))[0] == 200
    key = read(answer).public_key()
    for _ in range(30):
        assert (await look_up(site, "cp-cp-1", key))[0] == 200


async def test_a_wrong_password_and_an_unknown_name_get_one_answer(make_site: MakeSite) -> None:
    site: Site = await make_site(failed_authentications=100)
    answer = await site.register("CP-1")
    other = await site.register("CP-2")
    said = []
    for username, password in [
        ("cp-cp-1", other["password"]),
        ("nobody", answer["password"]),
        ("cp-cp-1", "short"),
        ("cp-cp-1", answer["password"][:-1] + "~"),
        ("", ""),
        ("cp-cp-1\x00", answer["password"]),
        ("cp-cp-1", "ü" * 54),
    ]:
        status, body, _ = await site.ask("POST", "/verify", body={"username": username, "password": password})
        del body["request_id"]
        said.append((status, tuple(body.items())))
    assert len(set(said)) == 1
    assert said[0][0] == 401


async def test_an_unknown_name_costs_the_derivations_of_a_known_one(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site: Site = await make_site(failed_authentications=100)
    answer = await site.register("CP-1")
    calls: list[str] = []
    derive = module.static_private_key

    def counted(secret: bytes, username: str, role: Role, epoch: int) -> bytes:
        calls.append(username)
        return derive(secret, username, role, epoch)

    monkeypatch.setattr(module, "static_private_key", counted)
    counts = []
    for username, password in [("cp-cp-1", answer["password"]), ("nobody", answer["password"]), ("x" * 400, "bad")]:
        calls.clear()
        await site.ask("POST", "/verify", body={"username": username, "password": password})
        counts.append(len(calls))
    assert len(set(counts)) == 1
    assert counts[0] >= 2


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"username": 1, "password": 2}, {"username", "password"}),
        ({"username": "x"}, {"password"}),
        ({}, {"username"}),
        ({"username": "x", "password": "y", "public_key": "A" * 43}, {"public_key"}),
    ],
)
@one_database
async def test_bad_password_checks_name_their_fields(site: Site, body: dict[str, object], fields: set[str]) -> None:
    status, said, _ = await site.ask("POST", "/verify", body=body)
    assert (status, set(said["fields"])) == (422, fields)


async def test_look_ups_need_the_service_token_and_a_key(site: Site) -> None:
    answer = await site.register("CP-1")
    key = read(answer).public_key()
    body = {"username": "cp-cp-1", "public_key": b64url(key)}
    assert (await site.ask("POST", "/verify", body=body))[0] == 401
    assert (await site.ask("POST", "/verify", token=site.operator, body=body))[0] == 403
    status, said = await look_up(site, "nobody", key)
    assert (status, said["code"]) == (404, "unknown")
    assert (await look_up(site, "cp-cp-1", bytes(32)))[0] == 404
    for bad in ("x", 5, b64url(key)[:-2], b64url(key) + "="):
        status, said, _ = await site.ask("POST", "/verify", token=site.service, body={"username": 7, "public_key": bad})
        assert (status, set(said["fields"])) == (422, {"username", "public_key"})


async def test_a_debug_credential_is_short_lived_and_may_be_made_anew(site: Site, clock: HandClock) -> None:
    first = await site.register("ops", "debug")
    _, records = await site.changes()
    assert records[-1].not_after_ms == clock.steady_ms() + 3_600_000
    status, *_ = await site.ask("POST", "/register", token=site.operator, body={"role": "debug", "entity": "ops"})
    assert status == 409
    clock.advance(3600.0)
    person = {"username": "debug-ops", "password": first["password"]}
    assert (await site.ask("POST", "/verify", body=person))[0] == 401
    assert (await site.register("ops", "debug"))["epoch"] == 2
    clock.advance(3600.0)
    renamed = await site.register("ops", "debug", username="console")
    assert renamed["epoch"] == 1
    _, records = await site.changes()
    states = {record.username: record.status for record in records}
    assert (states["debug-ops"], states["console"]) == ("revoked", "active")


async def test_central_cannot_be_revoked(site: Site) -> None:
    status, said, _ = await site.ask("DELETE", "/register/central", token=site.operator)
    assert (status, said["code"]) == (409, "pinned")


async def test_pages_are_complete_in_order_and_without_secrets(site: Site) -> None:
    for number in range(7):
        await site.register(f"CP-{number}")
        await site.register(f"d{number}", "driver")
    seen: list[str] = []
    after = ""
    for _ in range(20):
        status, page, _ = await site.ask("GET", f"/list?limit=3&after={after}", token=site.service)
        assert status == 200
        assert len(page["credentials"]) <= 3
        seen += [row["username"] for row in page["credentials"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen)) == 14 + 2
    _, page, _ = await site.ask("GET", "/list?role=driver", token=site.operator)
    assert [row["entity"] for row in page["credentials"]] == [f"d{number}" for number in range(7)]
    assert set(page["credentials"][0]) == {
        "username",
        "role",
        "entity",
        "status",
        "rev",
        "keys",
        "not_after_ms",
        "station_id",
    }
    _, page, _ = await site.ask("GET", "/list?limit=16", token=site.operator)
    assert (len(page["credentials"]), page["next"]) == (16, None)
    status, page, _ = await site.ask("GET", "/list?limit=5000", token=site.operator)
    assert (status, len(page["credentials"])) == (200, 16)


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=%C2%B2", "limit=" + "9" * 20, "role=pilot"])
@one_database
async def test_bad_queries_are_named(site: Site, query: str) -> None:
    status, said, _ = await site.ask("GET", f"/list?{query}", token=site.operator)
    assert (status, set(said["fields"])) == (422, {query.partition("=")[0]})


@one_database
async def test_health_is_open(site: Site) -> None:
    status, said, _ = await site.ask("GET", "/health")
    assert (status, said) == (200, {"status": "ok", "central": "unset", "rev": 2})


async def test_a_database_that_fails_is_a_503(site: Site) -> None:
    async with site.database.writing() as connection:
        await connection.execute(text("DROP TABLE keys"))
    status, said, headers = await site.ask("GET", "/list", token=site.operator)
    assert (status, said["code"], headers["Retry-After"]) == (503, "database", "5")


@pytest.mark.parametrize("word", ["%00", "%FF", "%ED%A0%80", "%F0%9F%98%80", "a" * 5000, "%25", "..%2F..", "%27OR"])
async def test_strange_names_are_unknown(site: Site, word: str) -> None:
    for method, path in (("GET", "/get/"), ("DELETE", "/register/")):
        status, said, _ = await site.ask(method, path + word, token=site.operator)
        assert (status, said["code"]) == (404, "unknown")
    status, *_ = await site.ask("GET", f"/list?after={word}", token=site.operator)
    assert status in (400, 422)
    body = b'{"username": "' + word.encode() + b'\\ud800", "password": "x"}'
    assert (await site.ask("POST", "/verify", data=body))[0] in (400, 401)


@one_database
async def test_a_body_that_never_ends_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "BODY_S", 0.05)
    reader, writer = await asyncio.open_connection(site.client.host, site.client.port)
    head = f"POST /register HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.operator}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    writer.write(head.encode() + b'{"entity"')
    assert b" 408 " in await reader.readline()
    writer.close()
