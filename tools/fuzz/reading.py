"""How a fuzz input is read: bytes become choices, and running out of them is no error."""

from __future__ import annotations


class Choices:
    """Takes small decisions from the front of an input; zeros when nothing is left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """0 to 255."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self) -> int:
        """0 to 65,535."""
        return self.byte() << 8 | self.byte()

    def take(self, size: int) -> bytes:
        """At most ``size`` bytes."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def cut(self, data: bytes) -> list[bytes]:
        """``data`` in pieces: whole, byte by byte, or cut at a few chosen places."""
        how = self.byte() % 4
        if how == 0:
            return [data]
        if how == 1:
            return [data[i : i + 1] for i in range(min(len(data), 64))] + [data[64:]]
        pieces = []
        for _ in range(how):
            size = self.byte()
            pieces.append(data[:size])
            data = data[size:]
        return [*pieces, data]
