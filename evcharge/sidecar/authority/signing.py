"""The callbacks' signature, as the Standard Webhooks specification has it (standardwebhooks.com, version 1).

    webhook-id: the request's id, the same in each try      webhook-timestamp: seconds since 1970, of this try
    webhook-signature: "v1," + base64(HMAC-SHA256(secret, id + "." + timestamp + "." + body)), one for each secret

A receiver computes it again over the body as it came and refuses one that is not the same or whose time is far from its
own; a callback may arrive twice, and is known again by its id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

# What the specification has a secret begin with, and its bounds in bytes.
SECRET_PREFIX = "whsec_"  # noqa: S105  # no secret
SECRET_BYTES = (24, 64)
# While a receiver changes over there are two; more would be forgotten ones.
SECRETS = 4


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Signing secrets as an environment variable has them, the newest first, blanks between.

    Raises:
        ValueError: what it should be; no part of the text stands in it.
    """
    words = text.split()
    if not 1 <= len(words) <= SECRETS:
        raise ValueError(f"there are 1 to {SECRETS} signing secrets, with blanks between them")
    return tuple(map(_parse, words))


def signed(secrets: Sequence[bytes], request_id: str, now_ms: int, body: bytes) -> dict[str, str]:
    """The three headers of a callback."""
    timestamp = str(now_ms // 1000)
    content = b".".join((request_id.encode(), timestamp.encode(), body))
    signatures = (base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": request_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _parse(word: str) -> bytes:
    least, most = SECRET_BYTES
    try:
        secret = base64.b64decode(word.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not word.startswith(SECRET_PREFIX) or not least <= len(secret) <= most:
        raise ValueError(f"a signing secret is {SECRET_PREFIX} and the base64 of {least} to {most} random bytes")
    return secret
