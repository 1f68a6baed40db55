"""What a dialect is: how its objects are recognised, and where its calls are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from llmmon.formats.mapping import Binding, Path
from llmmon.formats.slots import SLOTS

Object = dict[str, Any]
Row = dict[str, Any]  # "slot" or "slot:unit" -> value: one call, or part of one
Feed = Callable[[Object], Iterable[Row]]


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect, as a row of `formats.DIALECTS`.

    Where a call is one object, `bindings` say where its slots are, and a typed decoder is made of them;
    `required` are paths that every such object has. Otherwise `open` gives a function from an object to
    its calls (none, one or many), with what it must remember between objects; it never raises.
    """

    name: str
    title: str
    claims: Callable[[Object], bool]
    bindings: tuple[Binding, ...] = ()
    required: tuple[Path, ...] = ()
    open: Callable[[], Feed] | None = None
    splittable: bool = True  # False: earlier objects must be seen first, so a file is one span
    repeats: bool = False  # True: a call may be logged more than once; `request_id` tells which
    samples: bool = False  # True: its rows are metric samples, not calls
    lacks: str = ""  # what its calls do not carry, in a plain word for `inspect`


def bind(**slots: str | tuple[str, ...]) -> tuple[Binding, ...]:
    """Bindings from `slot="path"` or `slot=("path:unit", "second.choice")`; dots separate steps."""
    return tuple(
        binding_of(slot, rank, text)
        for slot, texts in slots.items()
        for rank, text in enumerate((texts,) if isinstance(texts, str) else texts)
    )


def binding_of(slot: str, rank: int, text: str) -> Binding:
    """One binding from `path[:unit]`."""
    path, _, unit = text.partition(":")
    if slot not in SLOTS:
        raise KeyError(slot)
    return Binding(slot, rank, tuple(path.split(".")), unit)
