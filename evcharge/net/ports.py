"""Ports that a program chooses for its children, who listen there later."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port(host: str, wanted: int = 0) -> Iterator[int]:
    """``wanted``, or for 0 one that the system chooses. While entered nobody listens there, and nobody is given it who
    takes any port.

    Whoever asks for this very port and may use an address again (as servers do) can listen there.

    Raises:
        OSError: ``wanted`` is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, wanted))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            # Elsewhere a socket that is bound keeps the address from everybody.
            holder.close()
        yield port
