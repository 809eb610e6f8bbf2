"""The sidecar put together: its parts, their routes, and the application that serves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from joserfc.jwk import RSAKey
from yarl import URL

from evcharge.net.clock import Clock
from evcharge.net.kafka import BadKafka, client_arguments
from evcharge.net.link import CentralLink
from evcharge.net.timers import TimerWheel
from evcharge.sidecar.authority.concern import Authority
from evcharge.sidecar.authority.keys import load_keys
from evcharge.sidecar.authority.queue import RequestQueue
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.bootstrap import KEYS, BootstrapError, Opened
from evcharge.sidecar.database import Database
from evcharge.sidecar.drivers import DriverCredentials
from evcharge.sidecar.gateway.channels import DriverChannels
from evcharge.sidecar.gateway.gateway import Gateway
from evcharge.sidecar.history.concern import History
from evcharge.sidecar.history.follower import Follower
from evcharge.sidecar.history.settings import DATABASE as HISTORY
from evcharge.sidecar.history.settings import HistorySettings
from evcharge.sidecar.history.spread import Calendar
from evcharge.sidecar.history.store import PRAGMAS
from evcharge.sidecar.live.hub import Live
from evcharge.sidecar.login.concern import LoginConcern
from evcharge.sidecar.login.door import AUDIENCE as PAGE_AUDIENCE
from evcharge.sidecar.login.door import PageDoor
from evcharge.sidecar.login.ended import EndedSessions
from evcharge.sidecar.metrics import Parts, SidecarMetrics, Standing
from evcharge.sidecar.news import News
from evcharge.sidecar.oauth.clients import Clients
from evcharge.sidecar.oauth.concern import OAuthConcern
from evcharge.sidecar.oauth.door import FAILURES, Door
from evcharge.sidecar.oauth.endpoint import TOKEN_PATH, OAuth
from evcharge.sidecar.oauth.external import ExternalKeys
from evcharge.sidecar.oauth.keys import KeyFolder
from evcharge.sidecar.oauth.known import KnownClients
from evcharge.sidecar.oauth.tokens import Issuer, Verifier
from evcharge.sidecar.operation import CentralState, Operation
from evcharge.sidecar.outgoing.caller import Caller
from evcharge.sidecar.outgoing.guard import Guard
from evcharge.sidecar.outgoing.http import Http
from evcharge.sidecar.registry.concern import RegistryConcern
from evcharge.sidecar.routes import ROUTES
from evcharge.sidecar.sensors.concern import Sensors
from evcharge.sidecar.sensors.settings import SensorsSettings
from evcharge.sidecar.sensors.sources import Simulated
from evcharge.sidecar.services import BadServices, OAuthSettings, Services, limited
from evcharge.sidecar.settings import SidecarSettings
from evcharge.sidecar.weather.concern import Weather
from evcharge.sidecar.weather.providers import make_provider
from evcharge.sidecar.web.api import Api
from evcharge.sidecar.web.built import PAGE
from evcharge.sidecar.web.files import add_page
from evcharge.sidecar.web.openapi import document
from evcharge.sidecar.web.proxies import Proxies
from evcharge.sidecar.web.route import Concern
from evcharge.sidecar.web.scopes import Scope

if TYPE_CHECKING:
    from evcharge.sidecar.authority.kafka.queue import KafkaQueue

# Folder of the secrets of charge authorizations.
AUTHORITY = "authority"
# Folder of the credentials with which it speaks for drivers.
DRIVERS = "drivers"


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What its parts need of the world, beside time."""

    environ: Mapping[str, str] = {}
    """Where secrets stand."""
    random: Callable[[], float] = lambda: 0.5
    """0 to 1: spreads retries, so that many do not come at once."""
    simulated: Simulated | None = None
    """What simulated sensors say."""


class Assembled(msgspec.Struct, frozen=True):
    """What ``serve`` runs."""

    application: web.Application
    concerns: Sequence[Concern]
    metrics: SidecarMetrics


