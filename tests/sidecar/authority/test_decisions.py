"""One decision for each request, whatever is repeated, late, broken or away."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.exc import OperationalError

from evcharge.sidecar.authority.acl import Asked
from evcharge.sidecar.authority.log import Verdict
from evcharge.sidecar.authority.queue import Taken, Waiting
from evcharge.sidecar.authority.sealing import Sealer, Secrets
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import Decision, Reason, callbacks_table, queue_table, requests_table
from evcharge.sidecar.outgoing.guard import Guard
from evcharge.sidecar.outgoing.settings import OutgoingSettings
from tests.sidecar.authority.conftest import PEPPER, SEAL_KEY, STATION, TOKEN, MakePlace, Place


async def queued(place: Place) -> list[Waiting]:
    async with place.database.reading() as connection:
        rows = (await connection.execute(select(queue_table.c.data).order_by(queue_table.c.number))).scalars().all()
    return [msgspec.msgpack.decode(data, type=Waiting) for data in rows]


async def overwrite(place: Place, data: bytes) -> None:
    async with place.database.writing() as connection:
        await connection.execute(update(queue_table).values(data=data))


async def test_a_batch_is_decided_by_the_list(place: Place) -> None:
    await place.allow()
    await place.allow(TOKEN + "-old", valid_s=1)
    place.clock.advance(2)
    asked = {token: await place.request(token) for token in (TOKEN, TOKEN + "-old", TOKEN + "-other")}
    await place.concern.worker.step()
    said = {token: await place.logged(request_id) for token, request_id in asked.items()}
    assert [(one["status"], one["reason"], one["callback"]) for one in said.values()] == [
        ("allowed", "listed", "pending"),
        ("not_allowed", "expired", "pending"),
        ("not_allowed", "not_listed", "pending"),
    ]
    assert (await place.rows("queue"), await place.rows("callbacks")) == (0, 3)


async def test_a_request_is_unknown_when_it_is_older_than_half_an_hour(place: Place) -> None:
    await place.allow()
    late = await place.request()
    place.clock.advance(0.25)
    last = await place.request()
    place.clock.advance(1800)
    await place.concern.worker.step()
    said = [await place.logged(request_id) for request_id in (late, last)]
    assert [(one["status"], one["reason"]) for one in said] == [("unknown", "too_old"), ("allowed", "listed")]
    assert await place.rows("callbacks") == 2


class Silent:
    """An authority that never answers."""

    async def check(self, asked: Sequence[Asked], now_ms: int) -> Sequence[Reason]:
        await asyncio.Event().wait()
        raise AssertionError


class Broken:
    """An authority whose database fails as often as it is told to."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def check(self, asked: Sequence[Asked], now_ms: int) -> Sequence[Reason]:
        if self.times:
            self.times -= 1
            raise OperationalError("SELECT", {}, Exception("disk I/O error"))
        return [Reason.LISTED for _ in asked]


async def test_a_request_is_unknown_when_the_authority_does_not_answer(make_place: MakePlace) -> None:
    place: Place = await make_place(AuthoritySettings(check_s=0.01), authority=Silent())
    request_id = await place.request()
    await place.concern.worker.step()
    entry = await place.logged(request_id)
    assert (entry["status"], entry["reason"], await place.rows("callbacks")) == ("unknown", "timeout", 1)


async def test_a_database_that_fails_decides_nothing_and_is_asked_again(make_place: MakePlace) -> None:
    place: Place = await make_place(authority=Broken(3))
    request_id = await place.request()
    with pytest.raises(OperationalError):
        await place.concern.worker.step()
    assert ((await place.logged(request_id))["status"], await place.rows("queue")) == ("pending", 1)
    async with place.working():
        await place.until_logged(request_id, status="allowed", callback="delivered")
    assert await place.rows("queue") == 0


