"""One place's weather: the newest observation, how its provider is doing, and when to ask again.

However many parts of the site lie at a place, it is asked about once a poll. A provider that fails is asked ever less
often, at random moments, so that a thousand sites do not come back at the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import structlog

from evcharge.net.clock import Clock, site_instant
from evcharge.sidecar.weather.observation import Observation, Provider, ProviderFailed, Trouble, Where

log = structlog.get_logger()

# The first wait after a failure, in seconds, doubled up to the second; half of it is random.
AGAIN_S: Final = 15.0
AGAIN_MAX_S: Final = 900.0
# Failures that asking again does not mend: each waits the longest.
_LASTING: Final[frozenset[Trouble]] = frozenset({"bad_key", "unknown_place", "throttled"})
# A provider's clock may be ahead by this much, in ms: then it means now.
AHEAD_MS: Final = 600_000

State = Literal["starting", "ok", "unavailable"]


class Watch:
    """Asks one provider about one place."""

    def __init__(
        self,
        where: Where,
        provider: Provider,
        *,
        poll_s: float,
        old_s: float,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self.where = where
        self.provider = provider
        self._poll_s = poll_s
        self._old_s = old_s
        self._clock = clock
        self._random = random
        self._due_s = clock.monotonic()
        self._failures = 0
        self.outcomes: Counter[str] = Counter()
        """Questions by how they went: ``ok``, or the trouble."""
        self.state: State = "starting"
        self.since_ms = clock.site_ms()
        """Site time since when it is so."""
        self.trouble: Trouble | None = None
        self.why = ""
        self.observation: Observation | None = None
        """The newest one, in site time, also while the provider fails."""

    @property
    def due(self) -> bool:
        """Whether it is time to ask."""
        return self._clock.monotonic() >= self._due_s

    async def poll(self) -> Observation | None:
        """Ask once; None: the provider failed, and what it said before is no older or newer for that."""
        try:
            observed = self._not_old(await self.provider.fetch(self.where))
        except ProviderFailed as error:
            self._fail(error)
            return None
        self._failures = 0
        self.outcomes["ok"] += 1
        self._due_s = self._clock.monotonic() + self._poll_s
        if self.state != "ok":
            self.since_ms = self._clock.site_ms()
            log.info("weather.available", place=self.where.name, provider=self.provider.name)
        self.state, self.trouble, self.why = "ok", None, ""
        self.observation = observed
        return observed

    def _not_old(self, observed: Observation) -> Observation:
        age_ms = self._clock.steady_ms() - observed.observed_ms
        if age_ms > self._old_s * 1000:
            raise ProviderFailed("old", f"The provider's newest observation is {age_ms // 60_000} minutes old.")
        if age_ms < -AHEAD_MS:
            raise ProviderFailed("implausible", "The provider's newest observation lies in the future.")
        return msgspec.structs.replace(
            observed,
            observed_ms=site_instant(self._clock, observed.observed_ms),
            fetched_ms=self._clock.site_ms(),
        )

    def _fail(self, error: ProviderFailed) -> None:
        self.outcomes[error.trouble] += 1
        lasting = error.trouble in _LASTING
        most_s = AGAIN_MAX_S if lasting else min(AGAIN_MAX_S, AGAIN_S * 2.0 ** min(self._failures, 8))
        wait_s = most_s * (0.5 + 0.5 * self._random())
        self._failures += 1
        self._due_s = self._clock.monotonic() + max(wait_s, error.retry_after_s or 0)
        if self.state != "unavailable":
            self.since_ms = self._clock.site_ms()
        if self.trouble != error.trouble:
            # Once for each kind of trouble: a wrong key stays wrong for hours.
            log.warning(
                "weather.unavailable",
                place=self.where.name,
                provider=self.provider.name,
                trouble=error.trouble,
                why=str(error),
            )
        self.state, self.trouble, self.why = "unavailable", error.trouble, str(error)
