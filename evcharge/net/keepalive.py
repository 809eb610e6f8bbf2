"""Keepalive of the kernel: finds a dead machine even while nothing is read (the wire itself has PING, SPEC §5.1)."""

from __future__ import annotations

import socket

# Silence before the first probe, pause between probes, in seconds, and how many go unanswered.
IDLE_S, EVERY_S, PROBES = 30, 10, 3


def keep_alive(sock: socket.socket | None) -> None:
    """Let the kernel find out when the other machine is gone. A listener hands it on to all that it accepts."""
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, EVERY_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
