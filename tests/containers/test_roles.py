"""Every role as PID 1 of a container of its own: it starts, is found healthy, hears SIGTERM and ends with 0.

All share one loopback, as the containers of a pod do, so that the registry needs no certificate here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.containers.engine import Engine, EngineFailed, Image
from tests.containers.running import GRACE_S, HARDENED, NO_SHELL, Container, named, once, running, volume
from tests.support.processes import until

LOOPBACK = "127.0.0.1"
# One question a second instead of one in 15: the test waits for the first answer.
SOON = ("--health-interval", "1s", "--health-start-period", "1s")
ROLES = ("sidecar", "central", "cp", "monitor", "driver")


class Site:
    """The containers by role."""

    def __init__(self, engine: Engine, image: Image, stack: ExitStack) -> None:
        self.engine = engine
        self.image = image
        self.roles: dict[str, Container] = {}
        self.started_s: dict[str, float] = {}
        self._stack = stack
        # Nobody made it before: it gets the owner of the image's folder.
        self._data = stack.enter_context(volume(engine, "data"))

    def once(self, *command: object, network: str = "none") -> str:
        """Run a command to its end, on the data of all."""
        done = once(self.engine, self._options(network), command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, role: str, *command: object, network: str, url: str | None = None) -> Container:
        """Start a role and wait for its line ``ready``."""
        options = (*SOON, *(() if url is None else ("--env", f"EVCHARGE_HEALTH={url}")), *self._options(network))
        container = self._stack.enter_context(running(self.engine, role, options, command))
        self.roles[role] = container
        _, self.started_s[role] = container.ready()
        self.engine.times[f"{role} ready after its start"] = self.started_s[role]
        return container

    def _options(self, network: str) -> tuple[str, ...]:
        mount = ("--volume", f"{self._data}:/var/lib/evcharge")
        return (*HARDENED, *NO_SHELL, "--network", network, *mount, self.image.name)


@pytest.fixture(scope="module")
def site(engine: Engine, image: Image) -> Iterator[Site]:
    with ExitStack() as stack:
        site = Site(engine, image, stack)
        site.once("evcharge-sidecar", "init", "--data-dir", "registry")
        central = ("--central", f"{LOOPBACK}:7411")
        site.start("sidecar", "evcharge-sidecar", "run", "--data-dir", "registry", *central, network="none")
        shared = f"container:{named('sidecar')}"
        token = ("--registry", f"http://{LOOPBACK}:8080", "--token-file", "registry/operator.token")
        site.once("evcharge-cp", "register", *token, "--id", "CP-1", "--out", "keys", network=shared)
        site.once("evcharge-driver", "register", *token, "--id", "anna", "--out", "anna.json", network=shared)
        site.once("python", "-c", "open('points', 'w').write('CP-1\\n')")
        site.start(
            *("central", "evcharge-central", "--credentials", "registry/central.json", "--capacity-kw", 50),
            network=shared,
        )
        cp = (*central, "--data-dir", "cp", "--health-listen", f"{LOOPBACK}:9500", "--health", f"{LOOPBACK}:9413")
        url = f"http://{LOOPBACK}:9413/readyz"
        site.start("cp", "evcharge-cp", "run", "--credentials", "keys", *cp, network=shared, url=url)
        monitor = (*central, "--engine", f"{LOOPBACK}:9500", "--health", f"{LOOPBACK}:9414")
        url = f"http://{LOOPBACK}:9414/readyz"
        site.start("monitor", "evcharge-monitor", "run", "--credentials", "keys", *monitor, network=shared, url=url)
        driver = ("--credentials", "anna.json", *central, "--health", f"{LOOPBACK}:9415", "--json", "points")
        url = f"http://{LOOPBACK}:9415/readyz"
        site.start("driver", "evcharge-driver", "auto", *driver, network=shared, url=url)
        yield site


@pytest.mark.parametrize("role", ROLES)
def test_it_is_found_healthy_by_what_the_image_itself_asks(site: Site, role: str) -> None:
    site.roles[role].healthy()


@pytest.mark.parametrize("role", ROLES)
def test_the_program_is_pid_1_and_there_is_no_shell(site: Site, role: str) -> None:
    container = site.roles[role]
    words = container.execute("python", "-c", "print(open('/proc/1/cmdline').read().split(chr(0))[1])")
    assert words == f"/opt/evcharge/bin/evcharge-{role}"
    with pytest.raises(EngineFailed):
        container.execute("sh", "-c", "true")


def test_a_car_charges(site: Site) -> None:
    """The driver's request went through all of them."""
    driver = site.roles["driver"]
    until(lambda: any(line.get("what") == "authorized" for line in driver.lines), driver.tail)


@pytest.mark.parametrize("url", ["9410/healthz", "9410/readyz", "9411/healthz", "9411/readyz", "9413/healthz"])
def test_every_daemon_answers_both_questions(site: Site, url: str) -> None:
    said = site.roles["cp"].execute("evcharge-health", f"http://{LOOPBACK}:{url}")
    assert "answers 200" in said


@pytest.mark.last
def test_stopped_one_after_the_other_each_drains_and_ends_with_0(site: Site) -> None:
    """Central before the peers, so that these have to end without it."""
    for role in ("driver", "central", "monitor", "cp", "sidecar"):
        container = site.roles[role]
        code, took_s = container.stop()
        site.engine.times[f"{role} stopped"] = took_s
        assert code == 0, container.tail()
        assert took_s < GRACE_S, f"{role} took {took_s:.1f} s"
