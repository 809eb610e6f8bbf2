"""Builds every golden vector of protocol/vectors from fixed inputs, through the code that Central and peers run.

``python -m tests.wire.golden`` writes the files; test_vectors compares them. A change of a file that exists is a
change of the wire and needs a new version (SPEC §4.2).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from protocol import channel as token
from protocol import codec, frames
from protocol import messages as m
from protocol.channel import close_body
from protocol.cipher import BLOCK, Sealer, fernet_key, next_secret
from protocol.credentials import (
    ROLES,
    Role,
    b64url,
    encode_password,
    key_id,
    public_key,
    static_private_key,
)
from protocol.errors import CloseCode, RefuseCode
from protocol.events import AuthPresented, Grant, Limits
from protocol.handshake import Claims, ClientHandshake, Secrets, ServerHandshake, parse_hello
from protocol.records import RegistryRecord, sign_record
from protocol.states import ALLOWED, FROM_CENTRAL
from tests.support.wire import BOOT_ID, CENTRAL, CENTRAL_KEY, T0_MS, a_grant, credential

FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"
CLOCK_S = T0_MS // 1000
E_CLIENT, E_CENTRAL = b"\x11" * 32, b"\x22" * 32
IV = b"\x55" * 16

VIEW: dict[str, Any] = {
    "session_id": "s-1",
    "state": "SUPPLYING",
    "cp_id": "CP-1",
    "connector": 1,
    "driver_id": "d-1",
    "requested_wh": 9000,
    "depart_by_ms": T0_MS + 3_600_000,
    "expires_ms": T0_MS + 60_000,
    "energy_wh": 1234,
    "power_w": 7000,
    "limit_w": 7400,
    "reason": "feeder",
    "amount_minor": 37,
    "currency": "EUR",
}
TICKET: dict[str, Any] = {
    "ticket_id": "t-1",
    "session_id": "s-1",
    "cp_id": "CP-1",
    "driver_id": "d-1",
    "substation_id": "sub-1",
    "start_ms": T0_MS,
    "end_ms": T0_MS + 3_600_000,
    "duration_s": 3600,
    "energy_wh": 7000,
    "price_e4": 3000,
    "amount_minor": 210,
    "currency": "EUR",
    "status": "COMPLETED",
    "reason": "target_reached",
    "average_w": 7000,
    "co2_g": 1400,
    "adjustments": [-5],
}
PLACE: dict[str, Any] = {
    "waiting_id": "s-2",
    "state": "WAITING",
    "cp_id": "CP-1",
    "connector": 1,
    "driver_id": "d-1",
    "place": 2,
    "eta_ms": T0_MS + 1_800_000,
    "inputs_age_ms": 4000,
    "since_ms": T0_MS,
    "session_id": "s-2",
    "offered_until_ms": T0_MS + 300_000,
    "reason": "busy",
}
RESERVATION: dict[str, Any] = {
    "reservation_id": "s-3",
    "state": "LATE",
    "cp_id": "CP-1",
    "connector": 1,
    "from_ms": T0_MS,
    "until_ms": T0_MS + 3_600_000,
    "driver_id": "d-1",
    "requested_wh": 9000,
    "session_id": "s-3",
    "reason": "busy",
}
COMMAND: dict[str, Any] = {"command_id": 7, "fence": 3, "session_id": "s-1", "connector": 1}
POINT: dict[str, Any] = {"limit_w": 7400, "expires_ms": T0_MS + 30_000, "fallback_w": 1400, "reason": "share"}
STARTED = m.SupplyStarted(session_id="s-1", meter_wh=10_000, connector=1, at_ms=T0_MS)

RECOMMENDATION = m.RecommendationView(
    mode="pareto",
    vehicle=m.VehicleView(
        battery_percent=35.5,
        capacity_wh=60_000,
        target_percent=80.0,
        need_wh=26_700,
        max_w=11_000,
        range_m=118_333,
        plug="type2",
    ),
    sentence="CP-1 suits best.",
    cp_id="CP-1",
    connector=1,
    weights=m.Weights(cost=0.5, time=0.25, carbon=0.125, queue=0.125),
    stations=[
        m.StationView(
            cp_id="CP-1",
            rank=1,
            connector=1,
            score=0.25,
            front=True,
            parts=m.Weights(cost=0.25),
            cost_minor=801,
            time_s=8739,
            carbon_g=8010,
            queue_s=60,
            power_w=11_000,
            distance_m=1_200,
        ),
        m.StationView(cp_id="CP-2", excluded="out_of_service"),
    ],
    legacy=[
        m.LegacyView(
            station_id="CP-1",
            energy_needed_kwh=30.0,
            carbon_emission_kg=25.5,
            explanation="30.00 kWh in 0.60 h",
            score=125.5,
            charging_time_hours=0.6,
        )
    ],
    left_out=4,
    located=True,
    currency="EUR",
)
WHY = m.WhyView(
    session_id="s-1",
    cp_id="CP-1",
    connector=1,
    state="SUPPLYING",
    sentence="sub-1 has 150 kW, 150 kW of it shared by 3",
    at_ms=T0_MS,
    limit_w=7400,
    reason="shared",
    constraint="capacity",
    node="sub-1",
    node_limit_w=150_000,
    others_w=14_800,
    sharing=3,
    inputs=[m.InputView(name="meter", age_ms=900)],
    rejected=[m.RejectedView(limit_w=11_000, constraint="capacity")],
)

SAMPLES: tuple[m.Message, ...] = (
    m.Boot(connectors=[m.ConnectorInfo(connector=1, min_w=1380, max_w=22_000)], model="Säule", firmware="1.0", id=1),
    m.Heartbeat(id=2),
    m.Status(connector=1, occupied=True, error="E01"),
    m.Plugged(connector=1),
    m.Unplugged(connector=1),
    STARTED,
    m.SupplyUpdate(session_id="s-1", meter_wh=11_234, power_w=7000, soc=55),
    m.SupplyPaused(session_id="s-1", meter_wh=11_234, at_ms=T0_MS),
    m.SupplyResumed(session_id="s-1", meter_wh=11_234, at_ms=T0_MS),
    m.SupplyEnded(session_id="s-1", meter_wh=17_000, reason="target_reached", at_ms=T0_MS),
    m.Outbox(n=4, payload=STARTED),
    m.Result(command_id=7, outcome="done", fence=3, detail="closed"),
    m.Health(engine_ok=True, latency_ms=3),
    m.Fault(code="ENGINE_SILENT", detail="3 checks missed"),
    m.Recovery(),
    m.List(id="a", after="CP-1"),
    m.ChargeRequest(id=3, cp_id="CP-1", connector=1, energy_wh=-5, depart_by_ms=T0_MS, on_the_way=True),
    m.LeaveQueue(id=10, waiting_id="s-2"),
    m.Queue(id=11),
    m.Reserve(id=12, cp_id="CP-1", from_ms=T0_MS, until_ms=T0_MS + 3_600_000, connector=1, energy_wh=9000),
    m.CancelReservation(id=13, reservation_id="s-3"),
    m.Reservations(id=14),
    m.EndCharge(id=4, session_id="s-1"),
    m.Tickets(id=5, after="t-1"),
    m.TicketReceived(ticket_id="t-1"),
    m.Recommend(
        id=10,
        battery_percent=35.5,
        capacity_wh=77_000,
        target_percent=90.0,
        max_w=22_000,
        plug="type2",
        consumption_wh_per_km=160,
        latitude=48.5,
        longitude=-9.25,
        weights=m.Weights(cost=0.5, time=0.25, carbon=0.125, queue=0.125),
        max_results=2,
    ),
    m.Why(id=11, session_id="s-1"),
    m.Stop(id=6, cp_id="CP-1"),
    m.Resume(id=7, cp_id="CP-1"),
    m.SetCapacity(id=8, substation_id="sub-1", capacity_w=150_000),
    m.SensorReading(name="base_w", value=12_500.5, substation_id="sub-1", at_ms=T0_MS, id=10),
    m.SetForecast(id=11, name="price", start_ms=T0_MS, step_ms=900_000, values=[0.12, -0.01]),
    m.SubstationHealth(id=10, substation_id="sub-1", ok=False, detail="breaker open", load_w=0),
    m.Unwatch(id=12, substation_id="sub-1", what="base_w"),
    m.Query(id=9, what="sessions", after="s-1"),
    m.Authorize(**COMMAND, energy_wh=9000, depart_by_ms=T0_MS, expires_ms=T0_MS + 60_000),
    m.StartSupply(**COMMAND, **POINT, valid_until_ms=T0_MS + 10_000),
    m.StopSupply(**COMMAND, reason="driver_ended"),
    m.SetLimit(**COMMAND, **POINT),
    m.Ack(re=2, n=4, time_ms=T0_MS, clock_ms=T0_MS),
    m.Reply(
        re=3,
        session_id="s-1",
        session=m.SessionView(**VIEW),
        charge_points=[
            m.ChargePointView(
                cp_id="CP-1",
                state="ACTIVATED",
                holds=["FAULT"],
                connectors=[m.ConnectorView(connector=1, state="free")],
            )
        ],
        tickets=[m.TicketView(**TICKET)],
        substations=[
            m.SubstationView(substation_id="sub-1", capacity_w=150_000, worst_case_w=7400, load_w=7000, sessions=1)
        ],
        totals=m.TotalsView(sessions=1),
        optimization=m.OptimizationView(
            mode="NORMAL_CHARGING",
            power_w=11_000,
            rule="solar_medium",
            reason="40 kW of sun",
            solar_w=40_500,
            age_ms={"solar": 20, "battery": None},
            fault={"battery": "missing"},
        ),
        recommendation=RECOMMENDATION,
        why=WHY,
        next="CP-1",
    ),
    m.Refused(reason="CP_BUSY", sentence="Another vehicle charges there.", re=3),
    m.Ticket(**TICKET),
    m.Update(**VIEW),
    m.Waiting(**PLACE),
    m.Reservation(**RESERVATION),
    m.Drain(retry_after_s=2.5),
    m.Error(code="unknown_type", sentence="This type of message is not known here.", re=9),
)
"""One of each type, every field filled where a map can be."""


class ChosenIv:
    """Entropy for a Sealer that makes its next token have a chosen IV.

    The sealer encrypts a block R and uses the ciphertext as IV, so R = AES⁻¹(IV) xor the ciphertext block before.
    """

    def __init__(self, secret: bytes) -> None:
        self._previous = bytes(BLOCK)
        self._iv = IV
        self.sealer = Sealer(secret, self._block, chunk=BLOCK)
        self._secret = secret

    def _block(self, size: int) -> bytes:
        assert size == BLOCK
        return block_for(self._secret, self._iv, self._previous)

    def seal(self, kind: int, body: bytes, iv: bytes = IV) -> bytes:
        self._iv = iv
        sealed = self.sealer.seal(kind, body, CLOCK_S)
        self._previous = base64.urlsafe_b64decode(sealed)[-32 - BLOCK : -32]
        return sealed

    def next_epoch(self) -> None:
        self.sealer.next_epoch()
        self._secret = next_secret(self._secret)
        self._previous = bytes(BLOCK)


def block_for(secret: bytes, iv: bytes, previous: bytes = bytes(BLOCK)) -> bytes:
    """The random block that makes ``iv`` come out."""
    key = base64.urlsafe_b64decode(fernet_key(secret))[16:]
    decryptor = Cipher(AES(key), ECB()).decryptor()
    plain = decryptor.update(iv) + decryptor.finalize()
    return bytes(a ^ b for a, b in zip(plain, previous, strict=True))


def data(sealed: bytes) -> str:
    return frames.encode_frame(frames.DATA, sealed).hex()


def pretty(message: m.Message) -> Any:
    return msgspec.to_builtins(message)


def directions(kind: type[m.Message]) -> tuple[list[str], list[str]]:
    """Who may send a message, and who may get it from Central; role names in order."""
    senders = {role for (role, _), legal in ALLOWED.items() if kind in legal}
    readers = {role for role, legal in FROM_CENTRAL.items() if kind in legal}
    return [role.label for role in sorted(senders)], [role.label for role in sorted(readers)]


def handshake(claims: Claims, grant: Grant) -> tuple[dict[str, bytes], Secrets, ServerHandshake]:
    """The frames of one handshake with fixed keys."""
    client = ClientHandshake(credential(Role.CP), CENTRAL_KEY, E_CLIENT)
    hello = client.hello()
    server = ServerHandshake(CENTRAL, parse_hello(hello, key_id(CENTRAL_KEY)), E_CENTRAL)
    reply = server.reply(T0_MS)
    auth = client.auth(reply, claims)
    assert isinstance(server.auth(auth), AuthPresented)
    session, secrets = server.session(grant, Limits())
    bodies = {"hello": hello, "reply": reply, "auth": auth, "session": session}
    kinds = {"hello": frames.HELLO, "reply": frames.REPLY, "auth": frames.AUTH, "session": frames.SESSION}
    return {name: frames.encode_frame(kinds[name], body) for name, body in bodies.items()}, secrets, server


def refusal(code: RefuseCode, retry_after_s: int) -> bytes:
    """A REFUSE frame in place of SESSION, after the same handshake."""
    client = ClientHandshake(credential(Role.CP), CENTRAL_KEY, E_CLIENT)
    server = ServerHandshake(CENTRAL, parse_hello(client.hello(), key_id(CENTRAL_KEY)), E_CENTRAL)
    server.auth(client.auth(server.reply(T0_MS), Claims(BOOT_ID, 1, b"")))
    return frames.encode_frame(frames.REFUSE, server.refuse(code, retry_after_s))


def build() -> dict[str, Any]:
    """File name without ``.json`` → content."""
    vectors: dict[str, Any] = {"credentials": _credentials(), "record": _record()}
    sent, secrets, _ = handshake(Claims(BOOT_ID, 1, b""), a_grant())
    full, _, _ = handshake(
        Claims(BOOT_ID, 2**53 - 1, b"checkpoint", 2**64 - 1),
        a_grant(fence=3, next_n=4, checkpoint=b"checkpoint"),
    )
    keys = {
        "central_static_private": static_private_key(bytes(range(32, 64)), "central", Role.CENTRAL, 1).hex(),
        "client_static_private": static_private_key(bytes(range(32)), "cp-1", Role.CP, 1).hex(),
        "client_ephemeral_private": E_CLIENT.hex(),
        "central_ephemeral_private": E_CENTRAL.hex(),
        "binding": "",
    }
    auth = {"1": "cp-1", "2": 1, "3": "CP-1", "4": BOOT_ID.hex(), "5": 1, "6": ""}
    params = {"1": 65536, "2": 900, "3": 60, "4": 65536}
    session = {"0": 4, "1": "44" * 16, "2": "33" * 32, "3": T0_MS, "4": params}
    vectors["handshake-hello"] = {"meaning": "M1, client to Central", **keys, "frame": sent["hello"].hex()}
    vectors["handshake-reply"] = {
        "meaning": "M2, Central to client, answers handshake-hello",
        "payload": {"1": 1, "2": T0_MS},
        "frame": sent["reply"].hex(),
    }
    vectors["handshake-auth"] = {
        "meaning": "M3, client to Central, answers handshake-reply; byte strings of the payload in hex",
        "payload": auth,
        "frame": sent["auth"].hex(),
    }
    vectors["handshake-auth-full"] = {
        "meaning": "M3 with every optional field and the largest numbers, answers handshake-reply",
        "payload": auth | {"5": 2**53 - 1, "6": b"checkpoint".hex(), "7": 2**64 - 1},
        "frame": full["auth"].hex(),
    }
    vectors["handshake-session"] = {
        "meaning": "M4, Central to client, answers handshake-auth",
        "payload": session,
        "frame": sent["session"].hex(),
    }
    vectors["handshake-session-full"] = {
        "meaning": "M4 with every optional field, answers handshake-auth-full",
        "payload": session | {"5": 3, "6": 4, "7": b"checkpoint".hex()},
        "frame": full["session"].hex(),
    }
    vectors["handshake-refuse"] = {
        "meaning": "REFUSE in place of M4: REVOKED, come back in an hour; answers handshake-auth",
        "payload": {"0": 5, "1": 2, "2": 3600},
        "frame": refusal(RefuseCode.REVOKED, 3600).hex(),
    }
    vectors["alert"] = {
        "meaning": "the clear hint VERSION, instead of M2",
        "frame": frames.encode_frame(frames.ALERT, bytes([RefuseCode.VERSION])).hex(),
    }
    vectors |= _channel(secrets)
    return vectors


def _credentials() -> Any:
    rows = []
    for secret, username, role, epoch in (
        (bytes(range(32)), "cp-1", "cp", 1),
        (bytes(range(32, 64)), "central", "central", 1),
        (b"\xff" * 32, "Zähler 7", "monitor", 2),
        (bytes(32), "d" * 64, "driver", 2**32 - 1),
    ):
        private = static_private_key(secret, username, ROLES[role], epoch)
        rows.append(
            {
                "secret": secret.hex(),
                "password": encode_password(secret),
                "username": username,
                "role": role,
                "epoch": epoch,
                "static_private": private.hex(),
                "static_public": public_key(private).hex(),
                "kid": key_id(public_key(private)).hex(),
            }
        )
    return {
        "meaning": "passwords and the keys derived from them",
        "rows": rows,
        "json": json.loads(credential().to_json()),
    }


def _record() -> Any:
    record = RegistryRecord(
        username="cp-1",
        role=Role.CP,
        entity="CP-1",
        keys={1: credential().public_key(), 2: CENTRAL_KEY},
        status="active",
        rev=7,
        not_after_ms=T0_MS,
        station_id="3e1f9dc6-9f4b-4f0e-8d0c-000000000001",
    )
    signed = sign_record(record, b"\x77" * 32)
    return {
        "meaning": "a record signed by the registry; its text is canonical",
        "signing_key": "77" * 32,
        "record": {
            "username": "cp-1",
            "role": "cp",
            "entity": "CP-1",
            "keys": {str(epoch): b64url(key) for epoch, key in record.keys.items()},
            "status": "active",
            "rev": 7,
            "not_after_ms": T0_MS,
            "station_id": record.station_id,
        },
        "signed": signed.signed,
        "signature": signed.signature,
    }


def _channel(secrets: Secrets) -> dict[str, Any]:
    """Everything after SESSION, sealed with the keys of handshake-session."""
    vectors: dict[str, Any] = {}
    common = {"time_s": CLOCK_S, "iv": IV.hex()}
    vectors["ready"] = {
        "meaning": "READY of both sides: the first token of each direction",
        **common,
        "c2s_key": fernet_key(secrets.c2s).decode(),
        "s2c_key": fernet_key(secrets.s2c).decode(),
        "c2s_frame": data(ChosenIv(secrets.c2s).seal(token.READY, b"")),
        "s2c_frame": data(ChosenIv(secrets.s2c).seal(token.READY, b"")),
    }
    vectors |= {"rekey": {"meaning": "READY, KEY_UPDATE, heartbeat under the next key", **common, **_rekey(secrets)}}
    control = (
        ("ping", token.PING, b""),
        ("pong", token.PONG, b""),
        *((f"close-{code.name.lower()}", token.CLOSE, close_body(code)) for code in CloseCode),
    )
    rows = []
    for name, kind, body in control:
        chosen = ChosenIv(secrets.c2s)
        chosen.seal(token.READY, b"")
        rows.append({"name": name, "kind": kind, "body": body.hex(), "frame": data(chosen.seal(kind, body))})
    vectors["control"] = {
        "meaning": "PING, PONG and every CLOSE as token 1 after READY, client to Central",
        **common,
        "key": fernet_key(secrets.c2s).decode(),
        "rows": rows,
    }
    for message in SAMPLES:
        senders, readers = directions(type(message))
        direction, secret = ("c2s", secrets.c2s) if senders else ("s2c", secrets.s2c)
        chosen = ChosenIv(secret)
        chosen.seal(token.READY, b"")
        body = codec.encode(message)
        name = codec.tag_of(type(message))
        vectors[f"message-{name}"] = {
            "meaning": pretty(message),
            "from": senders or ["central"],
            "to": readers or ["central"],
            "msgpack": body.hex(),
            **common,
            "key": fernet_key(secret).decode(),
            "direction": direction,
            "seq": 1,
            "frame": data(chosen.seal(token.APP, body)),
        }
    return vectors


def _rekey(secrets: Secrets) -> Any:
    chosen = ChosenIv(secrets.c2s)
    ready = chosen.seal(token.READY, b"")
    update = chosen.seal(token.KEY_UPDATE, b"")
    chosen.next_epoch()
    beat = chosen.seal(token.APP, codec.encode(m.Heartbeat()))
    return {
        "key_0": fernet_key(secrets.c2s).decode(),
        "key_1": fernet_key(next_secret(secrets.c2s)).decode(),
        "frames": [data(ready), data(update), data(beat)],
    }


def text(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for file_name, content in build().items():
        (FOLDER / f"{file_name}.json").write_text(text(content), encoding="utf-8")
