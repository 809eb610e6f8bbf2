"""What the fields of messages are made of: their ranges, and the bases of their maps (SPEC §7.1)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

# Longest identifier on the wire. A UUID with a prefix is 40 characters; the registry allows 64. SPEC §7.1
MAX_ID = 64
# Longest sentence for a person. SPEC §7.1
MAX_TEXT = 512
# Largest power anyone may state: 10 MW, a truck depot. SPEC §7.1
MAX_W = 10_000_000
# Largest register: 2^53 − 1, the largest integer that JSON readers keep exact. SPEC §7.1
MAX_COUNT = 2**53 - 1
# Connectors of one charge point. OCPP devices in the field have 1 to 4. SPEC §7.1
MAX_CONNECTORS = 32
# Longest wait that Central may ask for with `drain`, in seconds: a week. SPEC §7.3
MAX_RETRY_S = 604_800
# Steps of a forecast: a minute to a day, and so many that a week of quarters fits. SPEC §7.1
MIN_STEP_MS, MAX_STEP_MS = 60_000, 86_400_000
MAX_VALUES = 672
# Rows in one reply; a longer answer is paged with `after`. SPEC §7.1
MAX_ROWS = 100
# Largest battery of a vehicle, Wh: 1 MWh, the most that one session may ask for. SPEC §7.1
MAX_BATTERY_WH = 1_000_000
# Temperatures of the air that anyone may state, °C: -89 and 57 were measured on Earth. SPEC §7.3
MIN_C, MAX_C = -100, 100
# Charge points that a recommendation ranks for a driver. SPEC §7.3
MAX_RESULTS = 3

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Word = Annotated[str, Meta(min_length=1, max_length=MAX_ID, pattern=r"^[A-Za-z0-9._:@+-]+\Z")]
"""An id of somebody outside that goes into the log as it is: nothing in it is obeyed anywhere."""
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Watts = Annotated[int, Meta(ge=0, le=MAX_W)]
WattHours = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Millis = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
ConnectorNo = Annotated[int, Meta(ge=0, le=MAX_CONNECTORS)]
"""1 and up; 0 means the whole charge point, as in OCPP."""
RequestId = Annotated[int, Meta(ge=0, le=MAX_COUNT)] | Id
Asked = Annotated[int, Meta(ge=-MAX_COUNT, le=MAX_COUNT)]
"""A quantity that a person asks for: any integer that JSON keeps exact; the domain judges it."""
Percent = Annotated[float, Meta(ge=0, le=100)]
Celsius = Annotated[float, Meta(ge=MIN_C, le=MAX_C)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Message(msgspec.Struct, tag_field="type", kw_only=True, frozen=True, omit_defaults=True, gc=False):
    """Base of all messages; unknown fields are ignored (SPEC §7.1)."""


class Order(Message, frozen=True, kw_only=True):
    """Base of what a client of a gateway may have asked for: who, by which request; for the log (SPEC §6.2)."""

    by: Word | None = None
    """The client's name, as the gateway knows it."""
    trace: Word | None = None
    """The request's id, which the gateway's own log has too."""


class Part(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, gc=False):
    """Base of the maps inside messages."""
