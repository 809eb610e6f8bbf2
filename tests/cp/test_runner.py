"""The shell around engines and monitors: scripts exact on a fast clock, traces, refusals, a safe end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from evcharge.cp import monitor_runner, runner
from evcharge.cp.engine import EngineCore
from evcharge.cp.health import Check
from evcharge.cp.monitor import MonitorCore
from evcharge.cp.monitor_runner import MonitorHost, Watch
from evcharge.cp.runner import Fleet, Host, TraceFile, connectors, refused_wait_s
from evcharge.cp.script import Action, MonitorAction, Schedule
from evcharge.cp.vehicle import VehicleSpec
from evcharge.net.client import ChannelInfo, Refusal
from protocol.errors import RefuseCode
from protocol.messages import (
    Ack,
    Authorize,
    Fault,
    Health,
    Message,
    Outbox,
    Plugged,
    Recovery,
    StartSupply,
    Status,
    SupplyEnded,
    Unplugged,
)
from tests.cp.rig import CHANNEL_MS, SITE_MS, MemoryStore, of

INFO = ChannelInfo(fence=1, next_n=0, sid=bytes(16))


class HandClock:
    """Moves when told; site time runs ``speed`` times as fast."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self.seconds = 0.0

    def monotonic(self) -> float:
        return 50.0 + self.seconds

    def steady_ms(self) -> int:
        return SITE_MS + round(self.seconds * 1000)

    def site_ms(self) -> int:
        return SITE_MS + round(self.seconds * 1000 * self.speed)


class FakeChannel:
    """A client that a test opens and closes; acknowledges the outbox like Central."""

    def __init__(self, host: Host | MonitorHost, clock: HandClock) -> None:
        self.host = host
        self.clock = clock
        self.connected = False
        self.sent: list[Message] = []
        self.acks = True
        self.refusal: RefuseCode | None = None
        self.runs = 0
        self.running = asyncio.Event()
        self.on_sent: Callable[[], None] = lambda: None

    def send(self, message: Message) -> bool:
        if not self.connected:
            return False
        self.sent.append(message)
        self.on_sent()
        if self.acks and isinstance(message, Outbox):
            # As on a real loop: the answer comes later, not inside the call.
            asyncio.get_running_loop().call_soon(self.host.message, Ack(n=message.n))
        return True

    def channel_ms(self) -> int:
        return CHANNEL_MS + round(self.clock.seconds * 1000)

    def up(self) -> None:
        self.connected = True
        self.host.channel_up(INFO)

    async def run(self) -> None:
        self.runs += 1
        self.running.set()
        if self.refusal is not None:
            raise Refusal(self.refusal)
        await asyncio.Event().wait()


