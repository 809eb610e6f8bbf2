"""From records to rows: a pure fold. The same records give the same rows, wherever they are cut into runs.

Energy is counted by registers: what a session has drawn so far is its register less the one that it began with, never
below nothing, and each rise is spread over the quarters of an hour since the last value. A ticket's energy is what
counts in the end: the quarters of a session are made to agree with it, and with its adjustments, to the watt-hour.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec

from evcharge.net.tail import Record
from evcharge.sidecar.history import kinds as k
from evcharge.sidecar.history.carbon import petrol_g
from evcharge.sidecar.history.changes import Changes, Day
from evcharge.sidecar.history.memory import Memory, Open, Site
from evcharge.sidecar.history.rows import instant_of, record_row, session_of, session_row
from evcharge.sidecar.history.spread import Calendar, quarter_of, spread

# ms of one hour, for what a power makes of an energy.
HOUR_MS = 3_600_000


class Misplaced(Exception):
    """A record, or a run of them, that does not follow what is there."""


class Fold:
    """Takes records one by one; ``drain`` gives what they changed since."""

    def __init__(self, memory: Memory, calendar: Calendar) -> None:
        self.memory = memory
        self._calendar = calendar
        self._changes = Changes(memory.seq, memory.seq)
        self._touched: dict[str, Open] = {}
        self._connectors = sum(memory.site.connectors.values())
        # Watts now, by charge point and by node: sums over the sessions, so they need no keeping.
        self._points_w: dict[str, int] = {}
        self._nodes_w: dict[str, int] = {}
        for one in memory.sessions.values():
            self._add(one, one.power_w)
        self._takes: dict[str, Callable[[Record], None]] = {
            "central_started": self._central_started,
            "charge_point_booted": self._charge_point_booted,
            "charge_authorized": self._charge_authorized,
            "charge_refused": self._charge_refused,
            "supply_started": self._supply_started,
            "meter_sampled": self._meter_sampled,
            "supply_paused": self._supply_paused,
            "supply_resumed": self._supply_resumed,
            "session_online": self._session_online,
            "stop_confirmed": self._stop_confirmed,
            "supply_ended": self._supply_ended,
            "authorization_expired": self._authorization_expired,
            "ticket_issued": self._ticket_issued,
            "ticket_adjusted": self._ticket_adjusted,
            "session_forgotten": self._session_forgotten,
        }

    @property
    def seq(self) -> int:
        """Of the last record that was taken."""
        return self.memory.seq

    @property
    def waiting(self) -> int:
        """How many records ``drain`` would give the changes of."""
        return self.memory.seq - self._changes.after_seq

    def take(self, record: Record) -> None:
        """The next record; one that was taken before changes nothing.

        A record that cannot be understood leaves a row, if it names what it is about, and no sum.

        Raises:
            Misplaced: records are missing before it.
        """
        if record.seq <= self.memory.seq:
            return
        if record.seq != self.memory.seq + 1:
            raise Misplaced(f"record {record.seq} came where {self.memory.seq + 1} is due")
        self._pass(record)

    def skip_to(self, seq: int) -> None:
        """The next record is ``seq``: those before it are not there any more."""
        self.memory.seq = self._changes.upto_seq = max(self.memory.seq, seq - 1)

    def _pass(self, record: Record) -> None:
        self.memory.seq = self._changes.upto_seq = record.seq
        named = session_of(record)
        known = None if named is None else self.memory.sessions.get(named)
        if known is not None:
            known.last_seq = record.seq
            self._touch(known)
        take = self._takes.get(record.kind)
        if take is not None:
            # Written by another version: its row shows it, and nothing is counted that may mean something else.
            with contextlib.suppress(msgspec.ValidationError):
                take(record)
        if record.kind not in k.PASSED:
            self._keep(record, known or self.memory.sessions.get(named or ""))

    def drain(self) -> Changes:
        """What has changed since the last call."""
        changes = self._changes
        for session_id, one in self._touched.items():
            changes.sessions[session_id] = session_row(one)
            if session_id in self.memory.sessions:
                changes.opened[session_id] = one
        self._touched = {}
        self._changes = Changes(self.memory.seq, self.memory.seq)
        return changes

    # --- rows of records ----------------------------------------------------------------------------------------------

    def _keep(self, record: Record, known: Open | None) -> None:
        if record.kind in ("peer_connected", "peer_disconnected") and record.data.get("role") not in k.LASTING:
            return
        rows = self._changes.decisions if record.kind in k.DECISIONS else self._changes.states
        rows.append(record_row(record, known))

    def _touch(self, one: Open) -> None:
        """Its row, and what is remembered of it, are written as they are when the run is drained."""
        self._touched[one.session_id] = one

    def _close(self, one: Open) -> None:
        self._draw(one, 0, None)
        self._touch(one)
        self.memory.sessions.pop(one.session_id, None)
        self._changes.closed.add(one.session_id)

    # --- the site -----------------------------------------------------------------------------------------------------

    def _central_started(self, record: Record) -> None:
        site = msgspec.convert(record.data, k.CentralStarted).site
        parents = {node: (site.nodes[node].parent if node in site.nodes else None) for node in site.capacities}
        self.memory.site = Site(parents=parents, connectors=self.memory.site.connectors)
        self._changes.site = True

    def _charge_point_booted(self, record: Record) -> None:
        said = msgspec.convert(record.data, k.ChargePointBooted)
        if self.memory.site.connectors.get(said.cp_id) != len(said.connectors):
            self.memory.site.connectors[said.cp_id] = len(said.connectors)
            self._connectors = sum(self.memory.site.connectors.values())
            self._changes.site = True
        self._day(instant_of(record))

    # --- sessions -----------------------------------------------------------------------------------------------------

    def _charge_authorized(self, record: Record) -> None:
        said = msgspec.convert(record.data, k.ChargeAuthorized)
        one = Open(
            session_id=said.session_id,
            seq=record.seq,
            last_seq=record.seq,
            cp_id=said.cp_id,
            connector=said.connector,
            driver_id=said.driver_id,
            substation_id=said.substation_id,
            above=self.memory.site.above(said.substation_id),
            status="AUTHORIZED",
            authorized_ms=instant_of(record),
            min_w=said.min_w,
            max_w=said.max_w,
            requested_wh=said.energy_wh,
            meter_ms=instant_of(record),
        )
        before = self.memory.sessions.get(one.session_id)
        if before is not None:
            self._draw(before, 0, None)
        self.memory.sessions[one.session_id] = one
        self._changes.closed.discard(one.session_id)
        self._touch(one)

    def _charge_refused(self, record: Record) -> None:
        self._day(instant_of(record)).refused += 1

    def _supply_started(self, record: Record) -> None:
        said, one = self._about(record)
        if one is None or said.meter_wh is None:
            return
        one.status = "SUPPLYING"
        one.start_ms = one.meter_ms = instant_of(record) if said.at_ms is None else said.at_ms
        one.start_meter_wh = said.meter_wh

    def _meter_sampled(self, record: Record) -> None:
        said = msgspec.convert(record.data, k.MeterSampled)
        one = self.memory.sessions.get(said.session_id)
        if one is None or one.ticket_id is not None:
            return
        self._read(one, said.meter_wh, instant_of(record))
        self._draw(one, said.power_w, instant_of(record))

    def _supply_paused(self, record: Record) -> None:
        said, one = self._about(record)
        if one is not None:
            one.status = "PAUSED"
            self._read(one, said.meter_wh, instant_of(record))
            self._draw(one, 0, instant_of(record))

    def _supply_resumed(self, record: Record) -> None:
        said, one = self._about(record)
        if one is not None:
            one.status = "SUPPLYING"
            self._read(one, said.meter_wh, instant_of(record))

    def _session_online(self, record: Record) -> None:
        _, one = self._about(record)
        if one is not None:
            one.status = "SUPPLYING"

    def _stop_confirmed(self, record: Record) -> None:
        _, one = self._about(record)
        if one is not None:
            self._draw(one, 0, None)

    def _supply_ended(self, record: Record) -> None:
        said, one = self._about(record)
        if one is not None:
            one.stop = said.cause
            one.end_ms = instant_of(record) if said.at_ms is None else said.at_ms
            self._read(one, said.meter_wh, one.end_ms)
            self._draw(one, 0, None)

    def _authorization_expired(self, record: Record) -> None:
        said, one = self._about(record)
        if one is None:
            return
        one.status, one.stop, one.end_ms = "EXPIRED", said.cause, instant_of(record)
        if not said.start_pending:
            self._close(one)

    def _session_forgotten(self, record: Record) -> None:
        _, one = self._about(record)
        if one is not None:
            self._close(one)

    def _about(self, record: Record) -> tuple[k.AboutSession, Open | None]:
        """The session of a record that says how it goes on; None: it is not known, or billed already."""
        said = msgspec.convert(record.data, k.AboutSession)
        one = self.memory.sessions.get(said.session_id)
        if one is not None and one.ticket_id is not None and record.kind != "session_forgotten":
            return said, None
        return said, one

    # --- tickets ------------------------------------------------------------------------------------------------------

    def _ticket_issued(self, record: Record) -> None:
        ticket = msgspec.convert(record.data, k.TicketIssued).ticket
        one = self.memory.sessions.get(ticket.session_id) or self._unheard(record, ticket)
        self._count(one, ticket.energy_wh, ticket.end_ms)
        one.status, one.stop, one.provisional = ticket.status, ticket.reason, ticket.provisional
        one.start_ms, one.end_ms = ticket.start_ms, ticket.end_ms
        one.amount_minor, one.currency, one.co2_g = ticket.amount_minor, ticket.currency, ticket.co2_g
        one.ticket_id, one.ticket_end_ms = ticket.ticket_id, ticket.end_ms
        self._changes.tickets[ticket.ticket_id] = {
            "seq": record.seq,
            "at_ms": instant_of(record),
            **msgspec.structs.asdict(ticket),
            "adjusted_wh": 0,
            "adjusted_minor": 0,
            "adjusted_co2_g": 0,
        }
        day = self._day(ticket.end_ms)
        day.sessions += 1
        self._bill(day, ticket.amount_minor, ticket.co2_g, petrol_g(ticket.energy_wh))
        day.currency = ticket.currency
        for name, busy_ms in self._calendar.busy(ticket.start_ms, ticket.end_ms):
            self._named(name).busy_ms += busy_ms
        if ticket.provisional:
            self._draw(one, 0, None)
            self._touch(one)
        else:
            self._close(one)

    def _unheard(self, record: Record, ticket: k.Ticket) -> Open:
        """A session whose beginning was archived: its ticket has all that counts."""
        one = Open(
            session_id=ticket.session_id,
            seq=record.seq,
            last_seq=record.seq,
            cp_id=ticket.cp_id,
            connector=0,
            driver_id=ticket.driver_id,
            substation_id=ticket.substation_id,
            above=self.memory.site.above(ticket.substation_id),
            status=ticket.status,
            authorized_ms=ticket.start_ms,
            meter_ms=ticket.start_ms,
        )
        self.memory.sessions[one.session_id] = one
        return one

    def _ticket_adjusted(self, record: Record) -> None:
        said = msgspec.convert(record.data, k.TicketAdjusted)
        self._changes.adjustments.append(
            {"seq": record.seq, "at_ms": instant_of(record), **msgspec.structs.asdict(said)}
        )
        one = self.memory.sessions.get(said.session_id)
        if one is None or one.ticket_end_ms is None:
            return
        before_wh = one.energy_wh
        after_wh = max(0, before_wh + said.energy_wh)
        # It was drawn behind the last known register: as soon as the connector could, and before it was told.
        needed_ms = said.energy_wh * HOUR_MS // max(1, one.max_w)
        self._count(one, after_wh, min(instant_of(record), one.meter_ms + max(0, needed_ms)))
        one.amount_minor = (one.amount_minor or 0) + said.amount_minor
        one.co2_g = (one.co2_g or 0) + said.co2_g
        one.provisional = False
        sums = self._changes.adjusted.setdefault(said.ticket_id, [0, 0, 0])
        sums[0], sums[1], sums[2] = sums[0] + said.energy_wh, sums[1] + said.amount_minor, sums[2] + said.co2_g
        petrol = petrol_g(after_wh) - petrol_g(before_wh)
        self._bill(self._day(one.ticket_end_ms), said.amount_minor, said.co2_g, petrol)
        self._close(one)

    @staticmethod
    def _bill(day: Day, amount_minor: int, co2_g: int, petrol: int) -> None:
        day.amount_minor += amount_minor
        day.co2_g += co2_g
        day.avoided_g += petrol - co2_g

    # --- energy -------------------------------------------------------------------------------------------------------

    def _read(self, one: Open, meter_wh: int | None, at_ms: int) -> None:
        """A register of a running session."""
        if meter_wh is not None and one.start_meter_wh is not None:
            self._count(one, max(0, meter_wh - one.start_meter_wh), at_ms)

    def _count(self, one: Open, energy_wh: int, at_ms: int) -> None:
        """The session has drawn ``energy_wh`` until then: what is new is spread, what was too much is taken back."""
        added = energy_wh - one.energy_wh
        one.energy_wh = energy_wh
        if added >= 0:
            for quarter, part in spread(added, one.meter_ms, at_ms):
                one.spread[quarter] = one.spread.get(quarter, 0) + part
                self._flow(one, quarter, part)
        else:
            for quarter in sorted(one.spread, reverse=True):
                part = min(one.spread[quarter], -added)
                one.spread[quarter] -= part
                added += part
                if part:
                    self._flow(one, quarter, -part)
        one.meter_ms = max(one.meter_ms, at_ms)

    def _flow(self, one: Open, quarter: int, energy_wh: int) -> None:
        self._point(one.cp_id, quarter)[0] += energy_wh
        for node in one.above:
            self._node(node, quarter)[0] += energy_wh
        self._day(quarter).energy_wh += energy_wh

    def _draw(self, one: Open, power_w: int, at_ms: int | None) -> None:
        """It draws this from now on; ``at_ms``: a measurement, which may be the highest of its quarter."""
        more, one.power_w = power_w - one.power_w, power_w
        self._add(one, more)
        if at_ms is None or power_w <= 0:
            return
        quarter = quarter_of(at_ms)
        point = self._point(one.cp_id, quarter)
        point[1] = max(point[1], self._points_w[one.cp_id])
        for node in one.above:
            cell = self._node(node, quarter)
            cell[1] = max(cell[1], self._nodes_w[node])

    def _add(self, one: Open, power_w: int) -> None:
        self._points_w[one.cp_id] = self._points_w.get(one.cp_id, 0) + power_w
        for node in one.above:
            self._nodes_w[node] = self._nodes_w.get(node, 0) + power_w

    def _point(self, cp_id: str, quarter: int) -> list[int]:
        return self._changes.points.setdefault((cp_id, quarter), [0, 0])

    def _node(self, node: str, quarter: int) -> list[int]:
        return self._changes.nodes.setdefault((node, quarter), [0, 0])

    def _day(self, at_ms: int) -> Day:
        return self._named(self._calendar.day(at_ms))

    def _named(self, name: str) -> Day:
        day = self._changes.days.setdefault(name, Day())
        day.connectors = max(day.connectors, self._connectors)
        return day
