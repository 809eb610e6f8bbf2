"""Records over streams that break: no page ever misses one or gets one twice, or it is told."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.net import tail
from evcharge.sidecar.live import log_tail, stream
from evcharge.sidecar.live.ring import Ring
from protocol import messages as m
from tests.sidecar.live.reading import Page
from tests.sidecar.live.served import served
from tests.sidecar.live.site import FakeSite


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "PACE_S", 0.0)


def small(patch: pytest.MonkeyPatch, *, ring: int = 8, shown: int = 4, backlog: int = 10_000) -> None:
    """Little room, so that short logs fill it."""
    patch.setattr(tail, "PACE_S", 0.0)
    patch.setattr(log_tail, "Ring", partial(Ring, records=ring))
    for module in (log_tail, stream):
        patch.setattr(module, "TAIL", shown)
    patch.setattr(stream, "BACKLOG", backlog)
    patch.setattr(stream, "PIECE", 3)


async def read_some(page: Page, pieces: int) -> None:
    for _ in range(pieces):
        await page.read()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=6), st.integers(1, 40))
def test_records_over_any_cuts_follow_each_other_exactly(steps: list[tuple[int, int]], before: int) -> None:
    """However much happens while the page is away, and wherever its connection breaks."""

    async def live() -> list[int]:
        site = FakeSite()
        site.grow(before)
        seen: list[int] = []
        async with served(site) as hub:
            last: int | None = None
            for happens, pieces in steps:
                page = await hub.open(after=last)
                site.grow(happens)
                await read_some(page, min(pieces, 2))
                # Every piece that is due can be had without waiting for one that is not.
                while len(page.events) < pieces and (page.last or 0) < len(site.bodies):
                    await page.read()
                seen += page.seqs
                last = page.last
                assert page.all("gap") == []
                await hub.cut(page)
            page = await hub.open(after=last)
            await page.until(len(site.bodies))
            seen += page.seqs
        return seen

    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        seen = asyncio.run(live())
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert seen[-1] == before + sum(happens for happens, _ in steps)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 30))
def test_what_is_left_out_is_said_exactly(had: int, more: int, backlog: int) -> None:
    async def live() -> Page:
        site = FakeSite()
        site.grow(had + more)
        async with served(site) as hub:
            page = await hub.open(after=had)
            site.grow(1)
            await page.until(had + more + 1)
            return page

    with pytest.MonkeyPatch.context() as patch:
        small(patch, backlog=backlog)
        page = asyncio.run(live())
    told = set(page.seqs)
    for gap in page.all("gap"):
        left_out = set(range(gap["from_seq"], gap["to_seq"] + 1))
        assert not told & left_out
        told |= left_out
    assert sorted(told) == list(range(had + 1, had + more + 2))
    assert page.seqs == sorted(page.seqs)
    if more <= backlog:
        assert page.all("gap") == []


async def test_a_page_without_a_number_begins_with_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    site = FakeSite()
    site.grow(20)
    async with served(site) as hub:
        page = await hub.open()
        await page.until(20)
        assert page.seqs == [17, 18, 19, 20]
        site.grow(2)
        await page.until(22)
        assert page.seqs[-2:] == [21, 22]
        assert [event.id for event in page.events if event.name == "record"][-1] == "22"


async def test_records_of_another_log_are_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    site = FakeSite()
    site.grow(20)
    async with served(site) as hub:
        page = await hub.open(after=500)
        assert await page.next("gap") == {"from_seq": 1, "to_seq": 16}
        await page.until(20)
        assert page.seqs == [17, 18, 19, 20]
        assert hub.live.gaps == 1


async def test_a_page_that_read_more_elsewhere_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tables came from somebody who was told of a record a moment earlier than the live picture."""
    small(monkeypatch)
    site = FakeSite()
    site.grow(20)
    async with served(site) as hub:
        first = await hub.open()
        await first.until(20)
        # More is durable, and the answer that says so is still under way.
        site.bodies += site.bodies[:5]
        page = await hub.open(after=24)
        await page.next("picture")
        site.grow(1)
        await page.until(26)
        assert page.seqs == [25, 26]
        assert page.all("gap") == []


