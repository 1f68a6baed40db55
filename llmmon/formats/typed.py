"""Decoders made at run time from a mapping: only the needed fields, with the types the head showed.

What does not fit such a decoder raises, and is then read one line at a time; so it may be narrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec.structs import astuple

from llmmon.formats.mapping import (
    OPENED_TEXTS,
    Binding,
    FieldMapping,
    Path,
    Shape,
    Slot,
    admit,
    is_selector,
    selector_of,
    value_at,
)
from llmmon.formats.values import all_missing

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MOST_KEYS: Final = 60  # an object with more different keys than this is no fixed shape

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


class _Node(msgspec.Struct):
    """One step of the paths: what is bound here, and what is below."""

    bindings: list[Binding] = msgspec.field(default_factory=list)
    below: dict[str, _Node] = msgspec.field(default_factory=dict)


Columns = dict[Binding, Sequence[Any]]
Extract = Callable[[Sequence[Any], Columns], None]


class TypedDecoder(msgspec.Struct, frozen=True, eq=False):
    """Decodes lines of one mapping; `extract` turns decoded rows into a column a binding.

    `texts_at` is where undecoded output and prompt texts lie, so that their presence can be told;
    `opened_at` is where a text may hold a whole record (an envelope), which must be looked at.
    """

    decode: Callable[[Any], Any]
    extract: Extract
    texts_at: tuple[Binding, ...]
    opened_at: tuple[Binding, ...]
    by_slot: dict[str, list[Binding]]

    def bound_to(self, slot: str) -> list[Binding]:
        """The bindings of a slot."""
        return self.by_slot.get(slot, [])

    def columns(self, rows: Sequence[Any]) -> Columns:
        """One sequence of raw values a binding."""
        found: Columns = {}
        self.extract(rows, found)
        return found


@lru_cache(maxsize=64)  # every span needs it
def compile_decoder(mapping: FieldMapping, slots: frozenset[str]) -> TypedDecoder | None:
    """The decoder for the bindings of the needed slots, None where the objects have no fixed shape."""
    root = _Node()
    texts_at: list[Binding] = []
    by_slot: dict[str, list[Binding]] = {}
    for binding in reachable(mapping.bindings, mapping.shape):
        if binding.slot in slots:
            _insert(root, binding)
            by_slot.setdefault(binding.slot, []).append(binding)
        elif binding.slot in ("output", "prompt") and mapping.closed:
            texts_at.append(binding)
    if all(binding.slot == "prompt" for binding in texts_at) and "output" not in by_slot:
        texts_at = []  # a prompt shows something only beside an answer
    texts = {path[0] for path, kinds in mapping.shape if len(path) == 1 and "str" in kinds} if mapping.closed else set()
    opened_at = [Binding("opened", 0, (key,)) for key in OPENED_TEXTS if key in texts]
    compiler = _Compiler(mapping, [*texts_at, *opened_at])
    try:
        kind, extract = compiler.whole(root)
    except (_NoFixedShapeError, ValueError):  # or keys with a quote or backslash in them
        return None
    decoder = msgspec.json.Decoder(kind)
    return TypedDecoder(decoder.decode, extract, tuple(texts_at), tuple(opened_at), by_slot)


def reachable(bindings: Iterable[Binding], shape: Shape) -> list[Binding]:
    """The bindings without those below a path where the head has numbers: an object there is read on its own."""
    numbers = {path for path, kinds in shape if kinds & {"int", "float"} and kinds <= _NUMBERS}
    return [b for b in bindings if not any(b.path[:depth] in numbers for depth in range(1, len(b.path)))]


_NUMBERS: Final = frozenset({"int", "float", "NoneType"})


class _NoFixedShapeError(Exception):
    """The objects differ too much for a decoder of their own."""


def _insert(root: _Node, binding: Binding) -> None:
    _node_at(root, binding.path).bindings.append(binding)


def _node_at(root: _Node, path: Path) -> _Node:
    node = root
    for step in path:
        node = node.below.setdefault(step, _Node())
    return node


_Field = tuple[str, Any, Extract | None]  # the key, its type, what to do with its column


class _Compiler:
    """Types and extracting functions for the nodes of one mapping."""

    def __init__(self, mapping: FieldMapping, texts_at: Sequence[Binding]) -> None:
        self._shape = dict(mapping.shape)
        self._closed = mapping.closed
        self._known = mapping.known
        self._required = {test.path: test for test in mapping.required}
        self._texts_at: dict[Path, list[Binding]] = {}
        for binding in texts_at:
            self._texts_at.setdefault(binding.path, []).append(binding)

    def whole(self, root: _Node) -> tuple[Any, Extract]:
        """The struct of whole objects: what is required has no default, so that decoding fails without it."""
        for path in self._required:
            _node_at(root, path)
        needed, others = self._split(self._fields(root, ()), ())
        if self._known:
            top = [path[0] for path in self._shape if len(path) == 1]
            known = {key for key, _, _ in (*needed, *others)}
            others += [(key, msgspec.Raw, None) for key in dict.fromkeys((*top, *self._known)) if key not in known]
        return _struct(needed, others, closed=self._closed or bool(self._known))

    def _split(self, fields: Sequence[_Field], at: Path) -> tuple[list[_Field], list[_Field]]:
        """The fields that must be there, and the others."""
        depth = len(at) + 1
        must = {path[depth - 1] for path in self._required if path[: depth - 1] == at and len(path) >= depth}
        return [field for field in fields if field[0] in must], [field for field in fields if field[0] not in must]

    def _demanded(self, kind: Any, path: Path) -> Any:
        """The type of a value that a test is about."""
        test = self._required.get(path)
        if test is None:
            return kind
        if test.allowed:
            return Literal[test.allowed]
        if test.forbidden:
            words = "|".join(map(re.escape, test.forbidden))
            return Annotated[str, msgspec.Meta(pattern=f"^(?!(?:{words})$)")]
        return kind

    def _fields(self, node: _Node, at: Path) -> list[_Field]:
        keys = list(node.below)
        if self._closed:
            here = [path[-1] for path in self._shape if path[:-1] == at]
            if len(here) > _MOST_KEYS:
                raise _NoFixedShapeError
            keys = [key for key in keys if key in here] + [key for key in here if key not in node.below]
        return [self._field_of(node.below.get(key), (*at, key)) for key in keys]

    def _field_of(self, child: _Node | None, path: Path) -> _Field:
        if child is not None:
            kind, extract = self._typed(child, path)
            opened = [binding for binding in self._texts_at.get(path, ()) if binding.slot == "opened"]
            return path[-1], kind, _both(extract, _store(opened)) if opened and extract else extract
        texts = self._texts_at.get(path)
        if texts is None:
            return path[-1], msgspec.Raw, None
        whole = any(binding.slot == "opened" for binding in texts)
        return path[-1], Any if whole else msgspec.Raw, _store(texts)

    def _typed(self, node: _Node, path: Path) -> tuple[Any, Extract | None]:
        seen = self._shape.get(path, frozenset())
        if not node.below:
            if not node.bindings:
                return self._demanded(_THERE if len(path) > 1 else msgspec.Raw, path), None
            kind, stored = leaf(node.bindings, seen)
            return self._demanded(kind, path), stored
        if not node.bindings and seen and seen <= _LISTS and node.below.keys() == {"0"}:
            kind, inner = self._typed(node.below["0"], (*path, "0"))
            return list[kind] | None, inner and _first(inner)  # type: ignore[valid-type]
        if not node.bindings and (marks := _marks(node)):
            return msgspec.Raw, _store_marked(node, marks)
        if node.bindings or not seen <= _OBJECTS or any(step.isdigit() or is_selector(step) for step in node.below):
            if self._tests_in(path):
                raise _NoFixedShapeError
            return Any, _store_below(node)
        needed, others = self._split(self._fields(node, path), path)
        kind, extract = _struct(needed, others, closed=self._closed)
        return kind if self._tests_in(path) else kind | None, extract

    def _tests_in(self, path: Path) -> bool:
        """Whether something at or inside a value must be there."""
        return any(test[: len(path)] == path and (test != path or len(path) > 1) for test in self._required)


_THERE: Final = str | int | float | bool | dict | list  # anything but null
_LISTS: Final = frozenset({"list", "NoneType"})
_OBJECTS: Final = frozenset({"dict", "NoneType"})


def _struct(needed: list[_Field], others: list[_Field], *, closed: bool) -> tuple[Any, Extract]:
    fields = needed + others
    names = [f"f{number}" for number in range(len(fields))]
    struct = msgspec.defstruct(
        "Row",
        [
            (name, kind) if number < len(needed) else (name, kind, None)
            for number, (name, (_, kind, _)) in enumerate(zip(names, fields, strict=True))
        ],
        rename=dict(zip(names, (key for key, _, _ in fields), strict=True)),
        forbid_unknown_fields=closed,
        gc=False,
    )
    return struct, _spreader(struct, [extract for _, _, extract in fields])


def _spreader(struct: Any, spread: list[Extract | None]) -> Extract:
    def extract(rows: Sequence[Any], into: Columns) -> None:
        if not rows or not spread:
            return
        try:
            columns = list(zip(*map(astuple, rows), strict=True))
        except TypeError:  # some rows lack the object
            empty = struct()
            columns = list(zip(*map(astuple, [row or empty for row in rows]), strict=True))
        for column, each in zip(columns, spread, strict=True):
            if each is not None:
                each(column, into)

    return extract


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
        return int | float | None, _store(bindings)
    return NARROW[kind] if seen <= _USUAL.get(kind, _TEXTUAL) else _WIDE[kind], _store(bindings)


def _both(first: Extract, second: Extract) -> Extract:
    def extract(column: Sequence[Any], into: Columns) -> None:
        first(column, into)
        second(column, into)

    return extract


def _store(bindings: list[Binding]) -> Extract:
    def extract(column: Sequence[Any], into: Columns) -> None:
        for binding in bindings:
            into[binding] = column

    return extract


def _admitted(bindings: list[Binding]) -> Extract:
    def extract(column: Sequence[Any], into: Columns) -> None:
        for binding in bindings:
            into[binding] = [admit(binding, value) for value in column]

    return extract


def _first(below: Extract) -> Extract:
    """For lists of which only the first element is bound."""

    def extract(column: Sequence[Any], into: Columns) -> None:
        below([value[0] if value else None for value in column], into)

    return extract


def _store_below(node: _Node) -> Extract:
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


def _marks(node: _Node) -> tuple[bytes, ...]:
    """The words of which one must stand in a list if any of its elements is selected; none if that cannot be told."""
    marks: list[bytes] = []
    for step in node.below:
        tests = selector_of(step).tests if is_selector(step) else ()
        words = next((words for _, words, without in tests if not without), frozenset())
        if not words:
            return ()
        marks += [f'"{word}"'.encode() for word in sorted(words)]
    return tuple(marks)


def _store_marked(node: _Node, marks: tuple[bytes, ...]) -> Extract:
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


def _bindings_below(node: _Node, at: Path) -> Iterator[tuple[Binding, Path]]:
    for binding in node.bindings:
        yield binding, at
    for step, child in node.below.items():
        yield from _bindings_below(child, (*at, step))
