"""What is sealed in AUTH, SESSION, REFUSE and REPLY: illegal payloads, legal ones at their bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from protocol import frames, handshake
from protocol.connection import Limits, RefusedByCentral
from protocol.credentials import key_id
from protocol.errors import MalformedMessage, RefuseCode, UnexpectedMessage
from protocol.handshake import ClientHandshake, ServerHandshake, parse_hello
from protocol.noise import CipherState, HandshakeState
from tests.support.opening import server_noise
from tests.support.wire import BOOT_ID, CENTRAL, CENTRAL_KEY, T0_MS, credential
from tests.wire.golden import E_CENTRAL, E_CLIENT


def _to_server() -> tuple[ServerHandshake, HandshakeState]:
    """Central's handshake waiting for AUTH, and the initiator's bare Noise."""
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    server = ServerHandshake(CENTRAL, parse_hello(client.hello(), key_id(CENTRAL_KEY)), E_CENTRAL)
    client._noise.read_message(server.reply(T0_MS))
    return server, client._noise


def _to_client() -> tuple[ClientHandshake, CipherState]:
    """The client's handshake waiting for SESSION, and Central's bare transport cipher."""
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    server = ServerHandshake(CENTRAL, parse_hello(client.hello(), key_id(CENTRAL_KEY)), E_CENTRAL)
    server.auth(client.auth(server.reply(T0_MS), handshake.Claims(BOOT_ID, 1)))
    assert server._transport is not None
    return client, server._transport


AUTH = {1: "cp-1", 2: 1, 3: "CP-1", 4: BOOT_ID, 5: 1}
SESSION = {0: 4, 1: b"s" * 16, 2: b"S" * 32, 3: T0_MS, 4: {1: 65_536, 2: 900, 3: 60, 4: 65_536}}
REFUSE = {0: 5, 1: 4, 2: 30}
NOT_MAPS = [
    b"",
    b"\xc0",
    b"\x91\x01",
    b"\x01",
    b"\xc1",
    b"\xdf\xff\xff\xff\xff",
    b"\x81\x91\x01\x01",
    b"\x81\xa1a\x01",
    b"\x82\x01\x01",
]


def _bad(good: dict[int, Any], changes: dict[int, list[Any]], optional: set[int]) -> list[bytes]:
    """Payloads with one field missing or changed, and bytes that are no payload at all."""
    bad = [msgpack.packb({k: v for k, v in good.items() if k != field}) for field in good if field not in optional]
    bad += [msgpack.packb({**good, field: value}) for field, values in changes.items() for value in values]
    whole = msgpack.packb(good)
    twice = bytes([whole[0] + 1]) + whole[1:] + msgpack.packb(2) + msgpack.packb(1)
    deep = msgpack.packb({**good, 99: {1: {2: [1]}}})
    extension = msgpack.packb({**good, 99: msgpack.ExtType(1, b"x")})
    big = msgpack.packb({**good, 99: b"x" * 513})
    many = msgpack.packb({**good, **{100 + i: 0 for i in range(16)}})
    keys = [msgpack.packb({**good, key: 0}) for key in ("1", True, None, 1.5, b"1")]
    return [*bad, *NOT_MAPS, whole + b"\0", whole[:-1], twice, deep, extension, big, many, *keys]


NO_INT = [-1, 1.0, True, None, "1", b"1", [1]]

BAD_AUTH = _bad(
    AUTH,
    {
        1: ["", "a" * 65, "é" * 33, "a\0", "a\n", b"cp-1", 1, None],
        2: [*NO_INT, 0, 6, 255],
        3: ["", "a" * 65, b"x", None],
        4: [b"", b"x" * 15, b"x" * 17, "x" * 16, None],
        5: [*NO_INT, 2**53],
        6: [b"x" * 513, "x", None, 1],
        7: [*NO_INT],
    },
    set(),
)
BAD_SESSION = _bad(
    SESSION,
    {
        0: [*NO_INT, 5],
        1: [b"s" * 15, b"s" * 17, "s" * 16],
        2: [b"S" * 31, b"S" * 33, "S" * 32],
        3: [*NO_INT, 2**53],
        4: [
            None,
            1,
            {},
            {1: 1, 2: 900, 3: 60, 4: 65_536},
            {1: 65_537, 2: 900, 3: 60, 4: 65_536},
            {1: 65_536, 2: 0, 3: 60, 4: 65_536},
            {1: 65_536, 2: 86_401, 3: 60, 4: 65_536},
            {1: 65_536, 2: 900, 3: 0, 4: 65_536},
            {1: 65_536, 2: 900, 3: 3_601, 4: 65_536},
            {1: 65_536, 2: 900, 3: 60, 4: 1_023},
            {1: 65_536, 2: 900, 3: 60, 4: 65_537},
            {1: 65_536, 2: 900, 3: 60},
        ],
        5: [*NO_INT, 2**53],
        6: [*NO_INT, 2**53],
        7: [b"x" * 513, "x", None],
    },
    set(),
)
BAD_REFUSE = _bad(REFUSE, {1: [*NO_INT, 0, 256], 2: [*NO_INT, 604_801]}, set())


def refused(read: Callable[[], Any]) -> None:
    with pytest.raises((MalformedMessage, UnexpectedMessage)):
        read()


def test_illegal_auth() -> None:
    for payload in BAD_AUTH:
        server, noise = _to_server()
        refused(lambda: server.auth(noise.write_message(payload)))  # noqa: B023 - called at once


def test_illegal_session() -> None:
    for payload in BAD_SESSION:
        client, cipher = _to_client()
        refused(lambda: client.finish(frames.SESSION, cipher.encrypt(b"", payload), Limits()))  # noqa: B023


def test_illegal_refuse() -> None:
    for payload in BAD_REFUSE:
        client, cipher = _to_client()
        refused(lambda: client.finish(frames.REFUSE, cipher.encrypt(b"", payload), Limits()))  # noqa: B023


@pytest.mark.parametrize(
    "payload", [{1: 1}, {2: 0}, {1: 0, 2: 0}, {1: 256, 2: 0}, {1: 1, 2: -1}, {1: True, 2: 0}, {1: 1, 2: "0"}]
)
def test_illegal_reply(payload: dict[int, Any]) -> None:
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    noise = server_noise(client.hello())
    refused(lambda: client.auth(noise.write_message(msgpack.packb(payload)), handshake.Claims(BOOT_ID, 1)))


def test_a_payload_has_sixteen_fields_at_most() -> None:
    for count, legal in ((16, True), (17, False)):
        server, noise = _to_server()
        message = noise.write_message(msgpack.packb({**AUTH, **{100 + i: 0 for i in range(count - len(AUTH))}}))
        if legal:
            assert server.auth(message).username == "cp-1"
        else:
            refused(lambda: server.auth(message))  # noqa: B023 - called at once


def test_unknown_fields_are_ignored() -> None:
    server, noise = _to_server()
    assert server.auth(noise.write_message(msgpack.packb({**AUTH, 99: "later"}))).username == "cp-1"
    client, cipher = _to_client()
    sealed = cipher.encrypt(b"", msgpack.packb({**SESSION, 99: {1: b"later"}}))
    assert isinstance(client.finish(frames.SESSION, sealed, Limits()), tuple)


def test_hello_with_a_payload_is_refused() -> None:
    client = ClientHandshake(credential(), CENTRAL_KEY, E_CLIENT)
    noise = client._noise.write_message(b"x")
    server = ServerHandshake(CENTRAL, handshake.Hello(client._clear, (1,), noise), E_CENTRAL)
    with pytest.raises(MalformedMessage, match="payload"):
        server.reply(T0_MS)


def test_refusal_of_a_later_version_is_temporary() -> None:
    client, cipher = _to_client()
    sealed = cipher.encrypt(b"", msgpack.packb({0: 5, 1: 77, 2: 1}))
    assert client.finish(frames.REFUSE, sealed, Limits()) == RefusedByCentral(RefuseCode.UNAVAILABLE, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {1: "x"},
        {1: "a" * 64},
        {2: 5},
        {3: "x"},
        {3: "a" * 64},
        {5: 0},
        {5: 2**53 - 1},
        {6: b""},
        {6: b"x" * 512},
        {7: 0},
        {7: 2**64 - 1},
    ],
)
def test_auth_at_its_bounds(changed: dict[int, Any]) -> None:
    server, noise = _to_server()
    said = server.auth(noise.write_message(msgpack.packb({**AUTH, **changed})))
    fields = {**AUTH, 6: None, 7: None, **changed}
    shown = [said.username, said.role, said.entity, said.boot_id, said.conn_no, said.checkpoint, said.outbox_epoch]
    assert shown == [fields[number] or (None if number == 6 else fields[number]) for number in range(1, 8)]


@pytest.mark.parametrize("params", [(2, 1, 1, 1_024), (65_536, 86_400, 3_600, 65_536)])
def test_session_at_its_bounds(params: tuple[int, int, int, int]) -> None:
    for number, name, values in (
        (3, "t0_ms", (0, 2**53 - 1)),
        (5, "fence", (0, 2**53 - 1)),
        (6, "next_n", (0, 2**53 - 1)),
        (7, "checkpoint", (b"", b"x", b"x" * 512)),
    ):
        for value in values:
            client, cipher = _to_client()
            fields = {**SESSION, 4: dict(enumerate(params, 1)), number: value}
            outcome = client.finish(frames.SESSION, cipher.encrypt(b"", msgpack.packb(fields)), Limits())
            assert isinstance(outcome, tuple)
            grant, _, limits = outcome
            assert getattr(grant, name) == (None if value == b"" else value)
            assert (limits.rekey_msgs, limits.rekey_s, limits.ttl_s, limits.max_frame) == params


@pytest.mark.parametrize(("code", "wait_s"), [(1, 0), (255, 0), (4, 604_800)])
def test_refuse_at_its_bounds(code: int, wait_s: int) -> None:
    client, cipher = _to_client()
    outcome = client.finish(frames.REFUSE, cipher.encrypt(b"", msgpack.packb({0: 5, 1: code, 2: wait_s})), Limits())
    assert outcome == RefusedByCentral(RefuseCode.UNAVAILABLE if code == 255 else RefuseCode(code), wait_s)
