"""Legality by role and state, in one table (SPEC §7.2).

``ALLOWED`` is what a peer may send to Central, ``FROM_CENTRAL`` what Central may send to a peer. Both sides
check both directions: a bug shows at the sender, an attack at the receiver.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, get_args

from protocol import messages as m
from protocol.credentials import Role


class State(Enum):
    """Where a channel stands, once READY went both ways."""

    READY = "ready"
    """The channel is open. A charge point's engine has not introduced itself yet."""
    BOOTED = "booted"
    """The engine sent ``boot``: everything of an engine is legal."""


Messages = frozenset[type[m.Message]]

_ENGINE: Final[Messages] = frozenset(get_args(m.FromEngine))
_MONITOR: Final[Messages] = frozenset(get_args(m.FromMonitor))
_DRIVER: Final[Messages] = frozenset(get_args(m.FromDriver))
_OPERATOR: Final[Messages] = frozenset(get_args(m.FromOperator))
_COMMON: Final[Messages] = frozenset({m.Ack, m.Refused, m.Drain, m.Error})

# (role of the peer, state) → what it may send. A missing pair may send nothing: Central is nobody's client.
ALLOWED: Final[dict[tuple[Role, State], Messages]] = {
    # Before boot Central knows no connectors; the outbox and results of an earlier channel need none.
    (Role.CP, State.READY): frozenset({m.Boot, m.Heartbeat, m.Outbox, m.Result}),
    (Role.CP, State.BOOTED): _ENGINE,
    (Role.MONITOR, State.READY): _MONITOR,
    (Role.DRIVER, State.READY): _DRIVER,
    (Role.GATEWAY, State.READY): _OPERATOR,
    # The console looks, it does not act.
    (Role.DEBUG, State.READY): frozenset({m.List, m.Query}),
}

# role of the peer → what Central may send to it.
FROM_CENTRAL: Final[dict[Role, Messages]] = {
    Role.CP: _COMMON | {m.Authorize, m.StartSupply, m.StopSupply, m.SetLimit},
    Role.MONITOR: _COMMON,
    Role.DRIVER: _COMMON | {m.Reply, m.Ticket, m.Update, m.Waiting, m.Reservation},
    Role.GATEWAY: _COMMON | {m.Reply},
    Role.DEBUG: _COMMON | {m.Reply},
}

# A message that a peer sends and that changes the state of the channel, and to what.
TURNS: Final[dict[type[m.Message], State]] = {m.Boot: State.BOOTED}


def allowed(role: Role, state: State) -> Messages:
    """What a peer may send to Central now; empty for a role that may not connect."""
    return ALLOWED.get((role, state), frozenset())
