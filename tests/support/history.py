"""The audit log as a test reads it: from the files, while Central writes them or after it died."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TypeVar

from evcharge.audit.event_codec import LoggedEvent, decode
from evcharge.audit.files import OsFiles
from evcharge.audit.record import MAGIC, Record
from evcharge.audit.replay import CleanEnd, Corrupt, End, TornTail, replay
from evcharge.domain import events as e
from evcharge.domain.evolve import evolve
from evcharge.domain.state import Session, State, Ticket, shown_state
from evcharge.domain.words import Shown
from evcharge.ids import ChargePointId, SessionId
from tests.support.processes import until

E = TypeVar("E", bound=e.Event)
# Longest time that a record is only half in its file, seconds: one write, on a machine that is busy.
WHOLE_S = 5.0


class History:
    """What the log says now. Reading changes nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = OsFiles()
        self._records: list[Record] = []
        self._end: End | None = None
        self._seen: tuple[Path, int] | None = None

    @property
    def records(self) -> list[Record]:
        """All good records. Fails on a damaged log."""
        if self._grown():
            self._read()
        return self._records

    @property
    def end(self) -> End:
        """How the log ends."""
        self._read()
        assert self._end is not None
        return self._end

    @property
    def logged(self) -> list[LoggedEvent]:
        """All events with their stamps."""
        return [logged for logged in (decode(record.body) for record in self.records) if logged is not None]

    def all(self, kind: type[E]) -> list[E]:
        """All events of a kind."""
        return [logged.event for logged in self.logged if isinstance(logged.event, kind)]

    def state(self) -> State:
        """The log folded up: what a Central that starts now would know."""
        state = State()
        for logged in self.logged:
            evolve(state, logged.event, logged.stamp)
        return state

    def shown(self, cp_id: str) -> Shown | None:
        """The state in which a charge point is shown; None: Central never saw it."""
        state = self.state()
        charge_point = state.charge_points.get(ChargePointId(cp_id))
        return None if charge_point is None else shown_state(state, charge_point)

    def session(self, session_id: str) -> Session | None:
        """An open session."""
        return self.state().sessions.get(SessionId(session_id))

    def tickets(self, session_id: str | None = None) -> list[Ticket]:
        """Tickets as they were issued, of one session or all."""
        issued = [event.ticket for event in self.all(e.TicketIssued)]
        return [ticket for ticket in issued if session_id in (None, ticket.session_id)]

    def check(self) -> None:
        """What must hold of every log: whole, and exactly one ticket for each session that began and is over."""
        # Central may be in the middle of a record, which looks torn until it is there.
        until(lambda: isinstance(self.end, CleanEnd), lambda: repr(self.end), WHOLE_S)
        begun = Counter(event.session_id for event in self.all(e.SupplyStarted))
        billed = Counter(ticket.session_id for ticket in self.tickets())
        assert set(begun.values()) <= {1}, f"a session began twice: {begun}"
        assert set(billed.values()) <= {1}, f"a session has two tickets: {billed}"
        running = set(self.state().sessions)
        assert set(begun) - set(billed) <= running, "a session is over and has no ticket"
        assert set(billed) <= set(begun), "a ticket for a session that never began"

    def energy_wh(self) -> int:
        """Tickets and their adjustments together."""
        tickets = sum(ticket.energy_wh for ticket in self.tickets())
        return tickets + sum(event.energy_wh for event in self.all(e.TicketAdjusted))

    def _grown(self) -> bool:
        """Whether it is worth reading the files again: a segment is 64 MiB of zeros to look through."""
        segments = sorted(self._directory.glob("audit-*.log"))
        if not segments or self._seen is None or len(segments) != 1 or segments[0] != self._seen[0]:
            return bool(segments)
        with segments[0].open("rb") as file:
            file.seek(self._seen[1])
            return file.read(len(MAGIC)) == MAGIC

    def _read(self) -> None:
        """Read all. Central may write meanwhile, and a replay that met the gap before the new records takes it for
        damage; damage stays where it is, so one that is met again at the same place is real.
        """
        damage: list[End] = []
        while len(damage) < 2 or damage[-1] != damage[-2]:
            records: list[Record] = []
            for item in replay(self._directory, self._files):
                if isinstance(item, Record):
                    records.append(item)
                else:
                    self._end = item
            if not isinstance(self._end, Corrupt):
                break
            damage.append(self._end)
        assert not isinstance(self._end, Corrupt), self._end
        self._records = records
        if isinstance(self._end, CleanEnd | TornTail) and self._end.file is not None:
            self._seen = (self._end.file, self._end.offset)
