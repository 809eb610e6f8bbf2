"""Readings from a real broker: through restarts, refusals, old messages and nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from evcharge.sidecar.outgoing.http import Http
from evcharge.sidecar.outgoing.secrets import LackingSecret
from evcharge.sidecar.sensors.concern import Sensors
from evcharge.sidecar.sensors.mqtt import BadBroker, _Newest
from evcharge.sidecar.sensors.settings import Broker, MqttSensor, SensorsSettings
from tests.support.clock import START_MS
from tests.support.driven import DrivenClock
from tests.support.mosquitto import PASSWORD, USER, Mosquitto, eventually
from tests.support.ports import free_port

NOW_S = START_MS // 1000


class Rig:
    """Sensors at a broker. Waiting between attempts is short, and written down."""

    def __init__(self, *sensors: MqttSensor, environ: dict[str, str] | None = None) -> None:
        self.clock = DrivenClock()
        self.waits: list[float] = []
        self.sensors = Sensors(
            SensorsSettings(sensors=list(sensors)),
            http=Http(),
            environ={"BROKER_PASSWORD": PASSWORD} if environ is None else environ,
            clock=self.clock,
            tell_reading=self.tell,
            random=lambda: 0.5,
            sleep=self.wait,
        )
        self.running = asyncio.create_task(self.sensors.run())

    async def tell(self, *_told: Any) -> None:
        """Central is not what is looked at here."""

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0.01)

    def look(self, key: str = "solar_w") -> tuple[str, float | None, str]:
        reading = self.sensors.readings()[key]
        return reading.state, reading.value, reading.why

    async def until(self, state: str, value: float | None, key: str = "solar_w") -> None:
        await eventually(lambda: self.look(key)[:2] == (state, value))

    async def connected(self) -> None:
        """The broker has answered to the subscriptions."""
        with structlog.testing.capture_logs() as logs:
            await eventually(lambda: any(log["event"] == "sensors.broker_connected" for log in logs))

    async def end(self) -> None:
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running


MakeRig = Callable[..., Rig]


@pytest.fixture
async def make_rig() -> AsyncIterator[MakeRig]:
    rigs: list[Rig] = []

    def make(*sensors: MqttSensor, **more: Any) -> Rig:
        rigs.append(Rig(*sensors, **more))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.end()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    made = Mosquitto(tmp_path / "broker")
    await made.start()
    yield made
    made.stop()


def at(broker: Mosquitto, **more: Any) -> Broker:
    return Broker(
        **{"host": "127.0.0.1", "port": broker.port, "username": USER, "password_env": "BROKER_PASSWORD", **more}
    )


def solar(broker: Mosquitto, at_broker: Broker | None = None, **more: Any) -> MqttSensor:
    return MqttSensor(
        **{"name": "solar_w", "topic": "meters/solar", "broker": at_broker or at(broker), **more}  # type: ignore[arg-type]
    )


async def publish(broker: Mosquitto, topic: str, *payloads: str | bytes, retain: bool = False) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port, username=USER, password=PASSWORD) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=1, retain=retain)


async def test_numbers_and_json_over_one_connection(broker: Mosquitto, make_rig: MakeRig) -> None:
    battery = solar(
        broker, name="battery_percent", topic="meters/all", pointer="/b/0", time_pointer="/t", time_unit="ms"
    )
    grid = solar(broker, name="grid_percent", topic="meters/all", pointer="/g")
    rig = make_rig(solar(broker, scale=1000.0), battery, grid)
    await rig.connected()
    await publish(broker, "meters/solar", "12.5")
    await publish(broker, "meters/all", f'{{"b": [80], "g": 55, "t": {START_MS - 7_000}}}')
    await rig.until("fresh", 12_500.0)
    await rig.until("fresh", 80.0, "battery_percent")
    await rig.until("fresh", 55.0, "grid_percent")
    ages = [one.age_s for one in rig.sensors.readings().values()]
    assert ages == [0.0, 7.0, 0.0]


async def test_silence_makes_stale_and_never_nothing_to_zero(broker: Mosquitto, make_rig: MakeRig) -> None:
    rig = make_rig(solar(broker))
    await rig.connected()
    await publish(broker, "meters/solar", "7")
    await rig.until("fresh", 7.0)
    rig.clock.advance(61.0)
    assert rig.look()[:2] == ("stale", None)


@pytest.mark.parametrize("nonsense", ["nan", "", "true", '"7"', "7 W", "-5", "1e12", b"\xff\xfe"])
async def test_nonsense_takes_the_reading_away(broker: Mosquitto, make_rig: MakeRig, nonsense: str | bytes) -> None:
    rig = make_rig(solar(broker))
    await rig.connected()
    await publish(broker, "meters/solar", "7")
    await rig.until("fresh", 7.0)
    await publish(broker, "meters/solar", nonsense)
    await rig.until("missing", None)
    await publish(broker, "meters/solar", "8")
    await rig.until("fresh", 8.0)


async def test_a_broker_that_restarts(broker: Mosquitto, make_rig: MakeRig) -> None:
    rig = make_rig(solar(broker))
    await rig.connected()
    await publish(broker, "meters/solar", "7")
    await rig.until("fresh", 7.0)
    broker.stop()
    await eventually(lambda: rig.look()[2] == "The broker cannot be reached.")
    assert rig.look()[:2] == ("fresh", 7.0), "for a minute"
    rig.clock.advance(61.0)
    assert rig.look()[:2] == ("stale", None)
    attempts = len(rig.waits)
    await eventually(lambda: len(rig.waits) >= attempts + 5)
    with structlog.testing.capture_logs() as logs:
        await broker.start()
        await eventually(lambda: any(log["event"] == "sensors.broker_connected" for log in logs))
    await publish(broker, "meters/solar", "8")
    await rig.until("fresh", 8.0)
    assert rig.look()[2] == ""
    rig.waits.clear()
    broker.stop()
    await eventually(lambda: any(wait != 1.0 for wait in rig.waits))
    assert next(wait for wait in rig.waits if wait != 1.0) == 0.25, "a new loss begins with the shortest wait"


async def test_attempts_become_rarer(make_rig: MakeRig) -> None:
    nowhere = Broker(host="127.0.0.1", port=free_port())
    rig = make_rig(MqttSensor(name="solar_w", topic="x", broker=nowhere))
    with structlog.testing.capture_logs() as logs:
        await eventually(lambda: 30.0 in rig.waits)
    between = [wait for wait in rig.waits if wait != 1.0]
    assert between[:4] == [0.25, 0.5, 2.0, 4.0], "half of 0.5, 1, (2,) 4 and 8 s: each is random, below its bound"
    assert [log["event"] for log in logs] == ["sensors.broker_lost"], "said once"
    assert rig.look() == ("missing", None, "The broker cannot be reached.")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_wrong_password_is_said_once_and_never_quoted(
    broker: Mosquitto, make_rig: MakeRig, version: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        rig = make_rig(solar(broker, at(broker, version=version)), environ={"BROKER_PASSWORD": "the-wrong-one"})
        await eventually(lambda: len([wait for wait in rig.waits if wait != 1.0]) >= 3)
    assert rig.look() == ("missing", None, "The broker does not accept the name or the password.")
    lost = [log for log in logs if log["event"] == "sensors.broker_lost"]
    assert len(lost) == 1
    assert "the-wrong-one" not in repr(logs) + repr(rig.sensors.readings())


@pytest.mark.parametrize("password", [PASSWORD, "the-wrong-one"])
async def test_it_ends_although_the_broker_answers_in_the_same_turn(
    broker: Mosquitto, make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """Before Python 3.12 ``asyncio.wait_for``, with which the library waits, forgets then that it was cancelled."""
    wait_for = aiomqtt.Client._wait_for
    told: list[asyncio.Task[Any]] = []

    async def cancelled_meanwhile(client: aiomqtt.Client, future: Any, timeout: float | None) -> Any:
        task = asyncio.current_task()
        if isinstance(future, asyncio.Future) and task is not None and not told:
            told.append(task)
            future.add_done_callback(lambda _: task.cancel())
        return await wait_for(client, future, timeout)

    monkeypatch.setattr(aiomqtt.Client, "_wait_for", cancelled_meanwhile)
    make_rig(solar(broker), environ={"BROKER_PASSWORD": password})
    await eventually(lambda: told != [] and told[0].done())
    assert told[0].cancelled()


async def test_a_password_that_is_not_there(broker: Mosquitto) -> None:
    with pytest.raises(LackingSecret, match="BROKER_PASSWORD"):
        Rig(solar(broker), environ={})


@pytest.mark.parametrize(
    ("ago_s", "state", "value"), [(59, "fresh", 7.0), (61, "stale", None), (86_400, "stale", None)]
)
async def test_a_retained_message_counts_by_its_own_time(
    broker: Mosquitto, make_rig: MakeRig, ago_s: int, state: str, value: float | None
) -> None:
    payload = f'{{"w": 7, "t": {NOW_S - ago_s}}}'
    await publish(broker, "meters/solar", payload, retain=True)
    rig = make_rig(solar(broker, pointer="/w", time_pointer="/t"))
    await rig.until(state, value)
    assert rig.sensors.readings()["solar_w"].age_s == ago_s


async def test_a_retained_message_without_a_time_does_not_count(broker: Mosquitto, make_rig: MakeRig) -> None:
    await publish(broker, "meters/solar", "7", retain=True)
    rig = make_rig(solar(broker))
    await eventually(lambda: "retained" in rig.look()[2])
    assert rig.look()[:2] == ("missing", None)
    await publish(broker, "meters/solar", "8", retain=True)
    await rig.until("fresh", 8.0)
    assert rig.look()[2] == "", "it was sent just now, and is kept for others"


async def test_what_a_broker_kept_over_its_restart_makes_nothing_fresh(broker: Mosquitto, make_rig: MakeRig) -> None:
    rig = make_rig(solar(broker))
    await rig.connected()
    await publish(broker, "meters/solar", "8", retain=True)
    await rig.until("fresh", 8.0)
    broker.stop()
    rig.clock.advance(61.0)
    await broker.start()
    await eventually(lambda: "retained" in rig.look()[2])
    assert rig.look()[:2] == ("stale", None)


async def test_a_topic_that_may_not_be_read(broker: Mosquitto, make_rig: MakeRig) -> None:
    rig = make_rig(solar(broker, topic="secret/solar"), solar(broker, name="base_w"))
    await rig.connected()
    # Mosquitto's lists decide at each message, not at the subscription: nothing comes, and that is what is seen.
    await publish(broker, "secret/solar", "7")
    await publish(broker, "meters/solar", "9")
    await rig.until("fresh", 9.0, "base_w")
    assert rig.look()[:2] == ("missing", None)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_message_that_is_far_too_large_is_no_reading(
    broker: Mosquitto, make_rig: MakeRig, version: str
) -> None:
    """By version 5 the broker keeps it back; by the older one it comes and is thrown away."""
    rig = make_rig(solar(broker, at(broker, version=version), pointer="/w"))
    await rig.connected()
    await publish(broker, "meters/solar", '{"w": 7}')
    await rig.until("fresh", 7.0)
    await publish(broker, "meters/solar", '{"w": 8, "x": "' + "y" * 100_000 + '"}')
    if version == "3.1.1":
        await rig.until("missing", None)
        assert rig.look()[2] == "What was sent is far too large."
    await publish(broker, "meters/solar", '{"w": 9}')
    await rig.until("fresh", 9.0)


async def test_of_a_flood_the_newest_counts(broker: Mosquitto, make_rig: MakeRig) -> None:
    rig = make_rig(solar(broker))
    await rig.connected()
    await publish(broker, "meters/solar", *(str(watts) for watts in range(600)))
    await rig.until("fresh", 599.0)


def test_a_full_queue_drops_its_oldest() -> None:
    queue = _Newest(3)
    for number in range(7):
        queue.put_nowait(aiomqtt.Message("x", b"", 0, False, number, None))
    assert [queue.get_nowait().mid for _ in range(queue.qsize())] == [4, 5, 6]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return chain, private


async def test_tls_with_the_right_and_with_another_certificate(tmp_path: Path, make_rig: MakeRig) -> None:
    ours, others = certificate(tmp_path, "ours"), certificate(tmp_path, "others")
    broker = Mosquitto(tmp_path / "broker", certificate=ours)
    await broker.start()
    try:
        wrong = make_rig(solar(broker, at(broker, tls=True, ca_file=str(others[0]))))
        await eventually(lambda: wrong.look()[2] == "The broker's certificate cannot be verified.")
        right = make_rig(solar(broker, at(broker, tls=True, ca_file=str(ours[0]))))
        await right.connected()
    finally:
        broker.stop()


async def test_a_certificate_file_that_is_not_there(broker: Mosquitto, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file in (tmp_path / "none.pem", empty):
        with pytest.raises(BadBroker, match=file.name):
            Rig(solar(broker, at(broker, tls=True, ca_file=str(file))))


async def test_a_server_that_is_no_broker(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing."""
    monkeypatch.setattr("evcharge.sidecar.sensors.mqtt.ANSWER_S", 0.05)
    taken: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: taken.append(writer), "127.0.0.1", 0)
    silent = Broker(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    rig = make_rig(MqttSensor(name="solar_w", topic="x", broker=silent))
    await eventually(lambda: len([wait for wait in rig.waits if wait != 1.0]) >= 3)
    assert rig.look() == ("missing", None, "The broker cannot be reached.")
    await rig.end()
    for writer in taken:
        writer.close()
    server.close()


async def test_a_subscription_that_is_refused_is_said(
    broker: Mosquitto, make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mosquitto's lists never refuse one; other brokers do, so the broker's answer is made up here."""
    subscribe = aiomqtt.Client.subscribe

    async def refuse_one(self: aiomqtt.Client, topic: str, **more: Any) -> Any:
        codes = await subscribe(self, topic, **more)
        return [ReasonCode(PacketTypes.SUBACK, "Not authorized")] if topic.startswith("secret") else codes

    monkeypatch.setattr(aiomqtt.Client, "subscribe", refuse_one)
    rig = make_rig(solar(broker, topic="secret/solar"), solar(broker, name="base_w"))
    await rig.connected()
    assert rig.look() == ("missing", None, "The broker does not let this client read secret/solar.")
    await publish(broker, "meters/solar", "9")
    await rig.until("fresh", 9.0, "base_w")
