"""One day from the first car to the verdict: start the site, let time run, show it, count, take it all down."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from evcharge.demo.live import Pace, Screen, ask, take_snapshot
from evcharge.demo.power import Substations, Surroundings, health_of, readings
from evcharge.demo.processes import ChildFailed, Crew
from evcharge.demo.scenario import Scenario, make_scenario
from evcharge.demo.sessions import Day
from evcharge.demo.site import HOST, PAGE_USER, WATCHER, Options, Site, SiteFailed
from evcharge.demo.story import Story
from evcharge.demo.tally import (
    Outcome,
    TallyError,
    any_open,
    authorized_at_least,
    count_tickets,
    peak_w,
    sum_asked,
    sum_meters,
)
from evcharge.net.client import ChannelInfo, Client, RequestFailed, RequestRefused
from evcharge.net.clock import SiteClockFile, SystemClock
from evcharge.sidecar.web.built import PAGE, is_built
from evcharge.units import watts_of_kw
from protocol.credentials import Credential
from protocol.messages import Message, TotalsView

# Time for all charge points and monitors to connect, in seconds: 2,000 handshakes on two cores take about 20.
CONNECT_S = 120.0
# Time for the last sessions to be settled after the last driver has ended, in wall seconds: what is on its way
# arrives at once, or with a reconnect, whose back-off reaches 60.
SETTLE_S = 90.0
# Time in which the end of a process is noticed, in seconds; a step that fails may have failed because of it.
DEATH_S = 1.0
# Wall seconds between two looks whether something has come true.
LOOK_S = 0.2
# Wall seconds between two reports of the sensors: Central takes one that is silent for 10 at its worst.
REPORT_S = 1.0
# Bytes of a boot id. SPEC §4, AUTH field 4
BOOT_ID_BYTES = 16

# What Central calls a link that stands and a charge point that is free.
_UP, _FREE = "up", "ACTIVATED"


class Stopped(Exception):
    """Somebody asked the demo to stop."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    day: Day
    directory: Path
    speed: float
    exit: bool
    """End when the day is over; else stay up until told to stop."""
    options: Options
    queue: bool = False
    """Drivers stand in line where a connector or power is missing."""
    substations: Substations | None = None
    """More than one: their gateway reports how they are."""
    around: Surroundings | None = None
    """What else draws and feeds at the site, reported by its gateway."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: the figures, and whether the day was played to its end."""

    outcome: Outcome
    finished: bool


class Quiet:
    """The listener of the demo's own channel, on which Central says nothing unasked."""

    def channel_up(self, info: ChannelInfo) -> None:
        """Connected."""

    def channel_down(self, why: str) -> None:
        """The client connects again by itself."""

    def message(self, message: Message) -> None:
        """Not for an operator."""


async def play(plan: Plan, screen: Screen, stop: asyncio.Event) -> Result:
    """Play the day in ``plan.directory``, which is empty. ``stop`` ends it early, in order.

    Raises ChildFailed, SiteFailed or TallyError; nothing that was started is left running.
    """
    scenario = make_scenario(plan.day, queue=plan.queue)
    logs = plan.directory / "logs"
    logs.mkdir(mode=0o700)
    async with Crew(logs) as crew:
        site = Site(crew, plan.directory, scenario, plan.options)
        frozen = SiteClockFile(site_ms=scenario.start_ms, speed=plan.speed)
        frozen.write(site.clock_file)
        return await _Play(plan, scenario, crew, site, screen, stop).run()


