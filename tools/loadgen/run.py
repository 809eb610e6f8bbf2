"""One run: a registry and a Central of its own, the fleet of one process, and the load; the record of what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

from tools.fleet import Fleet, Link, monotonic, pace
from tools.loadgen.peers import Operator, Outlet, User
from tools.loadgen.record import GRANTED, Asked, Outage, Record, Sample
from tools.loadgen.scenarios import ANYWHERE, KW, Scenario, Turn
from tools.site import HOST, Site

# How often the substations are looked at, seconds.
LOOK_S = 0.2
# How often a charge point tells its power and shows that it lives, seconds (SPEC §7.6).
TELL_S = 1.0
# Longest wait, after the last request, until every session is over, seconds: an authorization lapses after 60.
OVER_S = 120.0
# After the last session: a second answer or ticket that should not come has this long to come, seconds.
QUIET_S = 0.5
# Refusals because of a session that has the outlet, somebody else's or his own.
_THERE = ("busy", "already_charging")


class Load:
    """A scenario on a site; ``run`` once."""

    def __init__(self, scenario: Scenario, site: Site, rng: Random) -> None:
        self.record = Record()
        self._scenario = scenario
        self._rng = rng
        fleet = self._fleet = Fleet(HOST, site.port)
        self._outlets = [
            Outlet(fleet, credential, f"s{number % scenario.substations:03}", self._kw(number), self.record)
            for number, credential in enumerate(site.engine_credentials)
        ]
        self._users = [User(fleet, credential, self.record) for credential in site.driver_credentials]
        self._operator = Operator(fleet, site.operator)
        self._by_name = {outlet.name: outlet for outlet in self._outlets}
        self._changes = dict.fromkeys([outlet.substation_id for outlet in self._outlets], 0)
        self._chosen: dict[int, Outlet] = {}
        self._zero_s = 0.0
        self.record.substations = {outlet.name: outlet.substation_id for outlet in self._outlets}
        for outlet in self._outlets:
            outlet.on_change = self._changed
            outlet.stay_s = self._stay_s
        for user in self._users:
            user.on_answer = self._answered

    async def run(self) -> Record:
        """Connect, load, wait until all is over. Raises FleetFailed."""
        links: list[Link] = [*self._outlets, *self._users, self._operator]
        await self._fleet.connect(links)
        self._zero_s = monotonic()
        for user in self._users:
            user.zero_s = self._zero_s
        async with asyncio.TaskGroup() as tasks:
            helpers = [
                tasks.create_task(self._tell()),
                tasks.create_task(self._look()),
                *(tasks.create_task(self._turn(turn)) for turn in self._scenario.turns),
            ]
            await self._ask_all()
            await self._until_over()
            for helper in helpers:
                helper.cancel()
        self.record.losses = list(self._fleet.losses)
        await self._fleet.close(links)
        return self.record

    def _kw(self, number: int) -> int:
        """Each substation has as many of each kind."""
        return KW[number // self._scenario.substations % len(KW)]

    def _stay_s(self) -> float:
        return self._rng.uniform(*self._scenario.stay_s)

    # --- the load

    async def _ask_all(self) -> None:
        """An open loop: who is slow to answer is not waited for."""
        for number, due_s in enumerate(self._scenario.arrivals_s(self._rng)):
            await asyncio.sleep(max(0.0, self._zero_s + due_s - monotonic()))
            user = self._users[number % len(self._users)]
            kw = self._rng.choice(KW)
            if self._scenario.routed:
                user.ask(ANYWHERE, kw * 1_000)
                continue
            outlet = self._choose(kw)
            self._chosen[id(user.ask(outlet.name, kw * 1_000))] = outlet

    def _choose(self, kw: int) -> Outlet:
        """A driver takes a free one that fits, if there is one; if not, asks all the same."""
        fitting = [outlet for outlet in self._outlets if outlet.kw == kw]
        free = [outlet for outlet in fitting if not outlet.taken]
        outlet = self._rng.choice(free or fitting)
        outlet.taken = True
        return outlet

    def _answered(self, asked: Asked) -> None:
        """Who was refused leaves, unless a vehicle is there."""
        chosen = self._chosen.pop(id(asked), None)
        if asked.answer == GRANTED:
            outlet = self._by_name.get(asked.granted_at)
            if outlet is not None:
                outlet.taken = True
        elif chosen is not None and asked.answer not in _THERE and chosen.charge is None and not chosen.plugged:
            chosen.taken = False

    async def _until_over(self) -> None:
        """Until every request is answered and every granted one has its outcome, or ``OVER_S`` have passed."""
        end_s = monotonic() + OVER_S
        while not self._over() and monotonic() < end_s:
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(QUIET_S)

    def _over(self) -> bool:
        record = self.record
        if not all(asked.answers for asked in record.asked):
            return False
        done = {ticket.session_id for ticket in record.billed} | set(record.lapsed)
        return all(asked.session_id in done for asked in record.granted())

    # --- beside it

    async def _tell(self) -> None:
        await pace(self._outlets, len(self._outlets) / TELL_S, float("inf"), lambda outlet, now: outlet.tick(now))

    async def _turn(self, turn: Turn) -> None:
        """A substation trips, or is back; the operator's system reports it."""
        at_s = turn.share * self._scenario.seconds
        await asyncio.sleep(max(0.0, self._zero_s + at_s - monotonic()))
        name = f"s{turn.substation:03}"
        for outlet in self._outlets:
            if outlet.substation_id == name:
                outlet.voltage(monotonic(), live=turn.ok)
        asked_s = monotonic() - self._zero_s
        await self._operator.report(name, ok=turn.ok, detail="the load says so")
        # It is down once Central has heard it, and back from when it may have heard that.
        now_s = asked_s if turn.ok else monotonic() - self._zero_s
        outages = self.record.outages
        if not turn.ok:
            outages.append(Outage(substation_id=name, from_s=now_s))
        else:
            closed = [Outage(substation_id=it.substation_id, from_s=it.from_s, until_s=now_s) for it in outages[-1:]]
            outages[-1:] = closed

    def _changed(self, outlet: Outlet) -> None:
        self._changes[outlet.substation_id] += 1

    async def _look(self) -> None:
        """What Central says beside what flows, again and again."""
        while True:
            before, changes = self._true_w(), dict(self._changes)
            rows = await self._operator.substations()
            after, at_s = self._true_w(), monotonic() - self._zero_s
            wanted = self._wanted_w()
            for row in rows:
                name = row.substation_id
                if name in before:
                    sample = Sample(
                        at_s=at_s,
                        substation_id=name,
                        capacity_w=row.capacity_w,
                        worst_w=row.worst_case_w,
                        load_w=row.load_w,
                        true_w=max(before[name], after[name]),
                        wanted_w=wanted[name],
                        steady=changes[name] == self._changes[name],
                    )
                    self.record.samples.append(sample)
            await asyncio.sleep(LOOK_S)

    def _wanted_w(self) -> dict[str, int]:
        found = dict.fromkeys(self._changes, 0)
        for outlet in self._outlets:
            if outlet.charge is not None and outlet.live:
                found[outlet.substation_id] += outlet.wanted_w
        return found

    def _true_w(self) -> dict[str, int]:
        now = monotonic()
        found = dict.fromkeys(self._changes, 0)
        for outlet in self._outlets:
            found[outlet.substation_id] += outlet.power_w(now)
        return found


async def run(scenario: Scenario, folder: Path, seed: int, load: Callable[..., Load] = Load) -> Record:
    """The scenario on a site of its own in ``folder``. Raises DaemonFailed, FleetFailed."""
    site = await Site.start(
        folder,
        charge_points=scenario.charge_points,
        drivers=scenario.users,
        substations=scenario.substations,
        capacity_kw=scenario.capacity_kw,
    )
    try:
        return await load(scenario, site, Random(seed)).run()
    finally:
        await site.close()
