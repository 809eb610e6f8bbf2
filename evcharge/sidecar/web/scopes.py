"""What a token may do, and which roles have which of it."""

from __future__ import annotations

from enum import Enum


class Scope(Enum):
    """One thing that a token may do; the words of OAuth2's ``scope``."""

    REGISTRY_READ = "registry:read"
    REGISTRY_WRITE = "registry:write"
    REGISTRY_SERVICE = "registry:service"
    """Central's own: look records up and follow their changes."""
    RECOMMEND = "recommend"
    ENERGY_READ = "energy:read"
    SITE_READ = "site:read"
    SITE_CONTROL = "site:control"
    CHARGE = "charge"
    ASSIGN = "assign"
    AUDIT_READ = "audit:read"
    WEATHER_WRITE = "weather:write"
    AUTHORITY_REQUEST = "authority:request"
    AUTHORITY_READ = "authority:read"
    AUTHORITY_WRITE = "authority:write"
    OPERATION_WRITE = "operation:write"


# What each is for, for people.
ABOUT: dict[Scope, str] = {
    Scope.REGISTRY_READ: "see who is registered",
    Scope.REGISTRY_WRITE: "register, rotate and revoke credentials",
    Scope.REGISTRY_SERVICE: "Central's own: look records up and follow their changes",
    Scope.RECOMMEND: "ask where to charge",
    Scope.ENERGY_READ: "see sun, battery, grid and what the rules allow",
    Scope.SITE_READ: "see charge points, substations, sessions, tickets, weather and sensors",
    Scope.SITE_CONTROL: "stop and resume charge points, and see drivers' ids in full",
    Scope.CHARGE: "charge on the account of the client's driver",
    Scope.ASSIGN: "ask where somebody would be sent",
    Scope.AUDIT_READ: "read the audit log and get proofs",
    Scope.WEATHER_WRITE: "report weather alerts",
    Scope.AUTHORITY_REQUEST: "ask for charge authorizations",
    Scope.AUTHORITY_READ: "check authorizations and read their log",
    Scope.AUTHORITY_WRITE: "change the access list and send dead letters again",
    Scope.OPERATION_WRITE: "see and change how much the sidecar logs",
}

_DRIVER = frozenset({Scope.RECOMMEND, Scope.ENERGY_READ, Scope.CHARGE})
_VIEWER = frozenset({Scope.RECOMMEND, Scope.ENERGY_READ, Scope.SITE_READ})
# The registry and the log name every driver in full, the tables that a viewer sees do not.
_OPERATOR = _VIEWER | {
    Scope.SITE_CONTROL,
    Scope.REGISTRY_READ,
    Scope.AUDIT_READ,
    Scope.ASSIGN,
    Scope.WEATHER_WRITE,
    Scope.AUTHORITY_READ,
}
# Central's own scope is nobody else's.
_ADMIN = frozenset(Scope) - {Scope.REGISTRY_SERVICE}

# Role of a person or of an older client's ``role`` claim → what it may do.
ROLES: dict[str, frozenset[Scope]] = {
    "driver": _DRIVER,
    "ev": _DRIVER,
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "admin": _ADMIN,
}


def parse_scopes(text: str) -> frozenset[Scope]:
    """The scopes of a space-separated list.

    Raises:
        ValueError: one is not known; the text names it.
    """
    known = {scope.value: scope for scope in Scope}
    words = text.split()
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no scope; there are {', '.join(sorted(known))}")
    return frozenset(known[word] for word in words)


def scope_text(scopes: frozenset[Scope]) -> str:
    """Scopes as a token and a client's record keep them: sorted, one blank between."""
    return " ".join(sorted(scope.value for scope in scopes))
