"""``evcharge-nc``: looks into the protocol as netcat looks into a TCP connection."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

import click

from evcharge.cli.commands import Group
from evcharge.cli.common import CONTEXT, Failed, config_option, parse_address, run_command
from evcharge.cli.nc_output import Shower, complain, hex_option, json_option, key_writer, new_file, say
from evcharge.cli.nc_register import register_command
from evcharge.cli.peer import CENTRAL_PORT, stop_on_signals
from evcharge.console.keys import KeyLogError, Keyring, read_key_log
from evcharge.console.lines import help_lines
from evcharge.console.live import Live
from evcharge.console.offline import decode
from evcharge.console.recording import Recorder, RecordingError, read_recording
from evcharge.console.replay import Replay, client_frames
from evcharge.console.source import Source
from evcharge.console.talk import DONE, FAILED, Talk
from evcharge.net.clock import SystemClock
from evcharge.net.timers import TimerWheel
from protocol.credentials import MAX_JSON, Credential, CredentialError, Role

# How long connecting may take, and the last bytes to leave, in seconds.
CONNECT_S = 5.0
LINGER_S = 2.0
# Quiet after the end of input with --raw, in seconds: what Central answers to nonsense belongs to no request.
RAW_WAIT_S = 1.0
EPILOG = """\
\b
Examples:
  evcharge-nc register --token-file operator.token --id me --out debug.json
      a credential of your own, valid for an hour; it may list and query
  evcharge-nc --credentials debug.json --central 127.0.0.1:7411
      on a terminal: type {"type":"list"} or /help
  echo '{"type":"list"}' | evcharge-nc --credentials debug.json --central 127.0.0.1 |
  jq 'select(.dir == "s2c") | .message // empty'
      in a script: JSON in, JSON out; ends when the answer is there
  echo '{"type":"charge_request","cp_id":"CP-1"}' |
  evcharge-nc --credentials anna.json --central 127.0.0.1 --wait 60 --record a.rec --keylog a.keys
      follows a charge until 60 s pass without news, and records it
  evcharge-nc decode a.rec --keylog a.keys
      reads the recording; without --keylog: types and sizes
  evcharge-nc --replay a.rec --central 127.0.0.1
      sends it once more; Central has to refuse it

