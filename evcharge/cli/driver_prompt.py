"""``evcharge-driver`` without a verb: a prompt that charges, with a live view while it does."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import click

from evcharge.cli.driver_advice import show_recommendation, why_text
from evcharge.cli.driver_options import parse_until
from evcharge.cli.driver_places import (
    QUEUE_HEADS,
    RESERVATION_HEADS,
    place_text,
    queue_rows,
    reservation_rows,
    reservation_text,
)
from evcharge.cli.driver_table import show_table
from evcharge.cli.driver_text import plain
from evcharge.cli.driver_view import (
    CHARGE_POINT_HEADS,
    TICKET_HEADS,
    LiveShow,
    Show,
    charge_point_rows,
    ticket_rows,
)
from evcharge.driver.client import DriverClient, Outcome, RequestFailed, RequestRefused
from evcharge.driver.scripted import energy_wh
from protocol import messages as m

T = TypeVar("T")

PROMPT = "evcharge> "
# Longest line that is read, in bytes; commands have under 100.
MAX_LINE = 4096
# Lines that only leave the view: Enter and Ctrl-C.
LEAVE = ("", "\x03")
HELP = """\
list                      charge points and what they can do
charge CP [KWH] [DEPART]  charge at CP, at * anywhere; DEPART is HH:MM or +2h; Enter leaves the view, the charge goes on
wait CP [KWH] [DEPART]    the same; where a connector or power is missing, you wait in line
watch [SESSION]           back to the live view
why [SESSION]             why it gets the power that it gets
end [SESSION]             end a charge; without SESSION the one that runs
queue [leave PLACE]       where you wait, and when your turn is expected
reserve CP FROM UNTIL     a connector for later: HH:MM or +3h, until HH:MM or +90m after it
reservations              what you have reserved
cancel RESERVATION        give a reservation back
recommend PERCENT         where to charge best with a battery at PERCENT; the verb of the same name can say more
tickets                   your tickets
help, quit"""

Depart = Callable[..., int]
"""Site time, ms, of ``14:00`` or ``+2h``; a second argument is the instant to count from."""


class Lines:
    """Lines of stdin, and Ctrl-C as an empty line; ends with None."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._returned: list[str | None] = []
        self._loop = asyncio.get_running_loop()

    def start(self, descriptor: int) -> None:
        """Read in a thread: a terminal, a pipe and a file behave alike there, and nothing waits for it at the end."""
        threading.Thread(target=self._read, args=(descriptor,), daemon=True, name="stdin").start()

    def interrupt(self) -> None:
        """Ctrl-C: leaves a view, and at the prompt the program."""
        self._queue.put_nowait("\x03")

    async def next(self) -> str | None:
        """The next line, ``"\\x03"`` for Ctrl-C, None at the end."""
        if self._returned:
            return self._returned.pop()
        return await self._queue.get()

    def give_back(self, line: str | None) -> None:
        """The next line once more."""
        self._returned.append(line)

    def feed(self, line: str | None) -> None:
        """A line from the thread or a test."""
        self._queue.put_nowait(line)

    def _read(self, descriptor: int) -> None:
        # os.read: a buffered stdin would be locked by this thread when the program ends.
        waiting = b""
        while data := _read_some(descriptor):
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                self._tell(line.decode("utf-8", "replace"))
            waiting = waiting[-MAX_LINE:]
        if waiting:
            self._tell(waiting.decode("utf-8", "replace"))
        self._tell(None)

    def _tell(self, line: str | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, line)


