"""The values at the ends of paths: their JSON types for a typed decoder, and what makes columns of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from llmmon.formats.mapping import Binding, Path, Slot, admit, admitted_types, is_selector, selector_of, value_at
from llmmon.formats.values import all_missing

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

NARROW: Final[dict[Slot, Any]] = {
    Slot.NUMBER: float | None,
    Slot.DURATION: float | None,
    Slot.TIME: str | None,
    Slot.NAME: str | None,
    Slot.KEY: str | None,
    Slot.FLAG: bool | None,
    Slot.OUTCOME: str | None,
    Slot.TEXT: str | None,
}
_WIDE: Final[dict[Slot, Any]] = {
    Slot.NUMBER: float | str | None,
    Slot.DURATION: float | str | None,
    Slot.TIME: int | float | str | None,
    Slot.NAME: str | int | float | bool | None,
    Slot.KEY: str | int | float | bool | None,
    Slot.FLAG: str | int | float | bool | None,
    Slot.OUTCOME: Any,
    Slot.TEXT: Any,
}
_USUAL: Final[dict[Slot, frozenset[str]]] = {
    Slot.NUMBER: frozenset({"int", "float", "NoneType"}),
    Slot.DURATION: frozenset({"int", "float", "NoneType"}),
    Slot.FLAG: frozenset({"bool", "NoneType"}),
}
_SCALARS: Final = frozenset({"str", "int", "float", "bool", "NoneType"})
_TEXTUAL: Final = frozenset({"str", "NoneType"})
_STRUCTURES: Final = frozenset({"dict", "list"})
_STRUCTURED: Final = frozenset({Slot.TIME, Slot.DURATION})  # moments and lengths of time may be objects


class Node(msgspec.Struct):
    """One step of the paths: what is bound here, and what is below."""

    bindings: list[Binding] = msgspec.field(default_factory=list)
    below: dict[str, Node] = msgspec.field(default_factory=dict)


Columns = dict[Binding, Sequence[Any]]
Extract = Callable[[Sequence[Any], Columns], None]


def leaf(bindings: list[Binding], seen: frozenset[str]) -> tuple[Any, Extract]:
    """The JSON type of the values at a path, and what makes columns of them; `seen` are the types in the head."""
    kinds = {binding.kind for binding in bindings}
    if len(kinds) > 1 or any(binding.unit == "count" for binding in bindings):
        plain = bool(seen) and seen <= _SCALARS  # an object where the head had none may hold fields of its own
        return int | float | str | bool | None if plain else Any, _admitted(bindings)
    kind = kinds.pop()
    if (kind is Slot.TEXT and not seen <= _TEXTUAL) or (kind in _STRUCTURED and seen & _STRUCTURES):
        return Any, _admitted(bindings)
    if kind is Slot.TIME and seen and seen <= {"int", "float", "NoneType"} and seen != {"NoneType"}:
        return int | float | None, stored(bindings)
    return NARROW[kind] if seen <= _USUAL.get(kind, _TEXTUAL) else _WIDE[kind], stored(bindings)


def both(first: Extract, second: Extract) -> Extract:
    def extract(column: Sequence[Any], into: Columns) -> None:
        first(column, into)
        second(column, into)

    return extract


def stored(bindings: list[Binding]) -> Extract:
    def extract(column: Sequence[Any], into: Columns) -> None:
        for binding in bindings:
            into[binding] = column

    return extract


def _admitted(bindings: list[Binding]) -> Extract:
    def extract(column: Sequence[Any], into: Columns) -> None:
        types = set(map(type, column)) - {type(None)}
        for binding in bindings:
            fitting = types <= admitted_types(binding)
            into[binding] = column if fitting else [admit(binding, value) for value in column]

    return extract


def first_of_lists(below: Extract) -> Extract:
    """For lists of which only the first element is bound."""

    def extract(column: Sequence[Any], into: Columns) -> None:
        below([value[0] if value else None for value in column], into)

    return extract


def stored_below(node: Node) -> Extract:
    """For values that are now objects, now JSON in a text or something else: decoded as they are, then walked."""
    found = list(_bindings_below(node, ()))
    nothing = [None] * len(found)

    def extract(column: Sequence[Any], into: Columns) -> None:
        if all_missing(column):
            return
        # row by row, so that JSON in a text is decoded once
        rows = [
            nothing if value is None else [admit(binding, value_at(value, path)) for binding, path in found]
            for value in column
        ]
        for (binding, _), values in zip(found, zip(*rows, strict=True), strict=True):
            into[binding] = values

    return extract


def marks_in(node: Node) -> tuple[bytes, ...]:
    """The words of which one must stand in a list if any of its elements is selected; none without such words."""
    marks: list[bytes] = []
    for step in node.below:
        tests = selector_of(step).tests if is_selector(step) else ()
        words = next((words for _, words, without in tests if not without), frozenset())
        if not words:
            return ()
        marks += [f'"{word}"'.encode() for word in sorted(words)]
    return tuple(marks)


def stored_marked(node: Node, marks: tuple[bytes, ...]) -> Extract:
    """For lists of which only certain elements matter: only the few that hold one are decoded."""
    found = list(_bindings_below(node, ()))

    def extract(column: Sequence[Any], into: Columns) -> None:
        held = [None if raw is None else bytes(raw) for raw in column]
        texts = [text if text and any(mark in text for mark in marks) else None for text in held]
        if all_missing(texts):
            return
        lists = [None if text is None else msgspec.json.decode(text) for text in texts]
        for binding, path in found:
            into[binding] = [admit(binding, value_at(each, path)) for each in lists]

    return extract


def _bindings_below(node: Node, at: Path) -> Iterator[tuple[Binding, Path]]:
    for binding in node.bindings:
        yield binding, at
    for step, child in node.below.items():
        yield from _bindings_below(child, (*at, step))
