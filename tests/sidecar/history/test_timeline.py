"""What people read of a record: the words of the log's own tools, nothing of a stranger's, and nobody's name."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.event_codec import encode, kind_of
from evcharge.domain import reasons as domain
from evcharge.domain.events import EVENTS
from evcharge.domain.words import LeftCause, LimitReason, ReservationEnd, Stamp, StopCause
from evcharge.energy.model import Input
from evcharge.net.tail import read
from evcharge.sidecar.gateway.site import masked
from evcharge.sidecar.history import timeline
from evcharge.sidecar.history.kinds import DECISIONS, PASSED
from evcharge.sidecar.history.reasons import basis_sentence, objection_sentence, read_basis, read_objections
from evcharge.sidecar.history.timeline import Entry, tell
from protocol.messages import StoredView
from tests.support.generated_logs import lived

WATTS = st.integers(-5_000, 500_000)
AGES = st.integers(0, 10**9)
NODES = st.sampled_from(["north", "site/L1", "CP-1/2"])
BOUNDS = st.builds(
    domain.Bound,
    constraint=st.sampled_from(domain.Constraint),
    node=NODES,
    limit_w=WATTS,
    others_w=WATTS,
    sharing=st.integers(0, 30),
    base_w=st.integers(0, 400_000),
    rated_w=st.integers(0, 500_000),
)
INPUTS = st.builds(Input, name=st.sampled_from(["plan", "base load of north"]), age_ms=AGES)
REJECTED = st.builds(domain.Rejected, limit_w=WATTS, constraint=st.sampled_from(domain.Constraint))
BASES = st.builds(
    domain.Basis,
    bound=BOUNDS,
    inputs=st.lists(INPUTS, max_size=3).map(tuple),
    rejected=st.lists(REJECTED, max_size=2).map(tuple),
)
MAYBE = st.none() | st.integers(0, 10**13)
OBJECTIONS = st.builds(
    domain.Objection,
    obstacle=st.sampled_from(domain.Obstacle),
    at=NODES,
    detail=st.sampled_from(["", "FAULT", "Engine"]),
    age_ms=st.none() | AGES,
    value=MAYBE,
    limit=MAYBE,
)


def as_logged(field: str, value: object) -> dict[str, object]:
    decoded: object = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    return {field: decoded}


@given(BASES, st.integers(0, 5_000))
def test_a_basis_reads_as_in_the_log_s_own_tools(basis: domain.Basis, least_w: int) -> None:
    mine = read_basis(as_logged("basis", basis))
    assert mine is not None
    assert basis_sentence(mine, least_w) == domain.sentence(basis, least_w)


@given(OBJECTIONS)
def test_an_objection_reads_as_in_the_log_s_own_tools(against: domain.Objection) -> None:
    (mine,) = read_objections(as_logged("against", [against]))
    assert objection_sentence(mine) == domain.objection_sentence(against)


@given(st.binary(max_size=60), st.sampled_from(sorted(map(kind_of, EVENTS))))
def test_any_bytes_have_a_sentence(data: bytes, kind: str) -> None:
    assert tell(Entry(kind, data), masked, whole=False).text


@given(
    st.dictionaries(
        st.sampled_from(["cp_id", "driver_id", "against", "basis", "grant", "ticket", "cause", "eta_ms", "until_ms"]),
        st.none() | st.integers(-(2**63), 2**63) | st.text(max_size=9) | st.lists(st.integers(), max_size=2),
    ),
    st.sampled_from(sorted(map(kind_of, EVENTS))),
)
def test_fields_of_any_type_have_a_sentence(data: dict[str, object], kind: str) -> None:
    packed = msgspec.msgpack.encode({name: value for name, value in data.items() if not _large(value)})
    assert tell(Entry(kind, packed), masked, whole=False).text


def _large(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, int) and not -(2**63) <= each < 2**64 for each in values)


def test_every_kind_of_event_is_told_in_a_sentence_of_its_own() -> None:
    kinds = {kind_of(event) for event in EVENTS}
    assert kinds - PASSED - {"set_point_issued"} <= set(timeline._SENTENCES)
    assert kinds >= DECISIONS
    assert set(timeline._STOPPED) == {cause.value for cause in StopCause}
    assert set(timeline._LEFT) == {cause.value for cause in LeftCause}
    assert set(timeline._ENDED) == {cause.value for cause in ReservationEnd}
    assert set(timeline._LIMITED) == {reason.value for reason in LimitReason}


def test_whole_days_are_told_without_a_question_mark_or_a_name() -> None:
    told = []
    for seed in range(12):
        for body in lived(seed).log:
            record = read(StoredView(seq=1, durable=0, body=body))
            data = msgspec.msgpack.encode(record.data)
            whole = tell(Entry(record.kind, data), str)
            assert "?" not in whole.text, (record, whole)
            told.append(tell(Entry(record.kind, data), masked, whole=False).text)
    for driver in ("d-0", "d-1", "d-2"):
        assert not [text for text in told if driver in text.replace("*", "").split()]


def test_a_set_point_has_its_limit_its_reason_and_what_bound_it() -> None:
    from evcharge.domain import events as e
    from evcharge.energy.leases import Grant
    from evcharge.ids import SessionId

    bound = domain.Bound(domain.Constraint.CAPACITY, "north", 100_000, 60_000, 4)
    event = e.SetPointIssued(
        session_id=SessionId("s"),
        grant=Grant(1, 10_000, 1_400, 9),
        reason=LimitReason.SHARED,
        basis=domain.Basis(bound),
    )
    record = read(StoredView(seq=1, durable=0, body=encode(event, Stamp(at_ms=1, clock_ms=1))))
    said = tell(Entry(record.kind, msgspec.msgpack.encode(record.data)), str)
    assert said.why == "north has 100 kW, 40 kW of it shared by 4"
    assert said.text == f"set-point 10 kW (1.4 kW if Central is lost): {said.why}"
