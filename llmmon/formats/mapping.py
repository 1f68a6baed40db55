"""Which path of a file's objects fills which slot, in which unit: the mapping of one file and dialect."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from llmmon.errors import UsageError
from llmmon.formats.slots import SLOTS, Slot
from llmmon.formats.stamps import DURATION_UNITS_US
from llmmon.names import unknown
from llmmon.record import TAG_PREFIX

Path = tuple[str, ...]
Shape = tuple[tuple[Path, frozenset[str]], ...]  # path -> the JSON types seen there in the file's head


class Binding(msgspec.Struct, frozen=True, order=True):
    """One path bound to one slot; of several for a slot the lowest rank with a usable value wins.

    `unit` is a unit of time or money, "exclusive" for token counts that leave cache or reasoning out,
    or "" for the slot's plain meaning. A path step that is a number indexes a list.
    """

    slot: str
    rank: int
    path: Path
    unit: str = ""

    @property
    def kind(self) -> Slot:
        """How its values are read; a tag is a name."""
        return SLOTS.get(self.slot, Slot.NAME)


class Test(msgspec.Struct, frozen=True):
    """A key that an object must have, with one of some texts as its value if `allowed` names any."""

    key: str
    allowed: tuple[str, ...] = ()


Mark = tuple[Test, ...]


def passes(mark: Mark, found: AnyMapping[str, Any]) -> bool:
    """Whether an object passes all tests."""
    return all(test.key in found and (not test.allowed or found[test.key] in test.allowed) for test in mark)


class Mapping(msgspec.Struct, frozen=True):
    """How one file's objects of one dialect are read; resolved once from its head, then only applied.

    `shape` is what the head looked like. `closed`: a key that the head did not have may matter, so such
    a row is looked at on its own. `required`: a row that fails these is no call of this dialect.
    """

    dialect: str
    bindings: tuple[Binding, ...]
    shape: Shape = ()
    closed: bool = False
    required: Mark = ()
    naive: str = "UTC"


def value_at(row: Any, path: Path) -> Any:
    """The value at a path of nested objects and lists (also as JSON in a text), None where there is none."""
    for step in path:
        if type(row) is str:
            row = embedded(row)
        if isinstance(row, dict):
            row = row.get(step)
        elif isinstance(row, list) and step.isdigit() and int(step) < len(row):
            row = row[int(step)]
        else:
            return None
    return row


def embedded(text: str) -> Any:
    """The object or list that a text holds as JSON, None for any other text; not to be changed."""
    return _decoded(text) if text[:1] in _OPENING and text else None


_OPENING = ("{", "[")


@lru_cache(maxsize=4)
def _decoded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def admitted_types(binding: Binding) -> frozenset[type]:
    """The JSON types that can mean something for a binding's slot."""
    if binding.unit == "count":  # elsewhere the same key holds text
        return frozenset({int, float})
    return _ADMITTED[binding.kind]


_ADMITTED = {
    **dict.fromkeys((Slot.NUMBER, Slot.DURATION, Slot.TIME), frozenset({int, float, str})),
    **dict.fromkeys((Slot.NAME, Slot.FLAG), frozenset({int, float, str, bool})),
    Slot.TEXT: frozenset({str, dict, list}),
    Slot.OUTCOME: frozenset({int, float, str, bool, dict, list}),
}


def admit(binding: Binding, value: Any) -> Any:
    """The value if its JSON type can mean something for the binding's slot, else None."""
    return value if type(value) in admitted_types(binding) else None


def shape_of(rows: Sequence[AnyMapping[str, Any]], depth: int = 8) -> Shape:
    """Every path of objects (and of the first elements of lists) in the rows, with the JSON types seen there."""
    seen: dict[Path, set[str]] = {}
    for row in rows:
        _walk(row, (), seen, depth)
    return tuple((path, frozenset(types)) for path, types in seen.items())


def _walk(row: AnyMapping[str, Any], at: Path, seen: dict[Path, set[str]], depth: int) -> None:
    for key, value in row.items():
        path = (*at, key)
        seen.setdefault(path, set()).add(type(value).__name__)
        inner = {"0": value[0]} if isinstance(value, list) and value else value
        if isinstance(inner, dict) and depth > 1:
            _walk(inner, path, seen, depth - 1)


def parse_override(text: str) -> Binding:
    """`latency=took_ms` or `latency=timing.took:s` from `--map`; raises `UsageError`."""
    slot, equals, rest = text.partition("=")
    path, _, unit = rest.partition(":")
    slot = _SLOT_OF_FIELD.get(slot, slot)
    if not equals or not path:
        raise UsageError(f"--map {text!r} is not field=path[:unit]", hint="for example --map latency_ms=took:s")
    if slot not in SLOTS and not slot.startswith(TAG_PREFIX):
        raise UsageError("--map: " + unknown("field", slot, {*SLOTS, *_SLOT_OF_FIELD}))
    if unit and unit not in _UNITS:
        raise UsageError("--map: " + unknown("unit", unit, _UNITS))
    return Binding(slot, -1, tuple(path.split(".")), unit or _PLAIN_UNIT.get(slot, ""))


_SLOT_OF_FIELD = {
    "timestamp": "start",
    "latency_ms": "latency",
    "time_to_first_token_ms": "ttft",
    "cost_usd": "cost",
    "status": "outcome",
}
_PLAIN_UNIT = {"latency": "ms", "ttft": "ms", "cost": "usd"}
_UNITS = frozenset({*DURATION_UNITS_US, "ticks", "usd", "cents", "exclusive"})
