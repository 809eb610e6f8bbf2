"""Options of ``evcharge-events``: how Kafka is reached, and what is made there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click
import msgspec

from evcharge.events import settings as s
from evcharge.events.message import Format
from evcharge.net.kafka import KafkaSettings, Mechanism, Security

F = TypeVar("F", bound=Callable[..., Any])

_OF_KAFKA = (
    click.option(
        "--brokers", required=True, metavar="HOST:PORT,…", help="Some of the brokers; they tell of the others."
    ),
    click.option(
        "--security",
        type=click.Choice(get_args(Security)),
        default="PLAINTEXT",
        help="What the brokers' listener speaks.",
    ),
    click.option(
        "--mechanism",
        type=click.Choice(get_args(Mechanism)),
        default="SCRAM-SHA-512",
        help="Of SASL.",
    ),
    click.option("--username", default=None, help="Of SASL."),
    click.option("--password-file", default=None, metavar="FILE", help="File with the password and nothing else."),
    click.option("--password-env", default=None, metavar="NAME", help="Environment variable with the password."),
    click.option("--ca-file", default=None, metavar="FILE", help="PEM of the authority that signed the brokers."),
    click.option("--certificate-file", default=None, metavar="FILE", help="PEM of this client, where brokers ask."),
    click.option("--key-file", default=None, metavar="FILE", help="Its key, if it is not in the same file."),
)
_OF_TOPICS = (
    click.option("--topic", default=s.EVENTS_TOPIC, help="Topic of the events."),
    click.option("--positions-topic", default=s.POSITIONS_TOPIC, help="Compacted topic of the positions."),
    click.option(
        "--log", "log_name", default=s.LOG_NAME, metavar="NAME", help="What Central's log is called on the topics."
    ),
    click.option("--format", type=click.Choice(get_args(Format)), default="json", help="Of the values."),
    click.option("--compression", type=click.Choice(get_args(s.Compression)), default="lz4", help="Of batches."),
    click.option(
        "--partitions", type=click.IntRange(1, 10_000), default=s.PARTITIONS, help="Of a new topic of events."
    ),
    click.option("--replication", type=click.IntRange(1, 100), default=s.REPLICATION, help="Of new topics."),
    click.option(
        "--retention-days",
        type=click.FloatRange(0),
        default=s.RETENTION_DAYS,
        help="How long a new topic of events keeps them; 0: for ever.",
    ),
)


def kafka_options(function: F) -> F:
    """Add how Kafka is reached."""
    return _added(function, _OF_KAFKA)


def topic_options(function: F) -> F:
    """Add what is written, and the topics."""
    return _added(function, _OF_TOPICS)


def publisher_settings(options: dict[str, Any]) -> s.PublisherSettings:
    """Settings of the options that the two above have added. Raises UsageError."""
    options = dict(options)
    kafka = {name: options.pop(name) for name in KafkaSettings.__struct_fields__}
    kafka["brokers"] = [one.strip() for one in str(kafka["brokers"]).split(",")]
    topics = {name: options.pop(name) for name in s.TopicSettings.__struct_fields__}
    given = {**options, "kafka": kafka, "topics": topics}
    try:
        return msgspec.convert(given, s.PublisherSettings)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"{error}.") from error


def _added(function: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        function = option(function)
    return function
