"""Every metric of Central: its name, unit, labels and meaning. docs/metrics.md is the same table for people.

Labels are bounded by what the operator configured (substations, followers) or by enumerations; there is none with
charge points, drivers or sessions.
"""

from __future__ import annotations

from evcharge.net.metrics import Metric, counter, gauge, histogram

# --- the site ---------------------------------------------------------------------------------------------------------

LOAD = gauge(
    "current_load", "What sessions at this node and below it draw by their newest readings", "kW", "substation_id"
)
CAPACITY = gauge("total_capacity", "What this node is configured, or was told, to carry", "kW", "substation_id")
LIMIT = gauge("evcharge_limit_kw", "What the heat leaves of the capacity", "kW", "substation_id")
BASE = gauge("evcharge_base_load_kw", "What is kept free for everything else that draws there", "kW", "substation_id")
OFFERED = gauge("evcharge_offered_kw", "What the newest set-points allow together", "kW", "substation_id")
FALLBACK = gauge(
    "evcharge_fallback_kw",
    "What set-points fall back to, together, when Central is silent for longer than they hold",
    "kW",
    "substation_id",
)
WORST = gauge("evcharge_worst_case_kw", "What could flow if all messages were lost now", "kW", "substation_id")
UP = gauge("evcharge_substation_up", "1: it can be drawn from; 0: it is lost, or on trial", "", "substation_id")
LOST = counter("evcharge_substation_losses_total", "How often it was lost since the start", "times", "substation_id")
AT = gauge("evcharge_substation_sessions", "Sessions that draw at it and below it", "sessions", "substation_id")
ACTIVE = gauge("active_chargers", "Charge points that supply a vehicle", "charge points")
STATES = gauge("cp_state", "Charge points in each state that people see", "charge points", "state")
LOST_CPS = gauge(
    "evcharge_charge_points_lost",
    "Charge points whose engine, or monitor, was connected before and is not now",
    "charge points",
    "part",
)
SESSIONS = gauge("sessions_active", "Sessions whose contactor is closed, or may be", "sessions")
OPEN = gauge("evcharge_sessions_open", "Sessions from their authorization until their ticket is final", "sessions")
WAITING = gauge("evcharge_waiting", "Charge requests in line", "requests")
RESERVATIONS = gauge("evcharge_reservations", "Reservations that are planned, open or late", "reservations")
ENERGY = counter("energy_kwh_total", "Energy on all tickets since the log began", "kWh")
REVENUE = counter(
    "revenue_total", "Sum of all tickets since the log began", "in units of the currency, not cents", "currency"
)
TICKETS = counter("evcharge_tickets_total", "Tickets since the log began", "tickets")
AUTHORIZED = counter("evcharge_sessions_authorized_total", "Sessions authorized since the log began", "sessions")
STARTED = counter("evcharge_sessions_started_total", "Sessions that began to charge since the log began", "sessions")
EXPIRED = counter("evcharge_sessions_expired_total", "Authorizations that lapsed since the log began", "sessions")
REQUESTS = counter(
    "charging_requests_total",
    "Charge requests by what became of them at once: authorized, queued, refused, repeated, turned_down",
    "requests",
    "outcome",
)
REFUSED = counter(
    "evcharge_refusals_total", "Refused charge requests by the reason that was told", "requests", "reason"
)
ROUTED = counter(
    "routing_decisions_total",
    "Requests that left the choice to Central: found (and at which substation), queued, refused",
    "requests",
    "outcome",
    "substation_id",
)
FAILOVER = counter(
    "failover_total",
    "Charge points that were given another feed, by the substation that fed them before",
    "charge points",
    "substation_id",
)
INCIDENTS = counter("evcharge_incidents_total", "Incidents by code", "incidents", "code")
ANOMALIES = counter(
    "evcharge_anomalies_total", "Reports that did not fit what Central knows, by code", "reports", "code"
)
ALERTS = gauge("evcharge_weather_alerts", "Weather alerts that are on", "alerts")

