"""Topics of a cluster: looked at without making any, and made where they are missing. What is there is never changed.

Nothing here is imported without the extra ``kafka``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

import evcharge.net.kafka_client  # noqa: F401  # Without it, looking would make them.
from evcharge.net.kafka_faults import understood


class Seen(NamedTuple):
    """A topic that is there."""

    partitions: int
    replication: int
    """The smallest number of replicas of any partition."""
    in_sync: int
    """The smallest number of replicas in sync of any partition."""


class NotMade(Exception):
    """The brokers do not make a topic."""

    def __init__(self, error: KafkaError, why: str) -> None:
        """``why``: in their own words, without a full stop."""
        self.error = error
        self.why = why
        super().__init__(why)


async def look(admin: AIOKafkaAdminClient, name: str) -> Seen | None:
    """The topic; None: it is not there, and it is not there afterwards.

    Raises:
        FAILURES of ``kafka_faults``: the brokers cannot be asked, or do not show it.
    """
    with understood():
        (told,) = await admin.describe_topics([name])
        error = for_code(told["error_code"])
        if error is NoError:
            places = told["partitions"]
            return Seen(
                partitions=len(places),
                replication=min(len(place["replicas"]) for place in places),
                in_sync=min(len(place["isr"]) for place in places),
            )
    if error is UnknownTopicOrPartitionError:
        return None
    raise error(name)


async def make(
    admin: AIOKafkaAdminClient, name: str, partitions: int, replication: int, config: Mapping[str, str]
) -> bool:
    """Make it; False: somebody else has done so since it was looked at, and perhaps otherwise.

    Raises:
        NotMade
        FAILURES of ``kafka_faults``: the brokers cannot be asked.
    """
    with understood():
        told = await admin.create_topics([NewTopic(name, partitions, replication, topic_configs=dict(config))])
        ((_name, code, *words),) = told.topic_errors
        error = for_code(code)
    if error is TopicAlreadyExistsError:
        return False
    if error is not NoError:
        # Old brokers give a number only.
        why = next(filter(None, words), error.description)
        raise NotMade(error(name), str(why).rstrip("."))
    return True
