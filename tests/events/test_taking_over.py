"""When a publisher takes the place of another one: not before it knows that it can go on from there."""

from __future__ import annotations

import asyncio

import pytest

from evcharge.events import looking, publisher, waiting
from evcharge.events.parcels import PIECE_BYTES, Sizes
from evcharge.events.settings import PublisherSettings
from evcharge.events.troubles import Kind, Superseded, Trouble
from evcharge.net.clock import SystemClock
from evcharge.net.kafka import KafkaSettings
from tests.events.model_kafka import Fault, ModelKafka, ModelOutlet
from tests.events.running import Running, check
from tests.support.log_central import EACH, Log, bodies


def other_log(count: int) -> Log:
    """One whose records differ from those of ``Log(count)``."""
    made = Log()
    made.bodies = list(bodies(count, name="other"))
    return made


async def kind(running: Running, wanted: Kind) -> str:
    """Until it tells of such a trouble; what it says."""
    await running.until(lambda: any(each.kind is wanted for each in running.publisher.board.troubles))
    return running.publisher.unready() or ""


async def turns(count: int = 500) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_number_behind_the_end_of_the_log_is_told_and_not_stored() -> None:
    log, kafka = Log(20), ModelKafka()
    mistaken = Running(log, kafka, "mistaken", after_seq=500)
    assert "--after 500 is behind the newest record of Central's log, 20" in await kind(mistaken, Kind.AFTER_AHEAD)
    # It does not come true with the next records, which nobody wants to be left out.
    log.grow(600)
    await turns()
    assert (kafka.rows, kafka.events) == ([], [])
    assert [each.kind for each in mistaken.publisher.board.troubles] == [Kind.AFTER_AHEAD]
    await mistaken.end()
    right = Running(log, kafka, "right", after_seq=5)
    await right.done()
    await right.end()
    check(kafka, 6, 620, known_from=11)


@pytest.mark.parametrize("count", [3, 30], ids=["a shorter log", "another log"])
async def test_who_points_at_the_wrong_central_does_not_end_the_right_one(count: int) -> None:
    log, kafka = Log(20), ModelKafka()
    right = Running(log, kafka, "right")
    await right.done()
    wrong = Running(other_log(count), kafka, "wrong")
    await kind(wrong, Kind.OTHER_LOG)
    log.grow(10)
    await right.done()
    opened = kafka.epoch
    for _ in range(5):
        # Where it is now is known without turning anybody away.
        wrong.log.come_back()
        await turns()
        log.grow(10)
        await right.done()
    assert kafka.epoch == opened
    check(kafka, 1, 80)
    # Once it points at the right one, it takes over.
    wrong.log.bodies = log.bodies
    wrong.log.come_back()
    await wrong.done()
    log.grow(10)
    with pytest.raises(Superseded):
        await right.task
    await wrong.done()
    await wrong.end()
    check(kafka, 1, 90)


async def test_that_it_is_the_wrong_log_is_told_until_it_is_compared_again() -> None:
    log, kafka = Log(20), ModelKafka()
    right = Running(log, kafka, "right")
    await right.done()
    wrong = Running(other_log(30), kafka, "wrong")
    await kind(wrong, Kind.OTHER_LOG)
    # Central does not answer for a while, and then it does, on the same channel.
    for wrong.log.up in (False, True):
        await turns()
        assert [each.kind for each in wrong.publisher.board.troubles] == [Kind.OTHER_LOG]
    for each in (right, wrong):
        await each.end()


async def test_who_has_not_begun_yet_is_not_ended_by_who_never_will() -> None:
    log, kafka = Log(20), ModelKafka()
    before = Running(log, kafka, "before")
    await before.done()
    await before.kill()
    # Both have opened their way, and Central has not answered either of them yet.
    log.up = False
    right = Running(log, kafka, "right")
    await right.until(lambda: kafka.epoch == 2)
    wrong = Running(other_log(30), kafka, "wrong")
    await kind(wrong, Kind.OTHER_LOG)
    log.grow(10)
    log.come_back()
    await right.done()
    check(kafka, 1, 30)
    for each in (right, wrong):
        await each.end()


async def test_nothing_is_claimed_while_central_is_away() -> None:
    log, kafka = Log(20), ModelKafka()
    log.up = False
    running = Running(log, kafka)
    await kind(running, Kind.CENTRAL_AWAY)
    await turns()
    assert kafka.transactions == 0
    log.come_back()
    await running.done()
    await running.end()
    check(kafka, 1, 20)


async def test_a_charge_keeps_its_key_where_the_topic_of_positions_is_made_anew() -> None:
    # In the middle of a charge.
    log, kafka = Log(EACH + 2), ModelKafka()
    running = Running(log, kafka)
    await running.done()
    known = kafka.kept().charges
    kafka.rows.clear()
    kafka.epoch += 1
    log.grow(2)
    await running.done()
    # What is known stands on the topic again: the next start needs it.
    assert kafka.kept().charges == known
    await running.end()
    log.grow(2 * EACH)
    again = Running(log, kafka, "again")
    await again.done()
    await again.end()
    check(kafka, 1, log.newest)


