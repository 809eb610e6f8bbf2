"""The files for sites on several machines: what docker-compose and systemd make of them, without starting anything."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.machine import ROOT, steps
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.shared import lacking

MACHINES = ROOT / "deploy" / "machines"
UNITS = ROOT / "deploy" / "systemd"
# What each file has to be told, and nothing else.
TOLD = {
    "central": {},
    "charge-point": {"CENTRAL": "10.0.0.1:7411", "CP_ID": "CP-1"},
    "driver": {"CENTRAL": "10.0.0.1:7411", "DRIVER": "anna"},
}
# Worst mark that a unit may get for what it could reach, of 100: 96 is a unit that says nothing.
EXPOSURE = 20


def compose(name: str, told: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """``docker-compose -f deploy/machines/NAME.yaml WORDS``, with these variables alone."""
    command = shutil.which("docker-compose")
    if command is None:
        lacking("docker-compose is not here: run `make system-deps` as root.")
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [command, "-f", str(MACHINES / f"{name}.yaml"), *words],
        env=kept | told,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@functools.cache
def taken(name: str) -> subprocess.CompletedProcess[str]:
    """What docker-compose makes of a file that is told all it needs."""
    return compose(name, TOLD[name], "config")


@pytest.mark.parametrize("name", TOLD)
def test_compose_takes_the_file_and_says_what_it_lacks(name: str) -> None:
    assert (taken(name).returncode, taken(name).stderr) == (0, "")
    for variable in TOLD[name]:
        lacks = compose(name, {key: value for key, value in TOLD[name].items() if key != variable}, "config", "--quiet")
        assert lacks.returncode != 0
        assert f"{variable}=" in lacks.stderr, "the sentence has an example"


@pytest.mark.parametrize("name", TOLD)
def test_no_container_has_more_than_it_needs(name: str) -> None:
    services: dict[str, Any] = yaml.safe_load(taken(name).stdout)["services"]
    assert services
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert "user" not in service, "the image's own is no root"
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["image"] == "evcharge:latest"
        assert service["pull_policy"] == "never"
        assert service["pids_limit"] > 0
    published = {
        str(port).rpartition(":")[2].removesuffix("/tcp")
        for service in services.values()
        for port in service.get("ports", [])
    }
    assert published == ({"7411", "8443"} if name == "central" else set())
    # Neither of a charge point's two programs sees the other's secret, and nobody sees the registry but the sidecar.
    secrets = [secret["source"] for service in services.values() for secret in service.get("secrets", [])]
    assert len(secrets) == len(set(secrets))
    if name == "central":
        mounted = {who: [str(volume) for volume in services[who]["volumes"]] for who in ("central", "sidecar")}
        assert not any("/registry" in volume or "/authority" in volume for volume in mounted["central"])
        assert not any("/authority" in volume for volume in mounted["sidecar"])


def test_the_plan_is_that_of_the_manual() -> None:
    plan = tomllib.loads((MACHINES / "plan.toml").read_text(encoding="utf-8"))
    typed = "\n".join(
        step.commands
        for step in steps((ROOT / "docs" / "machines.md").read_text(encoding="utf-8"), "With compose files")
    )
    for cp_id in plan["charge_points"]:
        assert f"charge-points/{cp_id}/{cp_id}.cp.json" in typed
    for driver in plan["drivers"]:
        assert f"drivers/{driver}/{driver}.json" in typed
    assert set(re.findall(r"https://([a-z.]+):8443", typed)) <= set(plan["certificates"]["sidecar"]["names"])


def test_each_file_of_the_manual_is_a_project_of_its_own() -> None:
    """On one engine docker-compose takes two of one name for one, and replaces what runs."""
    text = (ROOT / "docs" / "machines.md").read_text(encoding="utf-8").replace("\\\n", " ")
    written = dict(re.findall(r"printf '%s\\n' (\S.*) > ([a-z-]+\.env)", text))
    projects = [dict(word.split("=", 1) for word in words.split())["COMPOSE_PROJECT_NAME"] for words in written]
    assert {f"{name}.env" for name in TOLD} == set(written.values())
    assert len(set(projects)) == len(TOLD)
    assert set(re.findall(r"--env-file (\S+)", text)) == set(written.values())


def test_two_charge_points_of_a_machine_do_not_share_a_folder() -> None:
    def kept(cp_id: str) -> str:
        done = compose("charge-point", {"CENTRAL": "10.0.0.1:7411", "CP_ID": cp_id}, "config")
        (volume,) = yaml.safe_load(done.stdout)["services"]["engine"]["volumes"]
        return str(volume)

    assert kept("CP-1") != kept("CP-2")


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units as they are installed, with the commands of this Python; templates for CP-1."""
    if shutil.which("systemd-analyze") is None:
        lacking("systemd-analyze is not here: run `make system-deps` as root.")
    made = []
    for unit in sorted(UNITS.glob("*.service")):
        text = unit.read_text(encoding="utf-8")
        copy = tmp_path / unit.name.replace("@.", "@CP-1.")
        copy.write_text(text.replace("/opt/evcharge/bin/evcharge-", f"{Path(sys.executable).parent}/evcharge-"))
        if copy.name != unit.name:
            shutil.copy(copy, tmp_path / unit.name)
        made.append(copy)
    assert len(made) == 6
    return made


def test_systemd_takes_the_units(units: list[Path]) -> None:
    words = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
def test_started_is_a_sidecar_that_serves(tmp_path: Path) -> None:
    """The manual registers in the line after `systemctl enable --now`: with one question, and no second try."""
    unit = (UNITS / "evcharge-sidecar.service").read_text(encoding="utf-8")
    (waits,) = re.findall(r"^ExecStartPost=-(.+)$", unit, re.MULTILINE)
    words = shlex.split(waits.replace("/opt/evcharge/bin/evcharge-health", f"{sys.executable} -m evcharge.cli.health"))
    port, metrics = free_port(), free_port()
    (address,) = re.findall(r"^Environment=EVCHARGE_HEALTH=(.+)$", unit, re.MULTILINE)
    asked = {**os.environ, "EVCHARGE_HEALTH": address.replace(":9411/", f":{metrics}/"), "PYTHONPATH": str(ROOT)}
    assert asked["EVCHARGE_HEALTH"] == f"http://127.0.0.1:{metrics}/readyz"
    registry = tmp_path / "registry"
    assert Process("init", "sidecar", ["init", "--data-dir", registry], tmp_path).wait() == 0
    options = ["--data-dir", registry, "--port", port, "--metrics", f"127.0.0.1:{metrics}", "--central", "127.0.0.1:9"]
    sidecar = Process("sidecar", "sidecar", ["run", *options], tmp_path)
    try:
        subprocess.run(words, env=asked, capture_output=True, timeout=90, check=True)
        to = ["--registry", f"http://127.0.0.1:{port}", "--token-file", registry / "operator.token"]
        cp = Process("cp", "cp", ["register", *to, "--id", "CP-1", "--out", tmp_path / "keys"], tmp_path)
        assert cp.wait() == 0, cp.tail()
    finally:
        sidecar.kill()


def test_no_unit_reaches_more_than_it_needs(units: list[Path]) -> None:
    for unit in units:
        words = ["systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE}", str(unit)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{unit.name}: {done.stdout.splitlines()[-1:]}{done.stderr}"
