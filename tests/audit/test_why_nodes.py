"""``evcharge-audit why`` about a node: its watch, its silence, and what its meter is remembered for."""

from __future__ import annotations

from evcharge.domain import commands as c
from tests.audit.test_why_waiting import told
from tests.support.scenario import MAIN, Scenario, report, site


def test_an_operator_reads_how_to_end_it() -> None:
    scenario = Scenario().given(
        site(),
        report(ok=True),
        c.ReportNode(node_id=MAIN, ok=False, cause="silent for 10.1 s", silent=True),
        c.NoteBaseLoad(node_id=MAIN, base_w=6_000),
        c.UnwatchNode(node_id=MAIN),
        c.ForgetBaseLoad(node_id=MAIN),
        c.NotePeak(node_id=MAIN, month="2023-11", peak_w=7_200),
    )
    assert told(scenario, MAIN) == [
        "main was lost (silent for 10.1 s), until it is reported well, or an operator says that it reports no more "
        "(unwatch)",
        "the base load of main counts as 6.3 kW while its meter is silent",
        "main is on trial: one session at a time may show that it is well",
        "main reports its health no more: silence is no loss",
        "what the meter of main showed of its base load counts no longer",
        "main drew 7.2 kW over a quarter of an hour, the most of 2023-11",
    ]
    assert told(scenario, "zoo") == []
