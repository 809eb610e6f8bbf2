"""What the day came to: the exact peak of power, meters against tickets, and the verdict.

The peak is computed from the charge points' own traces of *true* power, not from what Central believed. A
trace (``evcharge-cp run --trace``) is a file of JSON lines ``{"t": site_ms, "cp", "c": connector, "w": watts}``,
one at each change; between two lines the power of a connector is constant. A connector's lines are in order of
time, those of different ones may not be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from protocol.messages import SessionView, TicketView, TotalsView

# States of a session that has started and has no ticket yet, as Central names them.
RUNNING = frozenset({"SUPPLYING", "PAUSED", "OFFLINE"})
# Those, and the one before them. One that lapsed may be listed for a day, until its charge point has said so too.
OPEN = RUNNING | {"AUTHORIZED"}


class TallyError(ValueError):
    """A trace or a meter reading cannot be read; the sentence names the file and line."""


class TracePoint(msgspec.Struct, frozen=True, kw_only=True):
    """From ``at_ms`` (site time) on, this connector takes ``power_w``."""

    at_ms: int = msgspec.field(name="t")
    cp_id: str = msgspec.field(name="cp")
    connector: int = msgspec.field(name="c")
    power_w: int = msgspec.field(name="w")


class Asked(msgspec.Struct, frozen=True):
    """What became of the drivers' requests, at last: a car that waited for its bay is not refused."""

    sessions: int = 0
    authorized: int = 0
    refused: int = 0
    expired: int = 0


class Counted(msgspec.Struct, frozen=True):
    """Central's figures for some charge points."""

    started: int
    tickets: int
    energy_wh: int
    amount_minor: int


def authorized_at_least(asked: Asked, started: int) -> int:
    """Authorized sessions when Central's own sum holds guests' too: the drivers' sum, which a day that was broken off
    does not have; whatever started had been authorized.
    """
    return max(asked.authorized, started)


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The demo's final object, in the order it is printed; energies in Wh, money in minor units. What has a default is
    printed where there is something to say.
    """

    sessions: int
    authorized: int
    refused: int
    started: int
    expired: int
    tickets: int
    energy_wh_tickets: int
    energy_wh_meters: int
    amount_minor: int
    peak_w: int
    capacity_w: int
    wall_s: float
    plans: int = 0
    """How many plans ruled, one after the other."""
    waited: int | None = None
    """Drivers who stood in line; None: there was none to stand in."""
    served: int | None = None
    """Those of them who charged."""
    why: tuple[str, ...] = ()
    """Commands that explain a session that was held back, and a refusal, if there were any."""

    def problems(self) -> list[str]:
        """What must be true and is not, a sentence each; empty: all is well."""
        found = []
        if self.sessions != self.authorized + self.refused:
            found.append(f"{self.sessions} sessions, but {self.authorized} authorized and {self.refused} refused.")
        if self.tickets != self.started:
            found.append(f"{self.started} sessions started, but there are {self.tickets} tickets.")
        if self.started > self.authorized:
            found.append(f"{self.started} sessions started, but only {self.authorized} were authorized.")
        if self.energy_wh_tickets != self.energy_wh_meters:
            found.append(f"the tickets say {self.energy_wh_tickets} Wh, the meters {self.energy_wh_meters} Wh.")
        if self.peak_w > self.capacity_w:
            found.append(f"the charge points took {self.peak_w} W, more than the {self.capacity_w} W allowed.")
        return found


def peak_w(traces: Iterable[Path]) -> int:
    """Highest sum of power over all connectors of all traces, in watts.

    Changes at the same millisecond count as one: the sum is taken after all of them.

    Raises TallyError when a trace is damaged or a connector's time runs backwards.
    """
    points = [point for path in traces for point in read_trace(path)]
    points.sort(key=lambda point: point.at_ms)
    now: dict[tuple[str, int], int] = {}
    total = highest = 0
    for _, same_instant in groupby(points, key=lambda point: point.at_ms):
        for point in same_instant:
            place = (point.cp_id, point.connector)
            total += point.power_w - now.get(place, 0)
            now[place] = point.power_w
        highest = max(highest, total)
    return highest


def read_trace(path: Path) -> Iterator[TracePoint]:
    """The points of one file, as written. Raises TallyError."""
    decoder = msgspec.json.Decoder(TracePoint)
    last_ms: dict[tuple[str, int], int] = {}
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    point = decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise TallyError(f"{path}:{number}: not a line of a power trace: {error}.") from error
                place = (point.cp_id, point.connector)
                if point.at_ms < last_ms.get(place, 0):
                    raise TallyError(f"{path}:{number}: the time of {point.cp_id}/{point.connector} runs backwards.")
                last_ms[place] = point.at_ms
                yield point
    except OSError as error:
        raise TallyError(f"cannot read the power trace {path}: {error.strerror}.") from error


def sum_meters(outputs: Iterable[tuple[str, Iterable[Mapping[str, Any]]]]) -> int:
    """Sum of the final registers in Wh, from what each charge-point process printed at its end.

    ``outputs``: (name of the process, the JSON objects it printed); one of them is ``{"meters": {…}}`` with
    a number or a nested table per charge point. Raises TallyError when a process printed none.
    """
    total = 0
    for name, lines in outputs:
        tables = [line["meters"] for line in lines if "meters" in line]
        if not tables:
            raise TallyError(f"{name} ended without its final meters; see its log.")
        total += _sum_table(name, tables[-1])
    return total


def sum_asked(outputs: Iterable[tuple[str, Iterable[Mapping[str, Any]]]], *, finished: bool) -> Asked:
    """What became of the drivers' requests, from the summary that each of their processes printed.

    Raises TallyError when a process printed none, unless the day was not ``finished``.
    """
    total = Asked()
    for name, lines in outputs:
        summaries = [line for line in lines if "refused" in line and "sessions" in line]
        if summaries:
            one = msgspec.convert(summaries[-1], Asked)
            total = Asked(*(mine + its for mine, its in zip(_numbers(total), _numbers(one), strict=True)))
        elif finished:
            raise TallyError(f"{name} ended without its summary; see its log.")
    return total


def any_open(sessions: Iterable[SessionView]) -> bool:
    """Whether a ticket is still to come of any of these, or may be."""
    return any(session.state in OPEN for session in sessions)


def count_tickets(
    totals: TotalsView,
    tickets: Sequence[TicketView],
    open_sessions: Sequence[SessionView],
    ours: Collection[str],
) -> Counted:
    """Central's figures for the charge points ``ours``: whoever joined with another one has figures of its own."""
    here = [ticket for ticket in tickets if ticket.cp_id in ours]
    elsewhere = len(tickets) - len(here)
    elsewhere += sum(session.cp_id not in ours and session.state in RUNNING for session in open_sessions)
    return Counted(
        started=totals.started - elsewhere,
        tickets=totals.tickets - (len(tickets) - len(here)),
        energy_wh=sum(ticket.energy_wh + sum(ticket.adjustments) for ticket in here),
        amount_minor=sum(ticket.amount_minor for ticket in here),
    )


def _numbers(asked: Asked) -> tuple[int, ...]:
    return msgspec.structs.astuple(asked)


def _sum_table(name: str, table: object) -> int:
    if isinstance(table, int) and not isinstance(table, bool):
        return table
    if isinstance(table, Mapping):
        return sum(_sum_table(name, value) for value in table.values())
    raise TallyError(f"{name} printed meters that are not whole watt-hours: {table!r}.")
