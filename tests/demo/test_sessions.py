"""The day: what a sessions file may hold, what is said about a bad one, and the synthetic day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.demo.sessions import (
    HANDOVER_MS,
    Day,
    SessionsError,
    Stay,
    queue_overlaps,
    read_day,
    synthetic_day,
)
from tests.support.shared import real

HEADER = "arrival,departure,delivered_kwh,station_id\n"
GOOD = "2019-05-01 23:30:00-07:00,2019-05-02 06:00:00-07:00,7.25,A1\n"


def write(tmp_path: Path, text: str, name: str = "day.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def no_station_twice_at_once(day: Day) -> bool:
    ends: dict[str, int] = {}
    for stay in day.stays:
        if stay.arrival_ms < ends.get(stay.station_id, 0):
            return False
        ends[stay.station_id] = stay.departure_ms
    return True


def test_one_row_becomes_one_stay_in_utc_milliseconds_and_watt_hours(tmp_path: Path) -> None:
    day = read_day(write(tmp_path, HEADER + GOOD))
    assert day.date == "2019-05-01"
    assert day.utc_offset_s == -7 * 3600
    assert day.stays == (
        Stay(
            station_id="A1",
            arrival_ms=1_556_778_600_000,
            departure_ms=1_556_802_000_000,
            energy_wh=7250,
        ),
    )


def test_columns_come_in_any_order_and_others_are_ignored(tmp_path: Path) -> None:
    text = "extra,station_id,delivered_kwh,departure,arrival\nx,B,1,2020-01-01T02:00:00Z,2020-01-01T00:00:00Z\n"
    day = read_day(write(tmp_path, text))
    assert [(stay.station_id, stay.energy_wh) for stay in day.stays] == [("B", 1000)]


def test_a_byte_order_mark_windows_line_ends_and_empty_lines_are_read(tmp_path: Path) -> None:
    text = "\ufeff" + (HEADER + GOOD + "\n" + GOOD.replace("A1", "A2")).replace("\n", "\r\n")
    assert read_day(write(tmp_path, text)).stations == ("A1", "A2")


def test_the_date_is_the_local_one_as_written_not_that_of_utc(tmp_path: Path) -> None:
    """23:30 at -07:00 is the next day in UTC; it belongs to the day that the file says."""
    path = write(tmp_path, HEADER + GOOD + GOOD.replace("05-01", "05-03").replace("05-02", "05-04"))
    assert read_day(path).date == "2019-05-01"
    assert read_day(path, date(2019, 5, 3)).stays[0].arrival_ms == 1_556_951_400_000


def test_the_default_is_the_date_of_the_first_row_even_when_later_rows_are_earlier(tmp_path: Path) -> None:
    later = GOOD.replace("05-01", "05-03").replace("05-02", "05-04")
    assert read_day(write(tmp_path, HEADER + later + GOOD)).date == "2019-05-03"


def test_a_date_without_sessions_names_the_range_and_the_nearest(tmp_path: Path) -> None:
    later = GOOD.replace("05-01", "05-05").replace("05-02", "05-06")
    path = write(tmp_path, HEADER + GOOD + later)
    with pytest.raises(SessionsError, match=r"on 2019-05-02; it has 2019-05-01 to 2019-05-05") as caught:
        read_day(path, date(2019, 5, 2))
    assert "2019-05-01 and 2019-05-05" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("2019-05-01 08:00:00-07:00,2019-05-01 07:00:00-07:00,1,A", "not after arrival"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 08:00:00-07:00,1,A", "not after arrival"),
        ("yesterday,2019-05-01 07:00:00-07:00,1,A", "arrival 'yesterday' is not an ISO 8601"),
        ("2019-05-01 08:00:00-07:00,,1,A", "departure '' is not an ISO 8601"),
        ("2019-05-01 08:00:00,2019-05-01 09:00:00-07:00,1,A", "has no offset"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,many,A", "'many' is not a number"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,-1,A", "not between 0"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,0,A", "not between 0"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,nan,A", "not between 0"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,4001,A", "not between 0"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,0.0001,A", "less than one watt-hour"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,1,", "station_id"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,1," + "A" * 65, "station_id"),
        ("2019-05-01 08:00:00-07:00,2019-05-01 09:00:00-07:00,1", "3 columns where the header has 4"),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(tmp_path: Path, row: str, says: str) -> None:
    path = write(tmp_path, HEADER + GOOD + row + "\n" + GOOD)
    with pytest.raises(SessionsError, match=says) as caught:
        read_day(path)
    assert str(caught.value).startswith(f"{path}:3: ")


def test_a_bad_row_of_another_day_counts_too(tmp_path: Path) -> None:
    bad = "2020-05-01 08:00:00-07:00,2020-05-01 07:00:00-07:00,1,A\n"
    with pytest.raises(SessionsError, match=":3: "):
        read_day(write(tmp_path, HEADER + GOOD + bad), date(2019, 5, 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (HEADER, "has no sessions"),
        ("arrival,departure,station_id\n", "column delivered_kwh is missing"),
    ],
)
def test_a_file_without_sessions_says_what_is_missing(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SessionsError, match=says):
        read_day(write(tmp_path, text))


def test_a_missing_file_a_folder_and_bytes_are_errors_of_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SessionsError, match="No such file"):
        read_day(tmp_path / "none.csv")
    with pytest.raises(SessionsError, match="directory"):
        read_day(tmp_path)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SessionsError, match="not UTF-8"):
        read_day(binary)
    huge = write(tmp_path, HEADER + '"' + "x" * 200_000 + '"\n', "huge.csv")
    with pytest.raises(SessionsError, match="not CSV"):
        read_day(huge)


def test_more_sessions_than_the_demo_plays_are_refused(tmp_path: Path) -> None:
    text = HEADER + "".join(GOOD.replace("A1", f"S{number}") for number in range(2001))
    with pytest.raises(SessionsError, match="has 2001 sessions"):
        read_day(write(tmp_path, text))


def test_a_car_at_a_taken_bay_waits_and_keeps_the_length_of_its_stay() -> None:
    first = Stay(station_id="A", arrival_ms=0, departure_ms=1000, energy_wh=1)
    second = Stay(station_id="A", arrival_ms=400, departure_ms=900, energy_wh=2)
    elsewhere = Stay(station_id="B", arrival_ms=400, departure_ms=900, energy_wh=3)
    day = queue_overlaps([second, elsewhere, first])
    assert [(stay.energy_wh, stay.arrival_ms, stay.departure_ms, stay.waited_ms) for stay in day] == [
        (1, 0, 1000, 0),
        (3, 400, 900, 0),
        (2, 1000 + HANDOVER_MS, 1500 + HANDOVER_MS, 600 + HANDOVER_MS),
    ]


def test_a_car_that_comes_when_the_other_leaves_does_not_wait() -> None:
    stays = queue_overlaps(
        Stay(station_id="A", arrival_ms=start, departure_ms=start + 10, energy_wh=1) for start in (0, 10)
    )
    assert [stay.waited_ms for stay in stays] == [0, 0]


@given(
    st.lists(
        st.tuples(st.sampled_from("AB"), st.integers(0, 10**7), st.integers(1, 10**7), st.integers(1, 10**5)),
        max_size=12,
    )
)
def test_queued_stays_never_overlap_and_nothing_is_lost(rows: list[tuple[str, int, int, int]]) -> None:
    before = [
        Stay(station_id=station, arrival_ms=start, departure_ms=start + length, energy_wh=energy)
        for station, start, length, energy in rows
    ]
    after = queue_overlaps(before)
    day = Day(date="", utc_offset_s=0, source="", stays=after)
    assert no_station_twice_at_once(day)
    assert day.energy_wh == sum(stay.energy_wh for stay in before)
    undone = [(s.station_id, s.arrival_ms - s.waited_ms, s.departure_ms - s.waited_ms) for s in after]
    assert sorted(undone) == sorted((s.station_id, s.arrival_ms, s.departure_ms) for s in before)


@pytest.mark.parametrize("seed", range(5))
def test_the_synthetic_day_is_a_day(seed: int) -> None:
    day = synthetic_day(seed=seed)
    assert day == synthetic_day(seed=seed)
    assert len(day.stays) == 60
    assert len(day.stations) <= 24
    assert no_station_twice_at_once(day)
    hours = [stay.arrival_ms // 3_600_000 % 24 for stay in day.stays]
    assert sum(7 <= hour <= 9 for hour in hours) >= 10
    assert sum(17 <= hour <= 20 for hour in hours) >= 10
    for stay in day.stays:
        # What the smallest usual outlet could give in that time.
        assert 2000 <= stay.energy_wh <= 7400 * (stay.departure_ms - stay.arrival_ms) / 3_600_000
    assert all(a.arrival_ms <= b.arrival_ms for a, b in zip(day.stays, day.stays[1:], strict=False))


def test_another_seed_is_another_day() -> None:
    assert synthetic_day(seed=1).stays != synthetic_day(seed=2).stays


def test_a_crowded_site_queues_and_says_so() -> None:
    day = synthetic_day(seed=1, charge_points=2, sessions=12)
    assert len(day.stays) == 12
    assert no_station_twice_at_once(day)
    assert day.waited > 0


def test_the_real_day_of_the_readme_has_86_sessions() -> None:
    path = real("sessions/acn_jpl.csv")
    day = read_day(path, date(2019, 5, 3))
    assert (len(day.stays), len(day.stations), day.waited) == (86, 52, 0)
    assert day.energy_wh == 1_157_065
    assert read_day(path).date == "2019-05-01"
