"""The charge authorization as a part of the sidecar: its handlers, and its work beside them.

A request is acknowledged when it and its place in the queue are one durable transaction; then one decision and at least
one callback follow, whatever is killed when.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import structlog

from evcharge.net.clock import Clock
from evcharge.sidecar.authority import acl, schemas
from evcharge.sidecar.authority import log as requests_log
from evcharge.sidecar.authority.acl import Acl, AclFull, Asked
from evcharge.sidecar.authority.cleaning import Cleaner
from evcharge.sidecar.authority.log import Backlog, Log, wanted
from evcharge.sidecar.authority.queue import OutboxQueue, QueueFull, RequestQueue, Waiting
from evcharge.sidecar.authority.rules import bad_request
from evcharge.sidecar.authority.sealing import Sealer, Secrets, hint
from evcharge.sidecar.authority.sender import Sender
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.tables import SENTENCES, Reason
from evcharge.sidecar.authority.worker import Worker
from evcharge.sidecar.database import Database
from evcharge.sidecar.outgoing.caller import Caller
from evcharge.sidecar.web.problem import Problem, bad_fields, not_found, unavailable
from evcharge.sidecar.web.route import Answer, Call, Handler

log = structlog.get_logger()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The latest expiry that is told apart, "9999-12-31T00:00:00Z": later ones are years that no calendar here has.
_LATEST_MS = 253_402_214_400_000


class Authority:
    """The handlers, and the work that decides and tells."""

    def __init__(
        self,
        database: Database,
        caller: Caller,
        sealer: Sealer,
        *,
        signing: Sequence[bytes],
        clock: Clock,
        entropy: Callable[[int], bytes],
        random: Callable[[], float],
        settings: AuthoritySettings | None = None,
        queue: RequestQueue | None = None,
        authority: acl.Authority | None = None,
    ) -> None:
        """``signing``: secrets of the callbacks, the newest first; ``queue`` and ``authority``: other ones than the
        database's tables.
        """
        chosen = settings or AuthoritySettings()
        bounds = {"most": chosen.backlog, "most_of_client": chosen.client_backlog}
        self._settings = chosen
        self._guard = caller.guard
        self._sealer = sealer
        self._clock = clock
        self._entropy = entropy
        self._acl = Acl(database, most=chosen.acl_entries)
        self._authority = authority or self._acl
        self._log = Log(database, **bounds)
        self._queue = queue or OutboxQueue(database, **bounds)
        self.sender = Sender(
            self._log, caller, sealer=sealer, signing=signing, clock=clock, random=random, settings=chosen
        )
        self.worker = Worker(
            self._queue,
            self._authority,
            self._log,
            sealer=sealer,
            guard=self._guard,
            clock=clock,
            settings=chosen,
            decided=self.sender.ring,
        )
        self.cleaner = Cleaner(database, clock, chosen)

    def handlers(self) -> Mapping[str, Handler]:
        """By the names of their routes."""
        return {
            "charging_request": self.request,
            "check_authority": self.check,
            "acl_insert": self.insert,
            "acl_list": self.entries,
            "acl_remove": self.remove,
            "request_log": self.logged,
            "request_state": self.state,
            "dead_letters": self.letters,
            "dead_letter_retry": self.send_again,
        }

    async def run(self) -> None:
        """Decide, tell and clean up until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._queue.run(), name="authority queue")
            tasks.create_task(self.worker.run(), name="authority decisions")
            tasks.create_task(self.sender.run(), name="authority callbacks")
            tasks.create_task(self.cleaner.run(), name="authority cleaning")

    async def backlog(self) -> Backlog:
        """How much is to be decided and told. Raises SQLAlchemyError, OSError."""
        return await self._log.backlog()

    async def request(self, call: Call) -> Answer:
        """Store it, then acknowledge it."""
        asked: schemas.ChargingRequest = call.body
        bad = bad_request(asked.station_id, asked.driver_token, asked.callback_url, self._guard)
        if bad:
            raise bad_fields(bad, HTTPStatus.BAD_REQUEST)
        request_id = self._new_id()
        secrets = Secrets(request_id=request_id, driver_token=asked.driver_token, callback_url=asked.callback_url)
        waiting = Waiting(
            request_id=request_id,
            client=call.client,
            station_id=asked.station_id,
            received_ms=self._clock.steady_ms(),
            sealed=self._sealer.seal(secrets),
        )
        host = self._guard.target(asked.callback_url).host
        try:
            await self._log.accept(self._queue, waiting, self._sealer.hashed(asked.driver_token), host)
        except QueueFull:
            log.warning("authority.queue_full", client=call.client)
            retry_s = self._settings.full_retry_s
            raise unavailable(
                "queue_full", f"Too many requests wait already; send it again in {retry_s} s.", retry_s
            ) from None
        log.info("authority.accepted", request_id=request_id, client=call.client)
        message = "The request is stored; its decision comes to the callback URL."
        body = schemas.ChargingAccepted(status="accepted", message=message, request_id=request_id)
        return Answer(status=202, body=body)

    async def check(self, call: Call) -> Answer:
        """What the list says now."""
        asked: schemas.AuthorityQuestion = call.body
        question = Asked(asked.station_id, self._sealer.hashed(asked.driver_token))
        reason = (await self._authority.check([question], self._clock.steady_ms()))[0]
        return Answer(body=schemas.AuthorityAnswer(allowed=reason is Reason.LISTED, reason=reason.value))

    async def insert(self, call: Call) -> Answer:
        """Add a pair, or change its expiry: sent twice it is there once."""
        given: schemas.AclInsertion = call.body
        now_ms = self._clock.steady_ms()
        expiries = [] if given.expires_at is None else [_ms(given.expires_at)]
        if given.valid_s is not None:
            expiries.append(now_ms + given.valid_s * 1000)
        pair = Asked(given.station_id, self._sealer.hashed(given.driver_token))
        try:
            entry, new = await self._acl.put(
                pair, self._new_id(), call.client, now_ms, min(expiries) if expiries else None
            )
        except AclFull:
            most = self._settings.acl_entries
            detail = f"The list has its {most} entries; remove some first."
            raise Problem(HTTPStatus.CONFLICT, "acl_full", detail) from None
        log.info("authority.acl_put", entry_id=entry.entry_id, station_id=entry.station_id, client=call.client, new=new)
        return Answer(status=201 if new else 200, body=_acl_entry(entry, now_ms))

    async def entries(self, call: Call) -> Answer:
        """A page of the list."""
        query: schemas.AclQuery = call.query
        found = await self._acl.page(query.after, query.limit + 1, query.station_id)
        now_ms = self._clock.steady_ms()
        shown = [_acl_entry(entry, now_ms) for entry in found[: query.limit]]
        return Answer(body=schemas.AclPage(entries=shown, next=_next(found, query.limit)))

    async def remove(self, call: Call) -> Answer:
        """Take a pair away."""
        entry_id = call.path["entry_id"]
        if not await self._acl.remove(entry_id):
            raise not_found("There is no such entry.")
        log.info("authority.acl_removed", entry_id=entry_id, client=call.client)
        return Answer(status=204)

    async def logged(self, call: Call) -> Answer:
        """A page of the log."""
        query: schemas.RequestLogQuery = call.query
        condition = wanted(query.request_id, query.station_id, query.status)
        found = await self._log.page(query.before, query.limit + 1, condition)
        shown = [_log_entry(entry) for entry in found[: query.limit]]
        return Answer(body=schemas.RequestLogPage(entries=shown, next=_next(found, query.limit)))

    async def state(self, call: Call) -> Answer:
        """A request, to the client that made it; to all others there is none."""
        entry = await self._log.find(call.path["request_id"])
        if entry is None or entry.client != call.client:
            raise not_found("There is no such request of this client.")
        full = _log_entry(entry)
        names = schemas.RequestState.__struct_fields__
        return Answer(body=schemas.RequestState(**{name: getattr(full, name) for name in names}))

    async def letters(self, call: Call) -> Answer:
        """A page of the callbacks that failed."""
        query: schemas.DeadLetterQuery = call.query
        found = await self._log.dead(query.before, query.limit + 1)
        shown = [_letter(letter) for letter in found[: query.limit]]
        return Answer(body=schemas.DeadLetterPage(entries=shown, next=_next([one.entry for one in found], query.limit)))

    async def send_again(self, call: Call) -> Answer:
        """A failed callback is due once more."""
        request_id = call.path["request_id"]
        if not await self._log.send_again(request_id, self._clock.steady_ms()):
            raise not_found("There is no failed callback of such a request, or it is no longer kept.")
        log.info("authority.sent_again", request_id=request_id, client=call.client)
        self.sender.ring()
        return Answer(status=202, body=schemas.CallbackQueued(request_id=request_id, callback="pending"))

    def _new_id(self) -> str:
        return str(uuid.UUID(bytes=self._entropy(16), version=4))


