"""A container engine for tests, with every image made here: no registry of images is ever asked.

The engine is the tests' own: its socket, data and process id lie in one temporary folder, and only that one is stopped
at the end. The base image is a Debian made by mmdebstrap under the name that the Dockerfile says; images of others
(nginx) are stand-ins, which are this base with Debian's packages.

    EVCHARGE_DOCKER_HOST=unix:///…   use this running engine, and make there only what is missing
    EVCHARGE_IMAGE=NAME              use this image of that engine instead of building one
    BASE_TAR=FILE                    keep the base system there and use it again
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.processes import until

ROOT = Path(__file__).parents[2]
BASE = "python:3.11-slim"
# What a base system is made of: what the official image has that the Dockerfile uses.
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates,netbase,tzdata"
# As the official image has it: `python` is there, and pip may be used.
HOOK = 'ln -sf python3 "$1/usr/bin/python"; rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED'
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# What a build may have to know of where it runs, as it is set here.
PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "npm_config_registry", "http_proxy", "https_proxy", "no_proxy")
# Longest time of a build, of everything else, and of the engine's start and end, seconds, on a busy machine.
BUILD_S = 900.0
COMMAND_S = 120.0
START_S = 60.0
# The end of what a command said that a failure shows, lines.
TAIL = 25


class EngineFailed(Exception):
    """The engine, or what it was told to make, failed; the text says what to do or what was said last."""


class Image(NamedTuple):
    """The image of this checkout."""

    name: str
    over_base: int
    """Bytes on top of its base."""
    build_s: float
    """0: it was there."""


def lacks() -> str | None:
    """What is missing here for containers, as a sentence; None: nothing."""
    install = "`make containers` does as root (apt-get install docker.io docker-compose mmdebstrap iptables)"
    tools = ["docker"] if os.environ.get("EVCHARGE_DOCKER_HOST") else ["docker", "dockerd", "mmdebstrap", "iptables"]
    missing = [tool for tool in tools if _which(tool) is None]
    if missing:
        return f"there is no {', '.join(missing)}: install it, as {install}"
    if "dockerd" in tools and os.geteuid() != 0:
        return "an engine of the tests' own needs root: run it as root, or name one with EVCHARGE_DOCKER_HOST"
    return None


class Engine:
    """Use as ``with``. ``times`` says how long each part took, in seconds, in order."""

    def __init__(self, *, before: Sequence[str] = ()) -> None:
        """``before`` stands before the engine's command line, as in ``nsenter --net=/run/netns/X``. (``ip netns exec``
        would hide the control groups from it.)

        Raises:
            EngineFailed: when something is missing here.
        """
        missing = lacks()
        if missing is not None:
            raise EngineFailed(missing)
        given = os.environ.get("EVCHARGE_DOCKER_HOST")
        self.times: dict[str, float] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="evcharge-engine."))
        self.host = given or f"unix://{self.folder}/docker.sock"
        self.own = given is None
        self._before = before
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Engine:
        try:
            if self.own:
                with self.timed("engine started"):
                    self._start()
            else:
                self._greet()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            try:
                self._daemon.wait(START_S)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
            self._daemon = None
        # What the engine still had mounted under its folder; nothing of anybody else.
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for point in sorted((line.split()[1] for line in mounts), reverse=True):
            if point.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", point], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- commands -----------------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """For ``docker`` and ``docker-compose``. Debian's docker has the older builder alone."""
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}

    def docker(self, *arguments: object, given: bytes = b"", timeout_s: float = COMMAND_S) -> str:
        """Standard output of ``docker ARGUMENTS``, without its last newline. Raises EngineFailed."""
        done = self.attempt(*arguments, given=given, timeout_s=timeout_s)
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-TAIL:])
            raise EngineFailed(f"docker {' '.join(map(str, arguments))[:200]} ended with {done.returncode}:\n{said}")
        return done.stdout.rstrip("\n")

    def attempt(
        self, *arguments: object, given: bytes = b"", timeout_s: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """``docker ARGUMENTS`` with whatever exit code it has. Raises EngineFailed: it took too long."""
        words = ["docker", *map(str, arguments)]
        try:
            return subprocess.run(
                words,
                input=given.decode(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                env=self.environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineFailed(f"{' '.join(words)[:200]} did not end within {timeout_s:g} s") from None

    def inspect(self, name: str) -> dict[str, Any]:
        """All that the engine knows of an image, a container, a network or a volume."""
        found: dict[str, Any] = json.loads(self.docker("inspect", name))[0]
        return found

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Note and say how long it took."""
        began = time.monotonic()
        yield
        self.times[part] = self.times.get(part, 0.0) + time.monotonic() - began
        print(f"containers: {part}: {self.times[part]:.1f} s", flush=True)

    # --- images -------------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether an image is there; asks nobody else for it."""
        return self.attempt("image", "inspect", name).returncode == 0

    def base(self) -> str:
        """The base image, made if it is missing."""
        if self.has(BASE):
            return BASE
        kept = os.environ.get("BASE_TAR")
        file = Path(kept) if kept else self.folder / "base.tar"
        if not file.exists():
            with self.timed("base system made"):
                _debootstrap(file)
        with self.timed("base image made"):
            self.docker("import", file, BASE, timeout_s=BUILD_S)
            context = self.folder / "base"
            context.mkdir()
            # A build may have to trust the certificates that this machine trusts; they go into the tests' base only.
            shutil.copy(os.environ.get("SSL_CERT_FILE", CERTIFICATES), context / "ca.crt")
            settings = {"PIP_CERT": CERTIFICATES, "NODE_EXTRA_CA_CERTS": CERTIFICATES}
            settings |= {name: os.environ[name] for name in PASSED if name in os.environ}
            lines = [f"FROM {BASE}", f"COPY ca.crt {CERTIFICATES}", *(f"ENV {k}={v}" for k, v in settings.items())]
            self._build(BASE, context, lines)
        return BASE

    def build(self, name: str = "evcharge:latest") -> Image:
        """Build the image of this checkout, or take the one that ``EVCHARGE_IMAGE`` names."""
        base, build_s = self.base(), 0.0
        given = os.environ.get("EVCHARGE_IMAGE")
        if given:
            name = given
        else:
            with self.timed("image built"):
                self.docker("build", "--network=host", "--tag", name, ROOT, timeout_s=BUILD_S)
            build_s = self.times["image built"]
        size = [int(self.inspect(each)["Size"]) for each in (name, base)]
        return Image(name, size[0] - size[1], build_s)

    def stand_in(self, name: str, packages: Sequence[str], instructions: Sequence[str] = ()) -> str:
        """An image of this name with Debian's ``packages``; ``instructions``: more lines of its Dockerfile.

        One that is there already is left as it is, be it the real one.
        """
        if self.has(name):
            return name
        install = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(packages)}"
        context = self.folder / name.replace("/", "_").replace(":", "_")
        context.mkdir(exist_ok=True)
        with self.timed(f"stand-in for {name} made"):
            self._build(name, context, [f"FROM {self.base()}", f"RUN {install}", *instructions])
        return name

    def _build(self, name: str, context: Path, lines: Sequence[str]) -> None:
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        self.docker("build", "--network=host", "--tag", name, context, timeout_s=BUILD_S)

    # --- the engine of its own ----------------------------------------------------------------------------------------

    def _greet(self) -> None:
        if self.attempt("version").returncode != 0:
            raise EngineFailed(f"no container engine answers at EVCHARGE_DOCKER_HOST={self.host}")

    def _start(self) -> None:
        log = self.folder / "engine.log"
        command = [
            *(*self._before, _which("dockerd") or "dockerd"),
            *("--host", self.host),
            *("--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "docker.pid")),
            # Without systemd's help, which is not there in every CI.
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),
        ]
        with log.open("wb") as stream:
            self._daemon = subprocess.Popen(command, stdout=stream, stderr=stream, env=_environment())
        daemon = self._daemon

        def last() -> str:
            return f"the container engine did not start: {' '.join(log.read_text(errors='replace').splitlines()[-3:])}"

        with _as_failure():
            until(
                lambda: daemon.poll() is not None or self.attempt("version").returncode == 0, last, deadline_s=START_S
            )
        if daemon.poll() is not None:
            raise EngineFailed(last())


@contextmanager
def _as_failure() -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise EngineFailed(str(error)) from None


def _debootstrap(file: Path) -> None:
    """A Debian base system as a tar file; complete or not there."""
    part = file.with_name(f"{file.name}.part")
    done = subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", f"--include={PACKAGES}"),
            *(f"--customize-hook={HOOK}", "bookworm", str(part)),
        ],
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        env=_environment(),
        check=False,
    )
    if done.returncode != 0:
        with suppress(FileNotFoundError):
            part.unlink()
        said = " ".join(done.stderr.splitlines()[-TAIL:])
        raise EngineFailed(f"mmdebstrap could not make a base system: {said}")
    part.rename(file)


def _environment() -> dict[str, str]:
    """Root's tools are not in everybody's PATH."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=_environment()["PATH"])
