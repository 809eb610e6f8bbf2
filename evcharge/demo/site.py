"""The demo's site: a registry, Central, charge points, monitors and drivers as processes of this machine.

It is set up the way a person would do it by hand (SPEC §2): ``evcharge-sidecar init``, ``run``, one registration
per peer over HTTP, ``evcharge-central`` from the file that init wrote, then everybody else. All listen on
loopback only. Everything is kept in one directory::

    registry/            the sidecar's database, keys and tokens
    central/             Central's log
    credentials/         one folder per process, one file per peer, 0600
    charge-points-N/     meters and outboxes;  script-N.jsonl, trace-N.jsonl beside it
    drivers-N.jsonl      what the drivers ask for
    site.toml            prices and surroundings, if the demo has any
    services.toml        where the history's days begin
    page-account.json    name and secret for the page
    logs/                stderr of every process
    clock.json           the site clock that all of them follow
    demo.json            how to join: addresses and spare credentials
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from evcharge.demo.processes import Child, Crew
from evcharge.demo.scenario import (
    SPARE_CHARGE_POINT,
    SPARE_DRIVER,
    DriverSession,
    Scenario,
    deal,
    json_lines,
)
from evcharge.net.ports import held_port
from evcharge.net.registry_client import RegistryCallFailed, register

HOST = "127.0.0.1"
# Registrations under way at once: the registry's database takes one writer at a time.
REGISTRATIONS = 4
# The operators' credentials (role gateway): one for this demo's own table, one for whoever joins.
WATCHER = "demo-watch"
OPERATOR = "demo-operator"
# Who logs in to the page: an account that may do everything there, on a site that is one's own.
PAGE_USER = "demo"


class SiteFailed(Exception):
    """The site cannot be set up; the sentence says why and what to do."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How the site is made up. Ports: 0 is any free one."""

    capacity_kw: float
    port: int = 0
    sidecar_port: int = 0
    processes: int = 2
    """Of each kind: charge points, monitors, drivers."""
    price_per_kwh: float = 0.30
    currency: str = "EUR"
    policy: str = "plan"
    time_zone: str = "UTC"
    """Where days begin and end."""
    site_toml: str = ""
    """The site file; empty: none, the capacity says it all."""


