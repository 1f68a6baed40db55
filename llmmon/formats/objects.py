"""One line (or element) of any kind -> the rows of the calls on it, by the dialect of each object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmmon.formats.aliases import tag_bindings
from llmmon.formats.dialect import Dialect, Feed, Object, bindings_of
from llmmon.formats.envelopes import objects_in
from llmmon.formats.home_made import GENERIC, HomeMadeRows
from llmmon.formats.mapping import Binding, Mapping, admit, passes, value_at
from llmmon.formats.plan import ReadPlan
from llmmon.formats.slots import CALL_KEY
from llmmon.record import TAG_PREFIX

BoundRow = dict[str | Binding, Any]


class ObjectReader:
    """Reads one line after the other; stateful where a dialect of the file is."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._home_made = HomeMadeRows(plan.mapping(GENERIC), plan.slots(GENERIC))
        self._slots = plan.slots("")
        self._tags = [slot.removeprefix(TAG_PREFIX) for slot in self._slots if slot.startswith(TAG_PREFIX)]
        self._feeds: dict[str, Feed] = {}
        self._bindings: dict[str, list[Binding]] = {}
        self._keys: dict[str, Binding | None] = {}

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

    def _data_row(self, dialect: Dialect, found: Object) -> BoundRow:
        if dialect.name not in self._bindings:
            self._bindings[dialect.name] = self._needed(dialect)
        return _read(self._bindings[dialect.name], found)

    def _needed(self, dialect: Dialect) -> list[Binding]:
        """The bindings to read, as the file's mapping has them."""
        mapping: Mapping | None = self._plan.mapping(dialect.name)
        bindings: Iterable[Binding] = bindings_of(dialect)
        if mapping is not None:
            bindings = mapping.bindings
        else:
            bindings = (*self._overrides(), *tag_bindings(self._tags, dialect.tags_at), *bindings)
        slots = self._plan.slots(dialect.name)
        return [binding for binding in bindings if binding.slot in slots]

    def _overrides(self) -> list[Binding]:
        return [binding for binding in self._plan.extra if binding.rank < 0]

    def _code_row(self, dialect: Dialect, row: dict[Any, Any], found: Object) -> dict[Any, Any]:
        tags = row.pop("tags", ())
        if dialect.repeats:
            row[CALL_KEY] = row.get("request_id")
        if self._plan.extra:
            row |= _read(self._overrides(), found) | self._tagged(tags)
        return row

    def binding(self, key: str | Binding) -> Binding | None:
        """The binding of a row's key: itself, or that of `slot[@rank][:unit]`; None if the slot is not needed."""
        if isinstance(key, Binding):
            return key
        if key not in self._keys:
            name, _, unit = key.partition(":")
            slot, _, rank = name.partition("@")
            self._keys[key] = Binding(slot, int(rank or 0), (key,), unit) if slot in self._slots else None
        return self._keys[key]

    def _tagged(self, tags: Any) -> BoundRow:
        places = [place for place in (tags if isinstance(tags, tuple) else (tags,)) if isinstance(place, dict)]
        bound: BoundRow = {}
        for tag in self._tags:
            binding = Binding(TAG_PREFIX + tag, 0, (tag,))
            value = next((place[tag] for place in places if place.get(tag) is not None), None)
            if (value := admit(binding, value)) is not None:
                bound[binding] = value
        return bound


def _read(bindings: Iterable[Binding], found: Object) -> BoundRow:
    return {
        binding: value for binding in bindings if (value := admit(binding, value_at(found, binding.path))) is not None
    }
