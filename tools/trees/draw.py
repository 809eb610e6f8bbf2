"""Random trees, cars and what happens to them: everything follows from the ``random.Random`` that is passed in."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from evcharge.energy.model import Node, Session

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
# What meters, vehicles and their drivers may say beside what is true.
ABSURD = (-(10**9), -1, 0, 1, 10**12, 10**400, float("nan"), float("inf"))


def tree(random: Random, most: int) -> list[Node]:
    """Up to ``most`` nodes; one in three sites limits phases somewhere."""
    count = random.randint(1, most)
    scale = random.choice((3_000, 15_000, 60_000))
    phases = random.random() < 1 / 3
    nodes = []
    for k in range(count):
        parent = None if k == 0 else f"n{random.randrange(k)}"
        own = phases and random.random() < 1 / 2
        phase_cap_w = (random.randint(0, scale), random.randint(0, scale), random.randint(0, scale)) if own else None
        nodes.append(Node(id=f"n{k}", parent=parent, cap_w=limit(random, scale), phase_cap_w=phase_cap_w))
    return nodes


def narrow_tree(random: Random, most: int) -> list[Node]:
    """One where few smallest currents fit at a time, and one always: also a large one."""
    least_w = 8 * 3 * 230
    nodes = []
    for k in range(random.randint(1, most)):
        parent = None if k == 0 else f"n{random.randrange(k)}"
        cap_w = least_w + random.choice((0, 500, 1_380, 3_000, 12_000))
        part_w = random.choice((1_840, 2_500, 5_000))
        phase_cap_w = (part_w, part_w, part_w) if random.random() < 1 / 4 else None
        nodes.append(Node(id=f"n{k}", parent=parent, cap_w=cap_w, phase_cap_w=phase_cap_w))
    return nodes


def limit(random: Random, scale: int) -> int:
    """A node's limit: whole amperes now and then, where sums just fit."""
    return random.choice((random.randint(0, 2 * scale), 1_380 * random.randint(0, scale // 1_000 + 1), 0))


def car(random: Random, name: str, nodes: list[Node], now_ms: int) -> Session:
    """One that has just been plugged in."""
    wires = random.choice((1, 1, 3))
    volts = random.choice((120, 208, 230, 230, 230))
    on = () if random.random() < 1 / 3 else (0, 1, 2) if wires == 3 else (random.randrange(3),)
    return Session(
        id=name,
        connector=f"c{name}",
        node=random.choice(nodes).id,
        need_wh=random.choice((0, 300, random.randint(1_000, 80_000))),
        arrival_ms=now_ms,
        departure_ms=random.choice((None, now_ms + random.randint(-HOUR_MS, 10 * HOUR_MS))),
        max_w=volts * wires * random.choice((5, 6, 10, 16, 32)) + random.randint(0, 50),
        volts=volts,
        phases=wires,
        on=on,
        min_a=random.choice((6, 6, 6, 8)),
        weight=random.choice((1, 1, 1, 2, 10)),
        ramp_w=random.choice((None, None, None, 1_000)),
    )


def lying_car(random: Random, session: Session) -> Session:
    """The same with one number that cannot be."""
    field = random.choice(("max_w", "need_wh", "delivered_wh", "min_a", "weight", "volts", "phases", "on", "ramp_w"))
    value = ((7,), (-1, 0), (1, 1))[random.randrange(3)] if field == "on" else random.choice(ABSURD)
    return replace(session, **{field: value})


def lying_node(random: Random, node: Node) -> Node:
    """The same with a reading that cannot be."""
    return replace(node, **{random.choice(("base_w", "pv_w")): random.choice(ABSURD)})
