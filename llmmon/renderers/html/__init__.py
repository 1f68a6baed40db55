"""A page of charts as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256

from llmmon.renderers.html.charts import chart
from llmmon.renderers.html.grids import grid
from llmmon.renderers.html.markup import Html, el, joined
from llmmon.views.page import Figure, PageView, Section


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
        el("main", _figures(page), *(_section(section) for section in page.sections)),
        el("footer", page.footer),
        el("div", class_="tip", hidden="", aria_hidden="true"),
        el("p", class_="told", role="status", aria_live="polite"),
        el("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{el('html', el('head', head), el('body', body), lang='en')}\n"


def _policy(style: str, script: str) -> str:
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
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
