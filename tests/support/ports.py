"""Ports of loopback that nobody else takes: while nobody listens there, or until a program that is told one does."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The kernel gives out ports from the first of these two on to whoever does not ask for one.
GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 20_000
# With fewer between them two of ours would meet too often.
ENOUGH = 4_000


@contextmanager
def closed_port(port: int = 0) -> Iterator[int]:
    """This port, or a free one: nobody listens there, and no other program is given it meanwhile.

    A server that reuses addresses may be started there.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        yield holder.getsockname()[1]


def free_port() -> int:
    """A port where nobody listens, and which the kernel gives to nobody by itself.

    Port 0 is better where a program says what it was given. Where the kernel gives out nearly all of them, it is any.
    """
    end = int(GIVEN_OUT.read_text().split()[0])
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(FIRST, end) if end - FIRST >= ENOUGH else 0
        try:
            with closed_port(port) as free:
                return free
        except OSError:
            continue
