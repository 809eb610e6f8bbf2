"""The asyncio shell around engines: one process, any number of charge points, one ticking task for all of them.

A tick is 0.1 s of wall time, which may be minutes of site time. So that a script stays exact, everything that was due
between two looks happens at its own instant of site time, with the other clocks interpolated, before anything newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from evcharge.cp.engine import EngineCore
from evcharge.cp.script import Action, Schedule
from evcharge.cp.slot import Now
from evcharge.cp.vehicle import Vehicle, VehicleSpec
from evcharge.net.backoff import CAP_S
from evcharge.net.client import REVOKED_S, ChannelInfo, Refusal
from evcharge.net.clock import Clock
from protocol.errors import RefuseCode
from protocol.messages import ConnectorInfo, Message

# Seconds of wall time between two looks at everything: ten a second keeps a lease's end within its clock margin.
TICK_S = 0.1
# Seconds that a planned end waits for Central to acknowledge the final meters; they are on disk in any case.
DRAIN_S = 3.0
# Charge points in one process above which meters are not flushed to the platter each second: a simulation of many
# would stall its loop (0.2 to 4 ms a flush). They still survive kill -9, and every outbox item is flushed.
MAX_FLUSHED = 16

log = structlog.get_logger()


class Channel(Protocol):
    """What a host needs of ``evcharge.net.client.Client``."""

    @property
    def connected(self) -> bool: ...

    def send(self, message: Message) -> bool: ...

    def channel_ms(self) -> int: ...

    async def run(self) -> None: ...


class TraceFile:
    """Every change of every connector's power: JSON lines {"t": site_ms, "cp": id, "c": connector, "w": power_w}.

    Lines of one connector are in order of time. Lines of different charge points may come later than their instant
    by up to one tick, so a sum over all sorts by ``t`` first.
    """

    def __init__(self, path: Path) -> None:
        """Opens for appending, after the last whole line: a process that was killed may leave a torn one.

        Raises OSError.
        """
        self._file = path.open("ab")
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole != self._file.tell():
            self._file.truncate(whole)
        self._encoder = msgspec.json.Encoder()
        self._failed = False

    def sink(self, cp_id: str) -> Callable[[int, int, int], None]:
        """The power sink of one charge point."""

        def report(site_ms: int, connector: int, power_w: int) -> None:
            line = self._encoder.encode({"t": site_ms, "cp": cp_id, "c": connector, "w": power_w})
            self._try(lambda: self._file.write(line + b"\n"))

        return report

    def flush(self) -> None:
        """Let readers see what was reported."""
        self._try(self._file.flush)

    def close(self) -> None:
        """The end."""
        self._try(self._file.close)

    def _try(self, step: Callable[[], object]) -> None:
        """A trace that cannot be written ends, and says so; charging goes on."""
        if self._failed:
            return
        try:
            step()
        except OSError as error:
            self._failed = True
            log.warning("cp.trace_failed", file=self._file.name, sentence=f"the trace ends here: {error.strerror}")


class Host:
    """One charge point in the process: its engine and its channel; the ``Listener`` of the client."""

    def __init__(self, cp_id: str, engine: EngineCore, clock: Clock) -> None:
        self.cp_id = cp_id
        self.engine = engine
        self.channel: Channel | None = None
        self.before: Callable[[], None] = lambda: None
        """Called before anything new: lets what was due earlier happen first."""
        self.was_up = False
        self._clock = clock
        self._disk_error: str | None = None

    @staticmethod
    def first_instant(clock: Clock) -> Now:
        """Now, before there is a channel."""
        return Now(clock.site_ms(), clock.monotonic())

    def now(self) -> Now:
        """This instant on the three clocks."""
        channel_ms = None
        if self.channel is not None and self.channel.connected:
            channel_ms = self.channel.channel_ms()
        return Now(self._clock.site_ms(), self._clock.monotonic(), channel_ms)

    def then(self, site_ms: int, monotonic: float) -> Now:
        """An instant a moment ago."""
        now = self.now()
        channel_ms = now.channel_ms
        if channel_ms is not None:
            channel_ms -= int((now.monotonic - monotonic) * 1000)
        return Now(site_ms, monotonic, channel_ms)

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the channel; what it cannot take comes again after the next reconnect."""
        if self.channel is not None:
            for message in messages:
                self.channel.send(message)
        if self.engine.disk_error != self._disk_error:
            self._disk_error = self.engine.disk_error
            if self._disk_error is not None:
                log.error("cp.storage_failed", cp=self.cp_id, sentence=self._disk_error)
            else:
                log.info("cp.storage_works_again", cp=self.cp_id)

    def tick(self) -> None:
        """Let time pass."""
        self.send(self.engine.tick(self.now()))

    def channel_up(self, info: ChannelInfo) -> None:
        """Listener: a channel is ready."""
        self.before()
        self.was_up = True
        log.info("cp.connected", cp=self.cp_id, fence=info.fence, waiting=self.engine.waiting)
        self.send(self.engine.on_channel_up(info.fence, info.next_n, self.now()))

    def channel_down(self, why: str) -> None:
        """Listener: the channel is gone."""
        self.before()
        log.info("cp.disconnected", cp=self.cp_id, why=why)
        self.send(self.engine.on_channel_down(self.now()))

    def message(self, message: Message) -> None:
        """Listener: a message of Central."""
        self.before()
        log.debug("cp.message", cp=self.cp_id, type=type(message).__name__)
        self.send(self.engine.on_message(message, self.now()))

    def act(self, action: Action, now: Now) -> None:
        """Something happens to the charge point."""
        engine = self.engine
        number = action.connector or 1
        log.info("cp.action", cp=self.cp_id, do=action.do, connector=action.connector, site_ms=now.site_ms)
        match action.do:
            case "plug":
                self.send(engine.plug(number, self.vehicle(number, action.vehicle), now))
            case "unplug":
                self.send(engine.unplug(number, now))
            case "fail":
                self.send(engine.fail(action.code, now, action.connector or 0))
            case "recover":
                self.send(engine.recover(now, action.connector or 0))
            case "emergency_stop":
                self.send(engine.emergency_stop(now))

    def vehicle(self, number: int, spec: VehicleSpec) -> Vehicle:
        """A vehicle for a connector. KeyError: no such connector."""
        rated_w = {slot.number: slot.connector.max_w for slot in self.engine.slots}
        return Vehicle.from_spec(spec, rated_w[number])


