"""What the tests of metrics share: promtool and Prometheus of the system, and answers taken apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from evcharge.net.metrics import Metric

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
# Enough for promtool on a busy machine, seconds.
LIMIT_S = 60.0


def of_the_system(program: str) -> str:
    """Where ``promtool`` or ``prometheus`` is. Without it the test is skipped, and fails where a CI has to have it."""
    found = shutil.which(program)
    if found is None:
        why = f"there is no {program}: make system-deps (Debian: apt-get install prometheus)"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return found


def promtool(*arguments: object, given: bytes = b"") -> str:
    """Run it; all it says. AssertionError when it finds fault."""
    done = subprocess.run(
        [of_the_system("promtool"), *map(str, arguments)],
        input=given,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def check_metrics(text: bytes) -> None:
    """``promtool check metrics`` has nothing to say."""
    assert promtool("check", "metrics", given=text) == ""


def get(url: str) -> bytes:
    """One scrape; blocks."""
    with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
        content: bytes = answer.read()
    return content


class Told:
    """An answer, by names and labels."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text.decode())}

    def samples(self, name: str) -> list[Sample]:
        """Every series of this name."""
        return [sample for family in self.families.values() for sample in family.samples if sample.name == name]

    def value(self, name: str, **labels: str) -> float:
        """The one series of these labels. AssertionError: there is none."""
        found = [sample.value for sample in self.samples(name) if sample.labels == labels]
        assert len(found) == 1, (name, labels, self.samples(name))
        return float(found[0])

    def by(self, name: str, label: str) -> dict[str, float]:
        """Values of a metric by one label."""
        return {sample.labels[label]: sample.value for sample in self.samples(name)}

    def differs(self, table: Iterable[Metric]) -> Mapping[str, object]:
        """What is not as declared: names, kinds, meanings, labels; empty: all is."""
        declared = {metric.name.removesuffix("_total"): metric for metric in table}
        wrong: dict[str, object] = dict.fromkeys(declared.keys() ^ self.families.keys(), "not the same names")
        for name in declared.keys() & self.families.keys():
            metric, family = declared[name], self.families[name]
            labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
            said = (str(family.type), family.documentation, labels or {frozenset(metric.labels)})
            if said != (metric.kind.value, metric.sentence, {frozenset(metric.labels)}):
                wrong[name] = said
        return wrong
