"""Scripts: read whole or refused with file and line; carried out in order of site time."""

from __future__ import annotations

from pathlib import Path

import pytest

from evcharge.cp.script import Action, MonitorAction, Schedule, ScriptError, read_script
from evcharge.cp.vehicle import VehicleSpec


def script(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "day.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_a_script_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        "# a day",
        "",
        '{"at_ms": 5, "cp_id": "A", "do": "plug", "vehicle": {"need_wh": 7, "max_w": 11000}, "connector": 2}',
        '{"after_s": 1.5, "cp_id": "A", "do": "fail"}',
    )
    assert read_script(path, Action, {"A"}, 2) == [
        Action(cp_id="A", do="plug", at_ms=5, connector=2, vehicle=VehicleSpec(need_wh=7, max_w=11_000)),
        Action(cp_id="A", do="fail", after_s=1.5, code="simulated_fault"),
    ]


def test_a_monitor_has_a_script_of_its_own(tmp_path: Path) -> None:
    path = script(tmp_path, '{"after_s": 0, "cp_id": "A", "do": "fault", "code": "hot"}')
    assert read_script(path, MonitorAction, {"A"}) == [MonitorAction(cp_id="A", do="fault", after_s=0, code="hot")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "truncated"),
        ("[]", "array"),
        ('{"cp_id": "A", "do": "plug"}', "either at_ms or after_s"),
        ('{"cp_id": "A", "do": "plug", "at_ms": 1, "after_s": 1}', "either at_ms or after_s"),
        ('{"cp_id": "B", "do": "plug", "at_ms": 1}', "'B' is not hosted here"),
        ('{"cp_id": "A", "do": "dance", "at_ms": 1}', "dance"),
        ('{"cp_id": "A", "do": "plug", "at_ms": -1}', ">= 0"),
        ('{"cp_id": "A", "do": "plug", "at_ms": 1, "when": 2}', "when"),
        ('{"cp_id": "A", "do": "plug", "at_ms": 1, "vehicle": {"need_kwh": 2}}', "need_kwh"),
        ('{"cp_id": "A", "do": "plug", "at_ms": 1, "vehicle": {"need_wh": 0}}', ">= 1"),
        ('{"cp_id": "A", "do": "plug", "at_ms": 1, "connector": 3}', "connector 3 is none of 1 to 2"),
        ('{"cp_id": "A", "do": "unplug", "at_ms": 1, "connector": 0}', "connector 0 is none of 1 to 2"),
        ('{"cp_id": "A", "do": "fail", "at_ms": 1, "code": "' + "x" * 5000 + '"}', "longer than 4096"),
        ("\xff", "malformed"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    good = '{"cp_id": "A", "do": "plug", "at_ms": 1}'
    path = tmp_path / "day.jsonl"
    path.write_bytes(f"{good}\n{line}\n{good}".encode("latin-1"))
    with pytest.raises(ScriptError) as caught:
        read_script(path, Action, {"A"}, 2)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"cannot read .*: No such file"):
        read_script(tmp_path / "none", Action, {"A"})


def test_actions_come_in_order_of_site_time_and_equal_instants_in_order_of_the_file() -> None:
    actions = [
        Action(cp_id="late", do="plug", at_ms=3_000),
        Action(cp_id="first", do="unplug", after_s=0.5),
        Action(cp_id="second", do="plug", at_ms=1_500),
    ]
    schedule = Schedule(actions, start_ms=1_000)
    assert list(schedule.due(1_499)) == []
    assert [(at_ms, action.cp_id) for at_ms, action in schedule.due(2_999)] == [(1_500, "first"), (1_500, "second")]
    assert len(schedule) == 1
    assert [action.cp_id for _, action in schedule.due(3_000)] == ["late"]
