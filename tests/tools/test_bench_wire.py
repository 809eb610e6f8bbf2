"""The bench with real servers, tiny: that it measures, and that the floor does what Central does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from evcharge.audit.control import KINDS
from evcharge.audit.files import OsFiles
from evcharge.audit.record import Record
from evcharge.audit.replay import replay
from protocol import messages as m
from protocol.credentials import Credential
from tools.bench import floor as floor_module
from tools.bench.__main__ import cli
from tools.bench.floor import RECORDS_PER_SESSION
from tools.bench.report import report_of
from tools.bench.servers import Place, Ring
from tools.bench.wire import Scale, measure
from tools.fleet import ChargePoint, Driver, Fleet, read_credentials

# Few connections, parts of a second: the shape is looked at, not the figures.
TINY = Scale((2, 4), 4, 1, 0.05, 0.5, 0.4, 0.1, 0.05, 0.0, points=2)
# Longest wait for a fact, seconds.
LIMIT_S = 20.0
# Kinds of records that are of connections, not of sessions.
OF_CONNECTIONS = {"mark", "central_started", "peer_connected", "peer_disconnected", "charge_point_booted"}


def test_a_row_that_does_not_exist_is_misuse() -> None:
    result = CliRunner().invoke(cli, ["wire", "--rows", "telemetry,nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output


@pytest.mark.tool
async def test_a_tiny_run_has_every_row_of_every_server(tmp_path: Path) -> None:
    said: list[str] = []
    rows = await measure(Place(tmp_path, None, None), TINY, ["telemetry", "session", "handshakes", "log"], said.append)
    assert not [note for row in rows for note in row.notes]
    assert {(row.row, row.server, row.connections) for row in rows} == {
        *(("idle", server, 4) for server in ("central", "floor", "peer")),
        *(("telemetry", server, n) for server in ("central", "floor", "peer") for n in (2, 4)),
        *(("half_load", server, 4) for server in ("central", "floor", "peer")),
        *(("session", server, 4) for server in ("central", "floor")),
        *(("handshakes", server, 2) for server in ("central", "floor")),
        *(("log", server, 100) for server in ("central", "floor")),
    }
    assert all(row.median > 0 for row in rows if row.row != "idle")
    assert all(row.p99_ms is not None and row.p50_ms is not None for row in rows if row.row != "idle")
    assert any("Central is process" in text for text in said)
    report = report_of(rows, quick=True, seconds=1, machine={"cores": 2})
    assert {"session_of_floor", "log_of_floor"} <= set(report.ratios)
    assert set(report.figures) == {"kib_per_idle_connection", "handshakes_per_cpu_s"}


async def one_session(port: int, ring: Ring) -> Counter[str]:
    """A whole session with the server at ``port``; what the client was told, by type, but for heartbeats."""
    fleet = Fleet("127.0.0.1", port)
    told: Counter[str] = Counter()
    done = asyncio.Event()
    point = _Point(fleet, _credential(ring.files.points[0]), told)
    driver = _Driver(fleet, _credential(ring.files.drivers[0]), told)

    def started(_: ChargePoint) -> None:
        point.update()
        point.end()

    point.on_started = started
    driver.on_ticket = lambda _: done.set()
    async with asyncio.timeout(LIMIT_S):
        await fleet.connect([point, driver])
        driver.request(point.credential.entity)
        driver.flush()
        await done.wait()
        # Everything that was said before this beat has been answered when it is.
        answered = asyncio.Event()
        point.on_ack = lambda *_: answered.set()
        point.beat(time.monotonic())
        point.flush()
        await answered.wait()
        await fleet.close([point, driver])
    assert not fleet.losses
    return told


class _Point(ChargePoint):
    def __init__(self, fleet: Fleet, credential: Credential, told: Counter[str]) -> None:
        super().__init__(fleet, credential)
        self._told = told

    def message(self, message: m.Message, now: float) -> None:
        if not isinstance(message, m.Ack) or message.n is not None:
            self._told[type(message).__name__] += 1
        super().message(message, now)


class _Driver(Driver):
    def __init__(self, fleet: Fleet, credential: Credential, told: Counter[str]) -> None:
        super().__init__(fleet, credential)
        self._told = told

    def message(self, message: m.Message, now: float) -> None:
        self._told[type(message).__name__] += 1
        super().message(message, now)


def _credential(path: Path) -> Credential:
    return read_credentials(path.read_text())[0]


@pytest.mark.tool
async def test_the_floor_says_and_writes_as_much_as_central(tmp_path: Path) -> None:
    async with Ring(Place(tmp_path, None, None), "pair") as ring:
        central = await ring.add_central(points=1, drivers=1, substations=1)
        await ring.add_floor()
        of_central = await one_session(central.port, ring)
        of_floor = await one_session(ring["floor"].port, ring)
        await central.daemon.stop()
        log = tmp_path / "pair" / "site" / "central" / "log"
        records = [item.body for item in replay(log, OsFiles()) if isinstance(item, Record)]
    assert of_floor == of_central
    not_of_a_session = OF_CONNECTIONS | KINDS | {"central_stopped"}
    bodies = [body for body in records if msgspec.msgpack.decode(body)[0] not in not_of_a_session]
    assert len(bodies) == RECORDS_PER_SESSION
    written = sum(
        sum(getattr(floor_module, name))
        for name in (
            *("REQUESTED", "AUTHORIZED", "PLUGGED", "STARTING", "STARTED"),
            *("SAMPLED", "ENDED", "UNPLUGGED", "DELIVERED"),
        )
    )
    assert written == pytest.approx(sum(map(len, bodies)), rel=0.1)
