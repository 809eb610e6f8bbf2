"""Single keys and one live line on a terminal."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import termios
import tty
from collections.abc import Callable
from types import TracebackType

import click

# Most keys that are taken at once; a paste into the terminal is no command.
_MAX_KEYS = 64


class Keyboard:
    """While entered, every key on stdin calls ``press`` at once, without Enter and without echo."""

    def __init__(self, press: Callable[[str], None]) -> None:
        self._press = press
        self._fd = sys.stdin.fileno()
        self._saved: list[object] = []

    def __enter__(self) -> Keyboard:
        self._saved = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        if _in_foreground(self._fd):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type] # as tcgetattr gave it

    def _read(self) -> None:
        data = os.read(self._fd, _MAX_KEYS)
        if not data:
            # The terminal is gone; without this the loop would spin on it.
            asyncio.get_running_loop().remove_reader(self._fd)
        for key in data.decode("ascii", "replace"):
            self._press(key)


def on_terminal() -> bool:
    """A person sits there and types to this program: a job in the background (``&``) would be stopped by the first key
    that it wants to read.
    """
    return sys.stdin.isatty() and sys.stdout.isatty() and _in_foreground(sys.stdin.fileno())


def _in_foreground(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        # A terminal, and not the one that rules this program: nothing there stops it.
        return True


def show_line(text: str) -> None:
    """Replace the live line."""
    columns = shutil.get_terminal_size().columns
    plain = "".join(character if character.isprintable() else "?" for character in text)
    click.echo(f"\r\x1b[K{plain[: columns - 1]}", nl=False)


def say(text: str) -> None:
    """A line that stays, above the live line."""
    click.echo(f"\r\x1b[K{text}")
