"""A real registry and a real Central as processes, with as many credentials as a load needs, for the other tools.

It is the system as a person sets it up (``evcharge-sidecar init`` and ``run``, ``evcharge-central``), but for one
thing: the credentials are put into the registry's database all at once before it serves, because 10,000 registrations
over HTTP take minutes.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import create_engine, insert
from sqlalchemy.engine import URL

from evcharge.net.ports import held_port
from evcharge.sidecar.bootstrap import DATABASE
from evcharge.sidecar.registry.rules import SECRET_BYTES
from evcharge.sidecar.registry.store import credentials_table, keys_table
from protocol.credentials import Credential, Role, encode_password
from tools.daemon import Daemon, DaemonFailed

__all__ = ["Daemon", "DaemonFailed", "Site"]

HOST = "127.0.0.1"
# Longest wait until Central has followed the registry's change feed, seconds: 10,000 records take about 5.
FEED_S = 60.0
# Pause between two looks at how far it is, seconds.
LOOK_S = 0.02
# Entity and username of the operator (role gateway).
OPERATOR = "operator"


class Peers(NamedTuple):
    """The credentials of a site; the same index is the same charge point."""

    engines: list[Credential]
    monitors: list[Credential]
    drivers: list[Credential]
    operator: Credential


class Site:
    """Made by ``start``; end it with ``close``. Secrets lie in ``folder``, which only its owner can read."""

    def __init__(self, folder: Path, peers: Peers) -> None:
        self.folder = folder
        self.data_dir = folder / "central"
        self.log_dir = self.data_dir / "log"
        self.operator_token_file = folder / "registry" / "operator.token"
        self.host = HOST
        self.port = 0
        self.sidecar_url = ""
        self.engine_credentials = peers.engines
        self.monitor_credentials = peers.monitors
        self.driver_credentials = peers.drivers
        self.operator = peers.operator
        self.sidecar: Daemon
        self.central: Daemon
        self._central_args: list[str] = []
        self._cpu: int | None = None
        self._records = 0

    @classmethod
    async def start(
        cls,
        folder: Path,
        *,
        charge_points: int = 0,
        monitors: bool = False,
        drivers: int = 0,
        substations: int = 1,
        capacity_kw: float = 100_000,
        central_args: Sequence[str] = (),
        central_cpu: int | None = None,
        sidecar_args: Sequence[str] = (),
        sidecar_cpu: int | None = None,
        linked: bool = False,
    ) -> Site:
        """Set everything up in ``folder`` (made when it is missing) and start it.

        Charge points are ``cp-00000`` … dealt out to the substations in turn; ``capacity_kw`` is each substation's.
        ``central_args`` and ``sidecar_args`` go to the commands as they are; ``linked``: the sidecar speaks to Central.
        Returns when Central knows every record. Raises
        DaemonFailed.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        registry = folder / "registry"
        await _run(["-m", "evcharge.cli.sidecar", "init", "--data-dir", str(registry)])
        names = [f"cp-{number:05}" for number in range(charge_points)]
        wanted = [(Role.CP, name) for name in names]
        wanted += [(Role.MONITOR, name) for name in names if monitors]
        wanted += [(Role.DRIVER, f"driver-{number:05}") for number in range(drivers)]
        wanted.append((Role.GATEWAY, OPERATOR))
        made = enrol(registry, wanted)
        by_role = {role: [peer for peer in made if peer.role is role] for role in Role}
        peers = Peers(by_role[Role.CP], by_role[Role.MONITOR], by_role[Role.DRIVER], by_role[Role.GATEWAY][0])
        site = cls(folder, peers)
        # The registry's own two came before: Central and the sidecar.
        site._records = len(made) + 2
        site._cpu = central_cpu
        (folder / "site.toml").write_text("".join(_site_lines(names, substations, capacity_kw)), encoding="utf-8")
        arguments = ["-m", "evcharge.cli.sidecar", "run", "--data-dir", str(registry), "--host", HOST, "--port", "0"]
        with ExitStack() as until_it_listens:
            if linked:
                # Central asks the registry before it can serve, so the sidecar has to know the port first.
                site.port = until_it_listens.enter_context(held_port(HOST))
                arguments += ["--central", f"{HOST}:{site.port}"]
            arguments += sidecar_args
            try:
                site.sidecar = await Daemon.start("sidecar", arguments, folder / "sidecar.log", cpu=sidecar_cpu)
                site.sidecar_url = str(site.sidecar.ready["url"])
                site._central_args = [
                    *("--credentials", str(registry / "central.json"), "--data-dir", str(site.data_dir)),
                    *("--host", HOST, "--registry", site.sidecar_url, "--site", str(folder / "site.toml")),
                    *("--log-level", "warning", "--drain-s", "0", *central_args),
                ]
                await site._start_central()
                await site._followed()
            except BaseException:
                await site.close()
                raise
        return site

    async def kill_central(self) -> None:
        """SIGKILL, and wait until it is gone."""
        await self.central.kill()

    async def restart_central(self) -> float:
        """Start Central again on the same port; the seconds until it said ``ready``. Raises DaemonFailed."""
        began = time.monotonic()
        await self._start_central()
        return time.monotonic() - began

    async def stop_central(self) -> int:
        """SIGTERM, and wait; the exit code."""
        return await self.central.stop()

    async def close(self) -> None:
        """End what runs."""
        for name in ("central", "sidecar"):
            daemon: Daemon | None = getattr(self, name, None)
            if daemon is not None and daemon.alive:
                await daemon.stop()

    async def _start_central(self) -> None:
        arguments = ["-m", "evcharge.cli.central", *self._central_args, "--port", str(self.port)]
        self.central = await Daemon.start("central", arguments, self.folder / "central.log", cpu=self._cpu)
        self.port = int(self.central.ready["port"])

    async def _followed(self) -> None:
        """Wait until Central's kept records are the registry's newest."""
        end = time.monotonic() + FEED_S
        while (rev := _kept_rev(self.data_dir / "registry-records.sqlite")) < self._records:
            if time.monotonic() > end or not self.central.alive:
                raise DaemonFailed(f"Central knows {rev} of {self._records} records.{self.central.tail()}")
            await asyncio.sleep(LOOK_S)


