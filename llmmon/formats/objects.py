"""One line (or element) of any kind -> the rows of the calls on it, by the dialect of each object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmmon.formats.aliases import tag_bindings
from llmmon.formats.dialect import Dialect, Feed, Object, Row, bindings_of
from llmmon.formats.envelopes import objects_in
from llmmon.formats.home_made import GENERIC, HomeMadeRows
from llmmon.formats.mapping import Binding, Mapping, passes
from llmmon.formats.picking import Keys, Picker
from llmmon.formats.plan import ReadPlan
from llmmon.formats.slots import CALL_KEY
from llmmon.record import TAG_PREFIX


class ObjectReader:
    """Reads one line after the other; stateful where a dialect of the file is."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._keys: Keys = {}
        self._home_made = HomeMadeRows(plan.mapping(GENERIC), plan.slots(GENERIC), self._keys)
        self._slots = plan.slots("")
        self._tags = [slot.removeprefix(TAG_PREFIX) for slot in self._slots if slot.startswith(TAG_PREFIX)]
        self._feeds: dict[str, Feed] = {}
        self._pickers: dict[str, Picker] = {}
        self._overridden = Picker((binding for binding in plan.extra if binding.rank < 0), self._keys)

    def read(self, line: bytes) -> list[tuple[str, list[Any]]]:
        """Per object on the line, the name of its dialect and its rows; none for a line of column names.

        What the keys of a row mean is said by `binding`; those of metric samples are plain. Raises `UnreadableError`.
        """
        found = self._plan.layout.object_of(line)
        if found is None:
            return []
        return [
            (GENERIC if dialect is None else dialect.name, self._rows(dialect, each))
            for dialect, each in objects_in(found, self._plan.forced)
        ]

    def _rows(self, dialect: Dialect | None, found: Object) -> list[Any]:
        if dialect is None:
            return [row] if (row := self._home_made.row(found)) else []
        if not passes(dialect.only, found):
            return []
        if dialect.open is None:
            return [self._data_row(dialect, found)]
        if dialect.name not in self._feeds:
            self._feeds[dialect.name] = dialect.open()
        rows = list(self._feeds[dialect.name](found))
        return rows if dialect.samples else [self._code_row(dialect, row, found) for row in rows]

    def _data_row(self, dialect: Dialect, found: Object) -> Row:
        if dialect.name not in self._pickers:
            self._pickers[dialect.name] = Picker(self._needed(dialect), self._keys)
        return self._pickers[dialect.name](found)

    def _needed(self, dialect: Dialect) -> list[Binding]:
        """The bindings to read, as the file's mapping has them."""
        mapping: Mapping | None = self._plan.mapping(dialect.name)
        bindings: Iterable[Binding] = bindings_of(dialect)
        if mapping is not None:
            bindings = mapping.bindings
        else:
            overrides = (binding for binding in self._plan.extra if binding.rank < 0)
            bindings = (*overrides, *tag_bindings(self._tags, dialect.tags_at), *bindings)
        slots = self._plan.slots(dialect.name)
        return [binding for binding in bindings if binding.slot in slots]

    def _code_row(self, dialect: Dialect, row: Row, found: Object) -> Row:
        tags = row.pop("tags", ())
        if dialect.repeats:
            row[CALL_KEY] = row.get("request_id")
        if self._plan.extra:
            row |= self._overridden(found) | self._tagged(tags)
        return row

    def binding(self, key: str) -> Binding | None:
        """The binding of a row's key, such as `slot@rank:unit`; None if the slot is not needed."""
        if key not in self._keys:
            name, _, unit = key.partition(":")
            slot, _, rank = name.partition("@")
            self._keys[key] = Binding(slot, int(rank or 0), (key,), unit) if slot in self._slots else None
        return self._keys[key]

    def _tagged(self, tags: Any) -> Row:
        places = [place for place in (tags if isinstance(tags, tuple) else (tags,)) if isinstance(place, dict)]
        row: Row = {}
        for tag in self._tags:
            value = next((place[tag] for place in places if place.get(tag) is not None), None)
            if isinstance(value, (str, int, float)):
                key = TAG_PREFIX + tag
                self._keys.setdefault(key, Binding(key, 0, (tag,)))  # a tag's name may hold any sign
                row[key] = value
        return row
