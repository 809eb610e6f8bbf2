"""The verdict on a run: each promise on its own, from the record alone, so that each can be shown to fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tools.drill.crash_report import Outcome, Promise, none_of, spread
from tools.latencies import Latencies
from tools.loadgen.record import Record, jain
from tools.loadgen.scenarios import Scenario

# Jain's index over substations of one size: 0.9 is a deviation of a third around the mean.
FAIR = 0.9
# Looks at the substations that a run has to have had, for "never" to say anything.
FEWEST_SAMPLES = 10
# How long after a report about a substation a request may still have been decided before it, seconds.
GRACE_S = 0.5
# Sentences about what was broken, of each kind.
MOST_PROBLEMS = 5


def verdict(scenario: Scenario, record: Record) -> Outcome:
    """Every promise about this load, and figures."""
    promises = [
        *_answers(record),
        *_limits(record),
        _latency(scenario, record),
        *_tickets(record),
        *_fairness(scenario, record),
        *_expected(scenario, record),
        *_outages(record),
        none_of("connections lost", len(record.losses)),
    ]
    return Outcome(drill=scenario.name, promises=promises, figures=_figures(record), problems=list(_problems(record)))


def _answers(record: Record) -> Iterator[Promise]:
    yield none_of("requests without exactly one answer", sum(one.answers != 1 for one in record.asked))
    over = {ticket.session_id for ticket in record.billed} | set(record.lapsed)
    yield none_of("granted requests without an outcome", sum(one.session_id not in over for one in record.granted()))
    mute = [one for one in record.refused() if not one.answer or not one.sentence]
    yield none_of("refusals without a reason", len(mute))


def _limits(record: Record) -> Iterator[Promise]:
    samples = record.samples
    seen = len({sample.at_s for sample in samples})
    yield Promise("looks at the substations", f">= {FEWEST_SAMPLES}", str(seen), seen >= FEWEST_SAMPLES)
    yield none_of("worst case above capacity", sum(sample.worst_w > sample.capacity_w for sample in samples))
    yield none_of("measured sum above capacity", sum(sample.load_w > sample.capacity_w for sample in samples))
    yield none_of("true power above capacity", sum(sample.true_w > sample.capacity_w for sample in samples))
    steady = [sample for sample in samples if sample.steady]
    yield none_of("true power above the worst case", sum(sample.true_w > sample.worst_w for sample in steady))
    flowing = sum(sample.true_w > 0 for sample in steady)
    yield Promise("… compared while power flowed", ">= 1", str(flowing), flowing >= 1)


def _latency(scenario: Scenario, record: Record) -> Promise:
    found = Latencies()
    for seconds in record.latencies_s():
        found.add(seconds)
    p99_ms = found.quantile_s(0.99) * 1_000
    kept = len(found) > 0 and p99_ms <= scenario.p99_ms
    return Promise("decisions, 99th percentile", f"<= {scenario.p99_ms:g} ms", f"{p99_ms:.1f} ms", kept)


def _tickets(record: Record) -> Iterator[Promise]:
    counts = Counter(ticket.session_id for ticket in record.billed)
    begun = {charge.session_id: charge for charge in record.charges}
    yield none_of("sessions begun without exactly one ticket", sum(counts[each] != 1 for each in begun))
    yield none_of("tickets of sessions that never began", sum(each not in begun for each in counts))
    wrong = [ticket for ticket in record.billed if ticket.energy_wh != _metered_wh(begun.get(ticket.session_id))]
    yield none_of("tickets that differ from the meter", len(wrong))
    twice = len(record.charges) - len(begun)
    yield none_of("sessions that ran twice", twice)


def _metered_wh(charge: object) -> int | None:
    start_wh, end_wh = getattr(charge, "start_wh", None), getattr(charge, "end_wh", None)
    return None if start_wh is None or end_wh is None else end_wh - start_wh


def _fairness(scenario: Scenario, record: Record) -> Iterator[Promise]:
    """Of how much each substation gave of what it could; and, where Central chose, of how much each gave at all.

    Only those that were always there, and where somebody charged; they have the same size.
    """
    down = {outage.substation_id for outage in record.outages}
    able_w: dict[str, int] = {}
    true_w: dict[str, int] = {}
    for sample in record.samples:
        name, most_w = sample.substation_id, min(sample.wanted_w, sample.capacity_w)
        if name not in down and most_w:
            able_w[name] = able_w.get(name, 0) + most_w
            true_w[name] = true_w.get(name, 0) + sample.true_w
    yield _even("fairness", scenario, [true_w[name] / able_w[name] for name in able_w])
    if scenario.routed:
        given = [wh for each, wh in record.energy_wh().items() if each not in down]
        yield _even("balance", scenario, given)


def _even(what: str, scenario: Scenario, shares: Sequence[float]) -> Promise:
    index = jain(shares) if any(shares) else 0.0
    counted = f"{what} over {len(shares)} of {scenario.substations} substations"
    return Promise(counted, f">= {FAIR:g}", f"{index:.3f}", index >= FAIR)


def _expected(scenario: Scenario, record: Record) -> Iterator[Promise]:
    granted = len(record.granted())
    yield Promise("requests granted", ">= 1", str(granted), granted >= 1)
    missing = scenario.requests - len(record.asked)
    yield none_of("requests not made", missing)
    if scenario.exhausts:
        count = sum(one.answer == "no_capacity" for one in record.refused())
        yield Promise("refused for want of power", ">= 1", str(count), count >= 1)


def _outages(record: Record) -> Iterator[Promise]:
    for outage in record.outages:
        name = outage.substation_id
        end_s = float("inf") if outage.until_s is None else outage.until_s
        at_s = [one.at_s for one in record.granted() if record.substations.get(one.granted_at) == name]
        during = sum(outage.from_s + GRACE_S < at < end_s for at in at_s)
        yield none_of(f"granted at {name} while it was down", during)
        others = [one for one in record.granted() if record.substations.get(one.granted_at) != name]
        elsewhere = sum(outage.from_s + GRACE_S < one.at_s < end_s for one in others)
        yield Promise(f"granted elsewhere while {name} was down", ">= 1", str(elsewhere), elsewhere >= 1)
        if outage.until_s is not None:
            after = sum(at > end_s for at in at_s)
            yield Promise(f"granted at {name} after it came back", ">= 1", str(after), after >= 1)


def _figures(record: Record) -> dict[str, object]:
    reasons = Counter(one.answer for one in record.refused())
    most: dict[str, int] = {}
    for sample in record.samples:
        most[sample.substation_id] = max(most.get(sample.substation_id, 0), sample.true_w)
    return {
        "requests": len(record.asked),
        "granted": len(record.granted()),
        "refused": dict(sorted(reasons.items())) or 0,
        "decisions, ms": spread([seconds * 1_000 for seconds in record.latencies_s()]),
        "largest load, kW": {each: round(watts / 1_000, 2) for each, watts in sorted(most.items())},
        "energy, Wh": dict(sorted(record.energy_wh().items())),
    }


def _problems(record: Record) -> Iterator[str]:
    yield from record.losses[:MOST_PROBLEMS]
    over = [
        sample for sample in record.samples if max(sample.worst_w, sample.load_w, sample.true_w) > sample.capacity_w
    ]
    for sample in over[:MOST_PROBLEMS]:
        yield (
            f"{sample.at_s:.1f} s, {sample.substation_id}: worst case {sample.worst_w} W, measured {sample.load_w} W, "
            f"true {sample.true_w} W of {sample.capacity_w} W"
        )
    silent = [one for one in record.asked if one.answers != 1]
    for one in silent[:MOST_PROBLEMS]:
        yield f"{one.at_s:.1f} s, {one.user} asked for {one.cp_id} and got {one.answers} answers"
