"""The peak of the month: what was measured and never more, for each month anew."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.central.site_entries import EnergyEntry
from evcharge.energy.peaks import LEAST_KNOWN_MS, LONGEST_GAP_MS, QUARTER_MS, Metered, Peak, Peaks, month_of
from evcharge.units import MS_PER_HOUR

# 1 November 2026, 00:00 UTC.
START_MS = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)
STEP_MS = 5_000


def utc(_at_ms: int) -> int:
    return 0


class Site:
    """One vehicle with a meter that counts in watt-hours, beside what else draws."""

    def __init__(self, at_ms: int = START_MS) -> None:
        self.peaks = Peaks(utc)
        self.at_ms, self.energy = at_ms, 0.0

    def draw(self, for_ms: int, car_w: int, around_w: int | None, step_ms: int = STEP_MS) -> None:
        end_ms = self.at_ms + for_ms
        while True:
            metered = {"s-1": Metered(self.at_ms, int(self.energy))} if car_w else {}
            self.peaks.look(self.at_ms, metered, around_w)
            if self.at_ms >= end_ms:
                return
            self.energy += car_w * min(step_ms, end_ms - self.at_ms) / MS_PER_HOUR
            self.at_ms = min(end_ms, self.at_ms + step_ms)

    @property
    def watts(self) -> int | None:
        found = self.peaks.peak(self.at_ms)
        return None if found is None else found.watts


def test_a_quarter_of_the_clock_counts_as_its_mean() -> None:
    site = Site()
    site.draw(QUARTER_MS // 3, 9_000, 1_000)
    site.draw(QUARTER_MS // 3 * 2 - 1, 0, 1_000)
    assert site.watts is None, "the quarter is not over"
    site.draw(1, 0, 1_000)
    # 3 kW on average; a watt-hour that is not whole is 4 W.
    assert 3_990 <= (site.watts or 0) <= 4_000
    assert site.peaks.peak(site.at_ms) == Peak("2026-11", site.watts or 0, START_MS + QUARTER_MS)


def test_power_across_two_quarters_is_no_peak_of_either() -> None:
    site = Site()
    site.draw(QUARTER_MS // 2, 0, 0)
    site.draw(QUARTER_MS, 0, 8_000)
    site.draw(QUARTER_MS // 2, 0, 0)
    assert site.watts == 4_000


def test_the_sun_is_taken_off_and_makes_no_peak() -> None:
    site = Site()
    site.draw(QUARTER_MS, 0, 6_000 - 2_000)
    assert site.watts == 4_000
    site = Site()
    site.draw(QUARTER_MS, 0, -2_000)
    assert (site.watts or 0) <= 0


@pytest.mark.parametrize("known_ms", [LEAST_KNOWN_MS - STEP_MS, LEAST_KNOWN_MS])
def test_a_quarter_that_was_hardly_seen_is_left_out(known_ms: int) -> None:
    site = Site(START_MS + QUARTER_MS - known_ms)
    site.draw(known_ms, 0, 10_000)
    assert site.watts == (None if known_ms < LEAST_KNOWN_MS else 5_000), "what nobody measured counts as none"


@pytest.mark.parametrize("gap_ms", [LONGEST_GAP_MS, LONGEST_GAP_MS + 1])
def test_a_gap_or_an_unknown_sun_leaves_the_quarter_out(gap_ms: int) -> None:
    site = Site()
    site.draw(600_000, 0, 10_000)
    site.draw(gap_ms, 0, 10_000, step_ms=gap_ms)
    site.draw(300_000 - gap_ms, 0, 10_000)
    assert site.watts == (10_000 if gap_ms == LONGEST_GAP_MS else None)
    site = Site()
    site.draw(600_000, 0, 10_000)
    site.draw(5_000, 0, None)
    site.draw(295_000, 0, 10_000)
    assert site.watts is None
    site.draw(QUARTER_MS, 0, 3_000)
    assert site.watts == 3_000, "the next one counts"


def test_two_looks_at_once_are_one() -> None:
    site = Site()
    site.draw(QUARTER_MS, 0, None)
    site.draw(QUARTER_MS, 0, 3_000)
    assert site.watts == 3_000


def test_energy_that_comes_late_is_not_of_this_quarter() -> None:
    """A link was down for an hour: nobody knows when the 11 kWh were drawn."""
    peaks = Peaks(utc)
    for at_ms in range(START_MS, START_MS + 8 * QUARTER_MS + 1, STEP_MS):
        back = at_ms >= START_MS + 4 * QUARTER_MS + 60_000
        peaks.look(at_ms, {"s-1": Metered(at_ms, 11_000) if back else Metered(START_MS, 0)}, 100)
    assert peaks.peak(START_MS + 8 * QUARTER_MS) == Peak("2026-11", 100, START_MS + QUARTER_MS)


def test_a_meter_that_fell_measures_nothing_twice() -> None:
    """It reads 0 as the second quarter begins, and comes back within it."""
    peaks = Peaks(utc)
    for at_ms in range(START_MS, START_MS + 2 * QUARTER_MS + 1, STEP_MS):
        since_ms = at_ms - START_MS
        energy_wh = 100 if since_ms == 0 else 0 if 0 <= since_ms - QUARTER_MS < 60_000 else 500
        peaks.look(at_ms, {"s-1": Metered(at_ms, energy_wh)}, 0)
        if since_ms == QUARTER_MS:
            assert peaks.peak(at_ms) == Peak("2026-11", 1_600, at_ms)
    assert peaks.peak(START_MS) == Peak("2026-11", 1_600, START_MS + QUARTER_MS)


def test_what_was_charged_before_the_first_look_is_not_known() -> None:
    """The sun may have given it."""
    peaks = Peaks(utc)
    for at_ms in range(START_MS + 60_000, START_MS + QUARTER_MS + 1, STEP_MS):
        first = at_ms == START_MS + 60_000
        peaks.look(at_ms, {"s-1": Metered(START_MS if first else at_ms, 0 if first else 500)}, 0)
    assert peaks.peak(START_MS + QUARTER_MS) == Peak("2026-11", 0, START_MS + QUARTER_MS)


def test_a_clock_that_is_set_back_invents_nothing() -> None:
    site = Site()
    site.draw(QUARTER_MS - STEP_MS, 0, 10_000)
    site.at_ms = START_MS
    site.draw(QUARTER_MS, 0, 4_000)
    assert site.watts == 4_000


LOOKS = st.lists(
    st.tuples(
        # ms until the next look; W of two vehicles; W of all else until then, if known; whether their readings came.
        st.one_of(st.integers(1, LONGEST_GAP_MS), st.integers(1, 3 * QUARTER_MS)),
        st.integers(0, 22_000),
        st.integers(0, 22_000),
        st.one_of(st.none(), st.integers(-20_000, 50_000)),
        st.booleans(),
        st.booleans(),
    ),
    max_size=80,
)


@given(begin_ms=st.integers(START_MS - 2 * QUARTER_MS, START_MS + QUARTER_MS), looks=LOOKS)
def test_never_above_what_was_drawn_and_never_down_within_a_month(
    begin_ms: int, looks: list[tuple[int, int, int, int | None, bool, bool]]
) -> None:
    """What is drawn from the grid counts, and what flows back does not make up for it; meters count whole Wh."""
    peaks, now_ms = Peaks(utc), begin_ms
    energy, known = [0.0, 0.0], [Metered(begin_ms, 0), Metered(begin_ms, 0)]
    drawn: dict[int, float] = {}
    last: Peak | None = None
    for pause_ms, one_w, two_w, around_w, *came in looks:
        for i in range(2):
            if came[i]:
                known[i] = Metered(now_ms, int(energy[i]))
        peaks.look(now_ms, {f"s-{i}": known[i] for i in range(2)}, around_w)
        found = peaks.peak(now_ms)
        if found is not None:
            month = [q for q in drawn if month_of(q * QUARTER_MS, utc) == found.month]
            # Each meter may be short by less than one Wh when its quarter begins.
            assert found.watts <= max(drawn[q] for q in month) * MS_PER_HOUR / QUARTER_MS + 2 * 4 + 1e-6
            assert found.month == month_of(now_ms, utc)
            assert found.at_ms <= now_ms
            if last is not None and last.month == found.month:
                assert found.watts >= last.watts
            last = found
        elif last is not None:
            assert last.month != month_of(now_ms, utc), "a month forgets nothing"
        until_ms = now_ms + pause_ms
        while now_ms < until_ms:
            end_ms = min(until_ms, (now_ms // QUARTER_MS + 1) * QUARTER_MS)
            power_w = one_w + two_w + (around_w or 0)
            number = now_ms // QUARTER_MS
            drawn[number] = drawn.get(number, 0.0) + max(0, power_w) * (end_ms - now_ms) / MS_PER_HOUR
            for i, watts in enumerate((one_w, two_w)):
                energy[i] += watts * (end_ms - now_ms) / MS_PER_HOUR
            now_ms = end_ms


def test_it_is_close_to_what_was_drawn() -> None:
    """What is lost between two quarters is one look in 180."""
    site = Site()
    site.draw(3 * QUARTER_MS, 20_000, 5_000)
    assert 25_000 * 0.99 <= (site.watts or 0) <= 25_000


# --- months -----------------------------------------------------------------------------------------------------------


def test_a_new_month_begins_with_nothing() -> None:
    site = Site(START_MS - 2 * QUARTER_MS)
    site.draw(2 * QUARTER_MS, 0, 30_000)
    assert site.peaks.peak(START_MS - 1) == Peak("2026-10", 30_000, START_MS - QUARTER_MS)
    assert site.watts is None, "the last quarter of October is October's"
    site.draw(QUARTER_MS, 0, 2_000)
    assert site.watts == 2_000


@given(
    at_s=st.integers(0, 4_000_000_000), zone=st.sampled_from(["Europe/Berlin", "America/Asuncion", "Asia/Kathmandu"])
)
def test_months_are_those_of_the_time_zone(at_s: int, zone: str) -> None:
    local = datetime.fromtimestamp(at_s, ZoneInfo(zone))
    assert month_of(at_s * 1000, EnergyEntry(time_zone=zone).offset) == f"{local:%Y-%m}"


@pytest.mark.parametrize("month", [3, 4, 10, 11])
def test_summer_time_moves_no_month(month: int) -> None:
    """Quarters before and after local midnight of the first, in the months around the changes."""
    offset = EnergyEntry(time_zone="Europe/Berlin").offset
    first_ms = int(datetime(2026, month, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)
    assert month_of(first_ms - 1, offset) == f"2026-{month - 1:02}"
    assert month_of(first_ms, offset) == f"2026-{month:02}"
    peaks = Peaks(offset)
    for at_ms in range(first_ms - 4 * QUARTER_MS, first_ms + 4 * QUARTER_MS + 1, STEP_MS):
        peaks.look(at_ms, {}, 9_000 if at_ms < first_ms else 1_000)
        if at_ms == first_ms - QUARTER_MS:
            assert peaks.peak(at_ms) == Peak(f"2026-{month - 1:02}", 9_000, first_ms - 3 * QUARTER_MS)
    assert peaks.peak(first_ms + 4 * QUARTER_MS) == Peak(f"2026-{month:02}", 1_000, first_ms + QUARTER_MS)