\b
Exit codes: 0 done; 1 refused, failed, or a request without an answer (or answered with no);
2 misused, or a line of a script that could not be sent.
"""


@click.group(name="evcharge-nc", cls=Group, context_settings=CONTEXT, invoke_without_command=True, epilog=EPILOG)
@config_option
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Credential file of any role. It takes over from a running program with the same credential.",
)
@click.option("--central", metavar="HOST:PORT", help=f"Where Central listens; port {CENTRAL_PORT} if left out.")
@json_option
@hex_option
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 86_400),
    default=None,
    help="After the end of input stay until so many seconds pass without a message; default: until every request "
    "has its answer, 10 s at most (with --raw: 1).",
)
@click.option("--raw", is_flag=True, help="Send what the protocol forbids, too, and raw bytes; see /help.")
@click.option(
    "--record", type=click.Path(path_type=Path, dir_okay=False), help="New file (0600) for everything on the wire."
)
@click.option(
    "--keylog",
    type=click.Path(path_type=Path, dir_okay=False),
    help="New file (0600) for this channel's keys: who has it and a recording reads everything.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Send the client's frames of a recording instead; 0: Central refused them, 1: it did not.",
)
@click.option("--use-next-key", is_flag=True, help="Expect the key that Central has announced as its next one.")
@click.pass_context
def cli(
    context: click.Context,
    credentials: Path | None,
    central: str | None,
    as_json: bool | None,
    hexdump: bool,
    wait_s: float | None,
    raw: bool,
    record: Path | None,
    keylog: Path | None,
    replay: Path | None,
    use_next_key: bool,
) -> None:
    """Look into the protocol: JSON lines in, decoded frames out, over an ordinary encrypted channel to Central.

    Central has no debug port: this is a client like any other, with the rights of its credential.
    """
    if context.invoked_subcommand is not None:
        _no_options_before(context)
        return
    if central is None:
        raise click.UsageError("--central HOST:PORT is missing. evcharge-nc --help has examples.")
    host, port = parse_address(central, CENTRAL_PORT)
    show = Shower(as_json=as_json, hexdump=hexdump)
    if replay is not None:
        given = {"--credentials": credentials, "--record": record, "--keylog": keylog, "--wait": wait_s}
        wrong = [name for name, value in given.items() if value is not None]
        if wrong or raw or use_next_key:
            raise click.UsageError("--replay takes nothing but --central, --hex, --text and --json.")
        code = asyncio.run(_replay(replay, host, port, show, hexdump=hexdump))
        if show.failed:
            raise Failed(show.failed)
        sys.exit(code)
    if credentials is None:
        raise click.UsageError("--credentials FILE is missing; `evcharge-nc register` makes one.")
    if record is not None and record == keylog:
        raise click.UsageError("--record and --keylog need two files: keep the keys apart from what they open.")
    credential = read_credential(credentials)
    if use_next_key and credential.central_next is None:
        raise Failed(f"{credentials} knows no next key of Central; leave --use-next-key out.")
    made = [path for path in (record, keylog) if path is not None]
    with ExitStack() as files:
        stream = None if record is None else files.enter_context(new_file(record))
        keys = None if keylog is None else files.enter_context(new_file(keylog))
        if keylog is not None:
            complain(f"warning: {keylog} will open everything on this channel; delete it when you are done.")
        if raw and wait_s is None:
            wait_s = RAW_WAIT_S
        look = _Look(show, wait_s, stream, keys, raw, hexdump, use_next_key)
        try:
            code = asyncio.run(_live(credential, host, port, look))
        except NotConnected:
            # Nothing was recorded: the same command shall not fail because of its own empty files.
            for path in made:
                path.unlink(missing_ok=True)
            raise
    if show.failed:
        raise Failed(show.failed)
    sys.exit(code)


def _no_options_before(context: click.Context) -> None:
    """Options before a subcommand would be dropped without a word. Raises UsageError."""
    name = context.invoked_subcommand
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name is not None
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        and parameter.name != "config"
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} stands before `{name}`: put the options of `{name}` behind it.")


class NotConnected(Failed):
    """Nobody is there."""


class _Look(NamedTuple):
    """How a live channel is looked at."""

    show: Shower
    wait_s: float | None
    record: BinaryIO | None
    keys: BinaryIO | None
    raw: bool
    hexdump: bool
    use_next_key: bool


async def _live(credential: Credential, host: str, port: int, look: _Look) -> int:
    clock = SystemClock()
    timers = TimerWheel(clock)
    recorder = None
    if look.record is not None:
        recorder = Recorder(look.record, started_ms=clock.steady_ms(), role=credential.role.label)
    live = Live(
        credential,
        clock=clock,
        timers=timers,
        boot_id=os.urandom(16),
        entropy=os.urandom,
        show=look.show,
        recorder=recorder,
        key_log=None if look.keys is None else key_writer(look.keys),
        raw=look.raw,
        blocks=look.hexdump,
        use_next_key=look.use_next_key,
    )
    stop = stop_on_signals()
    look.show.on_closed = stop.set
    person = sys.stdin.isatty()
    try:
        await _connect(lambda: live, host, port)
        lines = Source()
        lines.start(sys.stdin.fileno())
        if person:
            for text in help_lines(raw=look.raw):
                click.echo(text, err=True)
        talk = Talk(live, lines, say=say, complain=complain, wait_s=look.wait_s, forgiving=person)
        talking = asyncio.create_task(talk.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((talking, stopping), return_when=asyncio.FIRST_COMPLETED)
        live.leave()
        code = await talking
        stopping.cancel()
        if not live.lost.is_set():
            timer = timers.schedule(clock.monotonic() + LINGER_S, live.lost.set)
            await live.lost.wait()
            timers.cancel(timer)
        return code
    finally:
        if recorder is not None:
            _close(recorder)
        timers.close()


def _close(recorder: Recorder) -> None:
    try:
        recorder.close()
    except OSError as error:
        raise Failed(f"the recording is not whole: {error.strerror}.") from error


async def _replay(path: Path, host: str, port: int, show: Shower, *, hexdump: bool) -> int:
    try:
        with path.open("rb") as stream:
            frames = client_frames(read_recording(stream))
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from error
    except RecordingError as error:
        raise Failed(f"{path}: {error}") from error
    clock = SystemClock()
    timers = TimerWheel(clock)
    try:
        player = Replay(frames, clock=clock, timers=timers, show=show, blocks=hexdump)
        await _connect(lambda: player, host, port)
        outcome = await player.run()
    finally:
        timers.close()
    complain(outcome.sentence)
    return DONE if outcome.refused else FAILED


async def _connect(make: Callable[[], asyncio.Protocol], host: str, port: int) -> None:
    try:
        async with asyncio.timeout(CONNECT_S):
            await asyncio.get_running_loop().create_connection(make, host, port)
    except TimeoutError:
        raise NotConnected(f"{host}:{port} does not answer in {CONNECT_S:g} s; is Central there?") from None
    except OSError as error:
        raise NotConnected(
            f"cannot connect to {host}:{port}: {error.strerror or error}; is Central running?"
        ) from error


@cli.command("decode")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--keylog",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Keys of the channel; without it types, sizes and times are shown.",
)
@json_option
@hex_option
def decode_command(file: Path, keylog: Path | None, as_json: bool | None, hexdump: bool) -> None:
    """Show the frames of a recording (--record) or of a capture (tcpdump -w; pcap or pcapng).

    Captures need the extra `capture` (dpkt). One key opens one epoch of one direction, so a file may begin in the
    middle of a channel. Exit code 1: a part of the file is damaged or missing; what can be read is shown.
    """
    show = Shower(as_json=as_json, hexdump=hexdump)
    damaged = opened = sealed = False
    try:
        keys = Keyring() if keylog is None else read_key_log(keylog)
        with file.open("rb") as stream:
            for row in decode(stream, keys, blocks=hexdump):
                damaged |= row.what == "bad"
                opened |= row.epoch is not None
                sealed |= row.frame == "DATA" and row.epoch is None
                show(row)
                if show.closed:
                    break
    except KeyLogError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"cannot read {error.filename or file}: {error.strerror}") from error
    if show.failed:
        raise Failed(show.failed)
    if keylog is not None and sealed and not opened:
        complain(f"None of the keys in {keylog} opens anything in {file}: are they of another channel?")
    if damaged:
        sys.exit(FAILED)


def read_credential(path: Path) -> Credential:
    """A credential of any role that connects. Raises Failed."""
    try:
        with path.open("rb") as stream:
            credential = Credential.from_json(stream.read(MAX_JSON + 1))
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from error
    except CredentialError as error:
        raise Failed(f"{path}: {error}") from error
    if credential.role is Role.CENTRAL:
        raise Failed(f"{path} is Central's own credential; Central connects to nobody. `evcharge-nc register` helps.")
    return credential


cli.add_command(register_command)


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_NC")


if __name__ == "__main__":
    main()
