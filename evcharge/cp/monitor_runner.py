"""The asyncio shell around monitors: one task per monitor that checks, one client per monitor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from evcharge.cp.health import Probe
from evcharge.cp.monitor import CHECK_S, MonitorCore
from evcharge.cp.runner import Channel, refused_wait_s
from evcharge.cp.script import MonitorAction, Schedule
from evcharge.net.client import ChannelInfo, Refusal
from evcharge.net.clock import Clock
from protocol.messages import Message

# Seconds that one check may take: the next one is due after a second.
CHECK_TIMEOUT_S = 0.9

log = structlog.get_logger()


class MonitorHost:
    """One monitor in the process; the ``Listener`` of its client."""

    def __init__(self, core: MonitorCore, probe: Probe) -> None:
        self.core = core
        self.probe = probe
        self.channel: Channel | None = None
        self.was_up = False

    def channel_up(self, info: ChannelInfo) -> None:
        """Listener: a channel is ready."""
        log.info("monitor.connected", cp=self.core.cp_id, fence=info.fence)
        self.was_up = True
        self.send(self.core.on_channel_up())

    def channel_down(self, why: str) -> None:
        """Listener: the channel is gone."""
        log.info("monitor.disconnected", cp=self.core.cp_id, why=why)
        self.core.on_channel_down()

    def message(self, message: Message) -> None:
        """Listener: Central has nothing to say that a monitor acts on."""
        log.debug("monitor.message", cp=self.core.cp_id, type=type(message).__name__)

    def send(self, messages: Sequence[Message]) -> None:
        """Hand messages to the channel."""
        if self.channel is not None:
            for message in messages:
                self.channel.send(message)

    async def check(self) -> None:
        """One check and what follows from it."""
        before = self.core.verdict
        self.send(self.core.checked(await self.probe.check(self.core.cp_id, CHECK_TIMEOUT_S)))
        if self.core.verdict != before:
            log.info("monitor.verdict", cp=self.core.cp_id, verdict=self.core.verdict or "well")


class Watch:
    """All monitors of the process."""

    def __init__(self, clock: Clock, hosts: Sequence[MonitorHost], schedule: Schedule[MonitorAction]) -> None:
        self.clock = clock
        self.hosts = {host.core.cp_id: host for host in hosts}
        self._schedule = schedule
        self._refused: Refusal | None = None

    def catch_up(self) -> None:
        """Carry out what the script has for the time until now."""
        for _, action in self._schedule.due(self.clock.site_ms()):
            core = self.hosts[action.cp_id].core
            core.simulate(action.code if action.do == "fault" else None)
            log.info("monitor.action", cp=action.cp_id, do=action.do)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until ``stop``. Raises Refusal when the only monitor of the process is refused at first."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._keep_channel(host, stop)) for host in self.hosts.values()]
                tasks += [group.create_task(self._keep_checking(host)) for host in self.hosts.values()]
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            for host in self.hosts.values():
                await host.probe.close()
        if self._refused is not None:
            raise self._refused

    async def _keep_checking(self, host: MonitorHost) -> None:
        due = self.clock.monotonic()
        while True:
            self.catch_up()
            await host.check()
            due = max(due + CHECK_S, self.clock.monotonic())
            await asyncio.sleep(due - self.clock.monotonic())

    async def _keep_channel(self, host: MonitorHost, stop: asyncio.Event) -> None:
        """The client reconnects by itself; only a permanent refusal comes up to here."""
        assert host.channel is not None
        while True:
            try:
                await host.channel.run()
            except Refusal as refusal:
                refused = refusal
            log.error("monitor.refused", cp=host.core.cp_id, sentence=str(refused))
            if len(self.hosts) == 1 and not host.was_up:
                self._refused = refused
                stop.set()
            await asyncio.sleep(refused_wait_s(refused))
