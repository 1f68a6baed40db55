"""Which tags the calls of a file carry, from its head: scalar keys that are no field, and the usual objects of tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.aliases import TAG_PLACES, bindings_at
from llmmon.formats.detection import head_objects
from llmmon.formats.dialect import Dialect, Feed, Object
from llmmon.formats.dialects.native import OWN_KEYS
from llmmon.formats.layouts import layout_of
from llmmon.formats.mapping import Path, value_at

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
