"""``evcharge-sidecar provision`` as an operator uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evcharge.cli.sidecar import cli
from evcharge.sidecar.bootstrap import locked

PLAN = """
url = "https://sidecar:8080"
drivers = ["anna"]
[accounts.admin]
role = "admin"
[certificates.sidecar]
names = ["sidecar"]
"""


def run(folder: Path, *more: str, code: int = 0) -> Result:
    words = ["--data-dir", folder / "data", "--plan", folder / "plan.toml", "--out", folder / "out", *more]
    result = CliRunner().invoke(cli, ["provision", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def test_it_says_what_it_made_and_what_was_there(folder: Path) -> None:
    first = json.loads(run(folder).stdout)
    assert "drivers/anna/anna.json" in first["made"] and first["present"] == []
    again = json.loads(run(folder).stdout)
    assert sorted(again["present"]) == sorted(first["made"]) and again["made"] == []


def test_what_was_lost_says_what_to_do_and_fails_where_that_is_wanted(folder: Path) -> None:
    run(folder)
    (folder / "out/drivers/anna/anna.json").unlink()
    said = run(folder)
    assert json.loads(said.stdout)["problems"] == []
    assert json.loads(said.stdout)["amiss"] and "--rotate drivers/anna" in said.stderr
    assert "--rotate drivers/anna" in run(folder, "--strict", code=1).stderr
    rotated = json.loads(run(folder, "--rotate", "drivers/anna/").stdout)
    assert rotated["rotated"] == ["drivers/anna/anna.json"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--rotate", "drivers/bert"), "no such folder; there are accounts/admin, drivers/anna"),
        (("--owner", "evcharge"), "is not UID:GID"),
        (("--database", "nonsense"), None),
    ],
)
def test_misuse(folder: Path, more: tuple[str, ...], why: str | None) -> None:
    said = run(folder, *more, code=2 if why else 1)
    assert why is None or why in said.stderr
    assert "Traceback" not in said.stderr


def test_a_bad_plan_is_misuse(folder: Path) -> None:
    (folder / "plan.toml").write_text("url = 7\n")
    assert "plan.toml: url: " in run(folder, code=2).stderr
    assert not (folder / "data").exists()


def test_what_central_and_the_sidecar_need_is_a_failure(folder: Path) -> None:
    run(folder)
    (folder / "out/servers/sidecar/tls.key").write_text("nonsense")
    failed = run(folder, code=1)
    assert "servers/sidecar/tls.key" in failed.stderr and json.loads(failed.stdout)["amiss"] == []


def test_beside_a_sidecar_that_serves(folder: Path) -> None:
    run(folder)
    (folder / "plan.toml").write_text(PLAN.replace('"anna"', '"anna", "bert"'))
    with locked(folder / "data"):
        assert "drivers/bert/bert.json cannot be made while a sidecar serves" in run(folder, code=1).stderr


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    (folder / "file").write_text("no folder")
    said = run(folder, "--out", str(folder / "file" / "out"), code=1).stderr
    assert "Cannot write" in said and "Not a directory" in said
