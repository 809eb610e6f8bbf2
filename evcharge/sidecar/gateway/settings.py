"""What an operator may set of the gateway, with its default, unit and reason."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from evcharge.net.link import ANSWER_S


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gateway speaks to Central."""

    answer_s: Annotated[float, Meta(gt=0)] = ANSWER_S
    """How long Central's answer may take; then 504."""
    open_s: Annotated[float, Meta(gt=0)] = 5.0
    """How long a driver's channel may take to open: Central turns nobody away sooner who only has to wait a little."""
    channels: Annotated[int, Meta(ge=1)] = 64
    """Drivers' channels that are open at once: as many as Central shakes hands with at once (SPEC §5.3)."""
    idle_s: Annotated[float, Meta(gt=0)] = 300.0
    """A driver's channel that nobody used for so long is closed: a handshake costs Central more than five minutes of
    pings."""
    fresh_s: Annotated[float, Meta(ge=0, le=10)] = 0.25
    """A recommendation this young is given again for the same vehicle: what it stands on is measured once a second."""
