"""The newest reading counts while it is fresh, and nothing else is ever said to be one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.sensors.book import Book
from evcharge.sidecar.sensors.settings import (
    RANGES,
    STALE_S,
    HttpSensor,
    MqttSensor,
    ReadingName,
    SensorsSettings,
    SimulatedSensor,
)

NOW = 1_763_683_200_000


def one(name: ReadingName = "solar_w", **more: Any) -> tuple[Book, str]:
    sensor = HttpSensor(name=name, url="http://127.0.0.1/", **more)
    return Book([sensor]), sensor.key


def look(book: Book, now_ms: int) -> tuple[str, float | None]:
    (reading,) = book.readings(now_ms).values()
    return reading.state, reading.value


def test_nothing_fresh_stale() -> None:
    book, key = one()
    assert look(book, NOW) == ("missing", None)
    book.heard(key, 0.0, None, NOW)
    assert look(book, NOW) == ("fresh", 0.0), "0 W that was measured is a reading"
    assert look(book, NOW + 60_000) == ("fresh", 0.0)
    assert look(book, NOW + 60_001) == ("stale", None), "it is not 0"
    reading = book.readings(NOW + 61_000)[key]
    assert (reading.age_s, reading.measured_ms) == (61.0, NOW)
    assert reading.why == "The newest reading is older than 60 s."


@pytest.mark.parametrize("name", list(RANGES))
def test_each_sensor_has_a_range_and_an_age(name: ReadingName) -> None:
    least, most = RANGES[name]
    for value, state in ((least, "fresh"), (most, "fresh"), (least - 0.1, "missing"), (most * 1.001, "missing")):
        book, key = one(name)
        book.heard(key, value, None, NOW)
        assert look(book, NOW)[0] == state, value
    book, key = one(name)
    book.heard(key, most, None, NOW)
    assert look(book, NOW + int(STALE_S[name] * 1000) + 1)[0] == "stale"


def test_nonsense_takes_away_what_was_heard_before_it() -> None:
    book, key = one()
    book.heard(key, 5_000.0, None, NOW)
    book.heard(key, float("nan"), None, NOW + 1)
    assert look(book, NOW + 1) == ("missing", None)
    book.heard(key, 5_000.0, None, NOW + 2)
    book.bad(key, "It is no number.")
    reading = book.readings(NOW + 2)[key]
    assert (reading.state, reading.value, reading.why) == ("missing", None, "It is no number.")


def test_silence_leaves_what_was_heard_its_time() -> None:
    book, key = one()
    book.heard(key, 5_000.0, None, NOW)
    book.failed(key, "Nobody answers.")
    reading = book.readings(NOW + 60_000)[key]
    assert (reading.state, reading.value, reading.why) == ("fresh", 5_000.0, "Nobody answers.")
    assert look(book, NOW + 60_001) == ("stale", None)
    book.heard(key, 1.0, None, NOW + 70_000)
    assert book.readings(NOW + 70_000)[key].why == ""


def test_scale_offset_and_the_band_around_zero() -> None:
    book, key = one(scale=1_000.0, offset=-10.0, zero_band=5.0)
    for said, value in ((5.0, 4_990.0), (0.015, 0.0), (0.005, 0.0), (0.0151, 5.1)):
        book.heard(key, said, None, NOW)
        state, got = look(book, NOW)
        assert (state, got) == ("fresh", pytest.approx(value))
    book.heard(key, 0.0049, None, NOW)
    assert look(book, NOW)[0] == "missing", "less than nothing by more than the band"


def test_what_was_measured_long_ago_is_stale_when_it_arrives() -> None:
    book, key = one()
    book.heard(key, 1.0, NOW - 61_000, NOW)
    assert look(book, NOW) == ("stale", None)
    assert book.due(NOW, 0.0) == []


def test_what_was_held_up_does_not_replace_what_is_newer() -> None:
    book, key = one()
    book.heard(key, 2.0, NOW - 1_000, NOW)
    book.heard(key, 1.0, NOW - 2_000, NOW)
    assert look(book, NOW) == ("fresh", 2.0)
    book.heard(key, 3.0, NOW - 1_000, NOW)
    assert look(book, NOW) == ("fresh", 3.0), "the newer word about the same instant"
    book.heard(key, 1.0, NOW + 30_000, NOW + 61_000)
    assert look(book, NOW + 61_000) == ("fresh", 1.0)


def test_a_clock_that_is_ahead() -> None:
    book, key = one()
    book.heard(key, 1.0, NOW + 60_000, NOW)
    assert book.readings(NOW)[key].measured_ms == NOW, "by a minute: it means now"
    book.heard(key, 1.0, NOW + 60_001, NOW)
    assert look(book, NOW)[0] == "missing", "by more: nobody knows how old it is"


def test_central_hears_each_reading_once_and_each_sensor_once_a_second() -> None:
    book, key = one()
    book.heard(key, 1.0, None, NOW)
    (due,) = book.due(NOW, 0.0)
    assert (due.key, due.value, due.measured_ms) == (key, 1.0, NOW)
    assert book.due(NOW, 0.0) == [due], "it was not told yet"
    book.told(due, 0.0)
    for step in range(1, 6):
        book.heard(key, 1.0 + step, None, NOW + step * 100)
    assert book.due(NOW + 500, 0.999) == []
    (due,) = book.due(NOW + 500, 1.0)
    assert due.value == 6.0, "the newest, of all that came meanwhile"
    book.told(due, 1.0)
    assert book.due(NOW + 5_000, 5.0) == []
    book.forgotten()
    assert [one.value for one in book.due(NOW + 5_000, 5.0)] == [6.0]


def test_readings_by_name_and_node() -> None:
    sensors = [
        SimulatedSensor(name="base_w"),
        SimulatedSensor(name="base_w", substation_id="north"),
        MqttSensor(name="grid_percent", topic="grid", broker={"host": "h"}),  # type: ignore[arg-type]
    ]
    readings = Book(sensors).readings(NOW)
    assert list(readings) == ["base_w", "base_w of north", "grid_percent"]
    assert [(one.source, one.simulated) for one in readings.values()] == [
        ("simulator", True),
        ("simulator", True),
        ("mqtt", False),
    ]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["heard", "bad", "failed", "tell", "lose", "forget"]),
        st.floats() | st.floats(-10, 300),
        st.none() | st.integers(-200_000, 200_000),
        st.floats(0, 30),
    ),
    max_size=40,
)


@given(EVENTS)
def test_whatever_happens(events: list[tuple[str, float, int | None, float]]) -> None:
    """Never a reading that is old, out of range or not a number; never two messages within a second."""
    book, key = one("grid_percent")
    elapsed, last_told = 0.0, -10.0
    newest: float | None = None
    for what, value, ago_ms, wait in events:
        elapsed += wait
        now_ms = NOW + int(elapsed * 1000)
        if what == "heard":
            book.heard(key, value, None if ago_ms is None else now_ms - ago_ms, now_ms)
            newest = value
        elif what == "bad":
            book.bad(key, "x")
        elif what == "failed":
            book.failed(key, "x")
        elif what == "forget":
            book.forgotten()
        reading = book.readings(now_ms)[key]
        assert (reading.value is not None) == (reading.state == "fresh")
        if reading.value is not None:
            assert 0 <= reading.value <= 200
            assert reading.age_s is not None
            assert reading.age_s <= 10
        for due in book.due(now_ms, elapsed):
            assert reading.value == due.value
            assert now_ms - 10_000 <= due.measured_ms <= now_ms
            assert elapsed - last_told >= 1.0
            if what == "heard" and ago_ms is None:
                assert due.value == newest
            if what == "tell":
                book.told(due, elapsed)
                last_told = elapsed


BROKER = '{host = "127.0.0.1"}'


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('name = "base_w"', "source"),
        ('source = "modbus"\nname = "base_w"', "modbus"),
        ('source = "simulator"\nname = "sun"', "sun"),
        ('source = "simulator"\nname = "solar_w"\nsubstation_id = "x"', "substation_id"),
        ('source = "simulator"\nname = "solar_w"\nurl = "http://x"', "url"),
        ('source = "http"\nname = "solar_w"', "url"),
        ('source = "http"\nname = "solar_w"\nurl = "x"', "url"),
        ('source = "http"\nname = "solar_w"\nurl = "http://u:p@10.0.0.1/"', "url"),
        ('source = "http"\nname = "solar_w"\nurl = "http://10.0.0.1"\nheader = "X-Key"\nsecret_env = "K"', "url"),
        ('source = "http"\nname = "solar_w"\nurl = "https://10.0.0.1"\nheader = "X-Key"', "secret_env"),
        ('source = "http"\nname = "solar_w"\nurl = "http://10.0.0.1"\npointer = "p"', "pointer"),
        ('source = "http"\nname = "solar_w"\nurl = "http://10.0.0.1"\ntime_pointer = "/t"', "time_pointer"),
        ('source = "http"\nname = "solar_w"\nurl = "http://10.0.0.1"\nevery_s = 0', "every_s"),
        (f'source = "mqtt"\nname = "solar_w"\ntopic = "a/+"\nbroker = {BROKER}', "topic"),
        (f'source = "mqtt"\nname = "solar_w"\ntopic = "#"\nbroker = {BROKER}', "topic"),
        (
            'source = "mqtt"\nname = "solar_w"\ntopic = "a"\n'
            'broker = {host = "10.0.0.1", username = "u", password_env = "P"}',
            "password_env",
        ),
        ('source = "mqtt"\nname = "solar_w"\ntopic = "a"\nbroker = {host = "h", password_env = "P"}', "username"),
        ('source = "mqtt"\nname = "solar_w"\ntopic = "a"\nbroker = {host = "h", ca_file = "P"}', "ca_file"),
        ('source = "simulator"\nname = "solar_w"\n[[sensors]]\nsource = "simulator"\nname = "solar_w"', "two for"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(text: str, wrong: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=wrong):
        msgspec.toml.decode(f"[[sensors]]\n{text}", type=SensorsSettings)


def test_settings_of_each_kind() -> None:
    text = """
[[sensors]]
source = "simulator"
name = "grid_percent"
[[sensors]]
source = "http"
name = "solar_w"
url = "https://example.org/status"
pointer = "/solar/kw"
scale = 1000
oauth = {token_url = "https://example.org/token", client_id = "me", secret_env = "SOLAR_SECRET"}
[[sensors]]
source = "mqtt"
name = "base_w"
substation_id = "north"
topic = "meters/north"
broker = {host = "broker.local", tls = true, username = "me", password_env = "MQTT_PASSWORD"}
"""
    settings = msgspec.toml.decode(text, type=SensorsSettings)
    kinds = [type(sensor) for sensor in settings.sensors]
    assert kinds == [SimulatedSensor, HttpSensor, MqttSensor]
    assert isinstance(settings.sensors[2], MqttSensor)
    assert settings.sensors[2].broker.address == ("broker.local", 8883)
