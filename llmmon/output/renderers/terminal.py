"""Tables for a terminal, fitted to its width."""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llmmon.output.renderers import Page, Rendered
from llmmon.output.views import Kind, Table
from llmmon.text.figures import clipped, plain, shortened

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
_NARROW_NAME, _NARROWEST_NAME = 28, 10  # to which names are cut before columns go, and after
_NARROW_TEXT: Final = 36
_DATED: Final = re.compile(r"\d{4}-\d\d-\d\d").match
# the theme: what a word means, in colours that stand out on light and on dark grounds; the word itself says it too
_THEME: Final = {
    **dict.fromkeys(("critical", "high", "error", "firing", "worse", "failed"), "bold red"),
    **dict.fromkeys(("medium", "warning", "pending", "new level", "drifting"), "yellow"),
    **dict.fromkeys(("better", "resolved", "passed"), "green"),
    **dict.fromkeys(("low", "info", "no difference", "too little data", "ok"), "dim"),
}


def render(page: Page) -> Rendered:
    """The view as text that fits `width` columns where it can; what does not fit is named in `hidden`."""
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
    if page.view.lead:
        lead = textwrap.fill(plain(page.view.lead), page.width - 2, subsequent_indent="  ", break_long_words=False)
        console.print(Text.assemble(("! ", "bold red"), (lead, "bold")), soft_wrap=True)
    _headline(console, page)
    if page.view.headline and page.view.lines:
        console.print()
    for line in page.view.lines:
        console.print(_themed(_indented(plain(line), page.width)), soft_wrap=True)
    hidden = []
    for table in page.view.tables:
        console.print()
        hidden += _print_table(console, table, page.width)
    for note in page.view.notes:
        console.print()
        console.print(Text(plain(note)))
    lines = [line.rstrip() for line in out.getvalue().strip("\n").split("\n")]
    names = ", ".join(dict.fromkeys(hidden))
    return Rendered("\n".join(lines) + "\n", f"hidden to fit {page.width} columns: {names}" if names else "")


def _themed(line: str) -> Text:
    """A line whose first word may be of the theme, in capitals: `CRITICAL  gpt-4o ...`."""
    text = Text(line)
    word = line.partition(" ")[0]
    if word.isupper() and word.lower() in _THEME:
        text.stylize(_THEME[word.lower()], 0, len(word))
    return text


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


def _print_table(console: Console, table: Table, width: int) -> list[str]:
    """Print a table; the titles of the columns for which there was no room."""
    found = _Fitted(table.aligned(), width)
    console.print(Text(plain(table.title) + found.shared, style="bold"), soft_wrap=True)
    for line in found.lines():
        console.print(line, soft_wrap=True)
    if table.note:
        console.print(Text(plain(table.note), style="dim"))
    return found.hidden


class _Fitted:
    """A table fitted to a width: folders that all places have in common go, then columns, then the middle of names."""

    def __init__(self, table: Table, width: int) -> None:
        self._columns = table.columns
        self._cells = [[plain(row[at]) for row in table.all_rows] for at in range(len(table.columns))]
        self._has_total = bool(table.total)
        self._kept = list(range(len(table.columns)))
        self.shared = ""
        if self._narrowest(_NARROW_NAME) > width:
            self._drop_shared()
        least = _NARROW_NAME
        while self._narrowest(least) > width:
            rank = max((self._columns[at].rank for at in self._kept), default=0)
            if rank == 0:
                if least == _NARROWEST_NAME:
                    break
                least = _NARROWEST_NAME
                continue
            self._kept.remove(max(at for at in self._kept if self._columns[at].rank == rank))
        self._widths = {at: self._least(at, least) for at in self._kept}
        self._widen(width)

    @property
    def hidden(self) -> list[str]:
        """The titles of the columns that went."""
        return [plain(column.title) for at, column in enumerate(self._columns) if at not in self._kept]

    @property
    def needed(self) -> int:
        """How wide it is."""
        return sum(self._widths.values()) + _GAP * max(0, len(self._kept) - 1)

    def _natural(self, at: int) -> int:
        return max(map(cell_len, [plain(self._columns[at].title), *self._cells[at]]))

    def _least(self, at: int, name: int) -> int:
        """How narrow a column may become."""
        limits = {Kind.NAME: name, Kind.TEXT: _NARROW_TEXT if name > _NARROWEST_NAME else _NARROWEST_NAME}
        limit = limits.get(self._columns[at].holds)
        return self._natural(at) if limit is None else min(self._natural(at), limit)

    def _narrowest(self, name: int) -> int:
        return sum(self._least(at, name) + _GAP for at in self._kept) - _GAP

    def _drop_shared(self) -> None:
        """Take the folder of all places, and the year of all times, out of them; the title says both."""
        for at, column in enumerate(self._columns):
            years = {cell[:5] for cell in self._cells[at] if _DATED(cell)} if column.holds is Kind.FIXED else set()
            if len(years) == 1:
                year = years.pop()
                self._cells[at] = [cell.removeprefix(year) for cell in self._cells[at]]
                self.shared = f", {year[:4]}{self.shared}"
            folder = common_folder(self._cells[at]) if column.holds is Kind.PLACE else ""
            if folder:
                self._cells[at] = [cell.removeprefix(folder) for cell in self._cells[at]]
                self.shared += f", in {folder}"

    def _widen(self, width: int) -> None:
        """Give what is left over to what was cut, names first."""
        cut = [at for at in self._kept if self._natural(at) > self._widths[at]]
        for at in sorted(cut, key=lambda at: self._columns[at].holds is Kind.TEXT):
            self._widths[at] += min(self._natural(at) - self._widths[at], max(0, width - self.needed))

    def lines(self) -> Iterator[Text]:
        """The heads and the rows, the total in bold."""
        yield self._line([Text(plain(self._columns[at].title)) for at in self._kept], "dim")
        rows = list(zip(*self._cells, strict=True))
        for number, row in enumerate(rows, 1):
            is_total = self._has_total and number == len(rows)
            yield self._line([self._cell(at, row[at]) for at in self._kept], "bold" if is_total else "")

    def _line(self, cells: Sequence[Text], style: str) -> Text:
        line = Text(style=style)
        for at, cell in zip(self._kept, cells, strict=True):
            space = " " * (self._widths[at] - cell.cell_len)
            line.append(" " * _GAP if line else "")
            line.append_text(Text(space) + cell if self._columns[at].right else cell + Text(space))
        line.rstrip()
        return line

    def _cell(self, at: int, text: str) -> Text:
        width, kind = self._widths[at], self._columns[at].holds
        if kind is Kind.WORD:
            return Text(text, style=_THEME.get(text, ""))
        if cell_len(text) > width and kind in (Kind.TEXT, Kind.NAME):
            return Text(clipped(text, width) if kind is Kind.TEXT else shortened(text, width))
        return Text(text)


def common_folder(places: Sequence[str]) -> str:
    """The folder that all of several places begin with, with its last slash; "" for none."""
    if len(places) < 2:
        return ""
    first, last = min(places), max(places)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, same) + 1]


def markdown_text(text: str, width: int, *, colour: bool) -> str:
    """A page of Markdown as it is read in a terminal."""
    from rich.markdown import Markdown

    system: Any = "auto" if colour else None
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, color_system=system)
    console.print(Markdown(text, hyperlinks=False))
    shown: Any = console.file
    return "".join(f"{line.rstrip()}\n" for line in shown.getvalue().splitlines())
