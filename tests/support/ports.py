"""Ports for programs that have to be told one: nobody else is given it between the choice and its use."""

from __future__ import annotations

import random
import socket
from pathlib import Path

# The kernel gives out ports from the first of these two on to whoever does not ask for one.
GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 20_000
# With fewer between them two of ours would meet too often.
ENOUGH = 4_000


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens, and which the kernel gives to nobody by itself.

    Port 0 is better where a program says what it was given. Where the kernel gives out nearly all of them, it is any.
    """
    end = int(GIVEN_OUT.read_text().split()[0])
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(FIRST, end) if end - FIRST >= ENOUGH else 0
        with socket.socket() as probe:
            # Also where a connection of before lingers.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
