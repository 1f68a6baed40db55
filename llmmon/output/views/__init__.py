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
    """

    data: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    headline: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
