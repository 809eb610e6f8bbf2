"""The publisher over a Kafka in memory: whatever breaks and wherever, each record is published once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.events import course
from evcharge.events.position import Position
from evcharge.events.publisher import RETRY_S
from evcharge.events.troubles import Fenced, Kind, Superseded, Trouble
from tests.events.model_kafka import Fault, ModelKafka, ModelOutlet, OtherPositions
from tests.events.running import Running, check
from tests.support.log_central import Log, bodies


def _faults(of: Iterable[Fault]) -> Callable[[], Fault]:
    left: Iterator[Fault] = iter(of)
    return lambda: next(left, Fault.NONE)


_NOTHING = Position(seq=0)
STEPS = st.lists(
    st.one_of(st.sampled_from(list(Fault)), st.sampled_from(["kill", "channel", "grow", "away", "rival", "wrong"])),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, count=st.integers(0, 60))
def test_whatever_happens_each_record_is_published_once(steps: list[Fault | str], count: int) -> None:
    asyncio.run(_once(steps, count))


async def _once(steps: list[Fault | str], count: int) -> None:
    log = Log(count)
    kafka = ModelKafka(_faults(step for step in steps if isinstance(step, Fault)))
    running, rivals, wrong = Running(log, kafka), list[Running](), list[Running]()
    for number, step in enumerate(steps):
        for _ in range(number % 5):
            await asyncio.sleep(0)
        match step:
            case "kill":
                await running.kill()
                running = Running(log, kafka, f"start {number}")
            case "rival":
                # Both at once; whichever is turned away ends.
                rivals.append(running)
                running = Running(log, kafka, f"start {number}")
            case "wrong" if (kafka.kept().position or _NOTHING).seq:
                # It points at another Central, whose log is longer. Before anything is published nobody can tell.
                other = Log()
                other.bodies = list(bodies(100 + count, name="other"))
                wrong.append(Running(other, kafka, f"wrong {number}"))
            case "channel":
                log.come_back()
                for each in wrong:
                    each.log.come_back()
            case "grow":
                log.grow(7)
            case "away":
                log.up = False
    log.come_back()
    everybody = [*rivals, running]
    await running.until(lambda: any(_there(each) for each in everybody))
    assert not any(each.task.done() for each in wrong)
    for each in (*everybody, *wrong):
        each.stop.set()
    for ended in await asyncio.gather(*(each.task for each in (*everybody, *wrong)), return_exceptions=True):
        assert ended is None or isinstance(ended, Superseded), ended
    check(kafka, 1, log.newest)


def _there(running: Running) -> bool:
    publisher = running.publisher
    up = not running.task.done() and publisher.tally.kafka_connected
    return up and publisher.tally.published_seq == running.log.newest and not publisher.board.troubles


async def test_a_second_publisher_ends_the_first() -> None:
    log, kafka = Log(20), ModelKafka()
    first = Running(log, kafka, "first")
    await first.done()
    second = Running(log, kafka, "second")
    await second.done()
    log.grow(20)
    with pytest.raises(Superseded):
        await first.task
    await second.done()
    await second.end()
    check(kafka, 1, 40)


async def test_who_was_too_slow_comes_back_when_nobody_took_its_place() -> None:
    log, kafka = Log(20), ModelKafka()
    only = Running(log, kafka)
    await only.done()
    # The brokers ended its transaction: its epoch is over.
    kafka.epoch += 1
    log.grow(20)
    await only.done()
    await only.end()
    check(kafka, 1, 40)


async def test_another_log_is_not_published(capsys: pytest.CaptureFixture[str]) -> None:
    log, kafka = Log(20), ModelKafka()
    running = Running(log, kafka)
    await running.done()
    own = log.bodies
    log.bodies = list(bodies(40, name="other"))
    log.come_back()
    await running.until(lambda: any(each.kind is Kind.OTHER_LOG for each in running.publisher.board.troubles))
    assert "--log NAME" in (running.publisher.unready() or "")
    assert len(kafka.events) == 20
    # The right one again: it goes on.
    log.bodies = own
    log.grow(5)
    log.come_back()
    await running.done()
    await running.end()
    check(kafka, 1, 25)
    assert capsys.readouterr().out.count("events.trouble") == 1


async def test_a_log_that_lost_its_end_is_not_published() -> None:
    log, kafka = Log(20), ModelKafka()
    running = Running(log, kafka)
    await running.done()
    await running.end()
    del log.bodies[15:]
    again = Running(log, kafka, "again")
    await again.until(lambda: any(each.kind is Kind.OTHER_LOG for each in again.publisher.board.troubles))
    assert "ends at record 15" in (again.publisher.unready() or "")
    await again.end()


async def test_archived_records_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    log, kafka = Log(30), ModelKafka()
    log.first_seq = 11
    running = Running(log, kafka)
    await running.done()
    await running.end()
    check(kafka, 11, 30)
    assert running.publisher.tally.missed == 10
    assert "events.missed" in capsys.readouterr().out


async def test_what_a_topic_does_not_take_is_cut_and_nothing_else() -> None:
    log, kafka = Log(30), ModelKafka(most_bytes=1_000)
    kind, version, rest = msgspec.msgpack.decode(log.bodies[16])
    rest["data"]["text"] = "x" * 5_000
    log.bodies[16] = msgspec.msgpack.encode([kind, version, rest])
    running = Running(log, kafka)
    await running.done()
    await running.end()
    assert [seq for _, seq, cut in kafka.events if cut] == [17]
    check(kafka, 1, 30)
    assert running.publisher.tally.cut == 1


async def test_without_a_position_nothing_is_published_again() -> None:
    log, kafka = Log(20), ModelKafka()
    running = Running(log, kafka)
    await running.done()
    await running.end()
    kafka.rows.clear()
    lost = Running(log, kafka, "lost")
    await lost.until(lambda: bool(lost.publisher.board.troubles))
    assert "--after 20" in (lost.publisher.unready() or "")
    await lost.end()
    log.grow(3)
    told = Running(log, kafka, "told", after_seq=20)
    await told.done()
    await told.end()
    assert [seq for _, seq, _ in kafka.events] == list(range(1, 24))
    # One that stands in a script since then says less than the topic does.
    kept = list(kafka.rows)
    kafka.rows.clear()
    stale = Running(log, kafka, "stale", after_seq=20)
    await stale.until(lambda: bool(stale.publisher.board.troubles))
    assert "--after 23" in (stale.publisher.unready() or "")
    await stale.end()
    kafka.rows += kept
    # Where a position is known, the option that was left in a script does no harm.
    log.grow(3)
    again = Running(log, kafka, "again", after_seq=20)
    await again.done()
    await again.end()
    assert [seq for _, seq, _ in kafka.events] == list(range(1, 27))


async def test_the_lag_grows_while_kafka_is_away() -> None:
    log = Log(20)
    away: list[Fault] = []
    kafka = ModelKafka(lambda: Fault.CLOSED if away else Fault.NONE)
    running = Running(log, kafka)
    await running.done()
    away.append(Fault.CLOSED)
    kafka.epoch += 1
    log.grow(30)
    tally = running.publisher.tally
    await running.until(lambda: tally.lag == 30 and not tally.kafka_connected)
    # It goes on growing, although nobody reads the log.
    log.grow(30)
    await running.until(lambda: tally.lag == 60)
    away.clear()
    await running.done()
    await running.end()
    check(kafka, 1, 80)


async def test_two_with_a_topic_of_positions_each_do_not_publish_the_same() -> None:
    log, kafka = Log(0), ModelKafka()
    both = [Running(log, kafka, "one"), Running(log, OtherPositions(kafka), "two")]
    await both[0].until(lambda: all(one.publisher.tally.published_seq == 0 for one in both))
    for _ in range(5):
        log.grow(20)
        await both[0].until(lambda: len(kafka.events) == log.newest)
    waits = [each for each in both if each.publisher.board.troubles]
    assert len(waits) == 1
    assert "another --positions-topic" in (waits[0].publisher.unready() or "")
    check(kafka, 1, 100)
    # Who waits turns nobody away: one refusal each at most was needed to find out.
    assert kafka.epoch < 10
    for each in both:
        await each.end()


async def test_where_everything_is_deleted_a_lost_position_is_none_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    log, kafka = Log(20), ModelKafka()
    running = Running(log, kafka)
    await running.done()
    await running.end()
    kafka.rows.clear()
    lost = Running(log, kafka, "lost")
    await lost.until(lambda: bool(lost.publisher.board.troubles))

    async def gone() -> Trouble:
        return Trouble(Kind.TOPIC_GONE, "It is gone.")

    kafka.events.clear()
    monkeypatch.setattr(kafka, "unwritable", gone)
    await lost.done()
    await lost.end()
    check(kafka, 1, 20)


async def test_a_fault_nobody_thought_of_ends_the_process_instead_of_the_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(course, "message_of", broken)
    running = Running(Log(5), ModelKafka())
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(running.task, 10)


async def test_a_fault_nobody_thought_of_in_what_watches_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(5)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(log, "ask", broken)
    running = Running(log, ModelKafka(lambda: Fault.CLOSED))
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(running.task, 10)


async def test_a_stand_in_that_is_not_taken_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    kafka = ModelKafka(most_bytes=10)
    running = Running(Log(3), kafka)
    tally = running.publisher.tally
    await running.until(lambda: tally.transactions["too_large"] > 50)
    assert "stand-in of record 1" in (running.publisher.unready() or "")
    # It is not tried at full speed: each attempt since then had its pause.
    assert running.pauses.count(RETRY_S) > 10
    said = capsys.readouterr().out
    assert (said.count("events.trouble"), said.count("events.mended")) == (1, 0)
    kafka.most_bytes = 1 << 30
    await running.done()
    await running.end()
    said = capsys.readouterr().out
    assert (said.count("events.trouble"), said.count("events.mended")) == (0, 1)
    assert [seq for _, seq, _ in kafka.events] == [1, 2, 3]


async def test_what_only_the_events_refuse_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    asked = 0

    def every_second() -> Fault:
        # Opened, claimed, and refused with the records.
        nonlocal asked
        asked += 1
        return Fault.BEFORE if asked % 3 == 0 and asked < 60 else Fault.NONE

    running = Running(Log(3), ModelKafka(every_second))
    await running.done()
    await running.end()
    assert asked >= 60
    said = capsys.readouterr().out
    assert (said.count("events.trouble"), said.count("events.mended")) == (1, 1)


async def test_who_is_refused_again_and_again_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = ModelKafka()
    refused = 0
    real = ModelOutlet.publish

    async def publish(outlet: ModelOutlet, *words: Any, **more: Any) -> None:
        nonlocal refused
        if refused < 30:
            refused += 1
            raise Fenced("ProducerFenced")
        await real(outlet, *words, **more)

    monkeypatch.setattr(ModelOutlet, "publish", publish)
    running = Running(Log(3), kafka)
    await running.done()
    await running.end()
    # The first one costs nothing: a transaction was too slow, and that is all.
    assert sum(RETRY_S <= pause < 2 * RETRY_S for pause in running.pauses) == 29
    check(kafka, 1, 3)


async def test_a_topic_that_cannot_be_read_does_not_keep_it_from_its_end() -> None:
    kafka = ModelKafka()
    kafka.slow = lambda: True
    running = Running(Log(3), kafka)
    await running.until(lambda: kafka.epoch == 1)
    await asyncio.wait_for(running.end(), 5)
    assert not kafka.events


async def test_a_last_record_that_is_archived_cannot_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    log, kafka = Log(20), ModelKafka()
    running = Running(log, kafka)
    await running.done()
    await running.end()
    assert "events.unverified" not in capsys.readouterr().out
    log.grow(20)
    log.first_seq = 25
    again = Running(log, kafka, "again")
    await again.done()
    await again.end()
    said = capsys.readouterr().out
    assert said.count("events.unverified") == 1
    assert "seq=20" in said or '"seq": 20' in said or '"seq":20' in said
