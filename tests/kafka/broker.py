"""A real Apache Kafka (KRaft, one node) on loopback, from jars that Maven fetches by name.

``python -m tests.kafka.broker`` (``make kafka``) runs one until Ctrl-C, for trying things out. Tests ask ``available``
first: where Java or Maven is missing they are skipped and say so; in CI that is a failure.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.support.ports import free_port

VERSION = "3.9.1"
HERE = Path(__file__).parent
# Jars are fetched once per machine, 46 MB.
JARS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evcharge" / f"kafka-{VERSION}"
# From the start of the process until it answers, in seconds: 2.5 on an idle machine.
START_S = 90.0
# From SIGTERM until it has gone, in seconds.
STOP_S = 30.0
LOOK_S = 0.1
# One name for all: a broker that is formatted anew is a new folder.
CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
# A broker for tests needs little, and shall start fast.
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")

# What a cluster of one can promise, and small tables, so that it starts fast.
ALONE = {
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # One that was killed is let in again when its session of before is over, after nine seconds otherwise.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "2",
}


class BrokerFailed(Exception):
    """It does not start; the text says why."""


def lacks() -> str | None:
    """What has to be installed first, as a sentence; None: nothing."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if not missing:
        return None
    return f"no {' and no '.join(missing)} here; apt install openjdk-17-jre-headless maven (make system-deps does it)"


def fetch_jars(jars: Path = JARS) -> Path:
    """The folder of the broker's class path, filled by Maven when it is first needed.

    Raises:
        BrokerFailed
    """
    jars.mkdir(parents=True, exist_ok=True)
    # Several workers may want them at once.
    with (jars / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (jars / "complete").exists():
            mvn = ["mvn", "-B", "-q", "-f", str(HERE / "pom.xml"), f"-Dkafka.version={VERSION}"]
            done = subprocess.run(
                [*mvn, f"-Dlibs={jars / 'libs'}", "dependency:copy-dependencies"],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode != 0:
                raise BrokerFailed(f"Maven cannot fetch Kafka's jars: {(done.stdout + done.stderr).strip()[-1500:]}")
            (jars / "complete").touch()
    return jars / "libs"


class Broker:
    """One broker with a folder of its own, which it finds again after ``kill`` and ``start``."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        formatting: Sequence[str] = (),
        protocol: str = "PLAINTEXT",
    ) -> None:
        """``properties`` win over those of here; ``formatting``: more words for the storage tool, users for example;
        ``protocol``: what clients speak, PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        """
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / "broker.log"
        self._libs = fetch_jars()
        self._protocol = protocol
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = folder / "server.properties"
        self._settings.write_text("".join(f"{k}={v}\n" for k, v in (self._own() | dict(properties or {})).items()))
        done = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", self._settings, *formatting],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise BrokerFailed(f"The broker's folder cannot be formatted: {(done.stdout + done.stderr)[-1500:]}")

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Of the running one."""
        return None if self._process is None else self._process.pid

    def launch(self) -> None:
        """Start it and do not wait."""
        assert self._process is None, "it runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java(), "kafka.Kafka", self._settings], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    async def start(self) -> None:
        """Start it and wait until it answers clients. Raises BrokerFailed."""
        self.launch()
        await self.wait_ready()

    async def wait_ready(self) -> None:
        """Until it answers; with SASL or TLS until it takes connections. Raises BrokerFailed."""
        try:
            async with asyncio.timeout(START_S):
                while not await self._answers():
                    if self._process is None or self._process.poll() is not None:
                        raise BrokerFailed(f"The broker ended: {self._said()}")
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise BrokerFailed(f"The broker did not answer in {START_S:g} s: {self._said()}") from None

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to one that does not listen."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It holds its connections and says nothing (SIGSTOP) until ``thaw``."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)

    async def _answers(self) -> bool:
        if self._protocol != "PLAINTEXT":
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return False
            writer.close()
            return True
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            admin = AIOKafkaAdminClient(bootstrap_servers=self.address, request_timeout_ms=2_000)
            await admin.start()
        except (OSError, KafkaError):
            return False
        try:
            await admin.list_topics()
        except (OSError, KafkaError):
            return False
        finally:
            await admin.close()
        return True

    def _own(self) -> dict[str, str]:
        control = free_port()
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{control}",
            "listeners": f"CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{control}",
            "advertised.listeners": f"CLIENTS://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENTS",
            "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,CLIENTS:{self._protocol}",
            "log.dirs": str(self.folder / "log"),
        } | ALONE

    def _java(self) -> list[str]:
        return ["java", *JVM, "-cp", f"{self._libs}/*", f"-Dlog4j.configuration=file:{HERE / 'log4j.properties'}"]

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else "it said nothing"


async def _run(port: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="evcharge-kafka-"))
    print(f"fetching Kafka {VERSION} into {JARS}, when it is not there", file=sys.stderr, flush=True)
    broker = Broker(folder, port=port)
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    try:
        await broker.start()
        print(f"Kafka {VERSION} at {broker.address}, its data in {folder}; Ctrl-C ends it", flush=True)
        await over.wait()
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run one broker on the port that is given, 9092 unless told otherwise."""
    lacking = lacks()
    if lacking is not None:
        sys.exit(f"error: {lacking}")
    try:
        asyncio.run(_run(int(sys.argv[1]) if len(sys.argv) > 1 else 9092))
    except BrokerFailed as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
