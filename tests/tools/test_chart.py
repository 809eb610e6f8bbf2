"""The charts that tools draw: well-formed, complete in themselves, true to their numbers, readable."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.chart import CHARACTER, COLOURS, HEIGHT, LIMIT, TEXT, WIDTH, Limit, Line, Span, _ticks, _wrapped, chart

SVG = "{http://www.w3.org/2000/svg}"
POINTS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e9, 1e9)), min_size=1, max_size=30)


def parts(svg: str, kind: str) -> list[ET.Element]:
    return [each for each in ET.fromstring(svg).iter() if kind in each.get("class", "").split()]


def corners(path: str) -> list[tuple[float, float]]:
    """The corners of a path of M, L, H, V."""
    found: list[tuple[float, float]] = []
    for letter, words in re.findall(r"([MLHVZ])([-\d. ]*)", path):
        numbers = [float(word) for word in words.split()]
        match letter:
            case "M" | "L":
                found.append((numbers[0], numbers[1]))
            case "H":
                found.append((numbers[0], found[-1][1]))
            case "V":
                found.append((found[-1][0], numbers[0]))
    return found


@given(POINTS, POINTS, st.floats(-1e9, 1e9), st.booleans(), st.booleans())
def test_everything_lies_on_the_picture(
    one: list[tuple[float, float]], other: list[tuple[float, float]], limit: float, steps: bool, fill: bool
) -> None:
    series = [Line("one", sorted(one), steps, fill), Line("other", sorted(other), base=sorted(one), fill=fill)]
    svg = chart("t", "x", "y", series, [Limit("most", limit)])
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        for x, y in corners(path.get("d", "")):
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert len(parts(svg, "fill")) == (2 if fill else 0)


def test_a_value_lies_where_the_axis_says() -> None:
    svg = chart("t", "seconds", "kW", [Line("power", [(0, 20), (10, 40), (20, 0)])], [Limit("limit", 40)])
    ticks = {text.text: float(text.get("y", "")) - 4 for text in parts(svg, "number")}
    (line,) = [each for each in parts(svg, "c0") if each.tag == f"{SVG}path"]
    drawn = corners(line.get("d", ""))
    assert drawn[0][1] == pytest.approx(ticks["20"], abs=0.1)
    assert drawn[2][1] == pytest.approx(ticks["0"], abs=0.1)
    (limit,) = parts(svg, "limit")
    assert float(limit.get("y1", "")) == drawn[1][1] == float(limit.get("y2", ""))
    numbers = {text.text: float(text.get("x", "")) for text in parts(svg, "middle") if text.get("x")}
    assert drawn[1][0] == pytest.approx(numbers["10"], abs=0.1)


def test_a_step_holds_until_the_next_value() -> None:
    svg = chart("t", "x", "y", [Line("power", [(0, 10), (5, 20), (10, 20)], steps=True)])
    (line,) = [each for each in parts(svg, "c0") if each.tag == f"{SVG}path"]
    (a, low), (b, still_low), (b_again, high), (_, still_high) = corners(line.get("d", ""))
    assert low == still_low > high == still_high
    assert a < b == b_again
    assert "L" not in line.get("d", "")


def test_a_stacked_shade_ends_at_its_base() -> None:
    under, over = [(0.0, 10.0), (10.0, 10.0)], [(0.0, 30.0), (10.0, 30.0)]
    svg = chart("t", "x", "y", [Line("all", over, fill=True, base=under), Line("part", under, fill=True)])
    shades = {each.get("class"): {y for _, y in corners(each.get("d", ""))} for each in parts(svg, "fill")}
    lines = {each.get("class"): corners(each.get("d", ""))[0][1] for each in parts(svg, "line") if each.get("d")}
    assert shades["fill f0"] == {lines["line c0"], lines["line c1"]}
    assert lines["line c1"] in shades["fill f1"]
    assert lines["line c0"] not in shades["fill f1"]


def test_neighbouring_spans_are_shaded_in_turn_and_named_above_the_plot() -> None:
    spans = [Span("one", 0, 4), Span("a name that needs several lines", 4, 6), Span("three", 6, 10)]
    svg = chart("t", "x", "y", [Line("power", [(0, 1), (10, 1)])], spans=spans)
    shades = [*parts(svg, "even"), *parts(svg, "odd")]
    assert [len(parts(svg, kind)) for kind in ("even", "odd")] == [2, 1]
    assert sum(float(shade.get("width", "")) for shade in shades) == pytest.approx(WIDTH - 68 - 24, abs=0.2)
    words = [text.text or "" for text in parts(svg, "span")]
    assert " ".join(words) == "one a name that needs several lines three"
    top = float(shades[0].get("y", ""))
    # Above the plot, below the legend.
    assert all(52 < float(text.get("y", "")) < top for text in parts(svg, "span"))


def test_names_are_text_and_nothing_else() -> None:
    svg = chart("<script>a & b</script>", 'x"', "<y>", [Line("<l>", [(0, 0)])], [Limit("<m>", 1)], [Span("<s>", 0, 1)])
    root = ET.fromstring(svg)
    assert "<script" not in svg
    texts = {each.text for each in root.iter(f"{SVG}text")}
    assert {"<script>a & b</script>", 'x"', "<y>", "<l>", "<m>", "<s>"} <= texts
    # Complete in itself: no address but the one that names the format.
    assert re.findall(r"https?:[^\"]*|href|@import|url\(", svg) == ["http://www.w3.org/2000/svg"]


def test_who_cannot_see_it_is_told() -> None:
    root = ET.fromstring(chart("power", "x", "y", [Line("a", [(0, 0)])], description="It rises."))
    named = {each.get("id"): each.text for each in root}
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "title description")
    assert (named["title"], named["description"]) == ("power", "It rises.")


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a point"):
        chart("t", "x", "y", [Line("none", [])])
    with pytest.raises(ValueError, match="5 lines"):
        chart("t", "x", "y", [Line(str(number), [(0, 0)]) for number in range(6)])


@given(st.floats(-1e5, 1e5), st.floats(0.1, 1e9), st.integers(1, 20))
def test_ticks_are_round_even_and_not_too_many(low: float, length: float, wanted: int) -> None:
    high = low + length
    ticks = _ticks(low, high, wanted)
    slack = 1e-6 * max(abs(low), abs(high), 1e-3)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= wanted + 2
    step = ticks[1] - ticks[0]
    assert all(math.isclose(ticks[i + 1] - ticks[i], step, rel_tol=1e-4) for i in range(len(ticks) - 1))
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert any(math.isclose(mantissa, each, rel_tol=1e-3) for each in (1, 2, 5, 10))


def test_no_word_is_left_alone() -> None:
    lines = _wrapped("when that is sure, east gets the rest", 33 * TEXT * CHARACTER)
    assert lines == ["when that is sure,", "east gets the rest"]
    assert _wrapped("then 6\N{NO-BREAK SPACE}A", 4 * TEXT * CHARACTER) == ["then", "6\N{NO-BREAK SPACE}A"]


@given(st.text(alphabet="ab ", max_size=60), st.floats(1, 500))
def test_wrapped_text_keeps_its_words_and_its_width(text: str, width: float) -> None:
    lines = _wrapped(text, width)
    assert " ".join(lines).split() == text.split()
    assert all(len(line) * TEXT * CHARACTER <= width or " " not in line for line in lines)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours like #1f2937."""

    def luminance(colour: str) -> float:
        shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("shade", "pages"), [(0, ("#ffffff", "#e6eaf0")), (1, ("#0d1117", "#1f2730"))])
def test_lines_stand_out_from_every_background(shade: int, pages: tuple[str, str]) -> None:
    svg = chart("t", "x", "y", [Line("a", [(0, 0)])])
    for page in pages:
        assert f"fill:{page}" in svg
        for pair in (*COLOURS, LIMIT):
            assert contrast(pair[shade], page) >= 3, (pair[shade], page)
