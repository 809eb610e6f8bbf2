"""The two bearer tokens that ``init`` makes, and the source that a request comes from.

A token is 32 random bytes, so its plain SHA-256 is enough to store: there is nothing to guess. Both hashes
are compared in constant time for every token, whichever fits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping
from enum import Enum

# Random bytes of a token: 256 bits, as the registry's passwords have.
TOKEN_BYTES = 32
# Longest Authorization header that is looked at, in characters; a token has 48.
HEADER_CHARS = 256
# An IPv6 customer gets a /64: one source, however many addresses it shows. SPEC §5
V6_PREFIX = 64


class Scope(Enum):
    """What a token may do: an operator changes the registry, the service (Central) looks records up."""

    OPERATOR = "operator"
    SERVICE = "service"


def new_token(scope: Scope, entropy: Callable[[int], bytes]) -> str:
    """A fresh token; its prefix tells a person (and a secret scanner) what it is."""
    body = base64.urlsafe_b64encode(entropy(TOKEN_BYTES)).rstrip(b"=").decode()
    return f"ev{scope.value[0]}1_{body}"


def token_hash(token: str) -> bytes:
    """What the registry stores of a token: 32 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Tokens:
    """The registry's tokens, by scope, as hashes."""

    def __init__(self, hashes: Mapping[Scope, bytes]) -> None:
        self._hashes = dict(hashes)

    def scope_of(self, header: str | None) -> Scope | None:
        """The scope of an ``Authorization`` header's bearer token; None when there is none that fits."""
        scheme, _, token = (header or "")[: HEADER_CHARS + 1].partition(" ")
        if scheme.lower() != "bearer" or not token or len(header or "") > HEADER_CHARS:
            return None
        given = token_hash(token.strip())
        found: Scope | None = None
        for scope, stored in self._hashes.items():
            if hmac.compare_digest(given, stored):
                found = scope
        return found


def source_of(remote: str | None) -> str:
    """The source that a throttle counts: an IPv4 address or an IPv6 /64; "unknown" without an address."""
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, V6_PREFIX), strict=False))
    return str(address)
