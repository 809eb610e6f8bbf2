"""Where the page's files are, and whether its build is there; for whoever does not serve them too."""

from __future__ import annotations

from pathlib import Path

# Folder of the page that browsers get.
PAGE = Path(__file__).parents[1] / "page"
INDEX = "index.html"
# What the build puts beside the sources; without them the page cannot start.
BUILT = ("vendor/lit-html/lit-html.js", "vendor/uplot/uPlot.esm.js")


def is_built(folder: Path) -> bool:
    """Whether the page is there with what its build adds."""
    return all((folder / name).is_file() for name in (INDEX, *BUILT))
