"""The figures at the end: the exact peak, the meters, and what counts as a failure."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.demo.tally import (
    Asked,
    Counted,
    Outcome,
    TallyError,
    any_open,
    authorized_at_least,
    count_tickets,
    peak_w,
    sum_asked,
    sum_meters,
)
from protocol.messages import SessionView, TicketView, TotalsView

GOOD = Outcome(
    sessions=10,
    authorized=9,
    refused=1,
    started=8,
    expired=1,
    tickets=8,
    energy_wh_tickets=1000,
    energy_wh_meters=1000,
    amount_minor=30,
    peak_w=99,
    capacity_w=100,
    wall_s=1.5,
)


def trace(path: Path, *points: tuple[int, str, int, int]) -> Path:
    path.write_bytes(
        b"".join(
            msgspec.json.encode({"t": at, "cp": cp, "c": connector, "w": power}) + b"\n"
            for at, cp, connector, power in points
        )
    )
    return path


def test_the_peak_is_that_of_the_sum_over_all_files_and_connectors(tmp_path: Path) -> None:
    one = trace(tmp_path / "1", (0, "A", 1, 0), (10, "A", 1, 5000), (30, "A", 1, 0), (40, "A", 2, 9000))
    two = trace(tmp_path / "2", (20, "B", 1, 6000), (35, "B", 1, 1000))
    assert peak_w([one, two]) == 11_000


def test_changes_at_the_same_instant_are_one_change(tmp_path: Path) -> None:
    """One gives 6 kW up as another takes them: never 12 kW, whichever line comes first."""
    one = trace(tmp_path / "1", (10, "A", 1, 6000), (20, "B", 1, 6000), (20, "A", 1, 0), (30, "B", 1, 0))
    assert peak_w([one]) == 6000


def test_one_millisecond_above_is_above(tmp_path: Path) -> None:
    one = trace(tmp_path / "1", (10, "A", 1, 6000), (20, "A", 1, 0))
    two = trace(tmp_path / "2", (19, "B", 1, 6000))
    assert peak_w([one, two]) == 12_000


def test_lines_of_different_connectors_may_be_out_of_order(tmp_path: Path) -> None:
    one = trace(tmp_path / "1", (50, "A", 1, 6000), (10, "B", 1, 1000), (60, "B", 1, 2000))
    assert peak_w([one]) == 8000


def test_no_trace_is_no_power(tmp_path: Path) -> None:
    assert peak_w([]) == 0
    assert peak_w([trace(tmp_path / "1")]) == 0


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ABC"), st.integers(1, 2), st.integers(0, 9)), max_size=30)
)
def test_the_peak_equals_the_largest_sum_looked_at_in_every_millisecond(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, str, int, int]]
) -> None:
    points.sort(key=lambda point: point[0])
    path = trace(tmp_path_factory.mktemp("trace") / "t", *points)
    sums = []
    for now in range(31):
        power = {(cp, connector): watts for at, cp, connector, watts in points if at <= now}
        sums.append(sum(power.values()))
    assert peak_w([path]) == max(sums)


def test_a_damaged_trace_is_named_with_its_line(tmp_path: Path) -> None:
    path = trace(tmp_path / "t", (1, "A", 1, 5))
    path.write_bytes(path.read_bytes() + b'{"t": 2')
    with pytest.raises(TallyError, match="t:2: not a line"):
        peak_w([path])
    with pytest.raises(TallyError, match="t:2: the time of A/1 runs backwards"):
        peak_w([trace(tmp_path / "t", (5, "A", 1, 5), (4, "A", 1, 6))])
    with pytest.raises(TallyError, match="No such file"):
        peak_w([tmp_path / "none"])


def test_meters_are_summed_over_processes_points_and_connectors() -> None:
    assert sum_meters([("cp-1", [{"meters": {"A": 5, "B": {"1": 2, "2": 3}}}]), ("cp-2", [{"meters": {}}])]) == 10


def test_only_the_last_meters_of_a_process_count() -> None:
    assert sum_meters([("cp-1", [{"meters": {"A": 5}}, {"other": 1}, {"meters": {"A": 7}}])]) == 7


@pytest.mark.parametrize("lines", [[], [{"ended": True}], [{"meters": {"A": 1.5}}], [{"meters": {"A": True}}]])
def test_missing_or_odd_meters_are_an_error_that_names_the_process(lines: list[dict[str, object]]) -> None:
    with pytest.raises(TallyError, match="cp-1"):
        sum_meters([("cp-1", lines)])


def summary(**fields: int) -> dict[str, object]:
    return {"sessions": 5, "authorized": 4, "refused": 1, "expired": 0, "tickets": 4, "refusals": {}, **fields}


def test_requests_are_summed_over_the_driver_processes() -> None:
    outputs = [("drivers-1", [{"what": "ticket"}, summary()]), ("drivers-2", [summary(expired=2, refused=3)])]
    assert sum_asked(outputs, finished=True) == Asked(sessions=10, authorized=8, refused=4, expired=2)


def test_a_driver_process_without_a_summary_is_an_error_unless_it_was_stopped() -> None:
    outputs = [("drivers-1", [summary()]), ("drivers-2", [{"what": "ticket"}])]
    with pytest.raises(TallyError, match="drivers-2 ended without its summary"):
        sum_asked(outputs, finished=True)
    assert sum_asked(outputs, finished=False).sessions == 5


def ticket(cp_id: str, energy_wh: int, *adjustments: int) -> TicketView:
    return TicketView(
        ticket_id=f"t-{cp_id}-{energy_wh}",
        session_id="s",
        cp_id=cp_id,
        driver_id="d",
        substation_id="site",
        start_ms=0,
        end_ms=1,
        duration_s=1,
        energy_wh=energy_wh,
        price_e4=3000,
        amount_minor=energy_wh // 10,
        currency="EUR",
        status="COMPLETED",
        reason="unplugged",
        average_w=1,
        co2_g=1,
        adjustments=list(adjustments),
    )


def test_what_others_charged_at_their_own_points_is_not_counted() -> None:
    totals = TotalsView(authorized=9, started=7, tickets=5, energy_wh=1100)
    tickets = [ticket("A", 100), ticket("B", 200, 30, -10), ticket("SPARE", 800), ticket("A", 50), ticket("B", 10)]
    still_open = [
        SessionView(session_id="1", state="SUPPLYING", cp_id="SPARE"),
        SessionView(session_id="2", state="AUTHORIZED", cp_id="SPARE"),
        SessionView(session_id="3", state="SUPPLYING", cp_id="A"),
    ]
    assert count_tickets(totals, tickets, still_open, {"A", "B"}) == Counted(
        started=5, tickets=4, energy_wh=380, amount_minor=36
    )


def test_a_ticket_that_central_counted_and_does_not_show_is_noticed() -> None:
    """Its energy is missing then, which the meters tell."""
    counted = count_tickets(TotalsView(started=2, tickets=2), [ticket("A", 100)], [], {"A"})
    assert (counted.tickets, counted.energy_wh) == (2, 100)


def test_figures_that_agree_are_no_problem() -> None:
    assert GOOD.problems() == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sessions": 11}, "11 sessions"),
        ({"tickets": 7}, "8 sessions started, but there are 7 tickets"),
        ({"energy_wh_tickets": 999}, "the tickets say 999 Wh, the meters 1000 Wh"),
        ({"peak_w": 101}, "took 101 W"),
        ({"started": 10, "tickets": 10}, "only 9 were authorized"),
    ],
)
def test_each_disagreement_is_one_sentence(change: dict[str, int], says: str) -> None:
    problems = msgspec.structs.replace(GOOD, **change).problems()
    assert len(problems) == 1
    assert says in problems[0]


@pytest.mark.parametrize(
    ("states", "still"),
    [
        ([], False),
        (["EXPIRED", "COMPLETED"], False),
        (["EXPIRED", "AUTHORIZED"], True),
        (["SUPPLYING"], True),
        (["PAUSED"], True),
        (["OFFLINE"], True),
    ],
)
def test_a_day_is_over_when_no_ticket_can_come_any_more(states: list[str], still: bool) -> None:
    rows = [SessionView(session_id=f"s{number}", state=state, cp_id="A") for number, state in enumerate(states)]
    assert any_open(rows) is still


def test_the_object_has_the_fields_of_the_issue_in_order() -> None:
    assert list(msgspec.to_builtins(GOOD)) == [
        "sessions",
        "authorized",
        "refused",
        "started",
        "expired",
        "tickets",
        "energy_wh_tickets",
        "energy_wh_meters",
        "amount_minor",
        "peak_w",
        "capacity_w",
        "wall_s",
    ]


def test_what_started_was_authorized_even_when_the_day_was_broken_off() -> None:
    assert authorized_at_least(Asked(), 2) == 2
    assert authorized_at_least(Asked(sessions=5, authorized=4, refused=1), 3) == 4
