"""``python -m tools.drill exactly-once``: SIGKILL publisher, broker and Central; each record is on the topic once.

A log of as many records as asked for is written with Central's own code, and a real Central serves it. A real broker
(``make kafka``) takes what a real publisher makes of it, while one of them after the other is killed, wherever it is.
Another client library reads what was committed, and at the end all of it is compared with the log, record by record.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import click

from evcharge.audit.files import OsFiles
from evcharge.audit.record import Record
from evcharge.audit.replay import replay
from tests.kafka.broker import Broker, BrokerFailed, lacks
from tools.daemon import Daemon, DaemonFailed
from tools.drill.crash_report import MISUSED, Outcome, Progress, Promise, none_of, spread
from tools.drill.topic_reader import Read, TopicReader, told_by
from tools.history.central import make
from tools.history.days import bodies
from tools.site import HOST, Site

TOPIC = "evcharge.events"
PARTITIONS = 6
# The kill comes within so many seconds after its record was seen: anywhere between two transactions.
WITHIN_S = 0.15
# Longest wait for the next record that is committed, seconds: a broker that was killed takes 3 to start.
STUCK_S = 120.0
LOOK_S = 0.02
# Who is killed; the one that the numbers do not come out even for is the publisher.
WHO = ("publisher", "broker", "central")


class Drill:
    """One run in ``folder``."""

    def __init__(self, folder: Path, *, events: int, kills: int, central_kills: int, seed: int) -> None:
        self._folder = folder
        self._events = events
        self._kills = kills
        self._central_kills = central_kills
        self._random = Random(seed)
        self._broker: Broker
        self._site: Site
        self._publisher: Daemon
        self._reader: TopicReader
        self._killed: Counter[str] = Counter()
        self._away_s: dict[str, list[float]] = {who: [] for who in WHO}

    async def run(self, progress: Progress) -> Outcome:
        """All of it. Raises BrokerFailed, DaemonFailed, OSError."""
        make(self._folder / "central", bodies(self._events, 1), lambda _text: None)
        self._broker = Broker(self._folder / "kafka")
        await self._broker.start()
        try:
            self._site = await Site.start(self._folder, central_args=["--metrics", "off"])
            try:
                return await self._publish(progress)
            finally:
                await self._site.close()
        finally:
            self._broker.stop()

    async def _publish(self, progress: Progress) -> Outcome:
        credential = self._folder / "events.json"
        credential.touch(0o600)
        credential.write_bytes(self._site.operator.to_json())
        await self._make_topics()
        self._reader = TopicReader(self._broker.address, TOPIC)
        self._reader.start(PARTITIONS)
        began_s = time.monotonic()
        await self._start_publisher()
        try:
            for number, who in enumerate(self._order(), start=1):
                await self._until(self._events * number // (self._kills + self._central_kills + 1), progress)
                await asyncio.sleep(self._random.uniform(0, WITHIN_S))
                await self._kill(who)
            newest = await self._until_all(progress)
            took_s = time.monotonic() - began_s
        finally:
            code = await self._publisher.stop()
            self._reader.close()
        # Now that nobody writes any more, another look at everything from the beginning, by who saw none of it.
        again, all_of_it = await self._whole(committed=True), await self._whole(committed=False)
        return self._outcome(newest, took_s, code, again, all_of_it)

    def _order(self) -> list[str]:
        order = [WHO[number % 2] for number in range(self._kills)] + ["central"] * self._central_kills
        self._random.shuffle(order)
        return order

    async def _kill(self, who: str) -> None:
        """SIGKILL, and start it again at once."""
        self._killed[who] += 1
        before, began_s = self._reader.read.messages, time.monotonic()
        if who == "broker":
            self._broker.kill()
            await self._broker.start()
        elif who == "central":
            await self._site.kill_central()
            await self._site.restart_central()
        else:
            await self._publisher.kill()
            await self._start_publisher()
        await self._more_than(before)
        self._away_s[who].append(time.monotonic() - began_s)

    async def _make_topics(self) -> None:
        log = self._folder / "topics.log"
        with log.open("wb") as stream:
            made = await asyncio.create_subprocess_exec(
                sys.executable, *self._command("topics"), stdout=stream, stderr=stream
            )
        if await made.wait() != 0:
            raise DaemonFailed(f"No topics: {log.read_text()[-1_000:]}")

    async def _start_publisher(self) -> None:
        self._publisher = await Daemon.start("publisher", self._command("run"), self._folder / "publisher.log")

    def _command(self, verb: str) -> list[str]:
        kafka = ["--brokers", self._broker.address, "--topic", TOPIC, "--partitions", str(PARTITIONS)]
        if verb == "topics":
            return ["-m", "evcharge.cli.events", "topics", *kafka]
        central = ["--central", f"{HOST}:{self._site.port}", "--credentials", str(self._folder / "events.json")]
        return ["-m", "evcharge.cli.events", "run", *kafka, *central, "--metrics", "off"]

    async def _until(self, seq: int, progress: Progress) -> None:
        while self._reader.read.newest < seq:
            await self._more_than(self._reader.read.messages)
            progress.say(self._reader.read.messages, f"killed {dict(self._killed)}")

    async def _until_all(self, progress: Progress) -> int:
        """Until everything that Central has written is committed; the newest."""
        while True:
            newest = self._newest()
            await self._until(newest, progress)
            if newest == self._newest():
                return newest

    async def _whole(self, *, committed: bool) -> Read:
        reader = TopicReader(self._broker.address, TOPIC, committed=committed)
        reader.start(PARTITIONS)
        try:
            end_s = time.monotonic() + STUCK_S
            while not reader.at_the_end:
                reader.check()
                if time.monotonic() > end_s:
                    raise DaemonFailed(f"The topic was not read to its end in {STUCK_S:g} s.")
                await asyncio.sleep(LOOK_S)
        finally:
            reader.close()
        return reader.read

    async def _more_than(self, messages: int) -> None:
        end_s = time.monotonic() + STUCK_S
        while self._reader.read.messages <= messages:
            self._reader.check()
            if time.monotonic() > end_s:
                raise DaemonFailed(f"Nothing was committed for {STUCK_S:g} s.{self._publisher.tail()}")
            if messages >= self._events:
                # There need not be any more.
                return
            await asyncio.sleep(LOOK_S)

    def _newest(self) -> int:
        return max((record.seq for record in self._log()), default=0)

    def _log(self) -> list[Record]:
        return [one for one in replay(self._folder / "central" / "log", OsFiles()) if isinstance(one, Record)]

    def _outcome(self, newest: int, took_s: float, code: int, again: Read, all_of_it: Read) -> Outcome:
        """What was promised beside what came."""
        read = self._reader.read
        same = all(again.times[seq] == count for seq, count in read.times.items())
        given_up = all_of_it.messages - again.messages
        whole = {record.seq: told_by(record.body) for record in self._log()}
        # Central goes on writing: what came behind the last look is on its way.
        log = {seq: said for seq, said in whole.items() if seq <= newest}
        return Outcome(
            drill="each record on the topic exactly once",
            promises=[
                none_of("records that are not there", sum(seq not in again.times for seq in log)),
                none_of("records that are there more than once", sum(count > 1 for count in again.times.values())),
                none_of("records that are not in the log", sum(seq not in whole for seq in again.times)),
                none_of("records that say something else", sum(again.bodies.get(seq) != log[seq] for seq in log)),
                none_of("out of order in their key, keys in two partitions, wrong headers", again.wrong.total()),
                none_of("… by who read on while it went on", read.wrong.total()),
                Promise("who read on while it went on saw", "the same", f"{read.messages:,}", same),
                Promise("the publisher's end", "0", str(code), code == 0),
            ],
            figures={
                "records": newest,
                "keys": len(again.partitions),
                # Not a promise: records are on the topic and not committed for a few milliseconds of a transaction, so
                # it is chance whether one of twenty kills comes then.
                "records of transactions that were cut short": given_up,
                "killed": dict(self._killed),
                "from the kill to the next committed record, s": {who: spread(self._away_s[who]) for who in WHO},
                "seconds": round(took_s, 1),
                "records a second, kills included": round(newest / took_s),
            },
            problems=[*read.sentences, *again.sentences],
        )


@click.command("exactly-once")
@click.option("--events", type=click.IntRange(100, 10_000_000), default=100_000, help="Records in Central's log.")
@click.option("--kills", type=click.IntRange(0, 1_000), default=20, help="Of publisher and broker, in turns.")
@click.option("--central-kills", type=click.IntRange(0, 1_000), default=4, help="Of Central, beside those.")
@click.option("--seed", type=int, default=1, help="Of the moments and their order.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def command(events: int, kills: int, central_kills: int, seed: int, as_json: bool) -> None:
    """Kill publisher, broker and Central while events go to Kafka: none is lost, none comes twice."""
    lacking = lacks()
    if lacking is not None:
        click.echo(f"error: {lacking}", err=True)
        raise SystemExit(MISUSED)
    folder = Path(tempfile.mkdtemp(prefix="exactly-once-"))
    progress = Progress("records on the topic", events)
    drill = Drill(folder, events=events, kills=kills, central_kills=central_kills, seed=seed)
    try:
        outcome = asyncio.run(drill.run(progress))
    except (BrokerFailed, DaemonFailed, OSError) as error:
        raise click.ClickException(f"{error} (everything is in {folder})") from error
    finally:
        progress.end()
    outcome.show(as_json=as_json)
    if outcome.kept:
        shutil.rmtree(folder)
    else:
        click.echo(f"Log, topic and what was said are in {folder}.", err=True)
    outcome.exit()
