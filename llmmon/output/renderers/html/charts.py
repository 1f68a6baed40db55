"""Charts as SVG that stretches with the page, each with a table of its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from llmmon.metrics.aggregation import OTHER
from llmmon.output.renderers.html.markup import Html, el, joined, row
from llmmon.output.views.page import Band, Chart, Drawn, Layer
from llmmon.text.figures import count

WIDE: Final = 1000.0  # of the stretched drawing
_HIGH: Final = 150.0  # of the plot, pixels
_NEAR: Final = 0.14  # of the width: labels nearer than this make way
_PLOTS: Final = (("wide", 380.0), ("slim", 220.0))  # the least width of a plot on wide and on narrow pages, pixels
_DIGIT: Final = 7.0  # pixels of a character
_GAP: Final = 0.14  # of a bar's place


def chart(one: Chart) -> Html:
    """A figure: title and legend, plot, table of its values."""
    title = el("div", el("h3", one.title), el("span", one.note, class_="note"), class_="charthead")
    several = len(one.layers) > 1
    keys = (
        el("li", el("span", class_=f"swatch {_series(n, layer)}"), layer.name) for n, layer in enumerate(one.layers)
    )
    legend = el("ul", *keys, class_="legend") if several else Html()
    plot = el("div", _up(one), _plot(one), class_="plotrow")
    style = f"chart {one.drawn.value}" + (f" view-{one.view}" if one.view else "")
    return el("figure", title, legend, plot, _table(one), class_=style, id=f"chart-{one.key}")


def _series(number: int, layer: Layer) -> str:
    """The style of a layer: that of what is left over recedes."""
    return "rest" if layer.name == OTHER else f"s{number if layer.series is None else layer.series}"


def _up(one: Chart) -> Html:
    labels = [el("text", t.label, x="100%", y=px(_HIGH * (1 - t.place) + 4), text_anchor="end") for t in one.up]
    return el("svg", *labels, class_="up", aria_hidden="true")


def _plot(one: Chart) -> Html:
    grid = [_line("0", "100%", _HIGH * (1 - t.place), "zero" if t.place == 0 else "rule") for t in one.up]
    drawing = el(
        "svg",
        *_shapes(one),
        x="0",
        y="0",
        width="100%",
        height=px(_HIGH),
        viewbox=f"0 0 {px(WIDE)} {px(_HIGH)}",
        preserveaspectratio="none",
    )
    return el(
        "div",
        el("svg", *_bands(one.bands), *grid, drawing, *_marks(one), *_across(one), _cursor(), class_="plot"),
        class_="stage",
        tabindex="0",
        role="group",
        aria_label=f"{one.summary} Arrow keys read the values.",
    )


def _cursor() -> Html:
    picked = el("rect", x="0", y="0", width="0", height=px(_HIGH), class_="picked")
    return joined(picked, el("line", class_="cursor", x1="0", x2="0", y1="0", y2=px(_HIGH)))


def _line(x1: str, x2: str, y: float, style: str) -> Html:
    return el("line", x1=x1, x2=x2, y1=px(y), y2=px(y), class_=style)


def _across(one: Chart) -> list[Html]:
    found = []
    for tick in one.across:
        at, style = share_text(tick.place), "minor" if tick.minor else "major"
        anchor = "start" if tick.place < 0.03 else "end" if tick.place > 0.97 else "middle"
        found.append(el("line", x1=at, x2=at, y1=px(_HIGH), y2=px(_HIGH + 4), class_="tick"))
        found.append(el("text", tick.label, x=at, y=px(_HIGH + 18), text_anchor=anchor, class_=style))
    return found


def _marks(one: Chart) -> list[Html]:
    found = []
    raised, before = False, -1.0
    for tick in one.marks:
        at = share_text(tick.place)
        raised, before = tick.place - before < _NEAR and not raised, tick.place
        height = "-15" if raised else "-3"
        found.append(el("line", x1=at, x2=at, y1="0", y2=px(_HIGH), class_="mark"))
        found.append(el("text", tick.label, x=at, y=height, text_anchor="middle", class_="marklabel"))
    return found


def _bands(bands: Sequence[Band]) -> Iterator[Html]:
    """The shaded stretches, and above them their numbers, apart from each other on wide and on narrow pages."""
    for band in bands:
        style = f"band{' grave' * band.grave}{' partial' * band.partial}"
        width = share_text(max(band.end - band.start, THINNEST))
        numbers = " ".join(map(str, band.numbers))
        place = {"x": share_text(band.start), "y": "0", "width": width, "height": px(_HIGH)}
        yield el("rect", class_=style, data_n=numbers, **place)
    for style, width_px in _PLOTS:
        for label in band_labels(bands, width_px):
            numbers = " ".join(map(str, label.numbers))
            place = {"x": share_text(label.at), "y": "-4", "text_anchor": label.anchor}
            yield el("text", label.text, class_=f"band label {style}{' grave' * label.grave}", data_n=numbers, **place)


THINNEST: Final = 0.004


class BandLabel(NamedTuple):
    """The numbers of the incidents of one or more bands, `at` a share of the width."""

    text: str
    at: float
    anchor: str
    numbers: tuple[int, ...]
    grave: bool


def band_labels(bands: Sequence[Band], width_px: float) -> list[BandLabel]:
    """The labels of bands; those that would touch on a plot of this width are joined."""
    joined_up: list[tuple[float, float, tuple[int, ...], bool]] = []  # start and end in pixels, numbers, grave
    for band in bands:
        joined_up.append((band.start * width_px, band.end * width_px, band.numbers, band.grave))
        while len(joined_up) > 1 and _left(joined_up[-1], width_px) < _left(joined_up[-2], width_px) + _wide(
            joined_up[-2][2]
        ):
            later, before = joined_up.pop(), joined_up.pop()
            numbers = tuple(sorted({*before[2], *later[2]}))
            joined_up.append((before[0], max(before[1], later[1]), numbers, before[3] or later[3]))
    return [_label(one, width_px) for one in joined_up]


def _wide(numbers: tuple[int, ...]) -> float:
    return (len(ranges(numbers)) + 1) * _DIGIT


def _left(one: tuple[float, float, tuple[int, ...], bool], width_px: float) -> float:
    wide = _wide(one[2])
    return min(max((one[0] + one[1] - wide) / 2, 0.0), max(0.0, width_px - wide))


def _label(one: tuple[float, float, tuple[int, ...], bool], width_px: float) -> BandLabel:
    left, wide = _left(one, width_px), _wide(one[2])
    text = ranges(one[2])
    if left <= 0:
        return BandLabel(text, 0.0, "start", one[2], one[3])
    if left >= width_px - wide:
        return BandLabel(text, 1.0, "end", one[2], one[3])
    return BandLabel(text, (one[0] + one[1]) / 2 / width_px, "middle", one[2], one[3])


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in order as `1-4, 6`; of many stretches only the first and the last number."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    texts = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    return ", ".join(texts) if len(texts) <= _MOST_RANGES else f"{numbers[0]} … {numbers[-1]}"


_MOST_RANGES: Final = 3


def _shapes(one: Chart) -> list[Html]:
    if one.drawn is Drawn.LINES:
        return [shape for number, layer in enumerate(one.layers) for shape in _line_of(one, layer, number)]
    below = [0.0] * len(one.places)
    shapes = []
    for number, layer in enumerate(one.layers):
        shapes.append(el("path", d=_bars(layer.values, below, one.high), class_=f"bar {_series(number, layer)}"))
        below = [low + (value or 0.0) for low, value in zip(below, layer.values, strict=True)]
    if one.hatched:
        whole = [value if at in one.hatched else None for at, value in enumerate(below)]
        if any(whole):
            shapes.append(el("path", d=_bars(whole, [0.0] * len(whole), one.high), class_="hatched"))
    return shapes


def _bars(values: Sequence[float | None], below: Sequence[float], high: float) -> str:
    wide = WIDE / len(values)
    parts = []
    for i, (value, low) in enumerate(zip(values, below, strict=True)):
        if value:
            left, top, height = (i + _GAP / 2) * wide, _HIGH * (1 - (low + value) / high), _HIGH * value / high
            across = dot(wide * (1 - _GAP))
            parts.append(f"M{dot(left)} {dot(top)}h{across}v{dot(height)}h-{across}")
    return "".join(parts)


def _line_of(one: Chart, layer: Layer, number: int) -> list[Html]:
    """A line through the middle of each place, broken where a value is missing; a value alone is a dot."""
    wide = WIDE / len(layer.values)
    line, dots = [], []
    for i, value in enumerate(layer.values):
        if value is None:
            continue
        point = f"{dot((i + 0.5) * wide)} {dot(_HIGH * (1 - (value - one.low) / (one.high - one.low)))}"
        joins = i > 0 and layer.values[i - 1] is not None
        line.append(f"L{point}" if joins else f"M{point}")
        if not joins and (i + 1 == len(layer.values) or layer.values[i + 1] is None):
            dots.append(f"M{line.pop()[1:]}h0.01")
    drawn = ((line, "line"), (dots, "line dot"))
    return [el("path", d="".join(parts), class_=f"{style} {_series(number, layer)}") for parts, style in drawn if parts]


def _table(one: Chart) -> Html:
    calls = ("calls",) if one.calls else ()
    titles = (one.place_title, *(layer.name for layer in one.layers), *calls)
    rows = [
        row(
            place,
            *(one.write(layer.values[i]) for layer in one.layers),
            *(count(number) for number in one.calls[i : i + 1]),
        )
        for i, place in enumerate(one.places)
    ]
    head = el("tr", *(el("th", title, scope="col") for title in titles))
    table = el("table", el("caption", one.summary), el("thead", head), el("tbody", *rows), class_="values")
    scroll = el("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"{one.title}, values")
    return el("details", el("summary", "Values"), scroll)


def share_text(share: float) -> str:
    return f"{px(share * 100)}%"


def dot(number: float) -> str:
    """A number with at most one decimal, of a drawing of 1000 times 150; charts are a third of a page's bytes."""
    return f"{number:.1f}".removesuffix(".0")


def px(number: float) -> str:
    """A number with at most two decimals, as short as can be."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


HATCHES: Final = el(
    "svg",
    el(
        "defs",
        el(
            "pattern",
            el("path", d="M0 2h16", class_="hatch"),
            id="hatch",
            width="16",
            height="8",
            patternunits="userSpaceOnUse",
            patterntransform="skewY(-30)",
        ),
    ),
    class_="defs",
    aria_hidden="true",
)
