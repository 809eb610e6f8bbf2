"""How much one peer may send, and how much may wait for it (SPEC §5.2). Pure: time is an argument."""

from __future__ import annotations

import msgspec

from protocol.codec import encode
from protocol.messages import Message, SupplyUpdate, Update

# What may wait for one peer that reads slowly: messages, and bytes with the transport's own buffer. SPEC §5.2
MAX_WAITING = 256
MAX_WAITING_BYTES = 1 << 20
# Reading goes on when this many messages may be taken again, so that it does not stop and start for each one.
RESUME_AT = 10.0


class Rate(msgspec.Struct, frozen=True):
    """What one peer may send: messages a second, and at once (SPEC §5.2)."""

    per_s: float = 50.0
    burst: float = 200.0


class Bucket:
    """A token bucket, full at the start. What was read is always taken, even into debt: nothing is dropped."""

    __slots__ = ("_at_s", "_level", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._at_s = now

    def take(self, count: int, now: float) -> bool:
        """Take ``count`` messages out; False: it is empty, stop reading until ``refilled_s``."""
        rate = self._rate
        self._level = min(rate.burst, self._level + (now - self._at_s) * rate.per_s) - count
        self._at_s = now
        return self._level >= 1.0

    def refilled_s(self) -> float:
        """Monotonic second at which reading may go on."""
        return self._at_s + (min(RESUME_AT, self._rate.burst) - self._level) / self._rate.per_s


class Waiting:
    """Messages that wait for a peer that reads slowly, in order, not sealed yet.

    Of telemetry only the newest of a session waits: it takes the place of the older one, at the end.
    """

    __slots__ = ("_messages", "size")

    def __init__(self) -> None:
        self._messages: dict[object, tuple[Message, int]] = {}
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
        message, size = self._messages.pop(next(iter(self._messages)))
        self.size -= size
        return message

    def over(self, buffered: int) -> bool:
        """Is it too much, with ``buffered`` bytes in the transport?"""
        return len(self._messages) > MAX_WAITING or self.size + buffered > MAX_WAITING_BYTES

    def clear(self) -> None:
        """Drop everything: the connection is over."""
        self._messages.clear()
        self.size = 0
