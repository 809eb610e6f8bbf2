"""What may be typed, and the sentence for everything that may not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.console.lines import Ask, LineError, Reader, Say, Token, Wire, help_lines, type_lines
from protocol import messages as m
from protocol.cipher import max_body
from protocol.credentials import Role
from protocol.frames import MAX_FRAME
from protocol.states import FROM_CENTRAL


def said(reader: Reader, text: str) -> Say:
    line = reader.read(text)
    assert isinstance(line, Say)
    return line


def test_a_message_and_its_id() -> None:
    reader = Reader(Role.DRIVER, raw=False)
    assert said(reader, '{"type":"list"}').legal == m.List(id=1)
    assert said(reader, ' {"type":"list","id":7} ').request == 7
    assert said(reader, '{"type":"list"}').legal == m.List(id=8)
    assert said(reader, '{"type":"list","id":"a"}').request == "a"
    assert said(reader, '{"type":"ticket_received","ticket_id":"t"}').request is None
    assert reader.read("") is None
    assert reader.read("# a comment") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("list", "This is no JSON"),
        ("[1]", "is a JSON object"),
        ("{}", "has no `type`. Role driver may now send cancel_reservation, charge_request, end_charge, leave_queue,"),
        ('{"type":5}', "has no `type`"),
        ('{"type":"lst"}', "There is no type `lst`; did you mean `list`?"),
        ('{"type":"qqqq"}', "There is no type `qqqq`. Role driver"),
        ('{"type":"stop"}', "`stop` is not legal now. Role driver may now send"),
        ('{"type":"reply","re":1}', "`reply` is not legal now"),
        ('{"type":"charge_request","cp":"CP-1"}', "has no field `cp`; did you mean `cp_id`?"),
        ('{"type":"charge_request"}', "It has id, cp_id (needed), connector=0, energy_wh=null"),
        ('{"type":"charge_request","cp_id":"CP-1","connector":99}', "`int` <= 32"),
        ('{"type":"charge_request","cp_id":""}', "length >= 1"),
        ("!hex 00", "--raw"),
        ("/hlp", "There is no /hlp"),
        ("/", "There is no /"),
        ('{"type":"\\u001b[2J"}', "`\\x1b[2J`"),
    ],
)
def test_the_sentence_names_the_possibilities(text: str, says: str) -> None:
    with pytest.raises(LineError) as caught:
        Reader(Role.DRIVER, raw=False).read(text)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


def test_legality_follows_the_state() -> None:
    reader = Reader(Role.CP, raw=False)
    with pytest.raises(LineError, match="comes after boot"):
        reader.read('{"type":"plugged","connector":1}')
    boot = said(reader, '{"type":"boot","connectors":[{"connector":1,"min_w":0,"max_w":7400}]}').legal
    assert boot is not None
    with pytest.raises(LineError):
        reader.read('{"type":"plugged","connector":1}')
    reader.sent(boot)
    assert said(reader, '{"type":"plugged","connector":1}').legal == m.Plugged(connector=1)


def test_raw_sends_what_the_protocol_forbids() -> None:
    reader = Reader(Role.DEBUG, raw=True)
    assert said(reader, '{"type":"list"}').legal == m.List(id=1)
    stop = said(reader, '{"type":"stop","id":3,"x":[1]}')
    assert (stop.legal, stop.request) == (None, 3)
    assert msgspec.msgpack.decode(stop.body) == {"type": "stop", "id": 3, "x": [1]}
    assert said(reader, "[1,null]").body == b"\x92\x01\xc0"
    assert reader.read("!hex 00 00 00 01ff") == Wire(bytes.fromhex("00000001ff"))
    assert reader.read("!token ping") == Token(2, b"")
    assert reader.read("!token 77 0a0b") == Token(77, b"\x0a\x0b")
    for bad in ("!hex", "!hex zz", "!token", "!token 256", "!token ping 0", "!what", "1" * 40 + "0" * 4000, "{"):
        with pytest.raises(LineError):
            reader.read(bad)


def test_what_fits_in_no_frame_is_not_sent() -> None:
    reader = Reader(Role.DEBUG, raw=True)
    most = max_body(MAX_FRAME)
    assert isinstance(reader.read(f"!token 0 {'00' * most}"), Token)
    for text in (f"!token 0 {'00' * (most + 1)}", f'"{"x" * most}"'):
        with pytest.raises(LineError, match="fits in no frame"):
            reader.read(text)


def test_commands() -> None:
    reader = Reader(Role.DRIVER, raw=False)
    assert reader.read("/q") == Ask("/quit", "")
    assert reader.read("/types charge_request") == Ask("/types", "charge_request")
    assert any("cp_id (needed)" in line for line in type_lines(reader, ""))
    with pytest.raises(LineError, match="did you mean `list`"):
        list(type_lines(reader, "lists"))
    assert "!hex" in "".join(help_lines(raw=True))
    assert "!hex" not in "".join(help_lines(raw=False))


@given(st.sampled_from(sorted(FROM_CENTRAL)), st.booleans(), st.text() | st.from_regex(r"[/!{\[\"].*"))
def test_any_line_is_understood_or_refused_in_printable_words(role: Role, raw: bool, text: str) -> None:
    try:
        Reader(role, raw=raw).read(text)
    except LineError as error:
        assert str(error).isprintable()
