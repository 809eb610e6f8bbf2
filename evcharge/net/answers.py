"""What can become of a request to Central, beside its answer: a coded no, or no answer and why."""

from __future__ import annotations

from protocol.messages import Message, Reply


class RequestRefused(Exception):
    """Central's answer is no."""

    def __init__(self, reason: str, sentence: str, retry_after_s: int | None = None) -> None:
        self.reason = reason
        """A code of SPEC §7.5."""
        self.sentence = sentence
        self.retry_after_s = retry_after_s
        """When it is worth asking again, where Central can tell."""
        super().__init__(sentence)


class RequestFailed(Exception):
    """There is no answer that could be used; which kind of this says whether Central may have acted."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(sentence)


class CentralAway(RequestFailed):
    """There is no channel now, so nothing was sent."""


class TooManyRequests(RequestFailed):
    """As many wait for an answer as may, so nothing was sent."""


class Unanswered(RequestFailed):
    """It was sent; the answer did not come in time, or the channel broke. Nobody knows whether Central acted."""


class BadAnswer(RequestFailed):
    """Central calls the request a mistake, or answered something else than was asked for."""


def reply_of(answer: Message) -> Reply:
    """An answer as a reply; an ack is one that has nothing to tell."""
    return answer if isinstance(answer, Reply) else Reply(re=0)
