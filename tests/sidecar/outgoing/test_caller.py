"""Calls as they go out: real servers on this machine, and names whose addresses the test decides."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.outgoing.caller import Caller, CallFailed, Reply
from evcharge.sidecar.outgoing.guard import Guard
from evcharge.sidecar.outgoing.settings import OutgoingSettings

HERE = OutgoingSettings(allow_networks=("127.0.0.0/8",))
NAME = "receiver.example"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names:
    """A resolver that says what the test wants, and counts."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        if not self.answers:
            raise OSError("no such name")
        return self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)


@asynccontextmanager
async def served(handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def say(request: web.Request) -> web.Response:
    return web.Response(status=204, headers={"Retry-After": "7", "X-Host": request.host})


async def post(caller: Caller, url: str) -> Reply | str:
    """The reply, or the word of the failure."""
    async with caller:
        try:
            return await caller.post(url, b"{}", {"X-One": "1"})
        except CallFailed as error:
            assert "127.0.0.1" not in str(error) and "10.0.0.1" not in str(error)
            return error.code


def caller(*answers: list[str], settings: OutgoingSettings = HERE, timeout_s: float = 10.0) -> tuple[Caller, Names]:
    names = Names(*answers)
    return Caller(Guard(settings), timeout_s=timeout_s, lookup=names), names


async def test_a_call_keeps_the_name_and_sends_what_it_is_given() -> None:
    seen: list[tuple[str, str, str, bytes]] = []

    async def keep(request: web.Request) -> web.Response:
        seen.append((request.host, request.raw_path, request.headers["X-One"], await request.read()))
        return await say(request)

    async with served(keep) as port:
        call, names = caller(["127.0.0.1"])
        assert await post(call, f"http://{NAME}:{port}/a%2Fb?c=%7E") == Reply(204, "7")
    assert seen == [(f"{NAME}:{port}", "/a%2Fb?c=%7E", "1", b"{}")]
    assert names.asked == [(NAME, port)], "resolved once"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        [],
    ],
)
async def test_a_name_that_leads_inside_is_never_connected_to(addresses: list[str]) -> None:
    reached = asyncio.Event()

    async def mark(request: web.Request) -> web.Response:
        reached.set()
        return await say(request)

    async with served(mark) as port:
        call, names = caller(addresses, settings=OutgoingSettings())
        assert await post(call, f"http://{NAME}:{port}/") == "refused"
    assert not reached.is_set() and len(names.asked) == 1


async def test_a_second_answer_of_the_resolver_is_never_asked_for() -> None:
    """Rebinding: the first answer is judged, and is where the connection goes, whatever the next one would be."""
    connected: list[str] = []

    async def note(request: web.Request) -> web.Response:
        assert request.transport is not None
        connected.append(request.transport.get_extra_info("sockname")[0])
        return await say(request)

    only = OutgoingSettings(allow_networks=("127.0.0.2/32",))
    async with served(note, "0.0.0.0") as port:
        call, names = caller(["127.0.0.2"], ["127.0.0.1"], settings=only)
        async with call:
            assert (await call.post(f"http://{NAME}:{port}/", b"", {})).status == 204
            assert (connected, len(names.asked)) == (["127.0.0.2"], 1)
            with pytest.raises(CallFailed, match="loopback") as failed:
                await call.post(f"http://{NAME}:{port}/", b"", {})
            assert failed.value.code == "refused", "each call is judged anew, no connection is kept"
    assert (connected, len(names.asked)) == (["127.0.0.2"], 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(status: int) -> None:
    paths: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": f"http://127.0.0.1:{request.url.port}/inside"})

    async with served(redirect) as port:
        assert await post(caller(["127.0.0.1"])[0], f"http://{NAME}:{port}/hook") == Reply(status, None)
    assert paths == ["/hook"]


async def test_literal_addresses_need_no_resolver_and_are_judged_all_the_same() -> None:
    async with served(say) as port:
        call, names = caller(["8.8.8.8"])
        assert await post(call, f"http://127.0.0.1:{port}/") == Reply(204, "7")
        for url in (f"http://127.0.0.1:{port}/", f"http://[::ffff:127.0.0.1]:{port}/", f"http://2130706433:{port}/"):
            assert await post(caller(["8.8.8.8"], settings=OutgoingSettings())[0], url) == "refused"
    assert names.asked == []


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_request: web.Request) -> web.Response:
        raise AssertionError("asked the proxy")

    async with served(never) as proxy, served(say) as port:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        assert await post(caller(["127.0.0.1"])[0], f"http://{NAME}:{port}/") == Reply(204, "7")


