"""The plan of a site (``evcharge-sidecar provision --plan``): TOML, judged whole before anything is made."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from evcharge.sidecar.bootstrap import SIDECAR_NAME
from evcharge.sidecar.oauth.clients import ABOUT_CHARS, CLIENT_ID, RESERVED
from evcharge.sidecar.registry.names import ENTITY, default_username
from evcharge.sidecar.web.scopes import ROLES, Scope
from protocol.credentials import Role

# Largest plan, bytes: ten thousand charge points have 200 kB.
FILE_BYTES = 1024 * 1024
# Days that a server's certificate is good: what browsers take at most is 398.
DAYS = 397
# Most names of one certificate: a server has a handful.
NAMES = 100

# Longest name of a CA, bytes: a common name of X.509 has no more.
NAME_BYTES = 64

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_FOLDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")

Url = Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+$", max_length=512)]


class BadPlan(ValueError):
    """The plan cannot be used: one sentence that says what to do."""


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who logs in to the page, or a client app: ``role`` or ``scopes``, or both."""

    role: str | None = None
    scopes: frozenset[Scope] = frozenset()
    driver: str | None = None
    """Who is charged for what it asks to charge."""
    about: Annotated[str, Meta(max_length=ABOUT_CHARS)] = ""

    @property
    def wanted(self) -> frozenset[Scope]:
        """All that it may do."""
        return self.scopes | (frozenset() if self.role is None else ROLES[self.role])


class Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The CA of this site alone."""

    name: Annotated[str, Meta(min_length=1, max_length=64)] = "evcharge site"


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server's."""

    names: Annotated[list[str], Meta(min_length=1, max_length=NAMES)]
    """Host names and addresses by which it is called."""
    days: Annotated[int, Meta(ge=1, le=DAYS)] = DAYS


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    url: Url
    """Where Central reaches the registry."""
    public_url: Url | None = None
    """Where people and apps reach the sidecar; None: at ``url``."""
    charge_points: list[str] = []
    drivers: list[str] = []
    gateways: list[str] = []
    passwords: list[str] = []
    """A random password each, for other programs."""
    accounts: dict[str, Account] = {}
    authority: Authority = Authority()
    certificates: dict[str, Certificate] = {}


def load_plan(path: Path) -> Plan:
    """Read the file.

    Raises:
        BadPlan
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise BadPlan(f"{path} is larger than {FILE_BYTES} bytes.")
        table: dict[str, Any] = tomllib.loads(data.decode())
    except OSError as error:
        raise BadPlan(f"Cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadPlan(f"{path} is not TOML: {error}.") from error
    try:
        plan = msgspec.convert(table, Plan)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at ")
        where = place.strip("`").removeprefix("$").lstrip(".") or "the file"
        raise BadPlan(f"{path}: {where}: {said.replace('`', '')}.") from error
    for sentence in _mistakes(plan):
        raise BadPlan(f"{path}: {sentence}")
    return plan


def file_name(name: str) -> str:
    """An id as part of a file name, as ``evcharge-cp register`` has it."""
    return _UNFIT.sub("_", name)


def _mistakes(plan: Plan) -> Iterator[str]:
    for what, names, role in (
        ("charge_points", plan.charge_points, Role.CP),
        ("drivers", plan.drivers, Role.DRIVER),
        ("gateways", plan.gateways, Role.GATEWAY),
    ):
        for name in names:
            if ENTITY.fullmatch(name) is None:
                yield (
                    f"{what}: {name!r} is no id; it has 1 to 64 letters, digits or . _ : @ + - and starts with "
                    "a letter or digit."
                )
        yield from _alike(what, names, role)
    if SIDECAR_NAME in plan.gateways:
        yield f"gateways: {SIDECAR_NAME} is the sidecar's own; choose another name."
    for name in plan.passwords:
        if _FOLDER.fullmatch(name) is None:
            yield f"passwords: {name!r} is no name; it has 1 to 64 of a-z 0-9 _ - and starts with a letter or digit."
    if len(plan.authority.name.encode()) > NAME_BYTES:
        yield f"authority: {plan.authority.name!r} is longer than {NAME_BYTES} bytes."
    if len(set(plan.passwords)) < len(plan.passwords):
        yield "passwords: one stands there twice."
    yield from _alike("accounts", plan.accounts, None)
    for name, account in plan.accounts.items():
        yield from (f"accounts.{name}: {why}" for why in _account(name, account))
    for name, certificate in plan.certificates.items():
        if _FOLDER.fullmatch(name) is None:
            yield f"certificates: {name!r} is no name; it has 1 to 64 of a-z 0-9 _ - and starts with a letter or digit."
        for host in certificate.names:
            if not (_is_address(host) or _HOST.fullmatch(host)):
                yield f"certificates.{name}: {host!r} is no host name in small letters, and no address."


def _alike(what: str, names: Iterable[str], role: Role | None) -> Iterator[str]:
    """Names that would be one username, where they have a role on the wire, or one file."""
    seen: dict[str, str] = {}
    for name in names:
        keys = [f"/{file_name(name)}"] if role is None else [default_username(role, name), f"/{file_name(name)}"]
        other = next((seen[key] for key in keys if key in seen), None)
        if other is not None:
            why = "stands there twice" if other == name else f"and {other!r} are too alike; choose another name"
            yield f"{what}: {name!r} {why}."
        seen.update(dict.fromkeys(keys, name))


def _account(name: str, account: Account) -> Iterator[str]:
    if CLIENT_ID.fullmatch(name) is None or name in RESERVED:
        yield (
            f"a name has 1 to 64 of a-z 0-9 . _ -, starts with a letter or digit, and is none of {', '.join(RESERVED)}."
        )
    if account.role is not None and account.role not in ROLES:
        yield f"role {account.role!r} is none of {', '.join(sorted(ROLES))}."
        return
    if not account.wanted:
        yield "give it a role, or scopes."
    if Scope.REGISTRY_SERVICE in account.wanted:
        yield f"{Scope.REGISTRY_SERVICE.value} is Central's own."
    if account.driver is not None and ENTITY.fullmatch(account.driver) is None:
        yield f"driver {account.driver!r} is no id."
    if Scope.CHARGE in account.scopes and account.driver is None:
        yield "with the scope charge it needs a driver, who is charged."


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    # A certificate holds no interface of a machine.
    return "%" not in text
