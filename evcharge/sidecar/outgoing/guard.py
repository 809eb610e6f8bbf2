"""May this URL be called? Pure judging: of its text when it is given, of its addresses when it is called.

Both are needed. The text alone does not say where a name leads, and the addresses are known only at the moment of the
call, so a URL that passes here has passed nothing yet but the obvious (see ``client`` for the rest).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

import msgspec
from yarl import URL

from evcharge.sidecar.outgoing.addresses import Address, why_not
from evcharge.sidecar.outgoing.settings import OutgoingSettings

# Longest URL, in characters: what common servers and proxies read of a request line is 8 KiB, and of a URL 2,048.
URL_CHARS = 2048
# Longest name of a host, in characters (RFC 1035 §2.3.4).
HOST_CHARS = 253

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A name's last label begins with a letter: what ends in a number is an IPv4 address to many resolvers, however odd
# (2130706433, 0x7f.1, 017700000001; WHATWG URL §3.5).
_NAME = rf"(?:{_LABEL}\.)*[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.?"
_PARTS = re.compile(
    r"(?P<scheme>https?)://"
    rf"(?:(?P<name>{_NAME})|(?P<v4>\d{{1,3}}(?:\.\d{{1,3}}){{3}})|\[(?P<v6>[0-9A-Fa-f:.]{{2,45}})\])"
    r"(?::(?P<port>[1-9]\d{0,4}))?"
    r"(?P<rest>(?:/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?(?:\?[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*)?)",
    # Other scripts have digits too, and Python's \d means those.
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_PORT = 65535
# Names that mean this machine or this network by themselves (RFC 6761, RFC 6762, RFC 8375, and ICANN's .internal, under
# which clouds keep their metadata).
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "home.arpa", "ip6-localhost", "ip6-loopback")


class RefusedTarget(OSError):
    """A URL or an address that may not be called; the text ends a sentence that begins with its name."""


class Target(msgspec.Struct, frozen=True):
    """A URL in its parts; ``host`` is in lower case and without a dot at its end."""

    url: URL
    host: str
    port: int


class Guard:
    """The rules with a site's exceptions."""

    def __init__(self, settings: OutgoingSettings) -> None:
        """
        Raises:
            ValueError: an exception is none; the text names it.
        """
        self._ports = frozenset(settings.ports)
        try:
            self._networks = tuple(ip_network(text) for text in settings.allow_networks)
        except ValueError as error:
            raise ValueError(f"allow_networks: {error}") from None
        self._targets = frozenset(map(_pair, settings.allow_targets))

    def target(self, text: str) -> Target:
        """The parts of a URL whose text alone has nothing against it.

        Raises:
            RefusedTarget: it is no plain http or https URL, or its host is known to be a private one.
        """
        parts = _PARTS.fullmatch(text) if len(text) <= URL_CHARS else None
        if parts is None:
            raise RefusedTarget(_shape(text))
        port = int(parts["port"] or _DEFAULT_PORTS[parts["scheme"]])
        if port > MAX_PORT:
            raise RefusedTarget("has a port that is none")
        host = _host(parts["name"] or parts["v4"] or parts["v6"])
        if len(host) > HOST_CHARS:
            raise RefusedTarget(f"has a host of more than {HOST_CHARS} characters")
        # As it is given: a receiver may have signed the text of its path.
        url = URL(text, encoded=True)
        if url.raw_host is None or _host(url.raw_host) != host or url.port != port or url.user is not None:
            raise RefusedTarget("cannot be read without doubt")
        if (host, port) not in self._targets:
            if self._ports and port not in self._ports:
                raise RefusedTarget(f"has the port {port}, which may not be called here")
            if parts["name"]:
                if any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES):
                    raise RefusedTarget("names this machine or its own network")
            else:
                self.judge(host, port, [host])
        return Target(url, host, port)

    def judge(self, host: str, port: int, addresses: Iterable[str]) -> list[Address]:
        """All addresses that a host has at this moment, each of which may be called.

        Raises:
            RefusedTarget: one of them may not, so none is; or there is none.
        """
        trusted = (_host(host), port) in self._targets
        judged: list[Address] = []
        for text in addresses:
            try:
                address = ip_address(text)
            except ValueError:
                raise RefusedTarget("leads to what is no address") from None
            what = None if trusted or self._allowed(address) else why_not(address)
            if what is not None:
                raise RefusedTarget(f"leads to {what}, where nothing is called from here")
            judged.append(address)
        if not judged:
            raise RefusedTarget("leads to no address")
        return judged

    def _allowed(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks if network.version == address.version)


def _host(text: str) -> str:
    """A host as it is compared: no brackets, no case, no dot at the end; an address in its one shortest form."""
    bare = text.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


def _pair(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
        raise ValueError(f"allow_targets: {text!r} is not HOST:PORT")
    return _host(host), int(port)


def _shape(text: str) -> str:
    """What is wrong with a text that is no URL of ours, as the end of a sentence."""
    if len(text) > URL_CHARS:
        return f"has more than {URL_CHARS} characters"
    scheme, _, rest = text.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if scheme not in _DEFAULT_PORTS:
        return "has to begin with http:// or https://"
    if "#" in text:
        return "has a fragment (#), which no server would see"
    if "@" in authority:
        return "has a user name in it; secrets do not belong into URLs"
    return "has to be a URL of a host name or a plain address, with no characters but those of RFC 3986"
