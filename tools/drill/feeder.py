"""``python -m tools.drill feeder``: Central is killed, and a network cut, while many cars share a feeder at its limit.

Five hosts of their own on one switch. What is promised is checked against the true power that the charge points
themselves wrote down, at every change of it; Central is not asked.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec

from evcharge.audit.event_codec import UnknownKind
from evcharge.cli.common import configure_logging
from evcharge.demo.tally import TallyError, read_trace
from evcharge.energy.allocate import CALM_MS
from evcharge.sidecar.bootstrap import BootstrapError
from tools.daemon import DaemonFailed
from tools.drill.crash_report import MISUSED, Outcome, Progress
from tools.drill.feeder_power import Live, curves
from tools.drill.feeder_report import Marks, Seen, judge, picture, samples
from tools.drill.feeder_site import AMPERE_W, HOSTS, MAX_W, MIN_W, ROWS, FeederSite, Plan
from tools.drill.history import read_history
from tools.drill.log_check import LogFacts
from tools.netns import NetworkFailed, Switched, missing

_, WEST = ROWS
# Limit when none is given, W for each charge point: less than half of its rating, more than twice its fallback.
SHARE_W = 3_300
# Pause between two looks, seconds.
LOOK_S = 0.1
# Longest wait until everybody charges at the limit for the first time, seconds.
FIRST_S = 60.0
# … and after something came back, seconds: clients that found nobody for 40 s come back within 64 s (SPEC §5.3), a
# driver's request follows, and a raise waits for leases of before.
RECOVER_S = 150.0
# Longest wait beyond a lease until it is seen that power fell, seconds: a flush of the trace and a look come first,
# which a busy machine keeps waiting. How late it truly fell the trace tells.
SEEN_S = 10.0
# Longest time from a cut to the others' use of the power that became free, seconds beyond the lease: Central counts a
# lease for 20 s more (``evcharge.energy.leases``), and leases that end one after the other free power in parts: whoever
# was raised by the first part is not raised again so soon.
FREED_S = 40.0 + CALM_MS / 1000
STEPS = 6


class Drill:
    """One run."""

    def __init__(self, folder: Path, plan: Plan, network: Switched, progress: Progress) -> None:
        self.folder = folder
        self.plan = plan
        self.seen: Seen
        """What was seen; there when ``run`` has returned."""
        self._network = network
        self._progress = progress
        self._steps = 0
        self._late: list[str] = []
        self._site: FeederSite
        self._live: Live

    async def run(self) -> Outcome:
        """All of it. Raises DaemonFailed, BootstrapError, NetworkFailed, TallyError, OSError, ValueError."""
        self._site = site = await FeederSite.open(self.folder, self._network, self.plan)
        self._live = Live(site.traces)
        try:
            self._say("starting five hosts")
            await site.start()
            marks = await self._play()
            meters = await site.finish()
        finally:
            await site.close()
        ended_ms = site.clock.site_ms()
        cars = curves(point for trace in site.traces.values() for point in read_trace(trace))
        self.seen = Seen(self.plan, marks, cars, ended_ms)
        facts = LogFacts.read(site.log_dir)
        facts.compare(read_history(site.history))
        facts.settle(meters, read_history(site.history))
        return judge(self.seen, facts, meters, self._late)

    # --- what is done to the feeder -------------------------------------------------------------------------------

    async def _play(self) -> Marks:
        site, plan, now = self._site, self.plan, self._now
        begin = now()
        await site.start_drivers()
        self._say("charging at the limit")
        await self._reach("charging at the limit", FIRST_S, self._whole)

        kill = now()
        await site.kill_central()
        self._say("Central is dead")
        fallen = "all at their fallback without Central"
        await self._reach(fallen, plan.lease_s + SEEN_S, lambda: self._fallen(ROWS), central=False)

        restart = now()
        await site.start_central()
        self._say("Central is back")
        await self._reach("at the limit after the restart", RECOVER_S, self._whole)

        cut = now()
        self._network.cut(WEST)
        self._say("west is cut off")
        await self._reach("the row that is cut off at its fallback", RECOVER_S, lambda: self._fallen([WEST]), hold=0)
        await self._reach("at the limit without it", plan.lease_s + FREED_S, self._at_limit)

        mend = now()
        self._network.mend(WEST)
        self._say("west is back")
        await self._reach("at the limit with everybody", RECOVER_S, self._whole)
        self._say("ending")
        return Marks(begin, kill, restart, cut, mend, now())

    async def _reach(
        self,
        what: str,
        within_s: float,
        reached: Callable[[], bool],
        *,
        central: bool = True,
        hold: float | None = None,
    ) -> None:
        """Wait for a state and watch it for a while; one that does not come is a broken promise, and no end."""
        try:
            async with asyncio.timeout(within_s):
                self._live.look()
                while not reached():
                    await asyncio.sleep(LOOK_S)
                    self._live.look()
        except TimeoutError:
            self._late.append(f"not {what} within {within_s:g} s: {self._live.total_w:,} W flow")
        await asyncio.sleep(self.plan.hold_s if hold is None else hold)
        if central:
            self._site.check()

    def _at_limit(self) -> bool:
        watts = [each for row in ROWS for each in self._live.watts(row)]
        everybody = len(watts) == self.plan.charge_points and min(watts) >= MIN_W
        return everybody and sum(watts) >= self.plan.limit_w - self.plan.slack_w

    def _fallen(self, rows: Sequence[str]) -> bool:
        return all(watts == MIN_W for row in rows for watts in self._live.watts(row))

    def _whole(self) -> bool:
        """At the limit, none left at its fallback, and every monitor there: one that is not would end a session."""
        raised = all(watts > MIN_W + AMPERE_W for row in ROWS for watts in self._live.watts(row))
        return raised and self._at_limit() and self._site.monitors_back()

    def _now(self) -> int:
        return self._site.clock.site_ms()

    def _say(self, text: str) -> None:
        self._progress.say(self._steps, text)
        self._steps += 1


async def _until_told(drill: Drill) -> Outcome:
    """As ``Drill.run``; SIGTERM ends it in order, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await drill.run()


