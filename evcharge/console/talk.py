"""A conversation: lines in, rows out, until somebody ends it; and when it may end by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from evcharge.console.lines import Ask as AskConsole
from evcharge.console.lines import LineError, help_lines, type_lines
from evcharge.console.live import Live
from evcharge.console.source import TooLong
from evcharge.text import escaped

# How long an answer is waited for after the end of input, in seconds, when --wait is not given.
ANSWER_S = 10.0

# Exit codes: done; refused, failed or unanswered; a line that could not be sent.
DONE, FAILED, MISUSED = 0, 1, 2


class Lines(Protocol):
    """Where lines come from."""

    async def next(self) -> str | TooLong | None: ...


class Talk:
    """One conversation on one channel. ``complain`` gets sentences about lines, ``say`` what was asked for."""

    def __init__(
        self,
        live: Live,
        lines: Lines,
        *,
        say: Callable[[str], None],
        complain: Callable[[str], None],
        wait_s: float | None,
        forgiving: bool,
    ) -> None:
        """``forgiving``: a mistyped line of a person is no reason for another exit code."""
        self._live = live
        self._lines = lines
        self._say = say
        self._complain = complain
        self._wait_s = wait_s
        self._forgiving = forgiving
        self._misused = False

    async def run(self) -> int:
        """Until the end of input and of the waiting, or of the channel; the exit code."""
        live = self._live
        if await self._either(live.opened.wait()):
            while await self._either(live.writable.wait()) and await self._line():
                pass
            if not live.gone.is_set():
                await self._linger()
        return self._verdict()

    async def _line(self) -> bool:
        """Take one line; False: there is none any more."""
        reading = asyncio.ensure_future(self._lines.next())
        if not await self._either(reading):
            return False
        text = reading.result()
        if text is None:
            return False
        try:
            return self._do(text)
        except LineError as error:
            self._misused = True
            self._complain(str(error))
            return True

    def _do(self, text: str | TooLong) -> bool:
        live = self._live
        if isinstance(text, TooLong):
            raise LineError("This line is longer than any frame; it is not sent.")
        line = live.reader.read(text)
        if isinstance(line, AskConsole):
            return self._ask(line)
        if line is not None:
            live.send(line)
        return True

    def _ask(self, line: AskConsole) -> bool:
        live = self._live
        if line.command == "/quit":
            # Who quits waits for nothing.
            live.open_requests.clear()
            live.leave()
            return False
        if line.command == "/clock":
            self._say(live.clock_text())
        elif line.command == "/types":
            for text in type_lines(live.reader, line.argument):
                self._say(text)
        else:
            for text in help_lines(raw=live.reader.raw):
                self._say(text)
        return True

    async def _linger(self) -> None:
        """After the end of input: ``--wait`` seconds of quiet; without it until every request has its answer."""
        live = self._live
        ended_s = live.clock.monotonic()
        while not live.gone.is_set():
            if self._wait_s is None:
                if not live.open_requests:
                    break
                due_s = ended_s + ANSWER_S
            else:
                due_s = max(ended_s, live.last_message_s) + self._wait_s
            if live.clock.monotonic() >= due_s:
                break
            live.news.clear()
            timer = live.timers.schedule(due_s, live.news.set)
            try:
                await live.news.wait()
            finally:
                live.timers.cancel(timer)
        live.leave()

    def _verdict(self) -> int:
        live = self._live
        if live.failure is not None:
            self._complain(escaped(live.failure))
            return FAILED
        if live.open_requests:
            missing = ", ".join(f"{value} ({name})" for value, name in list(live.open_requests.items())[:10])
            self._complain(f"No answer came to {escaped(missing)}.")
            return FAILED
        if self._misused and not self._forgiving:
            return MISUSED
        return FAILED if live.refusals and not self._forgiving else DONE

    async def _either(self, wanted: Awaitable[object]) -> bool:
        """Wait for ``wanted`` or the end of the channel; False: it was the end."""
        live = self._live
        first = asyncio.ensure_future(wanted)
        second = asyncio.ensure_future(live.gone.wait())
        try:
            await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
            # A line that comes together with the end is not the person's mistake.
            return first.done() and not live.gone.is_set()
        finally:
            for task in (first, second):
                if not task.done():
                    task.cancel()
