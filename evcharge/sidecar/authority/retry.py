"""What follows from how a callback went. Pure: time and randomness come in."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

from evcharge.sidecar.authority.settings import AuthoritySettings

# Receivers that are there, but not now; every other 4xx stays what it is, however often it is asked for.
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
# Seconds as a header has them; more digits are nobody's honest wish.
_SECONDS = re.compile(r"[0-9]{1,9}")
# Failures that no repetition heals: the guard's word is the same until somebody changes the name or the settings.
_FOR_GOOD = ("refused",)


class Outcome(msgspec.Struct, frozen=True):
    """How a try went."""

    said: str
    """The status, or a word of ``CallFailed``."""
    status: int | None = None
    retry_after: str | None = None


class Delivered(msgspec.Struct, frozen=True):
    """It arrived."""


class Dead(msgspec.Struct, frozen=True):
    """It will not arrive by itself."""


class Later(msgspec.Struct, frozen=True):
    """It is tried again."""

    at_ms: int


def after(
    outcome: Outcome, tries: int, now_ms: int, random: float, settings: AuthoritySettings
) -> Delivered | Dead | Later:
    """What to do after try number ``tries`` (from 1); ``random`` in [0, 1).

    Half jitter: callbacks that failed together do not come back together, and none is given up within seconds.
    """
    if outcome.status is not None and 200 <= outcome.status < 300:
        return Delivered()
    refused = outcome.status is not None and 400 <= outcome.status < 500 and outcome.status not in _LATER
    if refused or outcome.said in _FOR_GOOD or tries > settings.retries:
        return Dead()
    most_s = settings.retry_base_s * settings.retry_factor ** (tries - 1)
    asked_s = min(_asked_s(outcome.retry_after, now_ms), settings.retry_after_s)
    return Later(now_ms + int(max((1 + random) / 2 * most_s, asked_s) * 1000))


def _asked_s(header: str | None, now_ms: int) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110 §10.2.3); 0 for none and for one that is none."""
    if header is None:
        return 0.0
    if _SECONDS.fullmatch(header.strip()):
        return float(header)
    try:
        at = parsedate_to_datetime(header)
        return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now_ms / 1000)
    except (ValueError, OverflowError):
        return 0.0
