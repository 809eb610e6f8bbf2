"""The loads: how many requests of how many users in which time, on which site, and what else happens."""

from __future__ import annotations

from random import Random

import msgspec

# What vehicles take, kW, each as often: the mix of the load tests of earlier systems.
KW = (7, 11, 22, 50)
ANYWHERE = "*"
"""The charge point of a request that leaves the choice to Central."""


class Turn(msgspec.Struct, frozen=True):
    """A substation is reported down or well again, after this share of the load's time."""

    share: float
    substation: int
    ok: bool


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One load."""

    name: str
    what: str
    """One line for ``list``."""
    requests: int
    users: int
    seconds: float
    """Over which the requests are spread; 0: all at once."""
    stay_s: tuple[float, float] = (5.0, 15.0)
    """From, to: how long a vehicle charges before it is unplugged."""
    substations: int = 3
    charge_points: int = 72
    """In all; dealt out in turn, and each substation has as many of each kW."""
    capacity_kw: float = 150.0
    """Of each substation."""
    peaked: bool = False
    """Most come around the middle, instead of evenly."""
    routed: bool = False
    """Central chooses the charge point."""
    turns: tuple[Turn, ...] = ()
    exhausts: bool = False
    """There have to be refusals for want of power."""
    p99_ms: float = 500.0
    """The 99th percentile of decisions has to stay below: half of what a person takes for at once."""

    def scaled(self, scale: float) -> Scenario:
        """A shorter or longer edition with the same pace: as many requests less, in as much less time."""
        return msgspec.structs.replace(
            self,
            requests=max(self.users, round(self.requests * scale)),
            seconds=self.seconds * scale,
            stay_s=(self.stay_s[0] * min(1.0, scale), self.stay_s[1] * min(1.0, scale)),
        )

    def arrivals_s(self, rng: Random) -> list[float]:
        """When each request is made, rising."""
        if self.peaked:
            return sorted(rng.triangular(0.0, self.seconds) for _ in range(self.requests))
        return [self.seconds * number / self.requests for number in range(self.requests)]


_ALL = (
    Scenario(name="normal", what="a usual minute", requests=100, users=10, seconds=60.0),
    Scenario(name="high", what="a busy two minutes", requests=500, users=50, seconds=120.0, p99_ms=750.0),
    Scenario(name="burst", what="all at once", requests=200, users=20, seconds=0.0, p99_ms=2_000.0),
    Scenario(
        name="rush-hour",
        what="few, then most in the middle, then few",
        requests=300,
        users=30,
        seconds=90.0,
        peaked=True,
        p99_ms=750.0,
    ),
    Scenario(
        name="saturation",
        what="more than the substations can carry, until Central refuses",
        requests=200,
        users=20,
        seconds=30.0,
        stay_s=(20.0, 30.0),
        capacity_kw=30.0,
        exhausts=True,
        p99_ms=750.0,
    ),
    Scenario(
        name="routing",
        what="Central chooses the charge point",
        requests=150,
        users=15,
        seconds=60.0,
        routed=True,
    ),
    Scenario(
        name="substation-down",
        what="one substation is reported down in the middle",
        requests=200,
        users=20,
        seconds=60.0,
        routed=True,
        turns=(Turn(0.4, 0, ok=False),),
    ),
    Scenario(
        name="recovery",
        what="one substation goes down and comes back",
        requests=300,
        users=20,
        seconds=90.0,
        routed=True,
        turns=(Turn(0.3, 0, ok=False), Turn(0.6, 0, ok=True)),
    ),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