class Bench:
    """A fleet of charge points with fake channels."""

    def __init__(
        self, *names: str, speed: float = 1.0, actions: list[Action] | None = None, trace: TraceFile | None = None
    ) -> None:
        self.clock = HandClock(speed)
        self.stores = {name: MemoryStore() for name in names}
        self.hosts = []
        self.channels: dict[str, FakeChannel] = {}
        for name, store in self.stores.items():
            sink = None if trace is None else trace.sink(name)
            engine = EngineCore(connectors(1, 1_380, 7_360), store, Host.first_instant(self.clock), sink=sink)
            host = Host(name, engine, self.clock)
            host.channel = self.channels[name] = FakeChannel(host, self.clock)
            self.hosts.append(host)
        self.fleet = Fleet(self.clock, self.hosts, Schedule(actions or [], self.clock.site_ms()), trace)

    def wait(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.fleet.tick()

    def start(self, name: str, energy_wh: int | None = None) -> None:
        host, channel = self.fleet.hosts[name], self.channels[name]
        host.message(Authorize(command_id=1, fence=1, session_id=f"S-{name}", connector=1, energy_wh=energy_wh))
        host.message(
            StartSupply(
                command_id=2,
                fence=1,
                session_id=f"S-{name}",
                connector=1,
                limit_w=7_200,
                expires_ms=channel.channel_ms() + 10**8,
                fallback_w=1_380,
                reason="shared",
                valid_until_ms=channel.channel_ms() + 10_000,
            )
        )


def plug(name: str, at_ms: int, **vehicle: int) -> Action:
    return Action(cp_id=name, do="plug", at_ms=at_ms, vehicle=VehicleSpec(**vehicle))


async def test_a_scripted_departure_is_exact_however_fast_site_time_runs(tmp_path: Path) -> None:
    trace = TraceFile(tmp_path / "trace.jsonl")
    leaves_ms = SITE_MS + 1_000_000
    bench = Bench(
        "A",
        speed=1_200,
        actions=[plug("A", SITE_MS), Action(cp_id="A", do="unplug", at_ms=leaves_ms)],
        trace=trace,
    )
    channel = bench.channels["A"]
    channel.up()
    bench.wait(0)
    bench.start("A")
    # 1.2 s of wall time are 24 minutes of site time; the vehicle leaves after 16 min 40 s.
    bench.wait(1.2)
    (ended,) = of(SupplyEnded, channel.sent)
    assert (ended.at_ms, ended.meter_wh, ended.reason) == (leaves_ms, 2_000, "unplugged")
    assert of(Unplugged, channel.sent) == [Unplugged(connector=1)]
    assert bench.fleet.meters() == {"A": {"1": 2_000}}
    bench.fleet.tick()
    assert [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()] == [
        {"t": SITE_MS, "cp": "A", "c": 1, "w": 0},
        {"t": SITE_MS, "cp": "A", "c": 1, "w": 7_200},
        {"t": leaves_ms, "cp": "A", "c": 1, "w": 0},
    ]


async def test_what_was_due_happens_before_a_message_that_comes_later() -> None:
    bench = Bench("A", speed=1_200, actions=[plug("A", SITE_MS + 60_000)])
    bench.channels["A"].up()
    bench.clock.seconds += 0.09
    # No tick yet: the vehicle came 40 ms ago.
    bench.start("A")
    assert bench.hosts[0].engine.slots[0].running is not None


async def test_actions_of_all_kinds_reach_their_connector() -> None:
    actions = [
        Action(cp_id="A", do=do, after_s=number, code="hot")
        for number, do in enumerate(("plug", "fail", "recover", "emergency_stop", "unplug"), 1)
    ]
    bench = Bench("A", actions=actions)
    channel = bench.channels["A"]
    channel.up()
    for _ in actions:
        bench.wait(1)
    assert of(Plugged, channel.sent) == [Plugged(connector=1)]
    assert [status.error for status in of(Status, channel.sent)] == [None, "hot", None, "emergency_stop"]
    assert bench.fleet.health("A") == "emergency_stop"
    with pytest.raises(KeyError):
        bench.fleet.health("B")


async def test_a_lost_channel_is_told_to_its_engine_only() -> None:
    bench = Bench("A", "B")
    for channel in bench.channels.values():
        channel.up()
    bench.channels["A"].connected = False
    bench.hosts[0].channel_down("cut")
    assert [host.engine.online for host in bench.hosts] == [False, True]
    bench.hosts[0].channel = None
    bench.wait(1)


async def test_a_failed_disk_is_logged_once_and_its_return_too() -> None:
    bench = Bench("A", actions=[plug("A", SITE_MS)])
    bench.channels["A"].up()
    bench.wait(0)
    bench.start("A")
    with capture_logs() as logs:
        bench.stores["A"].fill_up()
        for _ in range(3):
            bench.wait(1)
        assert bench.fleet.health("A") == "storage_failed"
        bench.stores["A"].empty()
        bench.wait(1)
    assert [entry["event"] for entry in logs] == ["cp.storage_failed", "cp.storage_works_again"]
    assert logs[0]["sentence"] == "the disk is full"


async def test_a_planned_end_hands_over_the_final_meters(tmp_path: Path) -> None:
    trace = TraceFile(tmp_path / "trace.jsonl")
    bench = Bench("A", "B", actions=[plug("A", SITE_MS)], trace=trace)
    stop = asyncio.Event()
    task = asyncio.create_task(bench.fleet.run(stop))
    await bench.channels["B"].running.wait()
    bench.channels["A"].up()
    bench.start("A")
    bench.clock.seconds += 1_000
    stop.set()
    await task
    (ended,) = of(SupplyEnded, bench.channels["A"].sent)
    assert (ended.reason, ended.meter_wh) == ("engine_shutdown", 2_000)
    assert bench.fleet.draining() is False
    assert '"w":0' in (tmp_path / "trace.jsonl").read_text().splitlines()[-1]


async def test_a_planned_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "DRAIN_S", 0.01)
    bench = Bench("A", actions=[plug("A", SITE_MS)])
    channel = bench.channels["A"]
    channel.acks = False
    stop = asyncio.Event()
    task = asyncio.create_task(bench.fleet.run(stop))
    await channel.running.wait()
    channel.up()
    bench.start("A")
    stop.set()
    await task
    # Not acknowledged, and so still on disk for the next process.
    assert len(bench.stores["A"].saved.items) == 2
    assert bench.stores["A"].saved.running == {}


