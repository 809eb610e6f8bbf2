"""The topics in the brokers: made where they are missing, looked at where they are not, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, for_code

from evcharge.events.faults import described
from evcharge.events.settings import PublisherSettings
from evcharge.events.topics import POSITIONS_CONFIG, Topic, Topics, check_positions, events_config, remarks
from evcharge.events.troubles import Kind, Trouble
from evcharge.net import kafka_topics
from evcharge.net.kafka_client import give_up
from evcharge.net.kafka_faults import FAILURES, understood

# How long one question to the brokers may take, in milliseconds: making a topic takes a busy controller some seconds.
ASK_MS = 15_000
# How long good-bye may take, in seconds.
CLOSE_S = 2.0


async def looked_at(settings: PublisherSettings, arguments: Mapping[str, Any], *, make: bool) -> Topics | None:
    """As ``prepared``, for who has no producer: every failure is a Trouble."""
    try:
        return await prepared(settings, arguments, make=make)
    except FAILURES as error:
        raise described(error) from error


async def prepared(settings: PublisherSettings, arguments: Mapping[str, Any], *, make: bool = True) -> Topics | None:
    """Both topics, made where they are missing; ``arguments`` as ``client_arguments`` gives them.

    Without ``make`` nothing is made, and None is the answer when one is missing.

    Raises:
        Trouble: a topic cannot be made or used.
        FAILURES of ``kafka_faults``: the brokers cannot be asked, or do not show a topic.
    """
    admin = AIOKafkaAdminClient(**arguments, request_timeout_ms=ASK_MS)
    try:
        with understood():
            await admin.start()
        events = await _found(admin, settings.topic)
        positions = await _found(admin, settings.positions_topic)
        if (events is None or positions is None) and not make:
            return None
        asked = settings.topics
        if events is None:
            events = await _made(admin, settings.topic, asked.partitions, asked.replication, events_config(asked))
        if positions is None:
            positions = await _made(admin, settings.positions_topic, 1, asked.replication, POSITIONS_CONFIG)
    finally:
        await give_up(admin, CLOSE_S)
    check_positions(positions)
    return Topics(events=events, positions=positions, remarks=remarks(settings, events, positions))


async def _found(admin: AIOKafkaAdminClient, name: str) -> Topic | None:
    seen = await kafka_topics.look(admin, name)
    if seen is None:
        return None
    return Topic(
        name=name,
        partitions=seen.partitions,
        replication=seen.replication,
        config=await _config(admin, name),
        in_sync=seen.in_sync,
    )


async def _config(admin: AIOKafkaAdminClient, name: str) -> dict[str, str] | None:
    with understood():
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        ((code, _message, _type, _name, entries),) = answer.resources
        if for_code(code) is not NoError:
            return None
        return {entry[0]: entry[1] for entry in entries if entry[1] is not None}


async def _made(
    admin: AIOKafkaAdminClient, name: str, partitions: int, replication: int, config: Mapping[str, str]
) -> Topic:
    try:
        if await kafka_topics.make(admin, name, partitions, replication, config):
            return Topic(name=name, partitions=partitions, replication=replication, config=dict(config), made=True)
    except kafka_topics.NotMade as error:
        raise Trouble(
            Kind.TOPIC_UNFIT,
            f"The topic {name} is not there and cannot be made with {partitions} partitions and {replication} "
            f"replicas: {error.why}.",
        ) from error
    found = await _found(admin, name)
    if found is None:
        raise Trouble(Kind.TOPIC_UNFIT, f"The topic {name} is being made by somebody else; it is looked at again.")
    return found
