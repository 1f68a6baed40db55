"""How one file is read, decided once from its head."""

from __future__ import annotations

from typing import Final

import msgspec

from llmmon.formats import DIALECTS
from llmmon.formats.home_made import GENERIC
from llmmon.formats.layouts import LINES, Layout
from llmmon.formats.mapping import Binding, Mapping
from llmmon.formats.slots import CALL_KEY, COMPLETENESS, EVIDENCE, sources_of

_COMPLETENESS: Final = sources_of(frozenset(COMPLETENESS))


class ReadPlan(msgspec.Struct, frozen=True):
    """How a file is read, decided once from its head; small and picklable.

    `mappings` has one entry for each data dialect seen; with `typed` the first is tried on every line.
    `fields` are the record's fields that the command needs; `label` is what home-made rows are counted as;
    `extra` are the bindings of `--map` and of the tags that were asked for.
    """

    mappings: tuple[Mapping, ...]
    fields: frozenset[str]
    typed: bool = True
    label: str = GENERIC
    forced: str | None = None
    naive: str = "UTC"
    splittable: bool = True  # False: the file must be read from its beginning, as one span
    layout: Layout = LINES
    extra: tuple[Binding, ...] = ()
    repeats: bool = False  # True: calls may stand in it more than once (`formats.duplicates` keeps one of each)

    def mapping(self, dialect: str) -> Mapping | None:
        """The mapping for a dialect, None where the head had none of it."""
        return next((mapping for mapping in self.mappings if mapping.dialect == dialect), None)

    def slots(self, dialect: str) -> frozenset[str]:
        """The slots to read of a dialect's objects, "" for those that bring code.

        Home-made objects must show that they are calls, repeated calls which of them is the most complete.
        """
        needed = sources_of(self.fields) | {CALL_KEY}
        if dialect == GENERIC:
            return needed | sources_of(frozenset(EVIDENCE))
        return needed if dialect and not DIALECTS[dialect].repeats else needed | _COMPLETENESS
