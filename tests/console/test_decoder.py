"""Decoding without a channel: every golden vector, epochs, the middle of a stream, and any bytes at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from evcharge.console.keys import Keyring
from evcharge.console.rows import MAX_LINE, to_json, to_lines
from tests.console.support import SID, VECTORS, leaf, recording, rows, vector

MESSAGES = sorted(path.stem for path in VECTORS.glob("message-*.json"))
KEY = vector("message-list")["key"]


def token_frame(plain: bytes, key: str = KEY) -> bytes:
    """A DATA frame with a token of ``cryptography``'s own Fernet."""
    token = Fernet(key.encode()).encrypt_at_time(plain, 1_763_683_200)
    return (len(token) + 1).to_bytes(4, "big") + b"\x10" + token


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_of_the_vectors(name: str) -> None:
    golden = vector(name)
    frame = bytes.fromhex(golden["frame"])
    found, _ = rows(recording((golden["direction"], frame)), leaf(golden["key"], golden["direction"]))
    assert found.message is not None
    assert _in_hex(found.message) == golden["meaning"]
    assert (found.kind, found.seq, found.epoch, found.size) == ("APP", golden["seq"], 0, len(frame))
    assert found.stamp_s == golden["time_s"]


def _in_hex(value: Any) -> Any:
    """Bytes as the vectors have them: their hex alone."""
    if isinstance(value, dict):
        return value["hex"] if list(value) == ["hex"] else {key: _in_hex(each) for key, each in value.items()}
    return [_in_hex(each) for each in value] if isinstance(value, list) else value


def test_control_tokens() -> None:
    golden = vector("control")
    key = leaf(golden["key"])
    for row in golden["rows"]:
        found, _ = rows(recording(("c2s", bytes.fromhex(row["frame"]))), key)
        assert found.kind == ("PING", "PONG", "CLOSE")[row["kind"] - 2]
        code = row["name"].removeprefix("close-").upper()
        assert found.fields == ({"code": code} if row["kind"] == 4 else None)


def test_a_handshake_shows_types_sizes_and_what_is_clear() -> None:
    names = ("hello", "reply", "auth", "session")
    pieces = [(("c2s", "s2c")[n % 2], bytes.fromhex(vector(f"handshake-{it}")["frame"])) for n, it in enumerate(names)]
    found = rows(recording(*pieces))[:4]
    assert [row.frame for row in found] == ["HELLO", "REPLY", "AUTH", "SESSION"]
    assert [row.size for row in found] == [len(data) for _, data in pieces]
    assert found[0].fields == {"versions": [1], "central_kid": pieces[0][1][12:20].hex()}
    refuse, alert, _ = rows(
        recording(*[("s2c", bytes.fromhex(vector(name)["frame"])) for name in ("handshake-refuse", "alert")])
    )
    assert (refuse.frame, alert.frame, alert.fields) == ("REFUSE", "ALERT", {"hint": "VERSION"})


def test_epochs_and_what_one_key_opens() -> None:
    golden = vector("rekey")
    pieces = [("c2s", bytes.fromhex(frame)) for frame in golden["frames"]]
    first, second = leaf(golden["key_0"]), leaf(golden["key_1"], epoch=1)
    found = rows(recording(*pieces), second, first)
    assert [(row.kind, row.epoch) for row in found[:3]] == [("READY", 0), ("KEY_UPDATE", 0), ("APP", 1)]
    assert found[2].message == {"type": "heartbeat"}
    # One leaf key opens its own epoch, from the middle too, and nothing else.
    *sealed, opened, total = rows(recording(*pieces), second)
    assert [row.text for row in sealed] == ["sealed, no key"] * 2
    assert (opened.kind, opened.seq) == ("APP", 2)
    assert total.text == "3 frames from the client, 0 from Central, 2 of them sealed without a key."
    (only, _) = rows(recording(pieces[2]), second)
    assert only.message == {"type": "heartbeat"}
    assert all(row.epoch is None for row in rows(recording(*pieces)))


def test_a_key_of_another_channel_or_direction_opens_nothing() -> None:
    golden = vector("message-list")
    frame = bytes.fromhex(golden["frame"])
    assert rows(recording(("s2c", frame)), leaf(golden["key"], "c2s"))[0].text == "sealed, no key"
    other = leaf(golden["key"])._replace(key=Fernet.generate_key())
    assert rows(recording(("c2s", frame)), other)[0].text == "sealed, no key"