@pytest.mark.parametrize(
    "change", [{"station_id": "x"}, {"driver_token": "short"}, {"callback_url": "http://169.254.169.254/"}]
)
async def test_what_fails_its_second_validation_is_invalid(place: Place, change: dict[str, str]) -> None:
    await place.allow()
    request_id = await place.request()
    (one,) = await queued(place)
    fields = {"driver_token": TOKEN, "callback_url": place.hook()}
    secrets = Secrets(request_id=request_id, **{**fields, **{name: change[name] for name in fields if name in change}})
    changed = msgspec.structs.replace(
        one, station_id=change.get("station_id", STATION), sealed=Sealer(PEPPER, SEAL_KEY).seal(secrets)
    )
    await overwrite(place, msgspec.msgpack.encode(changed))
    async with place.working():
        entry = await place.until_logged(request_id, status="invalid")
        assert entry["reason"] == "bad_fields"
        told = "dead" if "callback_url" in change else "delivered"
        entry = await place.until_logged(request_id, callback=told)
    assert (entry["attempts"], entry["callback_said"]) == ((1, "refused") if told == "dead" else (1, "204"))
    assert [body["status"] for body in place.receiver.bodies()] == ([] if told == "dead" else ["invalid"])


async def test_a_site_that_no_longer_excepts_a_receiver_does_not_call_it(make_place: MakePlace) -> None:
    place: Place = await make_place()
    literal = f"http://127.0.0.1:{place.receiver.port}/hook"
    request_id = await place.request(callback_url=literal)
    stricter: Place = await make_place(guard=Guard(OutgoingSettings()))
    async with stricter.working():
        entry = await stricter.until_logged(request_id, callback="dead")
    assert (entry["status"], entry["reason"], place.receiver.got) == ("invalid", "bad_fields", [])


@pytest.mark.parametrize("kind", ["another key", "another request", "noise"])
async def test_what_cannot_be_opened_is_invalid_and_nobody_is_told(place: Place, kind: str) -> None:
    await place.allow()
    request_id = await place.request()
    (one,) = await queued(place)
    sealer = Sealer(PEPPER, SEAL_KEY)
    foreign = Secrets(request_id=STATION, driver_token=TOKEN, callback_url=place.hook())
    sealed = {
        "another key": Sealer(PEPPER, b"A" * 43 + b"=").seal(msgspec.structs.replace(foreign, request_id=request_id)),
        "another request": sealer.seal(foreign),
        "noise": b"\x80" * 120,
    }[kind]
    await overwrite(place, msgspec.msgpack.encode(msgspec.structs.replace(one, sealed=sealed)))
    await place.concern.worker.step()
    entry = await place.logged(request_id)
    assert (entry["status"], entry["reason"], entry["callback"]) == ("invalid", "unreadable", "dead")
    assert (await place.rows("queue"), await place.rows("callbacks")) == (0, 0)


async def test_a_message_that_is_none_does_not_hold_up_the_others(place: Place) -> None:
    await place.request()
    await overwrite(place, b"\xc1 no message")
    request_id = await place.request()
    await place.concern.worker.step()
    assert (await place.logged(request_id))["status"] == "not_allowed"
    assert await place.rows("queue") == 0


async def test_taken_twice_it_is_decided_once(place: Place) -> None:
    """As after a kill between the decision and its acknowledgement, with a list that has changed since."""
    request_id = await place.request()
    (one,) = await queued(place)
    await place.concern.worker.step()
    first = await place.logged(request_id)
    assert first["status"] == "not_allowed"
    async with place.database.writing() as connection:
        row = {"client": "shop", "data": msgspec.msgpack.encode(one)}
        await connection.execute(insert(queue_table), [row, row])
    await place.allow()
    place.clock.advance(60)
    await place.concern.worker.step()
    assert await place.logged(request_id) == first
    assert (await place.rows("queue"), await place.rows("callbacks")) == (0, 1)
    async with place.working():
        await place.until_logged(request_id, callback="delivered")
    assert [body["status"] for body in place.receiver.bodies()] == ["not_allowed"]


