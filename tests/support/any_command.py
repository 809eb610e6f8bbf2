"""Hypothesis strategies: any command, from anybody, about anything, in any order; many of them make no sense."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from evcharge.domain import commands as c
from evcharge.domain.decide import AnyCommand
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.state import Derated
from evcharge.domain.words import Role, StopCause, WeatherKind
from evcharge.ids import ChargePointId, DriverId, NodeId, ticket_of

# The largest integer that the wire lets through (SPEC §7.1).
HUGE = 2**53 - 1

CP_IDS = st.sampled_from([ChargePointId(f"cp-{i}") for i in range(3)])
DRIVER_IDS = st.sampled_from([DriverId("anna"), DriverId("ben"), DriverId("cp-1")])
SUBSTATION_IDS = st.sampled_from([NodeId("north"), NodeId("south"), NodeId("nowhere")])
SESSION_IDS = st.sampled_from([f"s-{i}" for i in range(8)])
CONNECTORS = st.sampled_from([0, 1, 2, 3])
COMMAND_IDS = st.integers(0, 40)
METERS = st.one_of(st.integers(0, 3_000), st.sampled_from([0, 10**12, 10**12 + 1, HUGE]))
INSTANTS = st.one_of(st.none(), st.sampled_from([0, 1_700_000_000_500, HUGE]))
# From before everything to beyond every horizon, around the instants that pass in a program.
RESERVED_MS = st.sampled_from([0, *(1_700_000_000_000 + s * 1_000 for s in (30, 200, 4_000, 100_000)), HUGE])
ORDERS = st.one_of(st.none(), st.integers(0, 6))
CAPACITIES = st.sampled_from([0, 3_000, 12_000, 30_000])
_NORTH, _SOUTH = NodeId("north"), NodeId("south")
_BACKUPS = {_NORTH: NodeConfig(backups=(_SOUTH,)), _SOUTH: NodeConfig(backups=(_NORTH,))}
_WEATHER: dict[str, st.SearchStrategy[Any]] = {
    "weather_stops": st.booleans(),
    "assumed_share": st.sampled_from([None, None, 500]),
}
SITES = st.one_of(
    st.builds(
        SiteConfig,
        capacities=st.fixed_dictionaries({_NORTH: CAPACITIES}, optional={_SOUTH: CAPACITIES}),
        assignments=st.dictionaries(CP_IDS, SUBSTATION_IDS, max_size=2),
        **_WEATHER,
    ),
    st.builds(
        SiteConfig,
        capacities=st.fixed_dictionaries({_NORTH: CAPACITIES, _SOUTH: CAPACITIES}),
        assignments=st.dictionaries(CP_IDS, SUBSTATION_IDS, max_size=2),
        **_WEATHER,
        nodes=st.just(_BACKUPS),
    ),
)


def by_charge_point(cp_ids: st.SearchStrategy[ChargePointId]) -> st.SearchStrategy[AnyCommand]:
    """What an engine or its monitor may say, with any ids inside."""
    who = {"cp_id": cp_ids}
    ratings = st.lists(
        st.builds(
            c.ConnectorRating, st.sampled_from([1, 2, 3]), st.sampled_from([0, 1_400]), st.sampled_from([0, 7_000])
        ),
        max_size=3,
    )
    return st.one_of(
        st.builds(c.BootChargePoint, connectors=ratings.map(tuple), **who),
        st.builds(c.ReportStatus, connector=CONNECTORS, error=st.sampled_from([None, "hot"]), n=ORDERS, **who),
        st.builds(c.ReportPlug, connector=CONNECTORS, plugged=st.booleans(), **who),
        st.builds(c.ReportStarted, session_id=SESSION_IDS, meter_wh=METERS, at_ms=INSTANTS, n=ORDERS, **who),
        st.builds(
            c.ReportPaused,
            session_id=SESSION_IDS,
            paused=st.booleans(),
            meter_wh=st.one_of(st.none(), METERS),
            at_ms=INSTANTS,
            n=ORDERS,
            **who,
        ),
        st.builds(
            c.ReportEnded,
            session_id=SESSION_IDS,
            meter_wh=METERS,
            reason=st.sampled_from(StopCause),
            at_ms=INSTANTS,
            n=ORDERS,
            **who,
        ),
        st.builds(c.ReportMeter, session_id=SESSION_IDS, meter_wh=METERS, power_w=st.integers(0, 11_000), **who),
        st.builds(
            c.ReportResult,
            command_id=COMMAND_IDS,
            outcome=st.sampled_from(["done", "rejected", "expired", "failed", "perhaps"]),
            **who,
        ),
        st.builds(c.ReportFault, code=st.just("ko"), **who),
        st.builds(c.ReportRecovery, **who),
    )


def by_driver(driver_ids: st.SearchStrategy[DriverId]) -> st.SearchStrategy[AnyCommand]:
    """What a driver may say. The session id of a request is a mark for ``fresh``: the shell draws it."""
    return st.one_of(
        st.builds(
            c.RequestCharge,
            session_id=st.just("fresh"),
            driver_id=driver_ids,
            cp_id=st.one_of(CP_IDS, CP_IDS, st.just(c.ANYWHERE)),
            node_id=st.one_of(st.none(), SUBSTATION_IDS),
            power_w=st.sampled_from([None, -HUGE, 0, 7_000, HUGE]),
            connector=CONNECTORS,
            energy_wh=st.sampled_from([None, -HUGE, 0, 1, 1_000_000, HUGE]),
            depart_by_ms=st.sampled_from([None, -HUGE, HUGE]),
            wait=st.booleans(),
        ),
        st.builds(c.LeaveQueue, driver_id=driver_ids, waiting_id=SESSION_IDS),
        st.builds(
            c.Reserve,
            reservation_id=st.just("fresh"),
            driver_id=driver_ids,
            cp_id=CP_IDS,
            connector=CONNECTORS,
            from_ms=RESERVED_MS,
            until_ms=RESERVED_MS,
            energy_wh=st.sampled_from([None, 0, 9_000]),
        ),
        st.builds(c.CancelReservation, driver_id=driver_ids, reservation_id=SESSION_IDS),
        st.builds(c.EndCharge, driver_id=driver_ids, session_id=SESSION_IDS),
        st.builds(c.ConfirmTicket, driver_id=driver_ids, ticket_id=SESSION_IDS.map(ticket_of)),
    )


def _by_links() -> st.SearchStrategy[AnyCommand]:
    who = {
        "role": st.sampled_from(Role),
        "entity": st.one_of(CP_IDS, DRIVER_IDS),
        "fence": st.integers(1, 6),
    }
    engine = {**who, "role": st.just(Role.ENGINE), "entity": CP_IDS, "outbox_epoch": st.sampled_from([None, 1, 2])}
    return st.one_of(
        st.builds(c.PeerReady, username=st.just("u"), boot_id=st.just(b""), **engine),
        st.builds(c.PeerReady, username=st.just("u"), boot_id=st.just(b""), outbox_epoch=st.just(None), **who),
        st.builds(c.PeerGone, cause=st.just("eof"), **who),
        st.builds(c.MonitorMissing, cp_id=CP_IDS),
        st.builds(c.RaiseDuplicate, role=who["role"], entity=who["entity"]),
        st.builds(c.ClearDuplicate, role=who["role"], entity=who["entity"]),
        st.builds(c.RevokePeer, role=who["role"], entity=who["entity"], username=st.just("u")),
        st.builds(
            c.PeerRejected, code=st.just("unknown"), authentication=st.booleans(), count=st.sampled_from([1, 2, HUGE])
        ),
    )


def _by_operator() -> st.SearchStrategy[AnyCommand]:
    whom = st.one_of(st.none(), CP_IDS)
    return st.one_of(
        st.builds(c.StopChargePoints, cp_id=whom),
        st.builds(c.ResumeChargePoints, cp_id=whom),
        st.builds(c.ReportNode, node_id=SUBSTATION_IDS, ok=st.booleans(), cause=st.just(""), silent=st.booleans()),
        st.builds(c.UnwatchNode, node_id=SUBSTATION_IDS),
        st.builds(c.NoteBaseLoad, node_id=SUBSTATION_IDS, base_w=st.one_of(CAPACITIES, st.just(-HUGE), st.just(HUGE))),
        st.builds(
            c.NotePeak,
            node_id=SUBSTATION_IDS,
            month=st.sampled_from(["2023-11", "2023-12"]),
            peak_w=st.one_of(CAPACITIES, st.just(-HUGE), st.just(HUGE)),
        ),
        st.builds(c.ForgetBaseLoad, node_id=SUBSTATION_IDS),
        st.builds(
            c.ReportWeather,
            kind=st.sampled_from(WeatherKind),
            active=st.booleans(),
            cp_id=whom,
            milli_c=st.sampled_from([None, -HUGE, 0]),
        ),
        st.builds(
            c.ReportWeather,
            kind=st.sampled_from(WeatherKind),
            active=st.booleans(),
            node_id=st.one_of(st.none(), SUBSTATION_IDS),
        ),
        st.builds(
            c.LimitChargePoint,
            cp_id=CP_IDS,
            limit_w=st.sampled_from([None, -HUGE, 0, 1_379, 1_380, 7_000, 7_000, HUGE]),
        ),
        st.builds(c.SetCapacity, node_id=SUBSTATION_IDS, capacity_w=st.one_of(CAPACITIES, st.just(-HUGE))),
    )


def _by_central() -> st.SearchStrategy[AnyCommand]:
    return st.one_of(
        st.builds(c.StartCentral, site=SITES),
        st.builds(
            c.Derate, derated=st.builds(Derated, share=st.integers(0, 1_000), milli_c=st.one_of(st.none(), st.just(0)))
        ),
        st.just(c.StopCentral()),
        st.builds(c.PassDeadline, session_id=SESSION_IDS),
        st.builds(c.Reallocate, node_id=SUBSTATION_IDS),
        st.builds(c.Reallocate, node_id=SUBSTATION_IDS),
        st.just(c.ServeWaiting()),
        st.just(c.ServeWaiting()),
    )


ANY = st.one_of(
    by_charge_point(CP_IDS),
    by_charge_point(CP_IDS),
    by_driver(DRIVER_IDS),
    by_driver(DRIVER_IDS),
    _by_links(),
    _by_operator(),
    _by_central(),
)
"""Any command, of anybody."""

PAUSES_MS = st.sampled_from([0, 0, 0, 1, 1_000, 16_000, 60_000, 90_000_000])
"""Time between two commands."""
