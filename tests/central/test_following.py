"""The log as a follower gets it: every durable record once, in order and as it is stored, over whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from evcharge.audit import pages, recovery
from evcharge.audit.record import MAX_BODY
from evcharge.central.translate import following
from evcharge.domain import commands as c
from evcharge.net.client import RequestRefused
from protocol import codec
from protocol import messages as m
from protocol.cipher import max_body
from protocol.frames import MAX_FRAME
from tests.support.central import Site, WirePeer, until

FITS = max_body(MAX_FRAME)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records each, so that every log here has several."""
    assert recovery.recover.__kwdefaults__ is not None
    monkeypatch.setitem(recovery.recover.__kwdefaults__, "segment_bytes", 2_048)


async def tail(peer: WirePeer, **fields: Any) -> m.TailView:
    reply = await peer.ask(m.Follow(id=0, **fields))
    assert isinstance(reply, m.Reply) and reply.tail is not None
    assert len(codec.encode(reply)) <= FITS
    return reply.tail


async def whole(peer: WirePeer, after_seq: int = 0) -> list[m.StoredView]:
    """All that is there, page by page."""
    found: list[m.StoredView] = []
    while True:
        view = await tail(peer, after_seq=after_seq)
        if not view.rows:
            assert after_seq == view.newest_seq
            return found
        assert view.rows[0].next_from is None
        found += view.rows
        after_seq = found[-1].seq


async def test_every_record_comes_as_it_is_stored(site: Site) -> None:
    operator = await site.operator()
    for number in range(8):
        await site.engine(f"CP-{number}")
    await site.settled()
    rows = await whole(operator)
    there = site.history.records
    assert [(row.seq, row.durable, row.body) for row in rows] == [
        (r.seq, r.durable, r.body) for r in there[: len(rows)]
    ]
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1)) and len(rows) > 10
    assert [row.seq for row in await whole(operator, 5)] == list(range(6, len(rows) + 1))


async def test_a_question_waits_for_the_next_record(site: Site) -> None:
    operator, driver = await site.operator(), await site.driver()
    await site.engine()
    await site.settled()
    newest = site.central._journal.durable
    waiting = asyncio.create_task(tail(operator, after_seq=newest, wait_ms=30_000))
    await until(lambda: site.central._inbound._answering[m.Follow]._asked == 1)
    # A mark may follow what was there; then the question is asked anew, as a follower does.
    session_id = await site.charge(driver)
    kinds: list[bytes] = []
    while b"charge_authorized" not in b"".join(kinds):
        view = await waiting
        assert [row.seq for row in view.rows] == list(range(newest + 1, newest + 1 + len(view.rows)))
        kinds += [row.body for row in view.rows]
        newest = view.rows[-1].seq
        waiting = asyncio.create_task(tail(operator, after_seq=newest, wait_ms=30_000))
    assert session_id.encode() in b"".join(kinds)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_an_answer_comes_when_nothing_does(site: Site) -> None:
    operator = await site.operator()
    await site.settled()
    await until(lambda: site.central._journal.last == site.central._journal.durable)
    newest = site.central._journal.durable
    view = await tail(operator, after_seq=newest + 1_000, wait_ms=1)
    assert view.rows == [] and view.newest_seq >= newest and view.first_seq == 1


async def test_a_record_that_no_frame_holds_comes_in_pieces(site: Site) -> None:
    operator = await site.operator()
    text = "x" * (MAX_BODY - 4_096)
    site.central._engine.execute(c.RaiseIncident(code="big", detail=text))
    await site.settled()
    big = next(record for record in site.history.records if len(record.body) > FITS)
    first = await tail(operator, after_seq=big.seq - 1)
    (row,) = first.rows
    body = row.body
    while row.next_from is not None:
        (row,) = (await tail(operator, after_seq=big.seq - 1, body_from=row.next_from)).rows
        assert row.seq == big.seq and row.body
        body += row.body
    assert body == big.body
    before = await tail(operator, after_seq=big.seq - 2)
    assert [each.seq for each in before.rows] == [big.seq - 1], "it stands alone"


async def test_no_more_than_so_many_wait_and_one_gateway_never_takes_all_places(site: Site) -> None:
    first, second, third = [await site.operator(f"gateway-{number}") for number in range(3)]
    await site.settled()
    far = site.central._journal.durable + 1_000
    most = following.MOST_OF_ONE
    for gateway in (first, second):
        gateway.send(*(m.Follow(id=number, after_seq=far, wait_ms=30_000) for number in range(1, most + 2)))
        refused = await gateway.next(m.Refused)
        assert (refused.re, refused.reason, refused.retry_after_s) == (most + 1, "overloaded", 1)
    assert 2 * most == following.MOST_FOLLOWING
    third.send(m.Follow(id=1, after_seq=far, wait_ms=30_000))
    assert (await third.next(m.Refused)).reason == "overloaded"


async def test_whoever_waits_may_be_gone_and_a_drain_waits_for_nobody(site: Site) -> None:
    operator = await site.operator()
    await site.settled()
    operator.send(m.Follow(id=1, after_seq=1_000_000, wait_ms=30_000))
    await until(lambda: site.central._inbound._answering[m.Follow]._asked == 1)
    await operator.leave()
    await site.stop()
    assert not site.central.failure.done()


async def test_a_damaged_record_is_a_refusal_and_those_before_it_come(site: Site) -> None:
    operator = await site.operator()
    for number in range(4):
        await site.engine(f"CP-{number}")
    await site.settled()
    segments, _ = pages.list_segments(site.central.log_dir, site.disk)
    path = segments[1].path
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    harmed = segments[1].first_seq
    assert [row.seq for row in (await tail(operator)).rows][-1] == harmed - 1
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.Follow(id=0, after_seq=harmed - 1))
    assert no.value.reason == "log_unreadable"
    assert not site.central.failure.done()
