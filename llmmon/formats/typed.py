"""Decoders made at run time from a mapping: only the needed fields, with the types the head showed.

What does not fit such a decoder raises, and is then read one line at a time; so it may be narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress, repeat
from operator import attrgetter, eq, is_
from typing import Any, Final, NamedTuple, get_args

import msgspec
import numpy as np

from llmmon.formats.mapping import (
    OPENED_TEXTS,
    Binding,
    FieldMapping,
    Path,
    Shape,
    Slot,
    Test,
    admit,
    is_selector,
    selector_of,
    value_at,
)
from llmmon.formats.values import all_missing
from llmmon.metrics.columns import BoolArray

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
Mask = Callable[[Sequence[Any]], BoolArray]


class Sorted(msgspec.Struct, frozen=True, eq=False):
    """Decoded rows by what they are; None: all of them are calls."""

    calls: BoolArray
    skipped: BoolArray  # of the dialect, and no call; the others are looked at one by one


class TypedDecoder(msgspec.Struct, frozen=True, eq=False):
    """Decodes lines of one mapping; `extract` turns decoded rows into a column a binding.

    `texts_at` is where undecoded output and prompt texts lie, so that their presence can be told;
    `opened_at` is where a text may hold a whole record (an envelope), which must be looked at.
    """

    decoder: msgspec.json.Decoder[Any]
    extract: Extract
    texts_at: tuple[Binding, ...]
    opened_at: tuple[Binding, ...]
    by_slot: dict[str, list[Binding]]
    calls: Mask | None  # which rows pass what is required; None: all do
    skipped: Mask | None  # which others are certainly no call; None: that cannot be told

    def bound_to(self, slot: str) -> list[Binding]:
        """The bindings of a slot."""
        return self.by_slot.get(slot, [])

    def columns(self, rows: Sequence[Any]) -> Columns:
        """One sequence of raw values a binding."""
        found: Columns = {}
        self.extract(rows, found)
        return found

    def sort(self, rows: Sequence[Any]) -> Sorted | None:
        """Which rows are calls, and which are none; None where all are."""
        if self.calls is None or not rows:
            return None
        calls = self.calls(rows)
        if calls.all():
            return None
        skipped = np.zeros(len(rows), np.bool_)
        if self.skipped is not None:
            skipped[~calls] = self.skipped(list(compress(rows, ~calls)))
        return Sorted(calls, skipped)


@lru_cache(maxsize=64)  # every span needs it
def compile_decoder(
    mapping: FieldMapping, slots: frozenset[str], evident: frozenset[str] = frozenset()
) -> TypedDecoder | None:
    """The decoder for the bindings of the needed slots, None where the objects have no fixed shape.

    Where slots are `evident`, rows that hold nothing at the top-level keys of any of them are no calls.
    """
    root = _Node()
    texts_at: list[Binding] = []
    by_slot: dict[str, list[Binding]] = {}
    for binding in reachable(mapping.bindings, mapping.shape):
        if binding.slot in slots:
            _node_at(root, binding.path).bindings.append(binding)
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
    calls, skipped = _masks(kind, mapping)
    if evident:
        signs = [*(b for slot in evident for b in by_slot.get(slot, ())), *texts_at, *opened_at]
        keys = {binding.path[0] for binding in signs}
        calls, skipped = _any_of(kind, sorted(keys)), _every
    return TypedDecoder(msgspec.json.Decoder(kind), extract, tuple(texts_at), tuple(opened_at), by_slot, calls, skipped)


def _masks(kind: Any, mapping: FieldMapping) -> tuple[Mask | None, Mask | None]:
    """Which rows pass all that is required, and which are of the dialect all the same, and of no other."""
    if not mapping.required:
        return None, None
    calls = _all_of([_passing(kind, test) for test in mapping.required])
    if mapping.rivals is None:
        return calls, None
    claimed = _all_of([_passing(kind, test) for test in mapping.claimed])
    return calls, _without([_attributes(kind, path) for path in mapping.rivals], claimed)


def _attributes(kind: Any, path: Path) -> str:
    """The names, with dots between them, of what holds a path's value in a decoded row."""
    names = []
    for step in path:
        kind = _struct_in(kind)
        names.append(kind.__struct_fields__[kind.__struct_encode_fields__.index(step)])
        kind = kind.__annotations__[names[-1]]
    return ".".join(names)