class _Play:
    """The steps of one demo, each of which ends early when somebody says stop or a child dies."""

    def __init__(
        self, plan: Plan, scenario: Scenario, crew: Crew, site: Site, screen: Screen, stop: asyncio.Event
    ) -> None:
        self._plan = plan
        self._scenario = scenario
        self._crew = crew
        self._site = site
        self._screen = screen
        self._stop = stop
        self._clock = SystemClock(site.clock_file)
        self._story: Story | None = None
        self._loads_w: dict[str, int] = {}
        self._started_s = self._clock.monotonic()

    async def run(self) -> Result:
        self._screen.say(
            f"Starting Central, the registry, charge points ({len(self._scenario.charge_points)}) with their "
            f"monitors, and drivers ({len(self._scenario.drivers)}), all as separate processes …"
        )
        try:
            await self._guard(self._site.open())
        except Stopped:
            raise SiteFailed("stopped before the site was ready.") from None
        self._story = Story(Path(self._site.log_folder))
        client = self._client()
        channel = asyncio.create_task(client.run(), name="the demo's own channel")
        try:
            return await self._run(client)
        finally:
            channel.cancel()
            await asyncio.gather(channel, return_exceptions=True)
            await self._site.close()

    async def _run(self, client: Client) -> Result:
        wall_s = None
        try:
            await self._guard(self._play_day(client))
            wall_s = self._clock.monotonic() - self._started_s
            if not self._plan.exit:
                await self._guard(self._stay(client))
        except Stopped:
            self._screen.say("Stopping: drivers, charge points, monitors, registry, Central.")
        finished = wall_s is not None
        if wall_s is None:
            wall_s = self._clock.monotonic() - self._started_s
        # The charge points hand over what they still have before they end, so Central is asked after that.
        await self._site.close_peers()
        try:
            outcome = await self._count(client, wall_s=wall_s, finished=finished)
        except (RequestFailed, RequestRefused) as error:
            raise SiteFailed(f"Central does not say how the day went: {error}") from error
        return Result(outcome=outcome, finished=finished)

    async def _play_day(self, client: Client) -> None:
        await self._until(lambda: self._all_connected(client), CONNECT_S, "not all charge points connected")
        site, plan = self._site, self._plan
        join = site.directory / "demo.json"
        write_whole(join, msgspec.json.format(msgspec.json.encode(site.join_file())) + b"\n")
        self._screen.say(f"Everybody is connected. How to join: {join}")
        if is_built(PAGE):
            self._screen.say(f"The page: {site.page_url} · log in as {PAGE_USER}, the secret is {site.page_password()}")
        if plan.day.waited:
            self._screen.say(
                f"Cars that will find their bay taken: {plan.day.waited}. They come when it is free and stay as "
                "long as planned."
            )
        running = SiteClockFile(
            site_ms=self._scenario.start_ms, speed=plan.speed, start_monotonic=self._clock.monotonic()
        )
        running.write(site.clock_file)
        await _first(self._show(client), self._settled(client), self._report(client))

    async def _settled(self, client: Client) -> None:
        """Every driver has had its day and Central has no open session."""
        for driver in self._site.drivers:
            await driver.wait()
        await self._until(lambda: self._none_open(client), SETTLE_S, "some sessions are still open")

    async def _stay(self, client: Client) -> None:
        """Keep the site up for others until told to stop."""
        self._screen.say("The day is over. The site stays up for whoever joins; Ctrl-C ends it.")
        self._screen.hint = "the day is over; Ctrl-C ends it"
        for command in self._look().commands():
            self._screen.say(f"  {command}")
        await _first(self._show(client), self._report(client))

    async def _report(self, client: Client) -> None:
        """The sensors around the chargers, for as long as somebody listens."""
        plan, day = self._plan, self._plan.day
        around = None if plan.around is None else plan.around.start(self._scenario.start_ms, day.utc_offset_s)
        several = plan.substations
        there = [] if several is None else several.start(date.fromisoformat(day.date), day.utc_offset_s)
        while around is not None or there:
            at_ms = self._clock.site_ms()
            for reading in () if around is None else readings(around, at_ms):
                client.send(reading)
            for substation in there:
                load_w = self._loads_w.get(substation.spec.substation_id, 0)
                try:
                    await client.request(health_of(substation, at_ms, load_w))
                except (RequestFailed, RequestRefused) as error:
                    self._screen.say(f"Central did not take the report of a substation: {error}")
            await asyncio.sleep(REPORT_S)
        await asyncio.Event().wait()

    def _look(self) -> Story:
        """The story so far. Raises SiteFailed when Central's log cannot be read."""
        assert self._story is not None
        try:
            self._story.look()
        except OSError as error:
            raise SiteFailed(f"cannot read Central's log: {error.strerror}.") from error
        return self._story

    async def _show(self, client: Client) -> None:
        pace = Pace()
        while True:
            try:
                snapshot = pace.look(await take_snapshot(client, self._clock.site_ms(), self._look()))
                self._loads_w = {each.substation_id: each.load_w for each in snapshot.substations}
                self._screen.show(snapshot)
            except (RequestFailed, RequestRefused) as error:
                self._screen.say(f"Central does not answer: {error}")
            await asyncio.sleep(self._screen.every_s)

    async def _all_connected(self, client: Client) -> bool:
        snapshot = await take_snapshot(client, self._clock.site_ms())
        ready = {
            point.cp_id
            for point in snapshot.charge_points
            if point.engine == point.monitor == _UP and point.state == _FREE
        }
        return ready >= set(self._scenario.charge_points)

    async def _none_open(self, client: Client) -> bool:
        return not any_open(row for page in await ask(client, "sessions") for row in page.sessions or ())

    async def _until(self, fact: Callable[[], Awaitable[bool]], limit_s: float, sentence: str) -> None:
        """Look until it is so. Raises SiteFailed with the sentence when that takes too long."""
        deadline_s = self._clock.monotonic() + limit_s
        while True:
            try:
                if await fact():
                    return
            except (RequestFailed, RequestRefused) as error:
                # No channel yet, or not at the moment.
                why = f" ({error})"
            else:
                why = ""
            if self._clock.monotonic() > deadline_s:
                logs = self._site.directory / "logs"
                raise SiteFailed(f"{sentence} after {limit_s:.0f} s{why}; see {logs}.")
            await asyncio.sleep(LOOK_S)

    async def _guard(self, step: Coroutine[Any, Any, None]) -> None:
        """Take a step, unless a child dies or somebody says stop first. Raises ChildFailed, Stopped."""
        death = asyncio.create_task(self._crew.first_death())
        try:
            which = await _first(asyncio.wait({death}), self._stop.wait(), step)
        except (SiteFailed, RequestFailed):
            await asyncio.wait({death}, timeout=DEATH_S)
            if not death.done():
                raise
            which = 0
        finally:
            death.cancel()
        if which == 0:
            raise ChildFailed(death.result().obituary())
        if which == 1:
            raise Stopped

    def _client(self) -> Client:
        credential = Credential.from_json(self._site.credential(WATCHER).read_bytes())
        return Client(
            credential,
            HOST,
            self._site.port,
            clock=self._clock,
            listener=Quiet(),
            boot_id=os.urandom(BOOT_ID_BYTES),
        )

    async def _count(self, client: Client, *, wall_s: float, finished: bool) -> Outcome:
        ours = set(self._scenario.charge_points)
        asked = sum_asked(((child.name, child.lines) for child in self._site.drivers), finished=finished)
        if finished and asked.sessions != len(self._plan.day.stays):
            raise TallyError(f"{len(self._plan.day.stays)} cars came, but drivers asked for {asked.sessions} of them.")
        totals = (await ask(client, "totals"))[0].totals or TotalsView()
        points = [row.cp_id for page in await ask(client, "charge_points") for row in page.charge_points or ()]
        counted = count_tickets(
            totals,
            [row for page in await ask(client, "tickets") for row in page.tickets or ()],
            [row for page in await ask(client, "sessions") for row in page.sessions or ()],
            ours,
        )
        authorized, expired = totals.authorized, totals.expired
        guests = not ours.issuperset(points)
        if guests:
            self._screen.say("Others joined; what happened at their charge points is not counted.")
        if guests or self._plan.queue:
            # Who waits may be offered a connector twice, which Central counts as two sessions.
            authorized, expired = authorized_at_least(asked, counted.started), asked.expired
        return Outcome(
            sessions=authorized + asked.refused,
            authorized=authorized,
            refused=asked.refused,
            started=counted.started,
            expired=expired,
            tickets=counted.tickets,
            energy_wh_tickets=counted.energy_wh,
            energy_wh_meters=sum_meters((child.name, child.lines) for child in self._site.charge_points),
            amount_minor=counted.amount_minor,
            peak_w=peak_w(self._site.traces),
            capacity_w=watts_of_kw(self._plan.options.capacity_kw),
            wall_s=round(wall_s, 1),
            plans=self._look().plans,
            waited=self._look().waited if self._plan.queue else None,
            served=self._look().served if self._plan.queue else None,
            why=self._look().commands(),
        )


async def _first(*steps: Coroutine[Any, Any, object]) -> int:
    """Take all steps at once until one is done, which ends the others. Its place; raises what it raised."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        which = next(place for place, task in enumerate(tasks) if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    tasks[which].result()
    return which


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: who sees it sees all of it."""
    draft = path.with_suffix(".tmp")
    draft.write_bytes(content)
    draft.replace(path)
