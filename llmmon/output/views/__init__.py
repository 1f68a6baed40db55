"""What is shown of a report, whatever the format: its JSON, its rows, its tables. One file a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from llmmon.text.figures import aligned


class Kind(StrEnum):
    """What a column holds, which says how it may be shortened and what its colours mean."""

    NUMBER = "number"  # never cut
    FIXED = "fixed"  # times, ids: never cut
    PLACE = "place"  # file and line: only folders that all have in common are dropped
    NAME = "name"  # cut in the middle, as both ends identify it
    TEXT = "text"  # cut at its end
    WORD = "word"  # one of the words of the theme: never cut


# by title, where a column does not say it
_KINDS: Final = {
    **dict.fromkeys(("where", "place", "such as"), Kind.PLACE),
    **dict.fromkeys(("time", "when", "start", "from", "to", "since", "until", "id"), Kind.FIXED),
    **dict.fromkeys(("severity", "verdict", "verdict within", "state", "status"), Kind.WORD),
    **dict.fromkeys(("why", "message", "explanation", "meaning", "keys"), Kind.TEXT),
}


class Column(msgspec.Struct, frozen=True):
    """A table's column. Those of the highest `rank` go first where the terminal is narrow; 0 always stays."""

    title: str
    right: bool = True
    rank: int = 0
    kind: Kind | None = None

    @property
    def holds(self) -> Kind:
        """What is in it: as it says, or by its title."""
        return self.kind or (Kind.NUMBER if self.right else _KINDS.get(self.title, Kind.NAME))


class Table(msgspec.Struct, frozen=True):
    """A titled table of ready texts; `total` is a last row of all together, `note` is shown below it.

    A screen gets at most `most` rows (0: all), everything else gets them all.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    total: tuple[str, ...] = ()
    most: int = 0

    def on_screen(self) -> Table:
        """The same with as many rows as a screen gets; its note says how many more there are."""
        more = len(self.rows) - self.most
        if not self.most or more <= 0:
            return self
        note = "\n".join(filter(None, (f"and {more:,} more (all with -f markdown)", self.note)))
        return msgspec.structs.replace(self, rows=self.rows[: self.most], note=note)

    @property
    def all_rows(self) -> tuple[tuple[str, ...], ...]:
        """The rows, and the total where there is one."""
        return (*self.rows, self.total) if self.total else self.rows

    def aligned(self) -> Table:
        """The same with the figures of each column in one unit, with as many decimals."""
        columns = [aligned(cells) for cells in zip(*self.all_rows, strict=True)]
        rows = tuple(zip(*columns, strict=True))
        if self.total:
            return msgspec.structs.replace(self, rows=rows[:-1], total=rows[-1])
        return msgspec.structs.replace(self, rows=rows)


class View(msgspec.Struct, frozen=True):
    """A report ready for every renderer: `data` for JSON, `rows` for jsonl and csv, the rest for people.

    `lead` is what needs attention, in a line, `headline` are label and text pairs; `lines` follow each other, `notes`
    are apart. `more` is how many rows a limit left out, by what they are.
    """

    data: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    lead: str = ""
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
