"""A real PostgreSQL server for tests: started once in a folder of its own, with an empty database for each test.

A database is emptied behind a test and is the next one's: making and dropping one takes six times as long.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from evcharge.demo.site import held_port

# Where Debian puts the servers, newest last; elsewhere they are on the path.
DEBIAN = Path("/usr/lib/postgresql")
# Time for a server to be made or to start, seconds.
START_S = 60
USER = "postgres"
# A test's data need not survive a power cut.
OPTIONS = (
    "-c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off -c max_connections=60 -c shared_buffers=32MB"
)


class Postgres:
    """A running server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._made = 0
        self._empty: list[str] = []

    def url(self, name: str) -> str:
        """The URL of a database of it, as the sidecar takes it."""
        return f"postgresql+asyncpg://{USER}@127.0.0.1:{self.port}/{name}"

    async def make(self) -> str:
        """An empty database; its URL."""
        if self._empty:
            return self.url(self._empty.pop())
        self._made += 1
        name = f"test{self._made}"
        await self._order("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    async def drop(self, url: str) -> None:
        """Take all out of a database, whoever is still connected."""
        name = url.rpartition("/")[2]
        await self._order(
            name,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
        )
        self._empty.append(name)

    async def _order(self, database: str, *statements: str) -> None:
        connection = await asyncpg.connect(host="127.0.0.1", port=self.port, user=USER, database=database)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running() -> Iterator[Postgres]:
    """A server in a temporary folder. Where there is none to start, CI fails and everybody else skips."""
    programs = _programs()
    if programs is None:
        why = "PostgreSQL is not installed: run make system-deps, or apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    # Not below pytest's own folder, which every run of pytest closes to other users again.
    folder = Path(tempfile.mkdtemp(prefix="evcharge-postgres-"))
    data = folder / "data"
    prefix: list[str] = []
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        owner = pwd.getpwnam(USER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

    def run(*command: str) -> None:
        done = subprocess.run(
            [*prefix, *command], cwd="/", capture_output=True, text=True, timeout=START_S, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout

    run(str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", USER, "--no-sync", "--locale=C", "-E", "UTF8")
    control = str(programs / "pg_ctl")
    log = str(folder / "log")
    # Beside this run other tests take ports too.
    with held_port(0) as port:
        options = f"{OPTIONS} -p {port} -c unix_socket_directories={folder}"
        run(control, "-D", str(data), "-l", log, "-w", "-o", options, "start")
    try:
        yield Postgres(port)
    finally:
        run(control, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = sorted(DEBIAN.glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("pg_ctl")
    return None if on_path is None else Path(on_path).resolve().parent
