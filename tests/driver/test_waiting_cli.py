"""``evcharge-driver`` for those who wait and for reservations: what is printed, exit codes, sentences."""

from __future__ import annotations

import json

import msgspec
import pytest

from evcharge.cli.driver_text import local_time
from protocol import messages as m
from protocol.credentials import Role
from tests.driver.test_cli import Command, central, command, lines, thread  # noqa: F401  # fixtures
from tests.driver.test_waiting import busy
from tests.support.fake_central import FakeCentral, charge_point
from tests.support.wire import credential


class TestCommands:
    @pytest.fixture(autouse=True)
    def _central(self, central: FakeCentral) -> None:  # noqa: F811
        self.central = central

    def _offer_at_once(self) -> None:
        def serve(place: m.WaitingView) -> None:
            self.central.move(place.waiting_id, place=1)
            self.central.offer(place.waiting_id)
            self.central.start(place.waiting_id)
            self.central.finish(place.waiting_id, 2_000)

        self.central.on_wait = serve

    def test_charge_waits_then_charges(self, command: Command) -> None:  # noqa: F811
        busy(self.central)
        self._offer_at_once()
        result = command("charge", "CP-1", "--wait")
        assert result.exit_code == 0, result.output
        said = result.stdout
        assert "waiting at CP-1: place 1, expected " in said
        assert "(from readings up to 4 s old); waits for a free connector" in said
        assert "your turn at CP-1: plug in by " in said
        assert "ticket t-w0: 2.000 kWh" in said

    def test_charge_waits_in_json(self, command: Command) -> None:  # noqa: F811
        busy(self.central)
        self._offer_at_once()
        rows = lines(command("charge", "CP-1", "--wait", "--json"))
        states = [(row["what"], row.get("state")) for row in rows]
        assert states[:2] == [("connected", None), ("waiting", "WAITING")]
        assert ("waiting", "OFFERED") in states
        assert {"update", "ticket", "authorized"} <= {what for what, _ in states}

    def test_an_offer_that_was_missed_once_is_not_the_end(self, command: Command) -> None:  # noqa: F811
        """He asks while his place has an offer, which is the answer then; nobody plugs in, and the place goes on."""

        def granted(driver_id: str, session: m.SessionView) -> None:
            name = session.session_id
            self.central.places[name] = m.WaitingView(
                waiting_id=name, state="OFFERED", cp_id="CP-1", driver_id=driver_id, session_id=name
            )
            self.central.miss(name)
            self.central.on_queue = lambda: go_on(name)

        def go_on(name: str) -> None:
            self.central.on_queue = lambda: None
            self.central.offer(name, f"{name}.2")
            self.central.start(f"{name}.2")
            self.central.finish(f"{name}.2", 2_000)

        self.central.on_request = granted
        result = command("charge", "CP-1", "--wait")
        assert result.exit_code == 0, result.output
        said = result.stdout
        assert "CP-1: expired" in said
        assert "waiting at CP-1: place 1" in said
        assert said.count("authorized at CP-1") == 2
        assert "2.000 kWh at CP-1" in said

    def test_an_offer_that_was_missed_twice_is(self, command: Command) -> None:  # noqa: F811
        def granted(driver_id: str, session: m.SessionView) -> None:
            name = session.session_id
            self.central.places[name] = m.WaitingView(
                waiting_id=name, state="OFFERED", cp_id="CP-1", driver_id=driver_id, session_id=name
            )
            self.central.expire(name)
            self.central.move(name, state="LEFT", reason="no_show", session_id=None)
            self.central.places.clear()

        self.central.on_request = granted
        result = command("charge", "CP-1", "--wait")
        assert result.exit_code == 1
        assert "error: no longer waiting at CP-1: nobody plugged in, twice." in result.stderr

    def test_a_place_that_is_lost(self, command: Command) -> None:  # noqa: F811
        busy(self.central)
        self.central.on_wait = lambda place: self.central.move(place.waiting_id, state="LEFT", reason="held") and None
        result = command("charge", "CP-1", "--wait")
        assert result.exit_code == 1
        assert "no longer waiting at CP-1: the charge point is out of service; try another one." in result.stderr

    def test_without_wait_a_busy_charge_point_is_a_refusal(self, command: Command) -> None:  # noqa: F811
        busy(self.central)
        assert command("charge", "CP-1").exit_code == 1
        assert not self.central.places

    def test_queue_lists_and_leaves(self, command: Command) -> None:  # noqa: F811
        assert "You wait nowhere" in command("queue").stderr
        self.central.places["w0"] = m.WaitingView(
            waiting_id="w0", state="WAITING", cp_id="CP\x1b", place=3, reason="no_capacity"
        )
        self.central.places["w0"] = msgspec.structs.replace(
            self.central.places["w0"], driver_id=credential(Role.DRIVER).entity
        )
        (_, row) = command("queue").stdout.splitlines()
        assert row.split("\t") == ["CP?", "any", "3", "nobody can tell when", "power", "w0"]
        (rows,) = lines(command("queue", "--json"))
        assert rows[0]["place"] == 3
        assert command("queue", "--leave", "w0").stdout == "You no longer wait as w0.\n"
        again = command("queue", "--leave", "w0")
        assert again.exit_code == 1
        assert "unknown_waiting" in again.stderr

    def test_reserve_list_and_cancel(self, command: Command) -> None:  # noqa: F811
        assert "You have no reservation." in command("reservations").stderr
        said = command("reserve", "CP-1", "--from", "+3h", "--until", "+90m", "--energy-kwh", "20").stdout
        assert said.startswith("reservation r0: CP-1 #1, ")
        assert "'evcharge-driver cancel r0' gives it back" in said
        (request,) = self.central.got(m.Reserve)
        assert (request.until_ms - request.from_ms, request.energy_wh) == (90 * 60_000, 20_000)
        (_, row) = command("reservations").stdout.splitlines()
        assert row.split("\t")[4:] == ["reserved", "r0"]
        assert json.loads(command("cancel", "r0", "--json").stdout) == {"what": "cancelled", "reservation_id": "r0"}
        assert command("cancel", "r0").exit_code == 1

    def test_a_reservation_that_is_refused_and_one_that_makes_no_sense(self, command: Command) -> None:  # noqa: F811
        self.central.refusals["CP-1"] = ["reserved"]
        result = command("reserve", "CP-1", "--from", "+3h", "--until", "+2h")
        assert result.exit_code == 1
        (request,) = self.central.got(m.Reserve)
        asked = f"You asked for {local_time(request.from_ms)} to {local_time(request.until_ms)}."
        assert result.stderr == f"error: No: reserved. {asked}\n", "whoever meant +2h from now sees it"
        result = command("reserve", "CP-1", "--from", "soon", "--until", "+2h")
        assert result.exit_code == 2
        assert "'soon' is no time; write HH:MM or +2h." in result.stderr

    def test_list_shows_how_many_wait(self, command: Command) -> None:  # noqa: F811
        row = charge_point("CP-1")
        taken = [msgspec.structs.replace(row.connectors[0], driver="e*")]
        self.central.rows = [msgspec.structs.replace(row, connectors=taken, waiting=2)]
        assert command("list").stdout.splitlines()[1] == "CP-1\t#1\tACTIVATED\t1.4-7.4 kW\tin use, 2 waiting"
