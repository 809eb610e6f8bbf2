"""A whole site in memory: Central's domain, model charge points, and wires that lag, lose and break.

Both ends are honest, everything between them is not (``tests.support.model_steps`` does random things to them).
``Site.check`` compares what flows with what Central counts after each of them, ``Site.close_accounts`` every meter with
every ticket.
"""

from __future__ import annotations

import math

from evcharge.audit.event_codec import decode
from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.charge_points import open_sessions_at
from evcharge.domain.decide import AnyCommand
from evcharge.domain.feeds import feeds_of
from evcharge.domain.site import NodeConfig
from evcharge.domain.state import Derated, Session
from evcharge.domain.words import RUNNING, Hold, LinkState, SessionStatus
from evcharge.ids import ChargePointId, NodeId, SessionId, ticket_of
from tests.support.model_cp import ModelConnector
from tests.support.model_shell import SETTLE_MS, Shell
from tests.support.waiting_rules import (
    Rank,
    check_kept,
    check_one_each,
    check_order,
    check_promises,
    check_reserved,
    check_served,
)

# How long a transfer switch may take (SPEC §7.6).
SWITCH_MS = 60_000


class Site(Shell):
    """A site at which what must always hold is looked at after each step."""

    # --- what must always hold --------------------------------------------------------------------------------------

    def check(self) -> None:
        """What flows ≤ what Central counts at worst ≤ capacity; above it, after a cut, the worst case only falls."""
        for cp in self.cps.values():
            for connector in cp.connectors.values():
                self._check_draw(connector)
        self._check_places()
        leased = {session_id for session_id, session in self.state.sessions.items() if session.lease.grants}
        for node_id, node in self.state.nodes.items():
            below = self._below(node_id)
            base_w = self._base_w(node_id)
            self._check_row((node_id, None), self._in_heat(node.capacity_w) - base_w, below)
            for phase, limit_w in enumerate(node.phase_w or ()):
                self._check_row((node_id, phase), self._in_heat(limit_w) - base_w, below)
            assert node.reserved_w == sum(session.min_w for session in below)
            if node.phase_w is not None:
                assert node.reserved_phase_w == tuple(self._reserved_w(phase, below) for phase in range(3))
            # If all messages were lost from now on, this is what would flow in the end: no more than was reserved.
            assert all(grant.fallback_w <= s.min_w for s in below for grant in s.lease.grants)
            leased -= set(node.sessions)
        assert not leased, "a lease that no node counts"
        self._check_totals()

    def _in_heat(self, limit_w: int) -> int:
        """What the heat leaves of a limit."""
        return limit_w if self.state.derated is None else limit_w * self.state.derated.share // 1_000

    def _check_weather(self, events: list[e.Event]) -> None:
        """Held by the weather are those that it covers, and nothing begins there; who waits is not sent away."""
        for charge_point in self.state.charge_points.values():
            stands_at = {*self.above(self._home_of(charge_point.cp_id))}
            closed = any(
                alert.cp_id == charge_point.cp_id
                or alert.node_id in stands_at
                or (alert.cp_id is None and alert.node_id is None)
                for alert in self.state.alerts.values()
            )
            assert (Hold.WEATHER in charge_point.holds) == closed, f"{charge_point.cp_id}, closed: {closed}"
            there = open_sessions_at(self.state, charge_point.cp_id)
            begin = [session for session in there if session.status is SessionStatus.AUTHORIZED]
            assert not (closed and begin), f"{begin} in spite of the weather"
        for event in events:
            if isinstance(event, e.SetPointIssued) and event.start_valid_ms is not None:
                cp_id = self.state.sessions[event.session_id].cp_id
                assert not self.state.charge_points[cp_id].holds, f"{event} starts a supply at a held charge point"

    def _check_limits(self, events: list[e.Event]) -> None:
        """Nobody is told more than an operator allows his charge point; nothing begins where that is too little."""
        for event in events:
            if isinstance(event, e.SetPointIssued):
                limit_w = self.state.charge_points[self.state.sessions[event.session_id].cp_id].limit_w
                assert limit_w is None or event.grant.limit_w <= limit_w, f"{event} above {limit_w} W"
            elif isinstance(event, e.ChargeAuthorized):
                limit_w = self.state.charge_points[event.cp_id].limit_w
                assert limit_w is None or event.min_w <= limit_w, f"{event} where {limit_w} W are allowed"

    def _check_places(self) -> None:
        """What a switch may not have moved yet counts at both feeds; so does what charges since before a file was
        changed, where it flows and where it is to stand.
        """
        for cp_id, (told_ms, feeds) in self.switching.items():
            if self.clock_ms - told_ms < SWITCH_MS:
                assert {*feeds} <= {*feeds_of(self.state, cp_id)}, f"the switch of {cp_id} may still have {feeds}"
        for cp_id in list(self.drawn_from):
            charge_point = self.state.charge_points[cp_id]
            home = self._home_of(cp_id)
            if not self.open_at(cp_id):
                del self.drawn_from[cp_id]
                assert charge_point.node_id == home or charge_point.moved_ms is not None, "idle, and not in its place"
            elif charge_point.leaving_id is not None and charge_point.moved_ms is not None:
                # A transfer switch has taken it elsewhere.
                del self.drawn_from[cp_id]
            else:
                missing = {*self.drawn_from[cp_id], *self.above(home)} - {*feeds_of(self.state, cp_id)}
                assert not missing, f"{cp_id} draws through {missing}, and does not count there"

    def _below(self, node_id: NodeId) -> list[Session]:
        """The sessions whose power may flow through a node, found from the top.

        While a charge point moves nobody knows which feed its transfer switch has: it counts at both. Away from home
        its own feeders carry it still, up to the node that its feed stands in for.
        """
        below = {node_id}
        while True:
            more = {name for name, node in self.state.nodes.items() if node.parent in below} - below
            if not more:
                break
            below |= more
        found = []
        for charge_point in self.state.charge_points.values():
            feeds = {charge_point.node_id, charge_point.leaving_id or charge_point.node_id}
            if feeds & below or any(node_id in self._own_feeders(charge_point.cp_id, feed) for feed in feeds):
                ids = [connector.session_id for connector in charge_point.connectors.values()]
                found += [self.state.sessions[session_id] for session_id in ids if session_id is not None]
        return found

    def _base_w(self, node_id: NodeId) -> int:
        """What else may flow through a node: what the file says of it, or of all that it feeds."""
        if node_id not in self.config.capacities:
            return 0
        fed = [each for each, placed in self.config.nodes.items() if placed.parent == node_id]
        own_w = self.config.nodes.get(node_id, NodeConfig()).base_w
        return max(own_w, sum(self._base_w(each) for each in fed))

    def _home_of(self, cp_id: ChargePointId) -> NodeId:
        return self.config.assignments.get(cp_id, self.config.default_node)

    def _own_feeders(self, cp_id: ChargePointId, feed: NodeId) -> list[NodeId]:
        """What lies between a charge point and the node that ``feed`` stands in for; nothing when it is no backup."""
        at: NodeId | None = self._home_of(cp_id)
        found: list[NodeId] = []
        while at is not None and at != feed:
            if feed in self.config.nodes.get(at, NodeConfig()).backups:
                return found
            found.append(at)
            at = self.state.nodes[at].parent
        return []

    def _check_row(self, row: tuple[NodeId, int | None], limit_w: int, sessions: list[Session]) -> None:
        counted_w = 0.0
        for session in sessions:
            on = self.config.phases.get(session.cp_id, ())
            if row[1] is None or not on:
                counted_w += session.lease.worst_w(self.clock_ms)
            elif row[1] in on:
                counted_w += session.lease.worst_w(self.clock_ms) / len(on)
        allowed_w = max(limit_w, self.seen_w.get(row, counted_w))
        assert counted_w <= allowed_w + 1e-6, f"{row}: {counted_w} W at worst, {allowed_w} W allowed"
        self.seen_w[row] = counted_w

    def _reserved_w(self, phase: int, sessions: list[Session]) -> int:
        """The smallest currents on a phase, each rounded up."""
        found = 0
        for session in sessions:
            on = self.config.phases.get(session.cp_id, ())
            if phase in on or not on:
                found += math.ceil(session.min_w / (len(on) or 1))
        return found

    def _check_draw(self, connector: ModelConnector) -> None:
        drawn_w = connector.draw_w(self.clock_ms)
        if drawn_w and connector.running is not None:
            session = self.state.sessions.get(connector.running.session_id)
            counted_w = 0 if session is None else session.lease.worst_w(self.clock_ms)
            assert drawn_w <= counted_w, f"{connector.running.session_id} draws {drawn_w} W, {counted_w} W counted"

    def _check_totals(self) -> None:
        statuses = [session.status for session in self.state.sessions.values()]
        running = sum(1 for status in statuses if status in RUNNING)
        totals = self.state.totals
        assert totals.started == totals.tickets + running
        assert totals.authorized == totals.started + totals.expired + statuses.count(SessionStatus.AUTHORIZED)

    def check_waiting(
        self, command: AnyCommand, before: dict[SessionId, Rank], events: list[e.Event], effects: list[fx.Effect]
    ) -> None:
        """What must hold for those who wait and for reservations (``tests.support.waiting_rules``)."""
        # What a node can hold is less than was promised also where it stands in for one that failed.
        moved = any(isinstance(one, e.ChargePointMoved) for one in events)
        self.cut_back |= isinstance(command, c.SetCapacity | c.Derate) or moved
        check_kept(self.state, events)
        self._check_weather(events)
        self._check_limits(events)
        if self.waits:
            check_one_each(self.state)
            check_reserved(self.state, self.at_ms, events)
            check_promises(self.state, self.at_ms, events, effects, cut=self.cut_back)
            if isinstance(command, c.ServeWaiting):
                check_order(before, self.state, events)
                check_served(self.state, self.at_ms)

    # --- the end ----------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """All charge points vanish for good: everything comes to its end by deadlines alone."""
        for cp_id in self.cps:
            self.cut(cp_id)
            self.notice(cp_id)
        self.dies = None
        self.sync()
        # The first may end authorizations, whose sessions began after all but never told.
        self.advance(2 * SETTLE_MS)
        waiting = {SessionStatus.AUTHORIZED, *RUNNING}
        left = [session for session in self.state.sessions.values() if session.status in waiting]
        assert not left, left

    def reconnect(self) -> None:
        """Everybody comes back and has nothing to complain about."""
        self.synced, self.dies = True, None
        self.sync()
        for cp_id, cp in self.cps.items():
            cp.error = None
            self.connect(cp_id)
            if self.state.charge_points[cp_id].monitor.state is not LinkState.NEVER and cp_id not in self.monitors:
                self.monitor_up(cp_id)
            self.command(c.ReportRecovery(cp_id=cp_id))
        self.command(c.ResumeChargePoints(cp_id=None))
        for cp_id in self.state.charge_points:
            self.command(c.LimitChargePoint(cp_id=cp_id, limit_w=None))
        for alert in list(self.state.alerts.values()):
            over = c.ReportWeather(kind=alert.kind, active=False, cp_id=alert.cp_id, node_id=alert.node_id)
            self.command(over)
        self.command(c.Derate(derated=Derated(share=1_000, milli_c=20_000)))
        for node_id in self.state.nodes:
            self.command(c.ReportNode(node_id=node_id, ok=True))
        self.pump()

    def heal(self) -> None:
        """Everybody comes back, nobody waits any longer, every vehicle leaves, every report arrives."""
        self.reconnect()
        for waiting in list(self.state.waiting.values()):
            self.command(c.LeaveQueue(driver_id=waiting.driver_id, waiting_id=waiting.waiting_id))
        for one in list(self.state.reservations.values()):
            self.command(c.CancelReservation(driver_id=one.driver_id, reservation_id=one.reservation_id))
        for cp in self.cps.values():
            for connector in cp.connectors.values():
                cp.unplug(connector, self.at_ms)
        self.pump()
        for ms in (61_000, SETTLE_MS + 61_000):
            self.advance(ms)
            self.pump()

    def close_accounts(self) -> None:
        """Exactly one ticket for each session that started, and all energy billed to the watt-hour."""
        state = self.state
        assert not state.sessions, state.sessions
        assert not state.provisional
        assert not any(substation.sessions for substation in state.nodes.values())
        assert not any(driver.open_sessions for driver in state.drivers.values())
        begun: list[SessionId] = []
        billed: dict[SessionId, int] = {}
        adjusted: set[SessionId] = set()
        timed_out: set[SessionId] = set()
        for body in self.log:
            logged = decode(body)
            assert logged is not None
            match logged.event:
                case e.SupplyStarted(session_id=session_id):
                    begun.append(session_id)
                case e.TicketIssued(ticket=ticket):
                    assert ticket.session_id not in billed, "a second ticket"
                    assert ticket.ticket_id == ticket_of(ticket.session_id)
                    billed[ticket.session_id] = ticket.energy_wh
                case e.TicketAdjusted(session_id=session_id, energy_wh=energy_wh):
                    assert session_id not in adjusted, "a second adjustment"
                    adjusted.add(session_id)
                    billed[session_id] += energy_wh
                case e.SessionForgotten(session_id=session_id):
                    # Its charge point had said "off" and then nothing for a day: the declared time-out.
                    timed_out.add(session_id)
        assert sorted(begun) == sorted(billed)
        whole = [charge for cp in self.cps.values() for charge in cp.charges if not charge.lost]
        assert len({charge.session_id for charge in whole}) == len(whole), "a session ran twice"
        for charge in whole:
            if charge.session_id not in timed_out:
                assert charge.end_wh is not None
                assert billed[charge.session_id] == charge.end_wh - charge.start_wh, charge
        assert state.totals.energy_wh == sum(billed.values())
        assert state.totals.tickets == state.totals.started == len(billed)
