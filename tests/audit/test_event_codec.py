"""Events as bodies of records. The golden bytes are what logs in the field hold: they may be added to, never changed.

After a wanted change of an event: raise its ``VERSION``, write an upcaster, and add the new bytes with
``python -m tests.audit.test_event_codec``; the old ones stay.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.event_codec import LoggedEvent, UnknownKind, decode, encode, kind_of
from evcharge.domain import events as e
from evcharge.domain.words import Stamp
from tests.support.samples import SAMPLES

GOLDEN = Path(__file__).with_name("golden_events.json")
STAMP = Stamp(at_ms=1_700_000_000_123, clock_ms=50_000_000, actor="driver:anna", source="10.0.0.1")
KINDS = [kind_of(type(sample)) for sample in SAMPLES]


def golden() -> dict[str, str]:
    """Body in hexadecimal digits by kind and version."""
    loaded: dict[str, str] = json.loads(GOLDEN.read_text(encoding="ascii"))
    return loaded


def name_of(sample: e.Event) -> str:
    return f"{kind_of(type(sample))} {sample.VERSION}"


def test_there_is_a_sample_and_a_golden_body_of_every_kind() -> None:
    assert [type(sample) for sample in SAMPLES] == list(e.EVENTS)
    assert {name_of(sample) for sample in SAMPLES} <= set(golden())


@pytest.mark.parametrize("sample", SAMPLES, ids=KINDS)
def test_samples_leave_no_field_at_its_default(sample: e.Event) -> None:
    fields = msgspec.structs.fields(type(sample))
    assert [field.name for field in fields if getattr(sample, field.name) == field.default] == []


@pytest.mark.parametrize("sample", SAMPLES, ids=KINDS)
def test_golden_bytes(sample: e.Event) -> None:
    assert encode(sample, STAMP).hex() == golden()[name_of(sample)]


@pytest.mark.parametrize("name", golden())
def test_every_body_ever_written_is_read(name: str) -> None:
    logged = decode(bytes.fromhex(golden()[name]))
    assert isinstance(logged, LoggedEvent)
    assert logged.stamp == STAMP
    assert kind_of(type(logged.event)) == name.split()[0]


@pytest.mark.parametrize("sample", SAMPLES, ids=KINDS)
def test_round_trip(sample: e.Event) -> None:
    assert decode(encode(sample, STAMP)) == LoggedEvent(STAMP, sample)


@pytest.mark.parametrize("sample", SAMPLES, ids=KINDS)
def test_any_msgpack_reads_a_body(sample: e.Event) -> None:
    kind, version, rest = msgpack.unpackb(encode(sample, STAMP))
    assert (kind, version) == (kind_of(type(sample)), sample.VERSION)
    assert rest["actor"] == "driver:anna"
    assert set(rest) == {"at_ms", "clock_ms", "actor", "source", "data"}
    assert set(rest["data"]) == set(sample.__struct_fields__)


@pytest.mark.parametrize(
    "said", [{}, {"by": "dispatcher"}, {"trace": "7f3c-19"}, {"by": "dispatcher", "trace": "7f3c-19"}]
)
def test_whom_it_was_for_stands_there_only_where_it_was_said(said: dict[str, str]) -> None:
    stamp = msgspec.structs.replace(STAMP, **said)
    body = encode(SAMPLES[-1], stamp)
    assert decode(body) == LoggedEvent(stamp, SAMPLES[-1])
    rest = msgpack.unpackb(body)[2]
    assert set(rest) == {"at_ms", "clock_ms", "actor", "source", "data"} | set(said)
    assert list(rest)[-1] == "data"
    assert (body == encode(SAMPLES[-1], STAMP)) == (not said)


def test_maps_keep_their_order() -> None:
    """The first substation takes the charge points that are not named: order means something."""
    logged = decode(encode(SAMPLES[0], STAMP))
    assert logged is not None
    assert isinstance(logged.event, e.CentralStarted)
    assert list(logged.event.site.capacities) == ["zoo", "main"]


def test_defaults_are_left_out() -> None:
    _, _, rest = msgpack.unpackb(encode(e.PeerRefused(code="x"), Stamp(at_ms=1, clock_ms=2)))
    assert rest["data"] == {"code": "x"}


def test_kinds_are_snake_case_and_unique() -> None:
    assert kind_of(e.ChargeAuthorized) == "charge_authorized"
    assert len(set(KINDS)) == len(e.EVENTS)
    assert "mark" not in KINDS


def test_a_mark_is_no_event() -> None:
    assert decode(bytes.fromhex("93a46d61726b0180")) is None


@pytest.mark.parametrize(
    ("kind", "version"), [("session_teleported", 1), ("central_stopped", 2), ("central_stopped", 0)]
)
def test_an_unknown_kind_or_version(kind: str, version: int) -> None:
    body = msgspec.msgpack.encode((kind, version, {"at_ms": 1, "clock_ms": 2, "data": {}}))
    with pytest.raises(UnknownKind, match="newer evcharge"):
        decode(body)


@pytest.mark.parametrize("sample", SAMPLES, ids=KINDS)
def test_a_body_that_is_cut_or_too_long(sample: e.Event) -> None:
    body = encode(sample, STAMP)
    for length in range(len(body)):
        with pytest.raises(msgspec.DecodeError):
            decode(body[:length])
    with pytest.raises(msgspec.DecodeError):
        decode(body + b"\x00")


@given(body=st.binary(max_size=200))
def test_any_bytes_are_an_event_or_an_error(body: bytes) -> None:
    with suppress(UnknownKind, msgspec.DecodeError):
        decode(body)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), which=st.integers(0, len(SAMPLES) - 1))
def test_any_changed_byte_is_an_event_or_an_error(position: int, value: int, which: int) -> None:
    body = bytearray(encode(SAMPLES[which], STAMP))
    body[position % len(body)] = value
    with suppress(UnknownKind, msgspec.DecodeError):
        decode(bytes(body))


if __name__ == "__main__":
    old = golden() if GOLDEN.exists() else {}
    new = {name_of(sample): encode(sample, STAMP).hex() for sample in SAMPLES}
    GOLDEN.write_text(json.dumps({**new, **old}, indent=1) + "\n", encoding="ascii")
