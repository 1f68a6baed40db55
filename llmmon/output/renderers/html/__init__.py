"""A page of charts as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from llmmon.output.renderers.html.charts import HATCHES, THINNEST, WIDE, chart, px, share_text
from llmmon.output.renderers.html.markup import Html, el, joined
from llmmon.output.views.page import Cell, Figure, Grid, Head, PageView, Section, Story
from llmmon.text.figures import aligned

_MANY: Final = 25  # rows, which scroll in a table of their own
_BRIEF: Final = 24  # characters of a name that stays on one line
_FEW: Final = 6  # columns, which need not fill the width


def grid(one: Grid) -> Html:
    """A titled table that scrolls within itself where it is wider than the page."""
    heads = [_head(head, i == one.sorted_by) for i, head in enumerate(one.heads)]
    columns = [aligned([cell.text for cell in column]) for column in zip(*one.rows, strict=True)]
    texts = list(zip(*columns, strict=True))
    rows = [
        el("tr", *(_cell(*parts, first=not i) for i, parts in enumerate(zip(row, shown, one.heads, strict=True))))
        for row, shown in zip(one.rows, texts, strict=True)
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


def _cell(cell: Cell, shown: str, head: Head, *, first: bool) -> Html:
    value = {} if cell.value is None else {"data_v": str(cell.value)}
    brief = ("brief" if len(shown) <= _BRIEF else "long") if first and not head.number else ""
    style = " ".join(part for part in (_style(head), "grave" if cell.grave else "", brief) if part)
    more = {"class_": style} if style else {}
    text = shown if cell.share is None else joined(shown, _bar(cell.share))
    return (
        el("th", text, scope="row", **value, **more) if first and not head.number else el("td", text, **value, **more)
    )


def _bar(share: float) -> Html:
    """A share as a small bar behind its figure."""
    part = el("rect", width=f"{min(max(share, 0.0), 1.0) * 100:.1f}%", height="6", rx="1", class_="share")
    return el("svg", part, class_="sharebar", aria_hidden="true")


def render(page: PageView, style: str, script: str, live_s: int = 0) -> str:
    """The page; the browser runs this script and style and no other, and loads nothing.

    A live one asks the address that it came from for what is new, every `live_s` seconds, and shows it in place.
    """
    again = el("noscript", el("meta", http_equiv="refresh", content=str(live_s))) if live_s else Html()
    head = joined(
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_policy(style, script, live=bool(live_s))),
        el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name_="color-scheme", content="light dark"),
        el("meta", name_="referrer", content="no-referrer"),
        again,
        el("title", f"{page.title}: {page.subtitle}"),
        el("style", Html(style)),
    )
    stamp = el("p", page.as_of, class_="asof") if page.as_of else Html()
    body = joined(
        el("a", "Skip to the figures", href="#figures", class_="skip"),
        el("header", el("h1", page.title), el("p", page.subtitle, class_="lead"), stamp, _contents(page)),
        el("main", *_strip(page), _figures(page), *(_section(section) for section in page.sections)),
        el("footer", page.footer),
        el("div", class_="tip", hidden="", aria_hidden="true"),
        el("p", class_="status", role="status", aria_live="polite"),
        HATCHES,
        el("script", Html(script)),
    )
    live = {"data_live": str(live_s)} if live_s else {}
    return f"<!DOCTYPE html>\n{el('html', el('head', head), el('body', body, **live), lang='en')}\n"


def _policy(style: str, script: str, *, live: bool) -> str:
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    connect = "connect-src 'self'; " * live
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; {connect}"
        "base-uri 'none'; form-action 'none'"
    )


_STRIP_HIGH: Final = 20.0  # pixels
_SPARK_HIGH: Final = 44.0


def _strip(page: PageView) -> Iterator[Html]:
    """The whole time in one line, with its incidents."""
    if not page.strip_ticks and not page.strip:
        return
    blocks = [
        el(
            "rect",
            x=share_text(band.start),
            y="0",
            width=share_text(max(band.end - band.start, 0.002)),
            height=px(_STRIP_HIGH),
            class_="block grave" if band.grave else "block",
            data_n=str(band.numbers[0]),
        )
        for band in page.strip
    ]
    ground = el("rect", x="0", y="0", width="100%", height=px(_STRIP_HIGH), class_="ground")
    picked = el("rect", x="0", y="0", width="0", height=px(_STRIP_HIGH), class_="picked")
    labels = [
        el(
            "text",
            t.label,
            x=share_text(t.place),
            y=px(_STRIP_HIGH + 15),
            class_="minor" if t.minor else "major",
            text_anchor="start" if t.place < 0.03 else "middle",
        )
        for t in page.strip_ticks
    ]
    label = "The whole time with its incidents" if page.strip else "The whole time, without an incident"
    yield el("svg", ground, *blocks, picked, *labels, class_="strip", role="img", aria_label=label)


def _stories(section: Section) -> Iterator[Html]:
    """A card an incident."""
    if section.stories:
        yield el("ol", *map(_story, section.stories), class_="stories")


def _story(one: Story) -> Html:
    severity = el("span", one.severity, class_="severity grave" if one.grave else "severity")
    facts = joined(el("b", one.figures), " · ", " · ".join(one.facts)) if one.figures else " · ".join(one.facts)
    lines = [el("h3", f"{one.number}. {one.headline}"), el("p", facts)]
    if one.also:
        lines.append(el("p", f"also {one.also}", class_="small"))
    if one.failure:
        lines.append(el("p", el("code", one.failure), class_="small"))
    copy = el("button", "copy", type="button", class_="copy", hidden="", aria_label=f"copy: {one.command}")
    show = el("button", "show in charts", type="button", class_="show", hidden="", aria_pressed="false")
    calls = Html()
    if one.examples:
        listed = el("ul", *(el("li", el("code", example)) for example in one.examples), class_="examples")
        calls = el("details", el("summary", "example calls"), listed)
    command = el("span", el("code", one.command))
    lines.append(el("div", command, copy, show, calls, class_="small command"))
    place = {}
    if one.place is not None:
        width = max(one.place.end - one.place.start, THINNEST)
        place = {"data_x": share_text(one.place.start), "data_width": share_text(width), "data_view": one.view}
    return el("li", severity, el("div", *lines), _spark(one), id=f"incident-{one.number}", data_n=one.number, **place)


def _spark(one: Story) -> Html:
    """The course of the incident's own metric around it, with its usual level and its ends."""
    known = [value for value in one.course if value is not None]
    if not known:
        return el("span")
    high, low = max(*known, one.usual or 0.0, 1e-12), min(known)
    low = 0.0 if low < high / 2 else low - (high - low) / 4  # what hardly moves would be a straight line

    def level(value: float) -> str:
        return px(_SPARK_HIGH * (1 - 0.95 * (value - low) / (high - low or 1.0)))

    wide, parts, joins = WIDE / len(one.course), [], False
    for i, value in enumerate(one.course):
        if value is not None:
            parts.append(f"{'L' if joins else 'M'}{px((i + 0.5) * wide)} {level(value)}")
        joins = value is not None
    ends = el("span", *(el("span", text) for text in one.span), class_="ends")
    drawn = el(
        "svg",
        _spark_band(one),
        *(
            [el("line", x1="0", x2=px(WIDE), y1=level(one.usual), y2=level(one.usual), class_="usual")]
            if one.usual is not None
            else []
        ),
        el("path", d="".join(parts), class_="line s0"),
        viewbox=f"0 0 {px(WIDE)} {px(_SPARK_HIGH)}",
        preserveaspectratio="none",
        class_="spark",
    )
    label = el("span", one.usual_text if one.usual is not None else "", class_="level")
    return el("div", label, drawn, ends, class_="course", aria_hidden="true")


