"""Several hosts on one machine: network namespaces, joined by cables that somebody can pull.

Nothing of it is seen outside: bridge, cables and addresses exist inside the namespaces only. Their names carry this
process's id, so what a killed run left behind is removed by the next one.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

# Longest wait for ``ip``, in seconds; it takes milliseconds unless the kernel is busy tearing namespaces down.
IP_S = 30.0
# First three bytes of every address on a switch; private (RFC 1918), and seen by nobody outside the namespaces.
SUBNET = "10.212.0"
# Longest name of a network device (IFNAMSIZ of Linux, less the final zero).
MAX_DEVICE = 15

_NAMED = Path("/run/netns")
_OURS = re.compile(r"evt(\d+)-\d+-.+")
_counter = itertools.count(1)

N = TypeVar("N", bound="Hosts")


class NetworkFailed(RuntimeError):
    """``ip`` said no; the text is its own."""


def missing() -> str | None:
    """What this machine lacks for namespaces, in one sentence that says what to do; None: nothing."""
    if shutil.which("ip") is None:
        return "network namespaces need the command ip, which is not here: run `make system-deps` as root."
    if os.geteuid() != 0:
        return "network namespaces need root: run `make system-deps`, then this, as root."
    name = f"evt{os.getpid()}-0-probe"
    try:
        ip("netns", "add", name)
    except NetworkFailed as error:
        return f"this root may not make network namespaces ({error}); `make system-deps` and a real root would do."
    ip("netns", "delete", name)
    return None


def ip(*words: str) -> None:
    """Run ``ip WORDS``. Raises NetworkFailed."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=IP_S, check=False)
    if done.returncode != 0:
        raise NetworkFailed(done.stderr.strip() or f"ip {' '.join(words)} failed")


class Hosts:
    """Namespaces without any cable; subclasses join them. Use as a context manager: nothing is left behind."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = list(hosts)
        self._run = f"evt{os.getpid()}-{next(_counter)}"

    def __enter__(self: N) -> N:
        _remove_leftovers()
        try:
            for host in self.hosts:
                ip("netns", "add", self.name(host))
                ip("-n", self.name(host), "link", "set", "lo", "up")
            self.join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def join(self) -> None:
        """Lay the cables. Raises NetworkFailed."""

    def close(self) -> None:
        """Remove the namespaces; their cables go with them. Whoever still runs in one is left without a network."""
        for host in self.hosts:
            if (_NAMED / self.name(host)).exists():
                ip("netns", "delete", self.name(host))

    def command(self, host: str) -> list[str]:
        """What stands before a command line that is to run on ``host``; it becomes that command (same pid)."""
        return ["ip", "netns", "exec", self.name(host)]

    def name(self, host: str) -> str:
        """The host's namespace, as the kernel knows it."""
        return f"{self._run}-{host}"


class Switched(Hosts):
    """Hosts on one switch: a bridge, in a namespace of its own that holds nothing else."""

    _SWITCH = "switch"

    def __init__(self, hosts: Sequence[str]) -> None:
        """Raises ValueError when a name is too long for its port."""
        super().__init__([*hosts, self._SWITCH])
        self._members = list(hosts)
        for host in hosts:
            if len(self._port(host)) > MAX_DEVICE:
                raise ValueError(f"{host} is too long: its port would be called {self._port(host)}")

    def join(self) -> None:
        """One cable from each host to the switch. Raises NetworkFailed."""
        switch = self.name(self._SWITCH)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in self._members:
            here, port = self.name(host), self._port(host)
            # Both ends are born where they belong, so no name can clash with one of the machine's own.
            ip("link", "add", "eth0", "netns", here, "type", "veth", "peer", port, "netns", switch)
            ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", here, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-n", here, "link", "set", "eth0", "up")

    def address(self, host: str) -> str:
        """The host's address, the same for all. ValueError: no such host."""
        return f"{SUBNET}.{self._members.index(host) + 1}"

    def cut(self, host: str) -> None:
        """Take the host's link down: whatever is sent from now on is lost, both ways, and nobody is told."""
        ip("-n", self.name(self._SWITCH), "link", "set", self._port(host), "down")

    def mend(self, host: str) -> None:
        """Bring it up again."""
        ip("-n", self.name(self._SWITCH), "link", "set", self._port(host), "up")

    @staticmethod
    def _port(host: str) -> str:
        return f"port-{host}"


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
            ip("netns", "delete", entry.name)
