"""``evcharge-audit``: is the log what was written, what does it say, and how is that proven to others?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import msgspec

from evcharge.audit.archive import CannotArchive, archivable, beginning, move
from evcharge.audit.checkpoints import CHECKPOINTS, BadCheckpoints, read_checkpoints
from evcharge.audit.doctor import examine
from evcharge.audit.event_codec import UnknownKind
from evcharge.audit.files import OsFiles
from evcharge.audit.folding import Folding
from evcharge.audit.keys import CURRENT, NEXT, BadKeyFile, load, make
from evcharge.audit.merkle import BadProof
from evcharge.audit.note import BadNote, Verifier
from evcharge.audit.proof import MAX_PROOF_FILE, CannotProve, Proof, Prover, check
from evcharge.audit.receipt import record_of_ticket, ticket_told
from evcharge.audit.record import FIRST_SEQ
from evcharge.audit.verify import Progress, Report, Verification
from evcharge.central.recall import Diverged
from evcharge.central.snapshots import CannotSnapshot, make_snapshot
from evcharge.cli.audit_show import ARCHIVE, LOG, export_command, files_of, show_command, why_command
from evcharge.cli.commands import Group
from evcharge.cli.common import CONTEXT, Failed, print_json, run_command
from evcharge.domain.digest import RULES
from evcharge.text import escaped

F = TypeVar("F", bound=Callable[..., Any])

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


class _Key(click.ParamType[Any]):
    name = "key"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Verifier:
        try:
            return Verifier.parse(value)
        except BadNote as error:
            self.fail(f"{error}.", parameter, context)


@click.group(name="evcharge-audit", cls=Group, context_settings=CONTEXT)
def cli() -> None:
    """Look at Central's audit log (DATA/log) from the files alone; Central may run meanwhile.

    \b
      evcharge-audit verify central-data/log          is every record what was written?
      evcharge-audit show central-data/log --cp CP-1  what happened there?
      evcharge-audit why central-data/log SESSION     why did it get what it got?
      evcharge-audit prove central-data/log 1234      a proof for others that record 1234 is in the log
      evcharge-audit doctor central-data/log          what is wrong, and the safe way out
      evcharge-audit archive central-data/log /mnt/a  old segments elsewhere, still verifiable

    Looking changes nothing, whatever is found. Exit codes: 0 all is well, 1 damage or no proof, 2 misuse.
    """


@cli.command()
@LOG
@click.option("--key", type=_Key(), help="Verifier key that you have from elsewhere; default: the log's own first one.")
@click.option("--state", is_flag=True, help="Replay the events too, and compare the state with every hash in the log.")
@ARCHIVE
@JSON
def verify(directory: Path, key: Verifier | None, state: bool, archive: Path | None, as_json: bool) -> None:
    """Check every record, checkpoint, signature and key in DIRECTORY.

    With --key the check trusts nothing but that key; without, it shows that the log agrees with itself and with the key
    that it names, which whoever holds the disk could have exchanged as a whole.
    """
    folding = Folding() if state else None
    files = files_of(archive)
    verification = Verification(directory, files, trusted=key)
    with _errors(), _bar("verifying") as progress:
        if state and beginning(directory, files).start.seq != FIRST_SEQ:
            raise click.UsageError("--state needs the log from its first record on: give --archive too.")
        report = verification.run(progress, None if folding is None else folding.take)
    if folding is not None and folding.diverged is not None and report.damage is None:
        report.damage = folding.diverged
    if as_json:
        print_json({"ok": report.damage is None, **msgspec.to_builtins(report), **_states(folding)})
    else:
        _say(report, folding)
    sys.exit(0 if report.damage is None else 1)


def _states(folding: Folding | None) -> dict[str, int]:
    return {} if folding is None else {"states": folding.compared}


def _say(report: Report, folding: Folding | None) -> None:
    if report.damage is None:
        head = click.style("ok", fg="green", bold=True)
        files = f"{report.segments} segment{'s' * (report.segments != 1)}"
        here = report.records - report.first + 1
        click.echo(f"{head}       {here:,} records in {files}, every one as it was written")
    else:
        damage = report.damage
        head = click.style("damaged", fg="red", bold=True)
        click.echo(f"{head}  {escaped(damage.file)} at offset {damage.offset}, record {damage.seq}: {damage.why}")
        if not damage.file.endswith(CHECKPOINTS):
            click.echo(f"         records {report.first:,} to {report.records:,} before it are sound")
        click.echo("         `evcharge-audit doctor` says what to do")
    if report.first > FIRST_SEQ:
        click.echo(f"archived records 1 to {report.first - 1:,} are not here; --archive checks them too")
    signed = f"up to record {report.signed_up_to:,}, {report.checkpoints:,} checkpoints" if report.checkpoints else "no"
    click.echo(f"signed   {signed}")
    if report.unsigned and report.damage is None:
        click.echo(f"         {report.unsigned:,} records behind that are chained and not signed yet")
    if report.unread:
        click.echo(f"         {report.unread} bytes behind the last checkpoint cannot be read: a cut write, or damage")
    for key in report.keys:
        click.echo(f"key      {escaped(key)}{'  (the one you gave)' if key == report.trusted else ''}")
    if folding is not None:
        click.echo(f"state    {folding.compared:,} hashes agree with a replay")
    if report.torn:
        click.echo(f"torn     {escaped(report.torn)}; nothing acknowledged is missing")
    click.echo(f"root     {report.root}")
    if report.keys and not report.trusted:
        click.echo("         Give --key with the verifier key that you noted elsewhere to trust nothing on this disk.")


@cli.command()
@LOG
@click.argument("seq", type=click.IntRange(1), required=False)
@click.option(
    "--since",
    "older",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint that you kept: prove that the log still begins like that.",
)
@click.option("--ticket", help="Prove the record of this ticket: the receipt that its driver can check.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the proof here; default: stdout.")
@ARCHIVE
def prove(
    directory: Path, seq: int | None, older: Path | None, ticket: str | None, out: Path | None, archive: Path | None
) -> None:
    """Prove to others that record SEQ is in the signed log, or (--since) that an older signed log is its beginning.

    With --ticket the record is that of a ticket: a receipt, which holds the ticket and the proof.
    """
    if [seq, older, ticket].count(None) != 2:
        raise click.UsageError("Give the number of a record, --ticket, or --since with a checkpoint.")
    files = files_of(archive)
    with _errors():
        if ticket is not None:
            seq = record_of_ticket(directory, files, ticket)
        prover = Prover(directory, files)
        proof: Proof
        if older is not None:
            proof = prover.consistency(older.read_bytes()[:MAX_PROOF_FILE])
        else:
            assert seq is not None
            proof = prover.inclusion(seq)
    if prover.rebuilt:
        click.echo("The file of tree nodes does not fit to the log: the whole log was read instead.", err=True)
    text = msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n"
    if out is None:
        sys.stdout.buffer.write(text)
        return
    try:
        out.write_bytes(text)
    except OSError as error:
        raise Failed(f"cannot write {out}: {error.strerror}") from error


@cli.command()
@LOG
def checkpoint(directory: Path) -> None:
    """Print the newest signed checkpoint, for somebody who wants to keep it: `prove --since` begins with it."""
    with _errors():
        kept, _ = read_checkpoints(directory, files_of(None))
    if not kept:
        raise Failed(f"there is no signed checkpoint in {directory} yet.")
    sys.stdout.buffer.write(kept[-1].data)


@cli.command("check-proof")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--key", "keys", type=_Key(), multiple=True, required=True, help="Verifier key of the log; may be repeated."
)
@JSON
def check_proof(file: Path, keys: Sequence[Verifier], as_json: bool) -> None:
    """Check a proof from `prove`, with nothing but the key of the log. Needs no log."""
    data = sys.stdin.buffer.read(MAX_PROOF_FILE + 1) if str(file) == "-" else file.read_bytes()[: MAX_PROOF_FILE + 1]
    try:
        proof = msgspec.json.decode(data, type=Proof)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Failed(f"{file} is no proof of evcharge-audit.") from None
    try:
        shown = check(proof, keys)
    except (BadNote, BadProof, ValueError) as error:
        raise Failed(f"the proof does not hold: {error}.") from None
    if as_json:
        print_json({"ok": True, "shows": shown.kind, "log": shown.origin, "size": shown.size, "seq": shown.seq})
        return
    ok = click.style("ok", fg="green", bold=True)
    if shown.kind == "inclusion":
        click.echo(f"{ok}  record {shown.seq:,} is in the log {escaped(shown.origin)}, signed up to {shown.size:,}")
        told = ticket_told(shown.body)
        click.echo(escaped(told or msgspec.json.encode(msgspec.msgpack.decode(shown.body)).decode()))
    else:
        click.echo(f"{ok}  the log {escaped(shown.origin)} of {shown.size:,} records begins with that of {shown.seq:,}")


@cli.command()
@LOG
@ARCHIVE
@JSON
def doctor(directory: Path, archive: Path | None, as_json: bool) -> None:
    """Explain what is wrong with the log in DIRECTORY and the safe way out. Changes and deletes nothing."""
    with _errors(), _bar("examining") as progress:
        diagnosis = examine(directory, files_of(archive), progress)
    grave = any(finding.grave for finding in diagnosis.findings)
    if as_json:
        print_json({"ok": not grave, **msgspec.to_builtins(diagnosis)})
    elif not diagnosis.findings:
        click.echo(f"{click.style('well', fg='green', bold=True)}  {diagnosis.report.records:,} records, nothing to do")
    for finding in () if as_json else diagnosis.findings:
        head = click.style("grave", fg="red", bold=True) if finding.grave else click.style("note", fg="yellow")
        click.echo(f"{head}  {escaped(finding.what)}\n       {escaped(finding.do)}")
    sys.exit(1 if grave else 0)


@cli.command()
@click.argument("data_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--up-to", type=click.IntRange(1), help="The record behind which it stands; default: the log's last one.")
@ARCHIVE
@JSON
def snapshot(data_dir: Path, up_to: int | None, archive: Path | None, as_json: bool) -> None:
    """Replay the log in DATA_DIR and write the state to a snapshot, from which the next start of Central begins.

    DATA_DIR is Central's --data-dir. Central has this done by itself every 100,000 records. Without --up-to Central
    must not run: only it knows which record is the last durable one.
    """
    with _errors():
        try:
            made = make_snapshot(data_dir, files_of(archive), up_to=up_to)
        except (CannotSnapshot, Diverged) as error:
            raise Failed(f"{error}") from None
    if as_json:
        print_json(made)
    else:
        click.echo(f"{made.file}: {made.records:,} records replayed, state of {made.bytes:,} bytes")


@cli.command()
@LOG
@click.argument("destination", type=click.Path(path_type=Path, file_okay=False))
@click.option("--keep", type=click.IntRange(1), default=2, help="So many of the newest segments stay in any case.")
@JSON
def archive(directory: Path, destination: Path, keep: int, as_json: bool) -> None:
    """Move segments that no start needs any more from DIRECTORY to DESTINATION; Central may run meanwhile.

    The log is verified first, each copy is durable and compared before its original goes, and what is left stays
    verifiable by itself: it begins at an anchor, and the signed checkpoints still cover all of it. `verify`, `show`,
    `why`, `export` and `prove` take --archive DESTINATION to look at all of it. Segments stay as long as one of the two
    newest snapshots needs them.
    """
    files = OsFiles()
    verification = Verification(directory, files)
    with _errors(), _bar("verifying") as progress:
        report = verification.run(progress)
        if report.damage is not None:
            raise Failed(f"the log is damaged, nothing was moved; `evcharge-audit doctor {directory}` says what to do.")
        try:
            below = archivable(directory, files, [Verifier.parse(key) for key in report.keys], keep, rules=RULES)
            moved = move(directory, destination, files, verification.anchors, below)
        except CannotArchive as error:
            raise Failed(f"{error}.") from None
        except BlockingIOError:
            raise Failed(f"another one archives to {destination}.") from None
    first = max(below, report.first)
    if as_json:
        print_json({"moved": [str(path) for path in moved], "first": first})
    elif moved:
        segments = f"{len(moved)} segment{'s' * (len(moved) != 1)}"
        click.echo(f"{segments} to {destination}; the log in {directory} begins with record {first:,} now")
    else:
        click.echo(f"nothing to move: the log begins with record {first:,}, and a start may need all of it")


@cli.command("rotate-key")
@click.argument("data_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
def rotate_key(data_dir: Path) -> None:
    """Put a new signing key beside the one in DATA_DIR/log-key; the next start of Central takes it over.

    DATA_DIR is Central's --data-dir. The log will say so, signed by the old key, and the old key is removed then.
    """
    keys = data_dir / "log-key"
    files = OsFiles()
    with _errors():
        current = load(keys, CURRENT, files)
        if current is None:
            raise Failed(f"there is no signing key in {keys}; Central makes the first one when it starts.")
        if load(keys, NEXT, files) is not None:
            raise Failed(f"a new key waits in {keys} already; restart Central to take it over.")
        made = make(keys, NEXT, current.verifier.name, files, os.urandom)
    click.echo(f"new key  {made.verifier}")
    click.echo("Restart Central to take it over. Either key verifies the log from then on; note the new one too.")


@contextmanager
def _errors() -> Iterator[None]:
    """What a log or a disk can do to a reader, as one sentence."""
    try:
        yield
    except (CannotProve, BadNote, BadCheckpoints, BadKeyFile) as error:
        raise Failed(f"{error}.") from None
    except UnknownKind as error:
        raise Failed(f"the log was written by a newer evcharge: {error}.") from None
    except OSError as error:
        raise Failed(f"cannot read {error.filename or 'the log'}: {error.strerror}.") from None


@contextmanager
def _bar(label: str) -> Iterator[Progress | None]:
    """A progress bar on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1_000, label=label, file=sys.stderr) as bar:
        shown = 0

        def progress(done: int, total: int) -> None:
            nonlocal shown
            now = 1_000 * done // max(1, total)
            bar.update(now - shown)
            shown = now

        yield progress


cli.add_command(show_command)
cli.add_command(export_command)
cli.add_command(why_command)


def main() -> NoReturn:
    """Entry point."""
    run_command(cli, "EVCHARGE_AUDIT")


if __name__ == "__main__":
    main()
