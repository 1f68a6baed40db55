"""What a dialect is: how its objects are recognised, and where its calls are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from llmmon.formats.mapping import CALL_KEY, SLOTS, Binding, Mark, Path, Test, passes

Object = dict[str, Any]
Row = dict[str, Any]  # "slot" or "slot:unit" -> value: one call; "tags" -> an object of more
Feed = Callable[[Object], Iterable[Row]]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a tool call as a log has it (its request, its result, or both), or a compaction of a context.

    `call` is the `request_id` of the LLM call that asked for it; moments are as they are logged; `failed` is what the
    log says of the outcome, None where it says nothing; `spoken`: a message tells of it, no record of the tool.
    """

    kind: str = "tool"  # or "compaction"
    id: Any = None
    tool: Any = None
    server: Any = None
    session: Any = None
    trace: Any = None
    subagent: Any = None
    call: Any = None
    start: Any = None
    end: Any = None
    latency_us: float | None = None
    arguments: Any = None
    result: Any = None
    failed: bool | None = None
    error: Any = None
    spoken: bool = False


StepFeed = Callable[[Object], Iterable[Step]]


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect, as a row of `formats.DIALECTS`.

    An object is of it if it passes any of `marks` (and `proof`, where keys alone do not tell). Where a call
    is one object, `bindings` say where its slots are, and a typed decoder is made of them. Otherwise `open`
    gives a function from an object to its calls (none, one or many), with what it must remember between
    objects; it never raises.
    """

    name: str
    title: str
    marks: tuple[Mark, ...]
    proof: Callable[[Object], bool] | None = None  # only with `open`
    only: Mark = ()  # which of its objects are calls; all without it
    bindings: tuple[Binding, ...] = ()
    open: Callable[[], Feed] | None = None
    steps: Callable[[], StepFeed] | None = None  # where it records tool calls otherwise than in messages
    tags_at: tuple[Path, ...] = ()  # objects that hold tags, beside the usual
    naive: str | None = None  # zone of stamps that name none, where the dialect settles it
    splittable: bool = True  # False: earlier objects must be seen first, so a file is one span
    repeats: bool = False  # True: a call is often logged more than once; `call_key` (else `request_id`) tells which
    nests: bool = False  # True: a call may stand inside another (`call_parent`), which counts the same again
    samples: bool = False  # True: its rows are metric samples, not calls
    lacks: str = ""  # what its calls do not carry, in a plain word for `inspect`

    def has_keys(self, keys: frozenset[str]) -> bool:
        """Whether objects with these keys can be of it."""
        return any(all(test.key in keys for test in mark) for mark in self.marks)

    def claims(self, found: Object) -> bool:
        """Whether an object is of it."""
        return any(passes(mark, found) for mark in self.marks) and (self.proof is None or self.proof(found))


def bindings_of(dialect: Dialect) -> tuple[Binding, ...]:
    """A dialect's bindings; where it can hold a call twice, the call's identifier also as its key."""
    if not (dialect.repeats or dialect.nests) or any(b.slot == CALL_KEY for b in dialect.bindings):
        return dialect.bindings
    keys = (Binding(CALL_KEY, b.rank, b.path, b.unit) for b in dialect.bindings if b.slot == "request_id")
    return (*dialect.bindings, *keys)


def marks(*alternatives: str) -> tuple[Mark, ...]:
    """Fingerprints: each text names keys that must be there, `key=word|word` those with one of some values.

    `key/inner` is a value inside another, `key!=word|word` one with none of some values.
    """
    return tuple(tuple(_test(part) for part in text.split()) for text in alternatives)


def _test(part: str) -> Test:
    path, equals, words = part.partition("=")
    key, *below = path.removesuffix("!").split("/")
    found = tuple(words.split("|")) if equals else ()
    if path.endswith("!"):
        return Test(key, (), tuple(below), found)
    return Test(key, found, tuple(below))


def bind(**slots: str | tuple[str, ...]) -> tuple[Binding, ...]:
    """Bindings from `slot="path"` or `slot=("path:unit", "second.choice")`; dots separate steps, `\\.` is a dot."""
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
    steps = path.replace("\\.", "\0").split(".")
    return Binding(slot, rank, tuple(step.replace("\0", ".") for step in steps), unit)


def below(key: str, bindings: Iterable[Binding], shift: int = 0) -> tuple[Binding, ...]:
    """The same bindings for objects that stand under a key; `shift` is added to their ranks."""
    return tuple(Binding(b.slot, b.rank + shift, (key, *b.path), b.unit) for b in bindings)
