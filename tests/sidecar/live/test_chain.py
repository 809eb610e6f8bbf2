"""The sidecar's own reader of the log against the log's own tree and notes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit.control import signing_key_body
from evcharge.audit.merkle import EMPTY_ROOT, Frontier, leaf_hash
from evcharge.net.tail import Record, read
from evcharge.sidecar.live import chain as chain_module
from evcharge.sidecar.live.chain import BadState, Chain, NotNext
from tests.sidecar.live.chains import SIGNER, STRANGER, SUCCESSOR, checkpoint_of, event_body, log_of, stored


def chain_of(records: list[Record]) -> Chain:
    chain = Chain()
    for record in records:
        chain.add(record)
    return chain


@given(st.integers(1, 200), st.integers(0, 200))
def test_its_root_is_the_trees_at_every_size_and_after_every_restart(count: int, restart: int) -> None:
    chain, frontier = Chain(), Frontier()
    assert chain.root() == EMPTY_ROOT
    for record in log_of(count):
        if record.seq == restart:
            chain = Chain.restore(chain.state())
        chain.add(record)
        frontier.extend([leaf_hash(record.seq, record.durable, record.body)])
        assert chain.root() == frontier.root()
        assert chain.size == frontier.size


@given(st.integers(1, 100), st.data())
def test_a_checkpoint_is_compared_at_its_own_size(count: int, data: st.DataObject) -> None:
    records = log_of(count)
    size = data.draw(st.integers(1, count))
    asked = data.draw(st.integers(0, count))
    checkpoint = checkpoint_of(records[:size])
    chain = chain_of(records[:asked])
    if chain.judge(checkpoint).ok is None:
        assert asked < size
    for record in records[asked:]:
        chain.add(record)
    # Whether it was read before or behind its own records: the answer is the same.
    assert chain.verdict.ok is True
    assert chain.verdict.seq == size


@given(st.integers(2, 60), st.data())
def test_a_record_that_is_not_the_signed_one_never_passes(count: int, data: st.DataObject) -> None:
    records = log_of(count)
    checkpoint = checkpoint_of(records)
    place = data.draw(st.integers(1, count - 1))
    records[place] = read(stored([event_body("hold_lifted", 1, cp_id="CP-9")], place + 1)[0])
    verdict = chain_of(records).judge(checkpoint)
    assert verdict.ok is False
    assert "evcharge-audit verify" in verdict.sentence


def test_what_a_checkpoint_is_waited_for_is_not_called_good() -> None:
    records = log_of(10)
    chain = chain_of(records[:4])
    verdict = chain.judge(checkpoint_of(records))
    assert verdict == (None, 0, "4 of 10 signed records were read so far.")


def test_a_contradiction_stays_one_also_after_a_restart() -> None:
    records = log_of(10)
    other = [*records[:9], read(stored([event_body("hold_lifted", 1, cp_id="CP-9")], 10)[0])]
    chain = chain_of(records)
    assert chain.judge(checkpoint_of(other)).ok is False
    assert chain.judge(checkpoint_of(records)).ok is False
    again = Chain.restore(chain.state())
    assert again.judge(checkpoint_of(records)).ok is False
    assert again.verdict.sentence == chain.verdict.sentence


def test_a_log_that_lost_its_end() -> None:
    records = log_of(10)
    chain = chain_of(records)
    assert chain.judge(checkpoint_of(records), newest_seq=10, asked_at=10).ok is True
    verdict = chain.judge(checkpoint_of(records[:8]), newest_seq=8, asked_at=10)
    assert verdict.ok is False
    assert "lost its end" in verdict.sentence


def test_an_answer_that_was_under_way_while_records_came_is_no_loss() -> None:
    records = log_of(10)
    verdict = chain_of(records).judge(checkpoint_of(records[:8]), newest_seq=8, asked_at=8)
    assert verdict.ok is True
    assert verdict.seq == 8


def test_a_successor_that_the_key_before_it_named() -> None:
    records = log_of(4)
    records.append(read(stored([signing_key_body(SUCCESSOR.verifier, SIGNER)], 5)[0]))
    chain = chain_of(records)
    assert chain.judge(checkpoint_of(records, SUCCESSOR, SIGNER)).ok is True
    assert chain.keys == [str(SIGNER.verifier), str(SUCCESSOR.verifier)]


def test_a_successor_that_nobody_named() -> None:
    records = log_of(4)
    verdict = chain_of(records).judge(checkpoint_of(records, SUCCESSOR))
    assert verdict.ok is False
    assert "no record of it names" in verdict.sentence


@pytest.mark.parametrize("signed_by", [None, STRANGER])
def test_a_successor_that_the_key_before_it_did_not_sign(signed_by: None) -> None:
    records = log_of(4)
    records.append(read(stored([signing_key_body(SUCCESSOR.verifier, signed_by)], 5)[0]))
    verdict = chain_of(records).judge(checkpoint_of(records, SUCCESSOR))
    assert verdict.ok is False
    assert "did not sign" in verdict.sentence


def test_a_note_that_another_key_signed() -> None:
    records = log_of(4)
    verdict = chain_of(records).judge(checkpoint_of(records, STRANGER, key=SIGNER))
    assert verdict.ok is False
    assert "not signed by a key of this log" in verdict.sentence


@pytest.mark.parametrize(
    "change",
    [
        {"root": "00" * 32},
        {"note": ""},
        {"note": "x" * 5_000},
        {"note": "a\n\n— b c\n"},
        {"note": "a\n1\nb\n\nno dash\n"},
        {"key": "evcharge/test+00000000+AA=="},
        {"key": ""},
    ],
)
def test_a_checkpoint_that_is_none(change: dict[str, str]) -> None:
    records = log_of(4)
    assert chain_of(records).judge(msgspec.structs.replace(checkpoint_of(records), **change)).ok is False


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80), st.integers(-1, 6))
def test_no_checkpoint_raises_and_none_but_the_signed_one_passes(note: str, key: str, root: str, size: int) -> None:
    records = log_of(4)
    made = msgspec.structs.replace(checkpoint_of(records), note=note, key=key, root=root, size=size)
    assert chain_of(records).judge(made).ok is not True


def test_older_than_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "WINDOW", 4)
    records = log_of(20)
    chain = chain_of(records)
    assert chain.judge(checkpoint_of(records[:10])).ok is None
    assert chain.judge(checkpoint_of(records[:18])).ok is True


def test_records_come_in_their_order() -> None:
    records = log_of(3)
    chain = chain_of(records[:1])
    with pytest.raises(NotNext):
        chain.add(records[2])
    with pytest.raises(NotNext):
        chain.add(records[0])


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\x00",
        msgspec.msgpack.encode([3, [b"x" * 32], [], 0, None]),
        msgspec.msgpack.encode([-1, [], [], 0, None]),
    ],
)
def test_a_state_that_cannot_be(state: bytes) -> None:
    with pytest.raises(BadState):
        Chain.restore(state)
