"""One command from HTTP to the audit log, and logs that say more while their processes run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.http.conftest import HttpSite
from tests.support.processes import Process, until
from tests.support.site import CP

pytestmark = pytest.mark.process


def ask(
    http_site: HttpSite, method: str, path: str, kind: str, *, trace: str | None = None, body: object = None
) -> tuple[int, str, Any]:
    """Status, X-Request-ID and body of what is answered."""
    headers = {"Authorization": f"Bearer {http_site.token(kind)}", "Content-Type": "application/json"}
    headers |= {} if trace is None else {"X-Request-ID": trace}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(http_site.url + path, data=data, headers=headers, method=method)) as answer:
            return answer.status, answer.headers["X-Request-ID"], json.load(answer)
    except HTTPError as error:
        return error.code, error.headers["X-Request-ID"], json.load(error)


def shown(http_site: HttpSite, *options: str) -> list[dict[str, Any]]:
    """What ``evcharge-audit show`` finds in Central's own files."""
    words = ["show", str(http_site.site.directory / "central" / "log"), "--json", *options]
    done = subprocess.run(
        [sys.executable, "-m", "evcharge.cli.audit", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_who_stopped_a_charge_point_is_in_the_audit_log(http_site: HttpSite) -> None:
    status, trace, body = ask(http_site, "POST", f"/api/cps/{CP}/stop", "operator", trace="ticket-4711")
    assert (status, trace, body["holds"]) == (200, "ticket-4711", ["ADMIN"])
    (record,) = shown(http_site, "--trace", "ticket-4711", "--kind", "hold_placed")
    assert (record["by"], record["data"]) == ("app-operator", {"cp_id": CP, "hold": "ADMIN"})
    assert record["actor"].startswith("operator:")
    status, made, _ = ask(http_site, "POST", f"/api/cps/{CP}/resume", "operator")
    assert status == 200 and len(made) == 16
    (lifted,) = shown(http_site, "--by", "app-operator", "--kind", "hold_lifted", "--trace", made)
    assert lifted["data"]["cp_id"] == CP
    # The sidecar's own log has the same id on the order's line and on the request's.
    for event in ("gateway.order", "http.request"):
        until(lambda event=event: any(one["request_id"] == made for one in http_site.site.sidecar.logged(event)))
    _, _, page = ask(http_site, "GET", "/api/audit?trace=ticket-4711&kind=hold_placed", "operator")
    assert [(row["seq"], row["by"]) for row in page["records"]] == [(record["seq"], "app-operator")]


def test_a_problem_says_which_line_of_the_log_is_about_it(http_site: HttpSite) -> None:
    status, trace, body = ask(http_site, "POST", "/api/cps/CP-none/stop", "operator")
    assert (status, body["request_id"]) == (404, trace)
    (line,) = until(
        lambda: [one for one in http_site.site.sidecar.logged("http.request") if one["request_id"] == trace]
    )
    assert (line["status"], line["client"], line["route"]) == (404, "app-operator", "stop_charge_point")


@pytest.fixture
def process(http_site: HttpSite, request: pytest.FixtureRequest) -> Iterator[Process]:
    found: Process = getattr(http_site.site, request.param)
    yield found


@pytest.mark.parametrize("process", ["sidecar", "central", "cp", "monitor"], indirect=True)
def test_signals_change_how_much_a_daemon_logs(process: Process) -> None:
    """One step each; at the ends it stays, and says so. What it logs at `error` too is this one line."""
    steps = [("SIGUSR1", "info", "debug"), ("SIGUSR1", "debug", "debug"), ("SIGUSR2", "debug", "info")]
    steps += [("SIGUSR2", "info", "warning"), ("SIGUSR2", "warning", "error"), ("SIGUSR2", "error", "error")]
    steps += [("SIGUSR1", "error", "warning"), ("SIGUSR1", "warning", "info")]
    # Other tests change the same daemon's level, too.
    for number, (name, before, now) in enumerate(steps, len(process.logged("log.level"))):
        os.kill(process.pid, signal.Signals[name])
        said = until(lambda number=number: process.logged("log.level")[number:], process.tail)
        assert [(one["cause"], one["before"], one["now"]) for one in said] == [(name, before, now)]
    assert process.returncode is None


def test_the_level_over_http(http_site: HttpSite) -> None:
    sidecar = http_site.site.sidecar
    for kind in ("operator", "viewer"):
        assert ask(http_site, "PUT", "/api/log-level", kind, body={"level": "debug"})[0] == 403
    before = len(sidecar.logged("log.level"))
    assert ask(http_site, "GET", "/api/log-level", "admin")[2]["level"] == "info"
    status, trace, body = ask(http_site, "PUT", "/api/log-level", "admin", body={"level": "debug"})
    assert (status, body) == (200, {"level": "debug", "before": "info"})
    (line,) = until(lambda: sidecar.logged("log.level")[before:], sidecar.tail)
    assert (line["now"], line["client"], line["request_id"]) == ("debug", "app-admin", trace)
    # A line that is a detail: there is none of a GET at `info`.
    _, seen, _ = ask(http_site, "GET", "/api/cps", "admin")
    until(lambda: any(one["request_id"] == seen for one in sidecar.logged("http.request")), sidecar.tail)
    assert ask(http_site, "PUT", "/api/log-level", "admin", body={"level": "info"})[2]["before"] == "debug"
    _, unseen, _ = ask(http_site, "GET", "/api/cps", "admin")
    _, after, _ = ask(http_site, "PUT", "/api/log-level", "admin", body={"level": "info"})
    until(lambda: any(one["request_id"] == after for one in sidecar.logged("http.request")), sidecar.tail)
    assert not [one for one in sidecar.logged("http.request") if one["request_id"] == unseen]
    assert ask(http_site, "PUT", "/api/log-level", "admin", body={"level": "loud"})[0] == 422
