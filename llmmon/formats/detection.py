"""Which tags the calls of a file carry, from its head: scalar keys that are no field, and the usual objects of tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from llmmon.formats import DIALECTS
from llmmon.formats.dialect import Dialect, Feed, Object, bindings_of
from llmmon.formats.dialects.bodies import body_in
from llmmon.formats.dialects.native import OWN_KEYS
from llmmon.formats.envelopes import Claimed, may_open, objects_in
from llmmon.formats.generic import GENERIC, TAG_PLACES, bindings_at, resolve, tag_bindings
from llmmon.formats.layouts import BLANK, LINES, Layout, UnreadableError, elements_of, layout_of
from llmmon.formats.mapping import (
    CALL_KEY,
    COMPLETENESS,
    EVIDENCE,
    Binding,
    FieldMapping,
    Mark,
    Path,
    passes,
    shape_of,
    sources_of,
    value_at,
)
from llmmon.metrics.record import TAG_PREFIX

_COMPLETENESS: Final = sources_of(frozenset(COMPLETENESS))


class ReadPlan(msgspec.Struct, frozen=True):
    """How a file is read, decided once from its head; small and picklable.

    `mappings` has one entry for each data dialect seen; with `typed` the first is tried on every line.
    `fields` are the record's fields that the command needs; `label` is what home-made rows are counted as;
    `extra` are the bindings of `--map` and of the tags that were asked for.
    """

    mappings: tuple[FieldMapping, ...]
    fields: frozenset[str]
    typed: bool = True
    label: str = GENERIC
    forced: str | None = None
    naive: str = "UTC"
    splittable: bool = True  # False: the file must be read from its beginning, as one span
    layout: Layout = LINES
    extra: tuple[Binding, ...] = ()
    repeats: bool = False  # True: calls may stand in it more than once (`formats.duplicates` keeps one of each)

    def mapping(self, dialect: str) -> FieldMapping | None:
        """The mapping for a dialect, None where the head had none of it."""
        return next((mapping for mapping in self.mappings if mapping.dialect == dialect), None)

    def slots(self, dialect: str) -> frozenset[str]:
        """The slots to read of a dialect's objects, "" for those that bring code.

        Home-made objects must show that they are calls, repeated calls which of them is the most complete.
        """
        needed = sources_of(self.fields) | {CALL_KEY}
        if dialect == GENERIC:
            return needed | sources_of(frozenset(EVIDENCE))
        return needed if dialect and not DIALECTS[dialect].repeats else needed | _COMPLETENESS


HEAD_LINES: Final = 200
WRAPPED: Final = "wrapped"  # home-made objects around the replies of providers


class Wanted(msgspec.Struct, frozen=True):
    """What a command asks of reading: fields, tags, `--map`, `--dialect`, `--naive-tz`."""

    fields: frozenset[str]
    tags: tuple[str, ...] = ()
    overrides: tuple[Binding, ...] = ()
    dialect: str | None = None
    naive: str = "UTC"


def head_objects(head: bytes, layout: Layout, forced: str | None = None) -> list[list[Claimed]]:
    """The records on each of the first lines of a file; lines that hold none are left out."""
    found = []
    for line in elements_of(head, layout)[:HEAD_LINES]:
        if line.strip(BLANK):
            try:
                objects = layout.objects_of(line)
            except UnreadableError:
                continue
            if objects:
                found.append([one for each in objects for one in objects_in(each, forced)][:HEAD_LINES])
    return found


def plan_for(head: bytes, wanted: Wanted) -> ReadPlan:
    """How to read a file whose first bytes (whole lines) are `head`."""
    layout = layout_of(head)
    lines = head_objects(head, layout, wanted.dialect)
    rows: dict[str, list[dict[str, Any]]] = {}
    for dialect, each in (pair for line in lines for pair in line):
        rows.setdefault(GENERIC if dialect is None else dialect.name, []).append(each)
    by_count = sorted(rows, key=lambda name: -len(rows[name]))
    found = [mapping for name in by_count if (mapping := mapping_of(name, rows[name], wanted)) is not None]
    tags = tag_bindings(wanted.tags)
    if GENERIC not in rows:
        found.append(resolve([], wanted.overrides, wanted.tags, wanted.naive))
    plan = ReadPlan(
        mappings=tuple(found),
        fields=wanted.fields | {TAG_PREFIX + tag for tag in wanted.tags},
        label=label_of(rows.get(GENERIC, [])),
        forced=wanted.dialect,
        naive=wanted.naive,
        splittable=layout.splittable and all(name == GENERIC or DIALECTS[name].splittable for name in rows),
        layout=layout,
        extra=(*wanted.overrides, *tags),
        repeats=any(name != GENERIC and DIALECTS[name].repeats for name in rows),
    )
    typed = bool(by_count) and layout.kind != "csv" and _is_typed(by_count[0], plan, lines)
    return msgspec.structs.replace(plan, typed=typed)


def _is_typed(name: str, plan: ReadPlan, lines: Sequence[Sequence[Claimed]]) -> bool:
    """Whether most lines can be read by a decoder made of the first mapping, and no line by mistake."""
    first = plan.mappings[0]
    if first.dialect != name or sum(len(line) for line in lines) > len(lines):
        return False
    return _is_plain(first, plan.slots(GENERIC) | {"output"}) if name == GENERIC else DIALECTS[name].proof is None


def _is_plain(mapping: FieldMapping, slots: frozenset[str]) -> bool:
    """Whether the keys of home-made objects say all: none is an envelope, or text here and an object there.

    What is bound to slots that are not needed does not matter.
    """
    shape = dict(mapping.shape)
    bound = {binding.path for binding in mapping.bindings if binding.slot in slots}
    above = {path[:depth] for path in bound for depth in range(1, len(path))}
    return (
        not may_open(mapping.shape)
        and not above & bound
        and all(shape.get(path, _OBJECTS) <= _OBJECTS for path in above)
    )


_OBJECTS: Final = frozenset({"dict", "NoneType"})


def label_of(rows: Sequence[dict[str, Any]]) -> str:
    """`llmmon` where all keys are the record's own, `wrapped` where replies stand inside, else `generic`."""
    if rows and all(row.keys() <= OWN_KEYS for row in rows):
        return "llmmon"
    return WRAPPED if any(body_in(row) is not None for row in rows) else GENERIC


