"""An independent reader of Central's log: folds it up by itself and compares it with what peers were told.

Reads the files alone (``evcharge.audit.replay`` and ``event_codec``), never Central's memory. Nothing here decides
what should have happened; it only asks whether what was acknowledged is there, once, and whether the sums agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from evcharge.audit.event_codec import LoggedEvent, decode
from evcharge.audit.files import Files, OsFiles
from evcharge.audit.record import Record
from evcharge.audit.replay import CleanEnd, End, TornTail, replay
from evcharge.domain import events as e
from evcharge.domain.evolve import evolve
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import State, Ticket
from evcharge.domain.words import Role, SessionStatus
from tools.drill.history import Ack

# Refusals that Central gives without a record: it goes down, or its log is what is late or short of room.
UNLOGGED = frozenset({RefusalReason.DRAINING, RefusalReason.OVERLOADED, RefusalReason.DISK_LOW})
# Sentences of one kind that are kept; the count goes on.
KEPT = 10


class Findings(msgspec.Struct):
    """What is wrong, by kind: how often, and the first sentences."""

    counts: dict[str, int] = {}
    sentences: list[str] = []

    def add(self, kind: str, sentence: str) -> None:
        """One more."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= KEPT:
            self.sentences.append(f"{kind}: {sentence}")

    def of(self, *kinds: str) -> int:
        """How many of these kinds."""
        return sum(self.counts.get(kind, 0) for kind in kinds)


