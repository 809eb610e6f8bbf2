"""The whole sidecar: HTTP first, then the link to Central, and a drain that leaves nobody waiting."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from evcharge.cli.sidecar import cli
from evcharge.cli.sidecar_run import is_loopback
from evcharge.net.clock import SystemClock
from evcharge.sidecar.bootstrap import BootstrapError, initialise, locked, open_database
from evcharge.sidecar.oauth.clients import Clients, OAuthClient
from evcharge.sidecar.serve import CannotListen, Listen, serve
from evcharge.sidecar.web.scopes import ROLES
from protocol.credentials import Credential, Role
from tests.support.fake_central import FakeCentral


class Running:
    """``serve`` in a task."""

    def __init__(self, directory: Path, **more: Any) -> None:
        self.url = ""
        self._up = asyncio.Event()
        self._stop = asyncio.Event()
        self._work = serve(
            directory,
            Listen(
                host=more.pop("host", "127.0.0.1"),
                port=more.pop("port", 0),
                certificate=more.pop("certificate", None),
                key=more.pop("key", None),
            ),
            central=more.pop("central", None),
            clock=SystemClock(),
            entropy=os.urandom,
            ready=self._ready,
            stop=self._stop,
        )
        self.task: asyncio.Task[None] | None = None

    def _ready(self, url: str) -> None:
        self.url = url
        self._up.set()

    async def __aenter__(self) -> Running:
        self.task = asyncio.create_task(self._work)
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait({self.task, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self.task.done():
            await self.task
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._stop.set()
        assert self.task is not None
        await self.task


@pytest.fixture
async def made(tmp_path: Path) -> Path:
    await initialise(tmp_path / "r", "http://127.0.0.1:8080", clock=SystemClock(), entropy=os.urandom)
    return tmp_path / "r"


def central_of(directory: Path) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode((directory / "central.json").read_bytes())
    return answer


async def health(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def test_without_central_the_link_is_unset(made: Path) -> None:
    async with Running(made) as sidecar:
        assert (await health(sidecar.url))["central"] == "unset"


async def test_the_link_is_a_gateway_peer_that_comes_back(made: Path) -> None:
    about = central_of(made)
    central = FakeCentral(Credential.from_json(msgspec.json.encode(about["credential"])))
    async with central, Running(made, central=("127.0.0.1", central.port)) as sidecar:
        await central.until(lambda: bool(central.links))
        link = central.links[0].conn
        assert (link.role, link.username, link.entity) == (Role.GATEWAY, "sidecar", "sidecar")
        assert (await health(sidecar.url))["central"] == "connected"
        central.cut()
        await central.until(lambda: central.connections == 2 and bool(central.links))
        assert (await health(sidecar.url))["central"] == "connected"
    assert not central.links


async def test_the_registry_serves_while_central_is_away(made: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with Running(made, central=("127.0.0.1", taken.getsockname()[1])) as sidecar:
            assert (await health(sidecar.url)) == {"status": "ok", "central": "disconnected", "rev": 2}


async def test_a_drain_answers_the_followers_that_wait(made: Path) -> None:
    token = central_of(made)["registry"]["service_token"]
    async with Running(made) as sidecar, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {token}"}

        async def follow() -> Any:
            async with session.get(f"{sidecar.url}/changes?after=2&wait=25", headers=headers) as response:
                return await response.json()

        waiting = asyncio.create_task(follow())
        await health(sidecar.url)
        await sidecar.__aexit__()
        assert await asyncio.wait_for(waiting, 10) == {"rev": 2, "records": []}


async def test_what_cannot_be_served(made: Path, tmp_path: Path) -> None:
    async with Running(made) as sidecar:
        with pytest.raises(BootstrapError, match="Another evcharge-sidecar"):
            async with Running(made):
                pytest.fail("served twice")
        await initialise(tmp_path / "r2", "http://127.0.0.1:1", clock=SystemClock(), entropy=os.urandom)
        port = int(sidecar.url.rpartition(":")[2])
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}"):
            async with Running(tmp_path / "r2", port=port):
                pytest.fail("served twice")
    with pytest.raises(BootstrapError, match="init first"):
        async with Running(tmp_path / "nothing"):
            pytest.fail("served nothing")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_an_ipv6_address_is_a_url(made: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with Running(made, host="::1") as sidecar:
        assert sidecar.url.startswith("http://[::1]:")
        assert (await health(sidecar.url))["status"] == "ok"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evcharge test")])
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(host, critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def test_https_with_the_certificate_s_files(made: Path, certificate: tuple[Path, Path]) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate[0]))
    async with Running(made, certificate=certificate[0], key=certificate[1]) as sidecar:
        assert sidecar.url.startswith("https://127.0.0.1:")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{sidecar.url}/health", ssl=trusted) as answer:
                assert answer.status == 200
            path = "/.well-known/oauth-authorization-server"
            async with session.get(sidecar.url + path, ssl=trusted) as answer:
                assert (await answer.json())["token_endpoint"] == f"{sidecar.url}/oauth2/token"
            plain = sidecar.url.replace("https", "http")
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{plain}/health")


@pytest.mark.parametrize(
    ("ciphers", "taken"),
    [("ECDHE+AESGCM", True), ("ECDHE+CHACHA20", True), ("ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA", False)],
)
async def test_tls_1_2_has_authenticated_encryption_alone(
    made: Path, certificate: tuple[Path, Path], ciphers: str, taken: bool
) -> None:
    client = ssl.create_default_context(cafile=str(certificate[0]))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(ciphers)
    async with Running(made, certificate=certificate[0], key=certificate[1]) as sidecar, aiohttp.ClientSession() as one:
        if not taken:
            with pytest.raises(aiohttp.ClientConnectorError):
                await one.get(f"{sidecar.url}/health", ssl=client)
            return
        async with one.get(f"{sidecar.url}/health", ssl=client) as answer:
            assert answer.status == 200


async def test_a_registry_of_an_earlier_layout_is_served_when_nobody_else_serves_it(made: Path) -> None:
    """It holds the directory itself by then."""
    with sqlite3.connect(made / "registry.sqlite") as database:
        database.execute("UPDATE meta SET value = x'32' WHERE name = 'schema'")
    database.close()
    with locked(made), pytest.raises(BootstrapError, match="Another evcharge-sidecar"):
        async with Running(made):
            pytest.fail("two at once")
    async with Running(made) as sidecar:
        assert (await health(sidecar.url))["central"] == "unset"


async def test_over_tls_a_session_s_cookie_is_bound_to_this_host(made: Path, certificate: tuple[Path, Path]) -> None:
    database = open_database(made, None)
    secret = await Clients(database, os.urandom).add(
        OAuthClient(client_id="anna", scopes=ROLES["viewer"], created_ms=SystemClock().steady_ms())
    )
    await database.close()
    trusted = ssl.create_default_context(cafile=str(certificate[0]))
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        Running(made, certificate=certificate[0], key=certificate[1]) as sidecar,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        body = {"client_id": "anna", "client_secret": secret}
        own = {"Origin": sidecar.url}
        async with session.post(f"{sidecar.url}/ui/login", json=body, headers=own, ssl=trusted) as answer:
            assert answer.status == 200
            cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-evcharge_session=")
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")
        # A jar that nobody here wrote keeps it and sends it back.
        async with session.get(f"{sidecar.url}/ui/me", ssl=trusted) as answer:
            assert (await answer.json())["name"] == "anna"


async def test_a_certificate_that_cannot_be_used(made: Path, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    for cert, key in (
        (tmp_path / "no.pem", certificate[1]),
        (certificate[0], tmp_path / "no.pem"),
        (certificate[0], tmp_path / "missing"),
        (certificate[0], None),
    ):
        with pytest.raises(CannotListen, match="Cannot use the certificate"):
            async with Running(made, certificate=cert, key=key):
                pytest.fail("served")


async def test_ready_is_more_than_alive(made: Path) -> None:
    async def ready(url: str) -> tuple[int, Any, str | None]:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/ready") as answer:
            return answer.status, await answer.json(content_type=None), answer.headers.get("Retry-After")

    async with Running(made) as sidecar:
        assert await ready(sidecar.url) == (200, {"status": "ready", "central": "unset"}, None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with Running(made, central=("127.0.0.1", taken.getsockname()[1])) as sidecar:
            status, said, again = await ready(sidecar.url)
            assert (status, said["code"], again) == (503, "central_away", "5")
            assert (await health(sidecar.url))["status"] == "ok"


def test_init_prints_paths_and_no_secrets(tmp_path: Path) -> None:
    arguments = ["init", "--data-dir", str(tmp_path / "r"), "--url", "https://registry.example/"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert shown["operator_token"] == str(tmp_path / "r" / "operator.token")
    about = central_of(tmp_path / "r")
    assert about["registry"]["url"] == "https://registry.example"
    for secret in (
        (tmp_path / "r" / "operator.token").read_text().strip(),
        about["registry"]["service_token"],
        about["credential"]["password"],
    ):
        assert secret not in result.output
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "holds a registry already" in result.stderr


def test_run_without_a_registry_says_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["run", "--data-dir", str(tmp_path / "r")])
    assert result.exit_code == 1
    assert "evcharge-sidecar init" in result.stderr
    assert CliRunner().invoke(cli, ["run", "--data-dir", str(tmp_path), "--central", "a:b"]).exit_code == 2
    assert CliRunner().invoke(cli, ["run"]).exit_code == 2


def test_beyond_loopback_there_is_a_warning(tmp_path: Path) -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "registry")] == [False] * 4
    result = CliRunner().invoke(cli, ["run", "--data-dir", str(tmp_path / "r"), "--host", "0.0.0.0"])
    assert "put a TLS proxy in front" in result.stderr
    result = CliRunner().invoke(cli, ["run", "--data-dir", str(tmp_path / "r")])
    assert "TLS" not in result.stderr


@pytest.mark.process
def test_the_command_is_ready_serves_and_drains_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evcharge.cli.sidecar"]
    subprocess.run([*command, "init", "--data-dir", str(tmp_path / "r")], check=True, capture_output=True, timeout=60)
    arguments = [*command, "run", "--data-dir", str(tmp_path / "r"), "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert said["ready"] == "sidecar"
            assert asyncio.run(health(said["url"]))["status"] == "ok"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
