"""``kill -9`` at random moments: what was acknowledged is decided exactly once, and its callback arrives.

``EVCHARGE_KILL_REQUESTS=1000 EVCHARGE_KILLS=20 pytest -s`` is the run whose figures are published; the suite has a
smaller one. What is killed is the whole sidecar, as an operator starts it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import random
import resource
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from evcharge.net.clock import SystemClock
from evcharge.sidecar.authority.signing import parse_secrets
from evcharge.sidecar.bootstrap import initialise
from tests.support.processes import Timeline, _die_with_the_test

REQUESTS = int(os.environ.get("EVCHARGE_KILL_REQUESTS", 150))
KILLS = int(os.environ.get("EVCHARGE_KILLS", 4))
# Requests on their way at once: transactions, decisions and callbacks are always under way when it dies.
AT_ONCE = 8
# Of all requests, those whose first callback is answered with 503, so that retries are killed too.
FAILING = 0.2
# Longest time from a fact to the kill, in seconds: a few transactions, so that it falls anywhere within one.
LATEST_S = 0.02
# Longest time for everything, and from the last kill to the last callback, in seconds.
LIMIT_S = 240
TOLD_S = 30
# Retries come within the test's time, and all callbacks go to one host here.
SERVICES = """
[throttle]
authority = 1000000
[authority]
retry_base_s = 0.1
deliveries_per_host = 16
[outgoing]
allow_targets = ["{receiver}"]
"""
ROOT = Path(__file__).parents[3]
STATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
ALLOWED, OTHER = "a-token-on-the-list-of-it", "a-token-that-nobody-knows"


class Facts:
    """What the outside has seen."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.acknowledged: dict[str, str] = {}
        """Request → token."""
        self.unanswered = 0
        """Posts whose answer the kill took: they may have been accepted or not."""
        self.callbacks: defaultdict[str, list[str]] = defaultdict(list)
        """Request → statuses that arrived."""
        self.failed: set[str] = set()
        self.secret = b""
        """With which callbacks are signed."""
        self._changed = asyncio.Condition()

    @property
    def count(self) -> int:
        return len(self.acknowledged) + sum(map(len, self.callbacks.values()))

    async def until(self, fact: Any) -> None:
        async with self._changed:
            await self._changed.wait_for(fact)

    async def note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def receive(self, request: web.Request) -> web.Response:
        raw = await request.read()
        head = request.headers
        content = b".".join((head["webhook-id"].encode(), head["webhook-timestamp"].encode(), raw))
        signature = base64.b64encode(hmac.digest(self.secret, content, hashlib.sha256)).decode()
        body = msgspec.json.decode(raw)
        assert head["webhook-signature"] == f"v1,{signature}" and head["webhook-id"] == body["request_id"]
        name = body["request_id"]
        first = name not in self.callbacks
        self.callbacks[name].append(body["status"])
        await self.note()
        if first and self.random.random() < FAILING:
            self.failed.add(name)
            return web.Response(status=503)
        return web.Response(status=204)


class Sidecar:
    """The process, and its next life."""

    def __init__(self, directory: Path, receiver: str, database_url: str | None, more: str) -> None:
        self.directory = directory
        self.receiver = receiver
        self.database_url = database_url
        self.registry = directory / "registry"
        services = directory / "services.toml"
        services.write_text(SERVICES.format(receiver=receiver) + more)
        self._command = [sys.executable, "-m", "evcharge.cli.sidecar", "run", "--data-dir", str(self.registry)]
        self._command += ["--port", "0", "--services", str(services)]
        self.up = asyncio.Event()
        self.url = ""
        self.lives = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.lives += 1
        with (self.directory / f"log.{self.lives}").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment()},
                preexec_fn=_die_with_the_test,
            )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, (self.directory / f"log.{self.lives}").read_text()[-2000:]
        self.url = msgspec.json.decode(line)["url"]
        self.up.set()

    def _environment(self) -> dict[str, str]:
        return {} if self.database_url is None else {"EVCHARGE_DATABASE_URL": self.database_url}

    @property
    def secret(self) -> bytes:
        """What its callbacks are signed with."""
        return parse_secrets((self.registry / "authority" / "callback.secret").read_text())[0]

    async def kill(self) -> None:
        assert self._process is not None and self._process.returncode is None, "it died by itself"
        self.up.clear()
        self._process.kill()
        await self._process.wait()

    def decided(self) -> Counter[str]:
        """How often each life's log says that a request was decided."""
        counts: Counter[str] = Counter()
        for path in self.directory.glob("log.*"):
            for line in path.read_bytes().splitlines():
                entry = msgspec.json.decode(line)
                if entry["event"] == "authority.decided":
                    counts[entry["request_id"]] += 1
        return counts


