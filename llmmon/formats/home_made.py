"""Home-made logs: the mapping of a file from the names of its keys, and the rows of its objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from llmmon.formats.aliases import bindings_at, paths_of, tag_bindings
from llmmon.formats.bodies import body_in
from llmmon.formats.dialect import below
from llmmon.formats.mapping import Binding, Mapping, Path, admit, shape_of, value_at
from llmmon.formats.picking import Keys, Picker
from llmmon.formats.slots import SLOTS, Slot

GENERIC: Final = "generic"
_TIMES: Final = frozenset({"start", "end", "latency", "latency_part", "ttft", "first_output_at", "request_id"})
_BEHIND: Final = 5000  # added to the rank of what the wrapper around a reply knows better
_HUGE: Final = 1e300  # an integer beyond is no number of anything


def bindings_in(row: dict[str, Any]) -> Iterator[Binding]:
    """The bindings that an object's keys suggest; a provider's reply inside it is read as such."""
    body = body_in(row)
    if body is not None:
        key, dialect = body
        for binding in below(key, dialect.bindings):
            behind = _BEHIND if binding.slot in _TIMES else 0
            yield Binding(binding.slot, binding.rank + behind, binding.path, binding.unit)
    for path in paths_of(row, body[0] if body else None):
        yield from bindings_at(path)


def resolve(rows: Sequence[dict[str, Any]], overrides: Sequence[Binding], tags: Sequence[str], naive: str) -> Mapping:
    """The mapping of a home-made file from the objects of its head; `tags` are the tags to read."""
    taken = {override.path for override in overrides}
    named = dict.fromkeys(binding for row in rows for binding in bindings_in(row) if binding.path not in taken)
    fitting = [binding for binding in named if any(_admitted(binding, row) is not None for row in rows)]
    bindings = [*overrides, *(_with_unit(binding, rows) for binding in fitting), *tag_bindings(tags)]
    return Mapping(GENERIC, tuple(sorted(bindings)), shape_of(rows), closed=True, naive=naive)


def _admitted(binding: Binding, row: dict[str, Any]) -> Any:
    return admit(binding, value_at(row, binding.path))


def _with_unit(binding: Binding, rows: Sequence[dict[str, Any]]) -> Binding:
    if binding.kind is not Slot.DURATION or binding.unit:
        return binding
    pairs = [(value_at(row, binding.path), _completion_tokens(row)) for row in rows]
    numbers = [(float(v), tokens) for v, tokens in pairs if type(v) in (int, float) and 0 < v < _HUGE]
    return Binding(binding.slot, binding.rank, binding.path, unit_of(numbers))


def _completion_tokens(row: dict[str, Any]) -> float:
    for binding in bindings_in(row):
        if binding.slot == "completion_tokens" and type(value := _admitted(binding, row)) in (int, float):
            return float(value) if abs(value) < _HUGE else 0.0
    return 0.0


def unit_of(lengths: Sequence[tuple[float, float]]) -> str:
    """The unit of unsuffixed lengths of time, from pairs (length, completion tokens of the same call).

    The unit that implies 1 to 2000 output tokens a second at the median; failing that, whole numbers with a
    median of 50 or more are milliseconds, and so are fractions with a median of 120 or more.
    """
    if not lengths:
        return "ms"
    speeds = [tokens / length for length, tokens in lengths if tokens > 0]
    if speeds:
        speed = _median(speeds)
        plausible = [unit for unit, scale in (("s", 1.0), ("ms", 1000.0)) if 1 <= speed * scale <= 2000]
        if len(plausible) == 1:
            return plausible[0]
    whole = all(length == int(length) for length, _ in lengths)
    return "s" if _median(length for length, _ in lengths) < (50 if whole else 120) else "ms"


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


class HomeMadeRows:
    """Rows of home-made objects: by the file's mapping where its head had the key, by name where not."""

    def __init__(self, mapping: Mapping | None, slots: frozenset[str], keys: Keys) -> None:
        self._keys = keys
        self._slots = slots | {"output"}
        self._bound: dict[Path, list[Binding]] = {}
        self._always: list[Binding] = []
        for binding in mapping.bindings if mapping else ():
            self._bound.setdefault(binding.path, []).append(binding)
            if binding.rank < 0 or binding.slot not in SLOTS:
                self._always.append(binding)
        self._known = {path for path, _ in mapping.shape} if mapping else set()
        self._by_shape: dict[tuple[Any, ...], Picker] = {}

    def row(self, found: dict[str, Any]) -> dict[str, Any]:
        """The values of one object."""
        shape = _shape_key(found)
        picker = self._by_shape.get(shape)
        if picker is None:
            if len(self._by_shape) >= _MOST_SHAPES:
                self._by_shape.clear()
            picker = self._by_shape[shape] = Picker(self._bindings(found), self._keys)
        return picker(found)

    def _bindings(self, found: dict[str, Any]) -> list[Binding]:
        named = [
            binding
            for each in bindings_in(found)
            for binding in (self._bound.get(each.path, ()) if each.path in self._known else (each,))
        ]
        return [binding for binding in dict.fromkeys([*named, *self._always]) if binding.slot in self._slots]


_MOST_SHAPES: Final = 4096


def _shape_key(found: dict[str, Any]) -> tuple[Any, ...]:
    """What the bindings of an object depend on: its keys, those of the objects in it, the reply in it."""
    key: list[Any] = [tuple(found)]
    for name, value in found.items():
        if type(value) is dict:
            key.append((name, *value))
            key += [(name, inner, *below) for inner, below in value.items() if type(below) is dict]
    body = body_in(found)
    return (*key, body[0], body[1].name) if body else tuple(key)


def is_stamped(row: dict[str, Any]) -> bool:
    """Whether an object has a time of its own at the top."""
    return any(binding.slot in ("start", "end") for key in row for binding in bindings_at((key,)))
