"""Values out of an object by a list of bindings, row after row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmmon.formats.mapping import Binding, admitted_types, value_at

Keys = dict[str, Binding | None]  # what the keys of rows mean; None: the slot is not needed


class Picker:
    """Picks the values of its bindings from objects; `keys` learns what the keys of its rows mean."""

    def __init__(self, bindings: Iterable[Binding], keys: Keys) -> None:
        self._flat: list[tuple[str, str, frozenset[type]]] = []
        self._deep: list[tuple[str, tuple[str, ...], frozenset[type]]] = []
        for binding in bindings:
            key = f"={binding.slot}@{binding.rank}:{binding.unit}={'.'.join(binding.path)}"
            keys[key] = binding
            if len(binding.path) == 1:
                self._flat.append((key, binding.path[0], admitted_types(binding)))
            else:
                self._deep.append((key, binding.path, admitted_types(binding)))

    def __call__(self, found: dict[str, Any]) -> dict[str, Any]:
        """The values that are there and may stand for what they are bound to."""
        row = {}
        for key, name, types in self._flat:
            if type(value := found.get(name)) in types:
                row[key] = value
        for key, path, types in self._deep:
            if type(value := value_at(found, path)) in types:
                row[key] = value
        return row
