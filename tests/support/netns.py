"""Several hosts on one machine: network namespaces, joined by cables that a test can cut.

Every cable is a veth pair of its own (a /30 of 10.211.0.0/16, which exists inside the namespaces only), so that
cutting one leaves all others alone. The names carry this process's id; what a killed run left behind is removed by the
next one.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# First two bytes of every address; private (RFC 1918), and seen by nobody outside the namespaces.
PREFIX = "10.211"
# Longest wait for ``ip``, in seconds; it takes milliseconds unless the kernel is busy tearing namespaces down.
IP_S = 30.0

_NAMED = Path("/run/netns")
_OURS = re.compile(r"evt(\d+)-\d+-.+")
_counter = itertools.count(1)


class NetworkFailed(RuntimeError):
    """``ip`` said no; the text is its own."""


def missing() -> str | None:
    """What this machine lacks for namespaces, in one sentence that says what to do; None: nothing."""
    if shutil.which("ip") is None:
        return "network namespaces need the command ip, which is not here: run `make system-deps` as root."
    if os.geteuid() != 0:
        return "network namespaces need root: run `make system-deps`, then the tests, as root."
    name = f"evt{os.getpid()}-0-probe"
    try:
        _ip("netns", "add", name)
    except NetworkFailed as error:
        return f"this root may not make network namespaces ({error}); `make system-deps` and a real root would do."
    _ip("netns", "delete", name)
    return None


class Network:
    """Hosts and the cables between them. Use as a context manager: nothing is left behind."""

    def __init__(self, hosts: Iterable[str], cables: Iterable[tuple[str, str]]) -> None:
        self._run = f"evt{os.getpid()}-{next(_counter)}"
        self._hosts = list(hosts)
        self._cables = {frozenset(cable): number for number, cable in enumerate(cables)}
        self._order = [tuple(sorted(cable)) for cable in self._cables]

    def __enter__(self) -> Network:
        _remove_leftovers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the namespaces; their cables go with them. Whoever still runs in one is left without a network."""
        for host in self._hosts:
            if (_NAMED / self._name(host)).exists():
                _ip("netns", "delete", self._name(host))

    def command(self, host: str) -> list[str]:
        """What stands before a command line that is to run on ``host``; it becomes that command (same pid)."""
        return ["ip", "netns", "exec", self._name(host)]

    def address(self, host: str, seen_from: str) -> str:
        """The address of ``host`` on its cable to ``seen_from``. KeyError: there is none."""
        if host == seen_from:
            return "127.0.0.1"
        number = self._cables[frozenset((host, seen_from))]
        return f"{PREFIX}.{number}.{1 if host < seen_from else 2}"

    def cut(self, one: str, other: str) -> None:
        """Pull the cable: whatever is sent from now on is lost, both ways, and nobody is told."""
        self._set(one, other, "down")

    def mend(self, one: str, other: str) -> None:
        """Plug it in again."""
        self._set(one, other, "up")

    def _set(self, one: str, other: str, state: str) -> None:
        first, second = sorted((one, other))
        self._cables[frozenset((one, other))]
        _ip("-n", self._name(first), "link", "set", f"to-{second}", state)

    def _name(self, host: str) -> str:
        return f"{self._run}-{host}"

    def _build(self) -> None:
        for host in self._hosts:
            _ip("netns", "add", self._name(host))
            _ip("-n", self._name(host), "link", "set", "lo", "up")
        for one, other in self._order:
            first, second = self._name(one), self._name(other)
            # Both ends are born where they belong, so no name can clash with one of the machine's own.
            _ip("link", "add", f"to-{other}", "netns", first, "type", "veth", "peer", f"to-{one}", "netns", second)
            for here, there in ((one, other), (other, one)):
                name, device = self._name(here), f"to-{there}"
                _ip("-n", name, "address", "add", f"{self.address(here, there)}/30", "dev", device)
                _ip("-n", name, "link", "set", device, "up")


def _remove_leftovers() -> None:
    """Namespaces of runs whose process is gone: they were killed before they could clean up."""
    if not _NAMED.is_dir():
        return
    for entry in _NAMED.iterdir():
        match = _OURS.fullmatch(entry.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        # Another run may be removing the same one.
        with suppress(NetworkFailed):
            _ip("netns", "delete", entry.name)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=IP_S, check=False)
    if done.returncode != 0:
        raise NetworkFailed(done.stderr.strip() or f"ip {' '.join(words)} failed")
