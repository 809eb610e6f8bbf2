"""What Central tells Prometheus: read from the objects that do the work, when somebody asks (docs/metrics.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from prometheus_client.metrics_core import Metric as Family

from evcharge.audit.files import Files
from evcharge.audit.journal import Journal
from evcharge.audit.segments import list_segments
from evcharge.central import metric_table as t
from evcharge.central.admission import Admission
from evcharge.central.engine import Engine
from evcharge.central.followers import Followers
from evcharge.central.peers import Directory
from evcharge.central.planning import Planning
from evcharge.central.recall import Recalled
from evcharge.central.registry import RegistryClient
from evcharge.central.snapshots import Snapshots
from evcharge.central.survey import Survey, survey
from evcharge.central.telemetry import Telemetry
from evcharge.domain.headroom import Row, base_w, limit_of, measured_all_over
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.words import Health, Shown
from evcharge.ids import NodeId
from evcharge.net.clock import Clock
from evcharge.net.metrics import Asked
from evcharge.net.server import Server
from evcharge.tally import Rising


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at."""

    engine: Engine
    journal: Journal
    recalled: Recalled
    replay_s: float
    server: Server
    admission: Admission
    directory: Directory
    telemetry: Telemetry
    planning: Planning
    registry: RegistryClient
    snapshots: Snapshots
    followers: Followers
    measured_w: Callable[[], Mapping[NodeId, int]]
    """Base loads by their meters."""
    paused: Callable[[], int]
    """Peers that are not read from."""
    log_dir: Path
    files: Files
    clock: Clock


class _Disk(NamedTuple):
    free: int
    segments: int


