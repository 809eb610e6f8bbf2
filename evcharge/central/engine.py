"""The one owner of all state: decide → evolve → append → once the log is durable → release the effects.

It lives on the event loop and awaits nothing between a command and its records, so the loop itself is the single
writer and no queue stands before it. What waits is behind it: effects wait in ``_held`` until the writer thread has
synced the record that caused them. When that backlog grows above ``HIGH_MARK`` the server stops reading, above
``FULL_MARK`` new requests are refused; nothing is unbounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from evcharge.audit.control import state_body
from evcharge.audit.event_codec import encode
from evcharge.central.repeats import Repeats
from evcharge.central.tally import Tally
from evcharge.domain.commands import EndCharge, RequestCharge, Reserve, ServeWaiting
from evcharge.domain.consequences import effects_of, effects_without_event
from evcharge.domain.decide import AnyCommand, decide
from evcharge.domain.digest import RULES, Digest, Part
from evcharge.domain.effects import Denied, Effect
from evcharge.domain.evolve import evolve
from evcharge.domain.refusals import RefusalReason
from evcharge.domain.state import State
from evcharge.domain.words import Stamp
from evcharge.net.clock import Clock

# Effects waiting for the disk above which reading is paused: a tenth of a second of the log's full speed.
HIGH_MARK = 4_096
# … and above which new charge requests are refused with `overloaded`: a disk that hangs for seconds.
FULL_MARK = 65_536
# Events after which the log says the state's hash: a replay that diverges is seen within so many. audit.md
SAY_STATE_EVERY = 1_000

# What authorizes something new, now or later.
_NEW = (RequestCharge, Reserve, ServeWaiting)

T = TypeVar("T")


class Log(Protocol):
    """What the engine needs of the journal."""

    durable: int

    def append(self, body: bytes) -> int: ...


class Origin(NamedTuple):
    """Who gave a command, and to whom its answer goes."""

    actor: str = "central"
    source: str = ""
    reply_to: Any = None
    """The peer, opaque here; None for Central's own commands."""
    request_id: int | str | None = None
    by: str | None = None
    """Whom the actor says it acted for."""
    trace: str | None = None
    """The id of the request that it carries out, by its word."""


CENTRAL = Origin()


