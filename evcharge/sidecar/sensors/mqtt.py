"""Readings that a broker sends by MQTT: one connection for each broker, made again whenever it ends.

A retained message is what somebody said at some time: it counts by the time that it names itself, and one that names
none does not count. So a broker that comes back with the numbers of yesterday makes nothing fresh.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from evcharge.net.backoff import reconnect_delay
from evcharge.net.clock import Clock
from evcharge.net.ending import heeding_its_end
from evcharge.sidecar.sensors.book import Book
from evcharge.sidecar.sensors.settings import Broker, MqttSensor
from evcharge.sidecar.sensors.sources import Sleep, note

log = structlog.get_logger()

# Largest message in bytes: a device's whole status has a few KiB.
MESSAGE_BYTES: Final = 64 * 1024
# Messages that wait for us; the oldest go first, so what is read is the newest.
WAITING: Final = 256
# A broker that says nothing for one and a half of this is gone, in seconds.
KEEPALIVE_S: Final = 15
# Time for each answer of the broker, in seconds.
ANSWER_S: Final = 10.0
_REFUSED: Final = frozenset({"Bad user name or password", "Not authorized", "Bad authentication method", "Banned"})


class BadBroker(Exception):
    """The settings of a broker cannot be used: one sentence."""


class MqttSource:
    """All sensors of one broker."""

    def __init__(
        self,
        broker: Broker,
        sensors: Sequence[MqttSensor],
        *,
        password: str | None,
        book: Book,
        clock: Clock,
        random: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        """Raises BadBroker."""
        self._broker = broker
        self._password = password
        self._book = book
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._topics: dict[str, list[MqttSensor]] = {}
        for sensor in sensors:
            self._topics.setdefault(sensor.topic, []).append(sensor)
        self._failures = 0
        self._said = ""
        try:
            self._tls = ssl.create_default_context(cafile=broker.ca_file) if broker.tls else None
        except OSError as error:
            why = error.strerror or "there is no certificate in it"
            raise BadBroker(f"Cannot use the certificates in {broker.ca_file}: {why}.") from None

    async def run(self) -> None:
        """Part of ``Source``."""
        while True:
            try:
                # To take leave is to wait for the library, too.
                with heeding_its_end():
                    await self._listen()
            except aiomqtt.MqttError as error:
                self._lost(_why(error))
            await self._sleep(reconnect_delay(self._failures, self._random()))
            self._failures += 1

    async def _listen(self) -> None:
        """Until the connection ends. Raises MqttError."""
        host, port = self._broker.address
        client = aiomqtt.Client(
            host,
            port,
            username=self._broker.username,
            password=self._password,
            protocol=aiomqtt.ProtocolVersion.V5 if self._broker.version == "5" else aiomqtt.ProtocolVersion.V311,
            properties=_properties() if self._broker.version == "5" else None,
            queue_type=_Newest,
            max_queued_incoming_messages=WAITING,
            tls_context=self._tls,
            keepalive=KEEPALIVE_S,
            timeout=ANSWER_S,
        )
        async with AsyncExitStack() as stack:
            # Of its own: what succeeds although this task is to end would be listened to for ever.
            with heeding_its_end():
                await stack.enter_async_context(client)
                await self._subscribe(client)
            self._failures = 0
            self._said = ""
            log.info("sensors.broker_connected", host=host, port=port)
            async for message in client.messages:
                self._take(message)

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        """Raises MqttError."""
        for topic, sensors in self._topics.items():
            codes = await client.subscribe(topic)
            if any(isinstance(code, ReasonCode) and code.is_failure for code in codes):
                for sensor in sensors:
                    self._book.failed(sensor.key, f"The broker does not let this client read {topic}.")

    def _take(self, message: aiomqtt.Message) -> None:
        data = message.payload
        assert isinstance(data, bytes), "what is received is bytes"
        for sensor in self._topics.get(message.topic.value, ()):
            if len(data) > MESSAGE_BYTES:
                self._book.bad(sensor.key, "What was sent is far too large.")
            else:
                note(self._book, sensor, data, self._clock.steady_ms(), retained=message.retain)

    def _lost(self, why: str) -> None:
        if why != self._said:
            # Once for each kind of trouble: a wrong password stays wrong.
            log.warning("sensors.broker_lost", host=self._broker.host, why=why)
            self._said = why
        for sensors in self._topics.values():
            for sensor in sensors:
                self._book.failed(sensor.key, why)


class _Newest(asyncio.Queue[aiomqtt.Message]):
    """A full queue drops its oldest message, not the newest."""

    def put_nowait(self, item: aiomqtt.Message) -> None:
        if self.full():
            self.get_nowait()
        super().put_nowait(item)


def _properties() -> Properties:
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = MESSAGE_BYTES
    return properties  # type: ignore[no-any-return]


def _why(error: aiomqtt.MqttError) -> str:
    code = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
    if isinstance(code, ReasonCode) and code.is_failure and str(code) in _REFUSED:
        return "The broker does not accept the name or the password."
    # The library passes on no more than the text of what went wrong in TLS.
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "The broker's certificate cannot be verified."
    return "The broker cannot be reached."
