"""``python -m tools.drill central-kills``: kill -9 of Central under load, again and again, and the log has it all.

One process (``crash_load``) holds charge points, monitors and drivers that go on charging; whatever Central tells any
of them is on file before it is acted on. Central is killed while it serves, while it starts (log being replayed) and
while it drains. Whether everything that was told is in the log is decided by a reader of the files of its own.

The drill goes in rounds. At the end of each everything comes to its end, all books are compared, and the next round
begins with an empty log: a start replays the whole log, so the cycles would become longer and longer.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from random import Random

import click
import msgspec

from evcharge.audit.event_codec import UnknownKind
from evcharge.sidecar.bootstrap import BootstrapError
from tools.daemon import Daemon, DaemonFailed
from tools.drill.crash_report import Outcome, Progress, Promise, none_of, spread
from tools.drill.crash_site import CrashSite
from tools.drill.history import read_history
from tools.drill.log_check import Findings, LogFacts
from tools.site import HOST

# Seconds that Central serves before it is killed.
SERVE_S = (0.2, 1.5)
# Of every ten kills: two while starting, one while draining. Two cycles are patient, that is, they go on until all
# peers are back: one after the drain, which tells its peers to stay away for up to 5 s, and one after a plain kill.
TURN = 10
STARTING, DRAINING, AFTER_DRAIN, AFTER_KILL = (3, 6), 9, 0, 5
# A kill at the start comes within this many times the usual time to ready: the log is read in its second half.
START_SHARE = (0.5, 1.1)
# … which is this before the first restart was measured, seconds.
FIRST_START_S = 1.0
# A kill of a drain comes within so many seconds: some before, some after its end.
DRAIN_WITHIN_S = 0.6
# Longest wait until all peers are back, seconds; a cycle above it goes on without.
RECOVER_S = 30.0
# Longest wait until everything has come to its end, seconds.
FINISH_S = 180.0
# Sentences about what is wrong that are kept.
SENTENCES = 20
# The figures so far, in the drill's folder.
STATE = "state.json"


class Progressed(msgspec.Struct, kw_only=True):
    """What a drill that goes on has to know; written after each cycle and each round."""

    seed: int
    charge_points: int
    drivers: int
    kills: int = 0
    serving: int = 0
    starting: int = 0
    draining: int = 0
    loads: int = 0
    """Starts of the load's process: more than one a round when the drill was broken off."""
    restart_s: list[float] = []
    recover_s: list[float] = []
    """Ready to all peers back, after a plain kill."""
    looks: int = 0
    """Comparisons of log and history, those at the ends of rounds included."""
    wall_s: float = 0.0
    in_round: int = 0
    """Kills of the round that is open."""
    rounds: int = 0
    """Rounds that came to their end."""
    same_states: int = 0
    """… with the same hash of the state in Central, in a replay and in another replay."""
    acknowledged: int = 0
    sessions: int = 0
    tickets: int = 0
    records: int = 0
    energy_wh: int = 0
    counts: dict[str, int] = {}
    """What is wrong, by kind."""
    sentences: list[str] = []

    def found(self, *kinds: str) -> int:
        """How many of these kinds."""
        return sum(self.counts.get(kind, 0) for kind in kinds)

    def take(self, findings: Findings) -> None:
        """Add what a look found."""
        self.looks += 1
        for kind, count in findings.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        self.sentences = (self.sentences + findings.sentences)[:SENTENCES]

    def save(self, folder: Path) -> None:
        """In one step, so that a drill that is killed leaves the old figures or the new ones."""
        draft = folder / f"{STATE}.tmp"
        draft.write_bytes(msgspec.json.encode(self))
        draft.replace(folder / STATE)


