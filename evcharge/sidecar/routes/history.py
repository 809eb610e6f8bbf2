"""The history's routes: what was, from a database of its own."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.sidecar.history import schemas as s
from evcharge.sidecar.routes.limits import EXPORT, HISTORY
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

TAG = "history"
# A session, charge point or node as the registry and Central name them.
_WORD = r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}"
CSV = "text/csv"

ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/api/history/state",
        name="history_state",
        tag=TAG,
        summary="How far the history goes, and whether what was read is what Central signed.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        answers={200: s.HistoryState},
    ),
    Route(
        method="GET",
        path="/api/history/sessions",
        name="history_sessions",
        tag=TAG,
        summary="Sessions, the newest first, open ones too; with filters.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        query=s.SessionsQuery,
        answers={200: s.Sessions},
    ),
    Route(
        method="GET",
        path="/api/history/sessions.csv",
        name="history_sessions_csv",
        tag=TAG,
        summary="The same as a file, all of them.",
        scope=Scope.SITE_READ,
        limit=EXPORT,
        query=s.SessionsFilter,
        answers={200: None},
        streams=CSV,
    ),
    Route(
        method="GET",
        path="/api/history/sessions/{id}",
        name="history_session",
        tag=TAG,
        summary="A session with its ticket and its timeline: every set-point with its reason.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        words={"id": _WORD},
        query=s.TimelineQuery,
        answers={200: s.SessionFound},
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/api/history/charge-points/{id}",
        name="history_charge_point",
        tag=TAG,
        summary="A charge point over some time: energy, highest power, sessions, changes of state.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        words={"id": _WORD},
        query=s.RangeQuery,
        answers={200: s.PointFound},
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/api/history/energy",
        name="history_energy",
        tag=TAG,
        summary="Energy and highest power over some time, of the site or of what a node feeds.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        query=s.EnergyQuery,
        answers={200: s.Energy},
    ),
    Route(
        method="GET",
        path="/api/history/energy.csv",
        name="history_energy_csv",
        tag=TAG,
        summary="The same as a file, each quarter of an hour.",
        scope=Scope.SITE_READ,
        limit=EXPORT,
        query=s.EnergyQuery,
        answers={200: None},
        streams=CSV,
    ),
    Route(
        method="GET",
        path="/api/history/days",
        name="history_days",
        tag=TAG,
        summary="Days in the site's time zone: sessions, energy, revenue, utilisation, CO2.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        query=s.DaysQuery,
        answers={200: s.Days},
    ),
    Route(
        method="GET",
        path="/api/history/days.csv",
        name="history_days_csv",
        tag=TAG,
        summary="The same as a file.",
        scope=Scope.SITE_READ,
        limit=EXPORT,
        query=s.DaysQuery,
        answers={200: None},
        streams=CSV,
    ),
    Route(
        method="GET",
        path="/api/history/today",
        name="history_today",
        tag=TAG,
        summary="The day that it is at the site.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        answers={200: s.Today},
    ),
    Route(
        method="GET",
        path="/api/history/changes",
        name="history_changes",
        tag=TAG,
        summary="Decisions and changes of state, oldest first; of a charge point or a session.",
        scope=Scope.SITE_READ,
        limit=HISTORY,
        query=s.ChangesQuery,
        answers={200: s.ChangesPage},
    ),
)
