"""``evcharge-health``: asks a daemon's ``/healthz`` or ``/readyz``, for container engines and service managers.

It is started again and again beside what it asks, often on small machines: so it needs nothing but the standard
library, and of this neither an HTTP client nor ``urllib``, whose import would take longer than the question.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

VARIABLE = "EVCHARGE_HEALTH"
# Where Central, sidecar, publisher and the peers listen on loopback; the last is `--health`, which is off by default.
USUAL = (9410, 9411, 9412, 9413)
DEFAULT_PATH = "/healthz"
# Below the 30 s between two questions of most engines, and above any pause of a loop that is well, seconds.
TIMEOUT_S = 3.0
MAX_TIMEOUT_S = 3_600.0
# Most bytes that are read: a status, a few fields and a sentence take 300. /metrics is cut off, and that is no matter.
MAX_ANSWER = 4_096
# Most characters of an answer that are shown.
SHOWN = 200

MAX_PORT = 65_535

# Host, port, and a path that a request line can carry: printable ASCII without a space.
_URL = re.compile(
    r"http://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z_.-]{1,253})(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?][!-~]*)?"
)

HELP = f"""\
Ask a daemon of evcharge whether it lives, or whether it is of use now.

  {DEFAULT_PATH}  its loop turns: answers within the time-out. Never depends on others, so restart what fails it.
  /readyz   it can do its work: 200, or 503 with the reason (starting, draining, no channel to Central ...).
            Send it no work meanwhile; to restart it does not help.

Central, the sidecar and the publisher of events answer beside /metrics (--metrics HOST:PORT);
evcharge-cp run, evcharge-monitor run and evcharge-driver auto with --health HOST:PORT.
"""
EXAMPLES = f"""\
Without a URL it asks that of {VARIABLE}. Without that, whoever listens on the usual ports of 127.0.0.1
(9410 Central, 9411 sidecar, 9412 publisher, 9413 peers): all who do have to be well, and one has to be there.

  evcharge-health                                    what runs in this container
  evcharge-health http://127.0.0.1:9411/readyz       whether the sidecar can serve
  {VARIABLE}=http://127.0.0.1:9413 evcharge-health   a charge point that runs with --health 127.0.0.1:9413

Exit code 0: well. 1: not, or no answer; one sentence says why. 2: misused.
"""


class BadUrl(ValueError):
    """The text is no URL that can be asked; it says what one looks like."""


class Target(NamedTuple):
    """Whom to ask for what."""

    host: str
    port: int
    path: str = DEFAULT_PATH

    @property
    def authority(self) -> str:
        """Host and port as a URL has them."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __str__(self) -> str:
        return f"http://{self.authority}{self.path}"


def target_of(text: str) -> Target:
    """The parts of a URL; without a path ``/healthz``.

    Raises:
        BadUrl
    """
    found = _URL.fullmatch(text)
    port = 80 if found is None or found["port"] is None else int(found["port"])
    if found is None or port > MAX_PORT:
        shown = text if text.isprintable() else ascii(text)
        raise BadUrl(f"{shown[:SHOWN]} is not what can be asked: give one like http://127.0.0.1:9410/healthz.")
    path: str = found["path"] or DEFAULT_PATH
    return Target(found["host"].strip("[]"), port, path if path.startswith("/") else f"/{path}")


def ask(target: Target, timeout_s: float, now: Callable[[], float] = time.monotonic) -> tuple[int, str]:
    """Status and the first line of the answer; all of it takes ``timeout_s`` seconds at most.

    Raises:
        OSError: no answer, or no HTTP.
    """
    end_s = now() + timeout_s

    def left_s() -> float:
        # 0 would not block at all, and say something else.
        return max(0.001, end_s - now())

    request = f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode("ascii")
    answer = b""
    with _connected(_addresses(target.host, left_s()), target.port, left_s) as connection:
        connection.settimeout(left_s())
        connection.sendall(request)
        while len(answer) < MAX_ANSWER:
            connection.settimeout(left_s())
            more = connection.recv(MAX_ANSWER - len(answer))
            if not more:
                break
            answer += more
            if now() > end_s:
                raise TimeoutError
    return _read(answer)


def _addresses(host: str, timeout_s: float) -> list[str]:
    """The host's addresses; a host of bytes spares the tables of international names. Raises OSError."""
    if ":" in host or not host.strip("0123456789."):
        return [host]
    # A name: its look-up can be bounded by nothing but leaving it behind.
    import threading

    found: list[str] = []
    failed: list[OSError] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
        except OSError as error:
            failed.append(error)
        else:
            found.extend(str(address[0]) for *_, address in answers)

    looking = threading.Thread(target=look_up, daemon=True)
    looking.start()
    looking.join(timeout_s)
    for error in failed:
        raise error
    if looking.is_alive():
        raise TimeoutError
    return found


