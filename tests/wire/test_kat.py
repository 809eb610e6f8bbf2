"""Known answers that came from elsewhere, byte for byte through the code that Central and peers run."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import noise
from protocol.cipher import fernet_key, next_secret, traffic_secret
from protocol.connection import AuthPresented, Connection, Established, HelloReceived
from protocol.credentials import ROLES, encode_password, key_id, public_key, static_private_key
from protocol.handshake import prologue
from tests.support.shared import shared
from tests.support.wire import CENTRAL, T0_MS, a_grant, credential, drain, scripted
from tests.wire.golden import block_for


@pytest.fixture
def kat() -> Any:
    return shared("protocol-kat.json")


def test_credentials(kat: Any) -> None:
    for who in ("cp", "central"):
        given = kat["inputs"][who]
        secret = bytes.fromhex(given["secret"])
        private = static_private_key(secret, given["username"], ROLES[given["role"]], given["epoch"])
        assert encode_password(secret) == kat["outputs"][f"{who}_password"]
        assert public_key(private).hex() == kat["outputs"][f"{who}_static_pub"]
    assert key_id(public_key(private)).hex() == kat["outputs"]["central_kid"]


def test_connection_reproduces_every_frame(kat: Any) -> None:
    given, want = kat["inputs"], kat["outputs"]
    c2s, s2c = bytes.fromhex(want["T_c2s_0"]), bytes.fromhex(want["T_s2c_0"])
    iv = bytes.fromhex(given["READY"]["iv"])
    peer = Connection.client(
        credential(),
        boot_id=bytes.fromhex(given["M3_payload"]["4"]),
        conn_no=given["M3_payload"]["5"],
        checkpoint=b"",
        now=5.0,
        entropy=scripted(bytes.fromhex(given["initiator_ephemeral_private"]), block_for(c2s, iv)),
    )
    central = Connection.server(
        CENTRAL,
        now=5.0,
        entropy=scripted(bytes.fromhex(given["responder_ephemeral_private"]), block_for(s2c, iv)),
    )
    m1 = peer.data_to_send()
    assert m1.hex() == want["M1"]
    assert drain(central, m1, 5.0) == ([HelloReceived()], None)
    central.reply_hello(given["M2_payload"]["2"], 5.0)
    m2 = central.data_to_send()
    assert m2.hex() == want["M2"]
    assert drain(peer, m2, 5.0) == ([], None)
    m3 = peer.data_to_send()
    assert m3.hex() == want["M3"]
    events, error = drain(central, m3, 5.0)
    assert error is None and isinstance(events[0], AuthPresented)
    assert events[0].public_key.hex() == want["cp_static_pub"]
    assert (events[0].username, events[0].entity, events[0].conn_no) == ("cp-1", "CP-1", 1)
    assert events[0].checkpoint is None
    grant = a_grant(sid=bytes.fromhex(given["sid"]), secret=bytes.fromhex(given["S"]))
    central.accept(grant, 5.0)
    m4 = central.data_to_send()
    assert m4.hex() == want["M4"]
    assert drain(peer, m4, 5.0) == ([], None)
    ready = peer.data_to_send()
    assert ready.hex() == want["READY_frame_iv55_t1763683200"]
    events, error = drain(central, ready, 5.0)
    assert error is None and isinstance(events[0], Established)
    events, error = drain(peer, central.data_to_send(), 5.0)
    assert error is None and isinstance(events[0], Established)
    assert central.ready and peer.ready
    assert given["READY"]["time_s"] * 1000 == T0_MS


def test_key_schedule(kat: Any) -> None:
    want = kat["outputs"]
    sid, prk = bytes.fromhex(kat["inputs"]["sid"]), bytes.fromhex(want["prk"])
    assert prologue(bytes.fromhex(want["hello_clear"]), b"").hex() == want["prologue"]
    for direction in ("c2s", "s2c"):
        secret = traffic_secret(prk, direction, sid)
        assert secret.hex() == want[f"T_{direction}_0"]
        assert fernet_key(secret).decode() == want[f"fernet_{direction}_0"]
        assert fernet_key(next_secret(secret)).decode() == want[f"fernet_{direction}_1"]


@pytest.mark.parametrize("source", ["cacophony", "snow"])
def test_noise_vectors(source: str) -> None:
    for vector in shared("noise_xk_vectors.json")[source]:
        raw = {
            name: bytes.fromhex(value)
            for name, value in vector.items()
            if isinstance(value, str) and "_" in name and name != "protocol_name"
        }
        initiator = noise.HandshakeState(
            initiator=True,
            prologue=raw["init_prologue"],
            s=noise.key_pair(raw["init_static"]),
            e=noise.key_pair(raw["init_ephemeral"]),
            rs=raw["init_remote_static"],
        )
        responder = noise.HandshakeState(
            initiator=False,
            prologue=raw["resp_prologue"],
            s=noise.key_pair(raw["resp_static"]),
            e=noise.key_pair(raw["resp_ephemeral"]),
        )
        messages = [(bytes.fromhex(one["payload"]), bytes.fromhex(one["ciphertext"])) for one in vector["messages"]]
        for turn, (payload, ciphertext) in enumerate(messages[:3]):
            writer, reader = (initiator, responder) if turn % 2 == 0 else (responder, initiator)
            assert writer.write_message(payload) == ciphertext
            assert reader.read_message(ciphertext) == payload
        assert initiator.h == responder.h and initiator.ck == responder.ck
        if "handshake_hash" in raw:
            assert initiator.h == raw["handshake_hash"]
        assert responder.rs == noise.key_pair(raw["init_static"])[1]
        ours, theirs = initiator.split(), responder.split()
        for turn, (payload, ciphertext) in enumerate(messages[3:], start=3):
            way = turn % 2
            assert ours[way].encrypt(b"", payload) == ciphertext
            assert theirs[way].decrypt(b"", ciphertext) == payload
