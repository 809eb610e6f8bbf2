"""compose.yaml and what stands beside it, without an engine: each file is judged by the program that reads it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from evcharge.central.site_file import read_site_file
from evcharge.cp.script import Action, read_script
from evcharge.domain.site import Tariff
from evcharge.driver.scripted import read_points
from evcharge.sidecar.provision.certificates import authority, new_key
from evcharge.sidecar.provision.plan import load_plan
from evcharge.sidecar.provision.site import peers
from evcharge.sidecar.services import load_services
from tests.metrics.support import promtool
from tests.support.shared import lacking

ROOT = Path(__file__).parents[2]
BESIDE = ROOT / "deploy" / "compose"
PROFILES = ("kafka", "observe", "tools")
# Services that run once, or by hand.
ONCE = {"init", "driver", "account"}
COMMAND_S = 60.0


def whole() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def services() -> dict[str, Any]:
    found: dict[str, Any] = whole()["services"]
    return found


def by_default(text: str) -> str:
    """A value of the file where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: dict[str, Any]) -> list[list[str]]:
    return [str(volume).split(":") for volume in service.get("volumes", [])]


@pytest.mark.process
@pytest.mark.parametrize("profiles", [(), PROFILES])
def test_docker_compose_takes_it(profiles: tuple[str, ...]) -> None:
    if shutil.which("docker-compose") is None:
        lacking("there is no docker-compose: make containers installs it")
    words = [word for profile in profiles for word in ("--profile", profile)]
    command = ["docker-compose", "--file", str(ROOT / "compose.yaml"), *words, "config"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    known = services()
    seen = yaml.safe_load(done.stdout)["services"]
    wanted = {name for name, one in known.items() if set(one.get("profiles", [])) <= set(profiles)}
    # 1.29 shows those of all profiles, v2 only those that were asked for.
    assert wanted <= set(seen) <= set(known)


def test_every_image_has_a_tag_of_its_own() -> None:
    for name, one in services().items():
        image = one["image"].partition(":-")[2].removesuffix("}")
        tag = image.partition(":")[2]
        assert tag, name
        if image != "evcharge:latest":
            assert tag[0].isdigit() or tag[0] == "v", (name, image)
        else:
            assert one["pull_policy"] == "never", name


def test_every_service_has_no_more_than_it_needs() -> None:
    for name, one in services().items():
        assert one["read_only"] and one["init"] and one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["mem_limit"] and one["pids_limit"], name
        if name == "account":
            # What it says is a secret, which no log may keep.
            assert one["logging"] == {"driver": "none"}
        else:
            assert one["logging"]["options"]["max-size"], name
        assert one["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert ("disable" in one["healthcheck"]) == (name in ONCE), name
        assert ("cap_add" in one) == (name == "init"), name


def test_only_the_proxy_is_reached_from_outside_and_only_its_network_leads_there() -> None:
    published = {name: one["ports"] for name, one in services().items() if "ports" in one}
    assert published == {"proxy": ["${EVCHARGE_ADDRESS:-127.0.0.1}:${EVCHARGE_PORT:-8443}:8443"]}
    networks = whole()["networks"]
    assert {name for name, one in networks.items() if not one.get("internal")} == {"door"}
    members: dict[str, set[str]] = {name: set() for name in networks}
    for name, one in services().items():
        for network in one.get("networks", []):
            members[network].add(name)
    peers_ = {f"{kind}-{number}" for kind in ("cp", "monitor") for number in range(1, 7)}
    assert members == {
        "site": {"central", "driver", "driver-1", "driver-2", *peers_},
        "back": {"central", "sidecar", "kafka", "events"},
        "watch": {"central", "sidecar", "events", "prometheus"},
        # Grafana is reached from the web, so it reaches nobody but Prometheus.
        "charts": {"prometheus", "grafana"},
        "show": {"proxy", "grafana"},
        "door": {"proxy"},
        "front": {"proxy", "sidecar"},
    }


def test_secrets_are_files_of_who_needs_them() -> None:
    plan = load_plan(BESIDE / "plan.toml")
    handed = {
        source: target.removeprefix("/run/evcharge/")
        for source, target, *_ in mounts(services()["init"])
        if target.startswith("/run/evcharge/")
    }
    made = {peer.folder for peer in peers(plan)} | {"central", "authority", "accounts/admin", "passwords/grafana"}
    assert set(handed.values()) == made | {f"servers/{name}" for name in plan.certificates}
    for name, one in services().items():
        keys = [mount for mount in mounts(one) if mount[0] in handed]
        if name == "init":
            continue
        assert len(keys) == (0 if name in ("kafka", "prometheus") else 1), name
        assert all(mount[1:] == ["/run/evcharge", "ro"] for mount in keys), name
        assert "authority" not in [mount[0] for mount in keys], name
    holders = [mount[0] for name, one in services().items() if name != "init" for mount in mounts(one)]
    for source, folder in handed.items():
        # Engine and monitor of a charge point share its folder.
        assert holders.count(source) == {"charge-points": 2, "authority": 0}.get(folder.partition("/")[0], 1), source
    assert set(whole()["volumes"]) == {
        mount[0] for one in services().values() for mount in mounts(one) if mount[0][0] != "."
    }


def test_every_file_that_is_mounted_is_there() -> None:
    for name, one in services().items():
        for source, *rest in mounts(one):
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, source)
                assert rest[-1] == "ro", (name, source)


def test_what_the_programs_read() -> None:
    plan = load_plan(BESIDE / "plan.toml")
    site = read_site_file(BESIDE / "site.toml")
    config = site.site_config(Tariff())
    assert sorted(config.assignments) == sorted(plan.charge_points) and not list(site.doubts())
    for cp_id in plan.charge_points:
        actions = read_script(BESIDE / "charge-points" / f"{cp_id}.jsonl", Action, {cp_id})
        assert [action.do for action in actions[:3]] == ["plug", "unplug", "plug"]
    for number in (1, 2):
        wishes = read_points(BESIDE / "drivers" / f"driver-{number}.txt")
        assert {wish.cp_id for wish in wishes} <= set(plan.charge_points)
    asked = load_services(BESIDE / "services.toml")
    assert asked.page.url == asked.oauth.issuer == plan.public_url
    # Whom the sidecar believes: the proxy, and neither the host, which is the network's .1, nor itself.
    front = {name: services()[name]["networks"]["front"]["ipv4_address"] for name in ("proxy", "sidecar")}
    assert [*asked.proxy.trusted] == [by_default(front["proxy"]) + "/32"]
    (subnet,) = (by_default(one["subnet"]) for one in whole()["networks"]["front"]["ipam"]["config"])
    addresses = {ip_address(by_default(address)) for address in front.values()}
    assert len(addresses) == 2 and addresses <= {*list(ip_network(subnet).hosts())[1:]}


def test_health_of_a_peer_is_its_own() -> None:
    """Nobody starts a charge point anew because Central is away."""
    asked = {name: one["environment"]["EVCHARGE_HEALTH"] for name, one in services().items() if "cp-" in name}
    assert set(asked.values()) == {"http://127.0.0.1:9413/healthz"} and len(asked) == 6
    for name in ("monitor-1", "driver-1"):
        assert services()[name]["environment"]["EVCHARGE_HEALTH"] in asked.values()
    # Nor the proxy because of whose certificate it has.
    asked_of_proxy = services()["proxy"]["healthcheck"]["test"]
    assert "--insecure" in asked_of_proxy and "--cacert" not in asked_of_proxy


@pytest.mark.process
@pytest.mark.parametrize("name", ["outside", "tls", "postgres"])
def test_the_manuals_own_files_go_on_top(name: str, tmp_path: Path) -> None:
    if shutil.which("docker-compose") is None:
        lacking("there is no docker-compose: make containers installs it")
    text = (ROOT / "docs" / "containers.md").read_text()
    (given,) = re.findall(rf"```yaml\n(# {name}\.yaml: .*?)```", text, re.DOTALL)
    (tmp_path / "over.yaml").write_text(given)
    command = ["docker-compose", "--file", str(ROOT / "compose.yaml"), "--file", str(tmp_path / "over.yaml"), "config"]
    variables = {**os.environ, "EVCHARGE_DATABASE_URL": "postgresql://anna:secret@db.example/registry"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = yaml.safe_load(done.stdout)["services"]
    if name == "postgres":
        assert seen["init"]["network_mode"] == "bridge" and "outside" in seen["sidecar"]["networks"]
        for service in ("init", "sidecar"):
            assert seen[service]["environment"]["EVCHARGE_DATABASE_URL"] == variables["EVCHARGE_DATABASE_URL"]


@pytest.mark.process
def test_nginx_takes_its_settings(tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        lacking("there is no nginx: make system-deps (Debian: apt-get install nginx-light)")
    key = new_key()
    (tmp_path / "tls.key").write_bytes(key)
    for name in ("tls.crt", "ca.pem"):
        (tmp_path / name).write_bytes(authority(key, "a site", datetime.now(UTC)).pem)
    text = (BESIDE / "nginx.conf").read_text().replace("/tmp/", f"{tmp_path}/").replace("/run/evcharge", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(text)
    command = [nginx, "-t", "-q", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    # Of the two ways to say http2 the one that nginx before 1.25 knows, too; later ones take it, and say this.
    known = 'the "listen ... http2" directive is deprecated'
    complaints = [line for line in done.stderr.splitlines() if known not in line]
    assert done.returncode == 0 and not complaints, done.stderr


@pytest.mark.process
def test_prometheus_takes_its_settings(tmp_path: Path) -> None:
    shutil.copy(BESIDE / "prometheus.yml", tmp_path)
    shutil.copytree(ROOT / "deploy" / "prometheus" / "rules", tmp_path / "rules")
    assert "SUCCESS" in promtool("check", "config", tmp_path / "prometheus.yml")
    text = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    usual = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    # The rules and dashboards know the jobs by these names.
    names = [job["job_name"] for job in text["scrape_configs"]]
    assert names[: len(usual["scrape_configs"])] == [job["job_name"] for job in usual["scrape_configs"]]
    for job in text["scrape_configs"]:
        service = job["job_name"].removeprefix("evcharge-")
        ports = {"central": 9410, "sidecar": 9411, "events": 9412}
        assert f"--metrics {service}-watch:{ports[service]}" in services()[service]["command"]
        assert services()[service]["networks"]["watch"] == {"aliases": [f"{service}-watch"]}


def test_grafana_finds_dashboards_and_data() -> None:
    (provider,) = yaml.safe_load((BESIDE / "grafana/dashboards/evcharge.yaml").read_text())["providers"]
    grafana = services()["grafana"]
    assert ["./deploy/grafana/dashboards", provider["options"]["path"], "ro"] in mounts(grafana)
    (source,) = yaml.safe_load((BESIDE / "grafana/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090" and source["isDefault"]
    for dashboard in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"):
        assert json.loads(dashboard.read_text())["title"]
    assert not any("PASSWORD" in name and not name.endswith("__FILE") for name in grafana["environment"])
