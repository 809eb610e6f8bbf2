"""What the balancer is told and what it answers: watts, watt-hours, milliseconds and amperes, all whole numbers.

Instants are site time. Forecasts are series of floats: they steer, they never limit. What leaves as a set-point is
rounded down, so that a sum which fits still fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from evcharge.energy.rules import UNREAD, Readings, RuleState, Ruling

# One planning step, ms: the energy that a session still needs is spread over at least this long, and laxity is counted
# in steps of it.
STEP_MS = 300_000
# An older plan says nothing any more: who came and went since is not in it.
PLAN_LIFE_MS = 900_000
# Below this a vehicle does not charge, A: IEC 61851-1.
MIN_A = 6


class Policy(StrEnum):
    """How power is shared."""

    RULES = "rules"
    """The rule table as ceilings, least laxity under them."""
    EQUAL = "equal"
    """Max-min fair."""
    EDF = "edf"
    """Earliest departure first."""
    LLF = "llf"
    """Least laxity first."""
    SLLF = "sllf"
    """Smoothed least laxity first."""
    PLAN = "plan"
    """Smoothed least laxity first under a plan's targets: the default."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One vehicle that may charge. ``need_wh`` counts from arrival, ``delivered_wh`` of it is in the vehicle."""

    id: str
    connector: str
    node: str
    """The lowest node that it draws from."""
    need_wh: int
    delivered_wh: int = 0
    arrival_ms: int
    departure_ms: int | None = None
    """None: nobody said when."""
    max_w: int
    """The least of what connector, cable and vehicle take."""
    volts: int = 230
    """Between phase and neutral; where there is no neutral, between the two conductors."""
    phases: int = 1
    """How many conductors carry the current: 1 or 3."""
    on: tuple[int, ...] = ()
    """Which of the node's phases (0, 1, 2) those are; empty when nobody knows: then it counts fully on each."""
    min_a: int = MIN_A
    weight: int = 1
    """Share beside others where shares are fair."""
    ramp_w: int | None = None
    """Largest raise between two set-points, W; None: any."""
    last_w: int = 0
    """Its newest set-point."""
    last_ms: int | None = None
    """When that was given; None: there was none."""
    turned_ms: int | None = None
    """When it last began or ceased to be supplied; None: never supplied."""
    new: bool = False
    """The plan does not know it: it begins now, or began since."""

    @property
    def remaining_wh(self) -> int:
        """What it still needs; never negative."""
        return max(0, self.need_wh - self.delivered_wh)

    @property
    def step_w(self) -> int:
        """Watts of one ampere."""
        return self.volts * self.phases

    @property
    def min_w(self) -> int:
        """Watts below which it does not charge."""
        return self.min_a * self.step_w


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One limit in the tree. ``parent`` is None for the site."""

    id: str
    parent: str | None = None
    cap_w: int
    phase_cap_w: tuple[int, int, int] | None = None
    """Limits of each phase, where the node has such."""
    base_w: int = 0
    """What else draws there, measured."""
    pv_w: int = 0
    """What is made there, measured."""
    online: bool = True
    """Whether set-points reach the connectors below; otherwise what they were told last is still counted."""


class Series(msgspec.Struct, frozen=True):
    """A step function of time: ``values[k]`` holds from ``start_ms + k·step_ms``; the first and last hold beyond."""

    start_ms: int
    step_ms: int
    values: tuple[float, ...]


class Battery(msgspec.Struct, frozen=True, kw_only=True):
    """A battery of the site: state and limits."""

    capacity_wh: int
    soc_wh: int
    max_charge_w: int
    max_discharge_w: int
    min_soc_wh: int = 0


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Vehicles that history lets one expect in one future hour, as one session."""

    arrival_ms: int
    departure_ms: int
    need_wh: int
    max_w: int
    likely: float = 1.0
    """How likely it is that they come beside all that are likelier: what they would miss counts as much less. Below 1
    only room is kept for them, under the limits: a plan does not reckon with what they would draw."""


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner knows beside sessions and nodes. Money and kilograms are per kWh, powers are W of the site."""

    price: Series
    co2: Series | None = None
    pv: Series | None = None
    base: Series | None = None
    cap: Series | None = None
    """Limit of the site over time, below its node's own."""
    export_price: float = 0.0
    demand_charge: float = 0.0
    """Money per kW above the billed peak."""
    billed_peak_w: int = 0
    """What is billed already, or will be anyway as far as history tells."""
    co2_price: float = 0.05
    """Money per kg in the objective: 0.05 is 50 per tonne."""
    battery: Battery | None = None
    expected: tuple[Expected, ...] = ()
    lateness_ms: tuple[int, ...] = ()
    """Departure minus declared departure of past sessions, sorted: how far a declaration is to be believed. Empty:
    declarations hold."""
    stays: tuple[tuple[int, bool], ...] = ()
    """How long past sessions and those that are there now have lasted, ms, and whether they have ended: what is known
    of who declares no departure."""
    readings: Readings = UNREAD
    """What the rules look at."""
    rules: RuleState | None = None
    """The last ``Plan.rules``: an input of the next, so that planning stays pure."""
    ages: Mapping[str, int] = {}
    """How old each input was when this was put together, ms, by its name."""


class Input(msgspec.Struct, frozen=True):
    """What a plan was made from, and how old it was then."""

    name: str
    age_ms: int


class Limit(StrEnum):
    """What keeps a set-point from being higher."""

    RATING = "rating"
    """Connector, cable or vehicle take no more."""
    NEED = "need"
    """The vehicle is nearly full, or full."""
    NODE = "node"
    """The node's limit, shared among those below it."""
    PLAN = "plan"
    """The plan leaves power for later, or for others."""
    RULE = "rule"
    """A rule's ceiling."""
    MINIMA = "minima"
    """The smallest current does not fit: it waits for its turn."""
    WHOLE_AMPERES = "whole_amperes"
    """There is room for less than an ampere."""
    STEADY = "steady"
    """A raise that is too small or too soon."""
    RAMP = "ramp"
    """It may not rise faster."""


class SetPoint(msgspec.Struct, frozen=True):
    """What a connector may draw, and what keeps it from more; ``at`` names the node, the phase as ``node/L1``."""

    watts: int
    limit: Limit
    at: str = ""
    wanted_w: int = 0
    """What it could use."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much each lowest node gets over time. ``target_w[node][k]`` holds from ``starts_ms[k]`` on."""

    made_ms: int
    life_ms: int = PLAN_LIFE_MS
    """How long it holds at most."""
    starts_ms: tuple[int, ...]
    target_w: Mapping[str, tuple[int, ...]]
    battery_w: tuple[int, ...] = ()
    """Positive charges it."""
    short_wh: Mapping[str, int] = {}
    """Session → what it will miss, as it looks now."""
    inputs: tuple[Input, ...] = ()
    """By name."""
    ruling: Ruling | None = None
    """What the rules allow, and why; only from the policy that follows them."""
    rules: RuleState | None = None

    def holds(self, now_ms: int) -> bool:
        """Whether it says anything at this instant."""
        return 0 <= now_ms - self.made_ms < self.life_ms

    def target_at(self, node: str, now_ms: int) -> int | None:
        """The node's target at an instant; None when the plan does not speak of it."""
        targets = self.target_w.get(node)
        if targets is None or not self.starts_ms or now_ms < self.starts_ms[0]:
            return None
        index = len(self.starts_ms) - 1
        while self.starts_ms[index] > now_ms:
            index -= 1
        return targets[index]
