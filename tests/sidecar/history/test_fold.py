"""The fold: the same records give the same rows however they are cut, and every watt-hour of a ticket has a quarter."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.audit.event_codec import decode
from evcharge.domain import events as e
from evcharge.domain.evolve import evolve
from evcharge.domain.state import State, Ticket
from evcharge.domain.words import SessionStatus, StopCause
from evcharge.ids import ChargePointId, CommandId, ConnectorNo, DriverId, NodeId, SessionId, TicketId
from evcharge.net.tail import Record
from evcharge.sidecar.history.course import Course, OtherLog
from evcharge.sidecar.history.fold import Fold, Misplaced
from evcharge.sidecar.history.memory import SITE, Memory, Open, Site
from evcharge.sidecar.history.spread import QUARTER_MS, Calendar
from evcharge.sidecar.history.store import Position
from evcharge.units import Grams, Millis, MinorUnits, PriceE4, WattHours, Watts
from tests.sidecar.history.support import Book, batch_of, bodies_of, cuts, records_of
from tests.support.generated_logs import lived

UTC = Calendar("UTC")
BEGIN = 1_700_000_100_000 - 1_700_000_100_000 % QUARTER_MS
A, B = SessionId("s-1"), SessionId("s-2")
CP = ChargePointId("CP-1")


def once(records: list[Record]) -> Book:
    """All of them in one pass."""
    book, fold = Book(), Fold(Memory(), UTC)
    for record in records:
        fold.take(record)
    book.apply(fold.drain())
    return book


def authorized(session_id: SessionId = A, cp_id: ChargePointId = CP) -> e.ChargeAuthorized:
    return e.ChargeAuthorized(
        session_id=session_id,
        cp_id=cp_id,
        connector=ConnectorNo(1),
        driver_id=DriverId("anna"),
        substation_id=NodeId("north"),
        min_w=Watts(1_400),
        max_w=Watts(10_000),
        energy_wh=None,
        depart_by_ms=None,
        expires_ms=Millis(BEGIN + 60_000),
        command_id=CommandId(1),
    )


def started(meter_wh: int, at_ms: int = BEGIN, session_id: SessionId = A) -> e.SupplyStarted:
    return e.SupplyStarted(session_id=session_id, meter_wh=WattHours(meter_wh), at_ms=Millis(at_ms))


def sampled(meter_wh: int, power_w: int = 0, session_id: SessionId = A) -> e.MeterSampled:
    return e.MeterSampled(session_id=session_id, meter_wh=WattHours(meter_wh), power_w=Watts(power_w))


def ticket(energy_wh: int, end_ms: int, *, provisional: bool = False, session_id: SessionId = A) -> e.TicketIssued:
    made = Ticket(
        ticket_id=TicketId(f"t-{session_id}"),
        session_id=session_id,
        cp_id=CP,
        driver_id=DriverId("anna"),
        substation_id=NodeId("north"),
        start_ms=Millis(BEGIN),
        end_ms=Millis(end_ms),
        energy_wh=WattHours(energy_wh),
        price_e4=PriceE4(3_000),
        amount_minor=MinorUnits(energy_wh * 3 // 100),
        currency="EUR",
        status=SessionStatus.INTERRUPTED if provisional else SessionStatus.COMPLETED,
        reason=StopCause.UNPLUGGED,
        average_w=Watts(0),
        co2_g=Grams(energy_wh // 4),
        final_meter_wh=WattHours(1_000 + energy_wh),
        provisional=provisional,
    )
    return e.TicketIssued(ticket=made)


def ended(meter_wh: int, at_ms: int, cause: StopCause = StopCause.UNPLUGGED) -> e.SupplyEnded:
    return e.SupplyEnded(session_id=A, meter_wh=WattHours(meter_wh), cause=cause, at_ms=Millis(at_ms))


def quarters(book: Book, node: str = SITE) -> dict[int, int]:
    """Wh by quarter, counted from the first."""
    return {(at - BEGIN) // QUARTER_MS: wh for (name, at), (wh, _) in sorted(book.nodes.items()) if name == node and wh}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_any_day_cut_anywhere_with_repeats_is_one_pass(seed: int) -> None:
    records = records_of(lived(seed).log)
    rng = random.Random(seed)
    book, memory = Book(), Memory()
    for end in cuts(rng, len(records)):
        # A restart: what is remembered goes through the database.
        site = msgspec.msgpack.decode(msgspec.msgpack.encode(memory.site), type=Site)
        kept = [msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Open) for one in memory.sessions.values()]
        memory = Memory(seq=memory.seq, site=site, sessions={one.session_id: one for one in kept})
        fold = Fold(memory, UTC)
        for record in records[max(0, memory.seq - rng.randrange(20)) : end]:
            fold.take(record)
        book.apply(fold.drain())
    assert book.all() == once(records).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_the_quarters_of_any_day_are_its_tickets_to_the_watt_hour(seed: int) -> None:
    log = lived(seed).log
    state = State()
    for body in log:
        logged = decode(body)
        assert logged is not None
        evolve(state, logged.event, logged.stamp)
    records = records_of(log)
    fold, book = Fold(Memory(), UTC), Book()
    for record in records:
        fold.take(record)
    book.apply(fold.drain())
    billed = sum(one["energy_wh"] + one["adjusted_wh"] for one in book.tickets.values())
    assert billed == state.totals.energy_wh
    running = {name: one for name, one in fold.memory.sessions.items() if one.ticket_id is None}
    drawn = billed + sum(one.energy_wh for one in running.values())
    assert sum(wh for (node, _), (wh, _) in book.nodes.items() if node == SITE) == drawn
    assert sum(wh for wh, _ in book.points.values()) == drawn
    assert sum(day["energy_wh"] for day in book.days.values()) == drawn
    assert all(wh >= 0 for wh, _ in [*book.points.values(), *book.nodes.values()])
    assert sum(day["amount_minor"] for day in book.days.values()) == state.totals.amount_minor
    assert sum(day["sessions"] for day in book.days.values()) == state.totals.tickets
    assert sum(day["refused"] for day in book.days.values()) == state.totals.refused
    for session_id, one in running.items():
        known = state.sessions[SessionId(session_id)]
        assert (one.energy_wh, one.cp_id) == (known.energy_wh, known.cp_id)
    assert set(fold.memory.sessions) == set(state.sessions), "what is open there is remembered here, and nothing else"


def test_energy_is_spread_between_the_registers_and_the_ticket_is_met() -> None:
    end = BEGIN + 2 * QUARTER_MS
    book = once(
        records_of(
            bodies_of(
                (BEGIN, authorized()),
                (BEGIN, started(1_000)),
                (BEGIN + QUARTER_MS // 2, sampled(2_000, 8_000)),
                (
                    end,
                    ended(5_000, end, StopCause.UNPLUGGED),
                ),
                (end, ticket(4_000, end)),
            )
        )
    )
    assert quarters(book) == quarters(book, "north") == {0: 2_000, 1: 2_000}
    assert book.points[CP, BEGIN] == (2_000, 8_000)
    row = book.sessions[A]
    assert (row["status"], row["energy_wh"], row["end_ms"], row["ticket_id"]) == ("COMPLETED", 4_000, end, "t-s-1")
    day = book.days[UTC.day(end)]
    assert (day["sessions"], day["amount_minor"], day["busy_ms"], day["co2_g"]) == (1, 120, 2 * QUARTER_MS, 1_000)
    assert day["avoided_g"] == 3_778 - 1_000


def test_a_final_meter_below_the_last_takes_back_the_newest() -> None:
    end = BEGIN + 2 * QUARTER_MS
    book = once(
        records_of(
            bodies_of(
                (BEGIN, authorized()),
                (BEGIN, started(1_000)),
                (BEGIN + QUARTER_MS, sampled(1_300, 1_200)),
                (end, sampled(1_500, 800)),
                (end, ended(1_200, end, StopCause.FAULT)),
                (end, ticket(200, end)),
            )
        )
    )
    assert quarters(book) == {0: 200}


def test_an_adjustment_goes_behind_the_last_register_at_full_power() -> None:
    end, late = BEGIN + QUARTER_MS, BEGIN + 40 * QUARTER_MS
    adjusted = e.TicketAdjusted(
        ticket_id=TicketId("t-s-1"),
        session_id=A,
        driver_id=DriverId("anna"),
        energy_wh=5_000,
        amount_minor=150,
        co2_g=1_250,
        final_meter_wh=WattHours(8_000),
    )
    book = once(
        records_of(
            bodies_of(
                (BEGIN, authorized()),
                (BEGIN, started(1_000)),
                (end, sampled(3_000, 8_000)),
                (end, ticket(2_000, end, provisional=True)),
                (late, adjusted),
            )
        )
    )
    # 5 kWh at 10 kW: two quarters.
    assert quarters(book) == {0: 2_000, 1: 2_500, 2: 2_500}
    assert book.tickets["t-s-1"]["adjusted_wh"] == 5_000
    assert (book.sessions[A]["energy_wh"], book.sessions[A]["provisional"]) == (7_000, False)
    assert book.days[UTC.day(end)]["amount_minor"] == 60 + 150


def test_the_peak_is_of_what_flows_at_one_moment() -> None:
    other = ChargePointId("CP-2")
    book = once(
        records_of(
            bodies_of(
                (BEGIN, authorized()),
                (BEGIN, authorized(B, other)),
                (BEGIN, started(0)),
                (BEGIN, started(0, session_id=B)),
                (BEGIN + 1, sampled(1, 6_000)),
                (BEGIN + 2, sampled(1, 5_000, B)),
                (BEGIN + 3, sampled(2, 1_000)),
                (BEGIN + 4, sampled(2, 7_000, B)),
            )
        )
    )
    assert book.points[CP, BEGIN][1] == 6_000
    assert book.points[other, BEGIN][1] == 7_000
    assert book.nodes[SITE, BEGIN][1] == 11_000


def test_what_began_before_the_archive_is_counted_from_its_ticket() -> None:
    end = BEGIN + 4 * QUARTER_MS
    records = records_of(bodies_of((BEGIN, sampled(9_000, 5_000)), (end, ticket(4_000, end))), first=51)
    fold, book = Fold(Memory(), UTC), Book()
    with pytest.raises(Misplaced):
        fold.take(records[0])
    fold.skip_to(51)
    for record in records:
        fold.take(record)
    book.apply(fold.drain())
    assert quarters(book) == {0: 1_000, 1: 1_000, 2: 1_000, 3: 1_000}
    assert book.sessions[A]["status"] == "COMPLETED"


def test_every_kind_of_record_is_kept_or_passed_over_on_purpose() -> None:
    long = {"cp_id": "C\0P", "detail": "x" * 99_999}
    book = once(
        [
            Record(seq=1, durable=0, body=b"", kind="moon_rose", at_ms=BEGIN, data={"cp_id": "CP-1", "limit_w": 7}),
            Record(seq=2, durable=0, body=b"", kind="charge_authorized", at_ms=BEGIN, data={"cp_id": 5}),
            Record(seq=3, durable=0, body=b"", kind="mark"),
            Record(seq=4, durable=0, body=b"", kind="hold_placed", at_ms=BEGIN, data=long),
        ]
    )
    kept = sorted((row["seq"], row["kind"], row["cp_id"], row["limit_w"]) for row in book.rows)
    assert kept == [(1, "moon_rose", "CP-1", 7), (2, "charge_authorized", None, None), (4, "hold_placed", "CP", None)]
    assert not book.sessions, "what cannot be understood makes no session"
    assert max(len(row["data"]) for row in book.rows) < 20_000


def test_the_course_knows_another_log() -> None:
    records = records_of(bodies_of(*[(BEGIN + n, e.HoldLifted(cp_id=CP, hold="FAULT")) for n in range(9)]))  # type: ignore[arg-type]
    course = Course(Position(), Memory(), UTC)
    course.take(batch_of(records[:5]))
    changes, position, _ = course.drain()
    assert (changes.after_seq, changes.upto_seq, position.seq, position.first_seq) == (0, 5, 5, 1)

    again = Course(position, Memory(seq=5), UTC)
    assert again.take(batch_of(records[4:7])) == 0
    assert again.seq == 7
    other = records_of(bodies_of(*[(BEGIN + n, e.HoldLifted(cp_id=CP, hold="ADMIN")) for n in range(9)]))  # type: ignore[arg-type]
    with pytest.raises(OtherLog, match="Record 5"):
        Course(position, Memory(seq=5), UTC).take(batch_of(other[4:7]))
    with pytest.raises(OtherLog, match="ends with record 4"):
        Course(position, Memory(seq=5), UTC).take(batch_of([], newest_seq=4))
    late = Course(position, Memory(seq=5), UTC)
    assert late.take(batch_of(records[7:], first_seq=8)) == 2
    changes, position, _ = late.drain()
    assert (changes.after_seq, position.seq, position.missing) == (5, 9, 2)
    assert late.verdict.ok is None and "archived" in late.verdict.sentence
