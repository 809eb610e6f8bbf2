"""What an operator may set about the page (``[page]`` of the settings file)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from evcharge.sidecar.oauth.keys import TOKEN_LIFE_MAX_S

# How long somebody stays logged in unless the settings say otherwise, seconds: a long shift, and not the next one.
SESSION_LIFE_S = 43_200
# Shortest life that may be set, seconds: below that nobody gets to work.
SESSION_LIFE_MIN_S = 300


class PageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page and its sessions."""

    session_life_s: Annotated[int, Meta(ge=SESSION_LIFE_MIN_S, le=TOKEN_LIFE_MAX_S)] = SESSION_LIFE_S
    url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+$", max_length=512)] | None = None
    """Where browsers reach it, where that is not where it listens: behind a proxy that speaks TLS. An https one makes
    every cookie Secure. None: the URL that ``init`` was given, if that is https."""
