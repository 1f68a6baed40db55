"""Look names up in tables, with "did you mean" for unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

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
    """`unknown metric 'latncy_ms', did you mean 'latency_ms'?`, or the list where nothing is near."""
    names = sorted(known)
    guess = nearest(name, names)
    tail = f"did you mean {guess!r}?" if guess else f"known: {', '.join(names)}"
    return f"unknown {kind} {name!r}, {tail}"


def lookup(table: Mapping[str, Row], name: str, kind: str) -> Row:
    """The row called `name`; raises `UsageError` naming the nearest one."""
    try:
        return table[name]
    except KeyError:
        raise UsageError(unknown(kind, name, table)) from None
