"""``deploy/compose/nginx.conf`` in a running nginx: slow readers, other ports, what strangers say of themselves."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evcharge.sidecar.provision.certificates import authority, new_key, server
from tests.support.ports import free_port
from tests.support.processes import until
from tests.support.shared import lacking

pytestmark = [pytest.mark.process]

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "compose" / "nginx.conf"
# An export of a year, and the largest file that nginx may write here, bytes: in a container /tmp has 16 MiB for all.
LARGE = 40 << 20
PUT_ASIDE = 1 << 20
PIECE = 1 << 16
WAIT_S = 20.0


class Behind(BaseHTTPRequestHandler):
    """Answers with the headers that came, or with a large file; stands for sidecar and Grafana."""

    protocol_version = "HTTP/1.1"
    sent = 0

    def do_GET(self) -> None:
        large = self.path == "/large"
        content = b"" if large else json.dumps({key.lower(): value for key, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(LARGE if large else len(content)))
        self.end_headers()
        if not large:
            self.wfile.write(content)
            return
        for _ in range(LARGE // PIECE):
            self.wfile.write(bytes(PIECE))
            Behind.sent += PIECE

    def log_message(self, *_words: object) -> None:
        """Nothing: the test looks itself."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HTTPSConnection]:
    """An nginx with the site's file, of which only addresses and folders are others."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        lacking("there is no nginx: make system-deps (Debian: apt-get install nginx-light)")
    folder = tmp_path_factory.mktemp("proxy")
    now, key = datetime.now(UTC), new_key()
    ca = authority(key, "a site", now)
    (folder / "ca.pem").write_bytes(ca.pem)
    own = new_key()
    (folder / "tls.key").write_bytes(own)
    (folder / "tls.crt").write_bytes(server(own, ["localhost", "sidecar"], 30, ca, now).pem)

    behind = [ThreadingHTTPServer(("127.0.0.1", 0), Behind) for _ in range(2)]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    behind[0].socket = context.wrap_socket(behind[0].socket, server_side=True)
    port = free_port()
    text = CONFIGURATION.read_text()
    for old, new in {
        "/tmp/": f"{folder}/",
        "/run/evcharge": str(folder),
        "listen 8443": f"listen 127.0.0.1:{port}",
        "set $sidecar sidecar;": "set $sidecar 127.0.0.1;",
        "$sidecar:8080": f"$sidecar:{behind[0].server_port}",
        "set $grafana grafana;": "set $grafana 127.0.0.1;",
        "$grafana:3000": f"$grafana:{behind[1].server_port}",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    for one in behind:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    running = subprocess.Popen(
        [nginx, "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (PUT_ASIDE, PUT_ASIDE)),
    )

    def listens() -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(lambda: running.poll() is not None or listens(), "nginx does not listen")
        assert running.poll() is None
        trusting = ssl.create_default_context(cadata=ca.pem.decode())
        yield HTTPSConnection("localhost", port, context=trusting, timeout=WAIT_S)
    finally:
        running.terminate()
        running.wait(WAIT_S)
        for one in behind:
            one.shutdown()
            one.server_close()


@pytest.fixture
def asked(proxy: HTTPSConnection) -> Iterator[HTTPSConnection]:
    """A connection of its own for each test."""
    yield proxy
    proxy.close()


def test_a_large_answer_reaches_a_slow_reader(asked: HTTPSConnection) -> None:
    asked.request("GET", "/large")
    answer = asked.getresponse()
    seen = [-1, -1]

    def stands_still() -> bool:
        # It took what it can hold, or all.
        seen.append(Behind.sent)
        return seen[-1] == seen[-2] == seen[-3] > 0

    until(stands_still)
    assert len(answer.read()) == LARGE


@pytest.mark.parametrize(("path", "to"), [("/", "/ui/"), ("/grafana", "/grafana/")])
def test_a_browser_stays_at_the_port_where_it_came(asked: HTTPSConnection, path: str, to: str) -> None:
    asked.request("GET", path, headers={"Host": "localhost:9443"})
    answer = asked.getresponse()
    assert (answer.status // 100, answer.headers["Location"]) == (3, to)


@pytest.mark.parametrize("path", ["/api/cps", "/api/live", "/grafana/api"])
def test_what_a_stranger_says_of_itself_is_thrown_away(asked: HTTPSConnection, path: str) -> None:
    said = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "Forwarded"), "198.51.100.7")
    asked.request("GET", path, headers=said)
    came = json.loads(asked.getresponse().read())
    assert came["x-forwarded-for"] == "127.0.0.1" and came["x-forwarded-proto"] == "https"
    assert "forwarded" not in came
    # The sidecar does not read it; Grafana prefers it.
    if path.startswith("/grafana"):
        assert came["x-real-ip"] == "127.0.0.1"


def test_a_body_is_bounded_before_it_is_read(asked: HTTPSConnection) -> None:
    asked.request("POST", "/register", headers={"Content-Length": str(PUT_ASIDE)})
    assert asked.getresponse().status == 413


def test_old_ciphers_are_refused(asked: HTTPSConnection) -> None:
    context = ssl._create_unverified_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for ciphers, taken in (("ECDHE-ECDSA-AES128-GCM-SHA256", True), ("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", False)):
        context.set_ciphers(ciphers)
        with socket.create_connection(("localhost", asked.port), timeout=WAIT_S) as plain:
            try:
                context.wrap_socket(plain).close()
                done = True
            except ssl.SSLError:
                done = False
        assert done is taken, ciphers
