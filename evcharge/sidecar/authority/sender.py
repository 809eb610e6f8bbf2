"""From decisions to callbacks: at least once each, many at a time, few to one host, and every outcome in the log.

What is in flight when the process dies was not recorded, so it is sent again: receivers know it by its ``webhook-id``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.authority.log import Due, Full, Log
from evcharge.sidecar.authority.retry import Delivered, Later, Outcome, after
from evcharge.sidecar.authority.sealing import Sealer, Unsealable
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.signing import signed
from evcharge.sidecar.authority.tables import SENTENCES, CallbackState, Reason
from evcharge.sidecar.authority.wake import Wake
from evcharge.sidecar.outgoing.caller import Caller, CallFailed

log = structlog.get_logger()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CallbackBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver gets."""

    request_id: str
    station_id: str
    driver_token: str
    status: str
    message: str
    decided_at: datetime


class Sender:
    """Sends what is due."""

    def __init__(
        self,
        requests: Log,
        caller: Caller,
        *,
        sealer: Sealer,
        signing: Sequence[bytes],
        clock: Clock,
        random: Callable[[], float],
        settings: AuthoritySettings,
    ) -> None:
        """``random`` gives numbers in [0, 1)."""
        self._requests = requests
        self._caller = caller
        self._sealer = sealer
        self._signing = tuple(signing)
        self._clock = clock
        self._random = random
        self._settings = settings
        self._wake = Wake()
        self.outcomes: Counter[str] = Counter()
        """Tries since the start: delivered, dead, or pending (it comes again)."""
        self._busy: dict[str, Due] = {}
        """Callbacks that are in flight, by request."""

    def ring(self) -> None:
        """There may be something due."""
        self._wake.ring()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with self._caller, asyncio.TaskGroup() as tasks:
            while True:
                try:
                    wait_s = await self._start(tasks)
                except (SQLAlchemyError, OSError) as error:
                    log.error("authority.database_failed", at="callbacks", kind=type(error).__name__)  # noqa: TRY400
                    wait_s = self._settings.database_retry_s
                await self._wake.wait(wait_s)

    async def _start(self, tasks: asyncio.TaskGroup) -> float | None:
        """Begin what is due as far as there is room; seconds until the next may be, None: until it rings."""
        while free := self._settings.deliveries - len(self._busy):
            due = await self._requests.due(self._clock.steady_ms(), free, self._busy, self._full())
            if not due:
                next_ms = await self._requests.next_due_ms(self._busy, self._full())
                return None if next_ms is None else max(0, next_ms - self._clock.steady_ms()) / 1000
            for one in due:
                full = self._full()
                if one.host not in full.hosts and one.client not in full.clients:
                    self._busy[one.request_id] = one
                    tasks.create_task(self._deliver(one), name=f"callback {one.request_id}")
        # Whatever ends makes room, and rings.
        return None

    def _full(self) -> Full:
        """Who has as many in flight as one may have: however slow, hosts and clients leave the others their turn."""
        hosts = Counter(one.host for one in self._busy.values())
        clients = Counter(one.client for one in self._busy.values())
        chosen = self._settings
        return Full(
            [host for host, count in hosts.items() if count >= chosen.deliveries_per_host],
            [client for client, count in clients.items() if count >= chosen.deliveries_per_client],
        )

    async def _deliver(self, due: Due) -> None:
        try:
            await self._record(due, await self._try(due))
        finally:
            del self._busy[due.request_id]
            self._wake.ring()

    async def _try(self, due: Due) -> Outcome:
        try:
            secrets = self._sealer.open(due.sealed, due.request_id)
        except Unsealable:
            # No receiver can be told without its address; no repetition finds the key.
            return Outcome("refused")
        body = msgspec.json.encode(
            CallbackBody(
                request_id=due.request_id,
                station_id=due.station_id,
                driver_token=secrets.driver_token,
                status=due.decision,
                message=SENTENCES[Reason(due.reason)],
                decided_at=_EPOCH + timedelta(milliseconds=due.decided_ms),
            )
        )
        headers = signed(self._signing, due.request_id, self._clock.steady_ms(), body)
        try:
            reply = await self._caller.post(secrets.callback_url, body, {"Content-Type": "application/json", **headers})
        except CallFailed as error:
            return Outcome(error.code)
        return Outcome(str(reply.status), reply.status, reply.retry_after)

    async def _record(self, due: Due, outcome: Outcome) -> None:
        """Store how it went, however often the database fails: a row that stays due would be sent again at once."""
        tries = due.tries + 1
        now_ms = self._clock.steady_ms()
        then = after(outcome, tries, now_ms, self._random(), self._settings)
        next_ms = None
        if isinstance(then, Later):
            state, next_ms = CallbackState.PENDING, then.at_ms
        else:
            state = CallbackState.DELIVERED if isinstance(then, Delivered) else CallbackState.DEAD
        while True:
            try:
                await self._requests.tried(due.request_id, outcome.said, now_ms, state, next_ms)
            except (SQLAlchemyError, OSError) as error:
                log.error("authority.database_failed", at="callback", kind=type(error).__name__)  # noqa: TRY400
                await asyncio.sleep(self._settings.database_retry_s)
            else:
                break
        self.outcomes[state.value] += 1
        write = log.info if state is CallbackState.DELIVERED else log.warning
        write("authority.callback", request_id=due.request_id, state=state.value, said=outcome.said, tries=tries)
