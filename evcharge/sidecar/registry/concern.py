"""The registry's handlers: what is asked over HTTP becomes a call of its rules, and their refusals problems."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from http import HTTPStatus
from typing import cast

import structlog

from evcharge.sidecar.oauth.door import Door
from evcharge.sidecar.registry.refusals import Invalid, RegistryRefused
from evcharge.sidecar.registry.rules import Registry
from evcharge.sidecar.registry.schemas import AnyRole, Changes, Check, Checked, Credentials, Page, Registration, Signed
from evcharge.sidecar.settings import SidecarSettings
from evcharge.sidecar.web.problem import Problem, bad_fields, forbidden, unauthorized, unavailable
from evcharge.sidecar.web.route import Answer, Call, Handler
from evcharge.sidecar.web.scopes import Scope
from protocol.credentials import ROLES, b64url_decode

log = structlog.get_logger()

# The HTTP status of each refusal of the registry.
STATUS = {
    "exists": HTTPStatus.CONFLICT,
    "ambiguous": HTTPStatus.CONFLICT,
    "pinned": HTTPStatus.CONFLICT,
    "rev_ahead": HTTPStatus.CONFLICT,
    "revoked": HTTPStatus.CONFLICT,
    "unknown": HTTPStatus.NOT_FOUND,
}
# A password is no bearer token, but RFC 9110 §11.6.1 asks for a challenge with every 401.
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="evcharge"'}


class RegistryConcern:
    """The registry over HTTP."""

    def __init__(self, registry: Registry, door: Door, settings: SidecarSettings) -> None:
        self._registry = registry
        self._door = door
        self._settings = settings
        self._waiters = 0

    def handlers(self) -> Mapping[str, Handler]:
        """Part of ``Concern``."""
        own = {
            "register": self.register,
            "revoke": self.revoke,
            "rotate": self.rotate,
            "list_credentials": self.list_page,
            "get_credential": self.get,
            "verify": self.verify,
            "changes": self.changes,
        }
        return {name: _refusing(handler) for name, handler in own.items()}

    async def run(self) -> None:
        """Part of ``Concern``: keys end when their overlap does."""
        await self._registry.keep_retiring()

    async def register(self, call: Call) -> Answer:
        """A new credential, shown once."""
        asked: Registration = call.body
        role = ROLES[asked.role]
        answer = await self._registry.register(role, asked.named, asked.username, valid_s=asked.valid_s)
        life = {} if asked.valid_s is None else {"valid_s": asked.valid_s}
        log.info("registry.registered", role=role.label, entity=asked.named, by=call.client, source=call.source, **life)
        return Answer(status=201, body=answer)

    async def revoke(self, call: Call) -> Answer:
        """End a credential at once."""
        view = await self._registry.revoke(call.path["id"])
        log.info("registry.revoked", username=view.username, rev=view.rev, by=call.client, source=call.source)
        return Answer(body=view)

    async def rotate(self, call: Call) -> Answer:
        """A new secret for a credential, shown once."""
        overlap_s = call.body.overlap_s
        answer = await self._registry.rotate(call.path["id"], overlap_s)
        log.info("registry.rotated", name=call.path["id"], overlap_s=overlap_s, by=call.client, source=call.source)
        return Answer(body=answer)

    async def list_page(self, call: Call) -> Answer:
        """One page of credentials."""
        asked: Page = call.query
        role = None if asked.role is None else ROLES[asked.role]
        rows, following = await self._registry.page(asked.after, asked.limit, role)
        return Answer(body=Credentials(credentials=rows, next=following))

    async def get(self, call: Call) -> Answer:
        """One credential."""
        return Answer(body=await self._registry.get(call.path["id"]))

    async def verify(self, call: Call) -> Answer:
        """Whether a password is somebody's; for Central: whose key this is."""
        asked: Check = call.body
        if asked.public_key is not None:
            return await self._look_up(call, asked.username, asked.public_key)
        record = await self._registry.verify_password(asked.username, asked.password or "")
        if record is None:
            self._door.failed(call.source, "password")
            raise Problem(HTTPStatus.UNAUTHORIZED, "invalid", "Username or password is wrong.", headers=CHALLENGE)
        return Answer(
            body=Checked(
                valid=True, username=record.username, role=cast(AnyRole, record.role.label), entity=record.entity
            )
        )

    async def _look_up(self, call: Call, username: str, key: str) -> Answer:
        if call.principal is None:
            self._door.failed(call.source, "look-up")
            raise unauthorized(
                "A look-up by key is Central's: send its service token as 'Authorization: Bearer TOKEN'."
            )
        if Scope.REGISTRY_SERVICE not in call.principal.scopes:
            raise forbidden(Scope.REGISTRY_SERVICE.value)
        signed = await self._registry.look_up(username, b64url_decode(key))
        if signed is None:
            raise Problem(HTTPStatus.NOT_FOUND, "unknown", "No credential has this username and key.")
        return Answer(body=Checked(record=Signed(signed=signed.signed, signature=signed.signature)))

    async def changes(self, call: Call) -> Answer:
        """A long poll for what changed."""
        after, wait_s = call.query.after, min(call.query.wait, self._settings.wait_s)
        if wait_s > 0 and self._waiters >= self._settings.waiters:
            why = "Too many followers are waiting for changes; ask again in a second, or without wait."
            raise unavailable("busy", why, 1)
        self._waiters += 1
        try:
            rev, records = await self._registry.changes(after, wait_s)
        finally:
            self._waiters -= 1
        return Answer(body=Changes(rev=rev, records=[Signed(signed=r.signed, signature=r.signature) for r in records]))


def _refusing(handler: Handler) -> Handler:
    """The registry's refusals as problems."""

    @wraps(handler)
    async def handle(call: Call) -> Answer:
        try:
            return await handler(call)
        except Invalid as error:
            raise bad_fields(error.fields) from None
        except RegistryRefused as error:
            raise Problem(STATUS[error.code], error.code, error.sentence) from None

    return handle
