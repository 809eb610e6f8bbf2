"""``python -m tools.drill clock``: the wall clocks of Central and of charge points jump, forwards and back, by hours.

Real processes on clocks of their own (``stepped``). Steps hit them while they run, and while they are down. Channels
have to stay open, leases have to end when they would have, charging has to go on, and the log's time may not go back.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random

import click
import msgspec

from evcharge.audit.event_codec import UnknownKind
from evcharge.cli.common import configure_logging
from evcharge.demo.tally import TallyError, peak_w, read_trace
from evcharge.net.clock import SystemClock
from evcharge.sidecar.bootstrap import BootstrapError
from protocol.credentials import Role
from tools.daemon import DaemonFailed
from tools.drill.cp_processes import MIN_KW, ChargePoints
from tools.drill.crash_report import MISUSED, Outcome, Progress, Promise, none_of
from tools.drill.crash_site import CrashSite
from tools.drill.drivers import Drivers
from tools.drill.history import Ack, History, RecordingClient, read_history
from tools.drill.log_check import LogFacts
from tools.drill.stepped import NoCompiler, StepClock, build
from tools.site import HOST

HOUR_S = 3600.0
# Capacity of the site, kW: what one connector alone could take.
CAPACITY_KW = 200
# Life of a set-point without renewal, seconds: the shortest that Central takes.
LEASE_S = 10
# How much later than a lease's end its fallback may be seen, seconds: a tick, a flush, a busy machine.
LATE_S = 1.5
# Short charges, Wh; and one that goes on for as long as its charge point lives.
SHORT_WH, LONG_WH = (20, 60), (900_000, 1_000_000)
# Longest wait for charging to go on after a restart, seconds.
RECOVER_S = 40.0
# Pause between two looks, seconds.
LOOK_S = 0.05
# How much longer than the driver waited a ticket may say that a charge took, seconds.
LONGER_S = 2.0
# Seconds for which one charge point's process stands still while Central comes back on a clock that is ahead.
STILL_S = 4.0
# A process is on its stepped clock when its log says so to this many seconds.
SEEN_S = 60.0
KINDS = ("running", "central", "lease", "charge-points")
STEPS = 12
LONG_CP = 2
CHARGE_POINTS = 3


class Drill:
    """One run; the steps are methods, in order."""

    def __init__(
        self, folder: Path, library: Path, kinds: Collection[str], hold_s: float, seed: int, progress: Progress
    ) -> None:
        self.folder = folder
        self.kinds = kinds
        self.library = library
        self.hold_s = hold_s
        self.seed = seed
        self.progress = progress
        self.central_clock = StepClock(folder / "central.clock")
        self.cp_clock = StepClock(folder / "cp.clock")
        self.short_cps: ChargePoints
        self.long_cps: ChargePoints
        self.steps: list[str] = []
        self.dropped = 0
        self.unseen: list[str] = []
        self.stuck: list[str] = []
        self.fallback_s: float | None = None
        self.site_steps_s: list[float] = []
        """When Central came back on another clock, monotonic: site time stepped, durations across it mean nothing."""

    async def run(self) -> Outcome:
        """All steps. Raises DaemonFailed, BootstrapError, OSError, ValueError."""
        async with AsyncExitStack() as stack:
            self.site = await CrashSite.open(
                self.folder,
                charge_points=CHARGE_POINTS,
                drivers=CHARGE_POINTS,
                central_args=["--capacity-kw", str(CAPACITY_KW), "--lease-s", str(LEASE_S)],
                central_before=self.central_clock.wrap(self.library),
                log_level="info",
            )
            stack.push_async_callback(self.site.close)
            await self.site.start_central()
            names = [credential.entity for credential in self.site.credentials(Role.CP)]
            wrap = partial(self.cp_clock.wrap, self.library)
            self.short_cps = ChargePoints(self.site, "short", names[:LONG_CP], wrap)
            self.long_cps = ChargePoints(self.site, "long", names[LONG_CP:], wrap)
            for cps in (self.short_cps, self.long_cps):
                stack.push_async_callback(cps.close)
                await cps.start_engines()
                await cps.start_monitors()
            history = History(self.folder / "history.jsonl")
            self.short = await stack.enter_async_context(self._drivers(self.short_cps, SHORT_WH, history))
            self.long = await stack.enter_async_context(self._drivers(self.long_cps, LONG_WH, history))
            await self._go_on("the start")
            steps = {
                "running": self._running_steps,
                "central": self._central_restarts,
                "lease": self._lease,
                "charge-points": self._charge_point_restarts,
            }
            for name in KINDS:
                if name in self.kinds:
                    await steps[name]()
            return await self._end()

    # --- the steps ------------------------------------------------------------------------------------------------

    async def _running_steps(self) -> None:
        """While all run: nothing may be noticed."""
        for hours in (3, -6, 3):
            await self._held(f"Central's clock {hours:+} h", self.central_clock, hours)
        for hours in (5, -10, 5):
            await self._held(f"the charge points' clock {hours:+} h", self.cp_clock, hours)

    async def _held(self, what: str, clock: StepClock, hours: int) -> None:
        gone, tickets = self._disconnected(), self._tickets()
        clock.step(hours * HOUR_S)
        await asyncio.sleep(self.hold_s)
        await self._ticket_after(tickets, what)
        self.dropped += self._disconnected() - gone
        self._note(what)

    async def _central_restarts(self) -> None:
        """Central dies and comes back on another clock. While it comes back ahead, one charge point stands still:
        what that may still draw has to stay accounted for.
        """
        await self._central_on_another_clock(-2)
        await self._go_on("Central killed, back 2 h earlier")
        self._look_at_stamps(self.folder / "central.log", self.central_clock, "Central")
        os.kill(self.long_cps.engines.pid, signal.SIGSTOP)
        await self._central_on_another_clock(6)
        await asyncio.sleep(STILL_S)
        os.kill(self.long_cps.engines.pid, signal.SIGCONT)
        await self._go_on("Central killed, back 6 h later, while a charge point stands still")
        self._look_at_stamps(self.folder / "central.log", self.central_clock, "Central")

    async def _central_on_another_clock(self, hours: int) -> None:
        await self.site.kill_central()
        self.central_clock.step(hours * HOUR_S)
        self.site_steps_s.append(time.monotonic())
        await self.site.start_central()

    async def _lease(self) -> None:
        """Central dies and the charge points' clock goes back: the set-point ends when it would have."""
        await self.site.kill_central()
        died_s = time.monotonic()
        self.cp_clock.step(-1 * HOUR_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(LEASE_S + 5 * LATE_S):
                while self._power() > MIN_KW * 1000:
                    await asyncio.sleep(LOOK_S)
                self.fallback_s = round(time.monotonic() - died_s, 2)
        await self.site.start_central()
        self.cp_clock.step(1 * HOUR_S)
        await self._go_on("Central dead for a lease, the charge points' clock 1 h back")

    async def _charge_point_restarts(self) -> None:
        """Charge points die while charging and come back on another clock."""
        for hours in (-5, 10):
            both = (self.short_cps, self.long_cps)
            for cps in both:
                await cps.engines.kill()
            self.cp_clock.step(hours * HOUR_S)
            for cps in both:
                await self._start_engines(cps)
            await self._go_on(f"charge points killed, back with their clock {hours:+} h")
            self._look_at_stamps(self.long_cps.log, self.cp_clock, "the charge points")

    async def _go_on(self, what: str) -> None:
        """Both kinds of charges run again, and one of the short ones comes to its end."""
        tickets = self._tickets()
        try:
            async with asyncio.timeout(RECOVER_S):
                await self.long.until_charging(1)
                await self.short.until_charging(1)
        except TimeoutError:
            self.stuck.append(f"no charging within {RECOVER_S:g} s after {what}")
        await self._ticket_after(tickets, what)
        await asyncio.sleep(self.hold_s / 2)
        self._note(what)

    async def _ticket_after(self, tickets: int, what: str) -> None:
        """One more ticket than there were."""
        try:
            async with asyncio.timeout(RECOVER_S):
                while self._tickets() == tickets:
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            self.stuck.append(f"no charge came to its end within {RECOVER_S:g} s after {what}")

    def _note(self, what: str) -> None:
        self.steps.append(what)
        self.progress.say(len(self.steps), what)

    # --- what is seen ---------------------------------------------------------------------------------------------

    def _disconnected(self) -> int:
        """Channels that Central lost so far, from its own log."""
        return (self.folder / "central.log").read_bytes().count(b'"peer.disconnected"')

    def _tickets(self) -> int:
        return sum(ack.kind == "ticket" for ack in read_history(self.folder / "history.jsonl"))

    def _power(self) -> int:
        """What the connector with the long charge takes now, W."""
        points = list(read_trace(self.long_cps.trace))
        return points[-1].power_w if points else 0

    def _look_at_stamps(self, log: Path, clock: StepClock, who: str) -> None:
        """The newest line of a process's log is on the stepped clock; otherwise nothing was tested."""
        for line in reversed(log.read_bytes().splitlines()):
            if line.startswith(b"{"):
                stamp = msgspec.convert(msgspec.json.decode(line)["timestamp"], datetime)
                ahead_s = stamp.timestamp() - time.time()
                if abs(ahead_s - clock.offset_s) > SEEN_S:
                    self.unseen.append(f"{who} shows a clock {ahead_s:.0f} s ahead, not {clock.offset_s:.0f}")
                return
        self.unseen.append(f"{who} logged nothing")

    # --- processes ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _drivers(self, cps: ChargePoints, energy_wh: tuple[int, int], history: History) -> AsyncIterator[Drivers]:
        # Driver and charge point with the same number belong together.
        numbers = {cp_id[-5:] for cp_id in cps.cp_ids}
        credentials = [each for each in self.site.credentials(Role.DRIVER) if each.entity[-5:] in numbers]
        drivers = Drivers(
            credentials,
            [[cp_id] for cp_id in cps.cp_ids],
            (HOST, self.site.port),
            clock=SystemClock(),
            make_client=partial(RecordingClient, history=history),
            rng=Random(self.seed),
            energy_wh=energy_wh,
            end_early=0.0,
        )
        async with drivers:
            yield drivers

    async def _start_engines(self, cps: ChargePoints) -> None:
        if cps.trace.exists():
            # A trace is on the clock of one process: a new process begins a new one.
            cps.trace.rename(self.folder / f"{cps.name}.{len(self.steps)}.trace")
        await cps.start_engines()

    # --- the end --------------------------------------------------------------------------------------------------

    async def _end(self) -> Outcome:
        meters: dict[str, int] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVER_S):
                await self.short.finish()
                await self.long.until_settled()
        for cps in (self.short_cps, self.long_cps):
            meters |= await cps.stop_engines()
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVER_S):
                await self.long.finish()
        live_hash = await self.site.stop_central()
        facts = LogFacts.read(self.site.log_dir)
        acks = list(read_history(self.folder / "history.jsonl"))
        facts.compare(acks)
        facts.settle(meters, acks)
        # The first traces are both on the machine's time, and hold everything up to the charge points' first kill.
        highest_w = peak_w(min(self.folder.glob(f"{group}*.trace"), key=_number) for group in ("short", "long"))
        odd = _odd_durations(facts, acks, self.site_steps_s)
        return self._outcome(facts, highest_w, odd, same=live_hash == facts.state_hash())

    def _lease_promise(self) -> list[Promise]:
        if "lease" not in self.kinds:
            return []
        in_time = self.fallback_s is not None and self.fallback_s <= LEASE_S + LATE_S
        seen = "not seen" if self.fallback_s is None else f"{self.fallback_s:g} s"
        what = "end of a lease without Central, clock set back"
        return [Promise(what, f"<= {LEASE_S + LATE_S:g} s", seen, in_time)]

    def _outcome(self, facts: LogFacts, highest_w: int, odd: list[str], *, same: bool) -> Outcome:
        found = facts.findings
        promises = [
            none_of("channels lost by steps of running clocks", self.dropped),
            *self._lease_promise(),
            Promise(
                "peak of true power",
                f"<= {CAPACITY_KW} kW",
                f"{highest_w / 1000:g} kW",
                highest_w <= CAPACITY_KW * 1000,
            ),
            none_of("steps after which charging did not go on", len(self.stuck)),
            none_of("sessions stuck", found.of("stuck")),
            none_of("tickets lost, doubled or changed", found.of("lost_ticket", "doubled_ticket")),
            none_of(f"odd times on tickets, of {len(facts.tickets)}", len(odd) + found.of("ticket_times")),
            Promise("energy on tickets = meters", "equal", f"{facts.energy_wh():,} Wh", not found.of("energy")),
            none_of("steps back of steady time in the log", found.of("clock_back")),
            none_of("acknowledged events lost, log damaged", found.of("lost", "damaged", "doubled", "fence")),
            Promise("hash of the replayed state", "Central's", "equal" if same else "differs", same),
            none_of("processes that did not see their step", len(self.unseen)),
        ]
        figures = {
            "steps": len(self.steps) - 1,
            "tickets": len(facts.tickets),
            "records": facts.records,
            "steps back of site time in the log (Central's wall clock at its start)": facts.site_steps_back,
            "seed": self.seed,
        }
        problems = [*self.stuck, *self.unseen, *odd[:10], *found.sentences]
        return Outcome(drill="steps of wall clocks", promises=promises, figures=figures, problems=problems)


