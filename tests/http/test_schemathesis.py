"""Schemathesis, which nobody here wrote, tries every route as its OpenAPI document says, as each kind of client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.http_site import KINDS, HttpSite

# Requests that it makes up for each operation: as the operator, who may do nearly everything, in all of its phases; as
# the others, who are mostly turned away, a few.
EXAMPLES = int(os.environ.get("EVCHARGE_SCHEMATHESIS", "10"))
FEW = max(2, EXAMPLES // 4)
TIMEOUT_S = 600


@pytest.mark.process
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_as_the_document_says(http_site: HttpSite, tmp_path: Path, kind: str) -> None:
    settings = str(Path(__file__).with_name("schemathesis.toml"))
    command = [
        str(Path(sys.executable).with_name("st")),
        "--config-file",
        settings,
        "run",
        f"{http_site.url}/openapi.json",
    ]
    command += ["--checks", "all", "--warnings", "off", "--continue-on-failure"]
    if "CI" in os.environ:
        # The same requests in each run; see tests/conftest.py.
        command += ["--generation-deterministic"]
    if kind == "operator token":
        command += ["--max-examples", str(EXAMPLES)]
    else:
        command += ["--phases", "fuzzing", "--max-examples", str(FEW)]
    if token := http_site.token(kind):
        command += ["--header", f"Authorization: Bearer {token}"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=_environment()
    )
    assert done.returncode == 0, f"{done.stdout[-8_000:]}\n{done.stderr[-2_000:]}"
    assert " passed" in done.stdout


def _environment() -> dict[str, str]:
    """Without a proxy: everything stays on this machine."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