async def test_the_only_charge_point_that_is_refused_ends_the_process() -> None:
    bench = Bench("A")
    bench.channels["A"].refusal = RefuseCode.REVOKED
    with pytest.raises(Refusal, match="revoked"):
        await bench.fleet.run(asyncio.Event())


async def test_one_of_many_that_is_refused_asks_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "refused_wait_s", lambda refusal: 0.0)
    bench = Bench("A", "B")
    stop = asyncio.Event()
    task = asyncio.create_task(bench.fleet.run(stop))
    refused = bench.channels["A"]
    refused.refusal = RefuseCode.UNKNOWN
    await refused.running.wait()
    refused.running.clear()
    await refused.running.wait()
    assert bench.channels["B"].runs == 1
    stop.set()
    await task


def test_how_long_the_refused_wait() -> None:
    assert refused_wait_s(Refusal(RefuseCode.REVOKED)) == 3_600
    assert refused_wait_s(Refusal(RefuseCode.UNKNOWN)) == 60


# --- monitors -------------------------------------------------------------------------------------------------------


class FakeProbe:
    """Answers as the test says."""

    def __init__(self) -> None:
        self.answer = Check(ok=True)
        self.closed = False
        self.asked = asyncio.Event()

    async def check(self, cp_id: str, timeout_s: float) -> Check:
        self.asked.set()
        return self.answer

    async def close(self) -> None:
        self.closed = True


class WatchBench:
    def __init__(self, *names: str, actions: list[MonitorAction] | None = None) -> None:
        self.clock = HandClock()
        self.hosts = []
        self.channels = []
        for name in names:
            host = MonitorHost(MonitorCore(name), FakeProbe())  # type: ignore[arg-type] # the two calls that count
            host.channel = channel = FakeChannel(host, self.clock)
            self.hosts.append(host)
            self.channels.append(channel)
        self.watch = Watch(self.clock, self.hosts, Schedule(actions or [], self.clock.site_ms()))


async def test_a_monitor_reports_what_its_probe_says() -> None:
    bench = WatchBench("A")
    host, channel = bench.hosts[0], bench.channels[0]
    channel.up()
    await host.check()
    host.probe.answer = Check(ok=False, code="hot")
    await host.check()
    assert [type(message) for message in channel.sent if isinstance(message, Fault | Recovery)] == [Recovery, Fault]
    host.channel_down("cut")
    channel.connected = False
    await host.check()
    host.message(Ack())
    host.channel = None
    host.send([Recovery()])
    assert len(of(Health, channel.sent)) == 2


async def test_a_scripted_fault_begins_and_ends() -> None:
    actions = [
        MonitorAction(cp_id="A", do="fault", after_s=1, code="practice"),
        MonitorAction(cp_id="A", do="recover", after_s=2),
    ]
    bench = WatchBench("A", actions=actions)
    bench.channels[0].up()
    for second in range(3):
        bench.clock.seconds = second
        bench.watch.catch_up()
        await bench.hosts[0].check()
    told = [message for message in bench.channels[0].sent if isinstance(message, Fault | Recovery)]
    assert told == [Recovery(), Fault(code="practice"), Recovery()]


async def test_monitors_check_again_and_again_until_they_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_runner, "CHECK_S", 0.0)
    bench = WatchBench("A", "B")
    stop = asyncio.Event()
    task = asyncio.create_task(bench.watch.run(stop))
    for host in bench.hosts * 3:
        await host.probe.asked.wait()
        host.probe.asked.clear()
    stop.set()
    await task
    assert all(host.probe.closed for host in bench.hosts)


async def test_the_only_monitor_that_is_refused_ends_the_process_one_of_many_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = WatchBench("A")
    bench.channels[0].refusal = RefuseCode.WRONG_ROLE
    with pytest.raises(Refusal, match="another role"):
        await bench.watch.run(asyncio.Event())
    monkeypatch.setattr(monitor_runner, "refused_wait_s", lambda refusal: 0.0)
    bench = WatchBench("A", "B")
    channel = bench.channels[0]
    channel.refusal = RefuseCode.UNKNOWN
    stop = asyncio.Event()
    task = asyncio.create_task(bench.watch.run(stop))
    await channel.running.wait()
    channel.running.clear()
    await channel.running.wait()
    stop.set()
    await task
