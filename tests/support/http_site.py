"""A whole site of real processes with its HTTP side, and clients that ask it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from evcharge.sidecar.web.scopes import ROLES
from tests.support.processes import until
from tests.support.site import SECOND_CP, Site

# A client that tries everything is no load that has to be kept off.
SERVICES = """
failed_authentications = 1000000
[throttle]
authority = 1000000
gateway = 1000000
login = 1000000
open = 1000000
registry = 1000000
site = 1000000
token = 1000000
verify = 1000000
"""
SERVICES_FILE = "services.toml"
# Driver that the client apps with role driver charge for.
APP_DRIVER = "app-driver"
# Every kind of client that there is: without a token, each role's, the operator's and Central's own.
KINDS = ("nobody", *sorted(ROLES), "operator token", "central")


def command(registry: Path, *words: str) -> str:
    """What ``evcharge-sidecar WORDS`` prints."""
    arguments = [*words, "--data-dir", str(registry)]
    done = subprocess.run(
        [sys.executable, "-m", "evcharge.cli.sidecar", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def add_client(registry: Path, name: str, *options: str) -> dict[str, str]:
    """A new client app, whether the sidecar runs or not: its id, secret and token URL."""
    made: dict[str, str] = json.loads(command(registry, "client", "add", name, *options))
    return made


class HttpSite:
    """Where its HTTP side is, and a token for each kind of client."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.url = f"http://127.0.0.1:{site.sidecar_port}"
        self._tokens: dict[str, str] = {}

    def start_sidecar(self) -> None:
        """Anew, after its end, with the services that it had."""
        self.site.sidecar = self.site.start_sidecar(None, "--services", self.site.directory / SERVICES_FILE)

    def get(self, path: str, kind: str = "nobody") -> dict[str, Any]:
        """What is answered, a problem too."""
        token = self.token(kind)
        request = Request(self.url + path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
        try:
            with urlopen(request) as answer:
                found: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            found = json.load(error)
        return found

    def client(self, name: str, *options: str) -> dict[str, str]:
        """A new client app: its id, secret and token URL."""
        return add_client(self.folder, name, *options)

    def token(self, kind: str) -> str | None:
        """A token of this kind of client; None for nobody."""
        if kind == "nobody":
            return None
        if kind == "operator token":
            return (self.folder / "operator.token").read_text().strip()
        if kind == "central":
            text = (self.folder / "central.json").read_text()
            return str(json.loads(text)["registry"]["service_token"])
        if kind not in self._tokens:
            more = ["--driver", APP_DRIVER] if kind == "driver" else []
            self.client(f"app-{kind}", "--role", kind, *more)
            self._tokens[kind] = command(self.folder, "client", "token", f"app-{kind}", "--life-s", "86400")
        return self._tokens[kind]


def open_http(site: Site, folder: Path) -> HttpSite:
    """Start everything: registry, Central, two charge points, and a sidecar that is connected."""
    (folder / SERVICES_FILE).write_text(SERVICES)
    site.start()
    assert site.sidecar.stop() == 0
    made = HttpSite(site, site.registry)
    made.start_sidecar()
    # The first charge point has a vehicle; this one is free for whoever asks where to charge.
    site.start_cp(SECOND_CP, plugged=False)
    until(lambda: made.get("/health")["central"] == "connected", site.sidecar.tail)
    free = f"/api/cps/{SECOND_CP}"
    until(lambda: made.get(free, "operator token").get("state") == "ACTIVATED", site.sidecar.tail)
    return made
