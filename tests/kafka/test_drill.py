"""``python -m tools.drill exactly-once`` for a few kills; the whole of it is for a person."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.broker import Broker
from tools.drill.topic_reader import Read

# A few kills on a busy machine, seconds.
DRILL_S = 240


@pytest.mark.tool
@pytest.mark.timeout(DRILL_S + 30)
def test_a_few_kills(broker: Broker) -> None:
    # The drill starts a broker of its own; that of the tests says whether one can be had here.
    assert broker.pid is not None
    order = ["exactly-once", "--events", "3000", "--kills", "2", "--central-kills", "1", "--seed", "7", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tools.drill", *order],
        capture_output=True,
        text=True,
        timeout=DRILL_S,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["kept"] and said["figures"]["records"] >= 3_000
    assert said["figures"]["killed"] == {"publisher": 1, "broker": 1, "central": 1}


def message(read: Read, seq: int, key: bytes = b"CP-1", partition: int = 0, schema: str = "evcharge.x") -> None:
    value = json.dumps({"seq": seq, "kind": "x", "data": {}}).encode()
    read.take(key, partition, {"seq": str(seq).encode(), "schema": schema.encode()}, value)


def test_a_reader_sees_what_is_wrong() -> None:
    read = Read()
    for seq in (1, 2, 2, 5):
        message(read, seq)
    message(read, 4)
    message(read, 6, partition=1)
    message(read, 7, key=b"CP-2", schema="evcharge.y")
    assert read.messages == 7 and read.newest == 7
    assert read.times[2] == 2 and read.times[3] == 0
    assert read.wrong == {"order": 2, "partition": 1, "headers": 1}
