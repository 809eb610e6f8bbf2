"""``evcharge-sidecar client`` and ``keys`` as an operator uses them, beside a sidecar that serves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from click.testing import CliRunner, Result

from evcharge.cli.sidecar import cli
from evcharge.net.clock import SystemClock
from evcharge.sidecar.bootstrap import initialise, locked
from evcharge.sidecar.layout import LAYOUT
from evcharge.sidecar.web.scopes import ROLES
from tests.sidecar.test_serve import Running


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def made(tmp_path: Path) -> Path:
    asyncio.run(initialise(tmp_path / "r", "http://127.0.0.1:8080", clock=SystemClock(), entropy=os.urandom))
    return tmp_path / "r"


def test_the_life_of_a_client_app(made: Path, tmp_path: Path) -> None:
    here = ("--data-dir", str(made))
    said = json.loads(run("client", "add", "app", *here, "--role", "driver", "--driver", "anna").stdout)
    assert set(said) == {"client_id", "client_secret", "token_url"}
    assert said["token_url"] == "http://127.0.0.1:8080/oauth2/token"
    rows = json.loads(run("client", "list", *here).stdout)
    assert [(row["client_id"], row["driver_id"]) for row in rows] == [("app", "anna")]
    assert rows[0]["scopes"] == sorted(scope.value for scope in ROLES["driver"])
    assert said["client_secret"] not in str(rows)

    again = run("client", "add", "app", *here, "--role", "viewer", code=1)
    assert "rotate its secret" in again.stderr
    file = tmp_path / "secret.json"
    run("client", "rotate", "app", *here, "--secret-file", str(file))
    assert json.loads(file.read_text())["client_secret"] != said["client_secret"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "exists already" in run("client", "rotate", "app", *here, "--secret-file", str(file), code=1).stderr
    run("client", "remove", "app", *here)
    for verb in ("remove", "rotate", "token"):
        assert "no client app app" in run("client", verb, "app", *here, code=1).stderr


def test_tables_of_an_earlier_layout_are_left_to_the_sidecar_that_serves_them(made: Path) -> None:
    def layout() -> bytes:
        with closing(sqlite3.connect(made / "registry.sqlite")) as database:
            return bytes(database.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()[0])

    with closing(sqlite3.connect(made / "registry.sqlite")) as database:
        database.execute("UPDATE meta SET value = x'32' WHERE name = 'schema'")
        database.commit()
    with locked(made):
        said = run("client", "list", "--data-dir", str(made), code=1).stderr
    assert "of an earlier version, and a sidecar serves it" in said and layout() == b"2"
    run("client", "list", "--data-dir", str(made))
    assert layout() == LAYOUT


def test_what_no_client_may_be(made: Path) -> None:
    here = ("--data-dir", str(made))
    assert "--role" in run("client", "add", "app", *here, code=2).stderr
    assert "is no scope" in run("client", "add", "app", *here, "--scope", "root", code=2).stderr
    assert "Central" in run("client", "add", "app", *here, "--scope", "registry:service", code=1).stderr
    assert "name is" in run("client", "add", "App!", *here, "--role", "viewer", code=1).stderr
    assert json.loads(run("client", "list", *here).stdout) == []


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    for arguments in (("client", "list"), ("client", "token", "app"), ("keys", "list")):
        assert "evcharge-sidecar init" in run(*arguments, "--data-dir", str(tmp_path / "no"), code=1).stderr


def test_a_token_of_the_command_says_what_the_endpoint_s_says(made: Path) -> None:
    here = ("--data-dir", str(made))
    run("client", "add", "app", *here, "--role", "driver", "--driver", "anna")
    token = run("client", "token", "app", *here, "--scope", "recommend", "--life-s", "60").stdout.strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["sub"]) == ("http://127.0.0.1:8080", "ev-clients", "app")
    assert (claims["scope"], claims["driver"], claims["exp"] - claims["iat"]) == ("recommend", "anna", 60)
    assert "may have" in run("client", "token", "app", *here, "--scope", "audit:read", code=1).stderr
    settings = made / "services.toml"
    settings.write_text('[oauth]\nissuer = "greencharge"\naudience = "cars"\n')
    token = run("client", "token", "app", *here, "--services", str(settings)).stdout.strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"]) == ("greencharge", "cars")
    settings.write_text("[oauth]\nissuer = 3\n")
    assert "oauth.issuer" in run("client", "token", "app", *here, "--services", str(settings), code=1).stderr


def test_keys_are_listed_and_rotated(made: Path) -> None:
    here = ("--data-dir", str(made))
    assert json.loads(run("keys", "list", *here).stdout) == []
    first = json.loads(run("keys", "rotate", *here).stdout)["kid"]
    second = json.loads(run("keys", "rotate", *here).stdout)["kid"]
    rows = json.loads(run("keys", "list", *here).stdout)
    assert {row["kid"]: row["signs"] for row in rows} == {first: True, second: False}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in (made / "jwt").iterdir())


async def test_a_running_sidecar_sees_what_the_commands_do(made: Path) -> None:
    here = ("--data-dir", str(made))

    async def command(*arguments: str) -> Any:
        return await asyncio.to_thread(run, *arguments, *here)

    async with Running(made) as sidecar, aiohttp.ClientSession() as session:

        async def listed(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"{sidecar.url}/list", headers=headers) as answer:
                return answer.status

        await command("client", "add", "dash", "--role", "operator")
        token = (await command("client", "token", "dash")).stdout.strip()
        assert await listed(token) == 200, "a client that was added a moment ago is known"
        new = json.loads((await command("keys", "rotate")).stdout)["kid"]
        async with session.get(f"{sidecar.url}/.well-known/jwks.json") as answer:
            assert new in {key["kid"] for key in (await answer.json())["keys"]}
        secret = json.loads((await command("client", "rotate", "dash", "--overlap-s", "0")).stdout)["client_secret"]
        basic = base64.b64encode(f"dash:{secret}".encode()).decode()
        form = {"grant_type": "client_credentials"}
        url = f"{sidecar.url}/oauth2/token"
        async with session.post(url, data=form, headers={"Authorization": f"Basic {basic}"}) as answer:
            assert answer.status == 200
            assert await listed((await answer.json())["access_token"]) == 200
        await command("client", "remove", "dash")
        while (status := await listed(token)) == 200:
            # It looks every five seconds; whoever asks all the time is throttled.
            await asyncio.sleep(0.25)
        assert status == 401
        await command("client", "add", "dash", "--role", "operator")
        assert await listed(token) == 401, "another client under the name does not inherit its tokens"
        token = (await command("client", "token", "dash")).stdout.strip()
        assert await listed(token) == 200
