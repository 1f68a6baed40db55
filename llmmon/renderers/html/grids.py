"""Sortable tables: each head is a button; what a row is sorted by stands in its cells."""

from __future__ import annotations

from typing import Final

from llmmon.renderers.html.markup import Html, el, joined
from llmmon.views.page import Cell, Grid, Head

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
