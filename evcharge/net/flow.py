"""How much one peer may send, and how much may wait for it (SPEC §5.2). Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from protocol.codec import encode
from protocol.messages import (
    Assign,
    AuditPage,
    AuditProof,
    Changes,
    Follow,
    Message,
    Queue,
    Recommend,
    Reserve,
    SupplyUpdate,
    Update,
    Why,
)

# Reading goes on when this many messages may be taken again, so that it does not stop and start for each one.
RESUME_AT = 10.0
# Questions for which Central looks at everybody who waits or charges, or through its log, count as so many messages:
# some milliseconds each at the largest sites, where others cost a tenth of one. A person asks one in ten seconds.
QUESTION_WEIGHT = 20
# What a follower asks takes Central a millisecond: a frame full of records, or of charge points.
FRAME_WEIGHT = 4
# What such a message counts besides being one.
EXTRA: dict[type, int] = {
    **dict.fromkeys((Assign, AuditPage, AuditProof, Queue, Recommend, Reserve, Why), QUESTION_WEIGHT - 1),
    **dict.fromkeys((Changes, Follow), FRAME_WEIGHT - 1),
}


class Rate(msgspec.Struct, frozen=True):
    """What one peer may send: messages a second, and at once (SPEC §5.2)."""

    per_s: float = 50.0
    burst: float = 200.0


class WaitLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What may wait for one peer that reads slowly; above it, CLOSE(SLOW) (SPEC §5.2)."""

    messages: int = 256
    """Messages that are not sealed yet."""
    size: int = 1 << 20
    """Bytes of these, and of what the transport holds."""
    slow_s: float = 10.0
    """How long the peer may take next to nothing, in seconds."""


class Traffic:
    """What went through a server's connections since its start."""

    __slots__ = ("bytes_in", "bytes_out", "frames_in", "frames_out", "throttled")

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = 0
        """Of the streams, handshakes included."""
        self.frames_in = self.frames_out = 0
        """Those with a message in them; PINGs and handshakes are none."""
        self.throttled = 0
        """How often the reading stopped because a peer sent more than its rate."""


class Bucket:
    """A token bucket, full at the start. What was read is always taken, even into debt: nothing is dropped."""

    __slots__ = ("_at_s", "_level", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._at_s = now

    def take(self, count: int, now: float) -> int:
        """Take ``count`` messages out; how many are left. 0: it is empty, stop reading until ``refilled_s``."""
        rate = self._rate
        self._level = min(rate.burst, self._level + (now - self._at_s) * rate.per_s) - count
        self._at_s = now
        return max(0, int(self._level))

    def refilled_s(self) -> float:
        """Monotonic second at which reading may go on."""
        return self._at_s + (min(RESUME_AT, self._rate.burst) - self._level) / self._rate.per_s


class Waiting:
    """Messages that wait for a peer that reads slowly, in order, not sealed yet.

    Of telemetry only the newest of a session waits: it takes the place of the older one, at the end.
    """

    __slots__ = ("_limits", "_messages", "size")

    def __init__(self, limits: WaitLimits) -> None:
        self._limits = limits
        self._messages: OrderedDict[object, tuple[Message, int]] = OrderedDict()
        self.size = 0
        """Bytes that wait, encoded."""

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Add at the end. LocalProtocolError: the message cannot be encoded."""
        size = len(encode(message))
        # Only telemetry has a key that a newer message can have too.
        key = message.session_id if isinstance(message, Update | SupplyUpdate) else object()
        older = self._messages.pop(key, None)
        if older is not None:
            self.size -= older[1]
        self._messages[key] = (message, size)
        self.size += size

    def take(self) -> Message:
        """The oldest; KeyError when there is none."""
        _, (message, size) = self._messages.popitem(last=False)
        self.size -= size
        return message

    def over(self, buffered: int) -> bool:
        """Is it too much, with ``buffered`` bytes in the transport?"""
        return len(self._messages) > self._limits.messages or self.size + buffered > self._limits.size

    def clear(self) -> None:
        """Drop everything: the connection is over."""
        self._messages.clear()
        self.size = 0
