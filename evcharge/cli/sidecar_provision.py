"""``evcharge-sidecar provision``: registry, credentials, accounts and certificates of a whole site, from one plan."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from evcharge.cli.commands import Command
from evcharge.cli.common import Failed, configure_logging, make_clock, print_json
from evcharge.cli.sidecar_options import data_dir_option, database_option
from evcharge.sidecar.bootstrap import BootstrapError
from evcharge.sidecar.database import StoreError, first_line
from evcharge.sidecar.provision.keeping import Busy, Report
from evcharge.sidecar.provision.plan import BadPlan, load_plan
from evcharge.sidecar.provision.site import provision

_OWNER = re.compile(r"(\d{1,9}):(\d{1,9})")


@click.command(name="provision", cls=Command)
@data_dir_option
@database_option
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="TOML file: url, charge_points, drivers, gateways, accounts, certificates, passwords.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of what is handed out; in it one folder (0700) for each program.",
)
@click.option(
    "--rotate",
    multiple=True,
    metavar="FOLDER",
    help="Give what was lost in this folder of --out a new secret; the old one ends at once.",
)
@click.option("--strict", is_flag=True, help="Exit 1 also for hand-outs that are lost or old: the site serves without.")
@click.option(
    "--owner",
    metavar="UID:GID",
    default=None,
    help="Started as root: give root's own folders of --out and --data-dir to this user, and be it from then on.",
)
def provision_command(
    data_dir: Path,
    database: str | None,
    plan_file: Path,
    out: Path,
    rotate: tuple[str, ...],
    strict: bool,
    owner: str | None,
) -> None:
    """Make all that a site needs before its first start, and later what its plan has more than before.

    It works on the data directory itself, without a sidecar that serves it. Nothing is overwritten; a certificate is
    made anew when a third of its time is left. A run that was broken off is completed by the next one.

    Exit code 1 is for what Central and the sidecar need. A credential that was rotated or replaced elsewhere belongs
    into its folder of --out, too; until it is there, that is said, and nothing waits for it.
    """
    configure_logging("warning")
    if owner is not None:
        _become(owner, (data_dir, out))
    try:
        plan = load_plan(plan_file)
    except BadPlan as error:
        raise click.UsageError(str(error)) from error
    try:
        report = asyncio.run(
            provision(
                data_dir,
                plan,
                out,
                clock=make_clock(None),
                entropy=os.urandom,
                database_url=database,
                rotate=[folder.strip("/") for folder in rotate],
            )
        )
    except BadPlan as error:
        raise click.UsageError(str(error)) from error
    except (BootstrapError, Busy, StoreError) as error:
        raise Failed(str(error)) from error
    except SQLAlchemyError as error:
        raise Failed(f"The database does not answer: {first_line(error)}") from error
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        raise Failed(f"Cannot write {about}{error.strerror or error}.") from error
    _show(report)
    failed = [*report.problems, *(report.amiss if strict else [])]
    if failed:
        raise Failed(" ".join(failed))


def _show(report: Report) -> None:
    for sentence in report.amiss:
        click.echo(f"amiss    {sentence}", err=True)
    if not sys.stdout.isatty():
        print_json(report)
        return
    for word, paths in (
        ("made", report.made),
        ("renewed", report.renewed),
        ("rotated", report.rotated),
        ("there", report.present),
    ):
        for path in paths:
            click.echo(f"{word:8} {path}")
    for note in report.notes:
        click.echo(f"note     {note}", err=True)


def _become(owner: str, folders: tuple[Path, ...]) -> None:
    """Leave root behind, after its folders were handed over. Without root there is nothing to leave."""
    found = _OWNER.fullmatch(owner)
    if found is None:
        raise click.BadParameter(f"--owner {owner!r} is not UID:GID, two numbers.")
    uid, gid = int(found[1]), int(found[2])
    if os.geteuid() != 0:
        if os.geteuid() != uid:
            raise Failed(f"Only root can become {owner}; leave --owner out.")
        return
    try:
        for folder in folders:
            for path in _roots(folder):
                # A folder of a read-only file system on the way to a volume can stay as it is.
                try:
                    os.chown(path, uid, gid, follow_symlinks=False)
                except OSError as error:
                    if error.errno != errno.EROFS:
                        raise
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise Failed(f"Cannot become {owner}: {error.strerror}.") from error


def _roots(folder: Path) -> Iterator[Path]:
    """The folder and those in it that belong to root."""
    if not folder.is_dir():
        return
    for name, _, _ in os.walk(folder):
        path = Path(name)
        if path.lstat().st_uid == 0:
            yield path