class LogFacts:
    """Everything of the log that an acknowledgement can be compared with."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.state = State()
        self.end: End | None = None
        self.records = 0
        self.authorized: dict[str, tuple[str, str]] = {}
        """Session → (driver, charge point)."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """(driver, reason) → how often."""
        self.decided: Counter[str] = Counter()
        """Driver → requests that have an answer in the log."""
        self.over: set[str] = set()
        """Sessions that were ended, or ordered to end."""
        self.lapsed: set[str] = set()
        self.begun: set[str] = set()
        self.tickets: dict[str, Ticket] = {}
        self.adjusted: dict[str, list[int]] = {}
        """Ticket → its adjustments, Wh."""
        self.commands: set[int] = set()
        self.outbox: dict[tuple[str, int], int] = {}
        """(charge point, epoch) → highest number applied."""
        self._epochs: dict[str, int] = {}
        self._meters: dict[str, int] = {}
        self._last_clock_ms = 0
        self.site_steps_back = 0
        """Records whose site time lies before that of the one before."""
        self._last_at_ms = 0

    @classmethod
    def read(cls, directory: Path, files: Files | None = None) -> LogFacts:
        """Fold up the log in ``directory``; it must not grow meanwhile. Raises OSError, UnknownKind."""
        facts = cls()
        for item in replay(directory, files or OsFiles()):
            if isinstance(item, Record):
                facts.records += 1
                logged = decode(item.body)
                if logged is not None:
                    facts.apply(logged)
            else:
                facts.end = item
        if not isinstance(facts.end, CleanEnd | TornTail):
            facts.findings.add("damaged", f"the log is damaged: {facts.end}")
        return facts

    def apply(self, logged: LoggedEvent) -> None:
        """One event, in order."""
        stamp = logged.stamp
        if stamp.clock_ms < self._last_clock_ms:
            self.findings.add("clock_back", f"steady time went back from {self._last_clock_ms} to {stamp.clock_ms}")
        self._last_clock_ms = max(self._last_clock_ms, stamp.clock_ms)
        self.site_steps_back += stamp.at_ms < self._last_at_ms
        self._last_at_ms = stamp.at_ms
        self._collect(logged.event)
        try:
            evolve(self.state, logged.event, stamp)
        except (KeyError, AssertionError) as error:
            self.findings.add("damaged", f"{type(logged.event).__name__} does not fit what came before ({error!r})")

    def _collect(self, event: e.Event) -> None:
        match event:
            case e.ChargeAuthorized():
                if event.session_id in self.authorized:
                    self.findings.add("doubled", f"session {event.session_id} was granted twice")
                self.authorized[event.session_id] = (event.driver_id, event.cp_id)
                self.decided[event.driver_id] += 1
                self._command(event.command_id)
            case e.ChargeRefused():
                self.refused[event.driver_id, event.reason.value] += 1
                self.decided[event.driver_id] += 1
            case e.AuthorizationExpired():
                self.over.add(event.session_id)
                self.lapsed.add(event.session_id)
                self._command(event.command_id)
            case e.StopOrdered() | e.StraySupplyStopped():
                self.over.add(event.session_id)
                self._command(event.command_id)
            case e.SetPointIssued():
                self._command(event.grant.command_id)
            case e.SupplyStarted():
                if event.session_id in self.begun:
                    self.findings.add("doubled", f"session {event.session_id} began twice")
                self.begun.add(event.session_id)
                self._meter(event.session_id, event.meter_wh)
            case e.MeterSampled():
                self._meter(event.session_id, event.meter_wh)
            case e.SupplyEnded():
                self.over.add(event.session_id)
                self._meter(event.session_id, event.meter_wh)
            case e.TicketIssued():
                self._ticket(event.ticket)
            case e.TicketAdjusted():
                self.adjusted.setdefault(event.ticket_id, []).append(event.energy_wh)
            case e.OutboxApplied():
                self._applied(event.cp_id, event.n)
            case e.PeerConnected() if event.role is Role.ENGINE and event.outbox_epoch is not None:
                self._epochs[event.entity] = event.outbox_epoch
            case _:
                pass

    def _command(self, number: int) -> None:
        if number in self.commands:
            self.findings.add("doubled", f"command number {number} was given twice")
        self.commands.add(number)

    def _applied(self, cp_id: str, n: int) -> None:
        place = (cp_id, self._epochs.get(cp_id, 0))
        if n <= self.outbox.get(place, -1):
            self.findings.add("doubled", f"outbox item {n} of {cp_id} was applied twice")
        self.outbox[place] = max(n, self.outbox.get(place, -1))

    def _ticket(self, ticket: Ticket) -> None:
        self.over.add(ticket.session_id)
        if ticket.session_id in self.tickets:
            self.findings.add("doubled_ticket", f"session {ticket.session_id} has two tickets")
        if ticket.end_ms < ticket.start_ms:
            self.findings.add("ticket_times", f"ticket {ticket.ticket_id} ends before it begins")
        self.tickets[ticket.session_id] = ticket

    def _meter(self, session_id: str, meter_wh: int) -> None:
        known = self._meters.get(session_id, 0)
        if meter_wh < known:
            self.findings.add("energy", f"the meter of {session_id} went back from {known} to {meter_wh} Wh")
        self._meters[session_id] = max(known, meter_wh)

    # --- against what was told ------------------------------------------------------------------------------------

    def compare(self, history: Iterable[Ack]) -> int:
        """Every acknowledgement against the log; how many there were. What is missing goes to ``findings``."""
        count = 0
        refused: Counter[tuple[str, str]] = Counter()
        asked: Counter[str] = Counter()
        fences: dict[str, int] = {}
        for ack in history:
            match ack.kind:
                case "asked":
                    asked[ack.peer] += 1
                    continue
                case "end_asked" | "meters":
                    continue
                case "refused":
                    if ack.text not in UNLOGGED:
                        refused[ack.peer, ack.text] += 1
                case "channel":
                    last = fences.get(ack.peer, 0)
                    if ack.number <= last:
                        self.findings.add("fence", f"{ack.peer} got fence {ack.number} after {last}: it has to rise")
                    fences[ack.peer] = max(ack.number, last)
                case _:
                    self._look_up(ack)
            count += 1
        for (driver, reason), told in refused.items():
            missing = told - self.refused[driver, reason]
            for _ in range(missing):
                self.findings.add("lost", f"{driver} was refused ({reason}); the log has one refusal less")
        for driver, answered in self.decided.items():
            if answered > asked[driver]:
                self.findings.add("doubled", f"{driver} asked {asked[driver]} times, the log has {answered} answers")
        return count

    def _look_up(self, ack: Ack) -> None:
        """One acknowledgement that names something in the log."""
        match ack.kind:
            case "granted":
                there = self.authorized.get(ack.session, ("", ""))[0] == ack.peer
            case "end_done":
                there = ack.session in self.over
            case "news":
                there = self._shown(ack)
            case "order":
                there = ack.number in self.commands
            case "outbox":
                there = self.outbox.get((ack.peer, ack.epoch), -1) >= ack.number
            case "next_n":
                there = self.outbox.get((ack.peer, ack.epoch), -1) >= ack.number - 1
            case "ticket":
                there = ack.session in self.tickets
                if there:
                    self._same_ticket(ack, self.tickets[ack.session])
            case _:
                raise AssertionError(f"{ack.kind} names nothing in the log")
        if not there:
            kind = "lost_ticket" if ack.kind == "ticket" else "lost"
            self.findings.add(
                kind, f"{ack.peer} was told {ack.kind} {ack.text} {ack.session} {ack.number}; not in the log"
            )

    def _shown(self, ack: Ack) -> bool:
        if ack.text == SessionStatus.AUTHORIZED:
            return ack.session in self.authorized
        if ack.text == SessionStatus.EXPIRED:
            return ack.session in self.lapsed
        if ack.text in (SessionStatus.COMPLETED, SessionStatus.INTERRUPTED):
            return ack.session in self.tickets
        return ack.session in self.begun

    def _same_ticket(self, ack: Ack, ticket: Ticket) -> None:
        logged = self.adjusted.get(ticket.ticket_id, [])[: len(ack.adjustments)]
        same = (ack.text, ack.energy_wh, ack.amount_minor) == (ticket.ticket_id, ticket.energy_wh, ticket.amount_minor)
        if not same or ack.adjustments != logged:
            self.findings.add("doubled_ticket", f"{ack.peer} has another ticket {ack.text} than the log")

    # --- the end --------------------------------------------------------------------------------------------------

    def settle(self, meters: Mapping[str, int], delivered: Iterable[Ack]) -> None:
        """When nothing runs any more: one ticket per begun session, tickets = meters (Wh by charge point), all told."""
        for session_id in self.begun - self.tickets.keys():
            self.findings.add("lost_ticket", f"session {session_id} began and has no ticket")
        for session_id in self.tickets.keys() - self.begun:
            self.findings.add("doubled_ticket", f"session {session_id} has a ticket and never began")
        for session_id, session in self.state.sessions.items():
            self.findings.add("stuck", f"session {session_id} at {session.cp_id} is still {session.status.value}")
        handed = {ack.session for ack in delivered if ack.kind == "ticket"}
        for session_id in self.tickets.keys() - handed:
            self.findings.add("lost_ticket", f"the ticket of {session_id} never reached its driver")
        billed: Counter[str] = Counter()
        for ticket in self.tickets.values():
            billed[ticket.cp_id] += ticket.energy_wh + sum(self.adjusted.get(ticket.ticket_id, []))
        for cp_id in sorted(meters.keys() | billed.keys()):
            if billed[cp_id] != meters.get(cp_id, 0):
                self.findings.add(
                    "energy", f"{cp_id}: tickets say {billed[cp_id]} Wh, its meters {meters.get(cp_id, 0)} Wh"
                )

    def energy_wh(self) -> int:
        """Tickets and their adjustments together."""
        return sum(ticket.energy_wh for ticket in self.tickets.values()) + sum(map(sum, self.adjusted.values()))

    def state_hash(self) -> str:
        """Hash of the state that the log makes."""
        return state_hash(self.state)


def state_hash(state: State) -> str:
    """SHA-256 of a state as canonical msgpack: fields and tables in their order, which means something; sets sorted."""
    # What follows from the rest is made when somebody asks, and a replay is asked nothing.
    bare = msgspec.structs.replace(state, spots=None)
    copy: State = msgspec.msgpack.decode(msgspec.msgpack.encode(bare), type=State)
    for charge_point in copy.charge_points.values():
        charge_point.holds = sorted(charge_point.holds)  # type: ignore[assignment]  # only to be written
    return sha256(msgspec.msgpack.encode(copy)).hexdigest()
