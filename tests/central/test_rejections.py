"""Floods at the door: the first of a minute are listed, the rest is counted, and guessing raises an incident."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evcharge.central import rejections
from evcharge.central.rejections import KEPT, SINGLY, WINDOW_S, Rejection, Rejections
from evcharge.domain import events as e
from protocol.credentials import Role
from protocol.errors import RefuseCode
from tests.central.test_door import GARBAGE, forger
from tests.support.central import Site, until
from tests.support.raw_peer import RawPeer

# --- alone -------------------------------------------------------------------------------------------------------


class Door:
    def __init__(self) -> None:
        self.records: list[Rejection] = []
        self.rejections = Rejections(self.records.append)
        self.now_s = 1_000.0

    def knock(self, source: str = "a", code: str = "unknown", *, times: int = 1, authentication: bool = True) -> None:
        for _ in range(times):
            self.rejections.reject(source, code, "anna", authentication=authentication, now_s=self.now_s)

    def flush(self) -> None:
        self.rejections.flush(self.now_s)


def test_the_first_of_a_minute_are_listed_the_rest_is_counted() -> None:
    door = Door()
    door.knock(times=SINGLY + 7)
    assert [record.count for record in door.records] == [1] * SINGLY
    door.now_s += WINDOW_S - 0.1
    door.flush()
    assert len(door.records) == SINGLY
    door.now_s += 0.2
    door.flush()
    assert door.records[-1] == Rejection("a", "unknown", None, True, 7)
    door.now_s += WINDOW_S + 1
    door.flush()
    assert len(door.records) == SINGLY + 1, "nothing is counted twice"


def test_the_next_knock_closes_an_old_minute() -> None:
    door = Door()
    door.knock(times=SINGLY + 1)
    door.now_s += WINDOW_S + 1
    door.knock()
    assert [record.count for record in door.records[SINGLY:]] == [1, 1]
    assert door.records[-1].username == "anna"


def test_codes_and_sources_are_counted_apart() -> None:
    door = Door()
    for source, code in (("a", "x"), ("a", "y"), ("b", "x")):
        door.knock(source, code, times=SINGLY)
    door.knock("a", "x", authentication=False)
    assert len(door.records) == 3 * SINGLY + 1


def test_a_flood_from_everywhere_is_counted_together() -> None:
    door = Door()
    for number in range(KEPT + 100):
        door.knock(f"source-{number}")
    assert len(door.records) == KEPT + SINGLY
    assert {record.source for record in door.records[KEPT:]} == {"*"}
    door.rejections.close()
    assert door.records[-1] == Rejection("*", "unknown", None, True, 100 - SINGLY)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.floats(0, 40)), max_size=80))
def test_every_knock_is_counted_exactly_once(knocks: list[tuple[str, str, float]]) -> None:
    door = Door()
    for source, code, pause_s in knocks:
        door.now_s += pause_s
        door.knock(source, code)
    door.rejections.close()
    assert sum(record.count for record in door.records) == len(knocks)


# --- over the wire ----------------------------------------------------------------------------------------------------


async def knock(site: Site, times: int, data: bytes = GARBAGE["frame_too_large"]) -> None:
    for _ in range(times):
        peer = await RawPeer.at(site)
        await peer.write(data)
        await peer.end()


async def known(site: Site, lines: int) -> None:
    """Wait until exactly so many lines are in the log."""
    await until(lambda: len(site.logged(e.PeerRefused)) == lines)


async def test_the_fifth_failed_authentication_is_an_incident(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    for number in range(1, 8):
        assert await site.join(forger(credential)).refused() is RefuseCode.UNKNOWN
        await known(site, number)
        assert len(site.logged(e.IncidentRaised)) == (1 if number >= 5 else 0)
    (incident,) = site.logged(e.IncidentRaised)
    assert incident.code == "failed_authentications"
    assert "5 failed authentications from 127.0.0.1" in incident.detail


async def test_garbage_is_no_failed_authentication(site: Site) -> None:
    await knock(site, 6)
    await known(site, 6)
    assert not site.logged(e.IncidentRaised)


async def test_a_flood_is_counted_not_listed(site: Site) -> None:
    await knock(site, rejections.SINGLY + 15)
    await known(site, rejections.SINGLY)
    site.clock.advance(rejections.WINDOW_S + 0.1)
    line = await site.line(e.PeerRefused, code="frame_too_large", count=15)
    assert line.username is None


async def test_what_was_only_counted_is_written_when_central_stops(site: Site) -> None:
    await knock(site, rejections.SINGLY + 3)
    await site.stop()
    assert sum(line.count for line in site.logged(e.PeerRefused)) == rejections.SINGLY + 3


async def test_those_for_whom_there_is_no_room_are_counted(site: Site) -> None:
    peers = [await RawPeer.at(site) for _ in range(2)]
    await until(lambda: site.central._server.counts.open == 2)
    site.central._server._most = 2
    third = await RawPeer.at(site)
    assert await third.end() == b""
    assert (await site.line(e.PeerRefused, code="no_room")).count == 1
    for peer in peers:
        peer.leave()
