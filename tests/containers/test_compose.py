"""The light profile of compose.yaml on a real engine: it comes up, charges, and recovers from what happens to it."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from evcharge.sidecar.services import load_services
from tests.containers.engine import ROOT, Engine, Image
from tests.support.machine import steps
from tests.support.ports import free_port
from tests.support.processes import until
from tests.support.shared import lacking

# The proxy's image, as compose.yaml names it; here it is Debian's nginx under that name.
NGINX = "nginx:1.28.0-alpine"
LOG = "/var/lib/evcharge/central/log"
# Longest time of one command and of one fact, on a busy machine, seconds.
COMMAND_S = 240.0
FACT_S = 90.0
# The sidecar answers a client 120 such questions a minute.
ASK_S = 0.6
# How long an access token is used, seconds: below the 900 s that it lasts, and a slow machine takes longer than those.
TOKEN_S = 600.0
# What `init` may do that nobody else may.
INIT_CAPABILITIES = {"CHOWN", "DAC_READ_SEARCH", "SETGID", "SETUID"}
# Asks for a token with a wrong secret, and says of itself what a proxy would say of it.
CLAIM = """
import http.client, ssl, sys
host, claimed, ca = sys.argv[1:]
context = ssl.create_default_context(cadata=ca)
context.check_hostname = False
connection = http.client.HTTPSConnection(host, 8080, context=context, timeout=20)
connection.request("POST", "/oauth2/token", "grant_type=client_credentials", {
    "Authorization": "Basic bm9ib2R5Om5vdGhpbmc=",
    "Content-Type": "application/x-www-form-urlencoded",
    "X-Forwarded-For": claimed,
})
print(connection.getresponse().status)
"""
CLAIMED = "198.51.100.7"
CONNECT = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def state(host, port):
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError as error:
        return f"shut {error}"
    return "open"

with ThreadPoolExecutor() as pool:
    print(*pool.map(state, sys.argv[1::2], sys.argv[2::2]), sep="\\n")
"""
KILL = """
import os, signal
for pid in (int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"):
    words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0")
    if any(word.endswith(b"/evcharge-central") for word in words):
        os.kill(pid, signal.SIGKILL)
        break
else:
    raise SystemExit("no evcharge-central here")
"""


