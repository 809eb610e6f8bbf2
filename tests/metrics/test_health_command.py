"""``evcharge-health`` as engines run it: exit codes and one sentence, whatever is at the other end."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.cli import health
from evcharge.cli.health import MAX_ANSWER, SHOWN, BadUrl, Target, check, target_of
from evcharge.net.ports import held_port


def answered(body: bytes, status: bytes = b"200 OK") -> Callable[[socket.socket], None]:
    """Somebody who answers every question so."""

    def answer(connection: socket.socket) -> None:
        connection.recv(4_096)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Type: text/plain\r\n\r\n" + body)

    return answer


@contextmanager
def served(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port where each connection gets ``answer``; it is closed afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        answer(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def asked(port: int, *more: str) -> tuple[int, str]:
    return check([f"http://127.0.0.1:{port}/readyz", *more], {})


def test_200_is_well_and_everything_else_is_not() -> None:
    with served(answered(b"ready; Central: connected\n")) as port:
        assert asked(port) == (0, f"http://127.0.0.1:{port}/readyz answers 200: ready; Central: connected.")
    with served(answered(b"not ready: draining\n", b"503 Service Unavailable")) as port:
        code, sentence = asked(port)
        assert code == 1 and sentence.endswith("answers 503: not ready: draining.")
    with served(answered(b"", b"302 Found")) as port:
        assert asked(port)[0] == 1, "nobody is followed elsewhere"


def test_nobody_there_is_one_sentence() -> None:
    with held_port("127.0.0.1") as port:
        code, sentence = asked(port)
    assert code == 1 and sentence.endswith("cannot be asked: Connection refused.")


def test_who_accepts_and_says_nothing_is_given_up() -> None:
    """As a process whose loop hangs: the kernel connects, nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code, sentence = asked(server.getsockname()[1], "--timeout", "0.05")
    assert code == 1 and sentence.endswith("does not answer within 0.05 s.")


def test_who_says_a_little_all_the_time_is_given_up_too() -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        while not over.wait(0.005):
            connection.sendall(b"H")

    with served(drip) as port:
        code, sentence = asked(port, "--timeout", "0.1")
        over.set()
    assert code == 1 and "does not answer within" in sentence


def test_a_name_whose_look_up_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_given: object, **_more: object) -> list[object]:
        over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    code, sentence = check(["http://central:9410", "--timeout", "0.05"], {})
    over.set()
    assert code == 1 and sentence == "http://central:9410/healthz does not answer within 0.05 s."


