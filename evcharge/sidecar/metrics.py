"""What the sidecar tells Prometheus: every metric with its meaning, and where it is read (docs/metrics.md).

Labels are bounded by the routes, by enumerations and by kinds of sources; there is none with clients, hosts or drivers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.metrics_core import Metric as Family
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.metrics import Asked, Metric, counter, gauge, histogram
from evcharge.sidecar.authority.concern import Authority
from evcharge.sidecar.authority.kafka.fate import Death
from evcharge.sidecar.authority.tables import CallbackState, Decision
from evcharge.sidecar.database import Database
from evcharge.sidecar.oauth.door import Door
from evcharge.sidecar.sensors.concern import Sensors
from evcharge.sidecar.weather.concern import Weather
from evcharge.sidecar.web.tally import HttpTally

if TYPE_CHECKING:
    from evcharge.sidecar.authority.kafka.queue import KafkaQueue

REQUESTS = counter(
    "evcharge_http_requests_total",
    "HTTP requests by the name of their route and class of status; none: the client hung up",
    "requests",
    "route",
    "status",
)
LATENCY = histogram(
    "evcharge_http_request_seconds", "From a request's head to its answer; streams are left out", "seconds", "route"
)
THROTTLED = counter("throttled_total", "Requests that were one too many for their client or source", "requests")
AUTH = counter(
    "auth_decisions_total",
    "Requests by what their token was: accepted, none, expired, failed, throttled (failed too often)",
    "requests",
    "status",
)
STREAMS = gauge("evcharge_live_clients", "Pages and programs that follow the live stream", "clients")
AUTHORIZATIONS = counter(
    "evcharge_authorizations_total", "Charge authorizations by decision", "authorizations", "decision"
)
QUEUE = gauge("evcharge_authorization_queue_depth", "Accepted requests that are not decided yet", "requests")
UNRELAYED = gauge(
    "evcharge_authorization_unrelayed",
    "Accepted requests that were not on Kafka's topic yet; none without [authority.kafka]",
    "requests",
)
DEAD_MESSAGES = counter(
    "evcharge_authorization_dead_messages_total",
    "Messages of Kafka's topic that were put aside: unreadable, bad_fields, unknown_request, altered",
    "messages",
    "reason",
)
KAFKA = gauge(
    "evcharge_authorization_kafka_connected",
    "1: the brokers do all that is asked of them; none without [authority.kafka]",
    "",
)
CALLBACKS = counter(
    "evcharge_callbacks_total",
    "Callbacks that were tried: delivered, dead, or pending (tried again)",
    "tries",
    "outcome",
)
UNTOLD = gauge(
    "evcharge_callbacks_waiting",
    "Callbacks that are to be sent (pending) or failed for good (dead)",
    "callbacks",
    "state",
)
CENTRAL = gauge("evcharge_central_connected", "1: the channel to Central is open; none without --central", "")
HISTORY = gauge("evcharge_history_sequence", "Newest record of Central's log in the history", "records")
HISTORY_LAG = gauge("evcharge_history_lag_records", "Durable records that are not in the history yet", "records")
WEATHER = counter(
    "evcharge_weather_fetches_total", "Questions to the weather's provider: ok, or the trouble", "questions", "outcome"
)
READINGS = counter(
    "evcharge_sensor_readings_total",
    "What came from sensors: ok, bad (no reading), failed (nothing can be heard)",
    "readings",
    "source",
    "outcome",
)
SENSORS = gauge("evcharge_sensors", "Sensors of the settings by what they are worth now", "sensors", "state")
DATABASE = histogram(
    "evcharge_database_seconds",
    "From the wish for a view or a transaction to its end, waiting included",
    "seconds",
    "kind",
)
DATABASE_UP = gauge("evcharge_database_up", "1: the database answers", "")
REVISION = gauge("evcharge_registry_revision", "Newest revision of the registry", "revisions")

TABLE: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""All of them."""

# What is there from the start with 0, so that a first one is seen as a rise.
_AUTH: dict[str, int] = dict.fromkeys(("accepted", "none", "expired", "failed", "throttled"), 0)
_DECISIONS: dict[str, int] = dict.fromkeys((each.value for each in Decision), 0)
_CALLBACKS: dict[str, int] = dict.fromkeys((each.value for each in CallbackState), 0)
_DEAD_MESSAGES: dict[str, int] = dict.fromkeys((each.value for each in Death), 0)
_SENSORS: dict[str, int] = {"fresh": 0, "stale": 0, "missing": 0}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What parts of the sidecar say of themselves."""

    live_clients: int = 0
    history_seq: int | None = None
    """None: there is no history."""
    history_newest: int | None = None
    """Central's newest durable record, as far as it is known."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at."""

    http: HttpTally
    door: Door
    authority: Authority
    weather: Weather
    sensors: Sensors
    database: Database
    rev: Callable[[], int]
    connected: Callable[[], bool | None]
    """Whether there is a channel to Central; None: it is not meant to have one."""
    standing: Callable[[], Standing] = Standing
    kafka: KafkaQueue | None = None


class SidecarMetrics:
    """A ``Collector`` of one sidecar."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._backlog = Asked(parts.authority.backlog, SQLAlchemyError, OSError)

    async def look(self) -> None:
        """Part of ``Collector``: what waits in the database."""
        await self._backlog.look()

    def collect(self) -> Iterator[Family]:
        """Part of ``Collector``."""
        parts, standing, backlog = self._parts, self._parts.standing(), self._backlog.known
        yield REQUESTS.rows(parts.http.requests)
        yield LATENCY.buckets(parts.http.took_s)
        yield THROTTLED.alone(parts.http.throttled + parts.door.decisions["throttled"])
        yield AUTH.rows(_AUTH | parts.door.decisions)
        yield STREAMS.alone(standing.live_clients)
        yield AUTHORIZATIONS.rows(_DECISIONS | parts.authority.worker.decisions)
        yield CALLBACKS.rows(_CALLBACKS | parts.authority.sender.outcomes)
        yield QUEUE.alone(None if backlog is None else backlog.undecided)
        kafka = parts.kafka
        yield UNRELAYED.alone(None if backlog is None or kafka is None else backlog.unrelayed)
        yield DEAD_MESSAGES.rows({} if kafka is None else _DEAD_MESSAGES | kafka.dead)
        yield KAFKA.alone(None if kafka is None else int(kafka.state == "connected"))
        yield UNTOLD.rows({} if backlog is None else {"pending": backlog.untold, "dead": backlog.dead})
        connected = parts.connected()
        yield CENTRAL.alone(None if connected is None else int(connected))
        yield HISTORY.alone(standing.history_seq)
        yield HISTORY_LAG.alone(_lag(standing))
        yield WEATHER.rows({"ok": 0} | parts.weather.outcomes())
        yield READINGS.rows(parts.sensors.outcomes())
        yield SENSORS.rows(_SENSORS | Counter(reading.state for reading in parts.sensors.readings().values()))
        yield DATABASE.buckets(parts.database.took_s)
        yield DATABASE_UP.alone(int(self._backlog.answers))
        yield REVISION.alone(parts.rev())


def _lag(standing: Standing) -> int | None:
    if standing.history_seq is None or standing.history_newest is None:
        return None
    return max(0, standing.history_newest - standing.history_seq)
