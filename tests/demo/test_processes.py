"""Children of the demo: real processes, small ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from evcharge.demo.processes import Child, ChildFailed, Crew

pytestmark = pytest.mark.process

# A daemon as all of ours are: ready line, work, one JSON line at its end. What it does is its first argument.
DAEMON = """
import json, os, signal, sys, threading
kind = sys.argv[1]
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: None if kind == "stubborn" else stop.set())
if kind == "crash":
    print("first line", file=sys.stderr)
    sys.exit("error: the port 1 is in use")
print("not json")
seen = {"mine": os.environ.get("EVCHARGE_X"), "home": "HOME" in os.environ}
print(json.dumps({"ready": "daemon", "pid": os.getpid(), **seen}), flush=True)
if kind == "dies":
    print("it hurts", file=sys.stderr)
    sys.exit(3)
if kind == "finishes":
    print(json.dumps({"done": 1}))
    sys.exit(0)
stop.wait()
print(json.dumps({"meters": {"A": 5}}))
"""


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "small_daemon.py").write_text(DAEMON)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("EVCHARGE_X", "meant for another daemon")
    return "small_daemon"


@pytest.fixture
async def crew(tmp_path: Path, daemon: str) -> AsyncIterator[Crew]:
    async with Crew(tmp_path) as crew:
        yield crew


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def started(crew: Crew, kind: str, name: str = "daemon") -> Child:
    child = await crew.spawn(name, "small_daemon", [kind])
    await child.wait_ready()
    return child


async def test_a_child_says_ready_works_and_stops_on_sigterm(crew: Crew) -> None:
    child = await started(crew, "works")
    assert child.ready["pid"] == child.pid
    assert child.returncode is None
    assert await child.stop() == 0
    assert child.lines == [{"meters": {"A": 5}}]


async def test_settings_for_the_users_own_daemons_do_not_reach_it(crew: Crew) -> None:
    child = await started(crew, "works")
    assert (child.ready["mine"], child.ready["home"]) == (None, True)


async def test_a_child_that_ends_before_it_is_ready_is_reported_with_its_last_lines(crew: Crew) -> None:
    child = await crew.spawn("central", "small_daemon", ["crash"])
    with pytest.raises(ChildFailed, match=r"central ended with exit code 1") as caught:
        await child.wait_ready()
    assert "error: the port 1 is in use" in str(caught.value)
    assert "central.log" in str(caught.value)


async def test_a_child_that_stays_silent_is_reported(crew: Crew) -> None:
    child = await crew.spawn("silent", "asyncio", [])
    with pytest.raises(ChildFailed, match=r"silent"):
        await child.wait_ready(timeout_s=0.01)


async def test_a_death_is_noticed_and_an_ordered_stop_is_not_one(crew: Crew) -> None:
    quiet = await started(crew, "works", "quiet")
    await quiet.stop()
    done = await crew.spawn("done", "small_daemon", ["finishes"], finishes=True)
    assert await done.wait() == 0
    child = await started(crew, "dies", "unlucky")
    assert await crew.first_death() is child
    assert "unlucky ended with exit code 3" in child.obituary()
    assert "it hurts" in child.obituary()


async def test_one_that_finishes_by_itself_where_it_should_serve_is_a_death(crew: Crew) -> None:
    child = await crew.spawn("done", "small_daemon", ["finishes"])
    assert await crew.first_death() is child


async def test_a_killed_child_is_named_with_the_signal(crew: Crew) -> None:
    child = await started(crew, "works")
    os.kill(child.pid, signal.SIGKILL)
    assert await crew.first_death() is child
    assert "was killed by SIGKILL" in child.obituary()
    assert "(nothing)" in child.obituary()


async def test_a_child_that_ignores_sigterm_is_killed(crew: Crew) -> None:
    child = await started(crew, "stubborn")
    assert await child.stop(grace_s=0.05) == -signal.SIGKILL


async def test_a_log_that_cannot_be_read_is_no_obstacle(crew: Crew, tmp_path: Path) -> None:
    child = await started(crew, "works")
    (tmp_path / "daemon.log").unlink()
    await child.stop()
    assert child.obituary().endswith("(nothing)")


async def test_run_gives_what_was_printed_or_fails(crew: Crew) -> None:
    assert {"done": 1} in await crew.run("once", "small_daemon", ["finishes"])
    with pytest.raises(ChildFailed, match="twice ended with exit code 1"):
        await crew.run("twice", "small_daemon", ["crash"])


async def test_nothing_survives_the_block_even_when_it_fails(tmp_path: Path, daemon: str) -> None:
    pids = []
    with pytest.raises(RuntimeError):
        async with Crew(tmp_path) as crew:
            pids = [(await started(crew, "works", name)).pid for name in ("a", "b")]
            raise RuntimeError
    assert pids and not any(alive(pid) for pid in pids)


async def test_a_log_folder_that_is_gone_is_one_sentence(tmp_path: Path, daemon: str) -> None:
    async with Crew(tmp_path / "gone") as crew:
        with pytest.raises(ChildFailed, match="cannot start daemon: No such file"):
            await crew.spawn("daemon", "small_daemon", ["works"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's promise is Linux's")
async def test_children_end_when_the_demo_itself_is_killed(tmp_path: Path, daemon: str) -> None:
    demo = f"""
import asyncio
from pathlib import Path
from evcharge.demo.processes import Crew

async def main():
    async with Crew(Path({str(tmp_path)!r})) as crew:
        child = await crew.spawn("daemon", "small_daemon", ["works"])
        await child.wait_ready()
        print(child.pid, flush=True)
        await child.wait()

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", demo, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    handle = os.pidfd_open(pid)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(handle, gone.set)
    try:
        process.kill()
        await process.wait()
        await asyncio.wait_for(gone.wait(), 30)
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)
