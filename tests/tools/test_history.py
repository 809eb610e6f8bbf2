"""The tool that builds long histories says that they are equal, and times what the pages ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from evcharge.audit.event_codec import decode
from evcharge.domain import events as e
from tools.history.__main__ import main
from tools.history.days import bodies


@pytest.mark.tool
def test_in_pieces_and_at_once_are_equal(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--events", "3000", "--sessions", "300", "--folder", str(tmp_path)])
    assert "none of 10" in done.output, done.output
    assert "sessions of a driver" in done.output
    assert done.exit_code in (0, 1), "a machine that is busy may be slow"


def test_the_days_are_what_their_seed_says_and_every_record_is_one_of_the_log() -> None:
    made = list(bodies(3_000, 7))
    assert made == list(bodies(3_000, 7)) != list(bodies(3_000, 8))
    logged = [decode(body) for body in made]
    assert all(one is not None for one in logged)
    instants = [one.stamp.at_ms for one in logged if one is not None]
    assert instants == sorted(instants)
    kinds = {type(one.event) for one in logged if one is not None}
    assert {e.CentralStarted, e.TicketIssued, e.SetPointIssued, e.ChargeRefused, e.MeterSampled} <= kinds
