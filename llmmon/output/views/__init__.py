"""What is shown of a report, whatever the format: its JSON, its rows, its tables. One file a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Column(msgspec.Struct, frozen=True):
    """A table's column. Those of the highest `rank` go first where the terminal is narrow; 0 always stays."""

    title: str
    right: bool = True
    rank: int = 0


class Table(msgspec.Struct, frozen=True):
    """A titled table of ready texts; `note` stands below it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class View(msgspec.Struct, frozen=True):
    """A report ready for every renderer: `data` for JSON, `rows` for jsonl and csv, the rest for people.

    `headline` are label and text pairs; `lines` stand one below the other, `notes` apart.

    `more` is how many rows a limit left out, by what they are.
    """

    data: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    headline: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    more: Mapping[str, int] = {}

    def limited(self, limit: int, *keys: str) -> View:
        """The same with at most `limit` rows (0: all), and as many items of these lists of its data.

        `more_KEY` of the data, and `more`, say how many were left out.
        """
        more = {key: max(0, len(self.data[key]) - limit) if limit else 0 for key in keys}
        cut = {key: self.data[key][: limit or None] for key in keys}
        data = {**self.data, **cut, **{f"more_{key}": left for key, left in more.items()}}
        return msgspec.structs.replace(self, data=data, rows=self.rows[: limit or None], more=more)
