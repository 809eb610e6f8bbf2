"""Ports for programs that have to be told one long before they listen there, and again after they have ended."""

from __future__ import annotations

import random
from pathlib import Path

from evcharge.net.ports import held_port

HOST = "127.0.0.1"
# The kernel gives out ports from the first of these two on to whoever does not ask for one.
GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 20_000
# With fewer between them two of ours would meet too often.
ENOUGH = 4_000


def free_port() -> int:
    """A port where nobody listens, and which the kernel gives to nobody by itself.

    Port 0 is better where a program says what it was given. Where the kernel gives out nearly all of them, or does not
    tell, it is any.
    """
    end = int(GIVEN_OUT.read_text().split()[0]) if GIVEN_OUT.exists() else 0
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(FIRST, end) if end - FIRST >= ENOUGH else 0
        try:
            with held_port(HOST, port) as free:
                return free
        except OSError:
            continue
