"""Home-made objects: which part of one is the call, what its keys mean, and in which unit lengths of time are.

An object is a call on evidence: a model, token counts, or a prompt with an output. The evidence may stand at the
top, in an object under any key of the first levels (`{"event": ..., "llm": {"model": ...}}`), or in a provider's
reply; what stands around it completes it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from llmmon.formats import REPLIES, replier
from llmmon.formats.aliases import CONTAINERS, bindings_at, fold, is_count, is_model, is_plain_count
from llmmon.formats.dialect import Dialect, Object, below
from llmmon.formats.dialects.bodies import BODY_KEYS, body_of
from llmmon.formats.dialects.native import OWN_KEYS
from llmmon.formats.mapping import (
    CALL_KEY,
    JOIN_KEY,
    RESULTS,
    Binding,
    FieldMapping,
    Path,
    Slot,
    admit,
    embedded,
    shape_of,
    value_at,
)
from llmmon.formats.timestamps import moments
from llmmon.formats.units import Units, foreign
from llmmon.formats.written_times import looks_like_time
from llmmon.metrics.columns import MISSING_TIME
from llmmon.metrics.record import LIMITS, TAG_PREFIX

GENERIC: Final = "generic"
_DEEPEST: Final = 6  # levels of objects that are looked at
_MOST_NODES: Final = 64  # objects of one row that are looked at
# what these hold is never the call itself, whatever its keys are called
_CLOSED: Final = frozenset(
    (
        "tags labels messages tools toolchoice functions schema jsonschema parameters headers logprobs choices "
        "candidates content contents limits ratelimit quota budget pricing prices config settings defaults env"
    ).split()
)
_HEADERS: Final = frozenset({"headers", "responseheaders", "httpheaders"})  # of which only limits are read
# objects that are a part of the object around them, rather than something of their own
_PARTS: Final = frozenset(
    (
        "usage tokenusage tokens tokencount tokencounts metrics stats timing timings cost costs request response "
        "result output input prompttokensdetails completiontokensdetails inputtokensdetails outputtokensdetails "
        "usagedetails usagemetadata error"
    ).split()
)
_COUNT_WORDS: Final = frozenset("input output prompt completion total in out".split())
_HOLDER, _AROUND, _NESTED, _UNNAMED, _BESIDE = 100, 300, 1000, 500, 4000  # added to the ranks of what stands there
_BEHIND: Final = 5000  # added to the rank of what the writer of the log knows better than the reply in it
_TIMES: Final = frozenset({"start", "end", "latency", "latency_part", "ttft", "first_output_at", "request_id"})

# where tags stand: in an object named for them, at the top, or in the other usual objects
TAG_PLACES: Final[tuple[Path, ...]] = (("tags",), (), ("metadata",), ("labels",), ("properties",), ("extra",))


def tag_bindings(tags: Sequence[str], places: Sequence[Path] = ()) -> list[Binding]:
    """Where a tag may stand: in the given places, else in the usual ones; at the top only where it is no field."""
    everywhere = dict.fromkeys((*places, *TAG_PLACES))
    return [
        Binding(TAG_PREFIX + tag, rank, (*at, tag))
        for tag in tags
        for rank, at in enumerate(everywhere)
        if at or tag not in OWN_KEYS
    ]


Reply = tuple[Path, Dialect]


def reply_in(row: Object) -> Reply | None:
    """Where a provider's reply stands in an object, the shallowest first, and whose it is."""
    for path, node in _nodes(row):
        dialect = replier(node)
        if dialect is not None and (not path or path[-1] in BODY_KEYS or dialect.name != "api_error"):
            return path, dialect
        for key in BODY_KEYS:
            text = node.get(key)
            if isinstance(text, str) and (body := body_of(text)) is not None:
                dialect = replier(body)
                if dialect is not None:
                    return (*path, key), dialect
    return None


def _nodes(row: Object) -> Iterator[tuple[Path, Object]]:
    """The object and those in it, level by level."""
    level: list[tuple[Path, Object]] = [((), row)]
    seen = 0
    for _ in range(_DEEPEST):
        deeper: list[tuple[Path, Object]] = []
        for path, node in level:
            yield path, node
            seen += 1
            if seen >= _MOST_NODES:
                return
            for key, value in node.items():
                if isinstance(value, dict) and fold(key) not in _CLOSED:
                    deeper.append(((*path, key), value))
        level = deeper


