"""What a file is, from its head: its layout, its dialects, and the mapping of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from llmmon.formats import DIALECTS
from llmmon.formats.aliases import tag_bindings
from llmmon.formats.bodies import body_in
from llmmon.formats.dialect import Dialect, bindings_of
from llmmon.formats.dialects.native import OWN_KEYS
from llmmon.formats.envelopes import Claimed, may_open, objects_in
from llmmon.formats.home_made import GENERIC, resolve
from llmmon.formats.layouts import Layout, elements_of, layout_of
from llmmon.formats.lines import UnreadableError
from llmmon.formats.mapping import Binding, Mapping, Mark, passes, shape_of
from llmmon.formats.plan import ReadPlan
from llmmon.record import TAG_PREFIX

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
        if line.strip():
            try:
                each = layout.object_of(line)
            except UnreadableError:
                continue
            if each is not None:
                found.append(objects_in(each, forced)[:HEAD_LINES])
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


def _is_plain(mapping: Mapping, slots: frozenset[str]) -> bool:
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


def mapping_of(name: str, rows: Sequence[dict[str, Any]], wanted: Wanted) -> Mapping | None:
    """The mapping of a dialect's objects, None where it brings code."""
    if name == GENERIC:
        return resolve(rows, wanted.overrides, wanted.tags, wanted.naive)
    dialect = DIALECTS[name]
    if dialect.open is not None:
        return None
    extra = (*wanted.overrides, *tag_bindings(wanted.tags, dialect.tags_at))
    return Mapping(
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
