"""``evcharge-audit show`` and ``export``: the log for people, for programs, for a table."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from evcharge.audit.archive import WithArchive
from evcharge.audit.control import KINDS
from evcharge.audit.event_codec import UnknownKind, decode, kind_of
from evcharge.audit.files import OsFiles, ReadOnly
from evcharge.audit.follow import Follower
from evcharge.audit.lines import Filter, Line, about_of, asker, fields, line_of, parse_when, when
from evcharge.audit.record import FIRST_SEQ
from evcharge.audit.segments import list_segments
from evcharge.audit.why import Inquiry, Step, lines_of
from evcharge.cli.commands import Command
from evcharge.cli.common import Failed
from evcharge.domain.events import EVENTS
from evcharge.text import escaped

F = TypeVar("F", bound=Callable[..., Any])

# How often `show --follow` looks for more, seconds: as quick as a person's eye.
LOOK_S = 0.2
ARCHIVE = click.option(
    "--archive",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    help="Folder to which `archive` moved older segments: they count as part of the log.",
)
COLUMNS = ("seq", "time", "at_ms", "actor", "source", "kind", "cp_id", "session_id", "driver_id", "data", "by", "trace")
_KINDS = sorted({kind_of(event) for event in EVENTS} | KINDS)


class _When(click.ParamType[Any]):
    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        try:
            return parse_when(value)
        except ValueError:
            self.fail(f"{value!r} is no time like 2026-11-21T09:30 (UTC).", parameter, context)


class _LogFolder(click.Path):
    """A folder with segments in it: a wrong one must not pass for an empty log."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        inside = path / "log"
        try:
            there, below = _has_log(path), inside.is_dir() and _has_log(inside)
        except OSError as error:
            self.fail(f"cannot read {path}: {error.strerror}.", param, ctx)
        if not there:
            hint = f"; did you mean {inside}?" if below else "."
            self.fail(f"there is no audit log in {path}{hint}", param, ctx)
        return path


def _has_log(path: Path) -> bool:
    segments, strange = list_segments(path, ReadOnly())
    return bool(segments or strange)


LOG = click.argument("directory", type=_LogFolder(path_type=Path, exists=True, file_okay=False))


def files_of(archive: Path | None) -> OsFiles:
    """The file system of a log, with what was archived of it."""
    return ReadOnly() if archive is None else WithArchive(archive)


def _follow(directory: Path, archive: Path | None) -> Follower:
    """From the first record that is here; says on stderr when that is not the log's first."""
    files = files_of(archive)
    segments, _ = list_segments(directory, files)
    if segments and segments[0].first_seq > FIRST_SEQ:
        click.echo(f"Records 1 to {segments[0].first_seq - 1:,} were archived; --archive shows them too.", err=True)
    return Follower(directory, files)


def filters(function: F) -> F:
    """The options that choose records."""
    for option in (
        click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Kind of record; may be repeated."),
        click.option("--driver", default="", help="Driver."),
        click.option("--session", default="", help="Session."),
        click.option("--trace", default="", metavar="ID", help="Request, as the gateway's X-Request-ID."),
        click.option("--by", default="", metavar="NAME", help="Client that a gateway acted for."),
        click.option("--cp", default="", help="Charge point."),
        click.option("--actor", default="", help="Who did it: driver:anna, anna, central, stranger …"),
        click.option("--until", "until_ms", type=_When(), default=None, help="Site time before which, UTC."),
        click.option("--since", "since_ms", type=_When(), default=None, help="Site time from which on, UTC."),
    ):
        function = option(function)
    return function


def _filter(options: dict[str, Any]) -> Filter:
    unknown = sorted(set(options["kinds"]) - set(_KINDS))
    if unknown:
        raise click.UsageError(f"There is no kind {', '.join(unknown)}; there are: {', '.join(_KINDS)}.")
    return Filter(**{**options, "kinds": frozenset(options["kinds"])})


@click.command("show", cls=Command)
@LOG
@filters
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what Central writes, until Ctrl-C.")
@ARCHIVE
def show_command(directory: Path, as_json: bool, follow: bool, archive: Path | None, **options: Any) -> None:
    """Show the records of DIRECTORY, one a line, oldest first. Nothing is verified: that is `verify`."""
    wanted = _filter(options)
    follower = _follow(directory, archive)
    while True:
        for line in _lines(follower, wanted):
            click.echo(msgspec.json.encode(line).decode() if as_json else _text(line))
        if not follow:
            _check_end(follower)
            return
        sys.stdout.flush()
        time.sleep(LOOK_S)


