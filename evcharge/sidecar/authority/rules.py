"""What a station, a driver's token and a callback URL look like (features.md, charge authorization). Pure.

The route judges by these before a request is acknowledged, and the worker again before it is decided: what comes out
of a queue need not be what this process put there.
"""

from __future__ import annotations

import re

from evcharge.sidecar.outgoing.guard import Guard, RefusedTarget

STATION_ID = r"^(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Za-z]{36}|[0-9A-Fa-f]{32})$"
STATION_CHARS = 36
DRIVER_TOKEN = r"^[A-Za-z0-9._~-]{20,80}$"  # noqa: S105  # no token
TOKEN_CHARS = 80
# Only what a schema can say of it; ``Guard`` says the rest.
CALLBACK_URL = r"^https?://[!-~]+$"
REQUEST_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_STATION = re.compile(STATION_ID)
_TOKEN = re.compile(DRIVER_TOKEN)
# A UUID has hyphens where 32 digits have none.
_HEX = re.compile(r"[0-9a-f]{32}")


def bad_station(text: str) -> str | None:
    """What is wrong with a station's id."""
    if _STATION.fullmatch(text) is None:
        return "has to be a UUID, 36 letters and digits, or 32 hexadecimal digits."
    return None


def bad_token(text: str) -> str | None:
    """What is wrong with a driver's token."""
    if _TOKEN.fullmatch(text) is None:
        return "has to be 20 to 80 of the characters A-Z a-z 0-9 . _ ~ -."
    return None


def bad_request(station_id: str, driver_token: str, callback_url: str, guard: Guard) -> dict[str, str]:
    """Every bad field of a request with what is wrong with it."""
    bad = {"station_id": bad_station(station_id), "driver_token": bad_token(driver_token)}
    try:
        guard.target(callback_url)
    except RefusedTarget as error:
        bad["callback_url"] = f"{error}."
    return {name: why for name, why in bad.items() if why is not None}


def station_key(station_id: str) -> str:
    """What two spellings of one station have in common: a UUID's digits, whatever their case and hyphens."""
    digits = station_id.replace("-", "").lower()
    return digits if _HEX.fullmatch(digits) else station_id
