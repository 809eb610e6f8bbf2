"""The gateway: what clients ask of the site, asked of Central, as one concern of the sidecar (G, E and S rows)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol

import msgspec
import structlog

from evcharge.net.answers import RequestFailed, RequestRefused
from evcharge.net.client import Refusal
from evcharge.net.clock import Clock
from evcharge.sidecar.database import Database
from evcharge.sidecar.gateway import problems
from evcharge.sidecar.gateway import schemas as s
from evcharge.sidecar.gateway.advice import optimization_of, recommendation_of, why_of, wish_of
from evcharge.sidecar.gateway.audit import AuditLog
from evcharge.sidecar.gateway.central import Central, Link
from evcharge.sidecar.gateway.channels import NoCredential
from evcharge.sidecar.gateway.fresh import Fresh
from evcharge.sidecar.gateway.repeats import Repeats
from evcharge.sidecar.gateway.settings import GatewaySettings
from evcharge.sidecar.gateway.site import SiteTables
from evcharge.sidecar.web.problem import Problem
from evcharge.sidecar.web.route import Answer, Call, Handler
from protocol import messages as m

log = structlog.get_logger()

# Recommendations that are kept while they are fresh: far more than differ within a quarter of a second.
FRESH = 256
# Any charge point of the site (SPEC §7.7).
ANYWHERE = "*"
# Watt-seconds of a watt-hour.
_WS_PER_WH = 3_600


class Drivers(Protocol):
    """What the gateway needs of ``DriverChannels``."""

    async def ask(self, driver_id: str, message: m.Message) -> m.Reply: ...

    async def run(self) -> None: ...


class Gateway:
    """A ``Concern``. ``drivers`` None: this sidecar charges nobody."""

    def __init__(
        self,
        link: Link | None,
        drivers: Drivers | None,
        *,
        version: str,
        settings: GatewaySettings,
        clock: Clock,
        database: Database,
    ) -> None:
        self._central = Central(link, settings.answer_s)
        self._drivers = drivers
        self._site = SiteTables(self._central, version)
        self._audit = AuditLog(self._central)
        self._clock = clock
        self._fresh = Fresh(settings.fresh_s, FRESH)
        self._repeats = Repeats(database, clock)

    def handlers(self) -> Mapping[str, Handler]:
        """By the names of the routes in ``routes/gateway.py`` and ``routes/site.py``."""
        return {
            "recommend": self.recommend,
            "optimize_charging": self.optimize_charging,
            "solar_status": self.solar_status,
            "battery_status": self.battery_status,
            "grid_load": self.grid_load,
            "assign": self.assign,
            "charge": self.charge,
            "end_charge": self.end_charge,
            "why": self.why,
            **self._site.handlers(),
            **self._audit.handlers(),
        }

    async def run(self) -> None:
        """Close drivers' channels that nobody uses."""
        if self._drivers is None:
            await asyncio.Event().wait()
        else:
            await self._drivers.run()

    # --- advice -------------------------------------------------------------------------------------------------------

    async def recommend(self, call: Call) -> Answer:
        """Where to charge; 409 where no station can."""
        wish, asked_s = wish_of(call.query), self._clock.monotonic()
        body = self._fresh.get(wish, asked_s)
        if body is None:
            reply = await self._central.ask_shared(wish)
            # Of those who waited for one answer the first one writes it for all.
            body = self._fresh.get(wish, asked_s) or _written(reply.recommendation)
            self._fresh.put(wish, body, asked_s)
        return Answer(body=body)

    # --- the energy rules ---------------------------------------------------------------------------------------------

    async def _optimization(self) -> s.Optimization:
        told = (await self._central.ask_shared(m.Query(id=0, what="optimization"))).optimization
        if told is None:
            raise problems.unexpected()
        try:
            return optimization_of(told)
        except msgspec.ValidationError:
            raise problems.unexpected() from None

    async def optimize_charging(self, _call: Call) -> Answer:
        """What the rules allow each vehicle, and on which readings."""
        return Answer(body=await self._optimization())

    async def solar_status(self, _call: Call) -> Answer:
        """The newest reading of the sun."""
        now = await self._optimization()
        read = now.inputs.solar
        body = s.SolarStatus(solar_output_kw=now.solar_output_kw, age_ms=read.age_ms, status=read.status)
        return Answer(body=body)

    async def battery_status(self, _call: Call) -> Answer:
        """The newest reading of the battery."""
        now = await self._optimization()
        read = now.inputs.battery
        body = s.BatteryStatus(battery_level_percent=now.battery_level_percent, age_ms=read.age_ms, status=read.status)
        return Answer(body=body)

    async def grid_load(self, _call: Call) -> Answer:
        """The newest reading of the grid."""
        now = await self._optimization()
        read = now.inputs.grid
        return Answer(body=s.GridLoad(grid_load_percent=now.grid_load_percent, age_ms=read.age_ms, status=read.status))

    # --- the balancer -------------------------------------------------------------------------------------------------

    async def assign(self, call: Call) -> Answer:
        """Where somebody would be sent now; nothing is reserved."""
        asked: s.AssignBody = call.body
        told = (
            await self._central.ask(
                m.Assign(
                    id=0,
                    power_w=None if asked.requested_kw is None else _watts(asked.requested_kw),
                    energy_wh=_energy_wh(asked.requested_kw, asked.duration_s),
                    substation_id=asked.substation_id,
                )
            )
        ).assignment
        if told is None:
            raise problems.unexpected()
        fields = msgspec.structs.asdict(told)
        return Answer(
            body=s.Assignment(
                utilisation_percent=fields.pop("utilisation"),
                alternatives=[_alternative(one) for one in fields.pop("alternatives")],
                **fields,
            )
        )

    # --- charges ------------------------------------------------------------------------------------------------------

    async def charge(self, call: Call) -> Answer:
        """A session for the client's driver wherever there is room; the same again for the same Idempotency-Key."""
        driver_id = _driver_of(call)
        key = None if call.request is None else call.request.headers.get("Idempotency-Key")
        body: s.ChargeBody = call.body
        asked = msgspec.json.encode(body, order="deterministic")
        made = await self._repeats.once(call.client, key, asked, lambda: self._charge(driver_id, call))
        return Answer(status=HTTPStatus.ACCEPTED, body=made)

    async def _charge(self, driver_id: str, call: Call) -> bytes:
        asked: s.ChargeBody = call.body
        wish = m.ChargeRequest(
            id=0,
            cp_id=asked.cp_id or ANYWHERE,
            substation_id=asked.substation_id if asked.cp_id is None else None,
            energy_wh=_energy_wh(asked.requested_kw, asked.duration_s),
            power_w=_watts(asked.requested_kw),
            by=call.client,
            trace=call.request_id,
        )
        session = (await self._ask_as(driver_id, wish)).session
        if session is None:
            raise problems.unexpected()
        log.info(
            "gateway.charge", client=call.client, driver=driver_id, vehicle=asked.vehicle_id, session=session.session_id
        )
        made = s.Charge(
            session_id=session.session_id,
            substation_id=await self._substation_of(session.cp_id),
            status=session.state,
            vehicle_id=asked.vehicle_id,
            cp_id=session.cp_id,
            connector=session.connector,
            requested_wh=session.requested_wh,
            expires_ms=session.expires_ms,
        )
        return msgspec.json.encode(made)

    async def _substation_of(self, cp_id: str) -> str | None:
        """What feeds a charge point now; None where that cannot be known, because the session is made already."""
        try:
            row = await self._central.row("charge_points", cp_id)
        except Problem:
            return None
        return None if row is None else row.substation_id

    async def end_charge(self, call: Call) -> Answer:
        """End a session of the client's driver; another's is not there."""
        session_id = call.path["id"]
        order = m.EndCharge(id=0, session_id=session_id, by=call.client, trace=call.request_id)
        await self._ask_as(_driver_of(call), order)
        log.info("gateway.end_charge", client=call.client, session=session_id)
        return Answer(status=HTTPStatus.ACCEPTED, body=s.Ending(session_id=session_id))

    async def why(self, call: Call) -> Answer:
        """Why a session of the client's driver gets what it gets; of another's nothing is told."""
        told = (await self._ask_as(_driver_of(call), m.Why(id=0, session_id=call.path["id"]))).why
        if told is None:
            raise problems.unexpected()
        return Answer(body=why_of(told))

    async def _ask_as(self, driver_id: str, message: m.Message) -> m.Reply:
        """Central's answer to a driver. Raises Problem."""
        if self._drivers is None:
            raise problems.no_driver()
        # Where the sidecar's own channel is away a driver's cannot open either: no need to wait for that.
        self._central.needed()
        try:
            return await self._drivers.ask(driver_id, message)
        except NoCredential:
            raise problems.no_driver() from None
        except Refusal as error:
            log.warning("gateway.driver_refused", driver=driver_id, code=error.code.name)
            raise problems.driver_refused() from None
        except RequestRefused as error:
            raise problems.of_refusal(error) from None
        except RequestFailed as error:
            raise problems.of_failure(error) from None


def _driver_of(call: Call) -> str:
    """Who is charged for what this client asks. Raises Problem."""
    driver_id = None if call.principal is None else call.principal.driver_id
    if driver_id is None:
        raise problems.no_driver()
    return driver_id


def _watts(kw: float) -> int:
    return math.ceil(kw * 1000)


def _energy_wh(kw: float | None, seconds: int | None) -> int | None:
    """Power times time, rounded up; None where one of the two is open."""
    return None if kw is None or seconds is None else math.ceil(kw * 1000 * seconds / _WS_PER_WH)


def _alternative(told: m.AlternativeView) -> s.Alternative:
    fields = msgspec.structs.asdict(told)
    return s.Alternative(utilisation_percent=fields.pop("utilisation"), **fields)


def _written(told: m.RecommendationView | None) -> bytes:
    """The answer's bytes. Raises Problem: no station can."""
    if told is None:
        raise problems.unexpected()
    if told.cp_id is None:
        raise Problem(HTTPStatus.CONFLICT, "no_feasible_station", told.sentence)
    return msgspec.json.encode(recommendation_of(told, told.cp_id))
