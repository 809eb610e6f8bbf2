"""``evcharge-driver recommend`` and ``why``: what is asked, what is printed, and the exit codes."""

from __future__ import annotations

import json

import msgspec
import pytest

from evcharge.cli.driver_advice import STATION_HEADS, why_text
from protocol import messages as m
from tests.driver.test_cli import Command, InThread, central, command, thread
from tests.support.fake_central import FakeCentral
from tests.wire.golden_samples import RECOMMENDATION, WHY

# Fixtures of the other tests of the command line.
__all__ = ["InThread", "central", "command", "thread"]

BEST = msgspec.structs.replace(RECOMMENDATION, legacy=[], vehicle=RECOMMENDATION.vehicle)
NONE = msgspec.structs.replace(
    BEST,
    cp_id=None,
    connector=None,
    sentence="No charge point can serve this vehicle now: 1 out of service.",
    stations=BEST.stations[1:],
)


def test_a_table_of_the_best_and_why_the_others_are_out(central: FakeCentral, command: Command) -> None:
    central.recommendation = BEST
    result = command("recommend", "--battery", "35.5", "--plug", "type2")
    assert result.exit_code == 0
    heads, first, second = (line.split("\t") for line in result.stdout.splitlines())
    assert heads == list(STATION_HEADS)
    assert first[:6] == ["1*", "CP-1 #1", "0.250", "8.01 EUR", "2:25:39", "0:01:00"]
    assert first[6:] == ["8.01 kg", "11.00 kW", "1.2 km", "cost", ""]
    assert (second[1], second[-1]) == ("CP-2", "out: out of service, or its substation is lost")
    assert "Weights: cost 0.50, time 0.25, carbon 0.12, queue 0.12" in result.stderr
    assert "CP-1 suits best." in result.stderr and "4 more charge points" in result.stderr
    (asked,) = central.got(m.Recommend)
    assert msgspec.structs.replace(asked, id=0) == m.Recommend(id=0, battery_percent=35.5, plug="type2")


def test_every_option_is_asked_for(central: FakeCentral, command: Command) -> None:
    central.recommendation = BEST
    options = "--battery 20 --capacity-kwh 77.4 --target 90 --max-kw 22 --consumption 165 --at 48.1,-11.5"
    more = "--weights .4,.3,.2,.1 --results 2 --mode legacy"
    assert command("recommend", *options.split(), *more.split()).exit_code == 0
    (asked,) = central.got(m.Recommend)
    assert msgspec.structs.replace(asked, id=0) == m.Recommend(
        id=0,
        mode="legacy",
        battery_percent=20.0,
        capacity_wh=77_400,
        target_percent=90.0,
        max_w=22_000,
        consumption_wh_per_km=165,
        latitude=48.1,
        longitude=-11.5,
        weights=m.Weights(cost=0.4, time=0.3, carbon=0.2, queue=0.1),
        max_results=2,
    )


def test_json_is_the_whole_answer(central: FakeCentral, command: Command) -> None:
    central.recommendation = BEST
    result = command("recommend", "--battery", "35", "--json")
    assert msgspec.json.decode(result.stdout, type=m.RecommendationView) == BEST


def test_accept_asks_for_the_best_one_with_what_the_vehicle_needs(central: FakeCentral, command: Command) -> None:
    central.recommendation = BEST
    result = command("recommend", "--battery", "35", "--accept")
    assert result.exit_code == 0 and "authorized at CP-1 #1, session " in result.stdout
    (session_id,) = central.sessions
    assert f"'evcharge-driver end {session_id}' gives it back." in result.stdout
    (asked,) = central.got(m.ChargeRequest)
    assert (asked.cp_id, asked.connector, asked.energy_wh) == ("CP-1", 1, 26_700)
    assert asked.on_the_way and asked.wait, "kept for the way there, or a place in the line"
    result = command("recommend", "--battery", "35", "--accept", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[-1])["what"] == "waiting", "somebody else has it meanwhile"


def test_none_can_serve_is_a_failure_with_reasons(central: FakeCentral, command: Command) -> None:
    central.recommendation = NONE
    result = command("recommend", "--battery", "35", "--accept")
    assert result.exit_code == 1 and "No charge point can serve this vehicle now: 1 out of service." in result.stderr
    assert "out: out of service" in result.stdout and not central.got(m.ChargeRequest)
    result = command("recommend", "--battery", "35", "--json")
    assert (result.exit_code, json.loads(result.stdout)["cp_id"]) == (1, None)


def test_the_older_formula_has_a_table_of_its_own(central: FakeCentral, command: Command) -> None:
    central.recommendation = msgspec.structs.replace(RECOMMENDATION, mode="legacy", stations=[], weights=None)
    result = command("recommend", "--battery", "50", "--mode", "legacy")
    assert result.stdout.splitlines()[1] == "CP-1\t125.50\t30.00 kWh\t0.60 h\t25.50 kg\t30.00 kWh in 0.60 h"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--battery 35 --weights .5,.5", "--weights takes 4 numbers"),
        ("--battery 35 --weights .5,.5,.5,0", "four shares from 0 up whose sum is 1"),
        ("--battery 35 --weights 1.5,-.5,0,0", "four shares from 0 up"),
        ("--battery 35 --at nan,1", "--at takes 2 numbers"),
        ("--battery 35 --at 91,1", "a latitude from -90 to 90"),
        ("--battery 80", "there is nothing to charge"),
        ("--battery 101", "101"),
        ("", "--battery"),
    ],
)
def test_misuse(command: Command, options: str, sentence: str) -> None:
    result = command("recommend", *options.split())
    assert result.exit_code == 2 and sentence in result.stderr


def test_an_older_central_answers_without_one(central: FakeCentral, command: Command) -> None:
    result = command("recommend", "--battery", "35")
    assert result.exit_code == 1 and "without a recommendation" in result.stderr


def test_why_tells_the_newest_decision(central: FakeCentral, command: Command) -> None:
    central.reasons = {
        "": WHY,
        "s-2": m.WhyView(session_id="s-2", cp_id="CP\x1b", connector=2, state="AUTHORIZED", sentence="x"),
    }
    head, said = command("why").stdout.splitlines()
    assert head.startswith("s-1 at CP-1 #1: supplying, limit 7.40 kW, decided 20")
    assert said == "sub-1 has 150 kW, 150 kW of it shared by 3"
    assert command("why", "s-2").stdout == "s-2 at CP? #2: authorized, no limit yet\nx\n"
    assert msgspec.json.decode(command("why", "--json").stdout, type=m.WhyView) == WHY
    result = command("why", "s-none")
    assert result.exit_code == 1 and "No: unknown_session." in result.stderr


def test_open_at_no_power_is_not_called_a_supply() -> None:
    told = msgspec.structs.replace(WHY, limit_w=0)
    assert why_text(told).splitlines()[0].startswith("s-1 at CP-1 #1: paused, limit 0.00 kW")
    assert ": supplying, limit 7.40 kW" in why_text(WHY)
