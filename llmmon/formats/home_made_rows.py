"""Rows of home-made objects, shape by shape: what their keys mean is worked out once for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from llmmon.formats.dialect import Object
from llmmon.formats.home_made import bindings_in, kind_of, may_show_call, shape_key
from llmmon.formats.mapping import SLOTS, Binding, FieldMapping, Keys, Path, Picker, Slot


class HomeMadeRows:
    """Rows of home-made objects: by the file's mapping where its head had the key, by name where not."""

    def __init__(self, mapping: FieldMapping | None, slots: frozenset[str], keys: Keys, root: Path = ()) -> None:
        self._keys = keys
        self._slots = slots | {"output", "prompt"}
        self._root = root
        self._bound: dict[Path, list[Binding]] = {}
        self._always: list[Binding] = []
        for binding, _ in mapping.foreign if mapping else ():
            self._bound[binding.path] = []  # in another currency
        for binding in mapping.bindings if mapping else ():
            self._bound.setdefault(binding.path, []).append(binding)
            if binding.rank < 0 or binding.slot not in SLOTS:
                self._always.append(binding)
        self._by_shape: dict[tuple[Any, ...], Picker] = {}
        self._usual = usual_units(mapping.bindings if mapping else ())
        self._kinds = frozenset(mapping.kinds) if mapping else frozenset()
        self._unlike: dict[tuple[Any, ...], int] = {}  # shapes of a kind that the plan does not know: objects so far

    def row(self, found: Object) -> dict[str, Any]:
        """The values of one object."""
        shape = shape_key(found)
        picker = self._by_shape.get(shape)
        if picker is None:
            if len(self._by_shape) >= _MOST_SHAPES:
                self._by_shape.clear()
                self._unlike.clear()
            named = list(bindings_in(found, self._root))
            if may_show_call(named) and kind_of(named) not in self._kinds:
                self._unlike[shape] = 0
            picker = self._by_shape[shape] = Picker(self._bindings(named), self._keys)
        return picker(found)

    def is_unlike(self, found: Object) -> bool:
        """Whether an object is one of the first of a kind that the samples of the file did not hold."""
        count = self._unlike.get(shape := shape_key(found)) if self._unlike else None
        if count is None or count >= _MOST_ALIKE:
            return False
        self._unlike[shape] = count + 1
        return True

    def _bindings(self, suggested: Iterable[Binding]) -> list[Binding]:
        named: list[Binding] = []
        for each in suggested:
            if each.path in self._bound:
                named += self._bound[each.path]
            elif each.kind is Slot.DURATION and not each.unit:
                named.append(msgspec.structs.replace(each, unit=self._usual.get(each.slot, "")))
            else:
                named.append(each)
        return [binding for binding in dict.fromkeys([*named, *self._always]) if binding.slot in self._slots]


def usual_units(bindings: Iterable[Binding]) -> dict[str, str]:
    """By slot the commonest unit of lengths of time.

    One row alone must not tell, or the cut of a file would matter.
    """
    units: dict[str, list[str]] = {}
    for each in bindings:
        if each.kind is Slot.DURATION and each.unit:
            units.setdefault(each.slot, []).append(each.unit)
    return {slot: max(found, key=found.count) for slot, found in units.items()}


_MOST_SHAPES: Final = 4096
_MOST_ALIKE: Final = 8  # objects of one shape
