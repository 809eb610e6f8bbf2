"""The table ``[authority.kafka]``: what it refuses, and with which sentence."""

from __future__ import annotations

import builtins
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from evcharge.sidecar.assembly import KEYS, Assembled, Outside, assemble
from evcharge.sidecar.authority.tables import queue_table
from evcharge.sidecar.bootstrap import initialise, open_registry
from evcharge.sidecar.database import Database
from evcharge.sidecar.layout import LAYOUT, STEPS
from evcharge.sidecar.services import BadServices, Services, load_services
from tests.sidecar.authority.test_kafka_fate import DATA, ONE
from tests.sidecar.conftest import HandClock

TABLE = '[authority.kafka]\nbrokers = ["127.0.0.1:9092"]\n'
SASL = 'security = "SASL_SSL"\nusername = "evcharge"\n'


def read(tmp_path: Path, more: str = "") -> Services:
    file = tmp_path / "services.toml"
    file.write_text(TABLE + more)
    return load_services(file)


def test_the_brokers_are_all_it_needs(tmp_path: Path) -> None:
    kafka = read(tmp_path).authority.kafka
    assert kafka is not None
    assert (kafka.topic, kafka.dead_topic, kafka.partitions) == ("charging_requests", "charging_requests.dlq", 6)
    assert Services().authority.kafka is None


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('topic = "a b"', "authority.kafka.topic"),
        ('dead_topic = "charging_requests"', "topic and dead_topic have to be two"),
        ("partitions = 0", "authority.kafka.partitions"),
        ('username = "x"', "no use with security PLAINTEXT"),
        (SASL, "needs username, and password_file or password_env"),
        ("colour = 1", "colour"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(tmp_path: Path, more: str, sentence: str) -> None:
    with pytest.raises(BadServices, match=sentence):
        read(tmp_path, more)


def test_a_port_that_is_none_is_said(tmp_path: Path) -> None:
    file = tmp_path / "services.toml"
    file.write_text(TABLE.replace("9092", "99999"))
    with pytest.raises(BadServices, match=r"authority\.kafka: 127\.0\.0\.1:99999 has no port"):
        load_services(file)


async def assembled(tmp_path: Path, signing_keys: Path, services: Services) -> Assembled:
    directory = tmp_path / "registry"
    clock = HandClock()
    await initialise(directory, "http://127.0.0.1:8080", clock=clock, entropy=os.urandom)
    shutil.copytree(signing_keys, directory / KEYS)
    opened = await open_registry(directory, clock=clock, entropy=os.urandom)
    try:
        return assemble(
            directory, opened, clock=clock, entropy=os.urandom, services=services, outside=Outside(environ={})
        )
    finally:
        await opened.store.close()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('password_env = "NOT_SET"', "The environment variable NOT_SET has no password in it"),
        ('password_file = "/nowhere/password"', "Cannot read password_file /nowhere/password: No such file"),
    ],
)
async def test_a_password_that_is_not_there_is_a_sentence(
    tmp_path: Path, signing_keys: Path, more: str, sentence: str
) -> None:
    with pytest.raises(BadServices, match=f"authority.kafka: {sentence}"):
        await assembled(tmp_path, signing_keys, read(tmp_path, SASL + more))


async def test_without_its_client_it_says_what_to_install(
    tmp_path: Path, signing_keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def lacking(name: str, *more: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "aiokafka":
            raise ModuleNotFoundError("No module named 'aiokafka'", name="aiokafka")
        return real(name, *more, **named)

    ours = ("evcharge.net.kafka_client", "evcharge.sidecar.authority.kafka.queue")
    for module in [name for name in sys.modules if name.partition(".")[0] == "aiokafka" or name in ours]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(BadServices, match=r"needs the package aiokafka: pip install 'evcharge\[kafka\]'"):
        await assembled(tmp_path, signing_keys, read(tmp_path))


async def test_health_and_metrics_say_that_there_are_brokers(tmp_path: Path, signing_keys: Path) -> None:
    made = await assembled(tmp_path, signing_keys, read(tmp_path))
    (operation,) = [one for one in made.concerns if "health" in one.handlers()]
    answer = await operation.handlers()["health"](None)  # type: ignore[arg-type]
    assert answer.body.kafka == "disconnected"
    families = {one.name: [sample.value for sample in one.samples] for one in made.metrics.collect()}
    assert families["evcharge_authorization_kafka_connected"] == [0]
    assert families["evcharge_authorization_dead_messages"] == [0, 0, 0, 0]


async def test_rows_of_an_older_layout_get_the_names_of_their_requests(
    tmp_path: Path, database_url: str | None
) -> None:
    database = Database.file(tmp_path / "x.sqlite") if database_url is None else Database.open(database_url)
    await database.create(b"3")
    async with database.writing() as connection:
        await connection.execute(text("DROP INDEX ix_authority_queue_request_id"))
        for column in ("request_id", "relayed_ms"):
            await connection.execute(text(f"ALTER TABLE authority_queue DROP COLUMN {column}"))
        for data in (DATA, b"\xc1 noise"):
            await connection.execute(
                text("INSERT INTO authority_queue (client, data) VALUES ('shop', :data)"), {"data": data}
            )
    await database.upgrade(STEPS, LAYOUT)
    async with database.reading() as connection:
        rows = (await connection.execute(select(queue_table.c.request_id, queue_table.c.relayed_ms))).all()
    assert {tuple(row) for row in rows} == {(ONE.request_id, None), (None, None)}
    await database.close()
