"""Renders the folders of ``deploy/kubernetes`` with a real kustomize: that of the machine, or one that Go makes."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.shared import lacking

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
# What can be applied: everything else is a part of these.
FOLDERS = ("base", "overlays/small", "overlays/kafka", "overlays/prometheus", "overlays/site")
# Components and labels without selectors need this one; kubectl has it since 1.27.
OLDEST = (5, 0)
# The newest that Debian 12's Go 1.19 compiles.
MADE = "v5.0.3"
# To compile it on a busy machine, and to render a folder, seconds.
MAKE_S = 900.0
LIMIT_S = 60.0

Manifest = dict[str, Any]


@functools.cache
def render(folder: str) -> tuple[Manifest, ...]:
    """The objects of one folder, as `kubectl apply -k` would send them."""
    done = _run([*renderer(), str(KUBERNETES / folder)])
    # A warning is a word that the next version no longer knows.
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return tuple(found for found in yaml.safe_load_all(done.stdout) if found)


def everything() -> Iterator[tuple[str, Manifest]]:
    """Every object of every folder, with the folder."""
    for folder in FOLDERS:
        for manifest in render(folder):
            yield folder, manifest


@functools.cache
def renderer() -> list[str]:
    """The command that takes a folder; the test is skipped where there is none and Go is missing, and fails in CI."""
    kustomize, kubectl, go = (shutil.which(program) for program in ("kustomize", "kubectl", "go"))
    if kustomize is not None and _version(_run([kustomize, "version"]).stdout) >= OLDEST:
        return [kustomize, "build"]
    if kubectl is not None:
        said = _run([kubectl, "version", "--client", "--output=json"])
        known = json.loads(said.stdout).get("kustomizeVersion", "") if said.returncode == 0 else ""
        if _version(known) >= OLDEST:
            return [kubectl, "kustomize"]
    if go is None:
        lacking("there is no kustomize, kubectl 1.27 or Go: make system-deps (Debian: apt-get install golang-go)")
    return [str(_made(go)), "build"]


def _made(go: str) -> Path:
    """kustomize of the version ``MADE``, from the Go module proxy; the next test run finds it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evcharge" / f"kustomize-{MADE}"
    program = cache / "kustomize"
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "lock"):
        if not program.exists():
            settings = {"GOBIN": str(cache), "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
            done = subprocess.run(
                [go, "install", f"sigs.k8s.io/kustomize/kustomize/v5@{MADE}"],
                env={**os.environ, **settings},
                capture_output=True,
                text=True,
                timeout=MAKE_S,
                check=False,
            )
            if done.returncode != 0:
                lacking(f"Go cannot make kustomize {MADE}: {done.stderr.strip().splitlines()[-1:]}")
    return program


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Several workers of one test run want it at the same time."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _version(text: str) -> tuple[int, int]:
    found = re.search(r"v(\d+)\.(\d+)", text)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