def enrol(registry: Path, wanted: Sequence[tuple[Role, str]]) -> list[Credential]:
    """Register (role, entity) pairs in the database of a registry that does not serve yet; their credentials.

    The username is ``ROLE-ENTITY``. One transaction: what ``Registry.register`` does for one peer, for all of them.
    """
    central = Credential.from_json((registry / "sidecar.json").read_bytes()).central_public_key
    peers = [
        Credential(
            username=f"{role.label}-{entity}".lower(),
            password=encode_password(os.urandom(SECRET_BYTES)),
            role=role,
            entity=entity,
            epoch=1,
            central_public_key=central,
        )
        for role, entity in wanted
    ]
    rows = [
        {
            "username": peer.username,
            "role": int(peer.role),
            "entity": peer.entity,
            "status": "active",
            "station_id": str(uuid.uuid4()) if peer.role is Role.CP else None,
            "not_after_ms": None,
            "rev": rev,
        }
        for rev, peer in enumerate(peers, start=3)
    ]
    keys = [
        {"public_key": peer.public_key(), "username": peer.username, "epoch": 1, "retired": False} for peer in peers
    ]
    engine = create_engine(URL.create("sqlite", database=str(registry / DATABASE)))
    try:
        with engine.begin() as connection:
            connection.execute(insert(credentials_table), rows)
            connection.execute(insert(keys_table), keys)
    finally:
        engine.dispose()
    return peers


def _site_lines(names: Sequence[str], substations: int, capacity_kw: float) -> Iterator[str]:
    for number in range(substations):
        own = ", ".join(f'"{name}"' for name in names[number::substations])
        yield f"[substations.s{number:03}]\ncapacity_kw = {capacity_kw:.3f}\ncharge_points = [{own}]\n\n"


def _kept_rev(path: Path) -> int:
    """How far Central has followed the change feed; 0 before it began."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        try:
            row = database.execute("SELECT rev FROM feed").fetchone()
        except sqlite3.OperationalError:
            return 0
    return 0 if row is None else int(row[0])


async def _run(arguments: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise DaemonFailed(f"{' '.join(arguments)} ended with {process.returncode}: {errors.decode(errors='replace')}")
