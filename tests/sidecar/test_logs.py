"""A trace in the log has no values of variables: among them are tokens and secrets."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import structlog
from evcharge.cli.common import configure_logging

def handle(token):
    password = token + "-too"
    raise ValueError("broken")

configure_logging("info")
try:
    handle("very" + "secret")
except ValueError:
    structlog.get_logger().exception("http.failed")
"""


def test_no_variable_is_shown_where_something_breaks() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert "http.failed" in done.stderr
    assert "ValueError" in done.stderr
    assert "handle" in done.stderr
    assert "verysecret" not in done.stderr + done.stdout