def _number(path: Path) -> int:
    """Traces in their order: ``long.5.trace``, ``long.8.trace``, and the one that is written now, ``long.trace``."""
    number = path.name.split(".")[1]
    return int(number) if number.isdigit() else sys.maxsize


def _odd_durations(facts: LogFacts, acks: list[Ack], site_steps_s: list[float]) -> list[str]:
    """Tickets that say another duration than their driver saw pass: none for energy, or more than there was.

    Charges during which site time itself stepped are left out.
    """
    granted = {ack.session: ack.at_s for ack in acks if ack.kind == "granted"}
    came: dict[str, float] = {}
    for ack in acks:
        if ack.kind == "ticket":
            came.setdefault(ack.session, ack.at_s)
    odd = []
    for session_id, ticket in facts.tickets.items():
        if session_id not in granted or session_id not in came:
            continue
        if any(granted[session_id] <= step_s <= came[session_id] for step_s in site_steps_s):
            continue
        seen_s = came[session_id] - granted[session_id]
        says_s = (ticket.end_ms - ticket.start_ms) / 1000
        if says_s > seen_s + LONGER_S or (says_s == 0 and ticket.energy_wh > 0):
            odd.append(
                f"ticket of {session_id} at {ticket.cp_id}: {ticket.energy_wh} Wh in {says_s:.1f} s; "
                f"its driver waited {seen_s:.1f} s"
            )
    return odd