async def test_two_workers_at_once_decide_once(place: Place) -> None:
    """Two of a broker's consumers that were given the same messages."""
    ids = [await place.request() for _ in range(20)]
    log = place.concern.worker._requests
    sealed = [one.sealed for one in await queued(place)]

    def verdicts(decision: Decision, reason: Reason) -> list[Verdict]:
        return [
            Verdict(request_id=name, decision=decision, reason=reason, sealed=data)
            for name, data in zip(ids, sealed, strict=True)
        ]

    yes, no = await asyncio.gather(
        log.decide(verdicts(Decision.ALLOWED, Reason.LISTED), 1),
        log.decide(verdicts(Decision.NOT_ALLOWED, Reason.NOT_LISTED)[::-1], 2),
    )
    assert len(yes) + len(no) == 20 == await place.rows("callbacks")
    assert {one.request_id for one in [*yes, *no]} == set(ids)


async def test_a_decision_for_a_request_that_is_not_there_is_nothing(place: Place) -> None:
    await place.request()
    async with place.database.writing() as connection:
        await connection.execute(delete(requests_table))
    await place.concern.worker.step()
    assert (await place.rows("queue"), await place.rows("callbacks")) == (0, 0)


async def test_a_queue_takes_the_oldest_first_and_gives_again_what_is_not_acknowledged(place: Place) -> None:
    ids = [await place.request() for _ in range(5)]
    queue = place.concern.worker._queue

    def names(taken: Sequence[Taken]) -> list[str]:
        return [msgspec.msgpack.decode(one.data, type=Waiting).request_id for one in taken]

    first = await queue.take(3)
    assert names(first) == ids[:3] == names(await queue.take(3))
    await queue.ack(first[1:])
    assert names(await queue.take(9)) == [ids[0], *ids[3:]]


async def test_an_empty_queue_waits_until_something_is_committed(place: Place) -> None:
    taking = asyncio.create_task(place.concern.worker.step())
    await place.ask("GET", "/api/getrequestlog/")
    assert not taking.done()
    request_id = await place.request()
    await taking
    assert (await place.logged(request_id))["status"] == "not_allowed"


class Locked:
    """Another process that writes to the file and does not end."""

    def __init__(self, place: Place) -> None:
        assert place.database.engine.url.database is not None
        self._connection = sqlite3.connect(place.database.engine.url.database, isolation_level=None, timeout=0)

    async def __aenter__(self) -> None:
        """When nobody else holds it: this loop has to go on meanwhile, or who holds it never ends."""
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                await asyncio.sleep(0)
            else:
                return

    async def __aexit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


async def test_a_locked_database_is_503_with_nothing_half_done_and_recovers(place: Place) -> None:
    if not place.database.sqlite:
        pytest.skip("a file's lock")
    before = await place.request()
    body = {"station_id": STATION, "driver_token": TOKEN, "callback_url": place.hook()}
    async with place.working():
        await place.until_logged(before, callback="delivered")
        async with Locked(place):
            status, said, headers = await place.ask("POST", "/api/chargingRequestValidator/", json=body)
            assert (status, said["code"], headers["Retry-After"]) == (503, "database", "5")
            assert (await place.ask("POST", "/api/insertACL/", json=body | {"callback_url": None}))[0] == 400
            del body["callback_url"]
            assert (await place.ask("POST", "/api/insertACL/", json=body))[0] == 503
            assert (await place.ask("GET", "/api/getrequestlog/"))[0] == 200, "readers go on"
        assert (await place.rows("requests"), await place.rows("queue"), await place.rows("acl")) == (1, 0, 0)
        await place.allow()
        after = await place.request()
        await place.until_logged(after, status="allowed", callback="delivered")


