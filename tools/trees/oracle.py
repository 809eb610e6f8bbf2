"""What is fair, found another way: linear programs, one for each level that somebody stops at."""

from __future__ import annotations

from collections.abc import Sequence

import highspy

from evcharge.energy.fill import Leaf
from evcharge.energy.tree import Row

# Of a level: solvers are exact to about 1e-7.
NEAR = 1e-6
FURTHEST = 1e6


def lexicographic(leaves: Sequence[Leaf], rows: Sequence[Row]) -> list[float]:
    """Raise the least level of all, fix who cannot go on, again: max-min by its definition, for a few leaves.

    A leaf that has x stands at level start + x/slope; below its start it has its low.
    """
    fixed: dict[int, float] = {}
    while len(fixed) < len(leaves):
        best = _best(leaves, rows, fixed, None)
        stuck = [
            k for k in range(len(leaves)) if k not in fixed and _best(leaves, rows, fixed, (k, best)) <= best + NEAR
        ]
        if not stuck:
            raise ArithmeticError(f"nobody is stuck at level {best}")
        fixed |= dict.fromkeys(stuck, best)
    return [at_level(leaf, fixed[k]) for k, leaf in enumerate(leaves)]


def at_level(leaf: Leaf, level: float) -> float:
    """What it has."""
    return min(max(leaf.low, leaf.slope * (level - leaf.start)), leaf.high)


def _best(leaves: Sequence[Leaf], rows: Sequence[Row], fixed: dict[int, float], one: tuple[int, float] | None) -> float:
    """The highest level that all reach who are not fixed; or that one reaches, while the others stand at its second."""
    model = highspy.Highs()  # type: ignore[no-untyped-call]
    model.silent()
    x = []
    for k, leaf in enumerate(leaves):
        level = fixed.get(k, -FURTHEST if one is None else one[1])
        # Fixed ones give way by what the solver's tolerance may have given them too much.
        x.append(model.addVariable(lb=at_level(leaf, level - 1e-9), ub=leaf.high))
    t = model.addVariable(lb=-FURTHEST, ub=FURTHEST)
    for k, leaf in enumerate(leaves):
        if k not in fixed if one is None else k == one[0]:
            if leaf.low > 0:
                # Below its low it stands anywhere: only what is above counts, and its end bounds it.
                model.addConstr(t <= leaf.start + leaf.high / leaf.slope)
            model.addConstr(x[k] - leaf.slope * t >= -leaf.slope * leaf.start)
    for row in rows:
        if row.leaves:
            model.addConstr(sum(share * x[k] for k, share in zip(row.leaves, row.shares, strict=True)) <= row.cap_w)
    model.maximize(t)
    if model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ArithmeticError(f"the solver ended with {model.getModelStatus()}")
    return float(model.val(t))