class Drill:
    """One run; ``folder`` holds everything that a later run needs to go on."""

    def __init__(self, folder: Path, progressed: Progressed, cycles: int, round_of: int, back_off: float) -> None:
        self.folder = folder
        self.so_far = progressed
        self.cycles = cycles
        self.round_of = round_of
        self.back_off = back_off
        self.load: Daemon | None = None

    async def run(self, progress: Progress) -> Outcome:
        """All rounds that are left. Raises DaemonFailed, BootstrapError, OSError, ValueError."""
        so_far = self.so_far
        if so_far.kills >= self.cycles and so_far.in_round == 0:
            return self._outcome()
        site = await CrashSite.open(
            self.folder,
            charge_points=so_far.charge_points,
            drivers=so_far.drivers,
            # Half of what they could take together, so that shares move.
            central_args=["--capacity-kw", str(so_far.charge_points * 100)],
        )
        try:
            while so_far.kills < self.cycles or so_far.in_round > 0:
                await self._round(site, progress)
        finally:
            if self.load is not None and self.load.alive:
                await self.load.kill()
            await site.close()
        return self._outcome()

    @property
    def _round_folder(self) -> Path:
        return self.folder / f"round-{self.so_far.rounds:03}"

    async def _round(self, site: CrashSite, progress: Progress) -> None:
        """The rest of the round that is open, or a new one."""
        so_far = self.so_far
        self._round_folder.mkdir(mode=0o700, exist_ok=True)
        site.use(self._round_folder / "central")
        await site.start_central()
        self.load = await self._start_load(site)
        while so_far.kills < self.cycles and so_far.in_round < self.round_of:
            began = time.monotonic()
            await self._cycle(site, so_far.kills)
            so_far.kills += 1
            so_far.in_round += 1
            if so_far.in_round == self.round_of // 2:
                self._look()
            so_far.wall_s += time.monotonic() - began
            so_far.save(self.folder)
            progress.say(so_far.kills, f"{sum(so_far.counts.values())} wrong")
            so_far.restart_s.append(round(await site.start_central(), 3))
        await self._end(site)
        so_far.in_round = 0
        so_far.rounds += 1
        so_far.save(self.folder)

    async def _start_load(self, site: CrashSite) -> Daemon:
        settings = {
            "folder": str(self._round_folder),
            "credentials": str(self.folder / "credentials"),
            "host": HOST,
            "port": site.port,
            "seed": self.so_far.seed + self.so_far.loads,
            "back_off": self.back_off,
        }
        self.so_far.loads += 1
        arguments = ["-m", "tools.drill.crash_load", msgspec.json.encode(settings).decode()]
        return await Daemon.start("load", arguments, self.folder / "load.log")

    async def _cycle(self, site: CrashSite, number: int) -> None:
        """Central runs; at the end of the cycle it is dead."""
        so_far, place = self.so_far, number % TURN
        # Of its own for each cycle: a drill that goes on does what an unbroken one would have done.
        rng = Random(f"{so_far.seed}/{number}")  # a drill has to be repeatable
        assert self.load is not None
        if not self.load.alive:
            raise DaemonFailed(f"the load ended by itself.{self.load.tail()}")
        if place in (AFTER_DRAIN, AFTER_KILL):
            back_s = await self._all_back()
            if place == AFTER_KILL and back_s is not None:
                so_far.recover_s.append(back_s)
        if place in STARTING:
            await site.kill_central()
            usual_s = spread(so_far.restart_s).get("p50", FIRST_START_S)
            if await site.kill_starting_central(usual_s * rng.uniform(*START_SHARE)):
                so_far.starting += 1
                return
        await asyncio.sleep(rng.uniform(*SERVE_S))
        if place == DRAINING:
            await site.kill_draining_central(rng.uniform(0, DRAIN_WITHIN_S))
            so_far.draining += 1
            return
        await site.kill_central()
        so_far.serving += 1

    async def _all_back(self) -> float | None:
        """Wait until every peer has its channel; how long that took since Central was ready."""
        assert self.load is not None
        ready_s = time.monotonic()
        try:
            async with asyncio.timeout(RECOVER_S):
                while True:
                    back_s = float((await self.load.answer("all_up", RECOVER_S))["all_up"])
                    if back_s > ready_s:
                        break
        except (TimeoutError, DaemonFailed):
            self.so_far.counts["away"] = self.so_far.counts.get("away", 0) + 1
            return None
        return round(back_s - ready_s, 3)

    def _look(self) -> None:
        """Log against history while Central is dead."""
        facts = LogFacts.read(self._round_folder / "central" / "log")
        facts.compare(read_history(self._round_folder / "history.jsonl"))
        self.so_far.take(facts.findings)

    async def _end(self, site: CrashSite) -> None:
        """Let everything come to its end, stop Central, and compare all books."""
        assert self.load is not None
        so_far, history = self.so_far, self._round_folder / "history.jsonl"
        await self.load.tell({"do": "finish"})
        finished = await self.load.answer("finished", FINISH_S)
        await self.load.stop()
        live_hash = await site.stop_central()
        facts = LogFacts.read(site.log_dir)
        so_far.acknowledged += facts.compare(read_history(history))
        facts.settle(finished["meters"], read_history(history))
        so_far.take(facts.findings)
        so_far.same_states += live_hash == facts.state_hash() == LogFacts.read(site.log_dir).state_hash()
        so_far.sessions += len(facts.begun)
        so_far.tickets += len(facts.tickets)
        so_far.records += facts.records
        so_far.energy_wh += facts.energy_wh()

    def _outcome(self) -> Outcome:
        so_far, found = self.so_far, self.so_far.found
        promises = [
            Promise("kill -9 of Central", f"{self.cycles}", f"{so_far.kills}", so_far.kills >= self.cycles),
            none_of(f"acknowledged events lost, of {so_far.acknowledged:,}", found("lost", "damaged")),
            none_of("events applied or numbered twice", found("doubled", "fence")),
            none_of(f"tickets lost, of {so_far.tickets:,}", found("lost_ticket")),
            none_of("tickets doubled or changed", found("doubled_ticket", "ticket_times")),
            none_of("sessions stuck", found("stuck")),
            Promise(
                "energy on tickets = meters",
                "equal",
                f"{so_far.energy_wh:,} Wh" if not found("energy") else f"{found('energy')} differ",
                not found("energy"),
            ),
            none_of("steps back of steady time in the log", found("clock_back")),
            Promise(
                "replayed state = Central's, by hash",
                f"{so_far.rounds} of {so_far.rounds}",
                f"{so_far.same_states} of {so_far.rounds}",
                so_far.same_states == so_far.rounds > 0,
            ),
            none_of(f"restarts with peers away for more than {RECOVER_S:g} s", found("away")),
        ]
        figures = {
            "kills while serving": so_far.serving,
            "… while starting": so_far.starting,
            "… while draining": so_far.draining,
            "peers": 2 * so_far.charge_points + so_far.drivers,
            "sessions": so_far.sessions,
            "records": so_far.records,
            "restart to ready, s": spread(so_far.restart_s),
            f"ready to all peers back, s (back-off x {self.back_off:g})": spread(so_far.recover_s),
            "seconds a cycle": round(so_far.wall_s / max(1, so_far.kills), 2),
            "log compared with history": so_far.looks,
            "rounds": so_far.rounds,
            "starts of the load": so_far.loads,
            "seed": so_far.seed,
        }
        return Outcome(
            drill="kill -9 of Central under load", promises=promises, figures=figures, problems=so_far.sentences
        )


