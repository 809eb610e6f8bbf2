"""Every table has an end: what is old goes, what is needed stays."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import requests_table
from tests.sidecar.authority.conftest import TOKEN, MakePlace, Place

DAY_S = 86_400


async def kept(place: Place) -> list[str]:
    async with place.database.reading() as connection:
        query = select(requests_table.c.request_id).order_by(requests_table.c.number)
        return list((await connection.execute(query)).scalars().all())


async def finished(place: Place, count: int, path: str = "/hook") -> list[str]:
    """Requests that are decided and told."""
    made = [await place.request(callback_url=place.hook(path)) for _ in range(count)]
    async with place.working():
        for request_id in made:
            await place.until_logged(request_id, callback="dead" if path == "/gone" else "delivered")
    return made


async def test_old_requests_go_a_few_at_a_time_and_open_ones_stay(make_place: MakePlace) -> None:
    place: Place = await make_place(AuthoritySettings(clean_rows=2))
    await finished(place, 5)
    waiting = await place.request()
    place.clock.advance(29 * DAY_S)
    young = await place.request()
    place.clock.advance(DAY_S)
    assert not await place.concern.cleaner.step(), "to the millisecond 30 days: not yet"
    assert await place.rows("requests") == 7
    place.clock.advance(1)
    sizes = []
    while await place.concern.cleaner.step():
        sizes.append(await place.rows("requests"))
    assert (sizes, await kept(place)) == ([5, 3], [waiting, young])


async def test_the_log_has_an_end_however_young_it_is(make_place: MakePlace) -> None:
    place: Place = await make_place(AuthoritySettings(log_rows=3))
    made = await finished(place, 5)
    open_one = await place.request()
    await place.concern.cleaner.step()
    assert await kept(place) == [*made[3:], open_one]


@pytest.mark.parametrize(("settings", "days"), [({}, 7), ({"dead_days": 0}, 0)])
async def test_a_failed_callbacks_token_goes_with_its_time(
    make_place: MakePlace, settings: dict[str, int], days: int
) -> None:
    place: Place = await make_place(AuthoritySettings(**settings))
    place.receiver.script["/gone"] = [410, 410]
    made = await finished(place, 2, "/gone")
    place.clock.advance(days * DAY_S)
    await place.concern.cleaner.step()
    assert await place.rows("callbacks") == 2
    place.clock.advance(1)
    await place.concern.cleaner.step()
    assert await place.rows("callbacks") == 0
    assert (await place.logged(made[0]))["callback"] == "dead", "the log still knows"
    assert (await place.ask("POST", f"/api/deadletters/{made[0]}/retry"))[0] == 404


async def test_failed_callbacks_have_an_end(make_place: MakePlace) -> None:
    place: Place = await make_place(AuthoritySettings(dead_letters=2))
    place.receiver.script["/gone"] = [410] * 3
    await finished(place, 1, "/gone")
    place.clock.advance(1)
    young = await finished(place, 2, "/gone")
    # One that waits is older than they are, and is none of them.
    place.clock.advance(-5)
    await place.request()
    await place.concern.worker.step()
    place.clock.advance(5)
    await place.concern.cleaner.step()
    _, said, _ = await place.ask("GET", "/api/deadletters/?limit=1")
    _, rest, _ = await place.ask("GET", f"/api/deadletters/?limit=1&before={said['next']}")
    assert [one["request_id"] for one in said["entries"] + rest["entries"]] == young[::-1]
    assert (rest["next"], await place.rows("callbacks")) == (None, 3), "the one that waits stays"


async def test_entries_go_long_after_they_expired(place: Place) -> None:
    await place.allow(TOKEN + "-for-ever")
    await place.allow(TOKEN, valid_s=DAY_S)
    place.clock.advance(31 * DAY_S)
    await place.concern.cleaner.step()
    assert await place.rows("acl") == 2
    place.clock.advance(1)
    await place.concern.cleaner.step()
    _, said, _ = await place.ask("GET", "/api/acl/")
    assert [entry["expires_at"] for entry in said["entries"]] == [None]


async def test_it_cleans_by_itself(place: Place) -> None:
    made = await finished(place, 1)
    place.clock.advance(31 * DAY_S)
    async with place.working():
        while await kept(place) == made:
            await place.ask("GET", "/api/getrequestlog/")
    assert await kept(place) == []
