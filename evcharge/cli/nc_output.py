"""Where the output of ``evcharge-nc`` goes: rows to stdout, sentences to stderr, recordings and keys to new files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import click

from evcharge.cli.common import Failed
from evcharge.console.recording import new_private_file
from evcharge.console.rows import ARROWS, Row, to_json, to_lines
from protocol.keylog import C2S, S2C, LeafKey

COLOURS = {C2S: "green", S2C: "cyan"}

json_option = click.option(
    "--json/--text", "as_json", default=None, help="JSON lines or lines for people; default: text on a terminal."
)
hex_option = click.option("--hex", "hexdump", is_flag=True, help="Show the bytes of frames, and of opened tokens.")


class Shower:
    """Writes rows to stdout. ``on_closed`` is called when nobody reads them any more (``| head``)."""

    def __init__(self, *, as_json: bool | None, hexdump: bool) -> None:
        self._terminal = sys.stdout.isatty()
        self._as_json = not self._terminal if as_json is None else as_json
        self._hexdump = hexdump
        self.closed = False
        self.failed = ""
        """Why the output could not be written; rows come from inside callbacks, so whoever asked for them says it."""
        self.on_closed: Callable[[], None] = _nothing

    def __call__(self, row: Row) -> None:
        if self._as_json:
            self._out(to_json(row))
            return
        colour = "red" if row.what == "bad" else COLOURS.get(row.dir)
        for line in to_lines(row, hexdump=self._hexdump):
            arrow = ARROWS.get(row.dir, "")
            self._out(line.replace(arrow, click.style(arrow, fg=colour), 1) if self._terminal and colour else line)

    def _out(self, line: str) -> None:
        if self.closed:
            return
        try:
            click.echo(line)
            sys.stdout.flush()
        except BrokenPipeError:
            self.closed = True
            # What is still buffered would fail again when the program ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.on_closed()
        except OSError as error:
            # A full disk under `> file`: nothing of what is still buffered will get there.
            self.closed = True
            self.failed = f"cannot write the output: {error.strerror}"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.on_closed()


def _nothing() -> None:
    """Whoever asks looks at ``closed``."""


def complain(text: str) -> None:
    """A sentence on stderr."""
    click.echo(text, err=True)


def say(text: str) -> None:
    """What a person asked the console for; not on stdout, which is for rows."""
    click.echo(text, err=True)


def new_file(path: Path) -> BinaryIO:
    try:
        return new_private_file(path)
    except FileExistsError:
        raise Failed(f"{path} exists already; move it away first, nothing is overwritten.") from None
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from error


def key_writer(stream: BinaryIO) -> Callable[[LeafKey], None]:
    def write(key: LeafKey) -> None:
        stream.write(key.line().encode("ascii") + b"\n")
        # A key that is needed after a crash has to be there.
        stream.flush()

    return write