async def post(session: aiohttp.ClientSession, sidecar: Sidecar, facts: Facts) -> None:
    """Until as many are acknowledged as are wanted."""
    while len(facts.acknowledged) < REQUESTS:
        await sidecar.up.wait()
        token = facts.random.choice((ALLOWED, OTHER))
        body = {"station_id": STATION, "driver_token": token, "callback_url": f"http://{sidecar.receiver}/hook"}
        try:
            async with session.post(f"{sidecar.url}/api/chargingRequestValidator/", json=body) as answer:
                said = await answer.json()
                assert answer.status == 202, said
        except (aiohttp.ClientError, OSError):
            facts.unanswered += 1
            continue
        facts.acknowledged[said["request_id"]] = token
        await facts.note()


async def kill(sidecar: Sidecar, facts: Facts, kills: int) -> None:
    """At random moments, all of them while there is work: each request is two facts at least."""
    for _ in range(kills):
        after = facts.count + facts.random.randint(1, max(1, int(1.8 * REQUESTS / kills)))
        try:
            async with asyncio.timeout(TOLD_S):
                await facts.until(lambda after=after: facts.count >= after)
        except TimeoutError:
            # Something was lost; what it was is said at the end.
            return
        await asyncio.sleep(facts.random.random() * LATEST_S)
        await sidecar.kill()
        await sidecar.start()


async def logged(session: aiohttp.ClientSession, sidecar: Sidecar) -> list[dict[str, Any]]:
    """The whole log."""
    entries: list[dict[str, Any]] = []
    more = ""
    while True:
        async with session.get(f"{sidecar.url}/api/getrequestlog/?limit=100{more}") as answer:
            page = await answer.json()
        entries += page["entries"]
        if page["next"] is None:
            return entries
        more = f"&before={page['next']}"


@pytest.mark.process
@pytest.mark.tool
@pytest.mark.timeout(LIMIT_S + 60)
async def test_whatever_is_acknowledged_is_decided_once_and_told(tmp_path: Path, database_url: str | None) -> None:
    await survive(tmp_path, database_url)


async def survive(tmp_path: Path, database_url: str | None, more: str = "", kills: int = KILLS) -> set[str]:
    """Requests, kills, and what has to be true after them; ``more`` settings than those of here. Who was decided, which
    a life that is killed right behind its decision has not written into its log.
    """
    seed = random.SystemRandom().getrandbits(32)
    timeline = Timeline(f"{REQUESTS} requests, {kills} kills, seed {seed}")
    facts = Facts(seed)
    app = web.Application()
    app.router.add_post("/hook", facts.receive)
    began, used, before = time.monotonic(), time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    where = tmp_path / "registry"
    url = "http://127.0.0.1:8080"
    await initialise(where, url, clock=SystemClock(), entropy=os.urandom, database_url=database_url)
    token = {"Authorization": f"Bearer {(where / 'operator.token').read_text().strip()}"}
    async with (
        TestServer(app) as receiver,
        aiohttp.ClientSession(headers=token) as session,
        asyncio.timeout(LIMIT_S),
    ):
        sidecar = Sidecar(tmp_path, f"127.0.0.1:{receiver.port}", database_url, more)
        await sidecar.start()
        facts.secret = sidecar.secret
        pair = {"station_id": STATION, "driver_token": ALLOWED}
        async with session.post(f"{sidecar.url}/api/insertACL/", json=pair) as answer:
            assert answer.status == 201
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(post(session, sidecar, facts))
            tasks.create_task(kill(sidecar, facts, kills))
        timeline.say(f"{len(facts.acknowledged)} acknowledged, {facts.unanswered} posts without an answer")
        try:
            async with asyncio.timeout(TOLD_S):
                await facts.until(lambda: set(facts.acknowledged) <= set(facts.callbacks))
        except TimeoutError:
            pytest.fail(f"{len(set(facts.acknowledged) - set(facts.callbacks))} acknowledged ones were never told")
        entries = await logged(session, sidecar)
        while any(entry["callback"] == "pending" for entry in entries):
            entries = await logged(session, sidecar)
        await sidecar.kill()
    named = Counter(entry["request_id"] for entry in entries)
    by_name = {entry["request_id"]: entry for entry in entries}
    decided = sidecar.decided()
    told = sum(map(len, facts.callbacks.values()))
    again = told - len(facts.callbacks)
    timeline.say(f"{len(entries)} stored, {len(entries) - len(facts.acknowledged)} of them never acknowledged")
    timeline.say(f"{told} callbacks, {again} of them again ({len(facts.failed)} after a 503, the others after a kill)")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    theirs = children.ru_utime + children.ru_stime - before.ru_utime - before.ru_stime
    here = time.process_time() - used
    timeline.say(f"{time.monotonic() - began:.1f} s; CPU: {here:.1f} s here, {theirs:.1f} s in {sidecar.lives} lives")
    assert sidecar.lives == kills + 1
    assert set(named.values()) == {1}
    for name, token in facts.acknowledged.items():
        entry = by_name[name]
        assert entry["status"] == ("allowed" if token == ALLOWED else "not_allowed")
        assert entry["callback"] == "delivered"
    for name, statuses in facts.callbacks.items():
        assert set(statuses) == {by_name[name]["status"]}, "all that was told is the one decision"
    assert set(decided.values()) == {1}, "no life decided what another had decided"
    assert set(decided) <= set(by_name)
    return set(by_name)