def _spark_band(one: Story) -> Html:
    width = px(max(one.end - one.start, 0.01) * WIDE)
    style = "band grave" if one.grave else "band"
    return el("rect", x=px(one.start * WIDE), y="0", width=width, height=px(_SPARK_HIGH), class_=style)


def _contents(page: PageView) -> Html:
    if not page.sections:
        return Html()
    links = [el("a", section.title, href=f"#{section.key}") for section in page.sections]
    return el("nav", *links, aria_label="Sections")


def _figures(page: PageView) -> Html:
    if not page.figures:
        return el("section", el("p", page.compared), id="figures", class_="panel empty")
    row = el("dl", *map(_card, page.figures), class_="figures")
    note = el("p", page.compared, class_="note")
    return el("section", el("h2", "Figures", class_="quiet"), row, note, id="figures", class_="panel")


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
    yield from _stories(section)
    yield from _views(section)
    if section.code:
        yield el("pre", el("code", section.code), tabindex="0", aria_label="command")
    if section.charts:
        yield el("div", *map(chart, section.charts), class_="charts")
    for one in section.grids:
        yield grid(one)
    if section.pairs:
        yield el("dl", *(joined(el("dt", term), el("dd", text)) for term, text in section.pairs), class_="pairs")


def _views(section: Section) -> Iterator[Html]:
    """A choice of how the charts are shown, which works without a script."""
    if not section.views:
        return
    choices = []
    for at, (key, name) in enumerate(section.views):
        checked = {} if at else {"checked": ""}
        choices.append(el("input", type="radio", name_="view", id=f"view-{key}", value=key, **checked))
        choices.append(el("label", name, for_=f"view-{key}"))
    yield el("fieldset", el("legend", "Charts show", class_="quiet"), *choices, class_="views")
