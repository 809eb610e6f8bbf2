"""``python -m tools.drill charge-point-kills``: kill -9 of real charge points in the middle of charging.

``evcharge-cp run`` and ``evcharge-monitor run`` are killed and started again on the same folder while drivers charge.
At the end tickets, meters and the charge points' own trace of true power have to agree.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import click
import msgspec

from evcharge.audit.event_codec import UnknownKind
from evcharge.cli.common import configure_logging
from evcharge.demo.tally import TallyError
from evcharge.domain.words import StopCause
from evcharge.net.clock import SystemClock
from evcharge.sidecar.bootstrap import BootstrapError
from protocol.credentials import Role
from tools.daemon import Daemon, DaemonFailed
from tools.drill.cp_processes import MAX_KW, ChargePoints
from tools.drill.crash_report import Outcome, Progress, Promise, none_of, spread
from tools.drill.crash_site import CrashSite
from tools.drill.drivers import Drivers
from tools.drill.history import History, RecordingClient, read_history
from tools.drill.log_check import LogFacts
from tools.drill.power_trace import delivered_wh
from tools.site import HOST

# What a charge asks for, Wh: some end by themselves, most are hit by a kill.
ENERGY_WH = (100, 1_500)
# Share of the charges that their driver ends.
END_EARLY = 0.2
# Seconds that charging goes on before the kill.
CHARGE_S = (0.1, 1.5)
# Of every so many kills one hits the monitor as well, another one the monitor alone.
BOTH_EVERY, MONITOR_EVERY = 5, 7
# Longest wait until charging goes on after a restart, seconds.
RECOVER_S = 30.0
# A meter counts at every look, 0.1 s apart, and survives the process: what flowed since the last look is all that a
# kill can take. The rest is for looks that come late on a busy machine.
UNMETERED_S = 0.4
# What has to be open for a cycle's kill: this share of the charge points charges.
CHARGING_SHARE = 0.5
STATE = "state.json"


class Progressed(msgspec.Struct, kw_only=True):
    """What a drill that goes on has to know; written after each cycle."""

    seed: int
    charge_points: int
    kills: int = 0
    engine_kills: int = 0
    monitor_kills: int = 0
    kills_ms: list[int] = []
    """When the charge points' process died, UTC ms."""
    hit: int = 0
    """Sessions that were charging when it died."""
    ready_s: list[float] = []
    charging_again_s: list[float] = []
    runs: int = 0
    broken: list[str] = []

    def save(self, folder: Path) -> None:
        """In one step."""
        draft = folder / f"{STATE}.tmp"
        draft.write_bytes(msgspec.json.encode(self))
        draft.replace(folder / STATE)


