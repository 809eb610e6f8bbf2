"""Messages against plain msgpack, the independent oracle; and the golden vectors."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from cryptography.fernet import Fernet

from protocol import codec
from protocol import messages as m
from protocol.credentials import ROLES, Role, b64url_decode
from protocol.dialogue import Dialogue
from protocol.errors import LocalProtocolError, MalformedMessage, UnexpectedMessage
from protocol.frames import FrameDecoder
from protocol.records import SignedRecord, open_record
from protocol.states import ALLOWED, FROM_CENTRAL
from tests.support.wire import split_frames, token_of
from tests.wire.golden import CLOCK_S, FOLDER, build, in_hex, text
from tests.wire.golden_samples import SAMPLES

FILES = sorted(FOLDER.glob("*.json"))
MESSAGES = [path for path in FILES if path.name.startswith("message-")]


def load(path: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_one_sample_of_each_type() -> None:
    every = get_args(m.FromPeer) + get_args(m.FromCentral)
    assert {type(one) for one in SAMPLES} == set(every) and len(SAMPLES) == len(set(every))
    assert {kind.__name__ for kind in every} == {kind.__name__ for kind in codec.KNOWN.values()}


def test_types_are_the_class_names_in_snake_case() -> None:
    for tag, kind in codec.KNOWN.items():
        assert tag == "".join("_" + c.lower() if c.isupper() else c for c in kind.__name__).lstrip("_")


@pytest.mark.parametrize("message", SAMPLES, ids=lambda one: codec.tag_of(type(one)))
def test_plain_msgpack_agrees(message: m.Message) -> None:
    data = codec.encode(message)
    fields = msgpack.unpackb(data)
    assert fields == msgspec.to_builtins(message, builtin_types=(bytes,))
    assert fields["type"] == codec.tag_of(type(message))
    again = msgpack.packb(fields)
    for role in ROLES.values():
        if role in FROM_CENTRAL and type(message) in FROM_CENTRAL[role]:
            assert codec.FROM_SERVER[role](again) == message
        if role in FROM_CENTRAL and type(message) in codec.of_role(role):
            assert codec.FROM_PEER[role](again) == message


def test_defaults_do_not_travel() -> None:
    assert msgpack.unpackb(codec.encode(m.Heartbeat())) == {"type": "heartbeat"}
    assert codec.encode(m.Drain(retry_after_s=1)) == codec.encode(m.Drain(retry_after_s=1))


def test_every_message_can_be_said_by_somebody() -> None:
    said = frozenset().union(*ALLOWED.values(), *FROM_CENTRAL.values())
    assert said == {type(one) for one in SAMPLES}


def test_fields_that_cannot_be_written() -> None:
    with pytest.raises(LocalProtocolError, match="fault"):
        codec.encode(m.Fault(code="\udcff"))
    with pytest.raises(LocalProtocolError, match="ack"):
        codec.encode(m.Ack(n=2**64))


# --- vectors ---


def test_vectors_are_what_the_code_makes() -> None:
    made = build()
    assert {path.stem for path in FILES} == set(made)
    for path in FILES:
        assert path.read_text(encoding="utf-8") == text(made[path.stem]), f"{path.name} is another wire"


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_message_vectors_without_our_code(path: Any) -> None:
    """Frame, Fernet and msgpack alone, as a stranger with another language would read it."""
    vector = load(path)
    frame = bytes.fromhex(vector["frame"])
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4 and frame[4] == 0x10
    plain = Fernet(vector["key"]).decrypt_at_time(frame[5:], 60, vector["time_s"])
    assert plain == vector["seq"].to_bytes(8, "big") + b"\0" + bytes.fromhex(vector["msgpack"])
    assert in_hex(msgpack.unpackb(plain[9:])) == vector["meaning"]


def test_other_vectors_without_our_code() -> None:
    ready, control, rekey = (load(FOLDER / f"{name}.json") for name in ("ready", "control", "rekey"))
    for side in ("c2s", "s2c"):
        sealed = bytes.fromhex(ready[f"{side}_frame"])[5:]
        assert Fernet(ready[f"{side}_key"]).decrypt_at_time(sealed, 60, CLOCK_S) == bytes(8) + b"\x05"
    for row in control["rows"]:
        plain = Fernet(control["key"]).decrypt_at_time(bytes.fromhex(row["frame"])[5:], 60, CLOCK_S)
        assert plain == (1).to_bytes(8, "big") + bytes([row["kind"]]) + bytes.fromhex(row["body"])
    for seq, (key, frame) in enumerate(zip(["key_0", "key_0", "key_1"], rekey["frames"], strict=True)):
        plain = Fernet(rekey[key]).decrypt_at_time(bytes.fromhex(frame)[5:], 60, CLOCK_S)
        assert int.from_bytes(plain[:8], "big") == seq


def test_handshake_vectors_are_whole_frames() -> None:
    for path in FILES:
        frame = load(path).get("frame")
        if frame is not None:
            data = bytes.fromhex(frame)
            assert split_frames(data) == [data]
            decoder = FrameDecoder(65_536)
            decoder.feed(data)
            assert decoder.next_frame() == (data[4], data[5:])


def test_record_vector() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    vector = load(FOLDER / "record.json")
    public = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["signing_key"])).public_key()
    record = open_record(SignedRecord(vector["signed"], vector["signature"]), public.public_bytes_raw())
    assert record.username == vector["record"]["username"]
    assert json.loads(b64url_decode(vector["signed"])) == vector["record"]


def test_tokens_in_vectors_are_of_the_data_type() -> None:
    assert all(token_of(bytes.fromhex(load(path)["frame"])).startswith(b"gAAAA") for path in MESSAGES)


@pytest.mark.parametrize("wait_s", [float("nan"), float("inf"), float("-inf"), -0.5, 604_800.5])
def test_a_wait_that_no_clock_can_keep_is_malformed(wait_s: float) -> None:
    """Found by fuzzing: what is not a number passed all bounds, and ended the client that was to wait for it."""
    data = msgpack.packb({"type": "drain", "retry_after_s": wait_s})
    with pytest.raises(MalformedMessage):
        Dialogue(Role.CP, central=False).read(data)


def test_a_message_with_what_is_not_a_number_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="not a number"):
        m.Drain(retry_after_s=float("nan"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"cp_id": "CP-1", "substation_id": "sub-1"},
        {"kind": "fog"},
        {"kind": None},
        {"active": 1},
        {"cp_id": ""},
        {"detail": "x" * 513},
        *({"temperature_c": degrees} for degrees in (float("nan"), float("inf"), -100.1, 100.1)),
    ],
    ids=str,
)
def test_an_alert_of_the_weather_that_means_nothing_is_malformed(wrong: dict[str, object]) -> None:
    right = {"type": "weather_alert", "id": 1, "kind": "cold", "active": True, "cp_id": "CP-1", "temperature_c": -100}
    told = Dialogue(Role.GATEWAY, central=True).read(msgpack.packb(right))
    assert isinstance(told, m.WeatherAlert)
    assert (told.kind, told.temperature_c, told.substation_id, told.simulated) == ("cold", -100.0, None, False)
    with pytest.raises(MalformedMessage):
        Dialogue(Role.GATEWAY, central=True).read(msgpack.packb(right | wrong))


@pytest.mark.parametrize("role", [Role.CP, Role.MONITOR, Role.DRIVER, Role.DEBUG])
def test_only_the_gateway_knows_the_weather(role: Role) -> None:
    said = msgpack.packb({"type": "weather_alert", "id": 1, "kind": "cold", "active": True})
    with pytest.raises(UnexpectedMessage):
        Dialogue(role, central=True).read(said)


def test_an_alert_that_would_be_malformed_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="not a number"):
        m.WeatherAlert(id=1, kind="cold", active=True, temperature_c=float("nan"))
    with pytest.raises(ValueError, match="do not go together"):
        m.WeatherAlert(id=1, kind="cold", active=True, cp_id="CP-1", substation_id="sub-1")
