"""The console against a real Central: a charge followed, recorded, decoded offline, replayed; and what is forbidden."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from evcharge.console.live import Live
from evcharge.console.recording import Recorder, new_private_file, read_recording
from evcharge.console.replay import END_S, REACT_S, Replay, client_frames
from evcharge.console.rows import Row, to_json
from evcharge.console.source import MAX_LINE, Source, TooLong
from evcharge.console.talk import ANSWER_S, DONE, FAILED, MISUSED, Talk
from protocol.credentials import Credential, Role
from protocol.keylog import LeafKey
from tests.console.support import rows
from tests.support.central import Site, turns, until


class Console:
    """One channel of the console and a conversation whose lines the test types."""

    def __init__(self, site: Site, *, wait_s: float | None = None, forgiving: bool = False) -> None:
        self.site = site
        self.rows: list[Row] = []
        self.keys: list[LeafKey] = []
        self.said: list[str] = []
        self.complaints: list[str] = []
        self._lines: asyncio.Queue[str | TooLong | None] = asyncio.Queue()
        self._wait_s = wait_s
        self._forgiving = forgiving

    async def next(self) -> str | TooLong | None:
        return await self._lines.get()

    async def open(self, credential: Credential, record: Path | None = None, **options: Any) -> None:
        """Connect, and begin to talk."""
        site = self.site
        self.recorder = None
        if record is not None:
            self.recorder = Recorder(new_private_file(record), started_ms=0, role=credential.role.label)
        self.live = Live(
            credential,
            clock=site.clock,
            timers=site.timers,
            boot_id=os.urandom(16),
            entropy=os.urandom,
            show=self.rows.append,
            recorder=self.recorder,
            key_log=self.keys.append,
            **options,
        )
        await asyncio.get_running_loop().create_connection(lambda: self.live, "127.0.0.1", site.central.port)
        talk = Talk(
            self.live,
            self,
            say=self.said.append,
            complain=self.complaints.append,
            wait_s=self._wait_s,
            forgiving=self._forgiving,
        )
        self.talking = asyncio.create_task(talk.run())

    def type(self, *lines: object) -> None:
        """Lines of a person; an object is JSON."""
        for line in lines:
            self._lines.put_nowait(line if isinstance(line, str) else json.dumps(line))

    def end_of_input(self) -> None:
        self._lines.put_nowait(None)

    async def until(self, fact: Callable[[Row], object]) -> Row:
        await until(lambda: any(fact(row) for row in self.rows))
        return next(row for row in self.rows if fact(row))

    async def message(self, kind: str, **fields: object) -> dict[str, Any]:
        """Wait for a message of Central."""
        wanted = {"type": kind, **fields}
        row = await self.until(lambda row: row.dir == "s2c" and row.message and wanted.items() <= row.message.items())
        assert row.message is not None
        return row.message

    async def code(self) -> int:
        async with asyncio.timeout(20):
            code = await self.talking
        await until(self.live.lost.is_set)
        if self.recorder is not None:
            self.recorder.close()
        return code


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Site(tmp_path) as site:
        yield site


async def replayed(site: Site, record: Path) -> tuple[bool, str, list[Row]]:
    shown: list[Row] = []
    with record.open("rb") as stream:
        frames = client_frames(read_recording(stream))
    player = Replay(frames, clock=site.clock, timers=site.timers, show=shown.append, blocks=False)
    await asyncio.get_running_loop().create_connection(lambda: player, "127.0.0.1", site.central.port)
    async with asyncio.timeout(20):
        outcome = await player.run()
    return outcome.refused, outcome.sentence, shown


async def test_a_charge_followed_recorded_decoded_and_replayed(site: Site, tmp_path: Path) -> None:
    engine = await site.engine()
    console = Console(site)
    record = tmp_path / "a.rec"
    await console.open(site.credential(Role.DRIVER, "anna"), record)
    console.type({"type": "charge_request", "cp_id": "CP-1", "energy_wh": 5_000})
    reply = await console.message("reply", re=1)
    session_id = reply["session_id"]
    await engine.start(session_id)
    await console.message("update", state="SUPPLYING")
    console.type({"type": "end_charge", "session_id": session_id})
    await console.message("reply", re=2)
    await engine.end(session_id, meter_wh=6_000, reason="driver_ended")
    ticket = await console.message("ticket", session_id=session_id)
    console.type({"type": "ticket_received", "ticket_id": ticket["ticket_id"]})
    await until(lambda: any(row.message and row.message["type"] == "ticket_received" for row in console.rows))
    console.end_of_input()
    assert await console.code() == DONE

    # Offline, with the key log, everything is there again; without it nothing is.
    lines = [key.line() for key in console.keys]
    assert len(lines) == 2
    recorded = record.read_bytes()
    again = rows(recorded, *console.keys)
    live = [json.loads(to_json(row)) for row in console.rows if row.frame is not None]
    offline = [json.loads(to_json(row)) for row in again if row.frame is not None]
    for row in live + offline:
        # A recording knows when bytes came, live knows it a little better.
        row.pop("t")
    assert sorted(offline, key=json.dumps) == sorted(live, key=json.dumps)
    assert not any(row.message for row in rows(recorded))
    assert json.loads(recorded.splitlines()[0])["sid"] == console.keys[0].sid.hex()
    # No plaintext and no secret is in it.
    for secret in (session_id.encode(), session_id.encode().hex().encode(), console.keys[0].key):
        assert secret not in recorded

    # Any Fernet opens the recorded tokens with the logged keys.
    fernets = {key.direction: Fernet(key.key) for key in console.keys}
    tokens = 0
    for way, fernet in fernets.items():
        data = b"".join(piece.data for piece in read_recording(io.BytesIO(recorded)) if piece.direction == way)
        while data:
            size = 4 + int.from_bytes(data[:4], "big")
            if data[4] == 0x10:
                assert fernet.decrypt(data[5:size])[:8] == (tokens % 1000).to_bytes(8, "big")
                tokens += 1
            data = data[size:]
        tokens = 1000
    assert tokens == 1000

    # Central answers the old HELLO, which proves nothing, and closes at the old AUTH.
    refused, sentence, shown = await replayed(site, record)
    assert refused, sentence
    assert [row.frame for row in shown if row.frame] == ["HELLO", "REPLY", "AUTH"]
    assert sentence == "Central refused the replay after 2 of 7 frames, as it should be."
    assert len(site.history.tickets()) == 1


async def test_a_replay_that_is_accepted_or_not_decided_is_a_failure(site: Site) -> None:
    async def at(answer: bytes | None) -> tuple[bool, str]:
        async def central(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(answer or b"")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(central, "127.0.0.1", 0)
        player = Replay([b"\0\0\0\2\1x"], clock=site.clock, timers=site.timers, show=lambda _: None, blocks=False)
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().create_connection(lambda: player, "127.0.0.1", port)
        running = asyncio.create_task(player.run())
        while not running.done():
            await asyncio.sleep(0.001)
            site.clock.advance(REACT_S + END_S if answer is None else 0)
        server.close()
        return running.result()

    for answer in (b"\0\0\0\2\x04x", b"\0\0\0\2\x05x", b"\0\0\0\2\x10x"):
        refused, sentence = await at(answer)
        assert not refused
        assert "ACCEPTED" in sentence
    refused, sentence = await at(None)
    assert not refused
    assert "neither accepted nor closed" in sentence


async def test_whoever_hangs_up_on_a_hello_has_refused_nothing(site: Site) -> None:
    """A web server, say, or another Central than the recorded one."""
    for said in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        player = Replay([b""], clock=site.clock, timers=site.timers, show=lambda _: None, blocks=False)
        if said:
            player.data_received(said)
        player.connection_lost(None)
        outcome = player._judge(1)
        assert not outcome.refused and "did not answer HELLO" in outcome.sentence


async def test_an_alert_decides_nothing(site: Site) -> None:
    player = Replay([b""], clock=site.clock, timers=site.timers, show=lambda _: None, blocks=False)
    player.data_received(b"\0\0\0\2\x7f\x04")
    assert player._judge(1) == (
        False,
        "Central turned the connection away before it looked (ALERT BUSY): try again later.",
    )


async def test_list_and_query_and_nothing_else_for_debug(site: Site) -> None:
    console = Console(site)
    await console.open(site.credential(Role.DEBUG, "me"))
    console.type({"type": "list"}, {"type": "query", "what": "totals"}, {"type": "stop"}, "/clock", "/types", "/help")
    console.end_of_input()
    assert await console.code() == MISUSED
    assert console.complaints == [
        "`stop` is not legal now. Role debug may now send list, query. --raw sends it all the same."
    ]
    assert len([row for row in console.rows if row.message and row.message["type"] == "reply"]) == 2
    assert "channel clock 20" in console.said[0]
    assert {line.split()[0] for line in console.said[1:3]} == {"list", "query"}
    opened = next(row for row in console.rows if row.what == "open")
    assert opened.fields is not None
    assert (opened.fields["role"], opened.fields["entity"]) == ("debug", "me")
    frames = [row.kind or row.frame for row in console.rows if row.frame]
    assert frames[:6] == ["HELLO", "REPLY", "AUTH", "SESSION", "READY", "READY"]
    assert frames[-1] == "CLOSE"


async def test_raw_shows_central_s_reaction(site: Site) -> None:
    console = Console(site, wait_s=1.0)
    await console.open(site.credential(Role.DEBUG, "me"), raw=True, blocks=True)
    console.type({"type": "nonsense", "id": 5})
    assert "not known" in (await console.message("error", re=5))["sentence"]
    console.type("!token ping")
    await console.until(lambda row: row.kind == "PONG")
    console.type({"type": "stop"})
    assert (await console.message("error", code="unexpected"))["sentence"] == "`stop` is not legal from this peer now."
    assert await console.code() == FAILED
    end = await console.until(lambda row: row.kind == "CLOSE")
    assert (end.dir, end.fields) == ("s2c", {"code": "PROTOCOL"})
    assert end.blocks is not None
    assert dict(end.blocks)["plain"][8:] == b"\x04\x05\x80"
    assert console.complaints[-1] == "the peer closed: PROTOCOL"


async def test_raw_bytes(site: Site) -> None:
    console = Console(site, wait_s=1.0)
    await console.open(site.credential(Role.DEBUG, "me"), raw=True)
    console.type("!hex 00000000")
    assert await console.code() == FAILED
    assert any(row.what == "raw" for row in console.rows)
    assert any(row.kind == "CLOSE" and row.dir == "s2c" for row in console.rows)


async def test_refused_at_the_door(site: Site) -> None:
    console = Console(site)
    await console.open(site.credential(Role.DEBUG, "me", not_after_ms=1))
    assert await console.code() == FAILED
    assert console.complaints == ["Central refused: EXPIRED, try again after 60 s"]
    assert [row.frame for row in console.rows if row.frame] == ["HELLO", "REPLY", "AUTH", "REFUSE"]


async def test_a_no_of_central_is_exit_code_1_for_a_script(site: Site) -> None:
    for forgiving, code in ((False, FAILED), (True, DONE)):
        console = Console(site, forgiving=forgiving)
        await console.open(site.credential(Role.DRIVER, f"anna-{code}"))
        console.type({"type": "end_charge", "session_id": "x"})
        console.end_of_input()
        assert await console.code() == code


async def test_waiting_ends_after_quiet(site: Site) -> None:
    console = Console(site, wait_s=3.0)
    await console.open(site.credential(Role.DEBUG, "me"))
    console.type({"type": "list"})
    console.end_of_input()
    await console.message("reply")
    await until(lambda: not console.live.open_requests)
    await turns()
    site.clock.advance(2.9)
    await turns()
    assert not console.talking.done()
    site.clock.advance(0.2)
    assert await console.code() == DONE


async def test_a_request_without_an_answer_is_named(site: Site) -> None:
    console = Console(site)
    await console.open(site.credential(Role.DRIVER, "anna"))
    await console.until(lambda row: row.what == "open")
    site.disk.hold()
    console.type({"type": "charge_request", "cp_id": "CP-9"})
    console.end_of_input()
    await until(lambda: console.live.open_requests)
    await turns()
    site.clock.advance(ANSWER_S)
    assert await console.code() == FAILED
    assert console.complaints == ["No answer came to 1 (charge_request)."]
    site.disk.release()


async def test_quit_and_what_is_too_long(site: Site) -> None:
    console = Console(site, forgiving=True)
    await console.open(site.credential(Role.DEBUG, "me"))
    console._lines.put_nowait(TooLong())
    console.type("/quit")
    assert await console.code() == DONE
    assert console.complaints == ["This line is longer than any frame; it is not sent."]


async def test_a_line_that_comes_with_the_end_is_no_mistake(site: Site) -> None:
    console = Console(site)
    await console.open(site.credential(Role.DEBUG, "me"))
    await console.until(lambda row: row.what == "open")
    console.live.leave()
    console.type({"type": "list"})
    assert await console.code() == DONE
    assert console.complaints == []


async def test_lines_of_a_pipe_are_bounded() -> None:
    reading, writing = os.pipe()
    source = Source()
    source.start(reading)
    await asyncio.to_thread(os.write, writing, b"one\ntwo\xff\n")
    assert [await source.next(), await source.next()] == ["one", "two\ufffd"]

    def flood() -> None:
        for _ in range(5):
            os.write(writing, b"x" * (MAX_LINE // 4))
        os.write(writing, b"\nlast")
        os.close(writing)

    task = asyncio.create_task(asyncio.to_thread(flood))
    assert isinstance(await source.next(), TooLong)
    assert [await source.next(), await source.next()] == ["last", None]
    await task
    os.close(reading)
