"""When the sidecar is ready: it serves, nothing drains, and its database answers. Central is only told of.

A sidecar that called itself unready without Central would lock both out: Central admits nobody, this sidecar's channel
included, before it has the registry's records, and it fetches these from the sidecar, through an address that sends
requests to ready ones only (a Service, a proxy). The registry, tokens, the page and the history serve without Central;
what needs it says 503 by itself. Who wants to know of both together asks ``/ready`` on the sidecar's own address.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.link import CentralLink
from evcharge.net.metrics import Asked
from evcharge.net.readiness import Readiness
from evcharge.sidecar.database import Database


def readiness_of(
    database: Database, link: CentralLink | None, *, serving: Callable[[], bool], stopping: Callable[[], bool]
) -> Readiness:
    """What ``/readyz`` says of this sidecar. ``link`` None: it runs without ``--central``."""
    answering = Asked(database.ping, SQLAlchemyError, OSError)

    def unready() -> str | None:
        if stopping():
            return "draining"
        if not serving():
            return "starting"
        return None if answering.answers else "the database does not answer"

    return Readiness(
        unready=unready,
        note=lambda: f"Central: {'not asked for' if link is None else link.state}",
        look=answering.look,
    )
