"""``evcharge-events`` as a person meets it, and what it tells Prometheus; no broker is needed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from evcharge.cli.events import cli
from evcharge.events import metrics
from evcharge.events.metrics import EventsMetrics
from evcharge.events.parcels import MAX_MESSAGE_BYTES
from evcharge.events.settings import PublisherSettings, TopicSettings
from evcharge.events.tally import Tally
from evcharge.events.topics import POSITIONS_CONFIG, Topic, Topics, check_positions, events_config, remarks, unsafe
from evcharge.events.troubles import Board, Kind, Trouble
from evcharge.net.exposition import Address, Exposition
from evcharge.net.kafka import KafkaSettings
from evcharge.net.metrics import COMMON
from tests.metrics.support import Told
from tests.support.log_central import write_credential

BROKERS = ["--brokers", "127.0.0.1:1"]


def run(folder: Path, *words: str) -> Result:
    credential = write_credential(folder / "events.json")
    door = ["--credentials", str(credential), "--central", "127.0.0.1:1"]
    return CliRunner().invoke(cli, ["run", *door, *words])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--brokers", "nothing"], "brokers"),
        ([*BROKERS, "--topic", "a b"], "topic"),
        ([*BROKERS, "--topic", "same", "--positions-topic", "same"], "a topic each"),
        ([*BROKERS, "--log", "a/b"], "log_name"),
        ([*BROKERS, "--security", "SASL_SSL", "--username", "me"], "password_file or password_env"),
        ([*BROKERS, "--username", "me", "--password-env", "X"], "SASL_SSL asks for them"),
    ],
)
def test_misuse_is_one_sentence(tmp_path: Path, words: list[str], sentence: str) -> None:
    done = run(tmp_path, *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.output


def test_a_password_file_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    secure = ["--security", "SASL_PLAINTEXT", "--username", "me", "--password-file", str(tmp_path / "none")]
    done = run(tmp_path, *BROKERS, *secure)
    assert done.exit_code == 1
    assert "password_file" in done.output


def test_without_the_client_of_kafka_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    done = run(tmp_path, *BROKERS)
    assert done.exit_code == 1
    assert "pip install 'evcharge[kafka]'" in done.output


# --- topics -----------------------------------------------------------------------------------------------------------


def settings(**topics: int) -> PublisherSettings:
    return PublisherSettings(kafka=KafkaSettings(brokers=["x:1"]), topics=TopicSettings(**topics))


def test_what_was_made_as_asked_needs_no_remark() -> None:
    asked = settings(partitions=3, replication=2, retention_days=0)
    config = events_config(asked.topics)
    assert config["retention.ms"] == "-1"
    events = Topic(name="e", partitions=3, replication=2, config=config)
    positions = Topic(name="p", partitions=1, replication=2, config=POSITIONS_CONFIG)
    assert remarks(asked, events, positions) == []
    # Nobody can see that it is compacted: that is all that keeps records from being published again.
    hidden = msgspec.structs.replace(positions, config=None)
    (said,) = remarks(asked, events, hidden)
    assert "cleanup.policy=compact" in said


def test_what_differs_is_told() -> None:
    config = {"cleanup.policy": "compact", "retention.ms": "86400000", "max.message.bytes": "1000"}
    events = Topic(name="e", partitions=12, replication=1, config=config)
    said = remarks(
        settings(replication=3), events, Topic(name="p", partitions=1, replication=1, config=POSITIONS_CONFIG)
    )
    assert [sentence.split()[0] for sentence in said] == ["e", "e", "p", "e", "e", "e"]
    assert "12 partitions, not 6" in said[0]
    assert "1 days, not 7 days" in said[3]
    assert f"max.message.bytes={MAX_MESSAGE_BYTES}" in said[5]


@pytest.mark.parametrize(("partitions", "policy"), [(2, "compact"), (1, "delete"), (1, "compact,delete")])
def test_where_positions_would_be_lost_nothing_is_published(partitions: int, policy: str) -> None:
    with pytest.raises(Trouble, match="positions-topic"):
        check_positions(Topic(name="p", partitions=partitions, replication=1, config={"cleanup.policy": policy}))


def test_a_topic_with_too_few_replicas_in_sync_takes_nothing() -> None:
    positions = Topic(name="p", partitions=1, replication=3, config={"min.insync.replicas": "2"}, in_sync=2)
    for in_sync, config, refused in ((2, "2", False), (1, "2", True), (1, "1", False)):
        events = Topic(name="e", partitions=1, replication=3, config={"min.insync.replicas": config}, in_sync=in_sync)
        found = unsafe(Topics(events=events, positions=positions, remarks=[]))
        # With a single replica the brokers ask for one, whatever the setting says.
        alone = msgspec.structs.replace(events, replication=1, in_sync=1)
        assert unsafe(Topics(events=alone, positions=positions, remarks=[])) is None
        assert (found is not None) == refused
        assert found is None or (found.kind is Kind.KAFKA_UNSAFE and "1 replicas in sync" in found.sentence)


# --- telling ----------------------------------------------------------------------------------------------------------


def test_a_trouble_is_told_when_it_comes_changes_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    for sentence in ("no.", "no.", "no!", "no."):
        board.came(Trouble(Kind.KAFKA_REFUSED, sentence))
    board.came(Trouble(Kind.CENTRAL_AWAY, "neither."))
    assert len(board.troubles) == 2
    board.mended(central=False)
    board.mended(central=False)
    assert [each.kind for each in board.troubles] == [Kind.CENTRAL_AWAY]
    out = capsys.readouterr().out
    assert out.count("events.trouble") == 4
    assert out.count("events.mended") == 1
    assert board.counts == {"kafka_refused": 3, "central_away": 1}


async def test_metrics_are_as_declared() -> None:
    tally, board = Tally(), Board()
    tally.published_seq, tally.newest_seq = 3, 10
    tally.commit_s.observe(0.1)
    board.came(Trouble(Kind.KAFKA_AWAY, "away."))
    exposition = Exposition("events", Address("127.0.0.1", 0))
    numbers = EventsMetrics(tally, board, lambda: True)
    await exposition.start(numbers)
    try:
        told = Told(await exposition.text(numbers))
    finally:
        await exposition.close()
        await asyncio.sleep(0)
    assert told.differs([*metrics.TABLE, *COMMON]) == {}
    assert told.value("evcharge_events_lag_records") == 7
    assert told.value("evcharge_events_trouble", kind="kafka_away") == 1
    assert told.value("evcharge_events_trouble", kind="other_log") == 0
    assert set(told.by("evcharge_events_transactions_total", "outcome")) == {
        "committed",
        "failed",
        "fenced",
        "too_large",
    }