# --- the planner ------------------------------------------------------------------------------------------------------

PLANNER = histogram("evcharge_planner_seconds", "How long a plan took", "seconds")
PLANS = counter("evcharge_plans_total", "Plans by outcome: made, failed", "plans", "outcome")
PLAN_AGE = gauge("evcharge_plan_age_seconds", "Age of the plan that holds, in site time", "seconds", "substation_id")
PLAN_OVERDUE = gauge(
    "evcharge_plan_overdue_seconds", "For how long a plan has been wanted and none has come; 0: none is", "seconds"
)

# --- the log ----------------------------------------------------------------------------------------------------------

COMMIT = histogram(
    "evcharge_commit_seconds", "From a record's event until it was durable, the oldest of each commit", "seconds"
)
BATCH = histogram("evcharge_commit_records", "Records of one commit", "records")
SYNC = histogram("evcharge_fsync_seconds", "What the disk took to make a commit durable", "seconds")
WRITTEN = counter("evcharge_log_written_bytes_total", "Bytes written to the log since the start", "bytes")
SEQ = gauge("evcharge_log_sequence", "Newest record of the log: given out, and durable", "records", "what")
REPLAYED = gauge(
    "evcharge_replay_records", "Records that were replayed at the start, behind the newest snapshot", "records"
)
REPLAY = gauge("evcharge_replay_seconds", "How long the replay at the start took", "seconds")
LOG_BYTES = gauge("evcharge_log_bytes", "What the log's segments take on the disk", "bytes")
FREE = gauge("evcharge_disk_free_bytes", "Room on the disk of the log", "bytes")
DISK_LOW = gauge("evcharge_disk_low", "1: there is too little room, and nothing new is authorized", "")
UNSIGNED = gauge("evcharge_log_unsigned_records", "Durable records that no signed checkpoint covers yet", "records")
CHECKPOINT = gauge("evcharge_checkpoint_age_seconds", "Since this Central signed its newest checkpoint", "seconds")
SUSPECT = gauge(
    "evcharge_log_suspect", "1: a witness says that the log lost its end, and nothing new is authorized", ""
)
SNAPSHOTS = counter("evcharge_snapshots_total", "Snapshots of the state made since the start", "snapshots")
LAG = gauge(
    "evcharge_follower_lag_records",
    "Durable records that this follower of the log does not have yet",
    "records",
    "follower",
)

# --- the wire ---------------------------------------------------------------------------------------------------------

INBOX = gauge("evcharge_inbox_depth", "Commands and questions whose answers wait for the disk", "answers")
PAUSED = gauge("evcharge_peers_paused", "Peers that are not read from until the disk has caught up", "peers")
PEERS = gauge("evcharge_peers_connected", "Peers that speak for their entity", "peers", "role")
CONNECTIONS = gauge("evcharge_connections", "Connections: not authenticated yet, and all", "connections", "what")
HANDSHAKES = counter(
    "evcharge_handshakes_total",
    "Connections by how they began: established, refused, busy, failed, no_room, source_limit",
    "connections",
    "outcome",
)
AUTH = counter(
    "auth_decisions_total",
    "Decisions about peers: granted, granted_stale (by a kept record), wrong_key, or why not",
    "decisions",
    "status",
)
THROTTLED = counter("throttled_total", "How often the reading stopped because a peer sent more than its rate", "times")
FRAME_ERRORS = counter(
    "frame_errors_total", "Connections that ended because of what the peer sent", "connections", "error"
)
FRAMES = counter("evcharge_frames_total", "Messages in frames", "frames", "direction")
BYTES = counter("evcharge_wire_bytes_total", "Bytes on all connections, handshakes included", "bytes", "direction")
REGISTRY = gauge("evcharge_registry_reachable", "1: the registry's change feed answers", "")

TABLE: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""All of them."""