def mapping_of(name: str, rows: Sequence[dict[str, Any]], wanted: Wanted) -> FieldMapping | None:
    """The mapping of a dialect's objects, None where it brings code."""
    if name == GENERIC:
        return resolve(rows, wanted.overrides, wanted.tags, wanted.naive)
    dialect = DIALECTS[name]
    if dialect.open is not None:
        return None
    extra = (*wanted.overrides, *tag_bindings(wanted.tags, dialect.tags_at))
    return FieldMapping(
        name,
        (*extra, *bindings_of(dialect)),
        shape_of(rows),
        required=_required(dialect, rows),
        naive=dialect.naive or wanted.naive,
    )


def _required(dialect: Dialect, rows: Sequence[dict[str, Any]]) -> Mark:
    """The fingerprint that most of the rows have, and what makes them calls."""
    passed = Counter(index for row in rows for index, mark in enumerate(dialect.marks) if passes(mark, row))
    best = passed.most_common(1)[0][0] if passed else 0
    narrowed = {test.key: test for test in (*dialect.marks[best], *dialect.only)}
    return tuple(narrowed.values())


_SCALARS: Final = (str, int, float)


def tags_in(head: bytes, forced: str | None = None) -> list[str]:
    """The names of the tags on the first lines of a file, in the order in which they appear."""
    feeds: dict[str, Feed] = {}
    found: dict[str, None] = {}
    for line in head_objects(head, layout_of(head), forced):
        for dialect, each in line:
            if dialect is None:
                found.update(dict.fromkeys(_home_made(each)))
            elif dialect.open is None:
                found.update(dict.fromkeys(_bound(dialect, each)))
            elif not dialect.samples:
                feed = feeds[dialect.name] = feeds.get(dialect.name) or dialect.open()
                found.update(dict.fromkeys(_fed(feed, each)))
    return list(found)


def _home_made(found: Object) -> Iterator[str]:
    for key, value in found.items():
        if isinstance(value, _SCALARS) and key not in OWN_KEYS and not bindings_at((key,)):
            yield key
    for place in TAG_PLACES:
        for key in _members(found, place) if place else ():
            if place == ("tags",) or not bindings_at((*place, key)):
                yield key


def _bound(dialect: Dialect, found: Object) -> Iterator[str]:
    taken = {binding.path for binding in dialect.bindings}
    for place in dict.fromkeys((*dialect.tags_at, *TAG_PLACES)):
        for key in _members(found, place) if place else ():
            if (*place, key) not in taken:
                yield key


def _members(found: Object, place: Path) -> Iterator[str]:
    inside = value_at(found, place)
    if isinstance(inside, dict):
        yield from (key for key, value in inside.items() if isinstance(value, _SCALARS))


def _fed(feed: Feed, found: Object) -> Iterator[str]:
    for row in feed(found):
        tags: Any = row.get("tags") or ()
        for place in tags if isinstance(tags, tuple) else (tags,):
            if isinstance(place, dict):
                yield from (k for k, value in place.items() if isinstance(k, str) and isinstance(value, _SCALARS))
