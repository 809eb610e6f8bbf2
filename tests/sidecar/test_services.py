"""The settings file: what the manual shows is taken, and every mistake is one sentence with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evcharge.sidecar.routes import ROUTES
from evcharge.sidecar.services import BadServices, Services, limited, load_services

MANUAL = Path(__file__).parents[2] / "docs" / "http.md"


def load(tmp_path: Path, text: str) -> Services:
    file = tmp_path / "services.toml"
    file.write_text(text)
    return load_services(file)


def test_the_manual_s_example_is_taken_as_it_stands(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    assert example is not None
    services = load(tmp_path, example[1])
    assert services.throttle == {"gateway": 60}
    assert services.oauth.external is not None
    assert [place.name for place in services.weather.places] == ["Berlin", "52.5, 13.4"]
    assert [sensor.key for sensor in services.sensors] == ["solar_w", "base_w of north"]
    by_name = {route.name: route.limit.requests for route in limited(ROUTES, services.throttle)}
    assert (by_name["recommend"], by_name["list_audit"]) == (60, 120)


def test_nothing_is_enough(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Services()


def test_the_manual_names_every_limit() -> None:
    line = next(line for line in MANUAL.read_text().splitlines() if line.startswith("[throttle]"))
    said = dict(re.findall(r"(\w+) (\d+)", line.partition("minute:")[2]))
    assert said == {route.limit.name: str(route.limit.requests) for route in ROUTES}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "is not TOML"),
        ("\x00", "is not TOML"),
        ("wether = {}", "unknown field wether"),
        ("[oauth]\nissuer = 3", "oauth.issuer"),
        ("[oauth]\ntoken_life_s = 1", "oauth.token_life_s"),
        ('[oauth]\nexternal = { issuer = "x", audience = "y", jwks_url = "file:///etc/passwd" }', "jwks_url"),
        ("[throttle]\ngateway = 0", "throttle"),
        ("[weather]\nplaces = [ {} ]", "city is missing"),
        ('[[sensors]]\nname = "solar_w"\nsource = "psychic"', "sensors"),
        ('[[sensors]]\nname = "solar_w"\nsource = "simulator"\n' * 2, "sensors has two for solar_w"),
        ('[outgoing]\nallow_networks = ["10.0.0.0/33"]', "10.0.0.0/33"),
        ("[authority]\nretries = true", "authority.retries"),
        ("[page]\nsession_life_s = 10", "page.session_life_s"),
        ('[page]\nurl = "https://user@site.example"', "page.url"),
        ('[oauth]\naudience = "evcharge-page"', "that of the page's sessions"),
    ],
)
def test_a_mistake_is_a_sentence_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadServices, match=re.escape(says)) as caught:
        load(tmp_path, text)
    assert str(caught.value).endswith(".")
    assert "services.toml" in str(caught.value)


def test_a_limit_that_no_route_has_is_refused() -> None:
    with pytest.raises(BadServices, match="no limit 'gatway'"):
        limited(ROUTES, {"gatway": 5})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadServices, match="Cannot read"):
        load_services(tmp_path / "none.toml")
