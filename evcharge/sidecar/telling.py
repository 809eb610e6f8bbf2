"""What can come back when something is told to Central."""

from __future__ import annotations

# When to try again where Central itself named no time, in seconds: a restart of it takes a few.
RETRY_S = 5


class CentralAway(Exception):
    """It was not told: there is no channel, or no answer came."""

    def __init__(self, retry_after_s: int = RETRY_S) -> None:
        super().__init__("Central is away.")
        self.retry_after_s = retry_after_s


class CentralRefused(Exception):
    """It was told, and refused; ``sentence`` says why, for a person."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
