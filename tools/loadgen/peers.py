"""The two sides of a load: charge points that obey and meter, drivers that ask, and an operator who looks.

A charge point here draws what a real one would: the least of its vehicle, its set-point and, once that has run out, its
fallback; nothing below its smallest current. It tells its new power before it confirms a set-point, so that Central
never adds an old reading of one to a new one of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from protocol import messages as m
from protocol.connection import Grant
from protocol.credentials import Credential
from tools.fleet import Fleet, Link, monotonic
from tools.loadgen.record import GRANTED, Asked, Billed, Charge, Record
from tools.loadgen.scenarios import ANYWHERE

# Smallest and largest power by what the vehicle takes, kW → W: one phase, three phases of 16 and 32 A, direct current.
RATINGS = {7: (1_380, 7_360), 11: (4_140, 11_040), 22: (4_140, 22_080), 50: (4_980, 50_000)}
# Energy is summed up in watt-milliseconds, so that no meter loses what is less than a watt-hour.
WMS_PER_WH = 3_600_000


class Outlet(Link):
    """A charge point with one connector, and the vehicle at it."""

    __slots__ = (
        "_began_s",
        "_expires_ms",
        "_fallback_w",
        "_last_s",
        "_limit_w",
        "_n",
        "_register_wms",
        "_t0_ms",
        "charge",
        "kw",
        "leaves_s",
        "live",
        "on_change",
        "plugged",
        "record",
        "stay_s",
        "substation_id",
        "taken",
        "wanted_w",
    )

    outbox_epoch = 1

    def __init__(self, fleet: Fleet, credential: Credential, substation_id: str, kw: int, record: Record) -> None:
        super().__init__(fleet, credential)
        self.substation_id = substation_id
        self.kw = kw
        self.record = record
        self.charge: Charge | None = None
        """The session that runs."""
        self.taken = False
        """A vehicle of this load has it, or asks for it."""
        self.plugged = False
        self.wanted_w = RATINGS[kw][1]
        self.leaves_s: float | None = None
        """Monotonic second at which the vehicle goes."""
        self.stay_s: Callable[[], float] = lambda: 10.0
        """How long the next vehicle charges."""
        self.live = True
        """Its substation has voltage."""
        self.on_change: Callable[[Outlet], None] = lambda _outlet: None
        self._limit_w = self._fallback_w = self._expires_ms = 0
        self._register_wms = 1_000 * WMS_PER_WH
        self._last_s = monotonic()
        self._n = 0
        self._t0_ms, self._began_s = 0, 0.0

    @property
    def name(self) -> str:
        return self.credential.entity

    @property
    def meter_wh(self) -> int:
        return self._register_wms // WMS_PER_WH

    def power_w(self, now: float) -> int:
        """What flows at this moment."""
        if self.charge is None or not self.live:
            return 0
        limit_w = self._limit_w if now <= self._turns_s() else self._fallback_w
        watts = min(limit_w, self.wanted_w)
        return watts if watts >= RATINGS[self.kw][0] else 0

    def tick(self, now: float) -> None:
        """Telemetry, once a second; and the vehicle goes when its time has come."""
        self.beat(now)
        if self.charge is not None:
            if self.leaves_s is not None and now >= self.leaves_s:
                self.leave(now)
            else:
                self._update(now)
        self.flush()

    def beat(self, now: float) -> None:  # noqa: ARG002  # part of the interface
        self.send(m.Heartbeat())

    def voltage(self, now: float, *, live: bool) -> None:
        """Its substation trips, or is back."""
        self._meter(now)
        self.live = live
        self.on_change(self)

    def leave(self, now: float, reason: str = "unplugged") -> None:
        """The vehicle goes; whatever was authorized and did not begin lapses with Central."""
        self._meter(now)
        if self.charge is not None:
            self.charge.end_wh = self.meter_wh
            self._report(m.SupplyEnded(session_id=self.charge.session_id, meter_wh=self.meter_wh, reason=reason))
            self.charge = None
            self.on_change(self)
        if self.plugged:
            self.send(m.Unplugged(connector=1))
        self.plugged = self.taken = False
        self.leaves_s = None

    # --- the wire

    def opened(self, grant: Grant) -> None:
        self._t0_ms, self._began_s = grant.t0_ms, monotonic()
        self._n = grant.next_n or 0
        low_w, high_w = RATINGS[self.kw]
        self.send(m.Boot(connectors=[m.ConnectorInfo(connector=1, min_w=low_w, max_w=high_w)]))

    def message(self, message: m.Message, now: float) -> None:
        match message:
            case m.Authorize():
                if not self.plugged:
                    self.plugged = True
                    self.send(m.Plugged(connector=1))
                self._confirm(message.command_id)
            case m.StartSupply() | m.SetLimit():
                self._obey(message, now)
            case m.StopSupply():
                self._confirm(message.command_id)
                self.leave(now, message.reason)
            case m.Error() | m.Refused():
                self.fleet.losses.append(f"{self.name}: {message.sentence}")

    def _obey(self, order: m.StartSupply | m.SetLimit, now: float) -> None:
        self._meter(now)
        starting = isinstance(order, m.StartSupply)
        running = "" if self.charge is None else self.charge.session_id
        if not starting and order.session_id != running:
            self.send(m.Result(command_id=order.command_id, outcome="rejected", detail="no such session"))
            return
        self._limit_w, self._fallback_w, self._expires_ms = order.limit_w, order.fallback_w, order.expires_ms
        if starting and order.session_id is not None and order.session_id != running:
            self.charge = Charge(
                session_id=order.session_id,
                cp_id=self.name,
                substation_id=self.substation_id,
                start_wh=self.meter_wh,
            )
            self.record.charges.append(self.charge)
            self.leaves_s = now + self.stay_s()
            self._report(m.SupplyStarted(session_id=order.session_id, meter_wh=self.meter_wh))
        self._update(now)
        self._confirm(order.command_id)
        self.on_change(self)

    def _confirm(self, command_id: int) -> None:
        self.send(m.Result(command_id=command_id, outcome="done"))

    def _report(self, payload: m.OutboxPayload) -> None:
        self.send(m.Outbox(n=self._n, payload=payload))
        self._n += 1

    def _update(self, now: float) -> None:
        assert self.charge is not None
        self._meter(now)
        told = m.SupplyUpdate(session_id=self.charge.session_id, meter_wh=self.meter_wh, power_w=self.power_w(now))
        self.send(told)

    def _turns_s(self) -> float:
        """When the set-point runs out: its expiry is on the channel clock."""
        return self._began_s + (self._expires_ms - self._t0_ms) / 1_000

    def _meter(self, now: float) -> None:
        """What flowed since the last look; a set-point that ran out in between counts until then."""
        turn_s = min(max(self._last_s, self._turns_s()), now)
        before = self.power_w(self._last_s) * (turn_s - self._last_s)
        self._register_wms += round((before + self.power_w(now) * (now - turn_s)) * 1_000)
        self._last_s = now


class User(Link):
    """A driver's program: many requests under way at once, tickets confirmed."""

    __slots__ = ("_answers", "_asked", "on_answer", "record", "zero_s")

    def __init__(self, fleet: Fleet, credential: Credential, record: Record) -> None:
        super().__init__(fleet, credential)
        self.record = record
        self.zero_s = 0.0
        """Monotonic second at which the load began."""
        self._asked: dict[int | str, Asked] = {}
        self.on_answer: Callable[[Asked], None] = lambda _asked: None

    def ask(self, cp_id: str, wanted_w: int) -> Asked:
        """Ask for a charge; the answer comes to ``on_answer``."""
        asked = Asked(user=self.credential.entity, wanted_w=wanted_w, cp_id=cp_id, at_s=monotonic() - self.zero_s)
        number = len(self.record.asked) + 1
        self._asked[number] = asked
        self.record.asked.append(asked)
        power_w = wanted_w if cp_id == ANYWHERE else None
        self.send(m.ChargeRequest(id=number, cp_id=cp_id, power_w=power_w))
        self.flush()
        return asked

    def message(self, message: m.Message, now: float) -> None:
        match message:
            case m.Reply() | m.Refused():
                asked = None if message.re is None else self._asked.get(message.re)
                if asked is not None:
                    self._answered(asked, message, now)
            case m.Ticket():
                billed = Billed(ticket_id=message.ticket_id, session_id=message.session_id, energy_wh=message.energy_wh)
                self.record.billed.append(billed)
                self.send(m.TicketReceived(ticket_id=message.ticket_id))
            case m.Update() if message.state == "EXPIRED":
                self.record.lapsed.append(message.session_id)
            case m.Error():
                self.fleet.losses.append(f"{self.credential.entity}: {message.sentence}")

    def _answered(self, asked: Asked, message: m.Reply | m.Refused, now: float) -> None:
        asked.answers += 1
        asked.answered_s = now - self.zero_s
        if isinstance(message, m.Refused):
            asked.answer, asked.sentence = message.reason, message.sentence
        else:
            asked.answer, asked.session_id = GRANTED, message.session_id or ""
            asked.granted_at = "" if message.session is None else message.session.cp_id
        self.on_answer(asked)


