"""A port that was chosen for a child."""

from __future__ import annotations

import socket
import sys

import pytest

from evcharge.net.ports import held_port

HOST = "127.0.0.1"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_a_port_is_kept_for_the_child_that_is_told_of_it() -> None:
    """It listens seconds after the port was chosen: meanwhile every program here takes ports."""
    with held_port(HOST) as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        with socket.create_server((HOST, port)) as child:
            pass
    with socket.create_server((HOST, port)) as child:
        socket.create_connection((HOST, port)).close()
        child.accept()[0].close()
