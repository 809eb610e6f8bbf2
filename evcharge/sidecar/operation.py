"""Whether the sidecar lives, whether it can serve, the document of all its routes, and how much it logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from evcharge import logs
from evcharge.sidecar.database import Database
from evcharge.sidecar.web.problem import unavailable
from evcharge.sidecar.web.route import Answer, Call, Handler

# When to ask again whether Central is back, seconds.
RETRY_S = 5

CentralState = Literal["connected", "disconnected", "unset"]
KafkaState = Literal["connected", "disconnected"]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The sidecar lives."""

    status: Literal["ok"]
    central: CentralState
    rev: int
    """Newest revision of the registry."""
    kafka: KafkaState | msgspec.UnsetType = msgspec.UNSET
    """Whether the brokers of the charge authorizations do all that is asked; only where there are some."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """All that an answer may need is there."""

    status: Literal["ready"]
    central: CentralState


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenAPI document."""

    openapi: Annotated[str, Meta(pattern=r"^3\.1\.")]
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


Level = Literal["error", "warning", "info", "debug"]


class WantedLevel(msgspec.Struct, frozen=True, kw_only=True):
    """How much to log."""

    level: Level


class LogLevel(msgspec.Struct, frozen=True, kw_only=True):
    """How much is logged."""

    level: Level
    before: Level
    """What it was before this request."""


class Operation:
    """What probes and tools ask."""

    def __init__(
        self,
        database: Database,
        *,
        central: Callable[[], CentralState],
        rev: Callable[[], int],
        document: Mapping[str, Any],
        kafka: Callable[[], KafkaState] | None = None,
    ) -> None:
        self._database = database
        self._central = central
        self._rev = rev
        self._kafka = kafka
        self._document = msgspec.json.encode(document)

    def handlers(self) -> Mapping[str, Handler]:
        """Part of ``Concern``."""
        return {
            "health": self.health,
            "ready": self.ready,
            "openapi": self.openapi,
            "log_level": self.log_level,
            "set_log_level": self.set_log_level,
        }

    async def run(self) -> None:
        """Part of ``Concern``: nothing."""

    async def health(self, _call: Call) -> Answer:
        """The process answers; nothing else is asked of."""
        kafka = msgspec.UNSET if self._kafka is None else self._kafka()
        return Answer(body=Health(status="ok", central=self._central(), rev=self._rev(), kafka=kafka))

    async def ready(self, _call: Call) -> Answer:
        """Database and Central are there."""
        await self._database.ping()
        central = self._central()
        if central == "disconnected":
            raise unavailable("central_away", "Central is not connected; the registry serves all the same.", RETRY_S)
        return Answer(body=Readiness(status="ready", central=central))

    async def openapi(self, _call: Call) -> Answer:
        """The document, made once."""
        return Answer(body=self._document, headers={"Cache-Control": "public, max-age=300"})

    async def log_level(self, _call: Call) -> Answer:
        """Of this process."""
        now = logs.level()
        return Answer(body={"level": now, "before": now})

    async def set_log_level(self, call: Call) -> Answer:
        """As SIGUSR1 and SIGUSR2 do, without a shell on the machine."""
        wanted: WantedLevel = call.body
        before = logs.set_level(wanted.level, cause="http", client=call.client)
        return Answer(body={"level": logs.level(), "before": before})
