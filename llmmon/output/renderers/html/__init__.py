"""A page of charts as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape
from typing import Final

from llmmon.output.views.page import Band, Cell, Chart, Drawn, Figure, Grid, Head, Layer, PageView, Section, Story
from llmmon.text.figures import plain

_EMPTY: Final = {"meta", "line", "rect", "path"}
_MIXED: Final = {"viewbox": "viewBox", "preserveaspectratio": "preserveAspectRatio"}
_SELF_CLOSED: Final = {"line", "rect", "path"}


class Html(str):
    """Text that is markup; any other text is escaped."""

    __slots__ = ()


def el(name: str, *inside: str, **attributes: str) -> Html:
    """An element; `class_` is the attribute class, `aria_label` aria-label."""
    written = "".join(f' {_attribute(key)}="{_safe(value)}"' for key, value in attributes.items())
    if name in _EMPTY:
        return Html(f"<{name}{written}{'/' if name in _SELF_CLOSED else ''}>")
    return Html(f"<{name}{written}>{joined(*inside)}</{name}>")


def joined(*parts: str) -> Html:
    """The parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else _safe(part) for part in parts))


def _attribute(key: str) -> str:
    return _MIXED.get(key) or key.rstrip("_").replace("_", "-")


def _safe(text: str) -> str:
    return escape(plain(text), quote=True)


_MANY: Final = 25  # rows, which scroll in a table of their own
_FEW: Final = 6  # columns, which need not fill the width


