"""``kill -9`` of the whole sidecar at random moments, with its requests on a topic."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kafka.authority.conftest import Topic
from tests.sidecar.authority.test_kills import LIMIT_S, survive
from tests.sidecar.conftest import one_database

# Each costs the time after which the group misses a member.
KILLS = int(os.environ.get("EVCHARGE_KILLS", 2))
SERVICES = """
[authority.kafka]
brokers = ["{address}"]
topic = "{topic}"
dead_topic = "{topic}.dlq"
group = "{group}"
partitions = {partitions}
session_s = 1.0
"""


@one_database
@pytest.mark.tool
@pytest.mark.timeout(LIMIT_S + 60)
async def test_whatever_is_acknowledged_is_decided_once_and_told(
    tmp_path: Path, database_url: str | None, topic: Topic
) -> None:
    chosen = topic.settings
    more = SERVICES.format(address=topic.address, topic=chosen.topic, group=chosen.group, partitions=chosen.partitions)
    decided = await survive(tmp_path, database_url, more, KILLS)
    assert set(await topic.requests()) == decided
    assert await topic.dead() == [], "what came again was known again"
