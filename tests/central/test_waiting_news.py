"""What a person who waits would call news."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from evcharge.central.waiting_news import NOTICED_MS, noticed
from evcharge.domain.waiting_views import WaitingView
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, SessionId

NOW_MS = 1_700_000_000_000
PLACE = WaitingView(
    waiting_id=SessionId("s-1"),
    state="WAITING",
    cp_id=ChargePointId("cp-1"),
    connector=ConnectorNo(0),
    driver_id=DriverId("anna"),
    place=2,
    eta_ms=NOW_MS + 300_000,
    reason="busy",
)


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({}, False),
        ({"place": 1}, True),
        ({"reason": "no_capacity"}, True),
        ({"eta_ms": None}, True),
        ({"eta_ms": NOW_MS + 300_000 + NOTICED_MS - 1}, False),
        ({"eta_ms": NOW_MS + 300_000 + NOTICED_MS}, True),
        ({"eta_ms": NOW_MS + 300_000 - NOTICED_MS}, True),
        ({"inputs_age_ms": 90_000}, False),
        ({"state": "OFFERED", "place": 0}, False),
    ],
)
def test_what_is_noticed(change: dict[str, Any], news: bool) -> None:
    assert noticed(PLACE, msgspec.structs.replace(PLACE, **change), NOW_MS) is news


def test_a_minute_is_nothing_in_an_hour() -> None:
    far = msgspec.structs.replace(PLACE, eta_ms=NOW_MS + 3_600_000)
    assert not noticed(far, msgspec.structs.replace(PLACE, eta_ms=NOW_MS + 3_600_000 + 2 * NOTICED_MS), NOW_MS)
    assert noticed(far, msgspec.structs.replace(PLACE, eta_ms=NOW_MS + 3_600_000 + 8 * NOTICED_MS), NOW_MS)
