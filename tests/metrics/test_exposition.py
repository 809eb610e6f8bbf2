"""``/metrics`` as a server: one path, bounded, and never in the way of what the daemon is for."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric as Family

from evcharge.cli import health
from evcharge.net import exposition as exposing
from evcharge.net.exposition import CONNECTIONS, PER_SOURCE, Address, Exposition
from evcharge.net.metrics import COMMON, Asked, counter, gauge, histogram
from evcharge.net.readiness import NO_CHANNEL, Readiness, channels
from evcharge.tally import OTHER, Bounded, Buckets, Rising
from tests.metrics.support import LIMIT_S, Told, check_metrics

VALUE = gauge("a_value", "What it is", "kW", "where")


@pytest.fixture(autouse=True)
def on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it stands still between two lines, an answer is fresh and a question is waited for."""
    monkeypatch.setattr(exposing, "FRESH_S", math.inf)
    monkeypatch.setattr("evcharge.net.metrics.PATIENCE_S", LIMIT_S)


class Source:
    """A collector that counts how often it is asked."""

    def __init__(self) -> None:
        self.looks = 0
        self.wrong = False

    async def look(self) -> None:
        self.looks += 1

    def collect(self) -> Iterator[Family]:
        if self.wrong:
            raise ZeroDivisionError("a bug")
        yield VALUE.rows({"north": 1.5})


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def served(source: Source) -> AsyncIterator[Exposition]:
    exposition = Exposition("test", Address("127.0.0.1", 0))
    await exposition.start(source)
    yield exposition
    await exposition.close()


def port_of(exposition: Exposition) -> int:
    assert exposition.listening is not None
    return int(exposition.listening.rpartition(":")[2])