def _connected(addresses: Sequence[str], port: int, left_s: Callable[[], float]) -> socket.socket:
    """A connection to the first address that takes one. Raises OSError: of the last one."""
    for address in addresses[:-1]:
        try:
            return _connect(address, port, left_s())
        except OSError:
            continue
    return _connect(addresses[-1], port, left_s())


def _connect(address: str, port: int, timeout_s: float) -> socket.socket:
    """A connection. Raises OSError."""
    # socket.create_connection would look the address up, and load the tables of international names for it.
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _read(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.partition(b"\r\n")[0].split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not (words[1].isdigit() and len(words[1]) == 3):
        raise OSError("what answers there speaks no HTTP")
    line = body.partition(b"\n")[0].decode("utf-8", "replace")
    # Whoever answers is not trusted with a terminal.
    return int(words[1]), "".join(character for character in line if character.isprintable())[:SHOWN]


def judge(target: Target, timeout_s: float, *, of_s: float | None = None) -> tuple[bool, str]:
    """Whether it is well, and the sentence that says it. ``of_s``: what the seconds are left of."""
    try:
        status, said = ask(target, timeout_s)
    except TimeoutError:
        return False, f"{target} does not answer within {of_s or timeout_s:g} s"
    except OSError as error:
        return False, f"{target} cannot be asked: {error.strerror or error}"
    return status == 200, f"{target} answers {status}{f': {said}' if said else ''}"


def usual(timeout_s: float, now: Callable[[], float] = time.monotonic) -> tuple[bool, str]:
    """What listens on the usual ports of this machine, or of this container; ``timeout_s`` seconds for all of them."""
    end_s = now() + timeout_s

    def left_s() -> float:
        return max(0.001, end_s - now())

    there = [Target("127.0.0.1", port) for port in USUAL if _listens(port, left_s())]
    if not there:
        ports = ", ".join(str(port) for port in USUAL)
        return False, f"nothing listens on 127.0.0.1 at {ports}: give the URL, or set {VARIABLE}"
    found = [judge(target, left_s(), of_s=timeout_s) for target in there]
    return all(well for well, _ in found), "; ".join(sentence for _, sentence in found)


def _listens(port: int, timeout_s: float) -> bool:
    try:
        with _connect("127.0.0.1", port, timeout_s):
            return True
    except TimeoutError:
        # Somebody is there who does not accept: that is for the question to say.
        return True
    except OSError:
        return False


def check(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and sentence. Raises SystemExit: misused, or --help."""
    text, timeout_s = environment.get(VARIABLE), TIMEOUT_S
    try:
        if arguments:
            # As engines ask it, it has a URL at most; everything else is for people, who can wait for a parser.
            plain = len(arguments) == 1 and not arguments[0].startswith("-")
            given, timeout_s = (arguments[0], TIMEOUT_S) if plain else _parse(arguments)
            text = given or text
        target = target_of(text) if text else None
    except BadUrl as error:
        print(f"evcharge-health: {error} See evcharge-health --help.", file=sys.stderr)
        sys.exit(2)
    well, sentence = usual(timeout_s) if target is None else judge(target, timeout_s)
    return 0 if well else 1, f"{sentence}."


def _parse(arguments: Sequence[str]) -> tuple[str | None, float]:
    import argparse

    def seconds(text: str) -> float:
        value = float(text)
        if not 0 < value <= MAX_TIMEOUT_S:
            raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MAX_TIMEOUT_S:g}")
        return value

    parser = argparse.ArgumentParser(
        "evcharge-health", description=HELP, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL", nargs="?", help=f"like http://127.0.0.1:9410; no path: {DEFAULT_PATH}")
    parser.add_argument(
        *("--timeout", "-t"),
        metavar="S",
        type=seconds,
        default=TIMEOUT_S,
        help=f"seconds for the whole answer (default: {TIMEOUT_S:g})",
    )
    given = parser.parse_args(arguments)
    return given.url, given.timeout


def main() -> NoReturn:
    """Console script."""
    code, sentence = check(sys.argv[1:], os.environ)
    print(sentence, file=sys.stderr if code else sys.stdout)
    sys.exit(code)


if __name__ == "__main__":
    main()
