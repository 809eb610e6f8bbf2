"""What a charge at this site kept out of the air, against the same way in a petrol car.

::

    way            = energy charged / 0.18 kWh/km
    petrol car     = way × 170 g/km
    CO2 avoided    = petrol car - what making this electricity emitted (the ticket's own figure)

Both sides count what comes out where the energy is turned into motion or electricity, not the making of vehicles and
fuels. The figure may be negative: with electricity from coal alone a petrol car would have emitted less.
"""

from __future__ import annotations

# What an electric car of the middle class draws from the plug for a km on the road, Wh; 150 to 220 are usual. The round
# figure in which fleets are reckoned; certified values (WLTP) of such cars are about 160.
ELECTRIC_WH_PER_KM = 180
# What a petrol car emits on the road, g CO2 per km: those that were registered in the EU in 2021 emitted 28 g/km or
# 19.8 % more on the road than certified, so 141 + 28 g/km (European Environment Agency, "Real-world emissions",
# climate-energy.eea.europa.eu, on-board fuel meters read in 2022; after COM(2024) 122).
PETROL_G_PER_KM = 170


def petrol_g(energy_wh: int) -> int:
    """Grams of CO2 that a petrol car emits on the way that this energy drives, to the nearest; exact integers."""
    return (energy_wh * PETROL_G_PER_KM * 2 + ELECTRIC_WH_PER_KM) // (ELECTRIC_WH_PER_KM * 2)


def avoided_g(energy_wh: int, emitted_g: int) -> int:
    """Grams of CO2 that this energy avoided, if making it emitted ``emitted_g``."""
    return petrol_g(energy_wh) - emitted_g