class Fleet:
    """All charge points of the process."""

    def __init__(
        self, clock: Clock, hosts: Sequence[Host], schedule: Schedule[Action], trace: TraceFile | None = None
    ) -> None:
        self.clock = clock
        self.hosts = {host.cp_id: host for host in hosts}
        self._schedule = schedule
        self._trace = trace
        self._seen = (clock.site_ms(), clock.monotonic())
        self._closing = False
        self._drained = asyncio.Event()
        self._refused: Refusal | None = None
        for host in hosts:
            host.before = self.catch_up

    def catch_up(self) -> None:
        """Carry out what the script had for the time since the last look, each at its own instant."""
        site_ms, monotonic = self.clock.site_ms(), self.clock.monotonic()
        (since_ms, since_s), self._seen = self._seen, (site_ms, monotonic)
        span_ms = max(1, site_ms - since_ms)
        for due_ms, action in self._schedule.due(site_ms):
            # What was due before the process looked for the first time happens now.
            at_ms = max(due_ms, since_ms)
            at_s = since_s + (monotonic - since_s) * (at_ms - since_ms) / span_ms
            host = self.hosts[action.cp_id]
            host.act(action, host.then(at_ms, at_s))

    def tick(self) -> None:
        """One look at everything."""
        self.catch_up()
        for host in self.hosts.values():
            host.tick()
        if self._trace is not None:
            self._trace.flush()
        if self._closing and not self.draining():
            self._drained.set()

    def health(self, cp_id: str) -> str | None:
        """For the monitors. KeyError: not hosted here."""
        return self.hosts[cp_id].engine.health()

    def shut_down(self) -> None:
        """End all running sessions with their final meters."""
        self._closing = True
        self.catch_up()
        for host in self.hosts.values():
            host.send(host.engine.shutdown(host.now()))

    def draining(self) -> bool:
        """Something that Central should have waits, and Central is there to take it."""
        return any(host.engine.online and host.engine.waiting for host in self.hosts.values())

    def meters(self) -> dict[str, dict[str, int]]:
        """All registers in Wh: {cp_id: {connector: wh}}."""
        return {
            cp_id: {str(number): wh for number, wh in host.engine.meters().items()}
            for cp_id, host in self.hosts.items()
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``, then end safely: sessions ended, results handed over if Central takes them soon.

        Raises Refusal when the only charge point of the process is refused at its first attempt. Sets ``stop`` then.
        """
        try:
            async with asyncio.TaskGroup() as group:
                channels = [group.create_task(self._keep_channel(host, stop)) for host in self.hosts.values()]
                ticking = group.create_task(self._keep_ticking())
                await stop.wait()
                self.shut_down()
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        await self._drained.wait()
                for task in (*channels, ticking):
                    task.cancel()
        finally:
            self.shut_down()
            if self._trace is not None:
                self._trace.close()
        if self._refused is not None:
            raise self._refused

    async def _keep_ticking(self) -> None:
        due = self.clock.monotonic()
        while True:
            self.tick()
            due = max(due + TICK_S, self.clock.monotonic())
            await asyncio.sleep(due - self.clock.monotonic())

    async def _keep_channel(self, host: Host, stop: asyncio.Event) -> None:
        """The client reconnects by itself; only a permanent refusal comes up to here."""
        assert host.channel is not None
        while True:
            try:
                await host.channel.run()
            except Refusal as refusal:
                refused = refusal
            log.error("cp.refused", cp=host.cp_id, sentence=str(refused))
            if refused.code is RefuseCode.REVOKED:
                host.send(host.engine.revoked(host.now()))
            if len(self.hosts) == 1 and not host.was_up:
                self._refused = refused
                stop.set()
            await asyncio.sleep(refused_wait_s(refused))


def refused_wait_s(refusal: Refusal) -> float:
    """Seconds until a refused peer asks again: it may be registered, or reinstated, meanwhile. SPEC §5.3"""
    return REVOKED_S if refusal.code is RefuseCode.REVOKED else CAP_S


def connectors(count: int, min_w: int, max_w: int) -> list[ConnectorInfo]:
    """Equal connectors, numbered from 1."""
    return [ConnectorInfo(connector=number, min_w=min_w, max_w=max_w) for number in range(1, count + 1)]