@click.command("feeder")
@click.option("--charge-points", type=click.IntRange(2, 100), default=20, help="Each with a car, 7.36 kW at most.")
@click.option(
    "--limit-kw",
    type=click.FloatRange(0.1, 10_000),
    default=None,
    help="Capacity of the feeder; default: 3.3 kW for each charge point.",
)
@click.option(
    "--lease-s", type=click.FloatRange(10, 120), default=10.0, help="How long a set-point holds without renewal."
)
@click.option("--hold-s", type=click.FloatRange(1, 600), default=10.0, help="How long to watch each state.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Draw it: an SVG file.")
@click.option("--csv", "table", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Five samples/s.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Keep everything in this new folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def command(
    charge_points: int,
    limit_kw: float | None,
    lease_s: float,
    hold_s: float,
    plot: Path | None,
    table: Path | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Kill Central, then cut a network, while cars share a feeder at its limit: does the sum stay below it?

    Five hosts on one switch (network namespaces; needs root and `ip`): Central, the registry, two rows of charge points
    with their monitors, the drivers. All programs are the real ones. Two to three minutes:

    \b
      1  every car charges; together they take the limit
      2  kill -9 of Central: every lease runs out, every car goes on at its fallback (6 A)
      3  Central again, on the same data: back to the limit, with the same sessions
      4  the link of the row "west" goes down: the others rise, but not before its worst case has fallen
      5  the link comes up: its sessions lost their monitors and end, new ones begin, back to the limit
      6  all sessions end: one ticket each, and the tickets' energy is the meters'

    What flows is what the charge points wrote down themselves, to the millisecond, on one monotonic clock.

    \b
    python -m tools.drill feeder --plot feeder.svg --csv feeder.csv
    python -m tools.drill feeder --charge-points 6 --hold-s 3 --json
    """
    plan = Plan(charge_points, int((limit_kw or charge_points * SHARE_W / 1000) * 1000), lease_s, hold_s)
    if not plan.fallback_w + 2 * plan.slack_w <= plan.limit_w < charge_points * MAX_W:
        raise click.UsageError(
            f"--limit-kw {plan.limit_w / 1000:g} shows nothing with {charge_points} charge points: take one from "
            f"{(plan.fallback_w + 2 * plan.slack_w) / 1000:g} (their fallbacks and 2 A each) to below "
            f"{charge_points * MAX_W / 1000:g} (their ratings)."
        )
    if state is not None and state.exists() and any(state.iterdir()):
        raise click.UsageError(f"{state} holds something; give --state a new folder: this drill starts anew.")
    lacking = missing()
    if lacking is not None:
        click.echo(f"skipped: {lacking}", err=True)
        raise click.exceptions.Exit(MISUSED)
    folder = state or Path(tempfile.mkdtemp(prefix="feeder-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configure_logging("error")
    progress = Progress("feeder", STEPS)
    try:
        with Switched(HOSTS) as network:
            drill = Drill(folder, plan, network, progress)
            outcome = asyncio.run(_until_told(drill))
        for path, text in ((plot, picture(drill.seen)), (table, samples(drill.seen))):
            if path is not None:
                path.write_text(text, encoding="utf-8")
    except asyncio.CancelledError:
        raise click.ClickException(f"it was told to end (everything is in {folder})") from None
    except (
        *(DaemonFailed, BootstrapError, NetworkFailed, TallyError, UnknownKind),
        *(msgspec.MsgspecError, OSError, ValueError),
    ) as error:
        raise click.ClickException(f"{error} (everything is in {folder})") from error
    finally:
        progress.end()
    outcome.show(as_json=as_json)
    if state is None and outcome.kept:
        shutil.rmtree(folder)
    else:
        click.echo(f"Logs, history and traces are in {folder}.", err=True)
    outcome.exit()
