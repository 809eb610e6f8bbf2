"""The charge authorization alone, served by a real process over a real file, for tests that kill it.

    python -m tests.support.served_authority DIRECTORY HOST:PORT

HOST:PORT is the receiver of callbacks that may be called. One line of JSON says ``ready`` with the URL; the log goes to
stderr, one JSON object a line. Keys are constants: what they protect is made up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
from pathlib import Path

import structlog
from aiohttp import web

from evcharge.net.clock import SystemClock
from evcharge.sidecar.authority.concern import Authority
from evcharge.sidecar.authority.sealing import Sealer
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.database import Database
from evcharge.sidecar.outgoing.caller import Caller
from evcharge.sidecar.outgoing.guard import Guard
from evcharge.sidecar.outgoing.settings import OutgoingSettings
from evcharge.sidecar.routes.authority import ROUTES
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.route import Principal
from evcharge.sidecar.web.scopes import Scope

SECRET = b"s" * 32
PEPPER = b"p" * 32
SEAL_KEY = b"A" * 43 + b"="
# Retries come within the test's time, and all callbacks go to one host here.
SETTINGS = AuthoritySettings(retry_base_s=0.1, deliveries_per_host=16)


class Anybody:
    """A door through which everybody comes, and may do everything."""

    def principal(self, authorization: str | None, source: str) -> Principal | None:
        return Principal(name="anybody", scopes=frozenset(Scope), unlimited=True)


def command(directory: Path, receiver: str) -> list[str]:
    """The command line of such a process."""
    return [sys.executable, "-m", "tests.support.served_authority", str(directory), receiver]


async def serve(directory: Path, receiver: str) -> None:
    """Until it is killed."""
    path = directory / "sidecar.sqlite"
    there = path.exists()
    database = Database.file(path)
    if not there:
        await database.create(b"2")
    clock = SystemClock()
    concern = Authority(
        database,
        Caller(Guard(OutgoingSettings(allow_targets=(receiver,))), timeout_s=SETTINGS.callback_s),
        Sealer(PEPPER, SEAL_KEY),
        signing=(SECRET,),
        clock=clock,
        entropy=os.urandom,
        random=random.random,
        settings=SETTINGS,
    )
    api = Api(ROUTES, concern.handlers(), door=Anybody(), clock=clock)
    runner = web.AppRunner(api.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"ready": f"http://{host}:{port}"}), flush=True)
    await concern.run()


if __name__ == "__main__":
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