def test_a_name_is_looked_up_and_each_of_its_addresses_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def found(host: bytes, port: int | None, *given: object, **more: object) -> list[object]:
        if host != b"central":
            return list(real(host, port, *given, **more))  # type: ignore[call-overload]
        kind = socket.SOCK_STREAM
        # Nobody listens at the first one.
        return [(socket.AF_INET, kind, 6, "", (address, 0)) for address in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with served(answered(b"ok\n")) as port:
        assert check([f"http://central:{port}"], {})[0] == 0
    code, sentence = check([f"http://central:{port}"], {})
    assert code == 1 and "Connection refused" in sentence


def test_a_name_that_nobody_has_is_one_sentence() -> None:
    code, sentence = check(["http://no-such-host.invalid"], {})
    assert code == 1 and "cannot be asked: " in sentence


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (Target("::1", 9410), b"\r\nHost: [::1]:9410\r\n"),
        (Target("127.0.0.1", 9410), b"\r\nHost: 127.0.0.1:9410\r\n"),
    ],
)
def test_the_host_is_said_as_a_url_has_it(target: Target, field: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = socket.socketpair()
    monkeypatch.setattr(health, "_connect", lambda *_given: here)
    there.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    there.shutdown(socket.SHUT_WR)
    assert health.ask(target, 5)[0] == 200
    assert field in there.recv(4_096)
    there.close()


@pytest.mark.parametrize("text", [b"", b"hello\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"\xff" * 9])
def test_what_is_no_http_is_said(text: bytes) -> None:
    with served(lambda connection: connection.sendall(text)) as port:
        code, sentence = asked(port)
    # A connection that is cut with a question unread may say so instead.
    assert code == 1 and ("no HTTP" in sentence or "Connection reset" in sentence or "Broken pipe" in sentence)


def test_an_answer_without_end_is_read_no_further() -> None:
    def pour(connection: socket.socket) -> None:
        connection.recv(4_096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n\x1b[31m" + b"x" * MAX_ANSWER)
        while True:
            connection.sendall(b"x" * 65_536)

    with served(pour) as port:
        code, sentence = asked(port)
    assert code == 0 and "\x1b" not in sentence and len(sentence) < SHOWN + 100


@given(st.binary(max_size=600))
def test_any_answer_is_a_status_or_an_os_error_and_nothing_of_it_reaches_a_terminal(answer: bytes) -> None:
    for whole in (answer, b"HTTP/1.1 200 OK\r\n\r\n" + answer):
        try:
            status, said = health._read(whole)
        except OSError:
            continue
        assert 0 <= status <= 999 and len(said) <= SHOWN and (said == "" or said.isprintable())


# --- whom it asks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://127.0.0.1:9410", Target("127.0.0.1", 9410, "/healthz")),
        ("http://127.0.0.1:9410/readyz", Target("127.0.0.1", 9410, "/readyz")),
        ("http://[::1]:9/x?y=1", Target("::1", 9, "/x?y=1")),
        ("http://central", Target("central", 80, "/healthz")),
        ("http://central?x", Target("central", 80, "/?x")),
    ],
)
def test_a_url_says_whom(text: str, target: Target) -> None:
    assert target_of(text) == target
    assert target_of(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9410",
        "https://x",
        "http://",
        "http://x:port",
        "http://x:70000",
        "http://a b/",
        "http://x/\r\nX: y",
        "http://u@x",
        "http://é",
    ],
)
def test_what_is_no_url_is_misuse_and_says_how_one_looks(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check([text], {})
    assert stop.value.code == 2
    assert "http://127.0.0.1:9410/healthz" in capsys.readouterr().err


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_misuse(text: str) -> None:
    try:
        target = target_of(text)
    except BadUrl:
        return
    assert "\r" not in target.path and "\n" not in target.path and " " not in target.path and 0 <= target.port <= 65535


def test_the_variable_is_asked_and_the_argument_before_it() -> None:
    with served(answered(b"ok\n")) as well, served(answered(b"no\n", b"503 No")) as ill:
        urls = [f"http://127.0.0.1:{port}" for port in (well, ill)]
        assert check([], {"EVCHARGE_HEALTH": urls[0]})[0] == 0
        assert check([], {"EVCHARGE_HEALTH": urls[1]})[0] == 1
        assert check([urls[0]], {"EVCHARGE_HEALTH": urls[1]})[0] == 0


def test_without_both_whoever_listens_on_the_usual_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    with held_port("127.0.0.1") as free, served(answered(b"ok\n")) as well, served(answered(b"no\n", b"503 No")) as ill:
        for ports, code in (((free,), 1), ((free, well), 0), ((well, ill), 1)):
            monkeypatch.setattr(health, "USUAL", ports)
            found, _ = check([], {})
            assert found == code
        monkeypatch.setattr(health, "USUAL", (free,))
        assert "EVCHARGE_HEALTH" in check([], {})[1]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon", "1e9"])
def test_a_time_out_has_to_be_one(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check(["--timeout", seconds], {})
    assert stop.value.code == 2 and "--timeout" in capsys.readouterr().err


HEAVY = (
    "aiohttp",
    "asyncio",
    "click",
    "http",
    "msgspec",
    "prometheus_client",
    "ssl",
    "structlog",
    "email",
    "argparse",
    "encodings.idna",
)


@pytest.mark.process
def test_as_a_process_it_needs_little_and_keeps_to_its_exit_codes() -> None:
    """It runs every few seconds beside each daemon: what it imports is what it costs."""
    program = f"""
import sys
from evcharge.cli import health
health.check(["http://127.0.0.1:1"], {{}})
print([name for name in {HEAVY} if name in sys.modules])
"""
    here = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=here, check=True)
    assert done.stdout == "[]\n"
    command = [sys.executable, "-m", "evcharge.cli.health"]
    with served(answered(b"ok\n")) as port:
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, cwd=here, check=False
        )
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("answers 200: ok.\n")
    with held_port("127.0.0.1") as port:
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, cwd=here, check=False
        )
    assert (done.returncode, done.stdout) == (1, "") and "Connection refused" in done.stderr
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=here, check=False)
    assert done.returncode == 0 and all(
        word in done.stdout for word in ("/healthz", "/readyz", "EVCHARGE_HEALTH", "9410")
    )


def test_the_time_is_for_all_ports_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a probe of three silent ports takes six times what its engine allows."""
    passed_s, given = [0.0], []

    def listens(_port: int, timeout_s: float) -> bool:
        given.append(timeout_s)
        passed_s[0] += 1.0
        return True

    def silent(target: health.Target, timeout_s: float, *, of_s: float) -> tuple[bool, str]:
        given.append(timeout_s)
        passed_s[0] += timeout_s
        return False, f"{target} {of_s}"

    monkeypatch.setattr(health, "_listens", listens)
    monkeypatch.setattr(health, "judge", silent)
    well, sentence = health.usual(10.0, now=lambda: passed_s[0])
    count = len(health.USUAL)
    assert not well and sentence.count("10.0") == count
    assert given == [*(10.0 - n for n in range(count)), 10.0 - count, *[0.001] * (count - 1)]