def assemble(
    data_dir: Path,
    opened: Opened,
    *,
    clock: Clock,
    entropy: Callable[[int], bytes],
    settings: SidecarSettings | None = None,
    services: Services | None = None,
    link: CentralLink | None = None,
    address: tuple[str, int] | None = None,
    listening: Callable[[], str | None] = lambda: None,
    outside: Outside | None = None,
    page: Path = PAGE,
) -> Assembled:
    """Every part over one database. ``link`` and ``address`` are Central's; ``listening``: the URL once it is known.

    ``page`` is the folder of the page that is served.

    Raises:
        BootstrapError: a signing key is damaged or open to others.
        BadServices
        LackingSecret: the settings name an environment variable that is not set.
        BadBroker: the certificate of an MQTT broker's authority cannot be read.
    """
    outside = outside or Outside()
    settings, services = settings or SidecarSettings(), services or Services()
    routes = limited(ROUTES, services.throttle)
    database = opened.store.database
    clients = Clients(database, entropy)
    known = KnownClients(clients, clock)
    keys = KeyFolder(data_dir / KEYS)
    keys.refresh()
    if keys.due(clock.steady_ms()):
        keys.add(clock.steady_ms())
    external = None if services.oauth.external is None else ExternalKeys(services.oauth.external.jwks_url)
    issuers = _issuers(opened.url, services.oauth, keys, external)
    failures = msgspec.structs.replace(FAILURES, requests=services.failed_authentications)
    door = Door(opened.tokens, Verifier(issuers, known), known, clock, failures)
    oauth = OAuth(
        clients,
        keys,
        issuer=services.oauth.issuer or opened.url,
        audience=services.oauth.audience,
        url=lambda: _public(opened.url, listening()),
        clock=clock,
        entropy=entropy,
        failures=door,
        known=known,
        life_s=services.oauth.token_life_s,
    )
    page_door = PageDoor(
        Verifier([msgspec.structs.replace(issuers[0], audience=PAGE_AUDIENCE)], known),
        known,
        EndedSessions(database),
        issue=oauth.issue,
        clock=clock,
        entropy=entropy,
        life_s=services.page.session_life_s,
        url=services.page.url or (opened.url if opened.url.startswith("https:") else None),
    )
    paper = document(routes, title="evcharge", version=version("evcharge"), token_path=TOKEN_PATH)
    drivers = None
    if address is not None:
        drivers = DriverChannels(
            DriverCredentials(data_dir / DRIVERS, opened.registry).get,
            address,
            clock=clock,
            timers=TimerWheel(clock),
            entropy=entropy,
            settings=services.gateway,
        )
    http = Http()
    history = _history(data_dir / HISTORY, database, services.history, link, clock)
    live = Live(link, clock=clock, version=version("evcharge"), settings=services.live, chain=history.verdict)
    weather, sensors = _surroundings(services, link, http, outside, clock)
    kafka = _kafka(database, services.authority, outside, clock)
    authority = _authority(data_dir / AUTHORITY, database, services, outside, clock, entropy, kafka)
    concerns: list[Concern] = [
        RegistryConcern(opened.registry, door, settings),
        OAuthConcern(oauth, keys, known, external, clock),
        LoginConcern(clients, page_door, door, clock),
        Gateway(link, drivers, version=version("evcharge"), settings=services.gateway, clock=clock, database=database),
        live,
        history,
        weather,
        sensors,
        authority,
        Operation(
            database,
            central=lambda: _state(link),
            rev=lambda: opened.registry.rev,
            document=paper,
            kafka=None if kafka is None else lambda: kafka.state,
        ),
    ]
    handlers = {name: handler for concern in concerns for name, handler in concern.handlers().items()}
    proxies = Proxies(services.proxy.trusted)
    api = Api(routes, handlers, door=door, browser=page_door, clock=clock, entropy=entropy, proxies=proxies)
    application = api.application()
    add_page(application, page)

    async def wake(_application: web.Application) -> None:
        opened.registry.close()
        live.close()

    # A drain does not wait for those who wait for news.
    application.on_shutdown.append(wake)

    async def close(_application: web.Application) -> None:
        await http.close()

    application.on_cleanup.append(close)
    metrics = SidecarMetrics(
        Parts(
            http=api.tally,
            door=door,
            authority=authority,
            weather=weather,
            sensors=sensors,
            database=database,
            rev=lambda: opened.registry.rev,
            connected=lambda: None if link is None else link.state == "connected",
            standing=lambda: _standing(live, history),
            kafka=kafka,
        )
    )
    return Assembled(application, concerns, metrics)