class Drill:
    """One run."""

    def __init__(self, folder: Path, progressed: Progressed, cycles: int) -> None:
        self.folder = folder
        self.so_far = progressed
        self.cycles = cycles
        self.cps: ChargePoints

    async def run(self, progress: Progress) -> Outcome:
        """All cycles that are left, then the end. Raises DaemonFailed, BootstrapError, OSError, ValueError."""
        so_far = self.so_far
        so_far.runs += 1
        self.site = site = await CrashSite.open(
            self.folder,
            charge_points=so_far.charge_points,
            drivers=so_far.charge_points,
            central_args=["--capacity-kw", str(so_far.charge_points * MAX_KW)],
        )
        try:
            await site.start_central()
            names = [credential.entity for credential in site.credentials(Role.CP)]
            self.cps = ChargePoints(site, "all", names)
            await self.cps.start_engines()
            await self.cps.start_monitors()
            # Every driver has a charge point of its own, so that each of them charges nearly all the time.
            history = History(self.folder / "history.jsonl")
            self.drivers = Drivers(
                site.credentials(Role.DRIVER),
                [[name] for name in names],
                (HOST, site.port),
                clock=SystemClock(),
                make_client=partial(RecordingClient, history=history),
                rng=Random(so_far.seed + so_far.runs),
                energy_wh=ENERGY_WH,
                end_early=END_EARLY,
            )
            async with self.drivers:
                while so_far.kills < self.cycles:
                    await self._cycle(so_far.kills)
                    so_far.kills += 1
                    so_far.save(self.folder)
                    progress.say(so_far.kills, f"{so_far.hit} sessions hit")
                return await self._end()
        finally:
            # A run that is broken off kills what it started, too: the next one has to know when.
            cps: ChargePoints | None = getattr(self, "cps", None)
            if cps is not None:
                so_far.kills_ms.append(time.time_ns() // 1_000_000)
                await cps.close()
            so_far.save(self.folder)
            await site.close()

    async def _cycle(self, number: int) -> None:
        so_far = self.so_far
        rng = Random(f"{so_far.seed}/{number}")
        began = time.monotonic()
        await self._charging()
        if number > 0:
            so_far.charging_again_s.append(round(time.monotonic() - began, 3))
        await asyncio.sleep(rng.uniform(*CHARGE_S))
        alone = number % MONITOR_EVERY == MONITOR_EVERY - 1
        if alone or number % BOTH_EVERY == BOTH_EVERY - 1:
            await self._kill(self.cps.monitors)
            so_far.monitor_kills += 1
        if not alone:
            so_far.hit += self.drivers.charging
            await self._kill(self.cps.engines)
            so_far.engine_kills += 1
            began = time.monotonic()
            await self.cps.start_engines()
            so_far.ready_s.append(round(time.monotonic() - began, 3))
        if not self.cps.monitors.alive:
            await self.cps.start_monitors()

    async def _charging(self) -> None:
        """Wait until enough charge points charge (for a while: that they do again is a promise)."""
        wanted = max(1, int(self.so_far.charge_points * CHARGING_SHARE))
        try:
            async with asyncio.timeout(RECOVER_S):
                await self.drivers.until_charging(wanted)
        except TimeoutError:
            self.so_far.broken.append(f"{self.drivers.charging} of {wanted} charge points charge after {RECOVER_S:g} s")

    async def _kill(self, daemon: Daemon) -> None:
        """Raises DaemonFailed when it had ended by itself."""
        if not daemon.alive:
            raise DaemonFailed(f"{daemon.name} ended by itself.{daemon.tail()}")
        if daemon is self.cps.engines:
            self.so_far.kills_ms.append(time.time_ns() // 1_000_000)
        await daemon.kill()

    # --- the end --------------------------------------------------------------------------------------------------

    async def _end(self) -> Outcome:
        """No more charges; what runs ends with the planned end of the charge points; then all books are compared."""
        so_far = self.so_far
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVER_S):
                await self.drivers.until_settled()
        meters = await self.cps.stop_engines()
        end_ms = time.time_ns() // 1_000_000
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVER_S):
                await self.drivers.finish()
        live_hash = await self.site.stop_central()
        facts = LogFacts.read(self.site.log_dir)
        history = self.folder / "history.jsonl"
        acknowledged = facts.compare(read_history(history))
        facts.settle(meters, read_history(history))
        true_wh = delivered_wh(self.cps.trace, so_far.kills_ms, end_ms)
        same = live_hash == facts.state_hash()
        return self._outcome(facts, acknowledged, sum(meters.values()), true_wh, same=same)

    def _outcome(self, facts: LogFacts, acknowledged: int, metered_wh: int, true_wh: float, *, same: bool) -> Outcome:
        so_far, found = self.so_far, facts.findings
        unmetered_wh = true_wh - metered_wh
        # A connector's register is shown in whole watt-hours, so each may hide one.
        may_wh = so_far.charge_points + so_far.hit * MAX_KW * 1000 * UNMETERED_S / 3600
        promises = [
            Promise("kills", str(self.cycles), str(so_far.kills), so_far.kills >= self.cycles),
            Promise(
                "energy on tickets = meters",
                f"{metered_wh:,} Wh",
                f"{facts.energy_wh():,} Wh",
                not found.of("energy") and facts.energy_wh() == metered_wh,
            ),
            Promise(
                f"flowed and not on the meter (at most {UNMETERED_S:g} s a session hit)",
                f"<= {may_wh:,.0f} Wh",
                f"{unmetered_wh:,.1f} Wh of {true_wh:,.1f}",
                -so_far.charge_points <= unmetered_wh <= may_wh,
            ),
            none_of("sessions stuck", found.of("stuck")),
            none_of(f"tickets lost, of {len(facts.tickets):,}", found.of("lost_ticket")),
            none_of("tickets doubled or changed", found.of("doubled_ticket", "ticket_times")),
            none_of(f"acknowledged events lost, of {acknowledged:,}", found.of("lost", "damaged")),
            none_of("events applied or numbered twice", found.of("doubled", "fence")),
            none_of(f"restarts without charging within {RECOVER_S:g} s", len(so_far.broken)),
            Promise("hash of the replayed state", "Central's", "equal" if same else "differs", same),
        ]
        reasons = {cause.value: 0 for cause in StopCause}
        for ticket in facts.tickets.values():
            reasons[ticket.reason.value] += 1
        figures = {
            "kills of the charge points": so_far.engine_kills,
            "kills of the monitors": so_far.monitor_kills,
            "charge points": so_far.charge_points,
            "sessions charging at a kill": so_far.hit,
            "unmetered per session hit, mean s at full power": round(
                unmetered_wh * 3.6 / max(1, so_far.hit) / MAX_KW, 3
            ),
            "tickets by reason": {name: count for name, count in reasons.items() if count},
            "restart to ready, s": spread(so_far.ready_s),
            "ready to charging again, s": spread(so_far.charging_again_s),
            "runs": so_far.runs,
            "seed": so_far.seed,
        }
        return Outcome(
            drill="kill -9 of charge points in the middle of charging",
            promises=promises,
            figures=figures,
            problems=[*so_far.broken[:10], *found.sentences],
        )


def open_state(folder: Path, *, seed: int, charge_points: int) -> Progressed:
    """The figures of a drill that goes on, or new ones for an empty folder. Raises UsageError."""
    file = folder / STATE
    if file.exists():
        try:
            return msgspec.json.decode(file.read_bytes(), type=Progressed)
        except msgspec.MsgspecError as error:
            raise click.UsageError(f"{file} is not a state of this drill ({error}); use another --state.") from error
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} holds something else; give --state an empty or a new folder.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    progressed = Progressed(seed=seed, charge_points=charge_points)
    progressed.save(folder)
    return progressed


@click.command("charge-point-kills")
@click.option("--cycles", type=click.IntRange(1, 100_000), default=100, help="How many kills in all.")
@click.option("--charge-points", type=click.IntRange(1, 16), default=4, help="In one process, each with its driver.")
@click.option("--seed", type=int, default=1, help="Of the moments and the load; a state keeps its own.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Keep everything in this folder and go on there next time; default: a temporary folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def command(cycles: int, charge_points: int, seed: int, state: Path | None, as_json: bool) -> None:
    """Kill charge points and monitors with SIGKILL while they charge; no energy may be lost, no ticket doubled."""
    folder = state or Path(tempfile.mkdtemp(prefix="charge-point-kills-"))
    progressed = open_state(folder, seed=seed, charge_points=charge_points)
    drill = Drill(folder, progressed, cycles)
    configure_logging("error")
    progress = Progress("kills of charge points", cycles)
    try:
        outcome = asyncio.run(drill.run(progress))
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
