"""What a metric is here: declared once, with kind, unit, labels and meaning; docs/metrics.md lists the declarations.

A declaration makes the families that Prometheus reads. Whoever counts keeps plain numbers (``evcharge.tally``), which
become families only when somebody asks.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum
from importlib.metadata import version
from typing import Generic, TypeVar

import msgspec
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import CollectorRegistry

from evcharge.tally import Buckets

# How often the loop is asked how late it is, seconds.
LAG_EVERY_S = 0.25
# How long a scrape waits for a disk, a database or the system, seconds: what hangs must not take the metrics with it.
PATIENCE_S = 1.0

K = TypeVar("K", bound="str | tuple[str, ...]")
T = TypeVar("T")


_ALONE: tuple[str, ...] = ()


class Kind(StrEnum):
    """What Prometheus may do with it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """A declaration."""

    kind: Kind
    name: str
    help: str
    """Without its full stop."""
    unit: str = ""
    """Empty: a plain number."""
    labels: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What stands beside it in every answer."""
        return f"{self.help}, {self.unit}." if self.unit else f"{self.help}."

    def alone(self, value: float | None) -> Family:
        """One series; None: it is not known now, and there is none."""
        return self.rows({} if value is None else {_ALONE: value})

    def rows(self, values: Mapping[K, float]) -> Family:
        """One series for each value, by its labels."""
        make = CounterMetricFamily if self.kind is Kind.COUNTER else GaugeMetricFamily
        family = make(self.name, self.sentence, labels=self.labels)
        for labels, value in values.items():
            family.add_metric((labels,) if isinstance(labels, str) else labels, value)
        return family

    def buckets(self, values: Buckets | Mapping[str, Buckets]) -> Family:
        """A histogram, or one for each label."""
        family = HistogramMetricFamily(self.name, self.sentence, labels=self.labels)
        for label, each in {"": values}.items() if isinstance(values, Buckets) else values.items():
            total, rows = 0, []
            # Copied first: the one who counts may go on meanwhile.
            for bound, count in zip((*each.bounds, float("inf")), list(each.counts), strict=True):
                total += count
                rows.append(("+Inf" if bound == float("inf") else f"{bound:g}", total))
            family.add_metric((label,) if self.labels else (), rows, each.sum)
        return family


def gauge(name: str, text: str, unit: str = "", *labels: str) -> Metric:
    """Declare a value that rises and falls."""
    return Metric(Kind.GAUGE, name, text, unit, labels)


def counter(name: str, text: str, unit: str = "", *labels: str) -> Metric:
    """Declare a value that only rises."""
    return Metric(Kind.COUNTER, name, text, unit, labels)


def histogram(name: str, text: str, unit: str = "", *labels: str) -> Metric:
    """Declare a distribution."""
    return Metric(Kind.HISTOGRAM, name, text, unit, labels)


BUILD = gauge("evcharge_build_info", "Always 1; its labels say what runs", "", "daemon", "version", "python")
LAG = histogram("evcharge_loop_lag_seconds", "How much later than asked for the event loop came back", "seconds")
SCRAPE = gauge("evcharge_scrape_seconds", "How long the answer before this one took to make", "seconds")
PROCESS = (
    gauge("process_virtual_memory_bytes", "Virtual memory of this process", "bytes"),
    gauge("process_resident_memory_bytes", "Memory of this process that is in RAM", "bytes"),
    gauge("process_start_time_seconds", "When this process started", "seconds of UTC"),
    counter("process_cpu_seconds_total", "Processor time of this process", "seconds"),
    gauge("process_open_fds", "Files and connections that are open", "descriptors"),
    gauge("process_max_fds", "Files and connections that may be open", "descriptors"),
)
COMMON = (BUILD, LAG, SCRAPE, *PROCESS)
"""What every daemon tells."""


class Asked(Generic[T]):
    """What has to be waited for: one question at a time, and while there is no answer the one before counts."""

    def __init__(self, ask: Callable[[], Awaitable[T]], *failures: type[Exception]) -> None:
        """``failures``: what ``ask`` may raise."""
        self.known: T | None = None
        self.answers = False
        """Whether the newest question was answered in time."""
        self._ask = ask
        self._failures: tuple[type[Exception], ...] = (TimeoutError, *failures)
        self._asking: asyncio.Future[T] | None = None

    async def look(self) -> None:
        """Ask, unless a question is still open, and wait for ``PATIENCE_S`` at most."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
            # Of one that nobody waits for any more nothing is said when it fails.
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        try:
            async with asyncio.timeout(PATIENCE_S):
                self.known = await asyncio.shield(self._asking)
            self.answers = True
        except self._failures:
            self.answers = False


class Own:
    """What a daemon knows of itself as a process. ``run`` watches the loop until it is cancelled."""

    def __init__(self, daemon: str) -> None:
        self.lag = Buckets()
        self.scrape_s: float | None = None
        self._build = (daemon, version("evcharge"), platform.python_version())
        self._system = ProcessCollector(registry=CollectorRegistry())
        # In a thread: with ten thousand connections it takes milliseconds.
        self._found = Asked(lambda: asyncio.to_thread(self._ask))

    async def run(self) -> None:
        """Measure how late the loop is, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            asked_s = loop.time()
            await asyncio.sleep(LAG_EVERY_S)
            self.lag.observe(max(0.0, loop.time() - asked_s - LAG_EVERY_S))

    async def look(self) -> None:
        """Ask the system about this process."""
        await self._found.look()

    def _ask(self) -> dict[str, float]:
        return {sample.name: sample.value for family in self._system.collect() for sample in family.samples}

    def collect(self) -> Iterator[Family]:
        """Its families."""
        yield BUILD.rows({self._build: 1})
        yield LAG.buckets(self.lag)
        yield SCRAPE.alone(self.scrape_s)
        found = self._found.known or {}
        for metric in PROCESS:
            yield metric.alone(found.get(metric.name))