def _surroundings(
    services: Services, link: CentralLink | None, http: Http, outside: Outside, clock: Clock
) -> tuple[Weather, Sensors]:
    """Weather and sensors, which speak to others and to Central."""
    news = News(link)
    weather = Weather(
        services.weather,
        make_provider(services.weather, http, clock=clock, environ=outside.environ),
        clock=clock,
        tell=news.weather,
        tell_temperature=news.temperature,
        random=outside.random,
    )
    sensors = Sensors(
        SensorsSettings(sensors=services.sensors),
        http=http,
        environ=outside.environ,
        clock=clock,
        tell_reading=news.reading,
        random=outside.random,
        simulated=outside.simulated,
    )
    if link is not None:
        link.on_up(weather.reconnected)
        link.on_up(sensors.reconnected)
    return weather, sensors


def _standing(live: Live, history: History) -> Standing:
    seq, newest_seq = history.place
    return Standing(live_clients=live.clients, history_seq=seq, history_newest=newest_seq)


def _history(
    file: Path, database: Database, settings: HistorySettings, link: CentralLink | None, clock: Clock
) -> History:
    """In a file beside the registry's, or in the same database with tables of its own."""
    calendar = Calendar(settings.time_zone)
    if not settings.enabled:
        return History(None, calendar=calendar, clock=clock)
    follower = Follower(
        lambda: Database.file(file, PRAGMAS) if database.sqlite else Database.open(database.engine.url),
        link,
        calendar=calendar,
        clock=clock,
        file=file if database.sqlite else None,
    )
    return History(follower, calendar=calendar, clock=clock)


def _authority(
    folder: Path,
    database: Database,
    services: Services,
    outside: Outside,
    clock: Clock,
    entropy: Callable[[int], bytes],
    queue: RequestQueue | None,
) -> Authority:
    chosen = services.authority
    keys = load_keys(folder, entropy=entropy, environ=outside.environ, signing_env=chosen.signing_secret_env)
    return Authority(
        database,
        Caller(Guard(services.outgoing), timeout_s=chosen.callback_s),
        keys.sealer,
        signing=keys.signing,
        clock=clock,
        entropy=entropy,
        random=outside.random,
        settings=chosen,
        queue=queue,
    )


def _kafka(database: Database, chosen: AuthoritySettings, outside: Outside, clock: Clock) -> KafkaQueue | None:
    """The queue on Kafka, where the settings want one."""
    if chosen.kafka is None:
        return None
    try:
        from evcharge.sidecar.authority.kafka.queue import KafkaQueue
    except ModuleNotFoundError as error:
        raise BadServices(
            f"The table authority.kafka needs the package {error.name}: pip install 'evcharge[kafka]'."
        ) from None
    try:
        arguments = client_arguments(chosen.kafka, outside.environ, "evcharge-sidecar")
    except BadKafka as error:
        raise BadServices(f"The table authority.kafka: {error}") from None
    return KafkaQueue(
        database,
        chosen.kafka,
        arguments,
        clock=clock,
        most=chosen.backlog,
        most_of_client=chosen.client_backlog,
    )


def _issuers(url: str, oauth: OAuthSettings, keys: KeyFolder, external: ExternalKeys | None) -> list[Issuer]:
    def own(kid: str) -> RSAKey | None:
        key = keys.keys.get(kid)
        if key is None:
            try:
                keys.refresh()
            except BootstrapError:
                # The token endpoint says so in the log.
                return None
            key = keys.keys.get(kid)
        return None if key is None else key.key

    issuers = [Issuer(name=oauth.issuer or url, audience=oauth.audience, key=own, own=True)]
    if external is not None and oauth.external is not None:
        if oauth.external.issuer == issuers[0].name:
            raise BadServices("oauth.external.issuer is this sidecar's own name; it needs no other one's keys.")
        issuers.append(
            Issuer(
                name=oauth.external.issuer,
                audience=oauth.external.audience,
                key=external.find,
                most=oauth.external.scopes - {Scope.REGISTRY_SERVICE},
            )
        )
    return issuers


def _state(link: CentralLink | None) -> CentralState:
    if link is None:
        return "unset"
    return "connected" if link.state == "connected" else "disconnected"


def _public(url: str, listening: str | None) -> str:
    """Where clients are sent: what ``init`` was told, or, on this machine alone, where it really listens."""
    if listening is not None and URL(url).host in ("127.0.0.1", "::1", "localhost"):
        return listening
    return url