class Prompt:
    """One person at one terminal."""

    def __init__(self, client: DriverClient, show: Show, lines: Lines, depart: Depart) -> None:
        self._client = client
        self._show = show
        self._lines = lines
        self._depart = depart
        self._sessions: list[str] = []
        self._verbs: dict[str, Callable[..., Awaitable[None]]] = {
            "list": self._list,
            "charge": self._charge,
            "wait": self._wait,
            "watch": self._watch,
            "why": self._why,
            "end": self._end,
            "queue": self._queue,
            "reserve": self._reserve,
            "reservations": self._reservations,
            "cancel": self._cancel,
            "recommend": self._recommend,
            "tickets": self._tickets,
        }

    async def run(self) -> None:
        """Until quit, Ctrl-C at the prompt, or the end of input. Raises Refusal."""
        self._show.say(f"Driver {plain(self._client.driver_id)}. Type help for what you can do.")
        while True:
            if sys.stdin.isatty():
                click.echo(PROMPT, nl=False)
            line = await self._lines.next()
            words = [] if line is None else line.split()
            if line is None or line == "\x03" or words[:1] in (["quit"], ["exit"], ["q"]):
                break
            if words:
                await self._do(words[0].lower(), words[1:])
        running = self._running()
        if running:
            self._show.say(f"Still charging: {', '.join(map(plain, running))}. The ticket waits for you.")

    def _running(self) -> list[str]:
        """Sessions of this window that have not ended as far as we know."""
        return [session_id for session_id in self._sessions if not self._client.has_ended(session_id)]

    async def _do(self, verb: str, words: list[str]) -> None:
        action = self._verbs.get(verb)
        if action is None:
            self._show.say(HELP if verb in ("help", "?", "h") else f"There is no {plain(verb)!r}; type help.")
            return
        try:
            inspect.signature(action).bind(*words)
        except TypeError:
            # Too few or too many words for the verb.
            self._show.say(next(line for line in HELP.splitlines() if line.split()[0] == verb))
            return
        try:
            await action(*words)
        except (RequestRefused, RequestFailed, ValueError) as error:
            self._show.say(plain(str(error)))

    async def _list(self) -> None:
        rows = charge_point_rows(await self._client.charge_points())
        show_table(CHARGE_POINT_HEADS, rows, "There is no charge point yet.")

    async def _tickets(self) -> None:
        rows = ticket_rows(await self._client.tickets())
        show_table(TICKET_HEADS, rows, "No tickets yet.")

    async def _charge(self, cp_id: str, *more: str) -> None:
        energy, depart_ms = self._wish(more)
        await self._begin(await self._client.charge(cp_id, energy_wh=energy, depart_by_ms=depart_ms))

    async def _wait(self, cp_id: str, *more: str) -> None:
        energy, depart_ms = self._wish(more)
        place = await self._client.charge_or_wait(cp_id, energy_wh=energy, depart_by_ms=depart_ms)
        if isinstance(place, m.SessionView):
            await self._begin(place)
            return
        self._show.say(f"{place_text(place)}. Enter leaves the view, you keep your place.")
        missed = None
        while True:
            turn = await self._or_a_line(self._client.turn(place.waiting_id, missed))
            if turn is None or turn.session_id is None:
                return
            self._client.follow(turn.session_id)
            self._sessions.append(turn.session_id)
            ended = await self._view(turn.session_id, self._client.newest(turn.session_id))
            if ended is None or ended.ticket is not None:
                return
            # Nobody plugged in in time: whether the place goes on is its next news.
            missed = turn.session_id

    def _wish(self, more: Sequence[str]) -> tuple[int | None, int | None]:
        energy, depart_ms = None, None
        for word in more:
            if word.startswith("+") or ":" in word:
                depart_ms = self._depart(word)
            else:
                energy = energy_wh(word)
        return energy, depart_ms

    async def _begin(self, session: m.SessionView) -> None:
        self._sessions.append(session.session_id)
        await self._view(session.session_id, session)

    async def _why(self, session_id: str | None = None) -> None:
        click.echo(why_text(await self._client.why(session_id)))

    async def _queue(self, *words: str) -> None:
        if words[:1] == ("leave",) and len(words) == 2:
            await self._client.leave_queue(words[1])
            self._show.say(f"You no longer wait as {plain(words[1])}.")
            return
        show_table(QUEUE_HEADS, queue_rows(await self._client.queue()), "You wait nowhere; 'wait CP' lets you.")

    async def _reserve(self, cp_id: str, begins: str, ends: str) -> None:
        from_ms = self._depart(begins)
        made = await self._client.reserve(cp_id, from_ms, parse_until(ends, from_ms))
        self._show.say(f"{reservation_text(made)}. 'cancel {plain(made.reservation_id)}' gives it back.")

    async def _reservations(self) -> None:
        rows = reservation_rows(await self._client.reservations())
        show_table(RESERVATION_HEADS, rows, "You have no reservation.")

    async def _cancel(self, reservation_id: str) -> None:
        await self._client.cancel_reservation(reservation_id)
        self._show.say(f"Reservation {plain(reservation_id)} is cancelled.")

    async def _recommend(self, battery: str) -> None:
        try:
            percent = float(battery.rstrip("%"))
        except ValueError:
            raise ValueError(f"{battery!r} is no percentage; like 35.") from None
        wish = m.Recommend(id=0, battery_percent=percent)
        if not 0 <= wish.battery_percent < wish.target_percent:
            raise ValueError(f"PERCENT is from 0 to below {wish.target_percent:g}: that is what it is charged to.")
        show_recommendation(await self._client.recommend(wish))

    async def _watch(self, session_id: str | None = None) -> None:
        await self._view(self._chosen(session_id))

    async def _end(self, session_id: str | None = None) -> None:
        chosen = self._chosen(session_id)
        self._client.follow(chosen)
        await self._client.end(chosen)
        await self._view(chosen)

    def _chosen(self, session_id: str | None) -> str:
        if session_id is not None:
            return session_id
        running = self._running()
        if not running:
            raise ValueError("No charge of this window runs; name the session.")
        return running[-1]

    async def _view(self, session_id: str, session: m.SessionView | None = None) -> Outcome | None:
        """Show a session until it ends or the person presses Enter (None)."""
        self._client.follow(session_id, session)
        known = self._client.newest(session_id) or session
        if isinstance(self._show, LiveShow) and known is not None:
            self._show.watch(known)
        try:
            ended = await self._or_a_line(self._client.outcome(session_id))
            if ended is not None and ended.ticket is None:
                self._show.say(f"The session ended before it began: {plain(ended.why).replace('_', ' ')}.")
            return ended
        finally:
            if isinstance(self._show, LiveShow):
                self._show.close()

    async def _or_a_line(self, event: Coroutine[Any, Any, T]) -> T | None:
        """What came of ``event``; None when a line was typed before. A command among them is done next."""
        outcome = asyncio.ensure_future(event)
        line = asyncio.ensure_future(self._lines.next())
        try:
            await asyncio.wait({outcome, line}, return_when=asyncio.FIRST_COMPLETED)
            if line.done() and line.result() not in LEAVE:
                self._lines.give_back(line.result())
            return outcome.result() if outcome.done() else None
        finally:
            for task in (outcome, line):
                task.cancel()
            await asyncio.gather(outcome, line, return_exceptions=True)


async def prompt(client: DriverClient, show: Show, depart: Depart) -> None:
    """Run the prompt on stdin. Raises Refusal."""
    lines = Lines()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lines.interrupt)
    lines.start(stdin_descriptor())
    await Prompt(client, show, lines, depart).run()


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, MAX_LINE)
    except OSError:
        return b""


def stdin_descriptor() -> int:
    """The descriptor that the prompt reads."""
    return sys.stdin.fileno()
