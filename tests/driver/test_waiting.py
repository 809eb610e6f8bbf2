"""A driver who waits or reserves: the client against a Central that tests script,."""

from __future__ import annotations

import asyncio
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from evcharge.cli.driver_places import ENDED_BECAUSE, LEFT_BECAUSE, place_text, queue_rows, reservation_text
from evcharge.cli.driver_text import local_time
from evcharge.cli.driver_view import LiveShow
from evcharge.domain.words import LeftCause, ReservationEnd
from evcharge.driver import client as client_module
from evcharge.driver.places import Places
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.driver.conftest import Notes, driver
from tests.support.fake_central import FakeCentral, charge_point
from tests.support.wire import T0_MS


def busy(central: FakeCentral) -> None:
    """Somebody else charges at CP-1."""
    central.rows = [charge_point("CP-1")]
    central.sessions["other"] = m.SessionView(session_id="other", state="SUPPLYING", cp_id="CP-1", driver_id="eve")


class TestClient:
    async def test_from_the_place_to_the_session(self, central: FakeCentral) -> None:
        busy(central)
        notes = Notes()
        async with driver(central, notes) as client:
            place = await client.charge_or_wait("CP-1", energy_wh=5_000)
            assert isinstance(place, m.WaitingView)
            assert central.got(m.ChargeRequest)[0].wait
            turn = asyncio.create_task(client.turn(place.waiting_id))
            central.move(place.waiting_id, place=1, eta_ms=T0_MS)
            central.offer(place.waiting_id)
            offered = await turn
            assert (offered.state, offered.session_id) == ("OFFERED", place.waiting_id)
            assert [view.state for view in notes.places] == ["WAITING", "OFFERED"]

    async def test_an_offer_right_behind_the_answer_is_not_lost(
        self, central: FakeCentral, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both are there before whoever asked goes on; asking Central again would take a quarter of a minute."""
        monkeypatch.setattr(client_module, "ASK_AGAIN_S", 1_000.0)
        busy(central)
        central.on_wait = lambda place: [central.offer(place.waiting_id)].clear()
        async with driver(central) as client:
            place = await client.charge_or_wait("CP-1")
            assert isinstance(place, m.WaitingView)
            assert (await client.turn(place.waiting_id)).state == "OFFERED"

    async def test_an_offer_right_behind_the_list_of_places_is_not_lost(
        self, central: FakeCentral, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who missed an offer asks whether he keeps his place; his next turn comes right behind the answer."""
        monkeypatch.setattr(client_module, "ASK_AGAIN_S", 1_000.0)
        busy(central)
        async with driver(central) as client:
            await client.charge_or_wait("CP-1")
            client.follow("w0", central.offer("w0"))
            central.miss("w0")
            assert (await client.outcome("w0")).ticket is None
            central.on_queue = lambda: [central.offer("w0", "w0.2")].clear()
            assert await client.still_waiting("w0") is not None
            async with asyncio.timeout(30):
                assert (await client.turn("w0", after="w0")).session_id == "w0.2"

    async def test_a_free_charge_point_is_not_waited_for(self, central: FakeCentral) -> None:
        async with driver(central) as client:
            session = await client.charge_or_wait("CP-1")
            assert isinstance(session, m.SessionView)
            assert (await client.charge("CP-2")).cp_id == "CP-2"
            assert not central.got(m.ChargeRequest)[1].wait

    async def test_whoever_was_served_at_once_knows_his_session(self, central: FakeCentral) -> None:
        """Offer and end may both be here before anybody looks."""
        busy(central)
        async with driver(central) as client:
            place = await client.charge_or_wait("CP-1")
            assert isinstance(place, m.WaitingView)
            central.offer(place.waiting_id)
            left = msgspec.structs.replace(central.places[place.waiting_id], session_id=None)
            central.places[place.waiting_id] = left
            central.move(place.waiting_id, state="LEFT", reason="served")
            await client.queue()
            assert (await client.turn(place.waiting_id)).session_id == place.waiting_id

    async def test_a_place_whose_end_was_told_to_nobody(
        self, central: FakeCentral, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "ASK_AGAIN_S", 0.01)
        busy(central)
        async with driver(central) as client:
            place = await client.charge_or_wait("CP-1")
            assert isinstance(place, m.WaitingView)
            central.places.clear()
            over = await client.turn(place.waiting_id)
            assert (over.state, over.reason, over.session_id) == ("LEFT", "gone", None)

    @pytest.mark.parametrize("ended", [False, True])
    async def test_a_place_that_became_a_session_while_the_link_was_down(
        self, central: FakeCentral, monkeypatch: pytest.MonkeyPatch, ended: bool
    ) -> None:
        """The session has the place's id; whether it charges or has its ticket already, it is his."""
        monkeypatch.setattr(client_module, "ASK_AGAIN_S", 0.01)
        busy(central)
        notes = Notes()
        async with driver(central, notes) as client:
            place = await client.charge_or_wait("CP-1")
            assert isinstance(place, m.WaitingView)
            turn = asyncio.create_task(client.turn(place.waiting_id))
            own = m.SessionView(session_id="w0.2", state="SUPPLYING", cp_id="CP-1", connector=1)
            central.sessions = {"w0.2": msgspec.structs.replace(own, driver_id=client.driver_id)}
            if ended:
                ticket = central.finish("w0.2", 2_000)
                notes.tickets.clear()
                client._following.ended.clear()  # as if its message had gone with the link
            central.places.clear()
            over = await turn
            assert (over.state, over.reason, over.session_id) == ("LEFT", "served", "w0.2")
            if ended:
                client.follow("w0.2")
                outcome = await client.outcome("w0.2")
                assert outcome.ticket is not None and outcome.ticket.ticket_id == ticket.ticket_id

    async def test_news_of_the_session_is_news_of_the_place(
        self, central: FakeCentral, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The news of the offer went with the link; what comes first afterwards is how the session goes."""
        monkeypatch.setattr(client_module, "ASK_AGAIN_S", 1_000.0)
        busy(central)
        async with driver(central) as client:
            place = await client.charge_or_wait("CP-1")
            assert isinstance(place, m.WaitingView)
            own = m.SessionView(session_id="w0", state="SUPPLYING", cp_id="CP-1", driver_id=client.driver_id)
            central.sessions["w0"] = own
            central.update("w0", power_w=7_000)
            async with asyncio.timeout(30):
                assert (await client.turn(place.waiting_id)).session_id == "w0"

    async def test_an_offer_that_was_missed_is_no_turn(self, central: FakeCentral) -> None:
        busy(central)
        async with driver(central) as client:
            place = await client.charge_or_wait("CP-1")
            assert isinstance(place, m.WaitingView)
            session = central.offer("w0")
            client.follow("w0", session)
            central.expire("w0")
            assert (await client.outcome("w0")).ticket is None
            # The offer's end is known, that the place goes on is not yet.
            turn = asyncio.create_task(client.turn("w0", after="w0"))
            await client.charge_points()
            assert not turn.done()
            central.move("w0", state="WAITING", session_id=None, place=1)
            still = await client.still_waiting("w0")
            assert still is not None and still.place == 1
            central.offer("w0", "w0.2")
            assert (await turn).session_id == "w0.2"
            central.expire("w0.2")
            central.places.clear()
            assert await client.still_waiting("w0.2") is None

    async def test_leaving_reserving_and_cancelling(self, central: FakeCentral) -> None:
        busy(central)
        notes = Notes()
        async with driver(central, notes) as client:
            place = await client.charge_or_wait("CP-1")
            assert isinstance(place, m.WaitingView)
            assert await client.queue() == [place]
            await client.leave_queue(place.waiting_id)
            assert await client.queue() == []
            with pytest.raises(RequestRefused):
                await client.leave_queue(place.waiting_id)
            made = await client.reserve("CP-1", T0_MS, T0_MS + 1, 1, 5_000)
            assert await client.reservations() == [made]
            central._tell(client.driver_id, m.Reservation(**msgspec.structs.asdict(made)))
            await client.cancel_reservation(made.reservation_id)
            assert await client.reservations() == []
            assert [view.reservation_id for view in notes.reservations] == [made.reservation_id]


PLACE = m.WaitingView(
    waiting_id="w0", state="WAITING", cp_id="CP-1", connector=2, place=2, eta_ms=T0_MS, inputs_age_ms=90_000
)


def test_a_list_that_is_older_than_the_news_does_not_undo_it() -> None:
    first, second = (msgspec.structs.replace(PLACE, state="OFFERED", session_id=each) for each in ("w0", "w0.2"))
    left = msgspec.structs.replace(PLACE, state="LEFT", reason="no_show")
    for newest, row, after, stays in (
        (second, PLACE, None, True),
        (second, PLACE, "w0", True),
        (second, PLACE, "w0.2", False),
        (second, first, "w0", True),
        (first, second, "w0", False),
        (left, PLACE, "w0", True),
        (left, first, "w0", True),
        (msgspec.structs.replace(PLACE, place=3), PLACE, None, False),
    ):
        places = Places()
        places.take(newest)
        places.compare("w0", [row], after)
        assert places.newest("w0") == (newest if stays else row)


def test_the_live_view_of_a_place() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    show = LiveShow(console)
    show.place(PLACE)
    show.place(msgspec.structs.replace(PLACE, place=1, reason="busy", since_ms=T0_MS))
    show.link(up=False, why="gone")
    show.place(msgspec.structs.replace(PLACE, state="OFFERED", session_id="s", offered_until_ms=T0_MS))
    show.reservation(m.ReservationView(reservation_id="r", state="OPEN", cp_id="C", connector=1, from_ms=0, until_ms=1))
    show.close()
    painted = console.file.getvalue()  # type: ignore[attr-defined]  # the text that was painted
    assert "waiting, place 1" in painted
    assert "a free connector" in painted
    assert "your turn at CP-1 #2: plug in by" in painted
    assert "it is your time: plug in" in painted


def test_the_column_of_expected_times_says_it_once() -> None:
    ((_, _, _, expected, _, _),) = queue_rows([PLACE])
    assert expected.startswith(local_time(T0_MS))


def test_every_end_has_words() -> None:
    assert set(LEFT_BECAUSE) == {*LeftCause, "gone"}
    assert set(ENDED_BECAUSE) == set(ReservationEnd)
    late = m.ReservationView(
        reservation_id="r", state="LATE", cp_id="C", connector=1, from_ms=0, until_ms=1, reason="busy"
    )
    assert reservation_text(late).endswith("late: you are the next one to get it, waits for a free connector")
    assert "from readings up to 90 s old" in place_text(PLACE)