def _lines(follower: Follower, wanted: Filter) -> Iterator[Line]:
    try:
        for record in follower.records():
            line = line_of(record)
            if wanted.takes(line):
                yield line
    except OSError as error:
        raise Failed(f"cannot read {error.filename or 'the log'}: {error.strerror}.") from None


def _check_end(follower: Follower) -> None:
    """Whoever reads on must not take a damaged place for the end. Raises Failed."""
    try:
        unread = follower.unread()
    except OSError as error:
        raise Failed(f"cannot read {error.filename or 'the log'}: {error.strerror}.") from None
    if unread:
        raise Failed(f"behind record {follower.seq - 1:,} the log cannot be read: `evcharge-audit verify` says why.")


def _text(line: Line) -> str:
    number = click.style(f"{line.seq:>8}", dim=True)
    kind = click.style(f"{line.kind:26}", bold=line.at_ms is not None)
    actor = f"{line.actor:20}" if line.at_ms is not None else " " * 20
    said = asker(line.by, line.trace)
    told = f"{fields(line.data)}  ({said})" if said else fields(line.data)
    return f"{number}  {when(line.at_ms):23}  {escaped(actor)}  {kind}  {escaped(told)}".rstrip()


@click.command("why", cls=Command)
@LOG
@click.argument("subject", metavar="SESSION|CP|DRIVER")
@click.option("--at", "at_ms", type=_When(), default=None, help="Only what ruled at this site time, UTC.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@ARCHIVE
def why_command(directory: Path, subject: str, at_ms: int | None, as_json: bool, archive: Path | None) -> None:
    """Tell the decisions about a session, at a charge point or about a driver; of a node of the site its limits, its
    base load and its health.

    What bound, how old readings were, what was rejected. The log has them as typed data; the sentences are made here.
    """
    inquiry = Inquiry(subject)
    steps: list[Step] = []
    try:
        follower = _follow(directory, archive)
        for record in follower.records():
            logged = decode(record.body)
            if logged is not None:
                steps += inquiry.take(record.seq, logged)
    except UnknownKind as error:
        raise Failed(f"the log was written by a newer evcharge: {error}.") from None
    except OSError as error:
        raise Failed(f"cannot read {error.filename or 'the log'}: {error.strerror}.") from None
    if at_ms is not None and steps and at_ms < steps[0].at_ms:
        raise Failed(f"nothing had been decided about {subject} at that time: it begins at {when(steps[0].at_ms)}.")
    if at_ms is not None:
        before = [step for step in steps if step.at_ms <= at_ms]
        ruling = [step for step in before if step.limit_w is not None][-1:]
        steps = sorted({step.seq: step for step in (*ruling, *before[-1:])}.values(), key=lambda step: step.seq)
    if not steps and inquiry.named:
        click.echo(f"{escaped(subject)} is a node of the site; nothing about it has changed or was measured.", err=True)
        _check_end(follower)
        return
    if not steps:
        raise Failed(f"the log has no session, charge point, driver or node {subject} that anything was decided about.")
    for line in (msgspec.json.encode(step).decode() for step in steps) if as_json else map(escaped, lines_of(steps)):
        click.echo(line)
    if not as_json:
        click.echo("Times are UTC.", err=True)
    _check_end(follower)


@click.command("export", cls=Command)
@LOG
@filters
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=Path("-"),
    help="File; - is stdout.",
)
@ARCHIVE
def export_command(directory: Path, out: Path, archive: Path | None, **options: Any) -> None:
    """Write the records of DIRECTORY as CSV (RFC 4180, UTF-8); `data` is JSON."""
    wanted = _filter(options)
    follower = _follow(directory, archive)
    try:
        stream = sys.stdout if str(out) == "-" else out.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise Failed(f"cannot write {out}: {error.strerror}.") from None
    table = csv.writer(stream)
    table.writerow(COLUMNS)
    for line in _lines(follower, wanted):
        table.writerow(_row(line))
    _check_end(follower)
    if stream is not sys.stdout:
        stream.close()


def _row(line: Line) -> list[object]:
    whom = about_of(line.data)
    about = [_safe(str(whom.get(name, ""))) for name in ("cp_id", "session_id", "driver_id")]
    head = [line.seq, when(line.at_ms), line.at_ms or "", _safe(line.actor), _safe(line.source), line.kind]
    said = [_safe(line.by or ""), _safe(line.trace or "")]
    return [*head, *about, msgspec.json.encode(line.data).decode(), *said]


def _safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
