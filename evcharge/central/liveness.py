"""Who has fallen silent: engines and monitors that say nothing for 5 s are lost (SPEC §7.6).

One entry in the server's timer wheel per peer, and no work per message: when an entry fires it looks when the peer was
last heard and is set again for the moment at which that would be too long ago.
"""

from __future__ import annotations

from evcharge.central.peers import Peer
from evcharge.domain.words import Role
from evcharge.net.clock import Clock
from evcharge.net.timers import TimerWheel
from protocol.errors import CloseCode

# Roles that beat once a second; all others are pinged by the connection itself.
BEATING = frozenset({Role.ENGINE, Role.MONITOR})


class Liveness:
    """Watches peers; a silent one is closed, and its end becomes history like any other."""

    def __init__(self, timers: TimerWheel, clock: Clock, silence_s: float) -> None:
        self._timers = timers
        self._clock = clock
        self._silence_s = silence_s

    def watch(self, peer: Peer) -> None:
        """Begin with a peer that has just proved itself."""
        if peer.role in BEATING:
            self._set(peer, self._clock.monotonic() + self._silence_s)

    def _set(self, peer: Peer, deadline_s: float) -> None:
        self._timers.schedule(deadline_s, lambda: self._look(peer))

    def _look(self, peer: Peer) -> None:
        if peer.adapter.conn.closed:
            return
        now_s = self._clock.monotonic()
        silent_s = peer.silent_s(now_s)
        if silent_s >= self._silence_s:
            peer.adapter.abort(CloseCode.TIMEOUT, f"silent for {silent_s:.1f} s")
        else:
            self._set(peer, now_s + self._silence_s - silent_s)
