"""How one file is read, decided once from its head."""

from __future__ import annotations

import msgspec

from llmmon.formats.home_made import GENERIC
from llmmon.formats.layouts import LINES, Layout
from llmmon.formats.mapping import Binding, Mapping
from llmmon.formats.slots import CALL_KEY, EVIDENCE, sources_of


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

    def mapping(self, dialect: str) -> Mapping | None:
        """The mapping for a dialect, None where the head had none of it."""
        return next((mapping for mapping in self.mappings if mapping.dialect == dialect), None)

    def slots(self, dialect: str) -> frozenset[str]:
        """The slots to read of a dialect's objects; home-made ones must show that they are calls."""
        evidence = sources_of(frozenset(EVIDENCE)) if dialect == GENERIC else frozenset()
        return sources_of(self.fields) | evidence | {CALL_KEY}
