"""The machines of docs/machines.md, where its readers type: one site on several of them, and what can be seen of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from evcharge.domain.state import Session
from evcharge.domain.words import SessionStatus, Shown
from tests.support.history import History
from tests.support.machine import ROOT, Machine, steps
from tests.support.processes import Timeline, until
from tools.netns import Switched

MANUAL = (ROOT / "docs" / "machines.md").read_text(encoding="utf-8")
# Of the charge point in the manual: 63 A on three phases, and 6 A on three phases when its lease has ended.
FULL_W, FALLBACK_W = 43_470, 4_140
# What a charge point may still draw after its lease: until its next tick, in ms of its clock.
TICK_MS = 1_000
# The shortest lease that Central grants, in seconds, so that its end is seen soon. The manual has the default.
LEASE_S = 10


class Machines:
    """A, B, C and D of the manual."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        network: Switched,
        timeline: Timeline,
        *,
        log: Path,
        trace: Path,
        driver: str,
    ) -> None:
        """``log``: Central's; ``trace``: the charge point's power; ``driver``: what Anna types before a verb."""
        self._machines = machines
        self.network = network
        self.timeline = timeline
        self.history = History(log)
        self._trace = trace
        self._driver = driver

    def machine(self, letter: str) -> Machine:
        """The machine that the manual calls so."""
        return self._machines[letter.lower()]

    def say(self, text: str) -> None:
        """A line of the timeline."""
        self.timeline.say(text)

    def type(self, letter: str, commands: str) -> list[str]:
        """Type commands of the test's own on a machine."""
        return self.machine(letter).type(commands)

    def cut(self, name: str) -> None:
        """Whatever the machine sends or should receive from now on is lost."""
        self.network.cut(name)
        self.say(f"the link of {name} is cut")

    def mend(self, name: str) -> None:
        """Its link is whole again."""
        self.network.mend(name)
        self.say(f"the link of {name} is whole again")

    def waited(self, seconds: float) -> None:
        """So much time has passed: the one fact there is about a link that is merely down."""
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() >= end)

    def follow(self, heading: str) -> list[str]:
        """Type what stands under a heading; what the machines printed meanwhile."""
        printed = []
        for step in steps(MANUAL, heading):
            machine = self.machine(step.machine)
            printed += machine.type(step.commands)
            self.timeline.say(f"{machine.name}: {step.commands.splitlines()[0][:90]}")
            # A reader types the next step when the daemons of this one have said that they are ready.
            for command, what in (
                ("evcharge-sidecar run", "sidecar"),
                ("evcharge-central ", "central"),
                ("evcharge-cp run", "cp"),
                ("evcharge-monitor run", "monitor"),
            ):
                if command in step.commands:
                    machine.ready(what)
            if "evcharge-monitor run" in step.commands or "charge-point.yaml up" in step.commands:
                until(lambda: self.history.shown("CP-1") is Shown.ACTIVATED, machine.tail)
        return printed

    def power(self) -> list[tuple[int, int]]:
        """True power of the charge point, from its own trace: (site ms, W) at each change."""
        whole, _, _ = self._trace.read_bytes().rpartition(b"\n") if self._trace.exists() else (b"", b"", b"")
        return [(point["t"], point["w"]) for point in map(json.loads, whole.splitlines())]

    def watts(self) -> int:
        """What flows now."""
        return next((watts for _, watts in reversed(self.power())), 0)

    def charge(self, kwh: float) -> None:
        """Anna asks for a charge on C, in the background; returns when it is supplied with all of its power."""
        # Its own trace is written after each tick: a ticket may be there while it still shows the charge before.
        until(lambda: self.watts() == 0, self.machine("B").tail)
        self.machine("C").type(f"{self._driver.format(f'charge CP-1 --energy-kwh {kwh} --wait --json')} &")
        until(lambda: self.watts() == FULL_W, self.machine("B").tail)

    def sources(self) -> dict[str, str]:
        """Who is in Central's log, and from where each came."""
        return {logged.stamp.actor: logged.stamp.source for logged in self.history.logged if logged.stamp.source}

    def offline(self) -> Session | None:
        """The session whose charge point is away."""
        sessions = self.history.state().sessions.values()
        return next((session for session in sessions if session.status is SessionStatus.OFFLINE), None)

    def cut_beyond_the_lease(self) -> Session:
        """B's link is cut while CP-1 charges, until its lease has ended, and mended; the session as it was meanwhile.

        Asserts that Central notices, and that the charge point falls back by itself when Central counts on it.
        """
        cut_s = time.monotonic()
        self.cut("b")
        session = until(self.offline, self.machine("A").tail)
        assert self.history.shown("CP-1") is Shown.DISCONNECTED
        self.say(f"the session is OFFLINE, {time.monotonic() - cut_s:.1f} s after the cut")
        until(lambda: self.watts() != FULL_W, "the lease never ended")
        at_ms, watts = self.power()[-1]
        self.say(f"the lease is over, {time.monotonic() - cut_s:.1f} s after the cut: {FULL_W} W became {watts} W")
        assert watts == FALLBACK_W
        assert session is not None and session.lease.newest is not None
        assert at_ms <= session.lease.newest.expires_ms + TICK_MS, "it drew more than Central counted with"
        self.mend("b")
        return session

    def interrupted(self, session: Session) -> None:
        """Wait for the ticket of a session whose monitor was away as long as its engine: nobody charges unwatched."""
        mended_s = time.monotonic()
        before = len(self.tickets())
        until(lambda: len(self.tickets()) > before, self.machine("C").tail)
        self.say(f"the driver has its ticket, {time.monotonic() - mended_s:.1f} s after the link")
        told = self.tickets()[-1]
        assert (told["session_id"], told["status"], told["reason"]) == (
            session.session_id,
            "INTERRUPTED",
            "monitor_lost",
        )
        (ticket,) = self.history.tickets(session.session_id)
        assert told["energy_wh"] == ticket.energy_wh >= session.meter_wh - session.start_meter_wh
        # Its own trace is written after each tick, so it may come later than the ticket; but not what it tells.
        until(lambda: self.watts() == 0, self.machine("B").tail)
        assert self.power()[-1][0] <= ticket.end_ms, "it drew power beyond the end of its session"
        until(lambda: self.history.shown("CP-1") is Shown.ACTIVATED, self.machine("B").tail)

    def updates(self) -> list[dict[str, object]]:
        """What Anna's programs were told of her charges."""
        return self.machine("C").said("what", "update")

    def tickets(self) -> list[dict[str, object]]:
        """The tickets that Anna's programs have printed as JSON."""
        return self.machine("C").said("what", "ticket")
