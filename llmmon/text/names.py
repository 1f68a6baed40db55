"""Look names up in tables, with "did you mean" for unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from llmmon.errors import UsageError

Row = TypeVar("Row")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, or None."""
    from difflib import get_close_matches  # only needed where a name is unknown

    by_fold = {candidate.casefold(): candidate for candidate in known}
    found = get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.6)
    swapped = (one for one in found if sorted(one) == sorted(name.casefold()))  # letters in another order come first
    best = next(swapped, found[0] if found else None)
    return None if best is None else by_fold[best]


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """`unknown metric 'latncy_ms', did you mean 'latency_ms'?`, at most three names, or a short list of all."""
    names = sorted(known)
    guess = nearest(name, names)
    guesses = [guess] if guess else _related(name, names)
    if guesses:
        return f"unknown {kind} {name!r}, did you mean {' or '.join(map(repr, guesses))}?"
    if len(names) <= _SHORT_LIST:
        return f"unknown {kind} {name!r}, known: {', '.join(names)}"
    where = f"`llmmon docs {_PAGES[kind]}` lists them" if kind in _PAGES else "and none is similar"
    return f"unknown {kind} {name!r}, {where}"


_SHORT_LIST: Final = 12  # names that are shown where none is similar
_MOST_GUESSES: Final = 3
_PAGES: Final = {"metric": "metrics", "field": "metrics", "figure": "metrics", "dialect": "formats"}


def _related(name: str, names: Iterable[str]) -> list[str]:
    """The shortest names that share a word with this one."""
    words = {word for word in name.casefold().replace("-", "_").split("_") if len(word) > _SHORT_WORD}
    found = [one for one in names if words & set(one.casefold().split("_"))]
    return sorted(found, key=lambda one: (len(one), one))[:_MOST_GUESSES]


_SHORT_WORD: Final = 2  # `ms` is in many names


def lookup(table: Mapping[str, Row], name: str, kind: str) -> Row:
    """The row called `name`; raises `UsageError` naming the nearest one."""
    try:
        return table[name]
    except KeyError:
        raise UsageError(unknown(kind, name, table)) from None
