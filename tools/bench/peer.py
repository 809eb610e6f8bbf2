"""The peer: a CSMS of ``ocpp`` and ``websockets`` over TLS as they come. ``python -m tools.bench.peer`` is that server.

It is the server of the README of mobilityhouse/ocpp (OCPP 1.6) with handlers for Heartbeat and MeterValues that do
nothing but answer, and a certificate of its own. It keeps no state and no log. It runs on asyncio's own loop, as there.

The client, ``PeerLink``, is a raw one so that the generator is not the limit. It offers no compression, which is in the
peer's favour: with the libraries' own client each connection would deflate.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import logging
import os
import signal
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ocpp.routing import on  # type: ignore[import-untyped]  # the package has no types
from ocpp.v16 import ChargePoint, call_result  # type: ignore[import-untyped]  # the package has no types

# Longest wait for TLS and the upgrade, seconds.
OPEN_S = 30.0
# Opcodes of RFC 6455.
TEXT, PING, PONG = 1, 9, 10
SUBPROTOCOL = "ocpp1.6"
# Days that the certificate of a run is good for.
CERTIFICATE_DAYS = 1

monotonic = time.monotonic


class Csms(ChargePoint):  # type: ignore[misc]  # the package has no types
    """What a charge point's connection is to the peer."""

    @on("Heartbeat")  # type: ignore[untyped-decorator]  # the package has no types
    def on_heartbeat(self, **_fields: object) -> call_result.Heartbeat:
        """Answer with the time."""
        return call_result.Heartbeat(current_time=datetime.datetime.now(datetime.UTC).isoformat())

    @on("MeterValues")  # type: ignore[untyped-decorator]  # the package has no types
    def on_meter_values(self, **_fields: object) -> call_result.MeterValues:
        """Answer."""
        return call_result.MeterValues()


async def _connected(connection: Any) -> None:
    charge_point = Csms(connection.request.path.strip("/"), connection)
    try:
        await charge_point.start()
    except websockets.ConnectionClosed:
        return


async def serve(certificate: Path) -> None:
    """Serve on a free port of 127.0.0.1 until SIGTERM; the certificate's file also holds its key."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    protocols: Any = [SUBPROTOCOL]
    async with websockets.serve(_connected, "127.0.0.1", 0, subprotocols=protocols, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(msgspec.json.encode({"ready": "peer", "port": port}).decode(), flush=True)
        await stop.wait()


def make_certificate(path: Path) -> None:
    """A self-signed certificate for 127.0.0.1 with its key (P-256), in one file of mode 0600."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private + certificate.public_bytes(serialization.Encoding.PEM))


def client_context(certificate: Path) -> ssl.SSLContext:
    """TLS of the clients: they verify the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate)
    return context


def client_frame(opcode: int, data: bytes) -> bytes:
    """A client's frame of fewer than 64 KiB; its mask is zero, which is legal and costs nothing."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + data


def take_frames(buffer: bytearray) -> tuple[int, list[bytes]]:
    """Take the whole frames of a server out of ``buffer``: how many text frames, and what pings hold."""
    taken = texts = 0
    pings: list[bytes] = []
    while len(buffer) - taken >= 2:
        opcode, size, at = buffer[taken] & 0x0F, buffer[taken + 1] & 0x7F, taken + 2
        if size == 126:
            if len(buffer) < at + 2:
                break
            size, at = int.from_bytes(buffer[at : at + 2], "big"), at + 2
        if len(buffer) < at + size:
            break
        if opcode == TEXT:
            texts += 1
        elif opcode == PING:
            pings.append(bytes(buffer[at : at + size]))
        taken = at + size
    del buffer[:taken]
    return texts, pings


METER_VALUES = (
    '[2,"m","MeterValues",{"connectorId":1,"transactionId":1,"meterValue":[{"timestamp":"2026-01-01T00:00:00Z",'
    '"sampledValue":[{"value":"1234","measurand":"Energy.Active.Import.Register","unit":"Wh"},'
    '{"value":"7360","measurand":"Power.Active.Import","unit":"W"}]}]}]'
)
HEARTBEAT = '[2,"h","Heartbeat",{}]'
_PAIR = client_frame(TEXT, METER_VALUES.encode()) + client_frame(TEXT, HEARTBEAT.encode())


class PeerLink(asyncio.Protocol):
    """A charge point of the peer: sends MeterValues and Heartbeat, counts two answers."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str) -> None:
        self.name = name
        self.ready = False
        self.sent: deque[float] = deque()
        self.on_ack: Callable[[PeerLink, float, float], None] | None = None
        self.transport: asyncio.Transport | None = None
        self._port = port
        self._context = context
        self._buffer = bytearray()
        self._answers = 0
        self._upgraded: asyncio.Future[None] | None = None

    async def open(self) -> str:
        """TLS and the upgrade: empty when it is ready, else why not."""
        loop = asyncio.get_running_loop()
        self._upgraded = loop.create_future()
        try:
            async with asyncio.timeout(OPEN_S):
                await loop.create_connection(
                    lambda: self, "127.0.0.1", self._port, ssl=self._context, server_hostname="127.0.0.1"
                )
                await self._upgraded
        except (OSError, TimeoutError) as error:
            return f"{type(error).__name__} {error}".strip()
        self.ready = True
        return ""

    def pair(self, now: float) -> None:
        """One MeterValues and one Heartbeat, in one write."""
        self.sent.append(now)
        self._write(_PAIR)

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """End it."""
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # create_connection gives a full transport
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /{self.name} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        )
        transport.write(request.encode())  # type: ignore[attr-defined]  # see above

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.ready:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 or self._upgraded is None or self._upgraded.done():
                return
            if b" 101 " in self._buffer[:end]:
                self._upgraded.set_result(None)
            else:
                self._upgraded.set_exception(ConnectionError(self._buffer[:end].split(b"\r\n")[0].decode()))
            del self._buffer[: end + 4]
            return
        now = monotonic()
        texts, pings = take_frames(self._buffer)
        for ping in pings:
            # The server asks every 20 s and gives up whoever does not answer.
            self._write(client_frame(PONG, ping))
        self._answers += texts
        while self._answers >= 2 and self.sent:
            self._answers -= 2
            seconds = now - self.sent.popleft()
            if self.on_ack is not None:
                self.on_ack(self, seconds, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport, self.ready = None, False
        if self._upgraded is not None and not self._upgraded.done():
            self._upgraded.set_exception(ConnectionError(f"the stream ended: {exc}"))


def main() -> None:
    """``python -m tools.bench.peer CERTIFICATE.pem``."""
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