async def test_whether_a_page_has_more_is_asked_again_and_not_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    site = FakeSite()
    site.grow(20)
    async with served(site) as hub:
        first = await hub.open()
        await first.until(20)
        site.down()
        count = sum(isinstance(one, m.AuditState) for one in site.asked)
        page = await hub.open(after=500)
        await page.next("hello")
        await read_some(page, 3)
        assert sum(isinstance(one, m.AuditState) for one in site.asked) <= count + 5
        site.up()
        assert (await page.next("gap"))["from_seq"] == 1


async def test_archived_records_are_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    site = FakeSite()
    site.grow(40)
    site.first_seq = 20
    async with served(site) as hub:
        first = await hub.open()
        await first.until(40)
        page = await hub.open(after=5)
        assert (await page.next("hello"))["resumed"] is False
        assert await page.next("gap") == {"from_seq": 6, "to_seq": 36}


async def test_old_records_come_while_the_picture_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Central answers the question for old records late: the page is told of the link all the same."""
    small(monkeypatch)
    site = FakeSite()
    site.grow(40)
    async with served(site) as hub:
        first = await hub.open()
        await first.until(40)
        page = await hub.open(after=2)
        assert (await page.next("hello"))["resumed"] is True
        await page.next("picture")
        site.down()
        assert (await page.next("link"))["state"] == "disconnected"
        site.up()
        await page.until(40)
        assert page.seqs == list(range(3, 41))


async def test_a_page_that_does_not_read_is_closed_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    site = FakeSite()
    site.grow(4)
    async with served(site) as hub:
        page, other = await hub.open(), await hub.open()
        await page.until(4)
        site.grow(30)
        await other.until(34)
        while not page.over:
            await page.read()
        assert hub.live.dropped == 1
        again = await hub.open(after=page.last)
        await again.until(34)
        assert page.seqs + again.seqs == list(range(1, 35))
        assert again.all("gap") == []


async def test_too_many_events_for_a_page_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "QUEUE_BYTES", 100)
    async with served(FakeSite()) as hub:
        page = await hub.open()
        await page.next("picture")
        hub.live._tell(lambda _audience: b"x" * 101)
        await page.read()
        assert page.over
        assert (hub.live.clients, hub.live.dropped) == (0, 1)


async def test_a_silent_stream_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.01)
    site = FakeSite()
    site.down()
    async with served(site) as hub:
        page = await hub.open()
        await read_some(page, 3)
        assert page.raw.startswith(b"retry: 1000\n\nevent: hello\n")
        assert page.raw.endswith(b"\n\n:\n\n")


async def test_a_stream_that_is_stirred_for_nothing_is_silent_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a quiet site stirs all streams: more often than they may be silent."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.05)
    site = FakeSite()
    site.down()

    async def stir(page: Page) -> None:
        while True:
            page._pieces.stir()  # type: ignore[attr-defined]  # as the hub does it
            await asyncio.sleep(0.01)

    async with served(site) as hub:
        page = await hub.open()
        await page.next("hello")
        stirring = asyncio.create_task(stir(page))
        async with asyncio.timeout(5):
            while not page.raw.endswith(b"\n\n:\n\n"):
                await page.read()
        stirring.cancel()


def test_a_ring_keeps_what_it_may_and_no_gap() -> None:
    ring = Ring(4, records=3, size=2_000)
    entry = log_tail.entry_of

    def record(seq: int) -> tail.Record:
        return tail.Record(seq=seq, durable=seq - 1, body=b"", kind="mark")

    assert (ring.first, ring.last) == (5, 4)
    ring.add([entry(record(seq)) for seq in range(5, 10)])
    assert (ring.first, ring.last) == (7, 9)
    assert [one.seq for one in ring.behind(6, 2)] == [7, 8]
    assert [one.seq for one in ring.behind(8, 5)] == [9]
    assert ring.behind(9, 5) == []
    with pytest.raises(ValueError, match="10 is due"):
        ring.add([entry(record(11))])
    ring.add([entry_big(10)])
    assert (ring.first, ring.last) == (11, 10)


def entry_big(seq: int) -> log_tail.Entry:
    return log_tail.Entry(seq, (b"x" * 1_200, b"x" * 1_200))