def holder_of(row: Object) -> Path:
    """The object that is the call: the shallowest that holds a model or token counts itself; () for the whole row."""
    found: list[Path] = []
    for path, node in _nodes(row):
        if found and len(path) > len(found[0]):
            break
        if holds(node):
            found.append(path)
    if not found:
        return ()
    holder = found[0]
    if len(found) > 1:  # a request beside a response: what both are parts of
        holder = _common(found)
    while holder and fold(holder[-1]) in _PARTS:
        holder = holder[:-1]
    return holder


def holds(node: Object) -> bool:
    """Whether an object names a model, or counts tokens, also in an object of counts such as `usage`."""
    for key, value in node.items():
        folded = fold(key)
        if is_model(folded):
            if isinstance(value, str) and value:
                return True
        elif is_count(folded):
            if _is_number(value):
                return True
        elif folded in _USAGE and isinstance(value, dict) and _counts(value):
            return True
    return False


_USAGE: Final = frozenset("usage tokenusage tokens tokencount tokencounts usagedetails usagemetadata".split())


def _counts(usage: Mapping[str, Any]) -> bool:
    return any((is_count(fold(key)) or fold(key) in _COUNT_WORDS) and _is_number(v) for key, v in usage.items())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) or (type(value) is str and value.strip().isdecimal())


def _common(paths: Sequence[Path]) -> Path:
    shared = paths[0]
    for path in paths[1:]:
        at = 0
        while at < min(len(shared), len(path)) and shared[at] == path[at]:
            at += 1
        shared = shared[:at]
    return shared


class Parts:
    """An object taken apart: where its call is, the reply in it, and every path that may carry a field."""

    def __init__(self, row: Object, root: Path = ()) -> None:
        self.row = row
        self.reply = None if root else reply_in(row)
        self.holder = root if isinstance(value_at(row, root), dict) else ()
        if not self.holder:
            self.holder = self._around_reply() if self.reply is not None else holder_of(row)

    def _around_reply(self) -> Path:
        """The object whose part the reply is."""
        holder = self.reply[0][:-1] if self.reply is not None else ()
        while holder and fold(holder[-1]) in _PARTS:
            holder = holder[:-1]
        return holder

    def bindings(self) -> Iterator[Binding]:
        """What the keys mean; a provider's reply is read as such."""
        reply = self.reply
        if reply is not None:
            path, dialect = reply
            for binding in _below(path, dialect.bindings):
                behind = _BEHIND if binding.slot in _TIMES else 0
                yield Binding(binding.slot, binding.rank + behind, binding.path, binding.unit)
                if binding.slot == "request_id" and (dialect.repeats or dialect.nests):
                    # the pieces of a stream are put together, of a reply that came more than once one is taken
                    key = JOIN_KEY if dialect.repeats or dialect.name == "gemini" else CALL_KEY
                    yield Binding(key, binding.rank, binding.path)
        for at, relative, rank in self._paths():
            for binding in bindings_at(relative):
                if is_plain_count(binding) and not self._is_beside_model(at):
                    continue
                yield Binding(binding.slot, binding.rank + rank, (*at, *relative), binding.unit)

    def _paths(self) -> Iterator[tuple[Path, Path, int]]:
        """Each path that may carry a field, as (where it is counted from, the rest, what is added to its rank)."""
        for distance, at in enumerate(self.holder[:depth] for depth in range(len(self.holder), -1, -1)):
            node = value_at(self.row, at)
            inside = self.holder[: len(at) + 1] if distance else None
            own = _HOLDER if not distance else _AROUND + 10 * distance
            for key, value in node.items():
                path = (*at, key)
                if path in (inside, self._reply_at):
                    continue
                if not (isinstance(value, dict) and _has_parts(value, key)):
                    yield at, (key,), own
                if isinstance(value, dict):
                    yield from self._inner(at, (key,), value, 0 if not distance else _BESIDE)

    def _is_beside_model(self, at: Path) -> bool:
        return any(is_model(fold(key)) for key in value_at(self.row, at))

    @property
    def _reply_at(self) -> Path | None:
        return self.reply[0] if self.reply is not None else None

    def _inner(self, at: Path, relative: Path, node: Object, rank: int) -> Iterator[tuple[Path, Path, int]]:
        """The keys of an object inside the call, if it is a usual part of one or holds evidence itself."""
        if (*at, *relative) == self._reply_at or len(relative) >= _DEEPEST:
            return
        if fold(relative[-1]) in _HEADERS:
            limits = (key for key in node if any(binding.slot in LIMITS for binding in bindings_at((key,))))
            yield from ((at, (*relative, key), rank) for key in limits)
            return
        named = fold(relative[-1]) in CONTAINERS
        if not named and (rank >= _BESIDE or fold(relative[-1]) in _CLOSED or not holds(node)):
            return
        added = rank + (0 if named else _UNNAMED) + _NESTED * len(relative)
        for key, value in node.items():
            inner = (*relative, key)
            if (*at, *inner) == self._reply_at:
                continue
            yield at, inner, added
            if isinstance(value, dict):
                yield from self._inner(at, inner, value, rank)


