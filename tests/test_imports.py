"""What a command imports: nobody waits for libraries that what he asked for does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from evcharge.cli.sidecar import VERBS, cli

# What takes long to import, and is of use to one part of the system only.
NUMBERS = {"numpy", "highspy"}
DATABASE = {"sqlalchemy", "aiosqlite", "asyncpg"}
HTTP = {"aiohttp", "prometheus_client"}
TOKENS = {"joserfc"}
BROKERS = {"aiomqtt", "aiokafka"}
PARTS = {"evcharge.central.service", "evcharge.sidecar.assembly"}
ALL = NUMBERS | DATABASE | HTTP | TOKENS | BROKERS | PARTS

NOT_IMPORTED = {
    "audit": ALL,
    "central": ALL - NUMBERS - HTTP - {"evcharge.central.service"},
    "cp": ALL,
    "demo": ALL,
    "driver": ALL,
    "events": ALL,
    "health": ALL | {"asyncio", "click", "msgspec"},
    "monitor": ALL,
    "nc": ALL,
    "sidecar": ALL,
    "sidecar_clients": ALL - {"sqlalchemy"} - TOKENS,
    "sidecar_history": ALL - {"sqlalchemy"},
    "sidecar_init": ALL - {"sqlalchemy"},
    "sidecar_provision": ALL - {"sqlalchemy"} - TOKENS,
    "sidecar_run": NUMBERS | {"aiosqlite", "asyncpg", "aiokafka", "evcharge.central.service"},
}


@pytest.mark.parametrize("command", NOT_IMPORTED)
def test_a_command_imports_what_it_uses(command: str) -> None:
    """Where one is found that should not be there, ``python -X importtime -m evcharge.cli.…`` shows who wants it."""
    program = f"import json, sys, evcharge.cli.{command}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout))
    assert f"evcharge.cli.{command}" in imported
    assert imported & NOT_IMPORTED[command] == set()


def test_every_command_is_in_the_table() -> None:
    folder = Path(__file__).parents[1] / "evcharge/cli"
    commands = {path.stem for path in folder.glob("*.py") if "def main()" in path.read_text()}
    assert commands <= {*NOT_IMPORTED}
    verbs = {place.partition(":")[0].rpartition(".")[2] for place in VERBS.values()}
    assert verbs <= {*NOT_IMPORTED}


def test_every_verb_is_where_the_table_of_verbs_says() -> None:
    context = click.Context(cli)
    assert cli.list_commands(context) == [*VERBS]
    for name in VERBS:
        verb = cli.get_command(context, name)
        assert verb is not None and verb.name == name
    assert cli.get_command(context, "nothing") is None
    shown = CliRunner().invoke(cli, ["--help"])
    assert shown.exit_code == 0 and all(f"\n  {name} " in shown.stdout for name in VERBS)


def test_a_verb_that_is_imported_late_has_its_table_of_the_settings_file(tmp_path: Path) -> None:
    file, folder = tmp_path / "evcharge.toml", tmp_path / "registry"
    file.write_text(f'[sidecar]\ndata_dir = "{folder}"\n[sidecar.init]\nurl = "https://registry.example"\n')
    done = CliRunner().invoke(cli, ["--config", str(file), "init"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "central.json").read_bytes())["registry"]["url"] == "https://registry.example"
