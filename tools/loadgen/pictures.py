"""The run as two pictures: the load of each substation under its capacity, and how long decisions took."""

from __future__ import annotations

from collections.abc import Sequence

from tools.chart import COLOURS, Limit, Line, Span, chart
from tools.loadgen.record import Record
from tools.loadgen.scenarios import Scenario

# Bars of the histogram.
BUCKETS = 40


def load_chart(scenario: Scenario, record: Record) -> str:
    """What truly flowed at each substation over time, an SVG document. Raises ValueError without a sample."""
    names = sorted({sample.substation_id for sample in record.samples})[: len(COLOURS)]
    lines = [
        Line(name, [(it.at_s, it.true_w / 1_000) for it in record.samples if it.substation_id == name], steps=True)
        for name in names
    ]
    limits = sorted({sample.capacity_w / 1_000 for sample in record.samples})
    end_s = max((sample.at_s for sample in record.samples), default=0.0)
    down = [
        Span(f"{outage.substation_id} down", outage.from_s, end_s if outage.until_s is None else outage.until_s)
        for outage in record.outages
    ]
    return chart(
        f"Load of the substations: {scenario.name}",
        "seconds",
        "kW",
        lines,
        limits=[Limit(f"capacity {limit:g} kW", limit) for limit in limits],
        spans=down,
        description=f"{scenario.what}; {len(record.asked)} requests, {len(record.granted())} granted.",
    )


def latency_chart(scenario: Scenario, record: Record) -> str:
    """How many decisions took how long, an SVG document. Raises ValueError without a decision."""
    found = [seconds * 1_000 for seconds in record.latencies_s()]
    return chart(
        f"Decisions: {scenario.name}",
        "milliseconds from request to answer",
        "decisions",
        [Line(f"{len(found)} decisions", histogram(found) if found else [], steps=True, fill=True)],
    )


def histogram(values: Sequence[float], buckets: int = BUCKETS) -> list[tuple[float, float]]:
    """As steps: (from, how many), buckets of one width, and an end at 0."""
    width = max(values) / buckets or 1.0
    counts = [0] * buckets
    for value in values:
        counts[min(buckets - 1, int(value / width))] += 1
    return [*((number * width, float(count)) for number, count in enumerate(counts)), (buckets * width, 0.0)]