class Operator(Link):
    """Looks at the substations, and says how they are."""

    __slots__ = ("_number", "_waiting")

    def __init__(self, fleet: Fleet, credential: Credential) -> None:
        super().__init__(fleet, credential)
        self._number = 0
        self._waiting: dict[int | str, asyncio.Future[m.Message]] = {}

    async def substations(self) -> list[m.SubstationView]:
        """All of them, as Central shows them."""
        answer = await self._ask(lambda number: m.Query(id=number, what="substations"))
        return answer.substations or []

    async def report(self, substation_id: str, *, ok: bool, detail: str) -> None:
        """A substation is down, or well again."""
        await self._ask(lambda number: m.SubstationHealth(id=number, substation_id=substation_id, ok=ok, detail=detail))

    async def _ask(self, message: Callable[[int], m.Message]) -> Any:
        self._number += 1
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self.send(message(self._number))
        self.flush()
        return await future

    def message(self, message: m.Message, now: float) -> None:  # noqa: ARG002  # part of the interface
        if isinstance(message, m.Refused | m.Error):
            self.fleet.losses.append(f"operator: {message.sentence}")
        re = getattr(message, "re", None)
        future = None if re is None else self._waiting.pop(re, None)
        if future is not None and not future.done():
            future.set_result(message)
