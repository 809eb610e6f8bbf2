"""Line charts as small SVG files: axes, lines, limits, shaded spans, a legend; for light and dark pages, no script.

The file is complete in itself: no font, style sheet or picture from anywhere else. It follows the reader's colour
scheme where the viewer knows one (``prefers-color-scheme``), and is light elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

WIDTH, HEIGHT = 960, 480
# Distance of the plot from the left (for the numbers of the axis) and from the right, in pixels.
LEFT, RIGHT = 68, 24
# Size of text, and what a character takes of it: an average of sans-serif fonts, a little more to be safe.
TEXT, TITLE = 13, 18
CHARACTER = 0.55
LINE_HEIGHT = 16
# Aim for a tick each so many pixels.
TICK_X, TICK_Y = 90, 56

# Line colours, light and dark: blue, orange, green, purple of Okabe & Ito, which the colour-blind can tell apart, each
# moved until it has a contrast of 3 to its background (WCAG 1.4.11). The first is for what matters most.
COLOURS = (
    *(("#1f2937", "#f3f4f6"), ("#0072b2", "#56b4e9"), ("#c25400", "#f0a030")),
    *(("#00845f", "#2fc79b"), ("#a34d81", "#d991bd")),
)
LIMIT = ("#c62828", "#ff7b72")


class Line(NamedTuple):
    """One series: points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    steps: bool = False
    """Each value holds until the next one, instead of a straight way to it."""
    fill: bool = False
    """Shade what is below, down to ``base``."""
    base: Sequence[tuple[float, float]] = ()
    """Points of the line that this one is stacked on, drawn with the same ``steps``; without any: zero."""


class Limit(NamedTuple):
    """A dashed line across, with its name on it."""

    name: str
    y: float


class Span(NamedTuple):
    """A part of the x axis with a name above it; neighbours are shaded in turn."""

    name: str
    start: float
    end: float


class _Frame(NamedTuple):
    """Where values lie on the picture."""

    top: float
    bottom: float
    x_ticks: list[float]
    y_ticks: list[float]
    x_start: float
    x_end: float
    y_end: float

    def x(self, value: float) -> float:
        share = (value - self.x_start) / (self.x_end - self.x_start)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low = self.y_ticks[0]
        return self.bottom - (value - low) / (self.y_end - low) * (self.bottom - self.top)

    def corners(self, points: Sequence[tuple[float, float]], *, steps: bool) -> list[tuple[str, str]]:
        """The way from point to point; one decimal, for a tenth of a pixel is finer than any screen."""
        found: list[tuple[str, str]] = []
        for x, y in points:
            here = (f"{self.x(x):.1f}", f"{self.y(y):.1f}")
            found += [(here[0], found[-1][1]), here] if steps and found else [here]
        return [place for number, place in enumerate(found) if number == 0 or place != found[number - 1]]


def chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Line],
    limits: Sequence[Limit] = (),
    spans: Sequence[Span] = (),
    description: str = "",
) -> str:
    """An SVG document. ``description`` is for those who cannot see it. Raises ValueError without any point."""
    xs = [x for line in series for x, _ in line.points] + [x for span in spans for x in (span.start, span.end)]
    ys = [y for line in series for _, y in line.points]
    if not ys:
        raise ValueError("a chart needs a point at least")
    if len(series) > len(COLOURS):
        raise ValueError(f"a chart takes {len(COLOURS)} lines, not {len(series)}: nobody can tell more of them apart")
    ys += [limit.y for limit in limits]
    x_start, x_end = _apart(min(xs), max(xs))
    width = WIDTH - LEFT - RIGHT
    low, high = _apart(min(0.0, *ys), max(0.0, *ys))
    # A little room above the highest value, so that nothing lies on the edge.
    y_end = high + (high - low) * 0.08
    names = [_wrapped(span.name, (span.end - span.start) / (x_end - x_start) * width) for span in spans]
    top = 70.0 + max(map(len, names), default=0) * LINE_HEIGHT
    frame = _Frame(
        top=top,
        bottom=HEIGHT - 54.0,
        x_ticks=[tick for tick in _ticks(x_start, x_end, int(width / TICK_X)) if x_start <= tick <= x_end],
        y_ticks=[t for t in _ticks(low, y_end, int((HEIGHT - 54 - top) / TICK_Y)) if t <= y_end],
        x_start=x_start,
        x_end=x_end,
        y_end=y_end,
    )
    body = [
        *_shaded(frame, spans, names),
        *_axes(frame, x_label, y_label),
        *_lines(frame, series),
        *_limits(frame, limits),
        *_legend(series),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            ' aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description or title)}</desc>',
            f"<style>{_style()}</style>",
            f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
            f'<text class="title" x="{LEFT}" y="30">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )


def _shaded(frame: _Frame, spans: Sequence[Span], names: Sequence[Sequence[str]]) -> Iterator[str]:
    height = frame.bottom - frame.top
    for number, (span, words) in enumerate(zip(spans, names, strict=True)):
        left, right = frame.x(span.start), frame.x(span.end)
        kind = "odd" if number % 2 else "even"
        yield (
            f'<rect class="{kind}" x="{left:.1f}" y="{frame.top:.1f}" width="{right - left:.1f}"'
            f' height="{height:.1f}"/>'
        )
        for row, text in enumerate(words):
            y = frame.top - 6 - (len(words) - 1 - row) * LINE_HEIGHT
            yield f'<text class="span" x="{(left + right) / 2:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _axes(frame: _Frame, x_label: str, y_label: str) -> Iterator[str]:
    right = WIDTH - RIGHT
    for tick in frame.y_ticks:
        y = frame.y(tick)
        kind = "axis" if tick == frame.y_ticks[0] else "grid"
        yield f'<line class="{kind}" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text class="number" x="{LEFT - 8}" y="{y + 4:.1f}">{_number(tick)}</text>'
    for tick in frame.x_ticks:
        x = frame.x(tick)
        yield f'<line class="axis" x1="{x:.1f}" y1="{frame.bottom}" x2="{x:.1f}" y2="{frame.bottom + 5}"/>'
        yield f'<text class="middle" x="{x:.1f}" y="{frame.bottom + 20}">{_number(tick)}</text>'
    middle = (frame.top + frame.bottom) / 2
    yield f'<text class="middle" x="{(LEFT + right) / 2}" y="{HEIGHT - 12}">{escape(x_label)}</text>'
    yield f'<text class="middle" transform="translate(20 {middle:.1f}) rotate(-90)">{escape(y_label)}</text>'


def _lines(frame: _Frame, series: Sequence[Line]) -> Iterator[str]:
    """Shades first, then the lines; the first series last, so that it lies above the others."""
    numbered = [(number, line) for number, line in reversed(list(enumerate(series))) if line.points]
    for number, line in numbered:
        if line.fill:
            over = frame.corners(line.points, steps=line.steps)
            # Zero is always on the picture.
            ends = line.base or [(line.points[0][0], 0.0), (line.points[-1][0], 0.0)]
            under = frame.corners(ends, steps=line.steps and bool(line.base))
            yield f'<path class="fill f{number}" d="{_path([*over, *reversed(under)])}Z"/>'
    for number, line in numbered:
        yield f'<path class="line c{number}" d="{_path(frame.corners(line.points, steps=line.steps))}"/>'


def _path(corners: Sequence[tuple[str, str]]) -> str:
    """Straight from corner to corner, in as few characters as that takes."""
    words = [f"M{corners[0][0]} {corners[0][1]}"]
    for (x, y), (next_x, next_y) in pairwise(corners):
        if x == next_x:
            words.append(f"V{next_y}")
        elif y == next_y:
            words.append(f"H{next_x}")
        else:
            words.append(f"L{next_x} {next_y}")
    return "".join(words)


def _limits(frame: _Frame, limits: Sequence[Limit]) -> Iterator[str]:
    for limit in limits:
        y, right = frame.y(limit.y), WIDTH - RIGHT
        yield f'<line class="limit" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text class="limit-name" x="{right - 8}" y="{y - 6:.1f}">{escape(limit.name)}</text>'


def _legend(series: Sequence[Line]) -> Iterator[str]:
    x = float(LEFT)
    for number, line in enumerate(series):
        if line.fill:
            yield f'<rect class="swatch f{number}" x="{x:.1f}" y="40" width="22" height="12" rx="2"/>'
        yield f'<line class="line c{number}" x1="{x:.1f}" y1="46" x2="{x + 22:.1f}" y2="46"/>'
        yield f'<text x="{x + 28:.1f}" y="50.5">{escape(line.name)}</text>'
        x += 28 + len(line.name) * TEXT * CHARACTER + 26


def _style() -> str:
    """Shapes first, then colours twice: light, and dark for those who ask for it."""
    shapes = (
        "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
        ".title{font-size:18px;font-weight:600}.number{text-anchor:end}.limit-name{text-anchor:end;font-weight:600}"
        ".middle,.span{text-anchor:middle}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}"
        ".c0{stroke-width:2.4}"
        ".fill{opacity:.28}.swatch{opacity:.28}.limit{stroke-width:1.6;stroke-dasharray:7 5}.grid{stroke-width:1}"
    )
    light, dark = (_colours(shade) for shade in (0, 1))
    return f"{shapes}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _colours(shade: int) -> str:
    page, text, muted = ("#ffffff", "#0d1117")[shade], ("#1f2937", "#e6edf3")[shade], ("#4b5563", "#9aa4b2")[shade]
    grid, axis = ("#d8dce2", "#2c333c")[shade], ("#6b7280", "#7d8590")[shade]
    even, odd = ("#f3f5f8", "#151b23")[shade], ("#e6eaf0", "#1f2730")[shade]
    lines = "".join(
        f".c{number}{{stroke:{pair[shade]}}}.f{number}{{fill:{pair[shade]}}}" for number, pair in enumerate(COLOURS)
    )
    return (
        f".page{{fill:{page}}}text{{fill:{muted}}}.title{{fill:{text}}}.grid{{stroke:{grid}}}.axis{{stroke:{axis}}}"
        f".even{{fill:{even}}}.odd{{fill:{odd}}}.limit{{stroke:{LIMIT[shade]}}}.limit-name{{fill:{LIMIT[shade]}}}{lines}"
    )


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at most ``low`` to at least ``high``."""
    low, high = _apart(low, high)
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _apart(low: float, high: float) -> tuple[float, float]:
    """A scale needs two ends."""
    return (low, high) if high > low else (low, low + 1)


def _number(value: float) -> str:
    return f"{value:,.10g}".replace("-", "\N{MINUS SIGN}")


def _wrapped(text: str, width: float) -> list[str]:
    """Lines of at most ``width`` pixels where words allow it, of about the same length."""
    most = max(1, int(width / (TEXT * CHARACTER)))
    lines = _filled(text, most)
    # As narrow as it can be without another line: no word is left alone on the last one.
    narrowest = next(each for each in range(1, most + 1) if len(_filled(text, each)) == len(lines))
    return _filled(text, narrowest)


def _filled(text: str, most: int) -> list[str]:
    """Lines of at most so many characters, each as full as can be; only a longer word makes a longer line."""
    lines: list[str] = []
    # At blanks alone: what a no-break space joins stays together.
    for word in filter(None, text.split(" ")):
        if lines and len(lines[-1]) + 1 + len(word) <= most:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
