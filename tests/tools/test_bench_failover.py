"""The bench of a lost substation: what it measures really happens, and its figures are whole."""

from __future__ import annotations

import json

from click.testing import CliRunner

from evcharge.domain import events as e
from evcharge.domain.words import Health
from tools.bench.__main__ import cli
from tools.bench.failover import MIN_W, NORTH, SOUTH, busy_site, lose


def test_everybody_at_the_lost_one_is_told() -> None:
    central = busy_site(10)
    assert len(central.state.sessions) == 10
    fed = [s for s in central.state.sessions.values() if s.node_id == NORTH and s.lease.worst_w(central.now_ms)]
    milliseconds, happened = lose(central)
    assert milliseconds > 0
    assert central.state.nodes[NORTH].health is Health.LOST
    assert fed and any(isinstance(event, e.SetPointIssued) for event in happened)
    assert all(session.lease.newest is not None and session.lease.newest.limit_w <= MIN_W for session in fed)
    for _ in range(60):
        central.now_ms += 3_000
        central.settle()
    assert {session.node_id for session in central.state.sessions.values()} == {SOUTH}


def test_the_command() -> None:
    done = CliRunner().invoke(cli, ["failover", "--charge-points", "4", "--repeats", "2", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)["figures"]
    assert figures["median"]["value"] <= figures["worst"]["value"]
    assert figures["median"]["goal"] == 10