def test_a_repeated_token_is_named() -> None:
    golden = vector("message-list")
    frame = ("c2s", bytes.fromhex(golden["frame"]))
    assert rows(recording(frame, frame), leaf(golden["key"]))[1].text == "out of order: token 1 where 2 is due"


def test_frames_may_be_cut_anywhere() -> None:
    golden = vector("message-list")
    frame = bytes.fromhex(golden["frame"])
    whole = rows(recording(("c2s", frame)), leaf(golden["key"]))[0].message
    for cut in range(1, len(frame)):
        found, _ = rows(recording(("c2s", frame[:cut]), ("c2s", frame[cut:])), leaf(golden["key"]))
        assert found.message == whole


def test_damage_is_named_with_its_place() -> None:
    frame = bytes.fromhex(vector("message-list")["frame"])
    size = len(frame)
    bad, total = rows(recording(("c2s", frame[:-1])))
    assert (bad.what, bad.text) == ("bad", f"byte 0: the data ends within a frame, {size - 1} bytes of it are here.")
    assert total.text == "0 frames from the client, 0 from Central; damaged in 1 place."
    bad = rows(recording(("c2s", frame), ("c2s", bytes(4)), ("c2s", frame)))[1]
    assert (bad.what, bad.at) == ("bad", size)
    assert bad.text is not None
    assert "A frame of 0 bytes" in bad.text


def test_text_of_the_peer_obeys_nobody() -> None:
    import msgspec

    evil = "\x1b[2J\x9b31m\x7f\r\n\u202eabc"
    body = msgspec.msgpack.encode({"type": evil, evil: evil, "b": b"\x00\xff", "n": float("nan")})
    row, _ = rows(recording(("c2s", token_frame(bytes(8) + b"\x00" + body))), leaf(KEY))
    text = "".join(to_lines(row, hexdump=True))
    assert text.isprintable()
    assert "\\x1b" in text
    line = to_json(row)
    assert line.isascii()
    assert line.isprintable()
    shown = json.loads(line)["message"]
    assert (shown[evil], shown["b"], shown["n"]) == (evil, {"hex": "00ff"}, "nan")


def test_a_long_message_is_cut_for_people_and_whole_for_scripts() -> None:
    import msgspec

    body = msgspec.msgpack.encode({"type": "x", "y": "z" * 40_000})
    row, _ = rows(recording(("c2s", token_frame(bytes(8) + b"\x00" + body))), leaf(KEY))
    (line,) = to_lines(row)
    assert len(line) < MAX_LINE + 40
    assert line.endswith("characters)")
    assert len(json.loads(to_json(row))["message"]["y"]) == 40_000


@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_authentic_token_is_shown_in_one_row(body: bytes, kind: int) -> None:
    row, _ = rows(recording(("c2s", token_frame(bytes(8) + bytes([kind]) + body))), leaf(KEY))
    assert row.kind is not None
    assert all(line.isprintable() for line in to_lines(row))
    json.loads(to_json(row))


@given(st.binary(max_size=8))
def test_a_token_without_number_and_kind(plain: bytes) -> None:
    row, _ = rows(recording(("c2s", token_frame(plain))), leaf(KEY))
    assert row.text == f"a token of {len(plain)} bytes; it needs 9 for number and kind"


def test_deep_nesting_is_a_sentence() -> None:
    for depth in (150, 5_000):
        row, _ = rows(recording(("c2s", token_frame(bytes(9) + b"\x91" * depth + b"\x00"))), leaf(KEY))
        assert row.text is not None
        assert "no msgpack that can be shown: nested" in row.text


@given(st.lists(st.tuples(st.sampled_from(["c2s", "s2c"]), st.binary(max_size=80)), max_size=6))
def test_any_bytes_on_the_wire_are_rows(pieces: list[tuple[str, bytes]]) -> None:
    found = rows(recording(*pieces), leaf(KEY))
    assert found[-1].what == "note"
    for row in found:
        json.loads(to_json(row))
        assert all(line.isprintable() for line in to_lines(row))


@given(st.binary(max_size=300))
def test_any_file_is_a_sentence(data: bytes) -> None:
    assert rows(data)[-1].what == "note"
    assert rows(b'{"evcharge_recording":1}\n' + data)[-1].what == "note"


def test_a_ring_of_keys() -> None:
    ring = Keyring([leaf(KEY), leaf(KEY, epoch=1), leaf(KEY, "s2c")])
    assert ring.after(leaf(KEY)) == leaf(KEY, epoch=1)
    ring.drop_before(leaf(KEY, epoch=1))
    assert len(ring) == 2
    assert SID.hex() in repr(leaf(KEY))