def _values(rows: Sequence[Any], names: str) -> Sequence[Any]:
    """What stands there in each row, None where nothing does."""
    try:
        return list(map(attrgetter(names), rows))
    except AttributeError:  # some rows lack an object on the way
        return [_value(row, names.split(".")) for row in rows]


def _value(row: Any, names: Sequence[str]) -> Any:
    for name in names:
        row = getattr(row, name, None)
    return row


def _passing(kind: Any, test: Test) -> Mask:
    names, allowed, forbidden = _attributes(kind, test.path), frozenset(test.allowed), frozenset(test.forbidden)

    def mask(rows: Sequence[Any]) -> BoolArray:
        column = _values(rows, names)
        if allowed:
            return np.fromiter(map(allowed.__contains__, column), np.bool_, len(rows))
        there = ~_missing(column)
        return there & ~np.fromiter(map(forbidden.__contains__, column), np.bool_, len(rows)) if forbidden else there

    return mask


def _missing(column: Sequence[Any], otherwise: Any = None) -> BoolArray:
    """Which values are `otherwise`, or None."""
    missing: BoolArray = np.fromiter(map(is_, column, repeat(None)), np.bool_, len(column))
    return (
        missing
        if otherwise is None
        else missing | np.fromiter(map(is_, column, repeat(otherwise)), np.bool_, len(column))
    )


def _without(names: Sequence[str], others: Mask) -> Mask:
    """Which rows have nothing at any of the names, and pass the other mask."""
    get, nothing = attrgetter(*names, names[0]), (None,) * (len(names) + 1)  # twice, so that it is always a tuple

    def mask(rows: Sequence[Any]) -> BoolArray:
        try:
            found = np.fromiter(map(eq, map(get, rows), repeat(nothing)), np.bool_, len(rows))
        except AttributeError:
            found = np.logical_and.reduce([_missing(_values(rows, each)) for each in names])
        return found & others(rows)

    return mask


def _all_of(masks: Sequence[Mask]) -> Mask:
    return lambda rows: np.logical_and.reduce([mask(rows) for mask in masks])


def _any_of(kind: Any, keys: Sequence[str]) -> Mask:
    """Which rows have something at any of the keys."""
    at = [kind.__struct_encode_fields__.index(key) for key in keys]
    found = [(kind.__struct_fields__[each], kind.__struct_defaults__[each]) for each in at]

    def mask(rows: Sequence[Any]) -> BoolArray:
        missing = np.ones(len(rows), np.bool_)
        for name, default in found:
            missing &= _missing(_values(rows, name), default)
        return ~missing

    return mask


def _every(rows: Sequence[Any]) -> BoolArray:
    return np.ones(len(rows), np.bool_)


def reachable(bindings: Iterable[Binding], shape: Shape) -> list[Binding]:
    """The bindings without those below a path where the head has numbers: an object there is read on its own."""
    numbers = {path for path, kinds in shape if kinds & {"int", "float"} and kinds <= _NUMBERS}
    return [b for b in bindings if not any(b.path[:depth] in numbers for depth in range(1, len(b.path)))]


_NUMBERS: Final = frozenset({"int", "float", "NoneType"})


class _NoFixedShapeError(Exception):
    """The objects differ too much for a decoder of their own."""


def _node_at(root: _Node, path: Path) -> _Node:
    node = root
    for step in path:
        node = node.below.setdefault(step, _Node())
    return node


class _Field(NamedTuple):
    """A key, the type of its value, what to do with its column, and what stands for it where it is missing."""

    key: str
    kind: Any
    extract: Extract | None
    missing: Any = None


