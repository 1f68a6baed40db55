"""What a page of charts shows, whoever draws it: figures, charts, sortable tables, in sections."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

Write = Callable[[float | None], str]
Values = tuple[float | None, ...]


class Drawn(StrEnum):
    """How a chart's rows of values are drawn."""

    LINES = "lines"
    BARS = "bars"  # one on top of the other


class Figure(msgspec.Struct, frozen=True):
    """A headline figure; `change` since before (`was` what to what) and its `verdict`, where known."""

    label: str
    text: str
    change: str = ""
    was: str = ""
    verdict: str = ""
    note: str = ""


class Layer(msgspec.Struct, frozen=True):
    """One named row of values of a chart, one a place; `series` is its colour, the same in all charts."""

    name: str
    values: Values
    series: int | None = None


class Band(msgspec.Struct, frozen=True):
    """A shaded stretch, in shares of the width: the incidents with these numbers.

    `partial` ones concern only a part of the calls that the chart shows together.
    """

    start: float
    end: float
    numbers: tuple[int, ...]
    grave: bool
    partial: bool = False


class Tick(msgspec.Struct, frozen=True):
    """A labelled place on an axis, as a share of its length; `minor` ones may go where it is narrow."""

    place: float
    label: str
    minor: bool = False


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Layers of values over equal places from left to right; `places` names each of them.

    `low` and `high` are the ends of the axis of values, `marks` are labelled vertical lines. `calls` is how many calls
    the values rest on; places in `hatched` rest on few, or are not over. `view` is that of the section it belongs to.
    """

    key: str
    title: str
    drawn: Drawn
    layers: tuple[Layer, ...]
    places: tuple[str, ...]
    place_title: str
    write: Write
    low: float
    high: float
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    bands: tuple[Band, ...] = ()
    marks: tuple[Tick, ...] = ()
    note: str = ""
    summary: str = ""
    calls: Values = ()
    hatched: frozenset[int] = frozenset()
    view: str = ""


class Cell(msgspec.Struct, frozen=True):
    """A table's cell: its text, what it is sorted by (None: missing), a link within the page, a share drawn as bar."""

    text: str
    value: float | str | None = None
    share: float | None = None
    grave: bool = False


class Head(msgspec.Struct, frozen=True):
    """A column of a sortable table; numbers stand right and sort largest first."""

    title: str
    number: bool = True
    wide: bool = False  # long texts, which may wrap
    explained: str = ""


class Grid(msgspec.Struct, frozen=True):
    """A sortable table; `sorted_by` is the column whose order it has now (largest first), -1 for none."""

    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sorted_by: int = -1
    note: str = ""


class Section(msgspec.Struct, frozen=True):
    """A titled part of the page: words, charts, tables, and preformatted text.

    `views` are the key and name of each way in which its charts are shown, one at a time. `stories` come first.
    """

    key: str
    title: str
    words: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    grids: tuple[Grid, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    code: str = ""
    views: tuple[tuple[str, str], ...] = ()
    stories: tuple[Story, ...] = ()


class Story(msgspec.Struct, frozen=True):
    """An incident as a card; `course` is its metric around it, `start` and `end` its place there, in shares.

    `place` is its place in the charts over time, `view` the way in which they show its calls apart; `span` names the
    ends of the course.
    """

    number: str
    severity: str
    grave: bool
    headline: str
    figures: str
    facts: tuple[str, ...]
    also: str
    failure: str
    examples: tuple[str, ...]
    command: str
    course: Values
    start: float
    end: float
    usual: float | None = None
    usual_text: str = ""
    place: Band | None = None
    view: str = ""
    span: tuple[str, str] = ("", "")


class PageView(msgspec.Struct, frozen=True):
    """The whole page; `as_of` says when a live one was made."""

    title: str
    subtitle: str
    figures: tuple[Figure, ...]
    compared: str
    sections: tuple[Section, ...]
    footer: str
    strip: tuple[Band, ...] = ()
    strip_ticks: tuple[Tick, ...] = ()
    as_of: str = ""
