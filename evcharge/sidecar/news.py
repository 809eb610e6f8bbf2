"""What the sidecar tells Central by itself: weather and readings, in the words of the wire."""

from __future__ import annotations

from evcharge.net import answers
from evcharge.net.link import CentralLink
from evcharge.sidecar.sensors.settings import ReadingName
from evcharge.sidecar.telling import RETRY_S, CentralAway, CentralRefused
from evcharge.sidecar.weather.concern import Alert
from protocol.messages import Message, SensorReading, WeatherAlert


class News:
    """Tells over the sidecar's link; without one Central is away for ever."""

    def __init__(self, link: CentralLink | None) -> None:
        self._link = link

    async def weather(self, alert: Alert) -> None:
        """An alert, or its end. Raises CentralAway, CentralRefused."""
        await self._tell(
            WeatherAlert(
                id=0,
                kind=alert.kind,
                active=alert.active,
                cp_id=alert.cp_id,
                substation_id=alert.substation_id,
                temperature_c=alert.temperature_c,
                detail=alert.detail,
                simulated=alert.simulated,
                by=alert.by,
                trace=alert.trace,
            )
        )

    async def temperature(self, celsius: float, at_ms: int) -> None:
        """The air at the site, and when it was measured (site time). Raises as ``weather``."""
        await self.reading("temperature_c", celsius, at_ms, None)

    async def reading(self, name: ReadingName, value: float, at_ms: int, substation_id: str | None) -> None:
        """A sensor's value, and when it was measured (site time). Raises as ``weather``."""
        # With an id: only then is a refusal answered.
        await self._tell(SensorReading(id=0, name=name, value=value, substation_id=substation_id, at_ms=at_ms))

    async def _tell(self, message: Message) -> None:
        if self._link is None:
            raise CentralAway
        try:
            await self._link.ask(message)
        except answers.RequestRefused as error:
            if error.retry_after_s is not None:
                raise CentralAway(error.retry_after_s) from None
            raise CentralRefused(error.reason, error.sentence) from None
        except answers.RequestFailed:
            raise CentralAway(RETRY_S) from None
