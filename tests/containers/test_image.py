"""The image: what is in it and what is not, and what a single container of it can do with next to no rights."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version
from typing import Any

from tests.containers.engine import Engine, Image
from tests.containers.running import HARDENED, NO_SHELL, once

# What the image may take on top of its base, bytes.
MOST = 150_000_000


def attempt(engine: Engine, image: Image, *command: object) -> subprocess.CompletedProcess[str]:
    """A command in a container without network, capabilities, shell, or a root that can be written."""
    return once(engine, ("--network=none", *HARDENED, *NO_SHELL, image.name), command)


def inside(engine: Engine, image: Image, *command: object) -> str:
    """What it says, when it ends well."""
    done = attempt(engine, image, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.rstrip("\n")


def test_it_takes_little_room_on_top_of_its_base(image: Image) -> None:
    print(f"{image.over_base / 1e6:.1f} MB on top of its base, built in {image.build_s:.1f} s")
    assert 0 < image.over_base <= MOST, f"{image.over_base / 1e6:.1f} MB: see what is in the image that need not be"


def test_what_it_says_of_itself(engine: Engine, image: Image) -> None:
    config: dict[str, Any] = engine.inspect(image.name)["Config"]
    assert config["User"] == "10001:10001"
    assert config["WorkingDir"] == "/var/lib/evcharge"
    assert config["StopSignal"] == "SIGTERM"
    # Lists: no shell starts them, so the program is PID 1 and hears the signal.
    assert config["Entrypoint"] is None and config["Cmd"] == ["evcharge-demo", "--exit"]
    assert config["Healthcheck"]["Test"] == ["CMD", "evcharge-health"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "evcharge"
    assert labels["org.opencontainers.image.version"] == version("evcharge")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


LOOK = """
import importlib.util, json, os, pathlib, sysconfig
packages = pathlib.Path(sysconfig.get_path("purelib"))
page = packages / "evcharge" / "sidecar" / "page"
sources = [path for path in packages.rglob("*.py") if "__pycache__" not in path.parts]
def written(folder):
    try:
        (pathlib.Path(folder) / "x").write_text("x")
    except OSError:
        return False
    return True
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "tools": [name for name in ("pip", "setuptools", "pytest") if (packages / name).exists()],
    "tests": [str(path) for path in packages.rglob("tests") if path.is_dir()],
    "not compiled": [str(path) for path in sources if not os.path.exists(importlib.util.cache_from_source(str(path)))],
    "page": [(page / name).is_file() for name in ("index.html", "vendor/uplot/uPlot.esm.js")],
    "node": (page / "node_modules").exists(),
    "writable": [folder for folder in ("/", "/tmp", "/var/lib/evcharge", "/opt/evcharge", "/etc") if written(folder)],
    "secrets": [oct(os.stat(folder).st_mode)[-3:] for folder in ("/var/lib/evcharge", "/run/evcharge")],
    "owners": [os.stat(folder).st_uid for folder in ("/var/lib/evcharge", "/run/evcharge", "/opt/evcharge", str(page))],
}))
"""


def test_what_is_in_it(engine: Engine, image: Image) -> None:
    found = json.loads(inside(engine, image, "python", "-c", LOOK))
    assert found == {
        "ids": [10001, 10001, [10001]],
        "tools": [],
        "tests": [],
        "not compiled": [],
        "page": [True, True],
        "node": False,
        "writable": ["/tmp"],
        "secrets": ["750", "750"],
        "owners": [10001, 10001, 0, 0],
    }


def test_what_was_taken_out_of_packages_is_not_missed(engine: Engine, image: Image) -> None:
    """The numerics on stripped libraries, encryption, both databases' drivers and Kafka's client with its codecs."""
    said = inside(
        engine,
        image,
        "python",
        "-c",
        "import aiokafka.codec as k, aiosqlite, asyncpg, highspy, numpy as np, uvloop\n"
        "from cryptography.fernet import Fernet\n"
        "a = np.array([[2.0, 1.0], [1.0, 3.0]]); assert np.allclose(a @ np.linalg.solve(a, [1, 2]), [1, 2])\n"
        "h = highspy.Highs(); h.silent(); x = h.addVariable(lb=0, ub=4); h.maximize(2 * x); assert h.val(x) == 4\n"
        "f = Fernet(Fernet.generate_key()); assert f.decrypt(f.encrypt(b'x')) == b'x'\n"
        "assert k.has_lz4() and k.has_snappy() and k.has_zstd()\n"
        "assert k.lz4_decode(k.lz4_encode(b'y' * 99)) == b'y' * 99\n"
        "print('well')",
    )
    assert said == "well"


def test_a_day_of_the_demo(engine: Engine, image: Image) -> None:
    options = ("--charge-points", 6, "--count", 10, "--speed", 2000, "--exit", "--json")
    with engine.timed("demo's day in a container"):
        answer = inside(engine, image, "evcharge-demo", *options)
    print(answer)
    day = json.loads(answer.splitlines()[-1])
    assert day["sessions"] == 10 and day["tickets"] == day["started"] > 0, day
    assert day["energy_wh_tickets"] == day["energy_wh_meters"] > 0, day
    assert 0 < day["peak_w"] <= day["capacity_w"], day


def test_without_a_daemon_its_health_says_what_to_do(engine: Engine, image: Image) -> None:
    done = attempt(engine, image, "evcharge-health")
    assert done.returncode == 1
    assert "nothing listens" in done.stderr and "EVCHARGE_HEALTH" in done.stderr


HELP = """
import json, subprocess
from importlib.metadata import distribution
commands = [point.name for point in distribution("evcharge").entry_points]
print(json.dumps({name: subprocess.run([name, "--help"], capture_output=True).returncode for name in commands}))
"""


def test_every_command_starts(engine: Engine, image: Image) -> None:
    codes = json.loads(inside(engine, image, "python", "-c", HELP))
    assert {"evcharge-central", "evcharge-sidecar", "evcharge-health"} <= codes.keys()
    assert codes == dict.fromkeys(codes, 0)
