"""``evcharge-events``: Central's log on Kafka."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import uvloop

from evcharge.cli.commands import Group
from evcharge.cli.common import (
    CONTEXT,
    Failed,
    config_option,
    levels_on_signals,
    log_options,
    make_clock,
    metrics_option,
    parse_address,
    print_json,
    ready,
    run_command,
)
from evcharge.cli.driver_text import plain
from evcharge.cli.events_options import kafka_options, publisher_settings, topic_options
from evcharge.cli.peer import (
    CENTRAL_PORT,
    central_option,
    plain_http_option,
    read_credentials,
    register_into,
    registry_option,
    stop_on_signals,
    token_option,
)
from evcharge.events.settings import PublisherSettings
from evcharge.net.kafka import BadKafka, client_arguments
from evcharge.net.link import CentralLink
from evcharge.net.readiness import Readiness
from protocol.credentials import Credential, Role

if TYPE_CHECKING:
    from evcharge.events.topics import Topics
    from evcharge.net.exposition import Address

# Random bytes in the name of one start.
INSTANCE_BYTES = 8
CLIENT_ID = "evcharge-events"


@click.group(name="evcharge-events", cls=Group, context_settings=CONTEXT)
@config_option
def cli() -> None:
    """Publish Central's log to Kafka: every durable record, once and in order.

    register makes its credential once, run publishes for ever, topics makes the topics and says what is there.
    docs/kafka.md describes the messages.
    """


@cli.command("register")
@registry_option
@token_option
@click.option("--id", "entity", default="events", help="What the publisher is called; two publishers are two.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="New file (0600).")
@plain_http_option
def register_command(registry: str, token_file: Path, entity: str, out: Path, plain_http: bool) -> None:
    """Make the publisher's credential, of role gateway; the secret goes to --out and is shown nowhere."""
    register_into(out, registry, token_file, Role.GATEWAY, entity, plain_http=plain_http)
    if sys.stdout.isatty():
        click.echo(f"Registered {plain(entity)}. Next: evcharge-events run --credentials {out} --central … --brokers …")
    else:
        print_json({"gateway": entity, "credentials": str(out)})


@cli.command()
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="Credential of role gateway, registered for this publisher.",
)
@central_option
@kafka_options
@topic_options
@click.option(
    "--after",
    "after_seq",
    type=click.IntRange(0),
    default=None,
    metavar="SEQ",
    help="Begin behind this record, where no position is known; default: at the first.",
)
@metrics_option("127.0.0.1:9412")
@log_options
def run(*, credentials: Path, central: str, metrics: Address | None, **options: Any) -> None:
    """Publish until SIGTERM.

    Exit code 1: it could not start, or another publisher of the same log and topic has taken over.
    """
    (credential,) = read_credentials(credentials, Role.GATEWAY)
    settings = publisher_settings(options)
    need_client()
    try:
        uvloop.run(_run(credential, parse_address(central, CENTRAL_PORT), settings, metrics))
    except BadKafka as error:
        raise Failed(str(error)) from error


async def _run(
    credential: Credential, central: tuple[str, int], settings: PublisherSettings, metrics: Address | None
) -> None:
    # Only here is it sure that there is a client of Kafka.
    from evcharge.events.metrics import EventsMetrics
    from evcharge.events.outlet import RealKafka
    from evcharge.events.publisher import Publisher
    from evcharge.events.together import together
    from evcharge.events.troubles import Superseded
    from evcharge.net.exposition import Exposition
    from evcharge.net.kafka_client import quiet

    levels_on_signals()
    quiet()
    stop = stop_on_signals()
    arguments = partial(client_arguments, settings.kafka, os.environ, CLIENT_ID)
    # A file that is missing is told before anything is done.
    arguments()
    clock = make_clock(None)
    link = CentralLink(credential, *central, clock=clock, entropy=os.urandom)
    instance = os.urandom(INSTANCE_BYTES).hex()
    publisher = Publisher(settings, link, RealKafka(settings, arguments), instance=instance, stop=stop, clock=clock)
    served: dict[str, str] = {}
    exposition = None if metrics is None else Exposition("events", metrics)
    if exposition is not None:
        try:
            numbers = EventsMetrics(publisher.tally, publisher.board, lambda: link.state == "connected")
            await exposition.start(numbers, Readiness(unready=publisher.unready))
        except OSError as error:
            raise Failed(f"{error.strerror}.") from error
        if exposition.listening is not None:
            served["metrics"] = exposition.listening
    ready("events", topic=settings.topic, brokers=",".join(settings.kafka.brokers), **served)
    try:
        await together(publisher.run(), link.run())
    except Superseded as error:
        raise Failed(error.sentence) from error
    finally:
        if exposition is not None:
            await exposition.close()


@cli.command()
@kafka_options
@topic_options
@click.option("--check", is_flag=True, help="Make nothing; exit code 1 when a topic is missing.")
@log_options
def topics(*, check: bool, **options: Any) -> None:
    """Make both topics where they are missing, and say what is there."""
    settings = publisher_settings(options)
    need_client()
    try:
        found = asyncio.run(_topics(settings, client_arguments(settings.kafka, os.environ, CLIENT_ID), make=not check))
    except BadKafka as error:
        raise Failed(str(error)) from error
    if found is None:
        raise Failed(f"{settings.topic} or {settings.positions_topic} is not there: `topics` without --check makes it.")
    _show(found)


async def _topics(settings: PublisherSettings, arguments: Mapping[str, Any], *, make: bool) -> Topics | None:
    from evcharge.events.admin import looked_at
    from evcharge.events.faults import look
    from evcharge.events.troubles import Trouble
    from evcharge.net.kafka_client import quiet

    quiet()
    try:
        return await looked_at(settings, arguments, make=make)
    except Trouble as trouble:
        better = await look(arguments)
        raise Failed((better or trouble).sentence) from trouble


def _show(found: Topics) -> None:
    if not sys.stdout.isatty():
        print_json(found)
        return
    for topic in (found.events, found.positions):
        kept = topic.number("retention.ms")
        told = [
            "made now" if topic.made else "was there",
            f"{topic.partitions} partitions",
            f"{topic.replication} replicas",
            *([] if topic.config is None else [f"cleanup.policy={topic.config.get('cleanup.policy')}"]),
            *([] if kept is None else [f"retention.ms={kept}"]),
        ]
        click.echo(f"{topic.name}: {', '.join(told)}")
    for remark in found.remarks:
        click.echo(f"  {remark}")


def need_client() -> None:
    """Raises Failed: the client of Kafka is not installed."""
    try:
        import aiokafka  # noqa: F401
    except ImportError:
        raise Failed("the client of Kafka is not installed: pip install 'evcharge[kafka]'") from None


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_EVENTS")


if __name__ == "__main__":
    main()