class Engine:
    """Owns ``state``. All calls belong to the loop's thread."""

    def __init__(
        self,
        state: State,
        log: Log,
        clock: Clock,
        release: Callable[[Origin, list[Effect]], None],
        failed: Callable[[BaseException], None],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.state = state
        self._digest = Digest(state)
        self._unsaid = 0
        self._repeats = Repeats()
        self.tally = Tally()
        self._log = log
        self._clock = clock
        self._release_to = release
        self._failed = failed
        self._loop = loop
        # The machine's clock may have been set back while Central was down; a lease must not live longer by that.
        self._ahead_ms = max(0, state.last_clock_ms - clock.steady_ms())
        self._last_seq = log.durable
        self._held: deque[tuple[int, Callable[[], None]]] = deque()
        self._durable = log.durable
        self._over = False
        self.draining = False
        """New charge requests are refused with `draining`."""
        self.suspect = False
        """The log has lost its end: new charge requests are refused with `log_rollback`."""
        self.low_on_disk = False
        """The disk's reserve is touched: new charge requests are refused with `disk_low`."""
        self.on_relief: Callable[[], None] | None = None
        """Called when a backlog above ``HIGH_MARK`` has drained."""
        self.on_change: Callable[[Collection[Part]], None] | None = None
        """Called with the parts of the state that an event may have changed."""
        self.on_durable: Callable[[], None] | None = None
        """Called when more of the log has become durable, and what waited for it was said."""

    @property
    def backlog(self) -> int:
        """Answers that wait for the disk."""
        return len(self._held)

    @property
    def congested(self) -> bool:
        """Whether reading should pause."""
        return len(self._held) > HIGH_MARK

    def execute(self, command: AnyCommand, origin: Origin = CENTRAL) -> None:
        """Carry out a command. Its effects follow when its records are durable.

        An exception here is a bug in the domain or a dead log. Either way the state can no longer be trusted:
        ``failed`` hears of it, nothing more is done or shown, and Central stops.
        """
        if self._over:
            return
        try:
            self._execute(command, origin)
        except Exception as error:
            self._fail(error)
            raise

    def _execute(self, command: AnyCommand, origin: Origin) -> None:
        turned_down = self.turned_down(command)
        if turned_down is not None:
            self.tally.turned_down(command)
            self._release_to(origin, [Denied(reason=turned_down)])
            return
        stamp = self.stamp(origin)
        effects: list[Effect] = []
        events = decide(self.state, command, stamp)
        if len(events) == 1 and origin.reply_to is not None:
            (event,) = events
            if self._repeats.needless(stamp.actor, event, stamp.clock_ms):
                self.tally.note(command, events, self.state)
                self._hold(partial(self._release_to, origin, effects_of(event, self.state, stamp)))
                return
        for event in events:
            touched = self._digest.touch(event)
            evolve(self.state, event, stamp)
            if self.on_change is not None:
                self.on_change(touched)
            effects += effects_of(event, self.state, stamp)
            self._last_seq = self._log.append(encode(event, stamp))
            self._unsaid += 1
        self.tally.note(command, events, self.state)
        if self._unsaid >= SAY_STATE_EVERY:
            self._unsaid = 0
            self._last_seq = self._log.append(state_body(RULES, self._digest.value()))
        if not events:
            effects = effects_without_event(command, self.state, stamp)
        if effects or origin.request_id is not None:
            self._hold(partial(self._release_to, origin, effects))

    def turned_down(self, command: AnyCommand) -> RefusalReason | None:
        """Why a request is not even looked at: said at once, and not in the log, which is what is late."""
        if self.draining and isinstance(command, _NEW):
            return RefusalReason.DRAINING
        if self.suspect and isinstance(command, _NEW):
            return RefusalReason.LOG_ROLLBACK
        if self.low_on_disk and isinstance(command, _NEW):
            return RefusalReason.DISK_LOW
        if len(self._held) > FULL_MARK and isinstance(command, (*_NEW, EndCharge)):
            return RefusalReason.OVERLOADED
        return None

    def ask(self, question: Callable[[State, Stamp], T], deliver: Callable[[T], None]) -> None:
        """Answer a question in the order of the commands; ``deliver`` is called once all it shows is durable."""
        if not self._over:
            self._hold(partial(deliver, question(self.state, self.stamp(CENTRAL))))

    def close(self) -> None:
        """From now on no command is carried out and no question answered; what is durable is still released."""
        self._over = True

    def clock_ms(self) -> int:
        """Central's channel clock: never below what the log has seen."""
        return self._clock.steady_ms() + self._ahead_ms

    def stamp(self, origin: Origin) -> Stamp:
        """When and by whom."""
        return Stamp(
            at_ms=self._clock.site_ms(),
            clock_ms=self.clock_ms(),
            actor=origin.actor,
            source=origin.source,
            by=origin.by,
            trace=origin.trace,
        )

    def _hold(self, release: Callable[[], None]) -> None:
        if self._last_seq <= self._durable and not self._held:
            release()
        else:
            self._held.append((self._last_seq, release))

    def durable_from_thread(self, seq: int) -> None:
        """The journal's writer thread says that everything up to ``seq`` is durable."""
        self._loop.call_soon_threadsafe(self._became_durable, seq)

    def _became_durable(self, seq: int) -> None:
        self._durable = max(self._durable, seq)
        was_congested = self.congested
        held = self._held
        try:
            while held and held[0][0] <= self._durable:
                _, release = held.popleft()
                release()
        except Exception as error:
            # What should have been said is lost: only a restart makes it good.
            self._fail(error)
            raise
        if was_congested and not self.congested and self.on_relief is not None:
            self.on_relief()
        if self.on_durable is not None:
            self.on_durable()

    def _fail(self, error: BaseException) -> None:
        self.close()
        self._failed(error)
