"""Registering a peer at the registry: one HTTP call, for the ``register`` verbs and the demo.

The answer holds a secret, so the registry is reached on loopback or over verified TLS (SPEC §2); plain HTTP
to another machine has to be asked for.

Many commands import this module for one verb of theirs. The HTTP client takes longer to load than all the rest of such
a command, so it is imported in the functions that call.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

# The whole call, in seconds; the registry answers in milliseconds.
TIMEOUT_S = 10.0
# Largest answer that is read, in bytes; a credential has under 600.
MAX_ANSWER = 64 * 1024


class RegistryCallFailed(Exception):
    """No credential was made; ``sentence`` says what to do and never holds the token."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _Refusal(msgspec.Struct):
    detail: str = ""


async def register(
    url: str,
    token: str,
    role: str,
    entity: str,
    username: str | None = None,
    *,
    plain_http: bool = False,
    valid_s: int | None = None,
) -> bytes:
    """Register ``entity`` as ``role``: the registry's JSON answer as it is, which holds a secret.

    ``token`` is the operator's. ``plain_http`` allows http:// to a machine other than this one. ``valid_s`` is the
    credential's life in seconds, for role debug.

    Raises:
        RegistryCallFailed: with one sentence that says what to do.
    """
    import aiohttp

    base = _base(url, plain_http=plain_http)
    body: dict[str, object] = {"role": role, "entity": entity}
    if username is not None:
        body["username"] = username
    if valid_s is not None:
        body["valid_s"] = valid_s
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=_headers(token)) as session,
            # A redirect would carry the token elsewhere.
            session.post(base / "register", json=body, allow_redirects=False) as response,
        ):
            status = response.status
            answer = await _read(response)
    except aiohttp.ClientConnectorCertificateError as error:
        raise RegistryCallFailed(f"The certificate of {base} cannot be verified; check the URL or the CA.") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise RegistryCallFailed(
            f"The registry at {base} does not answer; is evcharge-sidecar running, and is the URL right?"
        ) from error
    if status == 201:
        return answer
    raise RegistryCallFailed(_sentence(base, status, answer))


def _headers(token: str) -> dict[str, str]:
    text = token.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise RegistryCallFailed("The token file holds no token; use the operator.token that init wrote.")
    return {"Authorization": f"Bearer {text}"}


def _base(url: str, *, plain_http: bool) -> URL:
    from yarl import URL

    try:
        base = URL(url.rstrip("/"))
        host = base.host
    except ValueError:
        host = None
    if host is None or base.scheme not in ("http", "https"):
        raise RegistryCallFailed(f"{url!r} is not a URL like http://127.0.0.1:8080.")
    if base.scheme == "http" and not plain_http and not _loopback(host):
        raise RegistryCallFailed(
            f"{url} would send the secret unencrypted over the network; use https://, or run this on the "
            "registry's machine, or allow it with --plain-http."
        )
    return base


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _read(response: ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_ANSWER:
            raise RegistryCallFailed("The answer is far too large for a registry; is the URL right?")
    return bytes(data)


def _sentence(base: URL, status: int, answer: bytes) -> str:
    try:
        said = msgspec.json.decode(answer, type=_Refusal).detail
    except (msgspec.DecodeError, ValueError, RecursionError):
        said = ""
    if not said:
        return f"{base} answered {status} and is no evcharge registry; is the URL right?"
    if status in (401, 403):
        return "The registry does not accept this token; use the operator.token that init wrote."
    # The registry is trusted, but its text still goes to a terminal.
    return "".join(character for character in said if character.isprintable())[:512]