class Site:
    """Sets up and takes down everything that runs beside the demo itself."""

    def __init__(self, crew: Crew, directory: Path, scenario: Scenario, options: Options) -> None:
        self._crew = crew
        self._scenario = scenario
        self._options = options
        self.directory = directory
        self.clock_file = directory / "clock.json"
        self.port = 0
        self.sidecar_url = ""
        self.log_folder = ""
        self.charge_points: list[Child] = []
        self.monitors: list[Child] = []
        self.drivers: list[Child] = []
        self._sidecar: Child | None = None
        self._central: Child | None = None

    @property
    def traces(self) -> list[Path]:
        """The files in which the charge-point processes trace their true power."""
        hands = self._hands(self._scenario.charge_points)
        return [self.directory / f"trace-{number}.jsonl" for number in range(1, len(hands) + 1)]

    def credential(self, name: str) -> Path:
        """Where the credential of a spare peer or an operator is."""
        return self.directory / "credentials" / f"{name}.json"

    async def open(self) -> None:
        """Start everything, in order. Raises ChildFailed or SiteFailed."""
        # Each has to know the other's address before that one listens, seconds later.
        with _held(self._options.port) as self.port, _held(self._options.sidecar_port) as sidecar_port:
            self.sidecar_url = f"http://{HOST}:{sidecar_port}"
            await self._open_registry(sidecar_port)
            await self._open_central()
        await self._open_charge_points()
        await self._open_drivers()

    async def _open_central(self) -> None:
        site_file = self.directory / "site.toml"
        if self._options.site_toml:
            site_file.write_text(self._options.site_toml, encoding="utf-8")
        self._central = await self._spawn(
            "central",
            "central",
            [
                *("--credentials", str(self.directory / "registry" / "central.json")),
                *("--data-dir", str(self.directory / "central")),
                *("--host", HOST),
                *("--port", str(self.port)),
                *("--registry", self.sidecar_url),
                *(
                    ("--site", str(site_file))
                    if self._options.site_toml
                    else ("--capacity-kw", f"{self._options.capacity_kw:g}")
                ),
                *("--policy", self._options.policy),
                *("--price-per-kwh", f"{self._options.price_per_kwh:g}"),
                *("--currency", self._options.currency),
                # At the end all peers have left before Central is told to stop: nobody is to hear of a drain.
                *("--drain-s", "0"),
                *("--clock", str(self.clock_file)),
                *("--metrics", f"{HOST}:0"),
            ],
        )
        await self._central.wait_ready()
        self.log_folder = str(self._central.ready["log"])

    async def close(self) -> None:
        """Stop everything in order: each part may still hand its last words to the next."""
        await self.close_peers()
        for child in (self._sidecar, self._central):
            if child is not None:
                await child.stop()

    async def close_peers(self) -> None:
        """Stop drivers, then charge points, then monitors; Central goes on."""
        for children in (self.drivers, self.charge_points, self.monitors):
            await asyncio.gather(*(child.stop() for child in children))

    @property
    def page_url(self) -> str:
        """Where browsers find the page."""
        return f"{self.sidecar_url}/ui/"

    @property
    def page_secret(self) -> Path:
        """Where the secret of the page's account is."""
        return self.directory / "page-account.json"

    def page_password(self) -> str:
        """The secret itself: this site is the viewer's own, and ends with the demo."""
        return str(msgspec.json.decode(self.page_secret.read_bytes())["client_secret"])

    def join_file(self) -> dict[str, object]:
        """What demo.json says."""
        return {
            "central": {"host": HOST, "port": self.port},
            "sidecar": self.sidecar_url,
            "log": self.log_folder,
            "metrics": {
                child.name: f"http://{child.ready['metrics']}/metrics"
                for child in (self._central, self._sidecar)
                if child is not None
            },
            "credentials": {
                "operator": str(self.credential(OPERATOR)),
                "charge_point": str(self.credential(SPARE_CHARGE_POINT)),
                "driver": str(self.credential(SPARE_DRIVER)),
            },
            "page": {"url": self.page_url, "client_id": PAGE_USER, "secret_file": str(self.page_secret)},
            "operator_token": str(self.directory / "registry" / "operator.token"),
        }

    async def _open_registry(self, port: int) -> None:
        registry = str(self.directory / "registry")
        services = self.directory / "services.toml"
        services.write_text(f'[history]\ntime_zone = "{self._options.time_zone}"\n', encoding="utf-8")
        await self._crew.run(
            "sidecar-init",
            "evcharge.cli.sidecar",
            ["init", "--data-dir", registry, "--url", self.sidecar_url],
        )
        self._sidecar = await self._spawn(
            "sidecar",
            "sidecar",
            [
                "run",
                *("--data-dir", registry),
                *("--host", HOST),
                *("--port", str(port)),
                *("--central", f"{HOST}:{self.port}"),
                *("--metrics", f"{HOST}:0"),
                *("--clock", str(self.clock_file)),
                *("--services", str(services)),
            ],
        )
        await self._sidecar.wait_ready()
        await self._crew.run(
            "page-account",
            "evcharge.cli.sidecar",
            [
                *("client", "add", PAGE_USER, "--role", "admin", "--about", "whoever looks at the demo's page"),
                *("--data-dir", registry, "--secret-file", str(self.page_secret)),
            ],
        )
        token = (self.directory / "registry" / "operator.token").read_text(encoding="ascii").strip()
        wanted = [
            ("gateway", WATCHER, self.credential(WATCHER)),
            ("gateway", OPERATOR, self.credential(OPERATOR)),
            ("cp", SPARE_CHARGE_POINT, self.credential(SPARE_CHARGE_POINT)),
            ("driver", SPARE_DRIVER, self.credential(SPARE_DRIVER)),
        ]
        for role, folder, hands in (
            ("cp", "charge-points", self._hands(self._scenario.charge_points)),
            ("monitor", "monitors", self._hands(self._scenario.charge_points)),
            ("driver", "drivers", self._hands(self._scenario.drivers)),
        ):
            for number, names in enumerate(hands, start=1):
                place = self._credentials(folder, number)
                wanted += [(role, name, place / f"{name}.json") for name in names]
        await self._register(token, wanted)

    async def _register(self, token: str, wanted: Sequence[tuple[str, str, Path]]) -> None:
        turnstile = asyncio.Semaphore(REGISTRATIONS)

        async def one(role: str, entity: str, file: Path) -> None:
            async with turnstile:
                answer = await register(self.sidecar_url, token, role, entity)
            _keep_secret(file, answer)

        try:
            await _all(one(role, entity, file) for role, entity, file in wanted)
        except RegistryCallFailed as error:
            raise SiteFailed(f"a registration failed: {error.sentence}") from error
        except OSError as error:
            raise SiteFailed(f"cannot write a credential: {error.strerror}.") from error

    async def _open_charge_points(self) -> None:
        hands = self._hands(self._scenario.charge_points)
        for number, (names, trace) in enumerate(zip(hands, self.traces, strict=True), start=1):
            script = self.directory / f"script-{number}.jsonl"
            script.write_bytes(json_lines(line for line in self._scenario.script if line.cp_id in names))
            self.charge_points.append(
                await self._spawn(
                    f"charge-points-{number}",
                    "cp",
                    [
                        "run",
                        *("--credentials", str(self._credentials("charge-points", number))),
                        *("--central", f"{HOST}:{self.port}"),
                        *("--data-dir", str(self.directory / f"charge-points-{number}")),
                        *("--script", str(script)),
                        *("--trace", str(trace)),
                        *("--clock", str(self.clock_file)),
                    ],
                )
            )
        await _all(child.wait_ready() for child in self.charge_points)
        await self._open_monitors()

    async def _open_monitors(self) -> None:
        """One process of monitors for each process of engines, whose health address it asks."""
        for number, engines in enumerate(self.charge_points, start=1):
            self.monitors.append(
                await self._spawn(
                    f"monitors-{number}",
                    "monitor",
                    [
                        "run",
                        *("--credentials", str(self._credentials("monitors", number))),
                        *("--central", f"{HOST}:{self.port}"),
                        *("--engine", str(engines.ready["health"])),
                        *("--clock", str(self.clock_file)),
                    ],
                )
            )
        await _all(child.wait_ready() for child in self.monitors)

    async def _open_drivers(self) -> None:
        by_name = {session.session: session for session in self._scenario.sessions}
        for number, names in enumerate(self._hands(self._scenario.drivers), start=1):
            sessions: list[DriverSession] = [by_name[name] for name in names]
            file = self.directory / f"drivers-{number}.jsonl"
            file.write_bytes(json_lines(sessions))
            self.drivers.append(
                await self._spawn(
                    f"drivers-{number}",
                    "driver",
                    [
                        "auto",
                        *("--credentials", str(self._credentials("drivers", number))),
                        *("--central", f"{HOST}:{self.port}"),
                        *("--sessions", str(file)),
                        *("--clock", str(self.clock_file)),
                    ],
                    finishes=True,
                )
            )
        await _all(child.wait_ready() for child in self.drivers)

    def _hands(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        return deal(names, self._options.processes)

    def _credentials(self, folder: str, number: int) -> Path:
        return self.directory / "credentials" / f"{folder}-{number}"

    async def _spawn(self, name: str, module: str, arguments: Sequence[str], *, finishes: bool = False) -> Child:
        return await self._crew.spawn(name, f"evcharge.cli.{module}", arguments, finishes=finishes)


@contextmanager
def _held(wanted: int) -> Iterator[int]:
    """This port, or for 0 a free one, until a child listens there. Raises SiteFailed."""
    with ExitStack() as stack:
        try:
            port = stack.enter_context(held_port(HOST, wanted))
        except OSError as error:
            raise SiteFailed(
                f"port {wanted} of {HOST} cannot be used ({error.strerror}); stop what listens there, or "
                "choose another one (0: any free one)."
            ) from error
        yield port


def _keep_secret(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)


async def _all(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; the first failure cancels the others and is raised."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
