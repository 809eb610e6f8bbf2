"""Random sites for property tests: a tree of limits, and sessions somewhere in it."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from evcharge.energy.model import Node, Session
from evcharge.energy.tree import PHASES

NOW_MS = 1_560_000_000_000


@st.composite
def sites(
    draw: st.DrawFn, *, phases: bool = True, most: int = 8, told: bool = False
) -> tuple[list[Node], list[Session]]:
    """Up to 6 nodes and ``most`` sessions. Limits may be 0, readings absurd, nodes offline; ``told``: sessions may have
    been given a set-point before, and the clock may have been set back since."""
    count = draw(st.integers(1, 6))
    nodes = [
        Node(
            id=f"n{k}",
            parent=None if k == 0 else f"n{draw(st.integers(0, k - 1))}",
            cap_w=draw(st.integers(0, 40_000)),
            phase_cap_w=draw(st.none() | st.tuples(*[st.integers(0, 15_000)] * 3)) if phases else None,
            base_w=draw(st.sampled_from([0, 0, -500, 2_000])),
            pv_w=draw(st.sampled_from([0, 0, -500, 3_000])),
            online=draw(st.booleans()) or draw(st.booleans()),
        )
        for k in range(count)
    ]
    sessions = [_session(draw, k, count) for k in range(draw(st.integers(0, most)))]
    return nodes, [_told(draw, session) for session in sessions] if told else sessions


def _told(draw: st.DrawFn, session: Session) -> Session:
    ago_ms = st.sampled_from([0, 59_000, 300_000, 599_000, 600_000, 3_000_000, 90_000_000, -7_200_000])
    last_w = draw(st.sampled_from([0, 0, 6, 7, 16, 32])) * session.step_w + draw(st.sampled_from([0, 0, 0, 17]))
    return replace(
        session,
        last_w=last_w,
        last_ms=NOW_MS - draw(ago_ms) if last_w or draw(st.booleans()) else None,
        turned_ms=NOW_MS - draw(ago_ms) if last_w or draw(st.booleans()) else None,
    )


def _session(draw: st.DrawFn, number: int, nodes: int) -> Session:
    wires = draw(st.sampled_from([1, 3]))
    known = draw(st.booleans())
    on = () if not known else PHASES if wires == 3 else (draw(st.sampled_from(PHASES)),)
    volts = draw(st.sampled_from([120, 208, 230]))
    max_w = draw(st.integers(0, 32)) * volts * wires + draw(st.integers(0, 50))
    minutes = draw(st.none() | st.integers(-60, 600))
    return Session(
        id=f"s{number}",
        connector=f"c{number}",
        node=f"n{draw(st.integers(0, nodes - 1))}",
        need_wh=draw(st.integers(0, 40_000)),
        delivered_wh=draw(st.sampled_from([0, 0, 39_000, 50_000])),
        arrival_ms=NOW_MS - draw(st.integers(0, 3_600_000)),
        departure_ms=None if minutes is None else NOW_MS + minutes * 60_000,
        max_w=max_w,
        volts=volts,
        phases=wires,
        on=on,
        weight=draw(st.integers(1, 3)),
        ramp_w=draw(st.sampled_from([None, None, 500, 3_000])),
    )
