"""The monitor: three misses or the engine's own word make one fault, the first good answer one recovery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from evcharge.cp import health
from evcharge.cp.health import MISSED, Check, HealthServer, Probe
from evcharge.cp.monitor import MISSES, SILENT, MonitorCore
from protocol.messages import Fault, Health, Heartbeat, Message, Recovery

WELL = Check(ok=True, latency_ms=3)
BROKEN = Check(ok=False, code="ground_fault")


def verdicts(messages: list[Message]) -> list[Message]:
    return [message for message in messages if isinstance(message, Fault | Recovery)]


def watching() -> MonitorCore:
    """Given: online, the engine well, Central told."""
    core = MonitorCore("CP-1")
    core.on_channel_up()
    core.checked(WELL)
    return core


def test_each_check_is_a_heartbeat_and_a_health() -> None:
    assert watching().checked(WELL) == [Heartbeat(), Health(engine_ok=True, latency_ms=3)]


def test_three_misses_are_one_fault_and_the_first_answer_one_recovery() -> None:
    core = watching()
    for _ in range(MISSES - 1):
        assert core.checked(MISSED) == [Heartbeat(), Health(engine_ok=False)]
    assert verdicts(core.checked(MISSED)) == [Fault(code=SILENT)]
    assert verdicts(core.checked(MISSED)) == []
    assert verdicts(core.checked(WELL)) == [Recovery()]
    assert verdicts(core.checked(WELL)) == []


def test_misses_that_do_not_follow_each_other_are_no_fault() -> None:
    core = watching()
    for _ in range(10):
        assert verdicts(core.checked(MISSED) + core.checked(MISSED) + core.checked(WELL)) == []


def test_the_engines_own_word_is_a_fault_at_once_and_only_once() -> None:
    core = watching()
    assert verdicts(core.checked(BROKEN)) == [Fault(code="ground_fault")]
    # From broken to dead it stays faulty.
    assert verdicts(core.checked(MISSED) + core.checked(MISSED) + core.checked(MISSED)) == []
    assert core.verdict == SILENT
    assert verdicts(core.checked(WELL)) == [Recovery()]


def test_misses_do_not_end_a_fault() -> None:
    core = watching()
    core.checked(BROKEN)
    assert verdicts(core.checked(MISSED)) == []
    assert core.verdict == "ground_fault"


def test_a_simulated_fault_looks_like_a_real_one() -> None:
    core = watching()
    core.simulate("practice")
    assert core.checked(WELL)[1:] == [Health(engine_ok=False, latency_ms=3), Fault(code="practice")]
    core.simulate(None)
    assert verdicts(core.checked(WELL)) == [Recovery()]


def test_the_verdict_is_told_again_on_each_new_channel() -> None:
    core = MonitorCore("CP-1")
    assert core.on_channel_up() == []
    assert verdicts(core.checked(WELL)) == [Recovery()]
    core.on_channel_down()
    assert core.checked(BROKEN) == []
    assert core.on_channel_up() == [Fault(code="ground_fault")]
    assert verdicts(core.checked(BROKEN)) == []


# --- the line between monitor and engine ----------------------------------------------------------------------------


@asynccontextmanager
async def serving(
    answers: dict[str, str | None],
) -> AsyncIterator[tuple[str, int]]:
    server = HealthServer(lambda cp_id: answers[cp_id])
    try:
        yield await server.start("127.0.0.1", 0)
    finally:
        await server.close()


@asynccontextmanager
async def probing(host: str, port: int) -> AsyncIterator[Probe]:
    probe = Probe(host, port, asyncio.get_running_loop().time)
    try:
        yield probe
    finally:
        await probe.close()


async def test_the_engine_answers_for_each_of_its_charge_points_on_one_line() -> None:
    answers = {"CP-1": None, "CP-2": "ground fault\r\nOK", "Ü": None}
    async with serving(answers) as address, probing(*address) as probe:
        assert (await probe.check("CP-1", 5)).ok
        assert (await probe.check("Ü", 5)).ok
        broken = await probe.check("CP-2", 5)
        assert (broken.ok, broken.code) == (False, "ground_fault__OK")
        assert (await probe.check("CP-9", 5)).code == "unknown_charge_point"
        answers["CP-1"] = "x" * 500
        assert len((await probe.check("CP-1", 5)).code or "") < 130


async def test_an_engine_that_is_not_there_is_a_miss_and_one_that_comes_back_is_found() -> None:
    async with serving({"CP-1": None}) as (host, port), probing(host, port) as probe:
        assert (await probe.check("CP-1", 5)).ok
    async with probing(host, port) as probe:
        check = await probe.check("CP-1", 5)
        assert (check.ok, check.code) == (False, None)
        server = HealthServer(lambda cp_id: None)
        await server.start(host, port)
        assert (await probe.check("CP-1", 5)).ok
        await server.close()
        assert not (await probe.check("CP-1", 5)).ok


async def raw(host: str, port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (b"CP-1\nCP-1\r\n", b"OK\nOK\n"),
        (b"\xff\xfe\n", b"KO unknown_charge_point\n"),
        (b"CP-1", b""),
        (b"x" * 70 + b"\n", b""),
        (b"", b""),
        (b"\n", b"KO unknown_charge_point\n"),
    ],
)
async def test_any_bytes_get_an_answer_or_a_closed_line(question: bytes, answer: bytes) -> None:
    async with serving({"CP-1": None}) as address:
        assert await raw(*address, question) == answer
        assert await raw(*address, b"CP-1\n") == b"OK\n"


async def test_a_line_that_is_idle_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "IDLE_S", 0.01)
    async with serving({"CP-1": None}) as address:
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        writer.close()


async def test_too_many_lines_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_CONNECTIONS", 1)
    async with serving({"CP-1": None}) as address, probing(*address) as probe:
        assert (await probe.check("CP-1", 5)).ok
        assert await raw(*address, b"") == b""


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def impostor(behaviour: Behaviour) -> AsyncIterator[tuple[str, int]]:
    server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\n", b"OK", b"", b"KO " + b"x" * 500 + b"\n", b"OKAY\n"])
async def test_what_is_no_answer_is_a_miss(answer: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with impostor(behave) as address, probing(*address) as probe:
        check = await probe.check("CP-1", 5)
        assert (check.ok, check.code) == (False, None)


async def test_a_late_answer_is_a_miss_and_not_the_next_answer() -> None:
    lines: list[asyncio.StreamWriter] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(writer)
        while await reader.readline():
            if len(lines) > 1:
                lines[0].write(b"KO late\n")
                writer.write(b"OK\n")
        writer.close()

    async with impostor(behave) as address, probing(*address) as probe:
        assert (await probe.check("CP-1", 0.01)).code is None
        assert (await probe.check("CP-1", 5)).ok
