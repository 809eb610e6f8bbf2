"""What the page is built from: packages by their hashes, and exactly the files that are served go into the wheel."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from evcharge.sidecar.web.built import BUILT, PAGE
from evcharge.sidecar.web.files import Files

ROOT = Path(__file__).parents[3]
# `import … from "…"`, `export … from "…"`, `import "…"` and `import("…")`.
IMPORTED = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"'\s]+)["']""")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
ADDRESS = re.compile(r"""["'(]/ui/assets/([^"')]+)""")
# What a folder may hold beside what is served.
BESIDE = (
    "package.json",
    "package-lock.json",
    ".npmrc",
    "tsconfig.json",
    "node_modules/typescript/lib/tsc.js",
    "tests/x.test.js",
    "src/types.d.ts",
    "vendor/.keep",
    "vendor/uplot/uPlot.esm.d.ts",
)
SERVED = ("index.html", "src/main.js", "src/a/b/c.js", "style/base.css", "style/icons/sun.svg", *BUILT)


def test_the_lock_has_hashes_and_names_no_host() -> None:
    text = (PAGE / "package-lock.json").read_text()
    assert "://" not in text
    assert "resolved" not in text
    packages = json.loads(text)["packages"]
    assert len(packages) > 1
    for name, package in packages.items():
        assert name == "" or re.fullmatch(r"sha512-[\w+/]{86}==", package["integrity"]), name
        assert "hasInstallScript" not in package


def test_what_is_served_needs_nothing_that_is_not() -> None:
    # Without the build this says what to run: make test does it.
    files = Files.read(PAGE)
    assets = files.assets
    for name, file in {"index.html": files.index, **assets}.items():
        text = COMMENT.sub("", file.plain.decode())
        for address in ADDRESS.findall(text):
            assert address in assets, f"{name} names {address}, which is not served"
        for word in IMPORTED.findall(text) if name.endswith(".js") else ():
            assert word.startswith("."), f"{name} imports {word}, which is no file of the page"
            parts: list[str] = []
            for part in (PurePosixPath(name).parent / word).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            assert "/".join(parts) in assets, f"{name} imports {word}, which is not served"


@pytest.mark.tool
def test_the_wheel_has_what_is_served_and_nothing_else_of_the_folder(tmp_path: Path) -> None:
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    folder = tmp_path / "evcharge" / "sidecar" / "page"
    for package in ("evcharge", "evcharge/sidecar", "protocol"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for name in (*SERVED, "vendor/uplot/LICENSE", *BESIDE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if "/page/" in name}
    start = "evcharge/sidecar/page/"
    # A licence goes with what it is about, and is not served.
    assert {name.removeprefix(start) for name in inside} == {*SERVED, "vendor/uplot/LICENSE"}
    assert {*Files.read(folder).assets, "index.html"} == set(SERVED)
