"""Whom a command was for, and by which request: the sender's word, beside who the sender is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.domain import events as e
from evcharge.domain.refusals import RefusalReason
from evcharge.net.client import RequestRefused
from protocol import messages as m
from tests.support.central import Site

Said = list[tuple[str, str | None, str | None]]


def said(site: Site, kind: type[e.Event]) -> Said:
    """Who did it, for whom and by which request, of each such record."""
    return [(one.stamp.actor, one.stamp.by, one.stamp.trace) for one in site.lines(kind)]


async def test_a_gateways_client_stands_beside_the_gateway(site: Site) -> None:
    operator = await site.operator()
    await site.engine()
    await operator.ask(m.Stop(id=0, cp_id="CP-1", by="dispatcher", trace="7f3c-19"))
    await operator.ask(m.Resume(id=0, cp_id="CP-1"))
    await site.settled()
    assert said(site, e.HoldPlaced) == [("operator:sidecar", "dispatcher", "7f3c-19")]
    assert said(site, e.HoldLifted) == [("operator:sidecar", None, None)]


async def test_what_a_driver_claims_is_that_drivers_claim(site: Site) -> None:
    """It opens nothing: a session of another is refused to whoever is named."""
    _, anna, session_id = await site.charging()
    ben = await site.driver("ben")
    with pytest.raises(RequestRefused) as refused:
        await ben.ask(m.EndCharge(id=0, session_id=session_id, by="anna", trace="t-1"))
    assert refused.value.reason == RefusalReason.NOT_YOUR_SESSION
    await anna.ask(m.EndCharge(id=0, session_id=session_id, by="operator", trace="t-2"))
    await site.settled()
    assert ("driver:ben", "anna", "t-1") in said(site, e.RequestRefused)
    assert said(site, e.StopOrdered) == [("driver:anna", "operator", "t-2")]


async def test_what_follows_by_itself_is_nobodys_request(site: Site) -> None:
    engine = await site.engine()
    driver = await site.driver()
    await driver.ask(m.ChargeRequest(id=0, cp_id="CP-1", trace="t-3"))
    await engine.next(m.Authorize)
    engine.send(m.Plugged(connector=1))
    await engine.next(m.StartSupply)
    await site.settled()
    assert said(site, e.ChargeAuthorized) == [("driver:anna", None, "t-3")]
    later = said(site, e.ConnectorChanged) + said(site, e.SetPointIssued)
    assert later and all((by, trace) == (None, None) for _, by, trace in later)


async def test_a_restart_reads_them_back(site: Site) -> None:
    operator = await site.operator()
    await site.engine()
    await operator.ask(m.Stop(id=0, cp_id="CP-1", by="dispatcher", trace="7f3c-19"))
    await site.restart(killed=True)
    assert said(site, e.HoldPlaced) == [("operator:sidecar", "dispatcher", "7f3c-19")]


@pytest.mark.parametrize("word", ["", "x" * 65, "a b", "a\n", "\x1b[2J", "<b>", "é", "\u202e", "=1+1"])
def test_what_could_be_obeyed_somewhere_is_no_word_of_the_wire(word: str) -> None:
    for field in ("by", "trace"):
        body = msgspec.msgpack.encode({"type": "stop", "id": 1, field: word})
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(body, type=m.Stop)


@given(word=st.text(alphabet="abcXYZ019._:@+-", min_size=1, max_size=64))
def test_every_word_is_carried_as_it_is(word: str) -> None:
    order = m.Resume(id=1, by=word, trace=word)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=m.Resume) == order
