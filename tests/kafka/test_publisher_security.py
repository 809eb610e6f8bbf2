"""A broker that asks for TLS and SCRAM: who is wrong is told what to do, and nobody's password is in a log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kafka.certificates import make_authority
from tests.kafka.conftest import MakeBroker
from tests.kafka.reading import check_exactly_once
from tests.kafka.test_publisher import Stand
from tests.support.log_central import Log, LogCentral

PASSWORD = "correct-horse"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with LogCentral(Log(20)) as central:
        made = Stand(tmp_path, central)
        yield made
        for process in made.started:
            if process.returncode is None:
                process.kill()


async def test_tls_and_a_password(stand: Stand, make_broker: MakeBroker, tmp_path: Path) -> None:
    ca_file, server_file = make_authority(tmp_path)
    other_file, _ = make_authority(tmp_path, "stranger")
    login = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="{PASSWORD}";'
    broker = make_broker(
        protocol="SASL_SSL",
        formatting=["--add-scram", f"SCRAM-SHA-512=[name=admin,password={PASSWORD}]"],
        properties={
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.clients.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": login,
            "listener.name.clients.ssl.keystore.type": "PEM",
            "listener.name.clients.ssl.keystore.location": str(server_file),
            "listener.name.clients.ssl.truststore.type": "PEM",
            "listener.name.clients.ssl.truststore.location": str(ca_file),
        },
    )
    await broker.start()
    secure = ["--security", "SASL_SSL", "--username", "admin"]
    password = tmp_path / "password"
    password.write_text("wrong-donkey\n")

    stranger = stand.publisher(broker.address, *secure, "--ca-file", other_file, "--password-file", password)
    assert "--ca-file" in await stand.told(stranger, "kafka_tls")
    await stand.stop(stranger)

    plain = stand.publisher(broker.address)
    assert "--security" in await stand.told(plain, "kafka_refused")
    await stand.stop(plain)

    # A password that is mended while the publisher runs is read anew.
    right = stand.publisher(broker.address, *secure, "--ca-file", ca_file, "--password-file", password)
    assert "--username" in await stand.told(right, "kafka_refused")
    password.write_text(f"{PASSWORD}\n")
    await stand.published(right)
    await stand.stop(right)
    assert PASSWORD not in right.errors
    assert "wrong-donkey" not in right.errors

    found = await stand.read(
        broker.address,
        **{
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "admin",
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(ca_file),
        },
    )
    check_exactly_once(found, 20)
