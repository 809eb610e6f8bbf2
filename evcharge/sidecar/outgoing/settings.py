"""What an operator may set about calls to URLs that others name, and to those that the operator names."""

from __future__ import annotations

from typing import Literal

import msgspec

from evcharge.sidecar.outgoing.secrets import check_url


class OutgoingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exceptions from "the public internet only"; none by default."""

    allow_networks: tuple[str, ...] = ()
    """Networks that may be called although they are not public, as "10.20.0.0/16"."""
    allow_targets: tuple[str, ...] = ()
    """Hosts that may be called wherever their names lead, as "receiver.site.internal:8443"; for names that are local
    by themselves (localhost, .local, .internal) there is no other way.
    """
    ports: tuple[int, ...] = ()
    """The only ports that may be called; empty: any. A target of ``allow_targets`` may be called at its own."""


class ClientCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a token for outgoing calls comes from."""

    token_url: str
    client_id: str
    secret_env: str
    """Name of the environment variable that holds the client's secret."""
    scope: str = ""
    """Empty: what the server gives by itself."""
    style: Literal["basic", "form"] = "basic"
    """How the client shows its secret; every server takes ``basic`` by RFC 6749 §2.3.1, but a few do not."""

    def __post_init__(self) -> None:
        if not self.client_id or not self.secret_env:
            raise ValueError("client_id and secret_env are not empty")
        try:
            check_url(self.token_url, secret=True)
        except ValueError as error:
            raise ValueError(f"token_url {error}") from None
