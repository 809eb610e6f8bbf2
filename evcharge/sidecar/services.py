"""The settings file of the sidecar's services: TOML, judged whole before anything is served (``run --services``)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.gateway.settings import GatewaySettings
from evcharge.sidecar.history.settings import HistorySettings
from evcharge.sidecar.live.settings import LiveSettings
from evcharge.sidecar.login.door import AUDIENCE as PAGE_AUDIENCE
from evcharge.sidecar.login.settings import PageSettings
from evcharge.sidecar.oauth.door import FAILURES
from evcharge.sidecar.oauth.endpoint import TOKEN_LIFE_S
from evcharge.sidecar.oauth.keys import TOKEN_LIFE_MAX_S
from evcharge.sidecar.outgoing.guard import Guard
from evcharge.sidecar.outgoing.secrets import check_url
from evcharge.sidecar.outgoing.settings import OutgoingSettings
from evcharge.sidecar.sensors.settings import AnySensor, SensorsSettings
from evcharge.sidecar.weather.settings import WeatherSettings
from evcharge.sidecar.web.proxies import ProxySettings
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import ROLES, Scope

# Largest settings file, bytes: a large site's has a few thousand.
FILE_BYTES = 256 * 1024
# Audience of the access tokens unless the settings name another: what the clients of before expect.
AUDIENCE = "ev-clients"

Url = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+[^\s?#]*$", max_length=2_048)]
PerMinute = Annotated[int, Meta(ge=1, le=1_000_000)]


class BadServices(ValueError):
    """The file cannot be used: one sentence that says what to do."""


class ExternalIssuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another authorization server whose access tokens are accepted; roles and scopes of its tokens count."""

    issuer: Annotated[str, Meta(min_length=1, max_length=512)]
    audience: Annotated[str, Meta(min_length=1, max_length=512)]
    jwks_url: Url
    scopes: frozenset[Scope] = ROLES["operator"]
    """What its tokens may allow at most, whatever they say; by default what an operator may."""

    def __post_init__(self) -> None:
        """Whoever can change the keys on their way is an admin here."""
        try:
            check_url(self.jwks_url, secret=True)
        except ValueError as error:
            raise ValueError(f"jwks_url {error}") from None


class OAuthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Access tokens."""

    issuer: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    """``iss``; None: the sidecar's URL, as RFC 8414 wants it."""
    audience: Annotated[str, Meta(min_length=1, max_length=512)] = AUDIENCE
    token_life_s: Annotated[int, Meta(ge=60, le=TOKEN_LIFE_MAX_S)] = TOKEN_LIFE_S
    external: ExternalIssuer | None = None

    def __post_init__(self) -> None:
        """A token of a client app must never be a session of the page."""
        if self.audience == PAGE_AUDIENCE:
            raise ValueError(f"audience {PAGE_AUDIENCE} is that of the page's sessions; choose another one")


class Services(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    throttle: dict[str, PerMinute] = {}
    """Requests per minute by the name of a limit, for each client."""
    failed_authentications: Annotated[int, Meta(ge=1, le=1_000_000)] = FAILURES.requests
    """From one source in ten minutes; then 429."""
    oauth: OAuthSettings = OAuthSettings()
    gateway: GatewaySettings = GatewaySettings()
    live: LiveSettings = LiveSettings()
    weather: WeatherSettings = WeatherSettings()
    sensors: list[AnySensor] = []
    authority: AuthoritySettings = AuthoritySettings()
    outgoing: OutgoingSettings = OutgoingSettings()
    page: PageSettings = PageSettings()
    proxy: ProxySettings = ProxySettings()
    history: HistorySettings = HistorySettings()
    simulated_site: dict[str, Any] = {}
    """What simulated sensors measure; the command that runs the sidecar reads it."""

    def __post_init__(self) -> None:
        """The rules between sensors, and whether the exceptions for calls can be read."""
        SensorsSettings(sensors=self.sensors)
        Guard(self.outgoing)


def load_services(path: Path) -> Services:
    """Read the file.

    Raises:
        BadServices
    """
    try:
        data = path.read_bytes()
        if len(data) > FILE_BYTES:
            raise BadServices(f"{path} is larger than {FILE_BYTES} bytes.")
        table: dict[str, Any] = tomllib.loads(data.decode())
    except OSError as error:
        raise BadServices(f"Cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadServices(f"{path} is not TOML: {error}.") from error
    try:
        return msgspec.convert(table, Services)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at ")
        where = place.strip("`").removeprefix("$").lstrip(".") or "the file"
        raise BadServices(f"{path}: {where}: {said.replace('`', '')}; docs/http.md shows what there is.") from error


def limited(routes: tuple[Route, ...], throttle: dict[str, int]) -> tuple[Route, ...]:
    """The routes with the limits that the settings give.

    Raises:
        BadServices: a limit that no route has.
    """
    names = {route.limit.name for route in routes}
    for name in throttle:
        if name not in names:
            raise BadServices(f"There is no limit {name!r}; there are {', '.join(sorted(names))}.")
    return tuple(
        msgspec.structs.replace(
            route,
            limit=msgspec.structs.replace(route.limit, requests=throttle.get(route.limit.name, route.limit.requests)),
        )
        for route in routes
    )