async def test_what_does_not_answer_is_told_apart() -> None:
    over = asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        await over.wait()
        return await say(request)

    async with served(silent) as port:
        assert await post(caller(["127.0.0.1"], timeout_s=0.1)[0], f"http://{NAME}:{port}/") == "timeout"
        over.set()
    assert await post(caller(["127.0.0.1"])[0], f"http://{NAME}:{port}/") == "connect"
    assert await post(caller()[0], f"http://{NAME}:{port}/") == "dns"

    async def shout(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        other = server.sockets[0].getsockname()[1]
        assert await post(caller(["127.0.0.1"])[0], f"http://{NAME}:{other}/") == "answer"
        assert await post(caller(["127.0.0.1"])[0], f"https://{NAME}:{other}/") in ("tls", "connect")


async def test_a_resolver_that_is_silent_ends_with_the_call() -> None:
    async def silent(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    call = Caller(Guard(HERE), timeout_s=0.1, lookup=silent)
    assert await post(call, f"http://{NAME}/") == "timeout"


async def test_an_endless_answer_is_not_read() -> None:
    sent = 0

    async def pour(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    async with served(pour) as port:
        assert await post(caller(["127.0.0.1"])[0], f"http://{NAME}:{port}/") == Reply(200, None)
    # What the sockets' buffers hold, and no more.
    assert sent < 32 * 2**20


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 99999 x\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"Retry-After: \xff\xfe\r\n",
        b"Set-Cookie: \xff=\x00; Domain=..\r\n",
        b"Location: http://[::1\r\n",
        b"Link: <//[>; rel=\xff\r\n",
        b"Content-Type: text/\xff; charset=\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: br\r\n",
        b"X: " + b"y" * 9000 + b"\r\n",
        b"zzz\r\n",
        b"\r\n",
        b"\r\n\r\n",
    ]
)


@given(answers=st.lists(st.lists(PIECES | st.binary(max_size=30), max_size=6).map(b"".join), min_size=1, max_size=5))
def test_any_bytes_are_a_reply_or_a_failure(answers: list[bytes]) -> None:
    async def each() -> None:
        left = iter(answers)

        async def shout(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(next(left))
            writer.close()

        async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            for _ in answers:
                said = await post(caller(["127.0.0.1"])[0], f"http://{NAME}:{port}/")
                assert isinstance(said, Reply) or said in ("answer", "connect")

    asyncio.run(each())


async def test_the_systems_resolver_is_asked_and_judged() -> None:
    async with served(say) as port:
        trusting = OutgoingSettings(allow_targets=(f"localhost:{port}",))
        assert await post(Caller(Guard(trusting), timeout_s=10), f"http://localhost:{port}/") == Reply(204, "7")


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for this name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = folder / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    client = ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())
    return server, client


async def test_tls_is_for_the_name_not_for_the_address(tmp_path: Path) -> None:
    asked: list[str | None] = []
    server, client = certificate(tmp_path, NAME)
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with served(say, tls=server) as port:
        trusting = Caller(Guard(HERE), timeout_s=10, lookup=Names(["127.0.0.1"]), tls=client)
        assert await post(trusting, f"https://{NAME}:{port}/") == Reply(204, "7")
        assert asked == [NAME]
        other = Caller(Guard(HERE), timeout_s=10, lookup=Names(["127.0.0.1"]), tls=client)
        assert await post(other, f"https://other.example:{port}/") == "tls"
        assert await post(caller(["127.0.0.1"])[0], f"https://{NAME}:{port}/") == "tls", "unknown root"
