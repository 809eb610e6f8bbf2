"""Money, energy and power are exact whole numbers, half up, however large."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge import units
from evcharge.ids import SessionId, ticket_of

LARGE = st.integers(0, 10**12)


@given(energy_wh=LARGE, price_e4=st.integers(0, 10**7))
def test_amount_is_the_nearest_cent_half_up(energy_wh: int, price_e4: int) -> None:
    cents = Fraction(energy_wh, 1000) * Fraction(price_e4, 10_000) * 100
    amount = units.amount_of(units.WattHours(energy_wh), units.PriceE4(price_e4))
    assert Fraction(-1, 2) < amount - cents <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("energy_wh", "price_e4", "cents"),
    [
        (0, 3_000, 0),
        (1_000, 3_000, 30),
        (1_000, 3_150, 32),
        (50, 1_000, 1),  # 0.5 cents: up
        (49, 1_000, 0),
        (1, 50_000, 1),
        (12_345, 0, 0),
        (10**12, 10**7, 10**14),
    ],
)
def test_amounts(energy_wh: int, price_e4: int, cents: int) -> None:
    assert units.amount_of(units.WattHours(energy_wh), units.PriceE4(price_e4)) == cents


@given(energy_wh=LARGE, grams=st.integers(0, 2_000))
def test_carbon_is_the_nearest_gram_half_up(energy_wh: int, grams: int) -> None:
    exact = Fraction(energy_wh * grams, 1000)
    assert Fraction(-1, 2) < units.co2_of(units.WattHours(energy_wh), grams) - exact <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("energy_wh", "duration_ms", "watts"),
    [(1_000, 3_600_000, 1_000), (1_000, 0, 0), (1_000, -5, 0), (0, 10, 0), (1, 3_600_001, 0), (7, 1, 25_200_000)],
)
def test_average_power_is_rounded_down_and_0_for_no_time(energy_wh: int, duration_ms: int, watts: int) -> None:
    assert units.average_power(units.WattHours(energy_wh), duration_ms) == watts


def test_what_people_write() -> None:
    assert units.watts_of_kw(7.4) == 7_400
    assert units.watts_of_kw(0.0296) == 30
    assert units.watt_hours_of_kwh(1.2345) == 1_234 or units.watt_hours_of_kwh(1.2345) == 1_235


def test_what_people_read() -> None:
    assert units.kw(7_400) == "7.4 kW"
    assert units.kwh(12_340) == "12.34 kWh"
    assert units.money(315, "EUR") == "3.15 EUR"
    assert units.money(-305, "EUR") == "-3.05 EUR"
    assert units.money(7, "EUR") == "0.07 EUR"


def test_a_ticket_is_named_after_its_session() -> None:
    assert ticket_of(SessionId("s-1")) == "t-s-1"
