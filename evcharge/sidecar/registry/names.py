"""Usernames and entities: which there can be, and which username an entity gets by default."""

from __future__ import annotations

import hashlib
import re

from evcharge.sidecar.settings import DEBUG_LIFETIME_MAX_S, DEBUG_LIFETIME_MIN_S
from protocol.credentials import Role

# Longest username and entity: the wire's identifiers have 64 characters. SPEC §7.1
MAX_NAME = 64
# Usernames are lower case, so that no two differ by case alone; no blank and no slash: they stand in paths
# and files.
USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# No username, because it does not start with a letter or digit.
NOBODY = "-"
ENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}")
# Characters of the hash that stands in for the rest of an entity too long for a default username.
DIGEST_CHARS = 10
# Roles that anybody's credential can have; Central's is made by ``init`` alone, because its peers pin its
# key.
REGISTERED = (Role.CP, Role.MONITOR, Role.DRIVER, Role.DEBUG, Role.GATEWAY)


def bad_names(role: Role, entity: str, username: str | None) -> dict[str, str]:
    """Every bad one of the three with what it should be; empty: they can be registered."""
    bad: dict[str, str] = {}
    if role not in REGISTERED:
        bad["role"] = f"is one of {', '.join(item.label for item in REGISTERED)}."
    if ENTITY.fullmatch(entity) is None:
        bad["entity"] = f"is 1 to {MAX_NAME} letters, digits or . _ : @ + - and starts with a letter or digit."
    if username is not None and USERNAME.fullmatch(username) is None:
        bad["username"] = f"is 1 to {MAX_NAME} of a-z 0-9 . _ - and starts with a letter or digit."
    return bad


def bad_life(role: Role, valid_s: int | None) -> dict[str, str]:
    """What is wrong with the life that a registration asks for; empty: nothing."""
    if valid_s is None:
        return {}
    if role is not Role.DEBUG:
        return {"valid_s": "is for role debug only; other credentials live until they are revoked."}
    if not DEBUG_LIFETIME_MIN_S <= valid_s <= DEBUG_LIFETIME_MAX_S:
        return {"valid_s": f"is {DEBUG_LIFETIME_MIN_S} to {DEBUG_LIFETIME_MAX_S} seconds."}
    return {}


def default_username(role: Role, entity: str) -> str:
    """``role-entity`` in lower case; other characters become "-", a long one ends in a hash of the entity."""
    name = re.sub(r"[^a-z0-9._-]", "-", f"{role.label}-{entity}".lower())
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(entity.encode()).hexdigest()[:DIGEST_CHARS]
    return f"{name[: MAX_NAME - DIGEST_CHARS - 1]}-{digest}"
