"""The simulation: repeatable, kept by the real code, and not blind: each promise is seen when it is broken."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evcharge.audit import replay as replay_module
from evcharge.audit.journal import Journal
from evcharge.audit.replay import TornTail
from evcharge.audit.segments import Segment
from evcharge.central.engine import Engine
from evcharge.domain import evolve as evolve_module
from evcharge.energy.leases import Lease
from tools.simulate.__main__ import cli
from tools.simulate.disk_runs import DiskRun
from tools.simulate.loop import Process, Stuck, VirtualLoop
from tools.simulate.machines import CentralMachine
from tools.simulate.network import Network, Wire
from tools.simulate.threads import GreenThreads
from tools.simulate.troubles import Troubles
from tools.simulate.world import Outcome, simulate

pytestmark = pytest.mark.tool
MINUTES = 2.0
SEEDS = range(300, 306)
# Seeds among which a planted fault has to show.
ENOUGH = 12


def run(seed: int, minutes: float = MINUTES) -> Outcome:
    return simulate(seed, minutes, troubles=Troubles)


# --- the whole system -------------------------------------------------------------------------------------------------


def test_every_promise_is_kept_and_every_run_can_be_repeated() -> None:
    outcomes = [run(seed) for seed in SEEDS]
    assert [outcome.sentences for outcome in outcomes if outcome.wrong] == []
    assert [run(seed).trace for seed in SEEDS] == [outcome.trace for outcome in outcomes]
    assert len({outcome.trace for outcome in outcomes}) == len(outcomes), "each seed is another run"
    assert all(outcome.tickets and outcome.acknowledgements > 100 for outcome in outcomes)
    happened = {kind for outcome in outcomes for kind in outcome.faults}
    assert {"central killed", "central without power", "line cut", "line dark", "unplugged"} <= happened


def test_another_interpreter_gives_the_same_run(tmp_path: Path) -> None:
    """Sets of it have another order, and its objects other addresses."""
    traces = []
    for number in ("1", "4242"):
        path = tmp_path / number
        command = ["system", "--seeds", "1", "--first", "300", "--minutes", str(MINUTES), "--trace", str(path)]
        environment = {**os.environ, "PYTHONHASHSEED": number}
        subprocess.run([sys.executable, "-m", "tools.simulate", *command], env=environment, check=True, timeout=100)
        traces.append(path.read_bytes())
    assert traces[0] == traces[1] and len(traces[0]) > 100_000


def told_before_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_hold", lambda _self, release: release())
    # On a slow disk, so that somebody dies in between.
    monkeypatch.setattr(CentralMachine, "_disk_time", lambda self, call: self.world.threads.sleep(0.2))


def nothing_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segment, "sync", lambda _self: None)


def the_worst_case_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "worst_w", lambda _self, _clock_ms: 0)


def outbox_positions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve_module, "outbox_was_lost", lambda *_: True)


@pytest.mark.parametrize(
    ("plant", "first", "minutes", "kinds"),
    [
        (told_before_durable, 1, MINUTES, {"lost", "lost_ticket", "rollback", "doubled", "stuck"}),
        (nothing_is_synced, 1, MINUTES, {"lost", "lost_ticket", "rollback", "crashed"}),
        (the_worst_case_is_ignored, 1, MINUTES, {"capacity"}),
        (outbox_positions_are_forgotten, 1, MINUTES, {"doubled", "lost", "stuck", "crashed"}),
    ],
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    first: int,
    minutes: float,
    kinds: set[str],
) -> None:
    plant(monkeypatch)
    found = next((outcome for seed in range(first, first + ENOUGH) if (outcome := run(seed, minutes)).wrong), None)
    assert found is not None and kinds & found.wrong.keys(), found


# --- the log on its disk ----------------------------------------------------------------------------------------------


def test_logs_keep_their_promises_on_any_disk() -> None:
    outcomes = [DiskRun(seed).run() for seed in range(150)]
    assert [outcome.wrong for outcome in outcomes if outcome.wrong] == []
    assert DiskRun(7).run().trace == outcomes[7].trace != outcomes[8].trace
    ends = {end for outcome in outcomes for end in outcome.ends}
    assert ends == {"power lost", "killed", "EIO", "ENOSPC", "closed"}
    assert sum(outcome.refused for outcome in outcomes) and sum(outcome.harmless for outcome in outcomes)


def every_bad_end_is_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = replay_module._judge

    def lenient(reader: Any, path: Path, seq: int, why: str, *, last: bool) -> Any:
        return TornTail(path, judge(reader, path, seq, why, last=last).offset, seq, why)

    monkeypatch.setattr(replay_module, "_judge", lenient)
    monkeypatch.setattr("evcharge.audit.attest.Attestor.judged", lambda _self, _last: None)


def it_writes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Journal._commit

    def stubborn(journal: Journal) -> Any:
        try:
            return commit(journal)
        except OSError:
            journal.durable = journal.last
            return [b""]

    monkeypatch.setattr(Journal, "_commit", stubborn)


@pytest.mark.parametrize("plant", [nothing_is_synced, every_bad_end_is_torn, it_writes_on_after_an_error])
def test_a_log_that_breaks_its_promise_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    assert any(DiskRun(seed).run().wrong for seed in range(300))


# --- by command -------------------------------------------------------------------------------------------------------


def test_sums_are_kept_and_shown(tmp_path: Path) -> None:
    state = str(tmp_path / "sums.json")
    once = CliRunner().invoke(cli, ["disk", "--seeds", "20", "--state", state, "--json"])
    assert once.exit_code == 0
    assert json.loads(once.stdout)["seeds"] == 20 and json.loads(once.stdout)["repeated"] == 1
    more = CliRunner().invoke(cli, ["disk", "--seeds", "40", "--state", state, "--processes", "2"])
    assert more.exit_code == 0 and "every promise kept" in more.stdout
    assert json.loads((tmp_path / "sums.json").read_bytes())["seeds"] == 40


def test_a_failing_seed_is_named_and_how_to_run_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_is_synced(monkeypatch)
    shown = CliRunner().invoke(cli, ["disk", "--seeds", "40", "--twice", "0"])
    assert shown.exit_code == 1
    assert (
        "again: python -m tools.simulate disk --seeds 1 --first" in shown.stderr and "broke a promise" in shown.stdout
    )


def test_misuse() -> None:
    assert CliRunner().invoke(cli, ["system", "--trace", "/nowhere/x"]).exit_code == 2
    assert CliRunner().invoke(cli, ["system", "--seeds", "0"]).exit_code == 2


# --- its parts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def loop() -> VirtualLoop:
    loop = VirtualLoop()
    loop.threads = GreenThreads(loop)
    loop.network = Network(loop, random.Random(1), lambda _line: None)
    return loop


def test_time_jumps_to_what_comes_next(loop: VirtualLoop) -> None:
    async def sleep() -> float:
        await asyncio.sleep(3_600)
        return loop.time()

    assert loop.run_until_complete(sleep()) == 4_600
    with pytest.raises(Stuck):
        loop.run_until_complete(loop.create_future())


def test_nothing_of_a_dead_process_runs(loop: VirtualLoop) -> None:
    said: list[str] = []
    process = Process("one", "10.0.0.1")

    async def one() -> None:
        try:
            said.append("begun")
            await asyncio.sleep(1)
            said.append("never")
        finally:
            said.append("not even that")

    async def whole() -> None:
        task = loop.create_task(one(), context=process.context())
        await asyncio.sleep(0.5)
        process.alive = False
        await asyncio.sleep(10)
        assert not task.done()

    loop.run_until_complete(whole())
    assert said == ["begun"]


class Ears(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = bytearray()
        self.pieces = 0
        self.lost: list[BaseException | None] = []
        self.wire: Wire | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Wire)
        self.wire = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.pieces += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.append(exc)


async def connected(loop: VirtualLoop) -> tuple[Ears, Ears]:
    server, client = Ears(), Ears()
    await loop.create_server(lambda: server, "127.0.0.1", 9)
    await loop.create_connection(lambda: client, "127.0.0.1", 9)
    return client, server


def test_a_stream_comes_in_order_and_in_other_pieces(loop: VirtualLoop) -> None:
    sent = bytes(range(256)) * 100

    async def whole() -> tuple[Ears, Ears]:
        client, server = await connected(loop)
        assert client.wire is not None
        for place in range(0, len(sent), 1_000):
            client.wire.write(sent[place : place + 1_000])
            await asyncio.sleep(0.001)
        client.wire.close()
        await asyncio.sleep(5)
        return client, server

    client, server = loop.run_until_complete(whole())
    assert bytes(server.heard) == sent and server.pieces > 5
    assert client.lost == server.lost == [None]


def test_a_dark_line_keeps_what_is_sent_and_a_cut_one_says_so(loop: VirtualLoop) -> None:
    async def whole() -> tuple[Ears, Ears]:
        client, server = await connected(loop)
        assert client.wire is not None
        line = loop.network.line("127.0.0.1", "127.0.0.1")
        line.dark = True
        client.wire.write(b"late")
        await asyncio.sleep(60)
        assert not server.heard
        with pytest.raises(TimeoutError):
            await loop.create_connection(Ears, "127.0.0.1", 9)
        line.dark = False
        await asyncio.sleep(2)
        assert server.heard == b"late"
        loop.network.cut("127.0.0.1", "127.0.0.1")
        await asyncio.sleep(2)
        return client, server

    client, server = loop.run_until_complete(whole())
    assert isinstance(client.lost[0], ConnectionResetError) and isinstance(server.lost[0], ConnectionResetError)


def test_a_bit_is_flipped_and_only_one(loop: VirtualLoop) -> None:
    async def whole() -> Ears:
        client, server = await connected(loop)
        assert client.wire is not None
        loop.network.line("127.0.0.1", "127.0.0.1").flips = 1
        client.wire.write(bytes(50))
        await asyncio.sleep(1)
        return server

    heard = loop.run_until_complete(whole()).heard
    assert len(heard) == 50 and sum(byte.bit_count() for byte in heard) == 1


def test_nobody_listens(loop: VirtualLoop) -> None:
    with pytest.raises(ConnectionRefusedError) as refused:
        loop.run_until_complete(loop.create_connection(Ears, "10.0.0.9", 1))
    assert refused.value.errno == errno.ECONNREFUSED


def test_threads_wait_for_each_other_and_for_time(loop: VirtualLoop) -> None:
    said: list[str] = []
    ready = loop.threads.condition()

    def body() -> None:
        with ready:
            assert ready.wait(60.0)
            said.append(f"woken at {loop.time():g}")
            assert not ready.wait(10.0)
            said.append(f"late at {loop.time():g}")

    async def whole() -> None:
        thread = loop.threads.start(body, "one")
        await asyncio.sleep(5)
        with ready:
            ready.notify()
        await loop.run_in_executor(None, thread.join)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)

    loop.run_until_complete(whole())
    assert said == ["woken at 1005", "late at 1015"]
    with pytest.raises(RuntimeError, match="cannot wait"):
        GreenThreads(loop).start(lambda: None, "two").join()