def open_state(folder: Path, *, seed: int, charge_points: int, drivers: int) -> Progressed:
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
    progressed = Progressed(seed=seed, charge_points=charge_points, drivers=drivers)
    progressed.save(folder)
    return progressed


@click.command("central-kills")
@click.option("--cycles", type=click.IntRange(1, 100_000), default=500, help="How often Central is killed in all.")
@click.option("--charge-points", type=click.IntRange(1, 500), default=20, help="Each with its monitor.")
@click.option("--drivers", type=click.IntRange(1, 500), default=20)
@click.option("--seed", type=int, default=1, help="Of the moments and the load; a state keeps its own.")
@click.option(
    "--round",
    "round_of",
    type=click.IntRange(1, 10_000),
    default=50,
    help="Kills on one log: then all books are compared, and a new log begins, so that its replay stays short.",
)
@click.option(
    "--back-off",
    type=click.FloatRange(0, 1),
    default=0.1,
    help="Share of the clients' back-off, which grows when Central dies again and again: each cycle is to see load.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Keep everything in this folder and go on there next time; default: a temporary folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
def command(
    cycles: int,
    charge_points: int,
    drivers: int,
    seed: int,
    round_of: int,
    back_off: float,
    state: Path | None,
    as_json: bool,
) -> None:
    """Kill Central with SIGKILL under load; nothing acknowledged may be lost, no ticket lost or doubled."""
    folder = state or Path(tempfile.mkdtemp(prefix="central-kills-"))
    progressed = open_state(folder, seed=seed, charge_points=charge_points, drivers=drivers)
    drill = Drill(folder, progressed, cycles, round_of, back_off)
    progress = Progress("kills of Central", cycles)
    try:
        outcome = asyncio.run(drill.run(progress))
    except (DaemonFailed, BootstrapError, UnknownKind, OSError, ValueError) as error:
        raise click.ClickException(f"{error} (everything is in {folder})") from error
    finally:
        progress.end()
    outcome.show(as_json=as_json)
    if state is None and outcome.kept:
        shutil.rmtree(folder)
    else:
        click.echo(f"Logs, history and figures are in {folder}.", err=True)
    outcome.exit()
