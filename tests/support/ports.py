"""A port that stays where it is while nobody listens there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closed_port(port: int = 0) -> Iterator[int]:
    """This port of loopback, or a free one: nobody listens there, and no other program is given it meanwhile.

    A server that reuses addresses may be started there.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        yield holder.getsockname()[1]
