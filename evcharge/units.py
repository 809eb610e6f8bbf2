"""Quantities and every conversion in the project.

Power is whole watts, energy whole watt-hours, instants UTC milliseconds, money minor units of the currency. kW and kWh
are for people only.
"""

from __future__ import annotations

from typing import NewType

Watts = NewType("Watts", int)
WattHours = NewType("WattHours", int)
Millis = NewType("Millis", int)
"""An instant: UTC milliseconds; which clock is said where it is used."""
MinorUnits = NewType("MinorUnits", int)
"""Money: cents of the site's currency."""
PriceE4 = NewType("PriceE4", int)
"""Price per kWh in ten-thousandths of the currency: 0.3150 €/kWh is 3150."""
Grams = NewType("Grams", int)

MS_PER_HOUR = 3_600_000


def watts_of_kw(kilowatts: float) -> Watts:
    """kW as people write them → W, to the nearest watt."""
    return Watts(round(kilowatts * 1000))


def watt_hours_of_kwh(kilowatt_hours: float) -> WattHours:
    """kWh as people write them → Wh, to the nearest watt-hour."""
    return WattHours(round(kilowatt_hours * 1000))


def kw(power: int) -> str:
    """W → "7.4 kW" for people."""
    return f"{power / 1000:.1f} kW"


def kwh(energy: int) -> str:
    """Wh → "12.34 kWh" for people."""
    return f"{energy / 1000:.2f} kWh"


def money(amount: int, currency: str) -> str:
    """Minor units → "3.15 EUR" for people."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d} {currency}"


def amount_of(energy: WattHours, price: PriceE4) -> MinorUnits:
    """Price of an amount of energy in minor units, half up; exact integers, so a replay gives the same cent."""
    # Wh × (1e-4 currency / kWh) = 1e-7 currency; a minor unit is 1e-2.
    scaled = energy * price
    return MinorUnits((scaled + 50_000) // 100_000)


def co2_of(energy: WattHours, grams_per_kwh: int) -> Grams:
    """Carbon of an amount of energy, half up."""
    return Grams((energy * grams_per_kwh + 500) // 1000)


def average_power(energy: WattHours, duration_ms: int) -> Watts:
    """Mean power over a duration, rounded down; 0 for an empty one."""
    return Watts(energy * MS_PER_HOUR // duration_ms) if duration_ms > 0 else Watts(0)