def _below(path: Path, bindings: tuple[Binding, ...]) -> tuple[Binding, ...]:
    for key in reversed(path):
        bindings = below(key, bindings)
    return bindings


def _has_parts(value: Object, key: str) -> bool:
    """Whether an object that is named as a text would be holds fields of its own."""
    return fold(key) in CONTAINERS and any(bindings_at((key, inner)) for inner in value)


def is_extended(found: Object, dialect: Dialect) -> bool:
    """Whether the writer of a log added fields of the record to a provider's reply: `{**reply, "latency_ms": 1200}`."""
    if dialect.name not in REPLIES or dialect.repeats:
        return False
    own = reply_keys(dialect)
    return any(
        key not in own and any(binding.slot in _ADDED for binding in bindings_at((key,)))
        for key, value in found.items()
        if value is not None
    )


def reply_keys(dialect: Dialect) -> frozenset[str]:
    """The keys at the top of a provider's replies, as far as others could mean something in a log."""
    return _REPLY_KEYS.get(dialect.name, _ANY_REPLY)


_ADDED: Final = frozenset(
    (
        "start end latency ttft user session trace feature cost success failed outcome error error_type error_message "
        "status_code prompt prompt_version quality_score cache_hit attempt expected context system request_id"
    ).split()
)
_ANY_REPLY: Final = frozenset(
    (
        "id object created model choices usage system_fingerprint service_tier provider error citations timings "
        "metrics type request_id metadata status"
    ).split()
)
_REPLY_KEYS: Final = {
    "openai_chat": _ANY_REPLY,
    "openai_responses": _ANY_REPLY
    | frozenset(
        (
            "created_at completed_at output text instructions user input prompt reasoning conversation context "
            "incomplete_details"
        ).split()
    ),
    "anthropic": _ANY_REPLY | frozenset("role content stop_reason".split()),
    "gemini": _ANY_REPLY | frozenset("createTime create_time responseId modelVersion".split()),
    "api_error": _ANY_REPLY | frozenset({"status_code"}),
}


def bindings_in(row: Object, root: Path = ()) -> Iterator[Binding]:
    """The bindings that an object's keys suggest."""
    return Parts(row, root).bindings()


def resolve(
    rows: Sequence[Object], overrides: Sequence[Binding], tags: Sequence[str], naive: str, root: Path = ()
) -> FieldMapping:
    """The mapping of a file's home-made objects from those of its head; `tags` are the tags to read."""
    taken = {override.path for override in overrides}
    named: dict[Binding, None] = {}
    holders: dict[Path, None] = {}
    evident = _rows_with_evidence(rows, root)
    for holder, found in dict.fromkeys((holder, found) for _, holder, found in evident):
        holders.update(dict.fromkeys(holder[:depth] for depth in range(len(holder), 0, -1)))
        named.update(dict.fromkeys(binding for binding in found if binding.path not in taken))
    shape = shape_of(rows)
    there = {path for path, _ in shape}
    fitting = [binding for binding in named if _may_hold(binding, rows, there)]
    others = tuple(foreign(fitting, rows))
    fitting = [binding for binding in fitting if all(binding != other for other, _ in others)]
    fitting += _likely_start([*overrides, *fitting], rows, naive)
    units = Units([row for row, _, _ in evident], fitting)
    bindings = [
        *overrides,
        *(each for binding in fitting for each in units.settled(binding)),
        *tag_bindings(tags, [(*holder, *at) for holder in holders for at in TAG_PLACES]),
    ]
    return FieldMapping(
        GENERIC,
        tuple(sorted(bindings)),
        shape,
        closed=True,
        naive=naive,
        guessed=tuple(units.guessed),
        mixed=tuple(units.mixed),
        foreign=others,
        kinds=tuple(sorted({kind_of(found) for _, _, found in _read_by_shape(rows, root)})),
    )


def kind_of(bindings: Iterable[Binding]) -> tuple[str, ...]:
    """What matters of an object for how a file is read: the evidence that it may hold, and lengths without a unit."""
    kind = {b.slot for b in bindings if b.slot in _EVIDENT or b.slot in _RESULT_SLOTS}
    kind |= {".".join(b.path) for b in bindings if b.kind is Slot.DURATION and not b.unit}
    return tuple(sorted(kind))


_RESULT_SLOTS: Final = frozenset({"latency", "output", "prompt", "request_id", *RESULTS})


