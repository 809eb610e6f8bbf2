"""A machine of its own for tests: a network namespace, a folder, its own /etc/hosts and /srv, and one shell on it.

What a manual tells its reader to type is read from the manual (``steps``) and typed here word for word, so a manual
that is wrong fails a test. The shell is one process from the first step to the last: what is exported stays, and what
was sent to the background belongs to it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.support.processes import DEADLINE_S, TAIL, until

ROOT = Path(__file__).parents[2]
# Where manuals keep what belongs to the whole machine; each machine of a test has one of its own.
SRV = Path("/srv")
# Seconds from the end of the shell's input to SIGKILL for everything that it started.
CLOSE_S = 15.0

# "On **A**" says whose shell the blocks below are for. A step that a test cannot take (an editor, another network)
# stands in the text, not in a block.
_WHOSE = re.compile(r"\bOn \*\*(\w)\*\*")
_HEADING = re.compile(r"(#+) (.*)")


@dataclass(frozen=True)
class Step:
    """A block of commands of a manual, and the machine on which they are typed."""

    machine: str
    commands: str


def steps(text: str, heading: str) -> list[Step]:
    """The indented blocks under ``heading``, with those under its own sub-headings. ValueError: no such heading."""
    section = _section(text.splitlines(), heading)
    machine, block, found = "", list[str](), list[Step]()
    for line in [*section, "."]:
        if line.startswith("    ") or (block and not line):
            block.append(line.removeprefix("    "))
            continue
        if block:
            if not machine:
                raise ValueError(f"nobody is named above {block[0]!r}")
            found.append(Step(machine, "\n".join(block).rstrip()))
            block = []
        named = _WHOSE.findall(line)
        machine = named[-1] if named else machine
    return found


def _section(lines: Sequence[str], heading: str) -> Iterator[str]:
    level = 0
    for line in lines:
        match = _HEADING.match(line)
        if match is not None and level and len(match[1]) <= level:
            return
        if level:
            yield line
        elif match is not None and match[2] == heading:
            level = len(match[1])
    if not level:
        raise ValueError(f"there is no heading {heading!r}")


class Machine:
    """Use as a context manager: nothing that was started on it survives."""

    def __init__(
        self, name: str, before: Sequence[str], directory: Path, hosts: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        """A shell in ``directory``; ``before`` is what puts a command into the namespace (``ip netns exec X``).

        ``hosts`` are names and their addresses; ``variables`` are added to the environment.
        """
        self.name = name
        self.directory = directory
        self.srv = directory.with_name(f"{name}.srv")
        self._before = list(before)
        self._hosts = dict(hosts)
        self._variables = dict(variables)
        self._lines: list[str] = []
        self._steps = 0

    def __enter__(self) -> Machine:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.srv.mkdir(exist_ok=True)
        hosts_file = self.directory.with_name(f"{self.name}.hosts")
        self.knows({})
        given = {key: value for key, value in os.environ.items() if not key.startswith(("EVCHARGE_", "DOCKER_"))}
        path = os.pathsep.join([str(_tools(self.directory.parent)), str(Path(sys.executable).parent), given["PATH"]])
        self.log = self.directory.with_name(f"{self.name}.log")
        # `ip netns exec` has unshared the mounts already: what is bound here is seen by this machine only.
        own = {hosts_file: "/etc/hosts", self.srv: SRV}
        bind = "; ".join(f"mount --bind {shlex.quote(str(file))} {where}" for file, where in own.items())
        with self.log.open("wb") as log:
            self._shell = subprocess.Popen(
                [*self._before, "bash", "-ec", f"{bind}; exec bash -e"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.directory,
                env={**given, "PATH": path, "PYTHONPATH": str(ROOT), **self._variables},
                start_new_session=True,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # Its input also ends when the test run is killed: then nobody else would end what it has started.
        self.type("trap 'kill $(jobs -p) 2>/dev/null' EXIT")
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._end()

    def knows(self, hosts: Mapping[str, str]) -> None:
        """Names and their addresses in /etc/hosts, from now on."""
        self._hosts |= hosts
        lines = [f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **self._hosts}.items()]
        # Written in place: it is this very file that is mounted.
        self.directory.with_name(f"{self.name}.hosts").write_text("".join(lines))

    def type(self, commands: str, deadline_s: float = DEADLINE_S) -> list[str]:
        """Type lines and wait until the shell is through with them; what was printed meanwhile. A failure fails."""
        self._steps += 1
        done = f"step {self._steps} of {self.name} is done"
        before = len(self._lines)
        assert self._shell.stdin is not None
        try:
            # From a file, because a command that reads its input would swallow the next ones. What came before may
            # have ended without a newline, as curl does.
            typed = self.directory.with_name(f"{self.name}.{self._steps}.sh")
            typed.write_text(f"{commands}\n")
            source = f"source {shlex.quote(str(typed))} </dev/null"
            self._shell.stdin.write(f"{source}; printf '\\n%s\\n' {shlex.quote(done)}\n")
            self._shell.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"the shell has ended before {commands!r}: {self.tail()}") from None
        until(lambda: done in self._lines[before:] or self._shell.poll() is not None, self.tail, deadline_s)
        assert done in self._lines[before:], f"{commands}\nfailed on {self.name}: {self.tail()}"
        return [line for line in self._lines[before:] if line not in ("", done)]

    def said(self, key: str, value: str) -> list[dict[str, Any]]:
        """The JSON lines printed so far whose ``key`` is ``value``: ``said("ready", "central")``."""
        lines = [line for line in self._lines if line.startswith("{")]
        return [found for found in map(msgspec.json.decode, lines) if found.get(key) == value]

    def ready(self, what: str) -> dict[str, Any]:
        """Wait for a daemon's ready line."""
        return until(lambda: self.said("ready", what), self.tail)[0]

    def tail(self) -> str:
        """The end of what was printed here, for a failure."""
        lines = [*self._lines[-TAIL:], *self.log.read_text(errors="replace").splitlines()[-TAIL:]]
        return f"{self.name}:" + "".join(f"\n    {line[:300]}" for line in lines)

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._lines.append(line.rstrip("\n"))

    def _end(self) -> None:
        """SIGTERM to all of the shell's session, then SIGKILL to whoever is left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in _session(self._shell.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(AssertionError):
                until(lambda: not _session(self._shell.pid), "", CLOSE_S)
        self._reader.join(CLOSE_S)


def _session(leader: int) -> list[int]:
    """The living processes of a session; the leader's own zombie is reaped by whoever asks for its exit code."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # pid (command) state ppid pgrp session …, and a command may hold anything but its last bracket.
            state, _, _, session = stat.read_text(errors="replace").rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


def _tools(directory: Path) -> Path:
    """What a machine of a test has in place of sshd: ``scp`` that knows the folders of the others."""
    tools = directory / "bin"
    if not tools.exists():
        tools.mkdir()
        # scp FILE… HOST.example:[FOLDER] copies into the folder of that machine, as its user would find it.
        copy = (
            '#!/bin/bash -e\nto=${!#}; host=${to%%.*}; folder=${to#*:}\nset -- "${@:1:$#-1}"\n'
            f'[ -d {shlex.quote(str(directory))}/"$host" ]\n'
            f'cp -p "$@" {shlex.quote(str(directory))}/"$host"/"$folder"\n'
        )
        (tools / "scp").write_text(copy)
        (tools / "scp").chmod(0o755)
        assert shutil.which("bash"), "the manual's commands are those of bash"
    return tools
