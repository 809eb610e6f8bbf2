"""From accepted requests to decisions: take, judge, store, acknowledge; a crash between repeats what is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from evcharge.net.clock import Clock
from evcharge.sidecar.authority.acl import Asked, Authority
from evcharge.sidecar.authority.log import Log, Verdict
from evcharge.sidecar.authority.queue import RequestQueue, Taken, Waiting, read_waiting
from evcharge.sidecar.authority.rules import bad_request
from evcharge.sidecar.authority.sealing import Sealer, Unsealable
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import Decision, Reason
from evcharge.sidecar.outgoing.guard import Guard

log = structlog.get_logger()

_DECISIONS = {
    Reason.LISTED: Decision.ALLOWED,
    Reason.NOT_LISTED: Decision.NOT_ALLOWED,
    Reason.EXPIRED: Decision.NOT_ALLOWED,
    Reason.TIMEOUT: Decision.UNKNOWN,
    Reason.TOO_OLD: Decision.UNKNOWN,
    Reason.BAD_FIELDS: Decision.INVALID,
    Reason.UNREADABLE: Decision.INVALID,
}


class Worker:
    """Decides what waits in the queue, one batch after the other."""

    def __init__(
        self,
        queue: RequestQueue,
        authority: Authority,
        requests: Log,
        *,
        sealer: Sealer,
        guard: Guard,
        clock: Clock,
        settings: AuthoritySettings,
        decided: Callable[[], None],
    ) -> None:
        """``decided`` is called when there are callbacks to send."""
        self._queue = queue
        self._authority = authority
        self._requests = requests
        self._sealer = sealer
        self._guard = guard
        self._clock = clock
        self._settings = settings
        self._decided = decided
        self.decisions: Counter[str] = Counter()
        """Since the start."""

    async def run(self) -> None:
        """Until it is cancelled; a database that fails is asked again."""
        while True:
            try:
                await self.step()
            except (SQLAlchemyError, OSError) as error:
                log.error("authority.database_failed", at="decision", kind=type(error).__name__)  # noqa: TRY400
                await asyncio.sleep(self._settings.database_retry_s)

    async def step(self) -> None:
        """One batch; waits until there is one."""
        taken = await self._queue.take(self._settings.batch)
        read = [(one, _read(one)) for one in taken]
        verdicts = await self._judge([waiting for _, waiting in read if waiting is not None])
        # Nobody can be told of those that cannot be read, but who asks finds them decided.
        verdicts += [_lost(one.request_id) for one, waiting in read if waiting is None and one.request_id is not None]
        for verdict in await self._requests.decide(verdicts, self._clock.steady_ms()):
            self.decisions[verdict.decision.value] += 1
            log.info(
                "authority.decided",
                request_id=verdict.request_id,
                decision=verdict.decision.value,
                reason=verdict.reason.value,
            )
        self._decided()
        await self._queue.ack(taken)

    async def _judge(self, waiting: Sequence[Waiting]) -> list[Verdict]:
        now_ms = self._clock.steady_ms()
        reasons: dict[str, Reason] = {}
        asked: dict[str, Asked] = {}
        for one in waiting:
            judged = self._before(one, now_ms)
            if isinstance(judged, Reason):
                reasons[one.request_id] = judged
            else:
                asked[one.request_id] = judged
        reasons |= await self._ask(asked, now_ms)
        return [_verdict(one, reasons[one.request_id]) for one in waiting]

    def _before(self, one: Waiting, now_ms: int) -> Reason | Asked:
        """Why the list need not be asked about it; otherwise the question."""
        try:
            secrets = self._sealer.open(one.sealed, one.request_id)
        except Unsealable:
            return Reason.UNREADABLE
        if bad_request(one.station_id, secrets.driver_token, secrets.callback_url, self._guard):
            return Reason.BAD_FIELDS
        if now_ms - one.received_ms > self._settings.request_age_s * 1000:
            return Reason.TOO_OLD
        return Asked(one.station_id, self._sealer.hashed(secrets.driver_token))

    async def _ask(self, asked: dict[str, Asked], now_ms: int) -> dict[str, Reason]:
        if not asked:
            return {}
        try:
            async with asyncio.timeout(self._settings.check_s):
                found = await self._authority.check(list(asked.values()), now_ms)
        except TimeoutError:
            log.warning("authority.timeout", requests=len(asked), seconds=self._settings.check_s)
            return dict.fromkeys(asked, Reason.TIMEOUT)
        return dict(zip(asked, found, strict=True))


def _read(taken: Taken) -> Waiting | None:
    waiting = read_waiting(taken.data)
    if waiting is None:
        # It must not hold up those behind it.
        log.error("authority.unreadable", place=taken.place, size=len(taken.data), request_id=taken.request_id)
    return waiting


def _lost(request_id: str) -> Verdict:
    reason = Reason.UNREADABLE
    return Verdict(request_id=request_id, decision=_DECISIONS[reason], reason=reason, sealed=None)


def _verdict(one: Waiting, reason: Reason) -> Verdict:
    sealed = None if reason is Reason.UNREADABLE else one.sealed
    return Verdict(request_id=one.request_id, decision=_DECISIONS[reason], reason=reason, sealed=sealed)