@click.command("clock")
@click.option("--steps", type=click.Choice(KINDS), multiple=True, default=KINDS, help="Which ones; may be repeated.")
@click.option("--hold-s", type=click.FloatRange(1, 600), default=6.0, help="How long to look after each step.")
@click.option("--seed", type=int, default=1, help="Of the load.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Keep everything in this new folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def command(steps: tuple[str, ...], hold_s: float, seed: int, state: Path | None, as_json: bool) -> None:
    """Step the wall clocks of Central and of charge points by hours, forwards and back, running and restarting."""
    if state is not None and state.exists() and any(state.iterdir()):
        raise click.UsageError(
            f"{state} holds something; give --state a new folder: this drill is short, it starts anew."
        )
    folder = state or Path(tempfile.mkdtemp(prefix="clock-steps-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configure_logging("error")
    progress = Progress("steps", STEPS)
    try:
        drill = Drill(folder, build(folder), steps, hold_s, seed, progress)
        outcome = asyncio.run(drill.run())
    except NoCompiler as error:
        click.echo(f"skipped: {error}", err=True)
        raise click.exceptions.Exit(MISUSED) from error
    except (DaemonFailed, BootstrapError, UnknownKind, TallyError, OSError, ValueError) as error:
        raise click.ClickException(f"{error} (everything is in {folder})") from error
    finally:
        progress.end()
    outcome.show(as_json=as_json)
    if state is None and outcome.kept:
        shutil.rmtree(folder)
    else:
        click.echo(f"Logs, history and figures are in {folder}.", err=True)
    outcome.exit()
