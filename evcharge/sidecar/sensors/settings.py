"""The list ``[[sensors]]``: what is measured, where it comes from, and how long it counts."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from evcharge.sidecar.outgoing.secrets import check_url, is_loopback
from evcharge.sidecar.outgoing.settings import ClientCredentials
from evcharge.sidecar.sensors.pick import check_pointer

ReadingName = Literal["base_w", "solar_w", "grid_percent", "battery_percent", "temperature_c"]

# What each sensor may say: what Central believes of it, and of air what was ever measured.
RANGES: Final[dict[ReadingName, tuple[float, float]]] = {
    "base_w": (0.0, 1e9),
    "solar_w": (0.0, 1e8),
    "grid_percent": (0.0, 200.0),
    "battery_percent": (0.0, 100.0),
    "temperature_c": (-95.0, 65.0),
}
# When a reading is too old to be one, in seconds. The load of a building or a grid changes at once and a fuse has to be
# guarded, clouds pass in a minute, air takes long. Central's own rules let none of the first four count for longer.
STALE_S: Final[dict[ReadingName, float]] = {
    "base_w": 10.0,
    "solar_w": 60.0,
    "grid_percent": 10.0,
    "battery_percent": 60.0,
    "temperature_c": 1_800.0,
}
# Most sensors of one site: a base load for each of many feeders, and a few of everything else.
SENSORS: Final = 256


class Sensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="source"):
    """What every sensor has: value = said × scale + offset."""

    name: ReadingName
    substation_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """The node of a base load; None: the site's."""
    scale: float = 1.0
    offset: float = 0.0
    zero_band: Annotated[float, Meta(ge=0)] = 0.0
    """A value this close to 0 is 0: an inverter shows its own small consumption at night as less than nothing."""
    stale_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    """None: what suits its name."""

    def __post_init__(self) -> None:
        if self.substation_id is not None and self.name != "base_w":
            raise ValueError(f"substation_id is for base_w; {self.name} is the whole site's")

    @property
    def key(self) -> str:
        """Its name for people and programs; unique in a site."""
        return self.name if self.substation_id is None else f"{self.name} of {self.substation_id}"

    @property
    def fresh_s(self) -> float:
        """How long a reading counts, in seconds."""
        return STALE_S[self.name] if self.stale_s is None else self.stale_s


class Picked(Sensor, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sensor whose reading stands somewhere in what is sent."""

    pointer: str | None = None
    """JSON pointer (RFC 6901) to the number, as ``/solar/power``; None: the number alone is sent."""
    time_pointer: str | None = None
    """JSON pointer to when it was measured; None: when it arrives."""
    time_unit: Literal["s", "ms", "iso"] = "s"
    """Seconds or milliseconds since 1970, or ISO 8601 with an offset."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, pointer in (("pointer", self.pointer), ("time_pointer", self.time_pointer)):
            if pointer is not None:
                try:
                    check_pointer(pointer)
                except ValueError as error:
                    raise ValueError(f"{field} {error}") from None
        if self.time_pointer is not None and self.pointer is None:
            raise ValueError("time_pointer needs pointer: a number alone has no time")


class SimulatedSensor(Sensor, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="simulator"):
    """A simulated one, labelled so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == "temperature_c":
            raise ValueError("name temperature_c is not simulated as a sensor; the simulated weather has one")


class HttpSensor(Picked, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="http"):
    """A URL that is asked again and again."""

    url: str
    every_s: Annotated[float, Meta(ge=1, le=3_600)] = 5.0
    """Two readings within the ten seconds that a base load counts."""
    header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    """A header that carries a secret, as ``X-Api-Key``."""
    secret_env: str | None = None
    """Name of the environment variable with that header's content."""
    oauth: ClientCredentials | None = None
    """Where an access token comes from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.header is None) != (self.secret_env is None):
            raise ValueError("header and secret_env go together")
        if self.header is not None and self.oauth is not None:
            raise ValueError("header and oauth are two ways to show a secret; choose one")
        try:
            check_url(self.url, secret=self.header is not None or self.oauth is not None)
        except ValueError as error:
            raise ValueError(f"url {error}") from None


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An MQTT broker; sensors with the same one share a connection."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    """None: 8883 with TLS, else 1883."""
    tls: bool = False
    ca_file: str | None = None
    """Who signed the broker's certificate; None: whom this machine trusts."""
    username: str | None = None
    password_env: str | None = None
    """Name of the environment variable with the password."""
    plain_password: bool = False
    """Whether the password may go to another machine unencrypted."""
    version: Literal["5", "3.1.1"] = "5"
    """Only 5 lets the broker keep back messages that are too large; older brokers need 3.1.1."""

    def __post_init__(self) -> None:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file needs tls = true")
        if self.password_env is not None and self.username is None:
            raise ValueError("password_env needs username")
        if self.password_env is not None and not (self.tls or self.plain_password or is_loopback(self.host)):
            raise ValueError("password_env would be sent unencrypted; use tls, or allow it with plain_password = true")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port or (8_883 if self.tls else 1_883)


class MqttSensor(Picked, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mqtt"):
    """A topic of a broker."""

    topic: Annotated[str, Meta(min_length=1, max_length=512)]
    broker: Broker

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(char in self.topic for char in "+#\0"):
            raise ValueError("topic is one topic, without + and #")


AnySensor = SimulatedSensor | HttpSensor | MqttSensor


class SensorsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them."""

    sensors: Annotated[list[AnySensor], Meta(max_length=SENSORS)] = []

    def __post_init__(self) -> None:
        keys = [sensor.key for sensor in self.sensors]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"sensors has two for {key}; nobody could say which of them is right")
