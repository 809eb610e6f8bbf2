"""What happened in one run, as plain data: what was asked and answered, what charged, what was measured.

Times are seconds since the load began, powers watts, energies watt-hours.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

GRANTED = "granted"


class Asked(msgspec.Struct, kw_only=True):
    """One charge request and what became of it."""

    user: str
    wanted_w: int
    """What the vehicle takes."""
    cp_id: str
    """Where; ``*``: wherever there is room."""
    at_s: float
    answers: int = 0
    answer: str = ""
    """``granted`` or the reason of the refusal."""
    sentence: str = ""
    answered_s: float | None = None
    session_id: str = ""
    granted_at: str = ""
    """The charge point that was granted."""


class Charge(msgspec.Struct, kw_only=True):
    """One session that began to supply, as its charge point knows it."""

    session_id: str
    cp_id: str
    substation_id: str
    start_wh: int
    end_wh: int | None = None


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """One ticket as its driver got it."""

    ticket_id: str
    session_id: str
    energy_wh: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One substation at one moment: what Central says, and what truly flowed."""

    at_s: float
    substation_id: str
    capacity_w: int
    worst_w: int
    load_w: int
    true_w: int
    """The larger of what flowed when Central was asked and when its answer came."""
    wanted_w: int
    """What the vehicles that charge there could take."""
    steady: bool
    """Nothing changed there between the two: then Central counts at least what flows."""


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A substation that was reported to be down, from then until it was reported well."""

    substation_id: str
    from_s: float
    until_s: float | None = None


class Record(msgspec.Struct, kw_only=True):
    """One run."""

    asked: list[Asked] = []
    charges: list[Charge] = []
    billed: list[Billed] = []
    lapsed: list[str] = []
    """Sessions of which a driver was told that they ended before they began."""
    samples: list[Sample] = []
    outages: list[Outage] = []
    losses: list[str] = []
    """Connections that ended by themselves."""
    substations: dict[str, str] = {}
    """Charge point → the substation that it stands at."""

    def granted(self) -> list[Asked]:
        """Requests that were granted."""
        return [one for one in self.asked if one.answer == GRANTED]

    def refused(self) -> list[Asked]:
        """Requests that were answered with no."""
        return [one for one in self.asked if one.answers and one.answer != GRANTED]

    def latencies_s(self) -> list[float]:
        """From request to answer, in order of the requests."""
        return [one.answered_s - one.at_s for one in self.asked if one.answered_s is not None]

    def energy_wh(self) -> dict[str, int]:
        """Delivered by each substation."""
        found = dict.fromkeys(self.substations.values(), 0)
        for charge in self.charges:
            found[charge.substation_id] += (charge.end_wh or charge.start_wh) - charge.start_wh
        return found


def jain(values: Iterable[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything; 1 of nothing."""
    shares = list(values)
    squares = sum(share * share for share in shares)
    return 1.0 if not squares else sum(shares) ** 2 / (len(shares) * squares)
