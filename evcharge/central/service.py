"""Central: everything wired together, started in order, stopped in order.

Start: bootstrap file → log recovered → state → door open. Stop: no new peers → peers told → inbox done → log synced →
peers closed. Whatever fails in the engine or the log stops Central with a sentence; nothing acknowledged is lost.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from evcharge.audit.files import Files, OsFiles
from evcharge.audit.journal import JournalFailed
from evcharge.audit.threads import Threads
from evcharge.central import notices
from evcharge.central.admission import Admission
from evcharge.central.allocation import Allocation
from evcharge.central.changes import Changes
from evcharge.central.deadlines import Deadlines
from evcharge.central.decisions import Decisions
from evcharge.central.doubts import Doubts
from evcharge.central.engine import Engine
from evcharge.central.followers import Followers
from evcharge.central.heat import HeatWatch
from evcharge.central.inbound import Inbound
from evcharge.central.limits import check_limits, gateway_rate, server_limits, wire_limits
from evcharge.central.liveness import Liveness
from evcharge.central.metrics import CentralMetrics, Parts
from evcharge.central.outbound import Outbound
from evcharge.central.peaks import PeakWatch
from evcharge.central.peers import Directory
from evcharge.central.planning import Planning
from evcharge.central.readiness import Doors, readiness_of
from evcharge.central.recall import Recalled, recall
from evcharge.central.reception import Reception
from evcharge.central.records import KeptRecords
from evcharge.central.registry import Bootstrap, RegistryClient
from evcharge.central.rejections import WINDOW_S
from evcharge.central.revoking import Revoking
from evcharge.central.room import Room
from evcharge.central.ruling import RuleWatch
from evcharge.central.sensors import Sensors
from evcharge.central.settings import Settings, derating_of, doubts_of, energy_of, places_of, site_of
from evcharge.central.snapshots import Snapshots
from evcharge.central.substations import Substations
from evcharge.central.surroundings import Surroundings
from evcharge.central.tasks import Tasks
from evcharge.central.telemetry import Telemetry
from evcharge.central.translate.advice import Advice
from evcharge.central.translate.audit import Audit, Verified
from evcharge.central.translate.following import Following
from evcharge.central.translate.tables import Questions
from evcharge.central.waiting_news import WaitingNews
from evcharge.domain import commands as c
from evcharge.domain.demand import root_of, roots
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import State
from evcharge.domain.words import LinkState
from evcharge.ids import NodeId, SessionId
from evcharge.net.clock import Clock
from evcharge.net.exposition import Exposition
from evcharge.net.readiness import Readiness
from evcharge.net.server import Server
from evcharge.net.sources import Sources, source_of
from protocol.credentials import key_id

log = structlog.get_logger()

# Quiet after which a mark follows the last record, seconds (audit.md): from then on damage to it is seen as damage.
MARK_AFTER_S = 0.1
# Random bytes that name one start of Central for those who count its changes.
RUN_BYTES = 8
# How often counted rejections are looked at, seconds.
FLUSH_S = 5.0


class Central:
    """One running Central. ``start`` returns when it serves; ``failure`` is set when it cannot go on."""

    def __init__(
        self,
        settings: Settings,
        bootstrap: Bootstrap,
        clock: Clock,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
        files: Files | None = None,
        threads: Threads | None = None,
    ) -> None:
        self._settings = settings
        self._bootstrap = bootstrap
        self._clock = clock
        self._entropy = entropy
        self._files = files or OsFiles()
        self._threads = threads
        self.log_dir = settings.data_dir / "log"
        self._loop = asyncio.get_running_loop()
        self.failure: asyncio.Future[BaseException] = self._loop.create_future()
        self._turned_away = 0
        self._turned_away_told_s = float("-inf")
        self.state = State()
        self._exposition: Exposition | None = None

    async def start(self) -> None:
        """Recover the log and open the door.

        Raises LogInUse, CorruptLog, BadSite, BadLimits, UnknownKind, BrokenRecords, OSError: Central does not start,
        and holds nothing any more.
        """
        check_limits(self._settings)
        site = site_of(self._settings, self._clock.speed)
        for doubt in doubts_of(self._settings):
            log.warning("site.doubt", sentence=doubt)
        async with AsyncExitStack() as undo:
            await self._open(site, undo)
            undo.pop_all()

    async def _open(self, site: SiteConfig, undo: AsyncExitStack) -> None:
        settings, clock = self._settings, self._clock
        door = server_limits(settings)
        self._sources = Sources(door.source)
        began_s = clock.monotonic()
        recalled = self._recall()
        replay_s = clock.monotonic() - began_s
        self._journal, self._attestor = recalled.journal, recalled.attestor
        undo.push_async_callback(asyncio.to_thread, self._journal.close)
        self._followers = Followers(clock, lambda: self._journal.durable)
        self._directory = Directory()
        self._telemetry = Telemetry()
        self._sensors = Sensors(clock)
        self._decisions = Decisions()
        self._tasks = Tasks(self._fail)
        undo.push_async_callback(self._tasks.stop)
        self._deadlines = Deadlines(clock, self._pass_deadline, self._has_deadlines)
        self._allocation = Allocation(
            self._reallocate,
            lambda: list(roots(self.state)),
            lambda node_id: root_of(self.state, node_id),
            self._serve_waiting,
        )
        self._outbound = Outbound(
            self._directory,
            self._telemetry,
            clock,
            decisions=self._decisions,
            dirty=self._allocation.dirty,
            urgent=self._allocation.urgent,
            wake=self._deadlines.add,
            revoke=lambda peer: self._revoking.close(peer),
        )
        self._engine = Engine(
            self.state,
            self._journal,
            clock,
            self._outbound.release,
            self._fail,
            loop=asyncio.get_running_loop(),
        )
        self._outbound.attach(self._engine)
        self._waiting_news = WaitingNews(self._engine, self._outbound.tell_waiting, clock.monotonic)
        self._journal.start(self._engine.durable_from_thread, self._fail_from_thread, mark_after_s=MARK_AFTER_S)
        self._kept = KeptRecords(settings.data_dir / "registry-records.sqlite", self._bootstrap.registry.public_key)
        undo.callback(self._kept.close)
        self._registry = RegistryClient(
            self._bootstrap.registry,
            self._kept,
            clock,
            lambda record: self._revoking.record_changed(record),
            self._synced,
            records_s=settings.records_s,
            lookup_s=settings.lookup_s,
            lookups=settings.lookups,
        )
        self._doubts = Doubts(self._attestor, self._tasks, self._suspect, self._rolled_back, self._in_doubt)
        self._admission = Admission(
            self._engine,
            self._registry,
            self._directory,
            self._tasks,
            clock,
            gateway_rate=gateway_rate(settings),
            entropy=self._entropy,
            witnesses=self._doubts.witnesses,
            checkpoint=self._newest_checkpoint,
        )
        self._reception = Reception(self._engine, self._admission, self._directory)
        self._server = Server(
            self._bootstrap.credential,
            self._reception,
            clock=clock,
            limits=wire_limits(settings),
            server_limits=door,
            sources=self._sources,
            entropy=self._entropy,
            checkpoint=self._newest_checkpoint,
        )
        self._revoking = Revoking(
            lambda: self.state, self._engine, self._admission, self._directory, self._server.timers, clock
        )
        substations = Substations(
            self._server.timers, clock, settings.substation_silence_s, lambda command: self._engine.execute(command)
        )
        rules = RuleWatch(self._sensors, clock, self._engine.execute, limiting=site.rules)
        heat = HeatWatch(lambda: self.state, self._sensors, clock, self._engine.execute, derating_of(settings))
        run = self._entropy(RUN_BYTES).hex()
        changes = Changes(run, lambda: self.state.charge_points, lambda: self.state.sessions)
        self._engine.on_change = changes.touched
        advice = Advice(self._decisions, places_of(settings), self._sensors.measured_w)
        questions = Questions(
            *(self._engine, self._directory, self._telemetry, rules, substations, clock, advice),
            self._sensors.measured_w,
            changes,
        )
        energy, execute = energy_of(settings), self._engine.execute
        self._peaks = PeakWatch(
            lambda: self.state,
            self._sensors,
            self._telemetry,
            energy,
            clock,
            execute,
            lambda: self._planning.sun_is_told(),
        )
        self._planning = Planning(lambda: self.state, self._sensors, energy, clock, execute, self._peaks.billed)
        surroundings = Surroundings(self._engine, self._sensors, self._planning, self._allocation.dirty)
        audit = Audit(
            self.log_dir,
            self._files,
            self._journal,
            self._attestor,
            self._tasks,
            verified=Verified(recalled.seq + 1, recalled.seq + recalled.records),
            suspect=lambda: bool(self._doubts.open or self._doubts.witnesses.proof),
        )
        following = Following(self.log_dir, self._files, self._journal, self._tasks, self._followers.note)
        self._engine.on_durable = following.became_durable
        self._inbound = Inbound(
            self._engine,
            self._outbound,
            self._telemetry,
            surroundings,
            substations,
            clock,
            changes,
            questions,
            audit,
            following,
            entropy=self._entropy,
        )
        self._reception.attach(self._inbound, Liveness(self._server.timers, clock, settings.silence_s))
        notices.at_start(self.state, site)
        self._engine.execute(c.StartCentral(site=site))
        self._room = Room(
            settings.data_dir,
            self._files,
            self._engine,
            lambda: self._journal.held,
            ballast_bytes=settings.ballast_mib << 20,
        )
        self._room.begin()
        self._admission.resume_alarms()
        snapshots = Snapshots(settings.data_dir, recalled.seq, lambda: self._journal.durable)
        if settings.metrics is not None:
            self._exposition = Exposition("central", settings.metrics)
            undo.push_async_callback(self._exposition.close)
            await self._exposition.start(self._metrics(recalled, replay_s, snapshots), self._readiness())
        addresses = await self._server.start(settings.host, settings.port)
        self.host, self.port = addresses[0]
        self._server.timers.schedule(clock.monotonic() + settings.monitor_return_s, self._miss_monitors)
        for work in (
            self._registry.run(),
            self._deadlines.run(),
            self._allocation.run(),
            self._allocation.renew(),
            self._planning.run(),
            self._peaks.run(),
            rules.run(),
            heat.run(),
            self._flush_rejections(),
            self._room.run(),
            snapshots.run(),
        ):
            self._tasks.start(work)

    async def stop(self) -> None:
        """Drain: stop listening, tell the peers, finish, sync the log, close the peers."""
        self._reception.stopping = self._admission.draining = self._engine.draining = True
        try:
            await self._server.drain(self._finish, return_per_s=self._settings.drain_return_per_s)
        finally:
            self._server.timers.close()
            self._kept.close()
            if self._exposition is not None:
                await self._exposition.close()

    async def _finish(self) -> None:
        """What is done between telling the peers and closing them."""
        if not self.failure.done():
            await asyncio.sleep(self._settings.drain_s)
        await self._tasks.stop()
        self._tell_turned_away()
        self._admission.close()
        self._engine.execute(c.StopCentral())
        # Whatever comes in now is not carried out and not acknowledged, so its sender keeps it.
        self._engine.close()
        await asyncio.to_thread(self._journal.close)

    # --- what it tells of itself ----------------------------------------------------------------------------------

    @property
    def metrics_address(self) -> str | None:
        """``HOST:PORT`` of /metrics; None: it is not served."""
        return None if self._exposition is None else self._exposition.listening

    def _readiness(self) -> Readiness:
        return readiness_of(
            Doors(
                synced=self._synced,
                failed=self.failure.done,
                draining=lambda: self._server.draining,
                listening=lambda: self._server.listening,
            )
        )

    def _metrics(self, recalled: Recalled, replay_s: float, snapshots: Snapshots) -> CentralMetrics:
        return CentralMetrics(
            Parts(
                engine=self._engine,
                journal=self._journal,
                recalled=recalled,
                replay_s=replay_s,
                server=self._server,
                admission=self._admission,
                directory=self._directory,
                telemetry=self._telemetry,
                planning=self._planning,
                registry=self._registry,
                snapshots=snapshots,
                followers=self._followers,
                measured_w=self._sensors.measured_w,
                paused=lambda: len(self._reception.paused),
                log_dir=self.log_dir,
                files=self._files,
                clock=self._clock,
            )
        )

    # --- the log --------------------------------------------------------------------------------------------------

    def _recall(self) -> Recalled:
        """Replay the log into the state."""
        own_key = self._bootstrap.credential.central_public_key
        recalled = recall(
            self._settings.data_dir,
            self._files,
            origin=f"evcharge/{key_id(own_key).hex()}",
            entropy=self._entropy,
            threads=self._threads,
        )
        self.state = recalled.state
        for source, clock_ms in recalled.sources.items():
            self._remember_source(source, clock_ms)
        return recalled

    def _newest_checkpoint(self) -> bytes:
        return self._attestor.checkpoints.newest

    def _rolled_back(self, proof: str) -> None:
        """A witness proves that the log lost its end."""
        log.critical("log.rolled_back", proof=proof, accepted=self._settings.accept_rollback)
        self._suspect(True)
        # Called in the middle of an admission; what it decides comes first.
        self._loop.call_soon(self._engine.execute, c.RaiseIncident(code="log_rollback", detail=proof))

    def _in_doubt(self, why: str) -> None:
        """Nobody can tell whether the log lost its end."""
        detail = f"{why}: put archived segments back for one start, or accept it with --accept-rollback"
        log.critical("log.in_doubt", sentence=detail)
        self._engine.execute(c.RaiseIncident(code="log_in_doubt", detail=detail))

    def _suspect(self, suspect: bool) -> None:
        """The log may not be what it was: nothing new is authorized, unless the operator has accepted that."""
        self._engine.suspect = suspect and not self._settings.accept_rollback

    def _remember_source(self, source: str, clock_ms: int) -> None:
        """Peers of this source were connected then: a site that comes back after a restart is known."""
        age_s = max(0, self._clock.steady_ms() - clock_ms) / 1000
        now_s = self._clock.monotonic()
        self._sources.succeed(source_of(source), now_s - age_s, now_s)

    def _fail_from_thread(self, error: BaseException) -> None:
        """On the journal's thread: hand over to the loop."""
        failed = JournalFailed(f"the audit log failed: {error}")
        failed.__cause__ = error
        self._loop.call_soon_threadsafe(self._fail, failed)

    def _fail(self, error: BaseException) -> None:
        """Something that must not happen: nothing more is done, and Central stops. JournalFailed: its log died."""
        self._engine.close()
        if not self.failure.done():
            self.failure.set_result(error)

    async def _synced(self) -> None:
        """Everything that was decided so far is durable."""
        durable = asyncio.Event()
        self._engine.ask(lambda _state, _stamp: None, lambda _: durable.set())
        await durable.wait()

    # --- what happens by itself -----------------------------------------------------------------------------------

    def _pass_deadline(self, session_id: SessionId) -> None:
        self._engine.execute(c.PassDeadline(session_id=session_id))

    def _has_deadlines(self, session_id: SessionId) -> bool:
        state = self.state
        return session_id in state.sessions or session_id in state.waiting or session_id in state.reservations

    def _reallocate(self, node_id: NodeId) -> None:
        sensors = self._sensors
        self._engine.execute(
            c.Reallocate(node_id=node_id, measured_w=sensors.measured_w(), ages_ms=sensors.base_ages_ms())
        )

    def _serve_waiting(self) -> None:
        if self.state.waiting or self.state.reservations:
            self._engine.execute(c.ServeWaiting())
            self._waiting_news.look()

    def _miss_monitors(self) -> None:
        """Monitors that were there before the restart and did not come back in time."""
        charge_points = list(self.state.charge_points.values())
        for charge_point in charge_points:
            if charge_point.monitor.state is LinkState.AWAITED:
                self._engine.execute(c.MonitorMissing(cp_id=charge_point.cp_id))

    async def _flush_rejections(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._admission.flush()
            if self._clock.monotonic() >= self._turned_away_told_s + WINDOW_S:
                self._tell_turned_away()

    def _tell_turned_away(self) -> None:
        """One line for all who were dropped at once, of each kind: a flood of them must not fill the disk."""
        no_room = self._server.counts.turned_away - self._turned_away
        self._turned_away += no_room
        source, too_many = self._sources.take_refused()
        for origin, code, count in (("*", "no_room", no_room), (source, "source_limit", too_many)):
            if count:
                self._turned_away_told_s = self._clock.monotonic()
                self._admission.turned_away(origin, code, count)
