"""A charge point that is started with ``&`` in somebody's terminal goes on: it wants no keys there."""

from __future__ import annotations

import os
import pty
import sys

import pytest

PROGRAM = "from evcharge.cp.console import on_terminal; print('keys:', on_terminal())"


@pytest.mark.process
@pytest.mark.parametrize(("order", "keys"), [("{}", "True"), ("{} & wait", "False")])
def test_keys_are_read_in_the_foreground_only(order: str, keys: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        # Job control, as in a shell that a person types into.
        whole = order.format(f'{sys.executable} -c "{PROGRAM}"')
        os.execvp("bash", ["bash", "--norc", "-c", f"set -m; {whole}"])
    said = b""
    try:
        while piece := os.read(terminal, 4_096):
            said += piece
    except OSError:
        # Everybody who had the terminal has gone.
        pass
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert f"keys: {keys}".encode() in said, said
