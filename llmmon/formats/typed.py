"""Decoders made at run time from a mapping: only the needed fields, with the types the head showed.

What does not fit such a decoder raises, and is then read one line at a time; so it may be narrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, reduce
from itertools import compress, repeat
from operator import attrgetter, eq, is_, or_
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec
import numpy as np

from llmmon.formats.leaves import (
    UNREADABLE,
    Columns,
    Extract,
    Node,
    both,
    first_of_lists,
    leaf,
    marks_in,
    stored,
    stored_below,
    stored_marked,
)
from llmmon.formats.mapping import OPENED_TEXTS, Binding, FieldMapping, Path, Shape, Test, is_selector
from llmmon.metrics.columns import BoolArray, IntArray

_MOST_KEYS: Final = 60  # an object with more different keys than this is no fixed shape

Mask = Callable[[Sequence[Any]], BoolArray]


class Sorted(msgspec.Struct, frozen=True, eq=False):
    """Decoded rows by what they are; None: all of them are calls."""

    calls: BoolArray
    skipped: BoolArray  # of the dialect, and no call; the others are looked at one by one


class TypedDecoder(msgspec.Struct, frozen=True, eq=False):
    """Decodes lines of one mapping; `extract` turns decoded rows into a column a binding.

    `texts_at` is where undecoded output and prompt texts lie, so that their presence is known;
    `opened_at` is where a text may hold a whole record (an envelope), which must be looked at.
    """

    decoder: msgspec.json.Decoder[Any]
    extract: Extract
    texts_at: tuple[Binding, ...]
    opened_at: tuple[Binding, ...]
    by_slot: dict[str, list[Binding]]
    calls: Mask | None  # which rows pass what is required; None: all do
    skipped: Mask | None  # which others are certainly no call; None: that is not known

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
    root = Node()
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
        known = _as_in_shape(kind, mapping.shape)
        calls, skipped = _all_of([_any_of(kind, sorted(keys)), known]), _all_of([_none_of(kind, sorted(keys)), known])
    return TypedDecoder(msgspec.json.Decoder(kind), extract, tuple(texts_at), tuple(opened_at), by_slot, calls, skipped)


def _masks(kind: Any, mapping: FieldMapping) -> tuple[Mask | None, Mask | None]:
    """Which rows pass all that is required, and which are of the dialect all the same, and of no other."""
    if mapping.rivals is None:
        return None, None
    calls = _all_of([_passing(kind, test) for test in mapping.required])
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
    nothing = None if test.below else msgspec.UNSET

    def mask(rows: Sequence[Any]) -> BoolArray:
        column = _values(rows, names)
        if allowed:
            return np.fromiter(map(allowed.__contains__, column), np.bool_, len(rows))
        there = ~np.fromiter(map(is_, column, repeat(nothing)), np.bool_, len(rows))
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


def _none_of(kind: Any, keys: Sequence[str]) -> Mask:
    """Which rows have nothing at any of the keys."""
    mask = _any_of(kind, keys)
    return lambda rows: ~mask(rows)


def _as_in_shape(kind: Any, shape: Shape) -> Mask:
    """Which rows have no object of an unknown shape at a top-level key that may hold anything."""
    fields = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    known = {
        name: {path[1] for path, _ in shape if path[0] == key and len(path) == 2}
        for name, key in fields
        if kind.__annotations__[name] is Any
    }

    def mask(rows: Sequence[Any]) -> BoolArray:
        found = np.ones(len(rows), np.bool_)
        for name, below in known.items():
            column = list(map(attrgetter(name), rows))
            for at in np.flatnonzero(np.fromiter(map(is_, map(type, column), repeat(dict)), np.bool_, len(rows))):
                value = column[at]
                found[at] &= value.keys() <= below and dict not in map(type, value.values())
        return found

    return mask


def reachable(bindings: Iterable[Binding], shape: Shape) -> list[Binding]:
    """The bindings without those below a path where the head has numbers: an object there is read on its own."""
    numbers = {path for path, kinds in shape if kinds & {"int", "float"} and kinds <= _NUMBERS}
    return [b for b in bindings if not any(b.path[:depth] in numbers for depth in range(1, len(b.path)))]


_NUMBERS: Final = frozenset({"int", "float", "NoneType"})


class _NoFixedShapeError(Exception):
    """The objects differ too much for a decoder of their own."""


def _node_at(root: Node, path: Path) -> Node:
    node = root
    for step in path:
        node = node.below.setdefault(step, Node())
    return node


class _Field(NamedTuple):
    """A key, the type of its value, what to do with its column, and what stands for it where it is missing."""

    key: str
    kind: Any
    extract: Extract | None
    missing: Any = None
    demanded: bool = False


class _Compiler:
    """Types and extracting functions for the nodes of one mapping."""

    def __init__(self, mapping: FieldMapping, texts_at: Sequence[Binding]) -> None:
        self._shape = dict(mapping.shape)
        self._closed = mapping.closed
        self._known = mapping.known
        self._tested = {test.path: test for test in (*mapping.claimed, *mapping.required)}
        self._strict = mapping.rivals is None  # what is required is demanded of the decoder
        self._worded = {path for path, test in self._tested.items() if test.allowed or test.forbidden}
        self._rivals = set(mapping.rivals or ())
        self._texts_at: dict[Path, list[Binding]] = {}
        for binding in texts_at:
            self._texts_at.setdefault(binding.path, []).append(binding)

    def whole(self, root: Node) -> tuple[Any, Extract]:
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

    def _fields(self, node: Node, at: Path) -> list[_Field]:
        keys = list(node.below)
        if self._closed:
            here = [path[-1] for path in self._shape if path[:-1] == at]
            if len(here) > _MOST_KEYS:
                raise _NoFixedShapeError
            keys = [key for key in keys if key in here] + [key for key in here if key not in node.below]
        return [self._field_of(node.below.get(key), (*at, key)) for key in keys]

    def _field_of(self, child: Node | None, path: Path) -> _Field:
        if child is not None:
            kind, extract = self._typed(child, path)
            opened = [binding for binding in self._texts_at.get(path, ()) if binding.slot == "opened"]
            extract = both(extract, stored(opened)) if opened and extract else extract
            struct = _struct_in(kind)
            if self._strict and any(test[: len(path)] == path for test in self._tested):
                return _Field(path[-1], self._demanded(kind, struct, path), extract, demanded=True)
            if path in self._tested:  # null is there, too, where the test is of a key
                return _Field(path[-1], kind, extract, msgspec.UNSET if len(path) == 1 else None)
            return _Field(path[-1], kind, extract, struct() if struct else None)
        texts = self._texts_at.get(path)
        if texts is None:
            return _Field(path[-1], msgspec.Raw, None)
        whole = any(binding.slot == "opened" for binding in texts)
        return _Field(path[-1], Any if whole else msgspec.Raw, stored(texts))

    def _typed(self, node: Node, path: Path) -> tuple[Any, Extract | None]:
        seen = self._shape.get(path, frozenset())
        if not node.below:
            if node.bindings:
                kind, extract = leaf(node.bindings, seen)
                return str | None if kind is Any and path in self._worded else kind, extract
            return self._only_tested(path), None
        if not node.bindings and seen and seen <= _LISTS and node.below.keys() == {"0"}:
            kind, inner = self._typed(node.below["0"], (*path, "0"))
            return list[kind] | None, inner and first_of_lists(inner)  # type: ignore[valid-type]
        if not node.bindings and (marks := marks_in(node)):
            return msgspec.Raw, stored_marked(node, marks)
        if node.bindings or not seen <= _OBJECTS or any(step.isdigit() or is_selector(step) for step in node.below):
            if self._tests_in(path):
                raise _NoFixedShapeError
            return Any, stored_below(node)
        kind, extract = _struct(self._fields(node, path), closed=self._closed)
        return kind | None, extract

    def _demanded(self, kind: Any, struct: Any, path: Path) -> Any:
        """The type of a value without which a row does not fit."""
        test = self._tested.get(path)
        if test is not None and test.allowed:
            return Literal[test.allowed]
        if test is not None and test.forbidden:
            words = "|".join(map(re.escape, test.forbidden))
            return Annotated[str, msgspec.Meta(pattern=f"^(?!(?:{words})$)")]
        if test is None or struct is not None or len(path) == 1:
            return struct or kind
        return _THERE if kind is Any else reduce(or_, (each for each in get_args(kind) if each is not type(None)))

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
    named = list(zip(names, fields, strict=True))
    struct = msgspec.defstruct(
        "Row",
        [(name, each.kind) if each.demanded else (name, each.kind, each.missing) for name, each in named],
        rename={name: each.key for name, each in named},
        forbid_unknown_fields=closed,
        kw_only=True,
        frozen=True,
        gc=False,
    )
    empty = None if any(each.demanded for each in fields) else struct()
    spread = {name: field.extract for name, field in named if field.extract is not None}
    return struct, _spreader(empty, spread)


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


class CutLines(Sequence[bytes]):
    """The lines of a chunk, cut out when asked for; `edges` are where they start, and where the last one ends."""

    def __init__(self, chunk: Any, edges: IntArray) -> None:
        self._chunk = chunk
        self.edges = edges

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __getitem__(self, at: Any) -> Any:
        return bytes(self._chunk[self.edges[at] : self.edges[at + 1]])


def decoded_at_once(typed: TypedDecoder, chunk: Any) -> tuple[list[Any], CutLines] | None:
    """The rows of all lines of a chunk; None where a line does not fit, or is not one object and nothing else."""
    data = np.frombuffer(chunk, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    if not len(ends) or ends[-1] != len(data) - 1:
        return None
    edges = np.append(0, ends + 1)
    last = data[ends - 1]
    if (last == _RETURN).any():
        last = np.where(last == _RETURN, data[ends - 2], last)
    if not ((data[edges[:-1]] == _OPENING).all() and (last == _CLOSING).all()):
        return None
    try:
        rows = typed.decoder.decode_lines(chunk)
    except UNREADABLE:
        return None
    # a value that begins a line and one that ends the line before are never parts of one: as many, one on each
    return (rows, CutLines(chunk, edges)) if len(rows) == len(ends) else None


_NEWLINE, _RETURN, _OPENING, _CLOSING = b"\n\r{}"


def decoded_each(typed: TypedDecoder, lines: Sequence[bytes]) -> tuple[list[Any], list[int]]:
    """The rows of the lines that fit a decoder, and the places of the others."""
    rows: list[Any] = []
    others: list[int] = []
    left = iter(lines)
    while True:
        try:
            rows.extend(map(typed.decoder.decode, left))  # up to the end, or past the next that does not fit
            return rows, others
        except UNREADABLE:
            others.append(len(rows) + len(others))