def grid(one: Grid) -> Html:
    """A titled table that scrolls within itself where it is wider than the page."""
    heads = [_head(head, i == one.sorted_by) for i, head in enumerate(one.heads)]
    rows = [
        el("tr", *(_cell(cell, head, first=not i) for i, (cell, head) in enumerate(zip(row, one.heads, strict=True))))
        for row in one.rows
    ]
    table = el("table", el("caption", one.title), el("thead", el("tr", *heads)), el("tbody", *rows), class_="sortable")
    note = el("p", one.note, class_="note") if one.note else Html()
    return el(
        "div",
        el("h3", one.title),
        el("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"{one.title}, table"),
        note,
        class_=f"grid{' narrow' * (len(one.heads) < _FEW)}{' long' * (len(rows) > _MANY)}",
    )


def _head(head: Head, sorted_now: bool) -> Html:
    explained = {"title": head.explained} if head.explained else {}
    button = el("button", head.title, el("span", class_="arrow", aria_hidden="true"), type="button", **explained)
    order = {"aria_sort": "descending"} if sorted_now else {}
    return el("th", button, scope="col", class_=_style(head) or "t", **order)


def _style(head: Head) -> str:
    return "n" if head.number else "wide" if head.wide else ""


def _cell(cell: Cell, head: Head, *, first: bool) -> Html:
    value = {} if cell.value is None else {"data_v": str(cell.value)}
    style = " ".join(part for part in (_style(head), "grave" if cell.grave else "") if part)
    more = {"class_": style} if style else {}
    text = cell.text if cell.share is None else joined(cell.text, _bar(cell.share))
    return (
        el("th", text, scope="row", **value, **more) if first and not head.number else el("td", text, **value, **more)
    )


def _bar(share: float) -> Html:
    """A share as a small bar behind its figure."""
    part = el("rect", width=f"{min(max(share, 0.0), 1.0) * 100:.1f}%", height="6", rx="1", class_="share")
    return el("svg", part, class_="sharebar", aria_hidden="true")


_WIDE: Final = 1000.0  # of the stretched drawing
_HIGH: Final = 150.0  # of the plot, pixels
_NEAR: Final = 0.1  # of the width: labels nearer than this make way
_GAP: Final = 0.14  # of a bar's place


def chart(one: Chart) -> Html:
    """A figure: title and legend, plot, table of its values."""
    title = el("div", el("h3", one.title), el("span", one.note, class_="note"), class_="charthead")
    legend = el("ul", *map(_key, range(len(one.layers)), one.layers), class_="legend") if _needs_legend(one) else Html()
    plot = el("div", _up(one), _plot(one), class_="plotrow")
    return el("figure", title, legend, plot, _table(one), class_=f"chart {one.drawn.value}", id=f"chart-{one.key}")


def _needs_legend(one: Chart) -> bool:
    return len(one.layers) > 1


def _key(number: int, layer: Layer) -> Html:
    return el("li", el("span", class_=f"swatch s{number}"), layer.name)


def _up(one: Chart) -> Html:
    labels = [el("text", t.label, x="100%", y=_n(_HIGH * (1 - t.place) + 4), text_anchor="end") for t in one.up]
    return el("svg", *labels, class_="up", aria_hidden="true")


def _plot(one: Chart) -> Html:
    grid = [_line("0", "100%", _HIGH * (1 - t.place), "zero" if t.place == 0 else "rule") for t in one.up]
    drawing = el(
        "svg",
        *_shapes(one),
        x="0",
        y="0",
        width="100%",
        height=_n(_HIGH),
        viewbox=f"0 0 {_n(_WIDE)} {_n(_HIGH)}",
        preserveaspectratio="none",
    )
    return el(
        "div",
        el("svg", *map(_band, one.bands), *grid, drawing, *_marks(one), *_across(one), _cursor(), class_="plot"),
        class_="stage",
        tabindex="0",
        role="group",
        aria_label=f"{one.summary} Arrow keys read the values.",
    )


def _cursor() -> Html:
    return el("line", class_="cursor", x1="0", x2="0", y1="0", y2=_n(_HIGH))


def _line(x1: str, x2: str, y: float, style: str) -> Html:
    return el("line", x1=x1, x2=x2, y1=_n(y), y2=_n(y), class_=style)


def _across(one: Chart) -> list[Html]:
    found = []
    for tick in one.across:
        at, style = _percent(tick.place), "minor" if tick.minor else "major"
        anchor = "start" if tick.place < 0.03 else "end" if tick.place > 0.97 else "middle"
        found.append(el("line", x1=at, x2=at, y1=_n(_HIGH), y2=_n(_HIGH + 4), class_="tick"))
        found.append(el("text", tick.label, x=at, y=_n(_HIGH + 18), text_anchor=anchor, class_=style))
    return found


def _marks(one: Chart) -> list[Html]:
    found = []
    for number, tick in enumerate(one.marks):
        at = _percent(tick.place)
        left = number > 0 and tick.place - one.marks[number - 1].place < _NEAR
        height = "-14" if left and number % 2 else "-3"
        found.append(el("line", x1=at, x2=at, y1="0", y2=_n(_HIGH), class_="mark"))
        found.append(el("text", tick.label, x=at, y=height, text_anchor="middle", class_="marklabel"))
    return found


def _band(band: Band) -> Html:
    width = max(band.end - band.start, 0.004)
    style = "band grave" if band.grave else "band"
    middle = min(max(band.start + width / 2, 0.01), 0.99)
    return joined(
        el("rect", x=_percent(band.start), y="0", width=_percent(width), height=_n(_HIGH), class_=style),
        el("text", band.label, x=_percent(middle), y="-3", text_anchor="middle", class_=f"{style} label"),
    )


def _shapes(one: Chart) -> list[Html]:
    if one.drawn is Drawn.LINES:
        return [shape for number, layer in enumerate(one.layers) for shape in _line_of(one, layer, number)]
    below = [0.0] * len(one.places)
    shapes = []
    for number, layer in enumerate(one.layers):
        shapes.append(el("path", d=_bars(layer.values, below, one.high), class_=f"bar s{number}"))
        below = [low + (value or 0.0) for low, value in zip(below, layer.values, strict=True)]
    return shapes


def _bars(values: Sequence[float | None], below: Sequence[float], high: float) -> str:
    wide = _WIDE / len(values)
    parts = []
    for i, (value, low) in enumerate(zip(values, below, strict=True)):
        if value:
            left, top, height = (i + _GAP / 2) * wide, _HIGH * (1 - (low + value) / high), _HIGH * value / high
            parts.append(f"M{_n(left)} {_n(top)}h{_n(wide * (1 - _GAP))}v{_n(height)}h-{_n(wide * (1 - _GAP))}z")
    return "".join(parts)


def _line_of(one: Chart, layer: Layer, number: int) -> list[Html]:
    """A line through the middle of each place, broken where a value is missing; a value alone is a dot."""
    wide = _WIDE / len(layer.values)
    line, dots = [], []
    for i, value in enumerate(layer.values):
        if value is None:
            continue
        point = f"{_n((i + 0.5) * wide)} {_n(_HIGH * (1 - (value - one.low) / (one.high - one.low)))}"
        joins = i > 0 and layer.values[i - 1] is not None
        line.append(f"L{point}" if joins else f"M{point}")
        if not joins and (i + 1 == len(layer.values) or layer.values[i + 1] is None):
            dots.append(f"M{line.pop()[1:]}h0.01")
    drawn = ((line, "line"), (dots, "line dot"))
    return [el("path", d="".join(parts), class_=f"{style} s{number}") for parts, style in drawn if parts]


def _table(one: Chart) -> Html:
    heads = [el("th", one.place_title, scope="col"), *(el("th", layer.name, scope="col") for layer in one.layers)]
    rows = [
        el("tr", el("th", place, scope="row"), *(el("td", one.write(layer.values[i])) for layer in one.layers))
        for i, place in enumerate(one.places)
    ]
    table = el("table", el("caption", one.summary), el("thead", el("tr", *heads)), el("tbody", *rows), class_="values")
    scroll = el("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"{one.title}, values")
    return el("details", el("summary", "Values"), scroll)


def _percent(share: float) -> str:
    return f"{_n(share * 100)}%"


def _n(number: float) -> str:
    """A number with at most two decimals, as short as can be."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def render(page: PageView, style: str, script: str) -> str:
    """The page; the browser runs this script and style and no other, and loads nothing."""
    head = joined(
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name_="color-scheme", content="light dark"),
        el("meta", name_="referrer", content="no-referrer"),
        el("title", f"{page.title}: {page.subtitle}"),
        el("style", Html(style)),
    )
    body = joined(
        el("a", "Skip to the figures", href="#figures", class_="skip"),
        el("header", el("h1", page.title), el("p", page.subtitle, class_="lead"), _contents(page)),
        el("main", *_strip(page), _figures(page), *_stories(page), *(_section(section) for section in page.sections)),
        el("footer", page.footer),
        el("div", class_="tip", hidden="", aria_hidden="true"),
        el("p", class_="status", role="status", aria_live="polite"),
        el("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{el('html', el('head', head), el('body', body), lang='en')}\n"


def _policy(style: str, script: str) -> str:
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


_STRIP_HIGH: Final = 20.0  # pixels
_SPARK_HIGH: Final = 44.0


def _strip(page: PageView) -> Iterator[Html]:
    """The whole time in one line, with its incidents."""
    if not page.strip:
        return
    blocks = [
        el(
            "rect",
            x=_percent(band.start),
            y="0",
            width=_percent(max(band.end - band.start, 0.002)),
            height=_n(_STRIP_HIGH),
            class_="block grave" if band.grave else "block",
        )
        for band in page.strip
    ]
    ground = el("rect", x="0", y="0", width="100%", height=_n(_STRIP_HIGH), class_="ground")
    labels = [
        el("text", t.label, x=_percent(t.place), y=_n(_STRIP_HIGH + 14), class_="minor" if t.minor else "major")
        for t in page.strip_ticks
    ]
    drawn = el("svg", ground, *blocks, *labels, class_="strip", role="img", aria_label="Incidents over the whole time")
    yield drawn


def _stories(page: PageView) -> Iterator[Html]:
    """A card an incident, under a heading for those who do not see them."""
    if page.stories:
        yield el("ol", *map(_story, page.stories), class_="stories", aria_label="Latest incidents")


def _story(one: Story) -> Html:
    severity = el("span", one.severity, class_="severity grave" if one.grave else "severity")
    facts = joined(el("b", one.figures), " · ", " · ".join(one.facts)) if one.figures else " · ".join(one.facts)
    lines = [el("h3", f"{one.number}. {one.headline}"), el("p", facts)]
    if one.also:
        lines.append(el("p", f"also {one.also}", class_="small"))
    if one.examples:
        lines.append(el("p", "e.g. ", el("code", " · ".join(one.examples)), class_="small"))
    lines.append(el("p", el("code", one.command), class_="small"))
    return el("li", severity, el("div", *lines), _spark(one))


def _spark(one: Story) -> Html:
    known = [value for value in one.course if value is not None]
    if not known:
        return Html()
    high = max(*known, one.usual or 0.0, 1e-12)
    values = tuple(None if value is None else value / high for value in one.course)
    wide, parts, before = _WIDE / len(values), [], False
    for i, value in enumerate(values):
        if value is not None:
            parts.append(f"{'L' if before else 'M'}{_n((i + 0.5) * wide)} {_n(_SPARK_HIGH * (1 - 0.95 * value))}")
        before = value is not None
    band = el(
        "rect",
        x=_n(one.start * _WIDE),
        y="0",
        width=_n(max(one.end - one.start, 0.01) * _WIDE),
        height=_n(_SPARK_HIGH),
        class_="band grave" if one.grave else "band",
    )
    level = _n(_SPARK_HIGH * (1 - 0.95 * (one.usual or 0.0) / high))
    usual = el("line", x1="0", x2=_n(_WIDE), y1=level, y2=level, class_="usual") if one.usual is not None else Html()
    line = el("path", d="".join(parts), class_="line s0")
    return el(
        "svg",
        *(band, usual, line),
        viewbox=f"0 0 {_n(_WIDE)} {_n(_SPARK_HIGH)}",
        preserveaspectratio="none",
        class_="spark",
        aria_hidden="true",
    )


def _contents(page: PageView) -> Html:
    links = [el("a", section.title, href=f"#{section.key}") for section in page.sections]
    return el("nav", *links, aria_label="Sections")


def _figures(page: PageView) -> Html:
    cards = el("dl", *map(_card, page.figures), class_="cards")
    return el(
        "section", el("h2", "Figures", class_="quiet"), cards, el("p", page.compared, class_="note"), id="figures"
    )


def _card(figure: Figure) -> Html:
    parts = [el("dt", figure.label), el("dd", figure.text, class_="figure")]
    if figure.note:
        parts.append(el("dd", figure.note, class_="small"))
    if figure.change:
        change = joined(el("span", figure.change, class_="move"), " ", el("span", figure.was, class_="from"))
        change = joined(change, el("span", f" ({figure.verdict})", class_="quiet")) if figure.verdict else change
        parts.append(el("dd", change, class_=f"small change {figure.verdict}".strip()))
    return el("div", *parts)


def _section(section: Section) -> Html:
    return el("section", el("h2", section.title), *_contents_of(section), id=section.key)


def _contents_of(section: Section) -> Iterator[Html]:
    for words in section.words:
        yield el("p", words)
    if section.code:
        yield el("pre", el("code", section.code), tabindex="0", aria_label="command")
    if section.charts:
        yield el("div", *map(chart, section.charts), class_="charts")
    for one in section.grids:
        yield grid(one)
    if section.pairs:
        yield el("dl", *(joined(el("dt", term), el("dd", text)) for term, text in section.pairs), class_="pairs")
