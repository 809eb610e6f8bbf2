"""What a gateway asks about the log and free places: every field within its range, and nobody else may ask it."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import channel as token
from protocol import codec
from protocol import messages as m
from protocol.credentials import Role
from protocol.errors import MalformedMessage
from protocol.states import ALLOWED
from tests.support.wire import Pair, drain, taken

LARGEST = 2**53 - 1


def judged(fields: dict[str, Any]) -> tuple[list[m.Message], Exception | None]:
    """What Central's side makes of it."""
    pair = Pair(Role.GATEWAY).open()
    events, error = drain(pair.central, pair.forge(pair.peer, token.APP, msgpack.packb(fields)), pair.now)
    return (taken(events) if error is None else []), error


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "audit_page", "id": 1}, m.AuditPage(id=1)),
        (
            {"type": "audit_page", "id": 1, "limit": 1, "after_seq": LARGEST},
            m.AuditPage(id=1, limit=1, after_seq=LARGEST),
        ),
        ({"type": "audit_page", "id": 1, "before_seq": 0, "tail": True}, m.AuditPage(id=1, before_seq=0, tail=True)),
        ({"type": "audit_proof", "id": "a", "seq": LARGEST}, m.AuditProof(id="a", seq=LARGEST)),
        ({"type": "audit_state", "id": 1}, m.AuditState(id=1)),
        ({"type": "assign", "id": 1, "power_w": -LARGEST}, m.Assign(id=1, power_w=-LARGEST)),
        ({"type": "query", "id": 1, "what": "tickets", "one": "t-1"}, m.Query(id=1, what="tickets", one="t-1")),
    ],
)
def test_the_edges_are_legal(fields: dict[str, Any], expected: m.Message) -> None:
    assert judged(fields) == ([expected], None)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "audit_page"},
        {"type": "audit_page", "id": 1, "limit": 0},
        {"type": "audit_page", "id": 1, "limit": 101},
        {"type": "audit_page", "id": 1, "limit": None},
        {"type": "audit_page", "id": 1, "after_seq": -1},
        {"type": "audit_page", "id": 1, "after_seq": LARGEST + 1},
        {"type": "audit_page", "id": 1, "before_seq": -1},
        {"type": "audit_page", "id": 1, "before_seq": 2**63},
        {"type": "audit_page", "id": 1, "tail": 1},
        {"type": "audit_page", "id": 1, "cp_id": ""},
        {"type": "audit_page", "id": 1, "session_id": "s" * 65},
        {"type": "audit_page", "id": 1, "kind": "k" * 65},
        {"type": "audit_proof", "id": 1},
        {"type": "audit_proof", "id": 1, "seq": -1},
        {"type": "audit_proof", "id": 1, "seq": 1.5},
        {"type": "audit_proof", "id": 1, "seq": 1, "body_from": -1},
        {"type": "audit_proof", "id": 1, "seq": 1, "body_from": LARGEST + 1},
        {"type": "audit_state"},
        {"type": "assign", "id": 1, "power_w": LARGEST + 1},
        {"type": "assign", "id": 1, "energy_wh": -LARGEST - 1},
        {"type": "assign", "id": 1, "energy_wh": 0.5},
        {"type": "assign", "id": 1, "substation_id": ""},
        {"type": "query", "id": 1, "what": "sessions", "one": ""},
        {"type": "query", "id": 1, "what": "sessions", "one": "s" * 65},
        *({"type": "query", "id": 1, "what": what, "one": "x"} for what in ("totals", "optimization", "waiting")),
        {"type": "query", "id": 1, "what": "reservations", "one": "x"},
    ],
)
def test_beyond_them_is_malformed(fields: dict[str, Any]) -> None:
    said, error = judged(fields)
    assert said == [] and type(error) is MalformedMessage


ASKED = (m.AuditPage, m.AuditProof, m.AuditState, m.Assign)


def test_only_a_gateway_asks() -> None:
    for kind in ASKED:
        assert {role for (role, _), legal in ALLOWED.items() if kind in legal} == {Role.GATEWAY}
    assert m.Why in codec.of_role(Role.GATEWAY)
    assert m.EndCharge not in codec.of_role(Role.GATEWAY), "nobody stops another's session"


@given(st.data())
def test_any_values_are_a_message_or_malformed(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(ASKED))
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=70)
    fields = data.draw(st.dictionaries(st.sampled_from(names), values))
    said, error = judged({"type": codec.tag_of(kind), "id": 1} | fields)
    if error is not None:
        assert type(error) is MalformedMessage
        return
    (message,) = said
    assert type(message) is kind
    for name, value in fields.items():
        assert getattr(message, name) == value


def test_a_proof_in_a_reply_is_the_json_of_a_proof() -> None:
    """No field more than the file has, in its order."""
    view = m.ProofView(type="evcharge inclusion 1", seq=2, durable=1, body="AA==", proof=[], checkpoint="c")
    assert msgspec.json.encode(view) == (
        b'{"type":"evcharge inclusion 1","seq":2,"durable":1,"body":"AA==","proof":[],"checkpoint":"c"}'
    )
