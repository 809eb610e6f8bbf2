"""What the registry's routes take and answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from evcharge.sidecar.registry.rules import DEFAULT_OVERLAP_S, MAX_REV, OVERLAP_MAX_S
from evcharge.sidecar.registry.views import View
from evcharge.sidecar.settings import LIST_ROWS

RoleName = Literal["cp", "monitor", "driver", "debug", "gateway"]
AnyRole = Literal["central", "cp", "monitor", "driver", "debug", "gateway"]
Entity = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}$",
        description="1 to 64 letters, digits or . _ : @ + - that start with a letter or digit",
    ),
]
Username = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="1 to 64 of a-z 0-9 . _ - that start with a letter or digit",
    ),
]
Key = Annotated[
    # The last character carries four bits; its other two are zero, so that one key has one text.
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
        description="a public key: 32 bytes in base64url without padding",
    ),
]


NAMES = ("entity", "cp_id", "id")
_NULL = {"type": "null"}


def _one_of(name: str, names: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """JSON Schema: of ``names`` this one alone is there."""
    others: dict[str, Any] = {other: _NULL for other in names if other != name}
    return {"required": [name], "properties": {name: {"type": "string"}, **others, **more}}


_CP = {"role": {"const": "cp"}}
REGISTRATION_RULES: dict[str, Any] = {
    "allOf": [
        {"oneOf": [_one_of("entity", NAMES), _one_of("cp_id", NAMES, **_CP), _one_of("id", NAMES, **_CP)]},
        {
            "anyOf": [
                {"properties": {"valid_s": _NULL}},
                {"required": ["role"], "properties": {"role": {"const": "debug"}}},
            ]
        },
    ]
}
CHECK_RULES: dict[str, Any] = {
    "oneOf": [_one_of(name, ("password", "public_key")) for name in ("password", "public_key")]
}


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to be registered. ``cp_id`` and ``id`` stand for a charge point's ``entity``."""

    role: RoleName = "cp"
    entity: Entity | None = None
    cp_id: Entity | None = None
    id: Entity | None = None
    username: Username | None = None
    """None: made of role and entity."""
    valid_s: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    """Life of a credential of role debug, seconds."""

    def __post_init__(self) -> None:
        """One entity, said once."""
        given = [name for name in NAMES if getattr(self, name) is not None]
        if not given:
            raise ValueError("entity is missing")
        if len(given) > 1:
            raise ValueError(f"entity is said twice, in {' and '.join(given)}; give one")
        if self.role != "cp" and self.entity is None:
            raise ValueError("entity is missing; cp_id and id are for charge points")

    @property
    def named(self) -> str:
        """The entity."""
        return str(self.entity or self.cp_id or self.id)


class PublicKey(msgspec.Struct, frozen=True):
    """A public key with its id (SPEC §2.3)."""

    kid: str
    public_key: str


class CredentialOnce(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as its owner keeps it (SPEC §2.4). ``password`` is never shown again."""

    username: str
    password: str
    role: AnyRole
    entity: str
    epoch: int
    central: PublicKey
    central_next: PublicKey | msgspec.UnsetType = msgspec.UNSET
    station_id: str | msgspec.UnsetType = msgspec.UNSET
    not_after_ms: int | msgspec.UnsetType = msgspec.UNSET


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """How long the old secret stays good."""

    overlap_s: Annotated[int, Meta(ge=0, le=OVERLAP_MAX_S)] = DEFAULT_OVERLAP_S
    """Seconds; 0: it ends now."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of the list."""

    # Bounded by a pattern rather than a length alone: PostgreSQL refuses some characters in a text.
    after: Annotated[str, Meta(pattern=r"^[a-z0-9._-]{0,64}$", description="the `next` of the page before")] = ""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = LIST_ROWS
    role: AnyRole | None = None


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """One page of credentials, without secrets."""

    credentials: list[View]
    next: str | None
    """Give it as ``after``; null: that was all."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A person's password, or (Central's own token) a public key."""

    username: Annotated[str, Meta(max_length=1_024)]
    password: Annotated[str, Meta(max_length=1_024)] | None = None
    public_key: Key | None = None

    def __post_init__(self) -> None:
        """One of the two."""
        if (self.password is None) == (self.public_key is None):
            raise ValueError("password is missing" if self.password is None else "public_key is not for passwords")


class Checked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose password it is; or, for Central, the signed record."""

    valid: bool | msgspec.UnsetType = msgspec.UNSET
    username: str | msgspec.UnsetType = msgspec.UNSET
    role: AnyRole | msgspec.UnsetType = msgspec.UNSET
    entity: str | msgspec.UnsetType = msgspec.UNSET
    record: Signed | msgspec.UnsetType = msgspec.UNSET


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A record that the registry signed (SPEC §2.5)."""

    signed: str
    signature: str


class Follow(msgspec.Struct, frozen=True, kw_only=True):
    """From where on to follow the changes."""

    after: Annotated[int, Meta(ge=0, le=MAX_REV)] = 0
    wait: Annotated[float, Meta(ge=0, le=3_600)] = 0.0
    """Seconds to wait for the next change."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Signed records above ``after``, oldest change first."""

    rev: int
    """Go on with it."""
    records: list[Signed]
