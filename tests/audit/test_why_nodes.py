"""``evcharge-audit why`` about a node: its watch, its silence, and what its meter is remembered for."""

from __future__ import annotations

from evcharge.audit.event_codec import decode
from evcharge.audit.why import Inquiry
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
        "main reports its health: silence is a loss from now on",
        "main was lost (silent for 10.1 s), until it is reported well, or an operator says that it reports no more "
        "(unwatch)",
        "the base load of main counts as 6.3 kW while its meter is silent",
        "main is on trial: one session at a time may show that it is well",
        "main reports its health no more: silence is no loss",
        "what the meter of main showed of its base load counts no longer",
        "main drew 7.2 kW over a quarter of an hour, the most of 2023-11",
    ]
    assert told(scenario, "zoo") == []


def test_the_limits_that_were_set_are_told() -> None:
    scenario = Scenario().given(site(), c.SetCapacity(node_id=MAIN, capacity_w=9_000))
    assert told(scenario, MAIN) == ["main was given 9 kW"]


def test_a_node_of_which_nothing_happened_is_known() -> None:
    """The name is right, and there is nothing to tell: no session of that name would be an answer to a slip."""
    for subject, known in ((MAIN, True), ("zoo", False)):
        inquiry = Inquiry(subject)
        for seq, body in enumerate(Scenario().given(site()).log):
            logged = decode(body)
            assert logged is not None
            assert not [*inquiry.take(seq, logged)]
        assert inquiry.named is known
