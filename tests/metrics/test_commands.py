"""``--metrics`` of both daemons as a person and a service manager meet it: real processes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evcharge.central import metric_table
from evcharge.cli.central import cli as central_cli
from evcharge.cli.sidecar import cli as sidecar_cli
from evcharge.net.metrics import COMMON
from evcharge.sidecar import metrics as sidecar_metrics
from tests.metrics.support import Told, check_metrics, get
from tests.support.processes import Process, Timeline, until
from tests.support.site import Loopback, Site

pytestmark = pytest.mark.process

# Longer than a test has one of the default ports, seconds.
KEPT_S = 30.0


@pytest.fixture
def site(tmp_path: Path, made_registry: Path) -> Iterator[Site]:
    with Site(tmp_path, Loopback(), made_registry, Timeline("metrics of real processes")) as site:
        yield site


def address_of(process: Process) -> str:
    address: str = process.ready()["metrics"]
    return address


def test_both_tell_what_is_declared_where_their_ready_line_says(site: Site) -> None:
    sidecar = site.start_sidecar(None, "--metrics", "127.0.0.1:0")
    central = site.start_central("--metrics", "127.0.0.1:0")
    for process, table in ((sidecar, sidecar_metrics.TABLE), (central, metric_table.TABLE)):
        text = get(f"http://{address_of(process)}/metrics")
        assert Told(text).differs([*table, *COMMON]) == {}
        check_metrics(text)
    assert central.stop() == 0, central.tail()
    assert sidecar.stop() == 0, sidecar.tail()


def test_an_address_that_was_asked_for_and_is_taken_is_exit_1(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sidecar = site.start_sidecar(None, "--metrics", address, wait=False)
        assert sidecar.wait() == 1
        central = site.start_central("--metrics", address, "--log-level", "error", wait=False)
        assert central.wait() == 1
    for process in (sidecar, central):
        (sentence,) = [line for line in process.errors.splitlines() if line.startswith("error: ")]
        assert "in use" in sentence and "--metrics" in sentence and "Traceback" not in process.errors


def held(port: int) -> socket.socket | None:
    """The port, when nobody else has it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(("127.0.0.1", port))
        holder.listen()
    except OSError:
        holder.close()
        return None
    return holder


def test_a_default_that_is_taken_is_a_warning(site: Site, tmp_path: Path) -> None:
    """Whoever has the two ports, the daemons serve: with metrics or without."""
    holders = []
    for port in (9410, 9411):
        # A daemon of another test may have it for a while, and would give it back while ours start. Who keeps it is as
        # good as we.
        with suppress(AssertionError):
            holders.append(until(lambda port=port: held(port), deadline_s=KEPT_S))
    config = tmp_path / "settings.toml"
    config.write_text('log_level = "info"\n')
    words: list[object] = ["run", "--data-dir", site.registry, "--port", 0]
    sidecar = site.run("sidecar", "sidecar", "sidecar", words)
    registry = sidecar.ready()["url"]
    words = ["--credentials", site.registry / "central.json", "--registry", registry, "--port", 0]
    words += ["--data-dir", tmp_path / "central", "--drain-s", 0]
    central = site.run("central", "central", "central", words)
    for process in (sidecar, central):
        assert "metrics" not in process.ready()
        (line,) = process.logged("metrics.not_served")
        assert line["level"] == "warning" and "in use" in line["sentence"]
    for holder in holders:
        holder.close()


def test_off_is_off(site: Site) -> None:
    sidecar = site.start_sidecar(None, "--metrics", "off")
    central = site.start_central("--metrics", "off")
    for process in (sidecar, central):
        assert "metrics" not in process.ready()
        assert not process.logged("metrics.not_served")


@pytest.mark.parametrize("value", ["", "nonsense:port", ":9410", "127.0.0.1:99999"])
@pytest.mark.parametrize("daemon", ["central", "sidecar"])
def test_a_bad_address_is_misuse(value: str, daemon: str, tmp_path: Path) -> None:
    words = ["--credentials", str(tmp_path / "none")] if daemon == "central" else ["run", "--data-dir", str(tmp_path)]
    command: Any = central_cli if daemon == "central" else sidecar_cli
    result = CliRunner().invoke(command, [*words, "--metrics", value])
    assert result.exit_code == 2, result.output
    assert "--metrics" in result.output


def test_a_variable_counts_as_asked_for(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words: list[object] = ["run", "--data-dir", site.registry, "--port", 0]
        process = Process(
            "sidecar",
            "sidecar",
            words,
            site.directory,
            environment={"EVCHARGE_SIDECAR_RUN_METRICS": f"127.0.0.1:{port}"},
        )
        site.processes.append(process)
        assert process.wait() == 1, process.tail()
    assert json.dumps(port) in process.errors
