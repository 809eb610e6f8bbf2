"""A long log of a busy site: whole sessions, decided by the domain as Central decides them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

from evcharge.audit.control import state_body
from evcharge.audit.event_codec import encode
from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand, decide
from evcharge.domain.digest import RULES, Digest
from evcharge.domain.evolve import evolve
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import State
from evcharge.domain.words import Role, Stamp, StopCause
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, Fence, NodeId, SessionId
from evcharge.units import WattHours, Watts

# Meter samples of one session: one every 30 s for ten minutes.
SAMPLES = 20
SAMPLE_MS = 30_000
DRIVERS = 997
# Events between two records of the state's hash, as Central writes them.
SAY_STATE_EVERY = 1_000
MAX_W = Watts(11_000)


class Site:
    """Charge points that are busy one after the other, and what Central writes of them."""

    def __init__(self, *, points: int = 200, substations: int = 4, say_state_every: int = SAY_STATE_EVERY) -> None:
        self.state = State()
        self._digest = Digest(self.state)
        self._ms = 1_700_000_000_000
        self._say_state_every = say_state_every
        self._substations = [NodeId(f"north-{number}") for number in range(substations)]
        self._points = [ChargePointId(f"CP-{number:05}") for number in range(points)]

    def bodies(self, wanted: int) -> Iterator[bytes]:
        """So many bodies of records."""
        return islice(self._bodies(), wanted)

    def _bodies(self) -> Iterator[bytes]:
        unsaid = 0
        for command, actor in self._commands():
            stamp = Stamp(at_ms=self._ms, clock_ms=self._ms, actor=actor, source="10.0.0.7")
            for event in decide(self.state, command, stamp):
                self._digest.touch(event)
                evolve(self.state, event, stamp)
                yield encode(event, stamp)
                unsaid += 1
            if unsaid >= self._say_state_every:
                unsaid = 0
                yield state_body(RULES, self._digest.value())

    def _commands(self) -> Iterator[tuple[AnyCommand, str]]:
        share = Watts(len(self._points) * MAX_W // len(self._substations))
        assignments = {cp: self._substations[place % len(self._substations)] for place, cp in enumerate(self._points)}
        yield (
            c.StartCentral(
                site=SiteConfig(capacities=dict.fromkeys(self._substations, share), assignments=assignments)
            ),
            "central",
        )
        rating = c.ConnectorRating(ConnectorNo(1), Watts(1_400), MAX_W)
        for fence, cp in enumerate(self._points, 1):
            who = f"engine:{cp}"
            boot_id = fence.to_bytes(16, "big")
            ready = c.PeerReady(
                role=Role.ENGINE, entity=cp, username=cp, fence=Fence(fence), boot_id=boot_id, outbox_epoch=7
            )
            yield ready, who
            yield c.BootChargePoint(cp_id=cp, connectors=(rating,)), who
        for number in count():
            cp = self._points[number % len(self._points)]
            yield from self._session(cp, number, round_no=number // len(self._points))

    def _session(self, cp: ChargePointId, number: int, round_no: int) -> Iterator[tuple[AnyCommand, str]]:
        session_id, driver = SessionId(f"s-{number:020x}"), DriverId(f"driver-{number % DRIVERS}")
        who, n, meter = f"engine:{cp}", 2 * round_no, 1_000 + round_no * SAMPLES * 90
        self._ms += 200
        yield (
            c.RequestCharge(
                session_id=session_id,
                driver_id=driver,
                cp_id=cp,
                connector=ConnectorNo(0),
                energy_wh=20_000,
                depart_by_ms=None,
            ),
            f"driver:{driver}",
        )
        session = self.state.sessions[session_id]
        yield c.ReportResult(cp_id=cp, command_id=session.authorize_command, outcome="done"), who
        yield c.ReportPlug(cp_id=cp, connector=ConnectorNo(1), plugged=True), who
        yield c.Reallocate(node_id=session.node_id), "central"
        yield c.ReportStarted(cp_id=cp, session_id=session_id, meter_wh=WattHours(meter), n=n), who
        for _ in range(SAMPLES):
            self._ms += SAMPLE_MS // len(self._points)
            meter += 90
            yield c.ReportMeter(cp_id=cp, session_id=session_id, meter_wh=WattHours(meter), power_w=MAX_W), who
        ended = c.ReportEnded(
            cp_id=cp,
            session_id=session_id,
            meter_wh=WattHours(meter),
            reason=StopCause.UNPLUGGED,
            at_ms=None,
            n=n + 1,
        )
        yield ended, who
        yield c.ReportPlug(cp_id=cp, connector=ConnectorNo(1), plugged=False), who
        ticket = self.state.drivers[driver].tickets[-1]
        yield c.ConfirmTicket(driver_id=driver, ticket_id=ticket.ticket_id), f"driver:{driver}"
