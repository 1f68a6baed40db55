"""Tables for a terminal, fitted to its width."""

from __future__ import annotations

import io
import mmap
import os
import struct
import textwrap
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from llmmon.output.renderers import Page, Rendered
from llmmon.output.views import Column, Table
from llmmon.text.figures import plain

_SLOTS: Final = 512
_COUNT: Final = struct.Struct("<q")


class Progress:
    """Counts bytes in shared memory, one slot a process; the bar appears from `least` bytes on."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._owner = os.getpid()
        self._shared = mmap.mmap(-1, _SLOTS * _COUNT.size)
        self._bar: Any = None
        self._task: Any = None

    def add(self, done: int, total: int) -> None:
        """More bytes are done, of a total."""
        if total < self._least:
            return
        at = os.getpid() % _SLOTS * _COUNT.size
        _COUNT.pack_into(self._shared, at, _COUNT.unpack_from(self._shared, at)[0] + done)
        if os.getpid() == self._owner:
            self._draw(sum(slot for (slot,) in _COUNT.iter_unpack(self._shared)), total)

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            console = Console(stderr=True)
            columns = ("reading", BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=console, transient=True, auto_refresh=False)
            self._bar.start()
            self._task = self._bar.add_task("reading", total=total)
        self._bar.update(self._task, completed=done, refresh=True)
        if done >= total:
            self._bar.stop()

    def close(self) -> None:
        """Take the bar away, if this process drew one; harmless when repeated."""
        if self._bar is not None and os.getpid() == self._owner:
            self._bar.stop()


_GAP: Final = 2  # between columns
_WIDEST_NAME: Final = 40


def render(page: Page) -> Rendered:
    """The view as text with at most `width` columns; what does not fit is named in `hidden`."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=page.width,
        force_terminal=page.colour,
        color_system="standard" if page.colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    if page.view.title:
        console.print(Text(plain(page.view.title), style="bold"), soft_wrap=True)
    _headline(console, page)
    if page.view.headline and page.view.lines:
        console.print()
    for line in page.view.lines:
        console.print(Text(_indented(plain(line), page.width)), soft_wrap=True)
    hidden = []
    for table in page.view.tables:
        console.print()
        kept = _fitting(table, page.width)
        hidden += [plain(c.title) for i, c in enumerate(table.columns) if i not in kept]
        console.print(Text(plain(table.title), style="bold"))
        console.print(_rich(table, kept))
        if table.note:
            console.print(Text(plain(table.note), style="dim"))
    for note in page.view.notes:
        console.print()
        console.print(Text(plain(note)))
    lines = [line.rstrip() for line in out.getvalue().strip("\n").split("\n")]
    names = ", ".join(dict.fromkeys(hidden))
    return Rendered("\n".join(lines) + "\n", f"hidden to fit {page.width} columns: {names}" if names else "")


def _indented(line: str, width: int) -> str:
    """A line that is indented, wrapped under its own indentation; others are left to the terminal."""
    indent = line[: len(line) - len(line.lstrip())]
    if not indent or cell_len(line) <= width:
        return line
    return "\n".join(
        textwrap.wrap(line, width, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False)
    )


def _headline(console: Console, page: Page) -> None:
    """Label and text pairs in as many columns as fit."""
    pairs = [(plain(label), plain(text)) for label, text in page.view.headline]
    if not pairs:
        return
    label_width = max(len(label) for label, _ in pairs)
    text_width = max(cell_len(text) for _, text in pairs)
    columns = max(1, min(3, (page.width + 4) // (label_width + text_width + 5)))
    rows = -(-len(pairs) // columns)
    for row in range(rows):
        line = Text()
        for label, text in pairs[row::rows]:
            line.append(label.ljust(label_width + 1), style="dim")
            line.append(text + " " * (text_width - cell_len(text) + 4))
        line.rstrip()
        console.print(line, soft_wrap=True)


def _fitting(table: Table, width: int) -> list[int]:
    """Indices of the columns that stay: those of the highest rank go first."""
    widths = [_width(table, i) for i in range(len(table.columns))]
    kept = list(range(len(widths)))
    while sum(widths[i] + _GAP for i in kept) - _GAP > width:
        rank = max(table.columns[i].rank for i in kept)
        if rank == 0:
            break
        kept.remove(max(i for i in kept if table.columns[i].rank == rank))
    return kept


def _width(table: Table, index: int) -> int:
    cells = [plain(table.columns[index].title), *(plain(row[index]) for row in table.rows)]
    widest = max(map(cell_len, cells))
    return widest if table.columns[index].right else min(widest, _WIDEST_NAME)


def _rich(table: Table, kept: list[int]) -> RichTable:
    found = RichTable(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    for index in kept:
        _add_column(found, table.columns[index])
    for row in table.rows:
        found.add_row(*(Text(plain(row[index])) for index in kept))
    return found


def _add_column(table: RichTable, column: Column) -> None:
    table.add_column(
        Text(plain(column.title)),
        justify="right" if column.right else "left",
        no_wrap=True,
        overflow="ellipsis",
        max_width=None if column.right else _WIDEST_NAME,
    )


def markdown_text(text: str, width: int, *, colour: bool) -> str:
    """A page of Markdown as it is read in a terminal."""
    from rich.markdown import Markdown

    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="auto" if colour else None,
        legacy_windows=False,
    )
    console.print(Markdown(text, hyperlinks=False))
    shown: Any = console.file
    return "".join(f"{line.rstrip()}\n" for line in shown.getvalue().splitlines())