def _next(found: Sequence[acl.Entry] | Sequence[requests_log.Entry], limit: int) -> int | None:
    """Where the next page begins, when one more row was found than is shown."""
    return found[limit - 1].number if len(found) > limit else None


def _acl_entry(entry: acl.Entry, now_ms: int) -> schemas.AclEntry:
    return schemas.AclEntry(
        entry_id=entry.entry_id,
        station_id=entry.station_id,
        token_hash=hint(entry.token_hash),
        client=entry.client,
        created_at=_time(entry.created_ms),
        updated_at=_time(entry.updated_ms),
        expires_at=None if entry.expires_ms is None else _time(entry.expires_ms),
        active=entry.expires_ms is None or now_ms < entry.expires_ms,
    )


def _log_entry(entry: requests_log.Entry) -> schemas.RequestLogEntry:
    return schemas.RequestLogEntry(
        request_id=entry.request_id,
        client=entry.client,
        station_id=entry.station_id,
        token_hash=hint(entry.token_hash),
        callback_host=entry.callback_host,
        received_at=_time(entry.received_ms),
        status=entry.decision or "pending",
        reason=entry.reason,
        message=None if entry.reason is None else SENTENCES[Reason(entry.reason)],
        decided_at=None if entry.decided_ms is None else _time(entry.decided_ms),
        callback=entry.callback,
        attempts=entry.attempts,
        callback_said=entry.callback_said,
        finished_at=None if entry.finished_ms is None else _time(entry.finished_ms),
    )


def _letter(letter: requests_log.Letter) -> schemas.DeadLetter:
    entry = letter.entry
    return schemas.DeadLetter(
        request_id=entry.request_id,
        client=entry.client,
        station_id=entry.station_id,
        callback_host=entry.callback_host,
        status=entry.decision or "pending",
        attempts=entry.attempts,
        callback_said=entry.callback_said,
        dead_since=_time(letter.since_ms),
    )


def _time(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _ms(time: datetime) -> int:
    """Within the years that ``_time`` can give back."""
    return max(0, min((time - _EPOCH) // timedelta(milliseconds=1), _LATEST_MS))