async def ask(exposition: Exposition, head: bytes) -> tuple[bytes, bytes]:
    """The head and the body of an answer; the connection ends with it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(exposition))
    writer.write(head + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    start, _, body = answer.partition(b"\r\n\r\n")
    return start, body


async def test_it_says_what_the_collector_knows_and_what_every_daemon_tells(served: Exposition) -> None:
    start, body = await ask(served, b"GET /metrics HTTP/1.1")
    assert start.startswith(b"HTTP/1.1 200") and b"text/plain; version=0.0.4" in start
    told = Told(body)
    assert told.value("a_value", where="north") == 1.5
    assert told.differs([*COMMON, VALUE]) == {}
    assert told.samples("evcharge_build_info")[0].labels["daemon"] == "test"
    assert told.value("process_resident_memory_bytes") > 1_000_000
    check_metrics(body)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics/ HTTP/1.1", b"404"),
        (b"GET /metrics/../secret HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"POST /healthz HTTP/1.1", b"405"),
        (b"DELETE /readyz HTTP/1.1", b"405"),
        (b"GET /healthz/ HTTP/1.1", b"404"),
        (b"HEAD /healthz HTTP/1.1", b"200"),
        (b"GET /readyz?verbose HTTP/1.1", b"200"),
        (b"HEAD /metrics HTTP/1.1", b"200"),
        (b"GET /metrics?x=1 HTTP/1.1", b"200"),
        (b"nonsense", b"400"),
        (b"GET /" + b"x" * 2_000 + b" HTTP/1.1", b"400"),
    ],
)
async def test_there_are_three_paths_and_two_methods(served: Exposition, head: bytes, status: bytes) -> None:
    start, body = await ask(served, head)
    assert start.startswith((b"HTTP/1.1 " + status, b"HTTP/1.0 " + status)), start
    # Nothing of what was sent is said again, and nothing of what answers.
    assert b"secret" not in body and b"xxx" not in body and b"nonsense" not in body
    assert b"Python" not in start and b"aiohttp" not in start


async def test_many_who_ask_at_once_cost_one_answer(served: Exposition, source: Source) -> None:
    answers = await asyncio.gather(*(ask(served, b"GET /metrics HTTP/1.1") for _ in range(PER_SOURCE)))
    assert source.looks == 1
    assert len({body for _, body in answers}) == 1


async def test_a_bug_is_a_500_and_the_next_one_is_answered(served: Exposition, source: Source) -> None:
    source.wrong = True
    with structlog.testing.capture_logs() as logs:
        start, body = await ask(served, b"GET /metrics HTTP/1.1")
    assert start.startswith(b"HTTP/1.1 500") and b"bug" not in body
    assert [line["event"] for line in logs] == ["metrics.failed"]
    source.wrong = False
    start, _ = await ask(served, b"GET /metrics HTTP/1.1")
    assert start.startswith(b"HTTP/1.1 200")


async def test_health_asks_nobody_but_the_loop(served: Exposition, source: Source) -> None:
    source.wrong = True
    start, body = await ask(served, b"GET /healthz HTTP/1.1")
    assert start.startswith(b"HTTP/1.1 200") and b"no-store" in start and body == b"ok\n"
    assert source.looks == 0


class State:
    """What readiness looks at."""

    def __init__(self) -> None:
        self.why: str | None = "starting"
        self.looks = 0

    async def look(self) -> None:
        self.looks += 1

    @property
    def readiness(self) -> Readiness:
        return Readiness(unready=lambda: self.why, note=lambda: "Central: connected", look=self.look)


async def test_ready_is_said_with_its_reason_and_follows_the_state_at_once(source: Source) -> None:
    state, exposition = State(), Exposition("test", Address("127.0.0.1", 0))
    await exposition.start(source, state.readiness)
    try:
        start, body = await ask(exposition, b"GET /readyz HTTP/1.1")
        assert start.startswith(b"HTTP/1.1 503") and body == b"not ready: starting\n"
        state.why = None
        start, body = await ask(exposition, b"GET /readyz HTTP/1.1")
        assert start.startswith(b"HTTP/1.1 200") and body == b"ready; Central: connected\n"
        state.why = "draining"
        start, _ = await ask(exposition, b"GET /healthz HTTP/1.1")
        assert start.startswith(b"HTTP/1.1 200"), "who is not ready lives all the same"
        # What has to be waited for is asked once in FRESH_S, however many come.
        answers = await asyncio.gather(*(ask(exposition, b"GET /readyz HTTP/1.1") for _ in range(PER_SOURCE)))
        assert {body for _, body in answers} == {b"not ready: draining\n"} and state.looks == 1
        assert source.looks == 0
    finally:
        await exposition.close()


async def test_a_daemon_without_metrics_has_the_other_two() -> None:
    exposition = Exposition("test", Address("127.0.0.1", 0), option="--health")
    await exposition.start(None)
    try:
        for path, status in ((b"/healthz", b"200"), (b"/readyz", b"200"), (b"/metrics", b"404")):
            start, body = await ask(exposition, b"GET " + path + b" HTTP/1.1")
            assert start.startswith(b"HTTP/1.1 " + status)
        assert body == b"There are /healthz and /readyz, and nothing else.\n"
        with pytest.raises(OSError, match="--health"):
            await Exposition("test", Address("127.0.0.1", port_of(exposition)), option="--health").start(None)
    finally:
        await exposition.close()


@given(st.integers(0, 50), st.integers(1, 50))
def test_one_open_channel_of_many_is_enough(up: int, most: int) -> None:
    why = channels(min(up, most), most)
    assert (why is None) == (up > 0)
    assert most > 1 or why in (None, NO_CHANNEL)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


async def scrape(ends: Ends) -> None:
    """Read the metrics and keep the connection, as Prometheus does."""
    reader, writer = ends
    writer.write(SCRAPE)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))


async def held(exposition: Exposition, number: int, source: str) -> list[Ends]:
    """Connections that have asked once and then say nothing."""
    found = []
    for _ in range(number):
        found.append(await asyncio.open_connection("127.0.0.1", port_of(exposition), local_addr=(source, 0)))
        await scrape(found[-1])
    return found


async def is_cut(ends: Ends) -> bool:
    """Whether the other end has given it up; one that is open still answers."""
    try:
        await scrape(ends)
    except (asyncio.IncompleteReadError, ConnectionError):
        return True
    return False


async def test_a_probe_is_answered_however_many_connections_are_held(served: Exposition) -> None:
    sources = [f"127.0.0.{number}" for number in range(2, 2 + CONNECTIONS // PER_SOURCE)]
    everybody = [each for source in sources for each in await held(served, PER_SOURCE, source)]
    assert len(everybody) == CONNECTIONS
    # Who was first has spoken since; so the second one is silent longest.
    await scrape(everybody[0])
    for path in ("healthz", "readyz"):
        code, sentence = await asyncio.to_thread(health.check, [f"http://{served.listening}/{path}"], {})
        assert code == 0, sentence
    cut = [await is_cut(each) for each in everybody]
    assert cut == [False, True] + [False] * (CONNECTIONS - 2), "a probe's own connection ends with its answer"
    for _, writer in everybody:
        writer.close()


async def test_a_source_with_too_many_cuts_its_own(served: Exposition) -> None:
    (other,) = await held(served, 1, "127.0.0.2")
    greedy = await held(served, PER_SOURCE + 3, "127.0.0.3")
    assert [await is_cut(each) for each in greedy] == [True] * 3 + [False] * PER_SOURCE
    assert not await is_cut(other)
    for _, writer in (other, *greedy):
        writer.close()


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/elsewhere"])
async def test_only_who_reads_metrics_is_kept(served: Exposition, path: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(served))
    await scrape((reader, writer))
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    # To its end, which the server makes.
    assert b"\r\nConnection: close\r\n" in await reader.read()
    writer.close()


async def test_a_default_that_is_taken_is_a_warning_and_nothing_more(served: Exposition, source: Source) -> None:
    second = Exposition("test", Address("127.0.0.1", port_of(served), asked=False))
    with structlog.testing.capture_logs() as logs:
        await second.start(source)
    assert second.listening is None
    (line,) = logs
    assert line["log_level"] == "warning" and "in use" in line["sentence"] and "--metrics" in line["sentence"]
    await second.close()


async def test_an_address_that_was_asked_for_has_to_be_free(served: Exposition, source: Source) -> None:
    with pytest.raises(OSError, match="in use"):
        await Exposition("test", Address("127.0.0.1", port_of(served))).start(source)
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        await Exposition("test", Address("192.0.2.1", 0, asked=False)).start(source)
    with pytest.raises(OSError, match=r"no-such-host\.invalid"):
        await Exposition("test", Address("no-such-host.invalid", 1)).start(source)


async def test_after_close_nobody_answers_and_the_port_is_free(source: Source) -> None:
    exposition = Exposition("test", Address("127.0.0.1", 0))
    await exposition.start(source)
    port = port_of(exposition)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    # It is kept for the next question, and there will be none.
    await exposition.close()
    await exposition.close()
    assert (await reader.read()).endswith(b"\n")
    writer.close()
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_what_does_not_answer_leaves_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    open_questions: list[asyncio.Future[int]] = []

    def question() -> asyncio.Future[int]:
        open_questions.append(asyncio.get_running_loop().create_future())
        return open_questions[-1]

    asked = Asked(question, OSError)
    looking = asyncio.create_task(asked.look())
    while not open_questions:
        await asyncio.sleep(0)
    open_questions[0].set_result(7)
    await looking
    assert (asked.known, asked.answers) == (7, True)
    # Only from here on an answer is too late.
    monkeypatch.setattr("evcharge.net.metrics.PATIENCE_S", 0.01)
    await asked.look()
    await asked.look()
    assert (asked.known, asked.answers, len(open_questions)) == (7, False, 2), "one question at a time"
    open_questions[1].set_exception(OSError("gone"))
    await asked.look()
    assert (asked.known, asked.answers) == (7, False)


# --- numbers ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 20)))
def test_buckets_hold_every_value_once(values: list[float]) -> None:
    buckets = Buckets()
    for value in values:
        buckets.observe(value)
    assert buckets.count == len(values)
    assert buckets.sum == pytest.approx(sum(values))
    family = histogram("a_time_seconds", "How long", "seconds").buckets(buckets)
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            assert sample.value == sum(value <= float(sample.labels["le"]) for value in values)


@given(st.lists(st.text(max_size=3)), st.integers(1, 5))
def test_names_without_end_are_counted_under_few(names: list[str], most: int) -> None:
    counts = Bounded(most)
    for name in names:
        counts.note(name)
    assert counts.total() == len(names)
    assert len(counts.keys() - {OTHER}) <= most


@given(st.lists(st.integers(-5, 5)))
def test_a_sum_that_is_corrected_never_falls(values: list[int]) -> None:
    rising = Rising()
    shown = [rising.at(value) for value in values]
    assert shown == sorted(shown)


def test_what_is_not_known_has_no_series() -> None:
    assert gauge("a_value", "What").alone(None).samples == []
    (sample,) = counter("things_total", "Things", "things").alone(3).samples
    assert (sample.name, sample.value) == ("things_total", 3)