class _Compiler:
    """Types and extracting functions for the nodes of one mapping."""

    def __init__(self, mapping: FieldMapping, texts_at: Sequence[Binding]) -> None:
        self._shape = dict(mapping.shape)
        self._closed = mapping.closed
        self._known = mapping.known
        self._tested = {test.path: test for test in (*mapping.claimed, *mapping.required)}
        self._worded = {path for path, test in self._tested.items() if test.allowed or test.forbidden}
        self._rivals = set(mapping.rivals or ())
        self._texts_at: dict[Path, list[Binding]] = {}
        for binding in texts_at:
            self._texts_at.setdefault(binding.path, []).append(binding)

    def whole(self, root: _Node) -> tuple[Any, Extract]:
        """The struct of whole objects."""
        for path in (*self._tested, *self._rivals):
            _node_at(root, path)
        fields = self._fields(root, ())
        if self._known:
            top = [path[0] for path in self._shape if len(path) == 1]
            known = {field.key for field in fields}
            more = dict.fromkeys((*top, *self._known))
            fields += [_Field(key, msgspec.Raw, None) for key in more if key not in known]
        return _struct(fields, closed=self._closed or bool(self._known))

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
            extract = _both(extract, _store(opened)) if opened and extract else extract
            struct = _struct_in(kind)
            return _Field(path[-1], kind, extract, struct() if struct and path not in self._tested else None)
        texts = self._texts_at.get(path)
        if texts is None:
            return _Field(path[-1], msgspec.Raw, None)
        whole = any(binding.slot == "opened" for binding in texts)
        return _Field(path[-1], Any if whole else msgspec.Raw, _store(texts))

    def _typed(self, node: _Node, path: Path) -> tuple[Any, Extract | None]:
        seen = self._shape.get(path, frozenset())
        if not node.below:
            if node.bindings:
                kind, extract = leaf(node.bindings, seen)
                return str | None if kind is Any and path in self._worded else kind, extract
            return self._only_tested(path), None
        if not node.bindings and seen and seen <= _LISTS and node.below.keys() == {"0"}:
            kind, inner = self._typed(node.below["0"], (*path, "0"))
            return list[kind] | None, inner and _first(inner)  # type: ignore[valid-type]
        if not node.bindings and (marks := _marks(node)):
            return msgspec.Raw, _store_marked(node, marks)
        if node.bindings or not seen <= _OBJECTS or any(step.isdigit() or is_selector(step) for step in node.below):
            if self._tests_in(path):
                raise _NoFixedShapeError
            return Any, _store_below(node)
        kind, extract = _struct(self._fields(node, path), closed=self._closed)
        return kind | None, extract

    def _only_tested(self, path: Path) -> Any:
        """The type of a value of which only a test is needed."""
        if path in self._worded:
            return str | None
        return msgspec.Raw if len(path) == 1 or path in self._rivals else _THERE | None

    def _tests_in(self, path: Path) -> bool:
        """Whether something inside a value is tested."""
        return any(len(test) > 1 and test[: len(path)] == path for test in (*self._tested, *self._rivals))


_THERE: Final = str | int | float | bool | dict | list
_LISTS: Final = frozenset({"list", "NoneType"})
_OBJECTS: Final = frozenset({"dict", "NoneType"})


def _struct(fields: Sequence[_Field], *, closed: bool) -> tuple[Any, Extract]:
    names = [f"f{number}" for number in range(len(fields))]
    struct = msgspec.defstruct(
        "Row",
        [(name, field.kind, field.missing) for name, field in zip(names, fields, strict=True)],
        rename=dict(zip(names, (field.key for field in fields), strict=True)),
        forbid_unknown_fields=closed,
        frozen=True,
        gc=False,
    )
    spread = {name: field.extract for name, field in zip(names, fields, strict=True) if field.extract is not None}
    return struct, _spreader(struct(), spread)


def _struct_in(kind: Any) -> Any:
    """The struct in a type such as `Struct | None`, None where there is none."""
    return next((each for each in (kind, *get_args(kind)) if hasattr(each, "__struct_fields__")), None)


def _spreader(empty: Any, spread: dict[str, Extract]) -> Extract:
    if not spread:
        return _nothing
    get, alone = attrgetter(*spread), len(spread) == 1

    def extract(rows: Sequence[Any], into: Columns) -> None:
        if not rows:
            return
        try:
            found = list(map(get, rows))
        except AttributeError:  # some objects are null
            found = [get(row or empty) for row in rows]
        columns = [found] if alone else zip(*found, strict=True)
        for column, each in zip(columns, spread.values(), strict=True):
            each(column, into)

    return extract


def _nothing(_rows: Sequence[Any], _into: Columns) -> None:
    pass


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