class CentralMetrics:
    """A ``Collector`` of one Central."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._survey = Survey()
        # A disk that fails stops Central by itself (``room``).
        self._disk = Asked(lambda: asyncio.to_thread(self._ask_disk), OSError)
        self._energy, self._revenue, self._expired = Rising(), Rising(), Rising()

    async def look(self) -> None:
        """Part of ``Collector``: the sessions and charge points in pieces, the disk in a thread."""
        parts = self._parts
        found, _ = await asyncio.gather(
            survey(parts.engine.state, parts.telemetry, parts.engine.clock_ms()), self._disk.look()
        )
        self._survey = found

    def _ask_disk(self) -> _Disk:
        files, log_dir = self._parts.files, self._parts.log_dir
        return _Disk(files.free(log_dir), len(list_segments(log_dir, files)[0]))

    def collect(self) -> Iterator[Family]:
        """Part of ``Collector``."""
        yield from self._nodes()
        yield from self._site()
        yield from self._plans()
        yield from self._log()
        yield from self._wire()

    def _nodes(self) -> Iterator[Family]:
        state, flows = self._parts.engine.state, self._survey.flows
        measured_w = measured_all_over(state, self._parts.measured_w())
        nodes = dict(state.nodes)
        yield t.LOAD.rows({node_id: flow.load_w / 1000 for node_id, flow in flows.items()})
        yield t.CAPACITY.rows({node_id: node.capacity_w / 1000 for node_id, node in nodes.items()})
        yield t.LIMIT.rows({node_id: limit_of(state, Row(node_id)) / 1000 for node_id in nodes})
        yield t.BASE.rows({each: base_w(node, measured_w.get(each)) / 1000 for each, node in nodes.items()})
        yield t.OFFERED.rows({node_id: flow.offered_w / 1000 for node_id, flow in flows.items()})
        yield t.FALLBACK.rows({node_id: flow.fallback_w / 1000 for node_id, flow in flows.items()})
        yield t.WORST.rows({node_id: flow.worst_w / 1000 for node_id, flow in flows.items()})
        yield t.AT.rows({node_id: flow.sessions for node_id, flow in flows.items()})
        yield t.UP.rows({node_id: int(node.health is Health.UP) for node_id, node in nodes.items()})
        tally = self._parts.engine.tally
        yield t.LOST.rows(dict.fromkeys(nodes, 0) | tally.lost)
        # Every substation from the start: a counter that appears with its first 1 shows no rise.
        yield t.FAILOVER.rows(dict.fromkeys(nodes, 0) | tally.moved)
        nowhere = {(outcome, ""): 0 for outcome in ("queued", "refused")}
        yield t.ROUTED.rows({("found", node_id): 0 for node_id in nodes} | nowhere | tally.routed)

    def _site(self) -> Iterator[Family]:
        state, found, tally = self._parts.engine.state, self._survey, self._parts.engine.tally
        totals = state.totals
        yield t.ACTIVE.alone(found.shown.get(Shown.SUPPLYING, 0))
        yield t.STATES.rows({shown.value: count for shown, count in found.shown.items()})
        yield t.LOST_CPS.rows({"engine": found.lost_engines, "monitor": found.lost_monitors})
        yield t.SESSIONS.alone(found.running)
        yield t.OPEN.alone(len(state.sessions))
        yield t.WAITING.alone(len(state.waiting))
        yield t.RESERVATIONS.alone(len(state.reservations))
        yield t.ALERTS.alone(len(state.alerts))
        yield t.ENERGY.alone(self._energy.at(totals.energy_wh / 1000))
        yield t.REVENUE.rows({state.site.tariff.currency: self._revenue.at(totals.amount_minor / 100)})
        yield t.TICKETS.alone(totals.tickets)
        yield t.AUTHORIZED.alone(totals.authorized)
        yield t.STARTED.alone(totals.started)
        yield t.EXPIRED.alone(self._expired.at(totals.expired))
        yield t.REQUESTS.rows(_REQUESTS | tally.requests)
        yield t.REFUSED.rows(_REASONS | tally.refusals)
        yield t.INCIDENTS.rows(_INCIDENTS | tally.incidents)
        yield t.ANOMALIES.rows(tally.anomalies)

    def _plans(self) -> Iterator[Family]:
        planning, clock = self._parts.planning, self._parts.clock
        now_ms, now_s = clock.site_ms(), clock.monotonic()
        holding = {root: plan for root, plan in self._parts.engine.state.plans.items() if plan.holds(now_ms)}
        yield t.PLANNER.buckets(planning.took_s)
        yield t.PLANS.rows(planning.outcomes)
        yield t.PLAN_AGE.rows({root: (now_ms - plan.made_ms) / 1000 for root, plan in holding.items()})
        yield t.PLAN_OVERDUE.alone(max((now_s - since_s for since_s in planning.failing.values()), default=0.0))

    def _log(self) -> Iterator[Family]:
        parts, journal = self._parts, self._parts.journal
        checkpoints, disk = parts.recalled.attestor.checkpoints, self._disk.known
        yield t.COMMIT.buckets(journal.written.commit_s)
        yield t.BATCH.buckets(journal.written.batch)
        yield t.SYNC.buckets(journal.written.sync_s)
        yield t.WRITTEN.alone(journal.written.bytes)
        yield t.SEQ.rows({"given_out": journal.last, "durable": journal.durable})
        yield t.REPLAYED.alone(parts.recalled.records)
        yield t.REPLAY.alone(parts.replay_s)
        yield t.LOG_BYTES.alone(None if disk is None else disk.segments * journal.segment_bytes)
        yield t.FREE.alone(None if disk is None else disk.free)
        yield t.DISK_LOW.alone(int(parts.engine.low_on_disk))
        yield t.UNSIGNED.alone(checkpoints.unsigned)
        made_s = checkpoints.made_s
        yield t.CHECKPOINT.alone(None if made_s is None else max(0.0, parts.clock.monotonic() - made_s))
        yield t.SUSPECT.alone(int(parts.engine.suspect))
        yield t.SNAPSHOTS.alone(parts.snapshots.made)
        yield t.LAG.rows(parts.followers.lag())

    def _wire(self) -> Iterator[Family]:
        parts, server, door = self._parts, self._parts.server, self._parts.admission.tally
        counts, traffic, decisions = server.counts, server.traffic, door.decisions
        refused = decisions.total() - sum(decisions[each] for each in ("granted", "granted_stale", "wrong_key"))
        yield t.INBOX.alone(parts.engine.backlog)
        yield t.PAUSED.alone(parts.paused())
        yield t.PEERS.rows({role.value: count for role, count in parts.directory.counts.items()})
        yield t.CONNECTIONS.rows({"all": counts.open, "unauthenticated": counts.unauthenticated})
        yield t.HANDSHAKES.rows(
            {
                "established": counts.established,
                "refused": refused,
                "busy": counts.busy,
                "failed": door.failed,
                "no_room": counts.turned_away,
                "source_limit": server.sources.refused,
            }
        )
        yield t.AUTH.rows(_DECISIONS | decisions)
        yield t.THROTTLED.alone(traffic.throttled)
        yield t.FRAME_ERRORS.rows(_FRAME_ERRORS | door.frame_errors)
        yield t.FRAMES.rows({"in": traffic.frames_in, "out": traffic.frames_out})
        yield t.BYTES.rows({"in": traffic.bytes_in, "out": traffic.bytes_out})
        yield t.REGISTRY.alone(int(parts.registry.live))


# What is there from the start with 0, so that a first one is seen as a rise.
_REQUESTS: dict[str, int] = dict.fromkeys(("authorized", "queued", "refused", "repeated", "turned_down"), 0)
_REASONS: dict[str, int] = dict.fromkeys((each.value for each in RefusalReason), 0)
_INCIDENTS: dict[str, int] = dict.fromkeys(
    ("disk_low", "duplicate_id", "failed_authentications", "log_in_doubt", "log_rollback"), 0
)
_DECISIONS: dict[str, int] = dict.fromkeys(
    ("granted", "granted_stale", "wrong_key", "unknown", "revoked", "expired", "wrong_role", "unavailable"), 0
)
_FRAME_ERRORS: dict[str, int] = dict.fromkeys(
    (
        "frame_too_large",
        "unreadable_token",
        "replayed_message",
        "malformed_message",
        "unexpected_message",
        "unsupported_version",
    ),
    0,
)