def _may_hold(binding: Binding, rows: Sequence[Object], there: Container[Path]) -> bool:
    """Whether a value that can be meant stands at a binding's path in any row, or nothing but null in all."""
    found = [value for row in rows if (value := value_at(row, binding.path)) is not None]
    return any(admit(binding, value) is not None for value in found) if found else binding.path in there


def _likely_start(bindings: Sequence[Binding], rows: Sequence[Object], naive: str) -> list[Binding]:
    """Where no key that is named for a time holds one that can be read: the first key that looks like one and does."""
    for binding in bindings:
        if binding.slot in ("start", "end") and has_moments(binding, rows, naive):
            return []
    places = dict.fromkeys(path for row in rows for path in like_times(row))
    readable = (b for path in places if has_moments(b := Binding("start", _UNNAMED, path), rows, naive))
    return list(islice(readable, 1))


def has_moments(binding: Binding, rows: Sequence[Object], naive: str) -> bool:
    """Whether a time that can be read stands at a binding's path in any of the rows."""
    found = [value for row in rows if (value := value_at(row, binding.path)) is not None]
    return bool((moments(found, binding.unit, naive) != MISSING_TIME).any())


def like_times(row: Object) -> Iterator[Path]:
    """The keys of an object, and of those around its call, that look like times."""
    holder = holder_of(row)
    for depth in range(len(holder) + 1):
        for key, value in value_at(row, holder[:depth]).items():
            if looks_like_time(key, value):
                yield (*holder[:depth], key)


BoundRow = tuple[Object, Path, tuple[Binding, ...]]  # a row, where its call is, what its keys mean


def _rows_with_evidence(rows: Sequence[Object], root: Path) -> list[BoundRow]:
    """The objects that say what keys mean, with their bindings: those with evidence of a call, all where none has."""
    found = list(_read_by_shape(rows, root))
    evident = [may_show_call(bindings) for _, _, bindings in found]
    if not any(evident) or all(row.keys() <= OWN_KEYS for row in rows):  # our own rows are calls, all of them
        return found
    ids = {each for one, shows in zip(found, evident, strict=True) if shows for each in _ids(one)}
    return [one for one, shows in zip(found, evident, strict=True) if shows or not ids.isdisjoint(_ids(one))]


def _read_by_shape(rows: Sequence[Object], root: Path) -> Iterator[BoundRow]:
    known: dict[tuple[Any, ...], tuple[Path, tuple[Binding, ...]]] = {}
    for row in rows:
        shape = shape_key(row)
        if shape not in known:
            parts = Parts(row, root)
            known[shape] = parts.holder, tuple(parts.bindings())
        yield row, *known[shape]


def may_show_call(bindings: Iterable[Binding]) -> bool:
    """Whether keys that mean this may show that an object is a call."""
    there = {binding.slot for binding in bindings}
    return bool(there & _EVIDENT) or {"prompt", "output"} <= there


def _ids(one: BoundRow) -> set[Any]:
    """What an object calls its request: another line with the same may hold the rest of the call."""
    row, _, bindings = one
    values = (value_at(row, binding.path) for binding in bindings if binding.slot == "request_id")
    return {value for value in values if isinstance(value, (str, int)) and value}


_EVIDENT: Final = frozenset(
    {"written", "model", "model_requested", "prompt_tokens", "completion_tokens", "total_tokens"}
)


def shape_key(found: Object, depth: int = _DEEPEST) -> tuple[Any, ...]:
    """What the bindings of an object depend on: its keys and those of the objects in it, and which hold values.

    A number, a text and a text that may hold JSON under one key make different shapes.
    """
    key: list[Any] = []
    for name, value in found.items():
        kind = type(value)
        if kind is dict and depth > 1:
            key.append((name, shape_key(value, depth - 1)))
        elif kind is str:
            key.append((name, _text_key(name, value)))
        else:
            key.append((name, _KINDS.get(kind)))
    return tuple(key)


def _text_key(name: str, text: str) -> Any:
    """What the bindings depend on of a text: the shape of an object in it, and what a reply calls itself."""
    if text[:1] == "{":
        inner = embedded(text)
        return ("{", shape_key(inner, 2)) if isinstance(inner, dict) else "{"
    return text if name == "object" and len(text) <= _LONGEST_NAME else ""


_LONGEST_NAME: Final = 32
_KINDS: Final = {int: 1, float: 1, list: "["}


def is_stamped(row: Object) -> bool:
    """Whether an object has a time of its own at the top."""
    return any(binding.slot in ("start", "end") for key in row for binding in bindings_at((key,)))
