"""A real Prometheus scrapes a real site: every rule is loaded, and every picture of the dashboards shows something.

Central with two substations, a price that changes and a plan, a charge point with its monitor, drivers that get and do
not get what they want, and a sidecar with sensors and weather.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.support import PROMETHEUS, get, of_the_system
from tests.support.ports import free_port
from tests.support.processes import Timeline, until
from tests.support.site import CP, OTHER_DRIVER, Loopback, Site
from tools import dashboards

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

# What a rate is taken over, instead of Grafana's $__rate_interval: longer than any run of these tests, because some
# things happen once, as a plan does, which stands for minutes when nothing changes.
WINDOW = "1h"
# What needs parts that this site does not have: followers of the log and a history. A part that comes takes its name
# away from here.
SITE = """
[site]
capacity_kw = 60

[substations.north]
capacity_kw = 22
charge_points = ["CP-1"]

[substations.south]
capacity_kw = 22
charge_points = ["CP-2"]

[energy]
price_per_kwh = 0.10
periods = [{ from = "06:00", until = "18:00", price_per_kwh = 0.40 }]
"""
SERVICES = """
[weather]
provider = "simulated"
poll_s = 1
places = [{ city = "Berlin" }]

[[sensors]]
source = "simulator"
name = "solar_w"
"""


class Prometheus:
    """One on a free port, with the site's own configuration but for addresses and pace."""

    def __init__(self, directory: Path, targets: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
        for was, now in targets.items():
            assert was in text
            text = text.replace(was, now)
        for was, now in (("15s", "1s"), ("10s", "1s"), ("rules/*.yml", f"{PROMETHEUS}/rules/*.yml")):
            text = text.replace(was, now)
        config = directory / "prometheus.yml"
        config.write_text(text)
        self.log = directory / "prometheus.log"
        words = [f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}"]
        words.append(f"--web.listen-address={self.url.removeprefix('http://')}")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([of_the_system("prometheus"), *words], stdout=log, stderr=log)

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer; None while it does not answer."""
        try:
            found = json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"))
        except urllib.error.URLError:
            return None
        return found["data"]

    def values(self, expr: str) -> list[float]:
        """The values of an expression now; those that are no numbers are none."""
        data = self.ask("query", query=expr)
        found = [] if data is None else [float(row["value"][1]) for row in data["result"]]
        return [value for value in found if not math.isnan(value)]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, made_registry: Path) -> Iterator[Prometheus]:
    """Prometheus, with the site running behind it."""
    of_the_system("prometheus")
    directory = tmp_path_factory.mktemp("watched")
    (directory / "site.toml").write_text(SITE)
    (directory / "services.toml").write_text(SERVICES)
    with Site(directory, Loopback(), made_registry, Timeline("a site that Prometheus watches")) as site:
        site.start_sidecar()
        site.central = site.start_central("--site", directory / "site.toml", "--metrics", "127.0.0.1:0")
        # Once more, now that it is known where Central is.
        assert site.processes[0].stop() == 0
        services = ["--services", directory / "services.toml"]
        site.sidecar = site.start_sidecar(None, "--metrics", "127.0.0.1:0", *services)
        site.cp, site.monitor = site.start_cp(), site.start_monitor()
        site.free()
        targets = {"127.0.0.1:9410": site.central.ready()["metrics"], "127.0.0.1:9411": site.sidecar.ready()["metrics"]}
        prometheus = Prometheus(directory, targets)
        try:
            until(lambda: prometheus.values("up") == [1, 1], lambda: prometheus.log.read_text()[-2_000:])
            site.charge()
            refused = site.driver("charge", CP, name=OTHER_DRIVER)
            assert refused.wait() == 1, refused.tail()
            for path in ("health", "no-such-path"):
                until(lambda path=path: _answered(f"http://127.0.0.1:{site.sidecar_port}/{path}"))
            site.timeline.say("there is something to see")
            yield prometheus
        finally:
            prometheus.stop()


def _answered(url: str) -> bool:
    try:
        get(url)
    except urllib.error.HTTPError:
        return True
    return True


def panels() -> Iterator[Any]:
    """Every expression of every dashboard."""
    for name in sorted(dashboards.DASHBOARDS):
        for panel in json.loads((dashboards.FOLDER / name).read_bytes())["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"].replace("$__rate_interval", WINDOW).replace("$substation", "north")
                yield pytest.param(expr, id=f"{name}: {panel['title']} {target['refId']}")


@pytest.mark.parametrize("expr", list(panels()))
def test_a_picture_has_something_to_show(watched: Prometheus, expr: str) -> None:
    until(lambda: watched.values(expr), lambda: f"nothing for {expr}")


def test_the_rules_are_loaded_and_work(watched: Prometheus) -> None:
    data = watched.ask("rules")
    rules = {rule["name"]: rule for group in data["groups"] for rule in group["rules"]}
    assert len(rules) == sum(path.read_text().count("- alert:") for path in (PROMETHEUS / "rules").glob("*.yml"))

    def judged() -> bool:
        groups = watched.ask("rules")["groups"]
        return all(rule["health"] == "ok" for group in groups for rule in group["rules"])

    until(judged, lambda: str(watched.ask("rules"))[:2_000])


def test_nothing_is_wrong_with_a_site_that_is_well(watched: Prometheus) -> None:
    until(lambda: watched.values("evcharge_plan_age_seconds"), "no plan")
    alerts = {alert["labels"]["alertname"] for alert in watched.ask("alerts")["alerts"] if alert["state"] == "firing"}
    assert alerts == set()
