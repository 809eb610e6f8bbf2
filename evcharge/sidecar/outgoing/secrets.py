"""Secrets for other servers: they stand in the environment, the settings name the variable."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from yarl import URL

# Longest secret, in characters: keys of large clouds, which are signed tokens, have 2,000.
SECRET_CHARS: Final = 4_096


class LackingSecret(Exception):
    """A variable is not set, or holds what cannot be a secret; the text names the variable, never its content."""


def secret(environ: Mapping[str, str], name: str) -> str:
    """The secret in a variable.

    Raises:
        LackingSecret
    """
    text = environ.get(name, "").strip()
    if not text:
        raise LackingSecret(f"The environment variable {name} is not set.")
    if len(text) > SECRET_CHARS or not text.isascii() or not text.isprintable():
        # What has a line break in it would be another header.
        raise LackingSecret(f"The environment variable {name} is no secret: it has to be printable ASCII.")
    return text


def check_url(text: str, *, secret: bool) -> None:
    """Whether ``text`` is an address that may be asked; ``secret`` says whether one is sent there.

    Raises:
        ValueError: it begins with what is wrong; no part of the URL but its scheme and host stands in it.
    """
    try:
        url = URL(text)
        host = url.host
    except ValueError:
        host = None
    if host is None or url.scheme not in ("http", "https"):
        raise ValueError("is no URL like https://example.org/path")
    if url.user is not None or url.password is not None:
        raise ValueError("has a name or password in it; they belong in an environment variable")
    if secret and url.scheme == "http" and not is_loopback(host):
        raise ValueError(f"would send a secret unencrypted to {host}; use https://")


def is_loopback(host: str) -> bool:
    """Whether what is sent to ``host`` stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