class Site:
    """A project of docker-compose."""

    def __init__(self, engine: Engine, image: Image) -> None:
        self.engine = engine
        self.project = f"evcharge-test-{os.getpid()}"
        self.port = free_port()
        self.image = image.name
        self._next_s = 0.0
        self._asked_s, self._told = float("-inf"), ""
        self.backup = Path()
        self.environment = {
            **engine.environment,
            "COMPOSE_PROJECT_NAME": self.project,
            "EVCHARGE_IMAGE": image.name,
            "EVCHARGE_PROXY_IMAGE": engine.stand_in(NGINX, ["nginx-light", "curl"]),
            "EVCHARGE_PORT": str(self.port),
            # The test waits for the first answer.
            "EVCHARGE_HEALTH_INTERVAL": "5s",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """``docker-compose WORDS``, not waited for."""
        command = ["docker-compose", "--file", str(ROOT / "compose.yaml"), *words]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def compose(self, *words: str) -> str:
        """Standard output of ``docker-compose WORDS``; any exit code but 0 fails the test."""
        return self.finish(self.start(*words))

    def finish(self, process: subprocess.Popen[str]) -> str:
        """Its standard output, after its end."""
        out, errors = process.communicate(timeout=COMMAND_S)
        assert process.returncode == 0, f"{process.args}: {process.returncode}\n{out[-2000:]}\n{errors[-3000:]}"
        return out

    def audit(self, *words: str) -> str:
        """``evcharge-audit WORDS`` beside the log."""
        return self.compose("exec", "-T", "central", "evcharge-audit", *words)

    def up(self) -> None:
        """As the README says."""
        self.compose("up", "--detach", "--no-build")

    def containers(self) -> dict[str, dict[str, Any]]:
        """By service all that the engine knows of its container."""
        named = self.engine.docker(
            "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}"
        )
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", *named.split())) if named else []
        return {
            one["Config"]["Labels"]["com.docker.compose.service"]: one
            for one in found
            if one["Config"]["Labels"].get("com.docker.compose.oneoff") != "True"
        }

    def sick(self) -> dict[str, str]:
        """Services that are not healthy, with what is known of them; ``init`` has to have ended well."""
        states = {name: one["State"] for name, one in self.containers().items()}
        assert states.pop("init")["ExitCode"] == 0, self.compose("logs", "init")
        return {
            name: f"{state['Status']}, {state.get('Health', {}).get('Status')}: {_last_check(state)}"
            for name, state in states.items()
            if state["Status"] != "running" or state["Health"]["Status"] != "healthy"
        }

    def healthy(self) -> None:
        """Wait until all are, and until every charge point is there: its health does not say that."""
        until(lambda: not self.sick(), lambda: str(self.sick()), FACT_S)
        until(lambda: "DISCONNECTED" not in self.states().values(), lambda: str(self.states()), FACT_S)

    def states(self) -> dict[str, str]:
        """Of every charge point, as Central has it."""
        return {one["cp_id"]: one["state"] for one in self.get("/api/cps")["charge_points"]}

    def requests(self) -> list[dict[str, Any]]:
        """What the sidecar's log says of HTTP requests."""
        lines = self.compose("logs", "--no-color", "sidecar")
        return [json.loads(line.partition("| ")[2]) for line in lines.splitlines() if '"http.request"' in line]

    def get(self, path: str) -> Any:
        """JSON through the proxy, as the site's admin; never more often than one client may ask."""
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        self._next_s = time.monotonic() + ASK_S
        return self._ask(path, {"Authorization": f"Bearer {self._token}"})

    def charge_point(self, cp_id: str) -> str:
        """Its state, as Central has it."""
        state: str = self.get(f"/api/cps/{cp_id}")["state"]
        return state

    def tickets(self) -> dict[str, Any]:
        """By session."""
        return {ticket["session_id"]: ticket for ticket in self.get("/api/tickets?limit=100")["tickets"]}

    @cached_property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.compose("exec", "-T", "proxy", "cat", "/run/evcharge/ca.pem"))

    @property
    def _token(self) -> str:
        if time.monotonic() > self._asked_s + TOKEN_S:
            self._asked_s, self._told = time.monotonic(), self.ask_token()
        return self._told

    def ask_token(self) -> str:
        """A new access token of the site's admin, whose secret is in a volume."""
        account = json.loads(self.compose("run", "--rm", "-T", "account"))
        assert account["token_url"] == "https://localhost:8443/oauth2/token"
        basic = b64encode(f"{account['client_id']}:{account['client_secret']}".encode()).decode()
        said = self._ask("/oauth2/token", {"Authorization": f"Basic {basic}"}, b"grant_type=client_credentials")
        return str(said["access_token"])

    def _ask(self, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        request = urllib.request.Request(f"https://localhost:{self.port}{path}", data=body, headers=headers)
        with opener.open(request, timeout=20) as answer:
            return json.loads(answer.read())


def _last_check(state: dict[str, Any]) -> str:
    log = state.get("Health", {}).get("Log") or [{"Output": "not asked yet"}]
    return str(log[-1]["Output"]).strip()


@pytest.fixture(scope="module")
def up(engine: Engine, image: Image) -> Iterator[Site]:
    if shutil.which("docker-compose") is None:
        lacking("there is no docker-compose: make containers installs it")
    site = Site(engine, image)
    try:
        with engine.timed("compose: up, of nothing"):
            site.up()
        with engine.timed("compose: all healthy after that"):
            site.healthy()
        yield site
    finally:
        subprocess.run(
            ["docker-compose", "--file", str(ROOT / "compose.yaml"), "down", "--volumes", "--timeout", "5"],
            env=site.environment,
            capture_output=True,
            check=False,
        )


@pytest.fixture
def site(up: Site) -> Site:
    """All of it, and well: a test may follow any other one."""
    up.healthy()
    return up


def charge(site: Site, cp_id: str, kwh: str) -> subprocess.Popen[str]:
    """anna charges by hand, from a container of hers, until her ticket. She leaves soon, so no plan lets her wait."""
    asked = ("charge", cp_id, "--energy-kwh", kwh, "--depart", "+5m", "--wait", "--json")
    return site.start("run", "--rm", "-T", "driver", *asked)


def ticket_of(out: str) -> dict[str, Any]:
    said = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return next(line for line in said if line["what"] == "ticket")


def test_a_charge_from_a_drivers_container_to_its_ticket(site: Site) -> None:
    with site.engine.timed("compose: a charge of 0.02 kWh"):
        ticket = ticket_of(site.finish(charge(site, "CP-6", "0.02")))
    assert (ticket["cp_id"], ticket["energy_wh"], ticket["status"]) == ("CP-6", 20, "COMPLETED")
    # The same, by HTTPS through the proxy, whose certificate is verified.
    seen = site.tickets()[ticket["session_id"]]
    assert (seen["ticket_id"], seen["energy_wh"], seen["driver_id"]) == (ticket["ticket_id"], 20, "anna")
    # And in the log, which is whole.
    assert ticket["ticket_id"] in site.compose(
        "exec", "-T", "central", "evcharge-audit", "why", LOG, ticket["session_id"]
    )
    assert "ok" in site.audit("verify", LOG)


def test_the_sidecar_knows_who_asks_behind_the_proxy(site: Site) -> None:
    site.ask_token()
    (network,) = load_services(ROOT / "deploy" / "compose" / "services.toml").proxy.trusted
    asked = [line for line in site.requests() if line["route"] == "token"]
    assert asked
    assert all(ipaddress.ip_address(line["source"]) not in ipaddress.ip_network(network) for line in asked)


def test_nobody_but_the_proxy_is_believed(site: Site) -> None:
    """Whoever else is in that network, as the host always is, says what he likes."""
    front = f"{site.project}_front"
    address = site.containers()["sidecar"]["NetworkSettings"]["Networks"][front]["IPAddress"]
    ca = site.compose("exec", "-T", "proxy", "cat", "/run/evcharge/ca.pem")
    words = ["run", "--rm", "--network", front, site.image, "python", "-c", CLAIM, address, CLAIMED, ca]
    assert site.engine.docker(*words) == "401"
    sources = [line["source"] for line in site.requests()]
    assert CLAIMED not in sources
    assert any(source.startswith(address.rpartition(".")[0]) for source in sources), sources


def test_a_browser_stays_at_its_port(site: Site) -> None:
    connection = http.client.HTTPSConnection("localhost", site.port, context=site.context, timeout=20)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert urljoin(f"https://localhost:{site.port}/", answer.headers["Location"]).startswith(
        f"https://localhost:{site.port}/ui/"
    )
    connection.close()


def test_a_paused_charge_point_is_missed_and_comes_back(site: Site) -> None:
    assert site.charge_point("CP-5") == "ACTIVATED"
    name = site.containers()["cp-5"]["Id"]
    site.engine.docker("pause", name)
    try:
        until(lambda: site.charge_point("CP-5") != "ACTIVATED", "CP-5 is not missed", FACT_S)
    finally:
        site.engine.docker("unpause", name)
    with site.engine.timed("compose: a charge point back after a pause"):
        until(lambda: site.charge_point("CP-5") == "ACTIVATED", lambda: site.charge_point("CP-5"), FACT_S)


@contextmanager
def cut(site: Site, service: str, network: str) -> Iterator[None]:
    """Its container is taken out of a network, and put back under its name."""
    container, name = site.containers()[service]["Id"], f"{site.project}_{network}"
    site.engine.docker("network", "disconnect", name, container)
    try:
        yield
    finally:
        site.engine.docker("network", "connect", "--alias", service, name, container)


def test_a_cut_network_heals(site: Site) -> None:
    with cut(site, "cp-6", "site"):
        until(lambda: site.charge_point("CP-6") != "ACTIVATED", "CP-6 is not missed", FACT_S)
    with site.engine.timed("compose: a charge point back after a cut"):
        until(lambda: site.charge_point("CP-6") == "ACTIVATED", lambda: site.charge_point("CP-6"), FACT_S)
    site.healthy()


def test_central_is_killed_and_the_session_goes_on(site: Site) -> None:
    before = site.containers()["central"]["RestartCount"]
    charging = charge(site, "CP-5", "0.06")
    try:
        until(lambda: site.charge_point("CP-5") == "SUPPLYING", lambda: site.charge_point("CP-5"), FACT_S)
        (session,) = (one for one in site.get("/api/sessions")["sessions"] if one["driver_id"] == "anna")
        # As a crash: the restart policy does not count what `docker kill` does.
        site.engine.attempt("exec", site.containers()["central"]["Id"], "python", "-c", KILL)
        with site.engine.timed("compose: Central back after kill -9"):
            until(lambda: site.containers()["central"]["RestartCount"] > before, "Central is not started again", FACT_S)
            until(lambda: "central" not in site.sick(), lambda: str(site.sick()), FACT_S)
        ticket = ticket_of(site.finish(charging))
    finally:
        charging.kill()
        charging.wait()
    assert ticket["session_id"] == session["session_id"]
    assert (ticket["energy_wh"], ticket["status"]) == (60, "COMPLETED")
    assert site.tickets()[session["session_id"]]["energy_wh"] == 60


def test_everything_is_there_after_down_and_up(site: Site) -> None:
    ticket_of(site.finish(charge(site, "CP-6", "0.01")))
    before = site.tickets()
    with site.engine.timed("compose: stop"):
        site.compose("stop")
    codes = {name: one["State"]["ExitCode"] for name, one in site.containers().items()}
    assert set(codes.values()) == {0}, codes
    site.compose("down")
    assert site.containers() == {}
    with site.engine.timed("compose: up again, all healthy"):
        site.up()
        site.healthy()
    made = json.loads(site.compose("logs", "--no-color", "init").partition("| ")[2])
    assert made["made"] == made["rotated"] == made["renewed"] == made["problems"] == []
    until(lambda: site.tickets().items() >= before.items(), "tickets are missing", FACT_S)
    assert "ok" in site.audit("verify", LOG)


def typed(site: Site, number: int) -> None:
    """Block ``number`` of the manual's "Backup and restore", word for word but for the names of project and image."""
    manual = (ROOT / "docs" / "containers.md").read_text()
    blocks = steps(re.sub(r"(?m)^(## Backup.*)$", r"\1\nOn **A**", manual), "Backup and restore")
    text = blocks[number].commands
    named = {"project=evcharge ": f"project={site.project} ", "    evcharge ": f"    {site.image} "}
    for old, new in named.items():
        assert old in text
        text = text.replace(old, new)
    done = subprocess.run(
        ["bash", "-ec", text.replace("site.tar", str(site.backup))],
        cwd=ROOT,
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=2 * COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_backup_is_private_and_brings_everything_back(site: Site, tmp_path: Path) -> None:
    ticket_of(site.finish(charge(site, "CP-6", "0.01")))
    before, secret = site.tickets(), site.compose("run", "--rm", "-T", "account")
    site.backup = tmp_path / "site.tar"
    with site.engine.timed("compose: backup, stop and start included"):
        typed(site, 0)
    assert stat.S_IMODE(site.backup.stat().st_mode) == 0o600
    with site.engine.timed("compose: everything removed and put back, all healthy"):
        typed(site, 1)
        site.healthy()
    # At its last start, with what was put back.
    made = json.loads(site.compose("logs", "--no-color", "init").splitlines()[-1].partition("| ")[2])
    assert made["made"] == made["rotated"] == made["renewed"] == made["problems"] == []
    assert site.compose("run", "--rm", "-T", "account") == secret
    until(lambda: site.tickets().items() >= before.items(), "tickets are missing", FACT_S)
    assert "ok" in site.audit("verify", LOG)
    ticket_of(site.finish(charge(site, "CP-6", "0.01")))


def test_the_monthly_renewal_goes_on_beside_a_running_site(site: Site) -> None:
    manual = (ROOT / "docs" / "containers.md").read_text()
    (line,) = re.findall(r"^ +(docker-compose run --rm init && .*)$", manual, re.MULTILINE)
    subprocess.run(["bash", "-ec", line], cwd=ROOT, env=site.environment, capture_output=True, timeout=240, check=True)
    site.healthy()


def test_nobody_reaches_what_is_not_his(site: Site) -> None:
    containers = site.containers()

    def address(service: str, network: str) -> str:
        return str(containers[service]["NetworkSettings"]["Networks"][f"{site.project}_{network}"]["IPAddress"])

    def states(service: str, asked: list[tuple[str, str]]) -> list[str]:
        words = [word for pair in asked for word in pair]
        said = site.compose("exec", "-T", service, "python", "-c", CONNECT, *words).splitlines()
        return [line.partition(" ")[0] for line in said]

    elsewhere = [
        (address("sidecar", "back"), "8080"),
        (address("sidecar", "front"), "8080"),
        (address("central", "watch"), "9410"),
    ]
    # Not by name, not by address; and Central's metrics are served on the network for them alone.
    shut = [("sidecar", "8080"), *elsewhere, (address("central", "site"), "9410")]
    assert states("driver-1", [("central", "7411"), *shut]) == ["open", *["shut"] * len(shut)]
    # The same are open to who is there: none of them is a wrong number.
    assert states("sidecar", elsewhere) == ["open"] * len(elsewhere)
    # Not out into the world either: nobody but the proxy is in a network that leads there.
    outside = {
        name
        for name, one in containers.items()
        for network in one["NetworkSettings"]["Networks"]
        if network != "none" and not site.engine.inspect(network)["Internal"]
    }
    assert outside == {"proxy"}
    published = {
        name: [bound["HostIp"] for ports in (one["NetworkSettings"]["Ports"] or {}).values() for bound in ports or []]
        for name, one in containers.items()
    }
    assert {name: where for name, where in published.items() if where} == {"proxy": ["127.0.0.1"]}


def test_nobody_may_more_than_he_needs(site: Site) -> None:
    for name, one in site.containers().items():
        host, user = one["HostConfig"], one["Config"]["User"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"] and host["Memory"] and host["PidsLimit"], name
        if name == "init":
            assert {word.removeprefix("CAP_") for word in host["CapAdd"]} == INIT_CAPABILITIES
        else:
            assert user.partition(":")[0] not in ("", "0", "root") and not host["CapAdd"], name
            keys = [mount for mount in one["Mounts"] if mount["Destination"] == "/run/evcharge"]
            assert keys and not any(mount["RW"] for mount in keys), name


def test_a_second_up_beside_the_running_site_changes_nothing(site: Site) -> None:
    before = {name: one["Id"] for name, one in site.containers().items()}
    site.up()
    after = site.containers()
    assert {name: one["Id"] for name, one in after.items()} == before
    assert after["init"]["State"]["ExitCode"] == 0
