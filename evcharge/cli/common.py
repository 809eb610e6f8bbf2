"""What every command shares: settings from flag > EVCHARGE_* variable > TOML file > default, logging, exit codes.

Exit codes: 0 done, 1 failed (the sentence is on stderr), 2 misused, 74 the output cannot be written, 141 nobody reads
it. A traceback never reaches the user unless ``--debug`` asks for it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec
from click.core import ParameterSource

from evcharge import logs
from evcharge.cli.commands import by_name, settings_of
from evcharge.net.clock import SystemClock

if TYPE_CHECKING:
    from evcharge.net.exposition import Address

F = TypeVar("F", bound=Callable[..., Any])

# Nobody reads the output any more (as after SIGPIPE), or it cannot be written (EX_IOERR of sysexits).
EXIT_NOBODY_READS = 141
EXIT_OUTPUT_LOST = 74
_OUTPUT_LOST = (errno.EPIPE, errno.ENOSPC, errno.EIO)

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}


class Failed(click.ClickException):
    """Something did not work: one sentence that says what to do. Exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {self.message}", err=True, file=file)


def load_toml(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Callback of ``--config``: the table named like the command (or the whole file) becomes the defaults."""
    if path is None:
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not TOML: {error}") from error
    name = (context.info_name or "").removeprefix("evcharge-")
    own = table.get(name)
    # A setting may be called like the command, `central` for one: only a table is the command's own.
    section = own if isinstance(own, dict) else table
    flat = _flat(section)
    if not isinstance(context.command, click.Group):
        known = settings_of(context.command)
        unknown = sorted(set(flat) - {*known, *known.values()})
        if unknown:
            raise click.BadParameter(f"{path} has unknown settings: {', '.join(unknown)}. See {name} --help.")
    context.default_map = {**(context.default_map or {}), **by_name(context.command, flat)}
    if isinstance(context.command, click.Group):
        tables = {key: value for key, value in section.items() if isinstance(value, dict)}
        for verb in context.command.list_commands(context):
            context.default_map[verb] = {**flat, **_flat(tables.get(verb, {}))}
    return path


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    """The settings of a table, without the tables in it."""
    return {str(key).replace("-", "_"): value for key, value in table.items() if not isinstance(value, dict)}


def config_option(function: F) -> F:
    """Add ``--config FILE.toml``."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=load_toml,
        help="TOML file with settings; flags and EVCHARGE_* variables win over it.",
    )(function)


def log_options(function: F) -> F:
    """Add ``--log-level`` and set up logging to stderr before the command runs."""
    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        expose_value=False,
        callback=lambda _context, _parameter, value: configure_logging(value),
        help="How much to log on stderr.",
    )(function)


def clock_option(function: F) -> F:
    """Add ``--clock FILE``, which the demo uses to run site time fast in all processes alike."""
    return click.option(
        "--clock",
        "clock_file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        default=None,
        help="Site clock file (written by evcharge-demo); default: real time.",
    )(function)


def metrics_option(default: str) -> Callable[[F], F]:
    """Add ``--metrics HOST:PORT|off``: an ``Address``, or None."""

    def read(context: click.Context, parameter: click.Parameter, value: str) -> Address | None:
        # Here, because most commands serve no metrics and need neither an HTTP server nor Prometheus' client.
        from evcharge.net.exposition import Address

        if value == "off":
            return None
        host, port = parse_address(value, int(default.rpartition(":")[2]))
        if not host:
            raise click.BadParameter(f"{value!r} has no host; 0.0.0.0 is all addresses.")
        asked = context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
        return Address(host, port, asked)

    return click.option(
        "--metrics",
        metavar="HOST:PORT|off",
        default=default,
        callback=read,
        help="Serve /metrics for Prometheus there, to everybody who can reach it; port 0: any free one.",
    )


def make_clock(clock_file: Path | None) -> SystemClock:
    """The clock of this process."""
    return SystemClock(clock_file)


# As ntpd and others have it: one step more detail in the log, one step less.
STEPS = {signal.SIGUSR1: 1, signal.SIGUSR2: -1}


def configure_logging(level: str = "info") -> None:
    """Logs on stderr; SIGUSR1 and SIGUSR2 end no process any more, and change the level once it runs its loop."""
    logs.configure(level)
    if threading.current_thread() is threading.main_thread():
        for number in STEPS:
            # A function, because what is ignored would stay ignored in the programs that this one starts.
            signal.signal(number, lambda _number, _frame: None)


def levels_on_signals() -> None:
    """SIGUSR1 and SIGUSR2 change how much is logged; needs a running loop, in which the line that says so is safe."""
    loop = asyncio.get_running_loop()
    for number, more in STEPS.items():
        loop.add_signal_handler(number, partial(logs.step, more, cause=number.name))


def ready(name: str, **fields: Any) -> None:
    """The one line that says a daemon serves, with its real addresses: JSON unless stdout is a terminal."""
    if sys.stdout.isatty():
        shown = "  ".join(f"{key}={value}" for key, value in fields.items())
        click.echo(f"{click.style('ready', fg='green', bold=True)}  {name}  {shown}")
    else:
        click.echo(msgspec.json.encode({"ready": name, **fields}).decode())
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    click.echo(msgspec.json.encode(value).decode())


def write_secret(path: Path, content: bytes) -> None:
    """A new file that only its owner reads (0600); an existing one is refused, never overwritten."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failed(f"{path} exists already; move it away first, secrets are not overwritten.") from None
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def parse_address(text: str, default_port: int) -> tuple[str, int]:
    """``host``, ``host:port`` or ``[v6]:port``; a bad one is misuse."""
    host, separator, port = text.rpartition(":")
    if not separator or (host.count(":") and not host.startswith("[")):
        host, port = text, str(default_port)
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise click.BadParameter(f"the address {text!r} is not HOST:PORT with a port of 0 to 65535.")
    return host.strip("[]"), int(port)


def _have_streams() -> None:
    """A stream that the caller has closed (``<&-``) is an empty one: nothing to read, nobody who listens."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            handle = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def run_command(command: click.Command, variables: str) -> NoReturn:
    """Run a command: environment variables start with ``variables``; errors leave one sentence, not a traceback.

    Nobody reads on: exit code 141, as after SIGPIPE. The output cannot be written: 74 (EX_IOERR of sysexits).
    """
    _have_streams()
    stdout = sys.stdout
    try:
        code = _run(command, variables)
        stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_LOST:
            raise
        _forget(stdout)
        if error.errno == errno.EPIPE:
            sys.exit(EXIT_NOBODY_READS)
        with suppress(OSError):
            Failed(f"the output cannot be written: {error.strerror}.").show()
        sys.exit(EXIT_OUTPUT_LOST)
    if sys.stdout is not stdout:
        # click has seen that nobody reads, and made an end of 1 of it.
        _forget(stdout)
        sys.exit(EXIT_NOBODY_READS)
    sys.exit(code)


def _run(command: click.Command, variables: str) -> Any:
    """The exit code."""
    try:
        # https://no-color.org; None leaves it to what stdout is.
        colour = False if os.environ.get("NO_COLOR") else None
        command.main(auto_envvar_prefix=variables, standalone_mode=False, prog_name=command.name, color=colour)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        return stop.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    return 0


def _forget(stdout: Any) -> None:
    """What is still in the buffer is not tried again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, stdout.fileno())
    os.close(nowhere)
