"""A Central that tests script, and drivers that reconnect without waiting."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evcharge.driver.client import DriverClient
from evcharge.net.client import Client
from evcharge.net.clock import SystemClock
from protocol import messages as m
from protocol.credentials import Credential, Role
from tests.support.fake_central import FakeCentral
from tests.support.wire import credential


class Notes:
    """A watcher that keeps everything."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.links: list[bool] = []
        self.updates: list[m.SessionView] = []
        self.places: list[m.WaitingView] = []
        self.reservations: list[m.ReservationView] = []
        self.tickets: list[m.TicketView] = []

    def link(self, *, up: bool, why: str) -> None:
        self.links.append(up)

    def update(self, session: m.SessionView) -> None:
        self.updates.append(session)

    def place(self, view: m.WaitingView) -> None:
        self.places.append(view)

    def reservation(self, view: m.ReservationView) -> None:
        self.reservations.append(view)

    def ticket(self, ticket: m.TicketView) -> bool:
        self.tickets.append(ticket)
        return self.takes


def driver(central: FakeCentral, watcher: Any = None, who: Credential | None = None, **more: Any) -> DriverClient:
    """A driver that is not connected yet."""
    more.setdefault("make_client", partial(Client, rng=lambda: 0.0))
    return DriverClient(
        who or credential(Role.DRIVER),
        "127.0.0.1",
        central.port,
        clock=SystemClock(),
        entropy=os.urandom,
        watcher=watcher,
        **more,
    )


@pytest.fixture
async def central() -> AsyncIterator[FakeCentral]:
    async with FakeCentral() as made:
        yield made


@pytest.fixture
def credential_file(tmp_path: Path) -> Path:
    file = tmp_path / "driver.json"
    file.write_bytes(credential(Role.DRIVER).to_json())
    return file
