"""What a stranger sends becomes a struct, or every mistake in it has its own sentence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from evcharge.sidecar.web.problem import Problem
from evcharge.sidecar.web.reading import decode_object, read


class Wish(msgspec.Struct, kw_only=True):
    vehicle_id: Annotated[str, Meta(min_length=1, max_length=64)]
    requested_kw: Annotated[float, Meta(gt=0, le=1_000)]
    mode: Literal["pareto", "legacy"] = "pareto"
    seconds: int | None = None

    def __post_init__(self) -> None:
        if self.seconds == 13:
            raise ValueError("seconds is a bad number")


def problems(given: dict[str, object], *, text: bool = False) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        read(given, Wish, text=text)
    assert caught.value.status == 422
    return caught.value.fields


def test_each_bad_field_has_its_sentence() -> None:
    assert problems({"vehicle_id": "", "requested_kw": "7", "mode": "fast", "secunds": 1}) == {
        "vehicle_id": "has to be str of length >= 1.",
        "requested_kw": "has to be float, not str.",
        "mode": "is one of pareto, legacy.",
        "secunds": "is not known; did you mean seconds?",
    }
    assert problems({}) == {"vehicle_id": "is missing.", "requested_kw": "is missing."}
    assert problems({"vehicle_id": "v", "requested_kw": 7, "seconds": 13}) == {"seconds": "is a bad number."}


def test_words_of_a_query_become_numbers() -> None:
    assert read({"vehicle_id": "7", "requested_kw": "7.5", "seconds": "60"}, Wish, text=True).seconds == 60
    assert problems({"vehicle_id": "v", "requested_kw": "much"}, text=True) == {
        "requested_kw": "has to be float, not str."
    }
    assert problems({"vehicle_id": "v", "requested_kw": "nan"}, text=True)


def test_a_flood_of_fields_is_not_said_again() -> None:
    many: dict[str, object] = {f"x{number}\x1b" * 30: 1 for number in range(1_000)}
    said = problems(many)
    assert len(said) <= 20
    assert all(len(name) <= 40 and name.isprintable() for name in said)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'"x"', b"\xff", b'{"a":"\xff"}', b"[" * 5_000, b'{"a":NaN}'])
def test_what_is_no_object_is_a_400(data: bytes) -> None:
    with pytest.raises(Problem) as caught:
        decode_object(data)
    assert caught.value.status == 400


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


@given(
    st.dictionaries(st.sampled_from(["vehicle_id", "requested_kw", "mode", "seconds"]) | st.text(), _JSON),
    st.booleans(),
)
def test_anything_is_a_struct_or_a_problem(given: dict[str, Any], text: bool) -> None:
    try:
        wish = read(given, Wish, text=text)
    except Problem as problem:
        assert problem.fields
    else:
        assert 0 < wish.requested_kw <= 1_000
