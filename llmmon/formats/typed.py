"""Decoders made at run time from a mapping: only the needed fields, with the types the head showed.

What does not fit such a decoder raises, and is then read one line at a time; so it may be narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from llmmon.formats.mapping import Binding, Mapping, Path, value_at
from llmmon.formats.slots import Slot

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MOST_KEYS: Final = 60  # an object with more different keys than this is no fixed shape

_NARROW: Final[dict[Slot, Any]] = {
    Slot.NUMBER: float | None,
    Slot.DURATION: float | None,
    Slot.TIME: str | None,
    Slot.NAME: str | None,
    Slot.FLAG: bool | None,
    Slot.OUTCOME: str | None,
    Slot.TEXT: str | None,
}
_WIDE: Final[dict[Slot, Any]] = {
    Slot.NUMBER: float | str | None,
    Slot.DURATION: float | str | None,
    Slot.TIME: int | float | str | None,
    Slot.NAME: str | int | float | bool | None,
    Slot.FLAG: str | int | float | bool | None,
    Slot.OUTCOME: Any,
    Slot.TEXT: Any,
}
_USUAL: Final[dict[Slot, frozenset[str]]] = {
    Slot.NUMBER: frozenset({"int", "float", "NoneType"}),
    Slot.DURATION: frozenset({"int", "float", "NoneType"}),
    Slot.FLAG: frozenset({"bool", "NoneType"}),
}
_TEXTUAL: Final = frozenset({"str", "NoneType"})


class _Node(msgspec.Struct):
    """One step of the paths: what is bound here, and what is below."""

    bindings: list[Binding] = msgspec.field(default_factory=list)
    below: dict[str, _Node] = msgspec.field(default_factory=dict)


Columns = dict[Binding, Sequence[Any]]
Extract = Callable[[Sequence[Any], Columns], None]


class TypedDecoder(msgspec.Struct, frozen=True, eq=False):
    """Decodes whole lines of one mapping; `extract` turns decoded rows into a column a binding.

    `output_at` is where undecoded output text lies, so that its presence can be told.
    """

    decode_lines: Callable[[Any], list[Any]]
    decode: Callable[[Any], Any]
    extract: Extract
    output_at: tuple[Binding, ...]

    def columns(self, rows: Sequence[Any]) -> Columns:
        """One sequence of raw values a binding."""
        found: Columns = {}
        self.extract(rows, found)
        return found


def compile_decoder(mapping: Mapping, slots: frozenset[str]) -> TypedDecoder | None:
    """The decoder for the bindings of the needed slots, None where the objects have no fixed shape."""
    shape = dict(mapping.shape)
    root = _Node()
    output_at = []
    for binding in mapping.bindings:
        if binding.slot in slots:
            _insert(root, binding)
        elif binding.slot == "output" and mapping.closed:
            output_at.append(binding)
    try:
        kind, extract = _object(root, (), shape, mapping.closed, {b.path: b for b in output_at})
    except _NoFixedShapeError:
        return None
    decoder = msgspec.json.Decoder(kind)
    return TypedDecoder(decoder.decode_lines, decoder.decode, extract, tuple(output_at))


class _NoFixedShapeError(Exception):
    """The objects differ too much for a decoder of their own."""


def _insert(root: _Node, binding: Binding) -> None:
    node = root
    for step in binding.path:
        node = node.below.setdefault(step, _Node())
    node.bindings.append(binding)


def _object(
    node: _Node, at: Path, shape: dict[Path, frozenset[str]], closed: bool, raw: dict[Path, Binding]
) -> tuple[Any, Extract]:
    """A struct type for the objects at a path, and the function that spreads its rows into columns."""
    keys = list(node.below)
    if closed:
        here = [path[-1] for path in shape if path[:-1] == at]
        if len(here) > _MOST_KEYS:
            raise _NoFixedShapeError
        keys = [key for key in keys if key in here] + [key for key in here if key not in node.below]
    fields, spread = [], []
    for key in keys:
        path = (*at, key)
        child = node.below.get(key)
        if child is None:
            fields.append((key, msgspec.Raw, None))
            spread.append(_store([raw[path]]) if path in raw else None)
        else:
            kind, extract = _field(child, path, shape, closed, raw)
            fields.append((key, kind, None))
            spread.append(extract)
    names = [f"f{number}" for number in range(len(fields))]
    struct = msgspec.defstruct(
        "Row",
        [(name, kind, default) for name, (_, kind, default) in zip(names, fields, strict=True)],
        rename=dict(zip(names, (key for key, _, _ in fields), strict=True)),
        forbid_unknown_fields=closed,
        gc=False,
    )
    return struct, _spreader(struct(), spread)


def _spreader(empty: Any, spread: list[Extract | None]) -> Extract:
    def extract(rows: Sequence[Any], into: Columns) -> None:
        if not rows or not spread:
            return
        try:
            columns = list(zip(*map(astuple, rows), strict=True))
        except TypeError:  # some rows lack the object
            columns = list(zip(*map(astuple, [row or empty for row in rows]), strict=True))
        for column, each in zip(columns, spread, strict=True):
            if each is not None:
                each(column, into)

    return extract


def _field(
    node: _Node, path: Path, shape: dict[Path, frozenset[str]], closed: bool, raw: dict[Path, Binding]
) -> tuple[Any, Extract]:
    seen = shape.get(path, frozenset())
    if not node.below:
        return _leaf_type(node.bindings, seen), _store(node.bindings)
    if node.bindings or not seen <= {"dict", "NoneType"} or any(step.isdigit() for step in node.below):
        return Any, _store_below(node, ())
    kind, extract = _object(node, path, shape, closed, raw)
    return kind | None, extract


def _leaf_type(bindings: list[Binding], seen: frozenset[str]) -> Any:
    kinds = {binding.kind for binding in bindings}
    if len(kinds) > 1:
        return Any
    kind = kinds.pop()
    if kind is Slot.TIME and seen and seen <= {"int", "float", "NoneType"} and seen != {"NoneType"}:
        return int | float | None
    return _NARROW[kind] if seen <= _USUAL.get(kind, _TEXTUAL) else _WIDE[kind]


def _store(bindings: list[Binding]) -> Extract:
    def extract(column: Sequence[Any], into: Columns) -> None:
        for binding in bindings:
            into[binding] = column

    return extract


def _store_below(node: _Node, at: Path) -> Extract:
    """For objects that are now objects, now something else: decoded as they are, then walked."""
    found = list(_bindings_below(node, at))

    def extract(column: Sequence[Any], into: Columns) -> None:
        for binding, path in found:
            into[binding] = [admit(binding, value_at(value, path)) for value in column]

    return extract


def _bindings_below(node: _Node, at: Path) -> Iterator[tuple[Binding, Path]]:
    for binding in node.bindings:
        yield binding, at
    for step, child in node.below.items():
        yield from _bindings_below(child, (*at, step))


def admit(binding: Binding, value: Any) -> Any:
    """The value if its JSON type can mean something for the binding's slot, else None."""
    match binding.kind:
        case Slot.NUMBER | Slot.DURATION | Slot.TIME:
            return None if isinstance(value, (bool, dict, list)) else value
        case Slot.NAME | Slot.FLAG:
            return None if isinstance(value, (dict, list)) else value
        case _:
            return value