async def test_a_command_that_writes_at_the_same_moment_refuses_nobody(place: Place) -> None:
    """Another process's transaction falls into the middle of an acceptance: one of the two waits, none is undone."""
    if not place.database.sqlite:
        pytest.skip("a file's lock")
    path = place.database.engine.url.database
    assert path is not None
    tried = 0

    def meddle(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal tried
        if "count(" not in statement:
            return
        tried += 1
        other = sqlite3.connect(path, timeout=0)
        with contextlib.suppress(sqlite3.OperationalError):
            other.execute("INSERT INTO meta VALUES (?, ?)", (f"other{tried}", b""))
            other.commit()
        other.close()

    event.listen(place.database.engine.sync_engine, "before_cursor_execute", meddle)
    await place.request()
    assert tried


async def test_a_lock_while_it_is_decided_and_told_delays_both_and_repeats_neither(place: Place) -> None:
    if not place.database.sqlite:
        pytest.skip("a file's lock")
    place.receiver.gates["/hook"] = asyncio.Event()
    request_id = await place.request()
    failed = asyncio.Event()

    def note(context: Any) -> None:
        failed.set()

    event.listen(place.database.engine.sync_engine, "handle_error", note)
    async with Locked(place), place.working():
        async with asyncio.timeout(20):
            await failed.wait()
        assert (await place.logged(request_id))["status"] == "pending"
    async with place.working():
        await place.until_logged(request_id, status="not_allowed")
        async with asyncio.timeout(20):
            while not place.receiver.got:
                await asyncio.sleep(0)
        failed.clear()
        async with Locked(place):
            place.receiver.gates["/hook"].set()
            async with asyncio.timeout(20):
                await failed.wait()
        entry = await place.until_logged(request_id, callback="delivered")
    assert (entry["attempts"], len(place.receiver.got)) == (1, 1)


async def test_a_full_disk_is_503_with_nothing_half_done(place: Place) -> None:
    if not place.database.sqlite:
        pytest.skip("a file's size")
    await place.request()

    def limit(connection: Any, _record: object, _proxy: object = None) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count={pages}")
        cursor.close()

    event.listen(place.database.engine.sync_engine, "checkout", limit)
    body = {"station_id": STATION, "driver_token": TOKEN, "callback_url": place.hook("/" + "x" * 1900)}
    accepted = 1
    while True:
        status, said, _ = await place.ask("POST", "/api/chargingRequestValidator/", json=body)
        if status != 202:
            break
        accepted += 1
        assert accepted < 200
    assert (status, said["code"]) == (503, "database")
    assert await place.rows("requests") == await place.rows("queue") == accepted
    assert "disk" in said["detail"] and "INSERT" not in str(said)


async def test_the_tokens_hash_needs_the_pepper() -> None:
    one, other = Sealer(PEPPER, SEAL_KEY), Sealer(b"q" * 32, SEAL_KEY)
    assert one.hashed(TOKEN) != other.hashed(TOKEN) and len(one.hashed(TOKEN)) == 32
    with pytest.raises(ValueError, match="pepper"):
        Sealer(b"short", SEAL_KEY)
    with pytest.raises(ValueError, match="Fernet"):
        Sealer(PEPPER, b"short")


async def test_no_callback_is_there_before_its_decision_and_none_without(place: Place) -> None:
    """Both are one transaction: no reader ever sees one of them alone."""
    for number in range(10):
        await place.request(f"{TOKEN}{number}")
    done = asyncio.create_task(place.concern.worker.step())
    query = select(requests_table.c.decision, callbacks_table.c.request_id).outerjoin(
        callbacks_table, requests_table.c.request_id == callbacks_table.c.request_id
    )
    looks = 0
    while not done.done() or not looks:
        async with place.database.reading() as connection:
            rows = (await connection.execute(query)).all()
        assert {(row.decision is None) == (row.request_id is None) for row in rows} == {True}
        looks += 1
    await done
