"""Live telemetry: the newest meter value of each running session. Not in the log, not in the state.

Of each session's updates a few become records: one every 30 s and one at each change of power of more than 5 %; the
final one comes through the charge point's outbox in any case (audit.md, "Writing").
"""

from __future__ import annotations

from zlib import crc32

from evcharge.central.translate.outgoing import Live
from evcharge.domain.feeds import above
from evcharge.domain.state import State
from evcharge.domain.words import RUNNING
from evcharge.ids import ChargePointId, NodeId, SessionId

# Longest time between two logged meter values of a session, seconds of steady time.
SAMPLE_S = 30.0
# Change of power that is logged at once, as a share of the last logged one …
SAMPLE_CHANGE = 0.05
# … but never more often than this, seconds: a flickering vehicle must not fill the log.
SAMPLE_PAUSE_S = 2.0


class Telemetry:
    """Holds one reading per running session; ``forget`` is called when a session ends."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}

    def update(
        self,
        state: State,
        cp_id: ChargePointId,
        session_id: SessionId,
        meter_wh: int,
        power_w: int,
        soc: int | None,
        now_s: float,
    ) -> bool | None:
        """Take one update. True: worth a record. False: not. None: no running session of this charge point."""
        session = state.sessions.get(session_id)
        if session is None or session.cp_id != cp_id or session.status not in RUNNING:
            return None
        energy_wh = max(0, meter_wh - session.start_meter_wh)
        live = self._live.get(session_id)
        if live is None:
            due_s = now_s + SAMPLE_S * _place(session_id)
            self._live[session_id] = Live(energy_wh, power_w, soc, now_s, power_w, now_s, due_s)
            return True
        live.energy_wh, live.power_w, live.soc, live.heard_s = energy_wh, power_w, soc, now_s
        if not _worth(live, now_s):
            return False
        live.logged_w, live.logged_s, live.due_s = power_w, now_s, now_s + SAMPLE_S
        return True

    def live_of(self, session_id: str) -> Live | None:
        """The newest reading of a session."""
        return self._live.get(session_id)

    def loads_w(self, state: State) -> dict[NodeId, int]:
        """What the sessions at each node and below it draw by their newest readings."""
        found = dict.fromkeys(state.nodes, 0)
        for node_id, node in state.nodes.items():
            readings = (self._live.get(session_id) for session_id in node.sessions)
            here_w = sum(reading.power_w for reading in readings if reading is not None)
            for each in above(state, node_id):
                found[each] += here_w
        return found

    def forget(self, session_id: str) -> None:
        """The session ended."""
        self._live.pop(session_id, None)


def _place(session_id: str) -> float:
    """0 to 1, the same for a session always: after a restart ten thousand begin at once, and must not stay in step."""
    return (crc32(session_id.encode()) & 0xFFFF) / 0x10000


def _worth(live: Live, now_s: float) -> bool:
    age_s = now_s - live.logged_s
    if age_s < SAMPLE_PAUSE_S:
        return False
    if now_s >= live.due_s:
        return True
    return abs(live.power_w - live.logged_w) > SAMPLE_CHANGE * max(live.power_w, live.logged_w)
