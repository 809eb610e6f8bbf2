"""``evcharge-driver auto``: a file of requests, or of a day's sessions, played by itself."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evcharge.cli.commands import Command
from evcharge.cli.common import print_json, ready
from evcharge.cli.driver_options import PATIENT_S, Door, connection_options, door_of, json_option, run
from evcharge.cli.driver_text import plain
from evcharge.cli.probes import health_option, probed
from evcharge.driver.auto import PAUSE_S, Collector, FaultKind, Faults, PointsRun, Say
from evcharge.driver.client import DriverClient
from evcharge.driver.replay import SessionsRun
from evcharge.driver.scripted import ScriptError, Stay, Summary, Wish, check_labels, read_points, read_sessions
from evcharge.net.readiness import Readiness, channels

if TYPE_CHECKING:
    from evcharge.net.exposition import Address


@click.command("auto", cls=Command)
@click.argument(
    "points", metavar="[FILE]", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False
)
@click.option(
    "--sessions",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Instead of FILE: JSON lines {session, cp_id, connector, arrive_ms, depart_ms, energy_wh, wait} in site time.",
)
@click.option("--pause", type=click.FloatRange(0, 86_400), default=PAUSE_S, help="Seconds between two requests.")
@click.option("--fault-rate", type=click.FloatRange(0, 1), default=0.0, help="Probability of a fault per request.")
@click.option(
    "--fault-kind",
    "kinds",
    type=click.Choice([kind.value for kind in FaultKind]),
    multiple=True,
    help="What goes wrong; may be given several times.  [default: all]",
)
@click.option("--seed", type=int, default=None, help="Makes the faults repeatable.")
@health_option
@connection_options
@json_option
@click.pass_context
def auto_command(
    context: click.Context,
    /,
    points: Path | None,
    sessions: Path | None,
    pause: float,
    fault_rate: float,
    kinds: tuple[str, ...],
    seed: int | None,
    health: Address | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Charge at each charge point of FILE, one after the other, or play the sessions of a day.

    The last line of stdout is what it came to. SIGTERM ends the run before its end, with that line and exit code 0:
    sessions that run go on without their driver, whose tickets wait for the next time.
    """
    if (points is None) == (sessions is None):
        raise click.UsageError("give either FILE or --sessions FILE.")
    door = door_of(context, **options)
    faults = Faults(fault_rate, tuple(FaultKind(kind) for kind in kinds) or tuple(FaultKind))
    drive = _Drive(door, _say_json if as_json else _say_lines, health)
    try:
        if points is not None:
            wishes = read_points(points)
            dice = random.Random(seed)  # noqa: S311  # faults, no secrets
            work = drive.points(wishes, faults=faults, dice=dice, pause_s=pause)
        else:
            assert sessions is not None
            stays = read_sessions(sessions)
            check_labels(sessions, stays, {credential.entity for credential in door.credentials})
            work = drive.sessions(stays)
    except ScriptError as error:
        raise click.UsageError(str(error)) from error
    print_json(run(_until_told(work, drive)))


class _Drive:
    """One run: its connections, its probes, and what it came to so far."""

    def __init__(self, door: Door, say: Say, probes: Address | None) -> None:
        self._door = door
        self._say = say
        self._probes = probes
        self._collector = Collector(say)
        self._clients: dict[str, DriverClient] = {}
        self._run: PointsRun | SessionsRun | None = None

    async def points(self, wishes: Sequence[Wish], *, faults: Faults, dice: random.Random, pause_s: float) -> None:
        """One driver, one request after the other. Raises Failed, Refusal, Unreachable."""
        client = self._door.only(self._collector, PATIENT_S)
        one = PointsRun(
            client, self._collector, self._say, faults=faults, dice=dice, sleep=asyncio.sleep, pause_s=pause_s
        )
        self._clients, self._run = {client.driver_id: client}, one
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            await one.run(wishes)

    async def sessions(self, stays: Sequence[Stay]) -> None:
        """Every session by its own driver, or all by one. Raises as ``points``."""
        self._clients = {
            credential.entity: self._door.client(credential, self._collector, PATIENT_S)
            for credential in self._door.credentials
        }
        day = SessionsRun(self._clients, self._collector, self._say, clock=self._door.clock, sleep=asyncio.sleep)
        self._run = day
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            await day.run(stays)

    def summary(self) -> Summary:
        """What it came to until now."""
        return Summary() if self._run is None else self._run.summary()

    async def _connect(self, stack: AsyncExitStack) -> None:
        served = await stack.enter_async_context(probed("driver", self._probes, Readiness(unready=self._unready)))
        async with asyncio.TaskGroup() as connecting:
            for client in self._clients.values():
                connecting.create_task(stack.enter_async_context(client))
        ready("driver", drivers=len(self._clients), **served)

    def _unready(self) -> str | None:
        return channels(sum(client.up for client in self._clients.values()), len(self._clients))


async def _until_told(work: Coroutine[Any, Any, None], drive: _Drive) -> Summary:
    """Do it, or what can be done of it until SIGTERM. Nobody else would end PID 1 of a container in time."""
    working = asyncio.ensure_future(work)
    told = False

    def tell() -> None:
        nonlocal told
        told = True
        working.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, tell)
    try:
        await working
    except asyncio.CancelledError:
        # SIGINT cancels too, from outside, and ends as it always did.
        if not told:
            raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    return drive.summary()


def _say_json(what: str, **fields: Any) -> None:
    print_json({"what": what, **fields})
    sys.stdout.flush()


def _say_lines(what: str, **fields: Any) -> None:
    """Happenings for a person to read, on stderr; the summary is the last line of stdout."""
    shown = "  ".join(f"{key}={plain(str(value))}" for key, value in fields.items() if value not in (None, "", []))
    click.echo(f"{what.replace('_', ' ')}  {shown}".rstrip(), err=True)
