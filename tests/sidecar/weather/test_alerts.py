"""Alerts begin and end where the limits say, and nowhere in between."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.weather.alerts import KINDS, UNKNOWN, Kind, Limits, Standings, judge
from evcharge.sidecar.weather.observation import Observation
from tests.sidecar.weather.samples import seen

LIMITS = Limits()
CALM = judge(judge(UNKNOWN, seen(), LIMITS), seen(at_s=1_800), LIMITS)


def run(*observations: Observation | None, before: Standings = CALM) -> list[dict[Kind, bool | None]]:
    """What is active after each."""
    said = []
    for one in observations:
        before = judge(before, one, LIMITS)
        said.append({kind: before[kind].active for kind in KINDS})
    return said


def test_good_weather_is_no_alert_of_any_kind() -> None:
    assert {kind: CALM[kind].active for kind in KINDS} == dict.fromkeys(KINDS, False)


@pytest.mark.parametrize(
    ("celsius", "cold", "heat"),
    [(0.0, False, False), (-0.1, True, False), (40.0, False, False), (40.1, False, True), (20.0, False, False)],
)
def test_the_limits_are_strict(celsius: float, cold: bool, heat: bool) -> None:
    assert run(seen(celsius))[0] | {"cold": cold, "heat": heat} == run(seen(celsius))[0]


def test_cold_ends_at_the_margin_and_not_before() -> None:
    steps = [seen(c) for c in (-0.1, 0.0, 0.9, -5.0, 0.99, 1.0, 0.0, 0.5, -0.1)]
    assert [said["cold"] for said in run(*steps)] == [True, True, True, True, True, False, False, False, True]


def test_heat_ends_at_the_margin_and_not_before() -> None:
    steps = [seen(c) for c in (40.1, 39.0, 38.1, 38.0, 39.9, 40.1)]
    assert [said["heat"] for said in run(*steps)] == [True, True, True, False, False, True]


@pytest.mark.parametrize(
    ("wind", "gust", "active"),
    [
        (24.9, None, False),
        (25.0, None, True),
        (10.0, 25.0, True),
        (10.0, 24.9, False),
        (None, 25.0, True),
        (None, None, False),
    ],
)
def test_wind_is_the_strongest_that_was_felt(wind: float | None, gust: float | None, active: bool) -> None:
    assert run(seen(wind_m_s=wind, gust_m_s=gust))[0]["wind"] is active


@pytest.mark.parametrize(
    ("wind", "gust", "active"),
    [
        (10.0, 19.9, False),
        (10.0, 20.0, True),
        (13.4, None, True),
        (13.3, None, False),
        (None, None, True),
        (None, 19.9, False),
    ],
)
def test_wind_is_over_when_gusts_must_be_too(wind: float | None, gust: float | None, active: bool) -> None:
    """1.5 × 13.3 m/s is below 20; a provider that says nothing of wind ends nothing."""
    said = run(seen(gust_m_s=30.0), seen(wind_m_s=wind, gust_m_s=gust))
    assert [one["wind"] for one in said] == [True, active]


def test_a_storm_is_over_after_half_an_hour_that_was_looked_at() -> None:
    steps = [
        (0, True, True),
        (600, False, True),
        (1_200, True, True),
        (4_000, False, True),
        (5_799, False, True),
        (5_800, False, False),
        (5_900, True, True),
    ]
    said = run(*(seen(at_s=at_s, thunderstorm=thunder) for at_s, thunder, _ in steps))
    assert [one["storm"] for one in said] == [active for *_, active in steps]


def test_a_provider_that_says_nothing_of_storms_ends_none() -> None:
    storm = seen(thunderstorm=True)
    quiet = [seen(at_s=at_s, thunderstorm=None) for at_s in (600, 10_000)]
    assert [one["storm"] for one in run(storm, *quiet)] == [True, True, True]


def test_what_was_never_known_stays_unknown_inside_the_band() -> None:
    first = judge(UNKNOWN, seen(0.5, gust_m_s=22.0), LIMITS)
    assert {kind: first[kind].active for kind in KINDS} == {"cold": None, "heat": False, "wind": None, "storm": None}


def test_an_alert_remembers_when_it_began() -> None:
    standings = judge(CALM, seen(-1.0, at_s=100), LIMITS)
    standings = judge(standings, seen(-2.0, at_s=200), LIMITS)
    assert standings["cold"].since_ms == seen(at_s=100).observed_ms
    assert judge(standings, seen(5.0, at_s=300), LIMITS)["cold"].since_ms == seen(at_s=300).observed_ms


@pytest.mark.parametrize(
    "bad",
    [
        {"cold_clear_c": 0.0},
        {"cold_clear_c": -1.0},
        {"heat_clear_c": 40.0},
        {"heat_c": 70.0},
        {"gust_clear_m_s": 25.0},
        {"cold_c": float("nan")},
        {"cold_clear_c": 39.0},
        {"storm_quiet_s": -1},
    ],
)
def test_limits_without_a_band_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="_"):
        Limits(**bad)  # type: ignore[arg-type]


OBSERVATIONS = st.builds(
    seen,
    st.floats(-60, 60),
    st.floats(0, 20_000),
    wind_m_s=st.none() | st.floats(0, 60),
    gust_m_s=st.none() | st.floats(0, 60),
    thunderstorm=st.none() | st.booleans(),
)
HISTORIES = st.lists(st.none() | OBSERVATIONS, max_size=12)


def after(history: list[Observation | None]) -> Standings:
    standings: Standings = UNKNOWN
    for one in history:
        standings = judge(standings, one, LIMITS)
    return standings


@given(HISTORIES)
def test_a_failure_changes_nothing(history: list[Observation | None]) -> None:
    assert after([*history, None]) == after(history)
    assert after([one for one in history if one is not None]) == after(history)


@given(
    HISTORIES,
    st.lists(
        st.builds(
            seen, st.floats(0, 0.999), wind_m_s=st.none(), gust_m_s=st.floats(20, 24.999), thunderstorm=st.none()
        ),
        min_size=1,
    ),
)
def test_nothing_changes_inside_the_bands(history: list[Observation | None], band: list[Observation]) -> None:
    before = after(history)
    for kind in ("cold", "wind", "storm"):
        assert after([*history, *band])[kind] == before[kind]


@given(HISTORIES, st.lists(st.builds(seen, st.floats(38.001, 40)), min_size=1))
def test_nothing_changes_inside_the_band_of_heat(history: list[Observation | None], band: list[Observation]) -> None:
    assert after([*history, *band])["heat"] == after(history)["heat"]


@given(HISTORIES, st.floats(-60, 60), st.floats(0, 60), st.booleans())
def test_each_kind_stands_for_itself(
    history: list[Observation | None], celsius: float, gust: float, thunder: bool
) -> None:
    """Another temperature changes neither wind nor storm, and so on for each."""

    def but(**changed: object) -> Standings:
        return after([None if one is None else msgspec.structs.replace(one, **changed) for one in history])

    warm, windy, stormy = but(temperature_c=celsius), but(gust_m_s=gust), but(thunderstorm=thunder)
    known = after(history)

    def same(standings: Standings, *kinds: Kind) -> bool:
        return all(standings[kind] == known[kind] for kind in kinds)

    assert same(warm, "wind", "storm")
    assert same(windy, "cold", "heat", "storm")
    assert same(stormy, "cold", "heat", "wind")


@given(HISTORIES)
def test_never_cold_and_hot_at_once(history: list[Observation | None]) -> None:
    standings = after(history)
    assert not (standings["cold"].active and standings["heat"].active)


@given(HISTORIES, OBSERVATIONS)
def test_weather_beyond_a_limit_is_an_alert_whatever_was_before(
    history: list[Observation | None], now: Observation
) -> None:
    standings = after([*history, now])
    if now.temperature_c < 0:
        assert standings["cold"].active
    if now.temperature_c > 40:
        assert standings["heat"].active
    if max(now.gust_m_s or 0, now.wind_m_s or 0) >= 25:
        assert standings["wind"].active
    if now.thunderstorm:
        assert standings["storm"].active
