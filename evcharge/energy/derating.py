"""What is left of a limit in the heat: what carries current gets rid of its own warmth to the air around it.

Transformers (IEC 60076-2) and switchgear (IEC 61439-1) are rated for air of at most 40 °C, and cables lose more with
each degree. A limit holds up to a temperature, falls on a line to another one, and stays there beyond it. Integers
only: thousandths of a degree and of the limit, rounded down, so that every reader finds the same watts.
"""

from __future__ import annotations

from typing import NamedTuple

# The whole limit, thousandths.
WHOLE = 1_000
# A step of the share by less changes nothing, thousandths: half a degree is as much on the usual line, and no
# thermometer in the open is better than that. Each change moves set-points, which wear out charge points' flash.
STEP = 10


class Derating(NamedTuple):
    """A line that falls with the temperature, thousandths of °C.

    The usual one stays below what cables with PVC may carry at each temperature (IEC 60364-5-52, table B.52.14: 0.79,
    0.71, 0.61, 0.50 at 45, 50, 55, 60 °C, where 40 °C has 0.87), and those lose most.
    """

    from_milli: int = 40_000
    """Up to here the whole limit holds."""
    to_milli: int = 60_000
    """From here on ``least`` of it does."""
    least: int = 500
    """Thousandths."""
    assumed_milli: int = 60_000
    """How hot it is when nobody knows: the worst, for that is safe."""


def share_of(temperature_milli: int | None, line: Derating) -> int:
    """The share of a limit that holds at a temperature, thousandths; None: nobody knows the temperature."""
    at = line.assumed_milli if temperature_milli is None else temperature_milli
    if at <= line.from_milli:
        return WHOLE
    if at >= line.to_milli:
        return line.least
    return WHOLE - -(-(WHOLE - line.least) * (at - line.from_milli) // (line.to_milli - line.from_milli))


def settled(told: int | None, share: int, least: int) -> int:
    """The share that is to hold after ``told``: the new one, or the old one where the step is small. To the whole limit
    and to the ``least`` of it every step counts: the way back from there is long enough to keep it from swinging.
    """
    if told is None or share in (WHOLE, least) or abs(share - told) >= STEP:
        return share
    return told


def derated_w(limit_w: int, share: int) -> int:
    """A limit in the heat, W; rounded down, never above ``limit_w``."""
    return limit_w * share // WHOLE
