"""A door for tests of routes: it believes that the token is the client's name, and gives it every scope."""

from __future__ import annotations

from evcharge.sidecar.web.route import Principal
from evcharge.sidecar.web.scopes import ROLES, Scope


class BelievingDoor:
    """``Bearer viewer`` has a viewer's scopes, every other name has all."""

    async def principal(self, authorization: str | None, source: str) -> Principal | None:
        """Part of ``Door``."""
        if authorization is None:
            return None
        name = authorization.removeprefix("Bearer ")
        return Principal(name=name, scopes=ROLES.get(name, frozenset(Scope)))
