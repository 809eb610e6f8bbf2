"""The settings file of compose.yaml's Kafka: a real broker formats its folder with it, and does transactions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.kafka.conftest import MakeBroker
from tests.support.ports import free_port

FILE = Path(__file__).parents[2] / "deploy" / "compose" / "kafka.properties"


def settings() -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in FILE.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if line)


@pytest.mark.timeout(180)
async def test_a_broker_runs_with_it(make_broker: MakeBroker, tmp_path: Path) -> None:
    client, control = free_port(), free_port()
    # Only where it is reached and where it writes is another: here there is neither that network nor that volume.
    moved = {
        "listeners": f"CLIENTS://127.0.0.1:{client},CONTROLLER://localhost:{control}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{client}",
        "controller.quorum.voters": f"1@localhost:{control}",
        "log.dirs": str(tmp_path / "data"),
    }
    assert set(moved) <= set(settings())
    broker = make_broker(port=client)
    (broker.folder / "server.properties").write_text(
        "".join(f"{name}={value}\n" for name, value in (settings() | moved).items())
    )
    # As the container does at each start; a volume that was formatted before is left as it is.
    for _ in range(2):
        tool = [*broker._java(), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        words = [*tool, "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--config", str(broker.folder / "server.properties")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    await broker.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("evcharge.events", num_partitions=3, replication_factor=1)])
    finally:
        await admin.close()
    async with (
        AIOKafkaProducer(bootstrap_servers=broker.address, transactional_id="events") as producer,
        producer.transaction(),
    ):
        sent = await producer.send_and_wait("evcharge.events", b"one", partition=1)
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.address, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        place = TopicPartition("evcharge.events", 1)
        consumer.assign([place])
        consumer.seek(place, sent.offset)
        assert (await consumer.getone(place)).value == b"one"
