"""Short ways to an open channel with something to say on it."""

from __future__ import annotations

from protocol import messages as m
from protocol.connection import ChannelClosed, Event
from protocol.errors import CloseCode
from tests.support.wire import Pair, drain

BOOT = m.Boot(connectors=[m.ConnectorInfo(connector=1, min_w=1380, max_w=22_000)])
BEAT = m.Heartbeat(id=1)


def booted() -> Pair:
    pair = Pair().open()
    assert pair.say(BOOT) == [BOOT]
    return pair


def ends(events: list[Event]) -> list[ChannelClosed]:
    return [event for event in events if isinstance(event, ChannelClosed)]


def assert_closes(pair: Pair, code: CloseCode) -> None:
    """Central's last words are an authenticated CLOSE."""
    events, error = drain(pair.peer, pair.central.data_to_send(), pair.now)
    assert error is None and [(one.code, one.clean) for one in ends(events)] == [(code, True)]
    assert pair.peer.closed
