"""What a file is, from its head: its dialects, and the mapping of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from llmmon.formats import DIALECTS, claimant
from llmmon.formats.aliases import resolve
from llmmon.formats.dialect import Dialect
from llmmon.formats.lines import UnreadableError, object_of
from llmmon.formats.mapping import Binding, Mapping, shape_of
from llmmon.formats.native import OWN_KEYS
from llmmon.formats.reading import GENERIC, ReadPlan
from llmmon.record import TAG_PREFIX

HEAD_LINES: Final = 200


class Wanted(msgspec.Struct, frozen=True):
    """What a command asks of reading: fields, tags, `--map`, `--dialect`, `--naive-tz`."""

    fields: frozenset[str]
    tags: tuple[str, ...] = ()
    overrides: tuple[Binding, ...] = ()
    dialect: str | None = None
    naive: str = "UTC"


def head_objects(head: bytes) -> list[dict[str, Any]]:
    """The objects on the first lines of a file; a last line that may be cut is left out."""
    found = []
    for line in head.split(b"\n")[:HEAD_LINES]:
        if line.strip():
            try:
                found.append(object_of(line))
            except UnreadableError:
                continue
    return found


def plan_for(head: bytes, wanted: Wanted) -> ReadPlan:
    """How to read a file whose first bytes (whole lines) are `head`."""
    objects = head_objects(head)
    names = [_name(claimant(found, wanted.dialect)) for found in objects]
    by_count = [name for name, _ in Counter(names).most_common()]
    rows = {name: [o for o, its in zip(objects, names, strict=True) if its == name] for name in by_count}
    found = [(name, _mapping(name, rows[name], wanted)) for name in by_count]
    mappings = [mapping for _, mapping in found if mapping is not None]
    if GENERIC not in rows:
        mappings.append(resolve([], wanted.overrides, wanted.tags, wanted.naive))
    return ReadPlan(
        mappings=tuple(mappings),
        fields=wanted.fields | {TAG_PREFIX + tag for tag in wanted.tags},
        typed=bool(found) and found[0][1] is not None,
        label=label_of(rows.get(GENERIC, [])),
        forced=wanted.dialect,
        naive=wanted.naive,
    )


def label_of(rows: Sequence[dict[str, Any]]) -> str:
    """`llmmon` where all keys are the record's own, else `generic`."""
    return "llmmon" if rows and all(row.keys() <= OWN_KEYS for row in rows) else GENERIC


def _name(dialect: Dialect | None) -> str:
    return GENERIC if dialect is None else dialect.name


def _mapping(name: str, rows: Sequence[dict[str, Any]], wanted: Wanted) -> Mapping | None:
    if name == GENERIC:
        return resolve(rows, wanted.overrides, wanted.tags, wanted.naive)
    dialect = DIALECTS[name]
    if dialect.open is not None:
        return None
    return Mapping(
        name, (*wanted.overrides, *dialect.bindings), shape_of(rows), required=dialect.required, naive=wanted.naive
    )