# Where it has published before, Kafka goes away first, which is a trouble of its own: it is over when Kafka is there.
@pytest.mark.parametrize(("first", "told"), [(0, 1), (3, 2)], ids=["at the start", "where all is published"])
async def test_a_claim_that_is_refused_again_and_again_is_told_once(
    first: int, told: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = -1

    def fault() -> Fault:
        nonlocal refused
        if refused < 0:
            return Fault.NONE
        refused += 1
        return Fault.BEFORE

    async def alive(_: ModelOutlet) -> bool:
        # Only the first one goes away.
        return refused != 0

    log, kafka = Log(first), ModelKafka(fault)
    monkeypatch.setattr(ModelOutlet, "alive", alive)
    monkeypatch.setattr(publisher, "LOOK_S", 0.0)
    running = Running(log, kafka)
    if first:
        await running.done()
    refused = 0
    await running.until(lambda: refused > 40)
    refused = -1
    await running.done()
    await running.end()
    said = capsys.readouterr().out
    assert (said.count("events.trouble"), said.count("events.mended")) == (told, told)


async def test_missing_records_are_counted_once_however_often_they_are_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = 0

    def some() -> Fault:
        nonlocal asked
        asked += 1
        return Fault.BEFORE if asked < 20 and asked % 3 == 0 else Fault.NONE

    log, kafka = Log(30), ModelKafka(some)
    log.first_seq = 11
    running = Running(log, kafka)
    await running.done()
    await running.end()
    assert running.publisher.tally.missed == 10
    assert capsys.readouterr().out.count("events.missed") == 1


async def test_the_end_is_heard_while_kafka_is_asked_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def silent(_: ModelOutlet) -> bool:
        asked.set()
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr(publisher, "LOOK_S", 0.0)
    monkeypatch.setattr(ModelOutlet, "alive", silent)
    running = Running(Log(), ModelKafka())
    await asyncio.wait_for(asked.wait(), 5)
    await asyncio.wait_for(running.end(), 5)


async def test_a_topic_that_takes_long_to_read_is_no_slow_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TELL_S", 0.0)
    kafka = ModelKafka()
    kafka.slow = lambda: True
    running = Running(Log(3), kafka)
    assert "evcharge.events is being read" in await kind(running, Kind.TOPIC_LONG)
    assert [each.kind for each in running.publisher.board.troubles] == [Kind.TOPIC_LONG]
    await running.end()


async def test_a_lost_position_is_none_any_more_where_the_records_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    log, kafka = Log(20), ModelKafka()
    running = Running(log, kafka)
    await running.done()
    await running.end()
    kafka.rows.clear()
    looks = 0
    real = kafka.newest_published

    async def newest_published(partitions: int, *, thorough: bool) -> int:
        nonlocal looks
        looks += 1
        return await real(partitions, thorough=thorough)

    monkeypatch.setattr(kafka, "newest_published", newest_published)
    lost = Running(log, kafka, "lost")
    await kind(lost, Kind.POSITION_LOST)
    await turns()
    # Not at every look: all of the topic may have to be read.
    assert looks == 1
    monkeypatch.setattr(looking, "LOST_S", 0.0)
    kafka.events = kafka.events[:5]
    await lost.until(lambda: "--after 5;" in (lost.publisher.unready() or ""))
    # The topic stays, and what was on it is gone: retention, or somebody's command.
    kafka.events.clear()
    await lost.done()
    await lost.end()
    check(kafka, 1, 20)


async def test_its_end_is_known_before_it_runs() -> None:
    stop = asyncio.Event()
    given = PublisherSettings(kafka=KafkaSettings(brokers=["x:1"]))
    made = publisher.Publisher(given, Log(), ModelKafka(), instance="one", stop=stop, clock=SystemClock())
    assert made.unready() == "The publisher is starting."
    stop.set()
    assert made.unready() == "The publisher is ending."
    await asyncio.wait_for(made.run(), 5)


def test_pieces_grow_again_with_what_a_topic_takes() -> None:
    sizes = Sizes()
    sizes.told(20_000)
    assert sizes.piece_bytes == 10_000
    sizes.turned_away((1, 2))
    sizes.turned_away((1,))
    # At every opening the topic says the same, which changes nothing; nor does one that says nothing.
    sizes.told(20_000)
    sizes.told(None)
    assert (sizes.piece_bytes, sizes.cut) == (5_000, {1})
    sizes.told(8 << 20)
    assert (sizes.piece_bytes, sizes.cut) == (PIECE_BYTES, set())


async def test_what_brokers_say_comes_before_that_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TELL_S", 0.0)
    kafka = ModelKafka()
    kafka.slow = lambda: True

    async def away() -> Trouble:
        return Trouble(Kind.KAFKA_AWAY, "It is away.")

    monkeypatch.setattr(kafka, "look", away)
    running = Running(Log(3), kafka)
    await kind(running, Kind.KAFKA_AWAY)
    assert [each.kind for each in running.publisher.board.troubles] == [Kind.KAFKA_AWAY]
    await running.end()
