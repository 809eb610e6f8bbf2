"""Central dies between two records of one command: the next one makes good what is missing, and nobody can kill it."""

from __future__ import annotations

import pytest

from evcharge.audit.event_codec import decode
from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.domain.events import Event
from evcharge.ids import SessionId
from protocol import messages as m
from tests.central.test_waiting import free, waiting
from tests.support.central import Site, until

pytestmark = pytest.mark.usefixtures("renewing")


class PowerCut(BaseException):
    """The process is gone: not even its own bugs are caught any more."""


class CutLog:
    """Takes records up to the first of one kind, and none behind it."""

    def __init__(self, log: object, kind: type[Event]) -> None:
        self._log, self._kind = log, kind

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def append(self, body: bytes) -> int:
        """Raises PowerCut behind the record."""
        seq: int = self._log.append(body)  # type: ignore[attr-defined]
        logged = decode(body)
        if logged is not None and isinstance(logged.event, self._kind):
            raise PowerCut
        return seq


async def test_a_lapsed_offer_of_which_only_half_is_in_the_log(site: Site) -> None:
    engine, _, session_id, ben, place = await waiting(site)
    await free(engine, session_id)
    await until(lambda: site.state.waiting[SessionId(place.waiting_id)].offer is not None)
    site.central._engine._log = CutLog(site.central._engine._log, e.AuthorizationExpired)  # type: ignore[assignment]
    site.clock.advance_site(301)
    with pytest.raises(PowerCut):
        site.central._engine.execute(c.PassDeadline(session_id=SessionId(place.waiting_id)))
    await site.restart(killed=True)
    assert (await site.line(e.OfferEnded)).waiting_id == place.waiting_id
    # Then, not now: the charge point may be back already, and the next offer made.
    assert site.state_behind(e.OfferEnded).waiting[SessionId(place.waiting_id)].offer is None
    await until(lambda: len(ben.ups) == 2)
    # Its connector is free: as soon as the charge point is back the next offer comes.
    await ben.next(m.Waiting, lambda view: view.session_id == f"{place.waiting_id}.2")
    (row,) = (await ben.ask(m.Queue(id=0))).queue
    assert row.state == "OFFERED"
    await ben.ask(m.LeaveQueue(id=0, waiting_id=place.waiting_id))
    assert not site.state.waiting
    assert not site.central.failure.done()
    site.history.check()
