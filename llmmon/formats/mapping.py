"""Values out of an object by a list of bindings, row after row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as AnyMapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from llmmon.errors import UsageError
from llmmon.formats.durations import DURATION_UNITS_US
from llmmon.metrics.record import LIMITS, NAMES, TAG_PREFIX, TEXTS, USAGE
from llmmon.text.names import unknown

JOIN_KEY: Final = "join_key"  # of lines that each hold a part of a call, how it began and how it ended: what joins them
CALL_KEY: Final = "call_key"  # of the calls that a log may repeat: what tells them apart
CALL_PARENT: Final = "call_parent"  # the key of the call around this one, which counts the same tokens again
CALL_COPY: Final = "call_copy"  # 1 where the row may be a copy that another file has in its original
CALL_KEYS: Final = (CALL_KEY, CALL_PARENT, CALL_COPY)


class Slot(StrEnum):
    """How the values of a slot are read."""

    TIME = "time"  # a moment: text, a number since the epoch, or an object such as {"$date": ...}
    DURATION = "duration"  # a length of time in the binding's unit
    NUMBER = "number"  # a count or an amount
    NAME = "name"  # a short text
    FLAG = "flag"  # true or false
    OUTCOME = "outcome"  # anything that tells success from failure
    TEXT = "text"  # long text, or the structure that holds it
    KEY = "key"  # an identifier that is only compared (`call_keys`)


SLOTS: Final[dict[str, Slot]] = {
    "start": Slot.TIME,
    "end": Slot.TIME,
    "first_output_at": Slot.TIME,
    "latency": Slot.DURATION,
    "latency_part": Slot.DURATION,  # where no latency is logged: all parts are added
    "ttft": Slot.DURATION,
    "prompt_tokens": Slot.NUMBER,  # unit "exclusive": cache reads and writes are not in it
    "completion_tokens": Slot.NUMBER,  # unit "exclusive": reasoning is not in it
    "total_tokens": Slot.NUMBER,
    "cached_tokens": Slot.NUMBER,
    "cache_write_tokens": Slot.NUMBER,
    "cache_write_1h_tokens": Slot.NUMBER,
    "reasoning_tokens": Slot.NUMBER,
    **dict.fromkeys(USAGE, Slot.NUMBER),  # unit "exclusive": not in the prompt (or the completion)
    "cost": Slot.NUMBER,  # unit "usd", "cents" or "usd_micros"
    "cost_input": Slot.NUMBER,
    "cost_output": Slot.NUMBER,
    "cost_upstream": Slot.NUMBER,  # billed by the provider itself, beside `cost`, where `own_key` says so
    "cost_breakdown": Slot.NUMBER,  # where `cost` is 0, though no cache answered
    "own_key": Slot.FLAG,
    "buckets": Slot.TEXT,  # an object of token counts that exclude each other (`buckets`)
    **dict.fromkeys(LIMITS, Slot.NUMBER),
    "quality_score": Slot.NUMBER,
    "status_code": Slot.NUMBER,
    "attempt": Slot.NUMBER,
    "success": Slot.FLAG,
    "failed": Slot.FLAG,
    "cache_hit": Slot.FLAG,
    "written": Slot.FLAG,  # llmmon wrote the row, as a call that carries nothing which would show that it is one
    "outcome": Slot.OUTCOME,  # a status word, a status code, or an object with either
    "error": Slot.OUTCOME,  # the error itself: text, an object, or true
    "grouped": Slot.NUMBER,  # how many calls the line sums up: a bucket of usage is no call
    "done": Slot.FLAG,  # false: a piece of a stream, which is no call until the last that counts its tokens
    "role": Slot.NAME,  # who speaks on the line: only what an assistant says is the result of a call
    CALL_KEY: Slot.KEY,
    CALL_PARENT: Slot.KEY,
    CALL_COPY: Slot.FLAG,
    **{name: Slot.NAME for name in NAMES if name != "status"},
    **dict.fromkeys(TEXTS, Slot.TEXT),
}

# field -> the slots it is made from
_OUTCOME: Final = ("success", "failed", "outcome", "error", "error_type", "error_message", "status_code")
_LATENCY: Final = ("latency", "latency_part", "start", "end")
# all of them tell together whether anything was counted, and what is inside what
_TOKENS: Final = (
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "total_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "input_tool_tokens",
    "output_citation_tokens",
    "buckets",
)
SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "timestamp": _LATENCY,
    "latency_ms": _LATENCY,
    "time_to_first_token_ms": ("ttft", "first_output_at", *_LATENCY),
    "prompt_tokens": _TOKENS,
    "completion_tokens": _TOKENS,
    "total_tokens": _TOKENS,
    "cached_tokens": _TOKENS,
    "cache_write_tokens": _TOKENS,
    "cache_write_1h_tokens": ("cache_write_1h_tokens", *_TOKENS),
    "reasoning_tokens": _TOKENS,
    "input_tool_tokens": _TOKENS,
    "output_citation_tokens": _TOKENS,
    "cost_usd": ("cost", "cost_input", "cost_output", "cost_upstream", "own_key", "cost_breakdown", "cache_hit"),
    "status": (*_OUTCOME, "completion_tokens", *_LATENCY, "finish_reason"),
    "error_type": _OUTCOME,
    "error_message": _OUTCOME,
    "status_code": ("status_code", "outcome"),
    "model": ("model", "model_requested"),
}

# a home-made row is a call if it carries one of these; they are read whatever the command needs
EVIDENCE: Final = (
    *("model", "model_requested", "prompt_tokens", "completion_tokens", "total_tokens", "latency", "quality_score"),
    *("written", "role", "grouped", "done"),
)
# where no row counts that is not certainly a call, rows without any of these (or a text) are none
CALL_SIGNS: Final = frozenset({"model", "model_requested", "written", "grouped", "prompt", "output", *_TOKENS})
# what a call has beside its model once it is over
RESULTS: Final = (
    *("cost", "finish_reason", "success", "failed", "outcome", "error", "error_type", "status_code"),
    *USAGE,  # that is sold by itself, such as searches of a reranker
)
COMPLETENESS: Final = ("total_tokens", "latency_ms")  # what decides which of a call's rows is the most complete


def sources_of(fields: frozenset[str]) -> frozenset[str]:
    """The slots to read so that `fields` can be made; tags are slots of their own name."""
    return frozenset(slot for name in fields for slot in SOURCES.get(name, (name,)))


OPENED_TEXTS: Final = (
    "log",
    "@message",
    "message",
    "MESSAGE",
    "textPayload",
)  # a text under one may hold a record as JSON

Path = tuple[str, ...]
Shape = tuple[tuple[Path, frozenset[str]], ...]  # path -> the JSON types seen there in the file's head


class Binding(msgspec.Struct, frozen=True, order=True):
    """One path bound to one slot; of several for a slot the lowest rank with a usable value wins.

    `unit` is a unit of time or money, "exclusive" for token counts that leave cache or reasoning out,
    or "" for the slot's plain meaning. A path step that is a number indexes a list.
    """

    slot: str
    rank: int
    path: Path
    unit: str = ""

    @property
    def kind(self) -> Slot:
        """How its values are read; a tag is a name."""
        return SLOTS.get(self.slot, Slot.NAME)


class Test(msgspec.Struct, frozen=True):
    """A key that an object must have, with one of some texts as its value if `allowed` names any.

    `below` leads to a value inside that of the key, which must be there (not null), and none of `forbidden`.
    """

    key: str
    allowed: tuple[str, ...] = ()
    below: Path = ()
    forbidden: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where the value is."""
        return (self.key, *self.below)

    def passes(self, found: AnyMapping[str, Any]) -> bool:
        """Whether an object passes."""
        if self.key not in found:
            return False
        if not (self.allowed or self.below or self.forbidden):
            return True
        value = found[self.key]
        if self.below and (value := value_at(value, self.below)) is None:
            return False
        return value not in self.forbidden if self.forbidden else not self.allowed or value in self.allowed


Mark = tuple[Test, ...]


def passes(mark: Mark, found: AnyMapping[str, Any]) -> bool:
    """Whether an object passes all tests."""
    return all(test.passes(found) for test in mark)


class FieldMapping(msgspec.Struct, frozen=True):
    """How one file's objects of one dialect are read; resolved once from its head, then only applied.

    `shape` is what the head looked like. `closed`: a key that the head did not have may matter, so such
    a row is looked at on its own; `known`: the same at the top of the row only, where these keys are known
    beside those of the head. `required`: a row that fails these is no call of this dialect; if it passes `claimed`
    and has nothing at any of `rivals`, it is of the dialect all the same (None: its keys alone do not decide).
    `guessed` are lengths of time whose unit only their size speaks for, `mixed` those that are in another unit
    (named beside) on some lines, `foreign` costs that are not read, as they are in another currency.
    """

    dialect: str
    bindings: tuple[Binding, ...]
    shape: Shape = ()
    closed: bool = False
    known: tuple[str, ...] = ()
    required: Mark = ()
    claimed: Mark = ()
    rivals: tuple[Path, ...] | None = None
    naive: str = "UTC"
    kinds: tuple[tuple[str, ...], ...] = ()  # of home-made objects (`home_made.kind_of`)
    guessed: tuple[Binding, ...] = ()
    mixed: tuple[tuple[Binding, str], ...] = ()
    foreign: tuple[tuple[Binding, str], ...] = ()


def value_at(row: Any, path: Path) -> Any:
    """The value at a path of nested objects and lists (also as JSON in a text), None where there is none."""
    for at, step in enumerate(path):
        if type(row) is str:
            row = embedded(row)
        if isinstance(row, dict):
            row = row.get(step)
        elif isinstance(row, list):
            if is_selector(step):
                return _selected(row, selector_of(step), path[at + 1 :])
            row = row[int(step)] if step.isdigit() and int(step) < len(row) else None
        else:
            return None
    return row


class Selector(msgspec.Struct, frozen=True):
    """A step that selects elements of a list: those of which a value is one of `words` (or, if `without`, is not).

    Written `*` (all), `[modality=AUDIO]`, `[type!=advisor_message]`; what stands there is added up. With `#` before it,
    `#[type=web_search_call]`, the elements are counted.
    """

    counts: bool
    tests: tuple[tuple[Path, frozenset[str], bool], ...] = ()

    def admits(self, element: Any) -> bool:
        """Whether an element is selected."""
        return all(
            (isinstance(found := value_at(element, path), str) and found in words) is not without
            for path, words, without in self.tests
        )


def is_selector(step: str) -> bool:
    """Whether a step selects elements of a list."""
    return step[:1] in _SELECTING and step != ""


_SELECTING: Final = ("*", "[", "#")


@lru_cache(maxsize=1024)
def selector_of(step: str) -> Selector:
    """A selector as it is written."""
    tests = []
    for part in step.strip("*#[]").split(","):
        key, equals, words = part.partition("=")
        if equals:
            tests.append((tuple(key.rstrip("!").split("/")), frozenset(words.split("|")), key.endswith("!")))
    return Selector(step.startswith("#"), tuple(tests))


def _selected(elements: list[Any], selector: Selector, path: Path) -> Any:
    """How many elements are selected, or the sum of what stands under them; None where nothing does."""
    chosen = [element for element in elements if selector.admits(element)]
    if selector.counts:
        return len(chosen) or None
    found = [value for each in chosen if type(value := value_at(each, path)) in (int, float)]
    return sum(found) if found else next((value_at(each, path) for each in chosen), None)


def embedded(text: str) -> Any:
    """The object or list that a text holds as JSON, None for any other text; not to be changed."""
    return _decoded(text) if text[:1] in _OPENING and text else None


_OPENING = ("{", "[")


@lru_cache(maxsize=4)
def _decoded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def admitted_types(binding: Binding) -> frozenset[type]:
    """The JSON types that can mean something for a binding's slot."""
    if binding.unit == "count":  # elsewhere the same key holds text
        return frozenset({int, float})
    return _ADMITTED[binding.kind]


_ADMITTED = {
    Slot.NUMBER: frozenset({int, float, str}),
    Slot.DURATION: frozenset({int, float, str, dict}),
    Slot.TIME: frozenset({int, float, str, dict, list}),
    **dict.fromkeys((Slot.NAME, Slot.FLAG, Slot.KEY), frozenset({int, float, str, bool})),
    Slot.TEXT: frozenset({str, dict, list}),
    Slot.OUTCOME: frozenset({int, float, str, bool, dict, list}),
}


def admit(binding: Binding, value: Any) -> Any:
    """The value if its JSON type can mean something for the binding's slot, else None."""
    return value if type(value) in admitted_types(binding) else None


def shape_of(rows: Sequence[AnyMapping[str, Any]], depth: int = 8) -> Shape:
    """Every path of objects (and of the first elements of lists) in the rows, with the JSON types seen there."""
    seen: dict[Path, set[str]] = {}
    for row in rows:
        _walk(row, (), seen, depth)
    return tuple((path, frozenset(types)) for path, types in seen.items())


def _walk(row: AnyMapping[str, Any], at: Path, seen: dict[Path, set[str]], depth: int) -> None:
    for key, value in row.items():
        path = (*at, key)
        seen.setdefault(path, set()).add(type(value).__name__)
        inner = {"0": value[0]} if isinstance(value, list) and value else value
        if isinstance(inner, dict) and depth > 1:
            _walk(inner, path, seen, depth - 1)


def parse_override(text: str) -> Binding:
    """`latency=took_ms` or `latency=timing.took:s` from `--map`; raises `UsageError`."""
    slot, equals, rest = text.partition("=")
    path, _, unit = rest.partition(":")
    slot = _SLOT_OF_FIELD.get(slot, slot)
    if not equals or not path:
        raise UsageError(f"--map {text!r} is not field=path[:unit]", hint="for example --map latency_ms=took:s")
    if slot not in SLOTS and not slot.startswith(TAG_PREFIX):
        raise UsageError("--map: " + unknown("field", slot, {*SLOTS, *_SLOT_OF_FIELD}))
    if unit and unit not in _UNITS:
        raise UsageError("--map: " + unknown("unit", unit, _UNITS))
    return Binding(slot, -1, steps_of(path), unit or _PLAIN_UNIT.get(slot, ""))


def steps_of(path: str) -> Path:
    """The steps of `usage.input`; `\\.` is a dot inside a key."""
    return tuple(step.replace("\0", ".") for step in path.replace("\\.", "\0").split("."))


_SLOT_OF_FIELD = {
    "timestamp": "start",
    "latency_ms": "latency",
    "time_to_first_token_ms": "ttft",
    "cost_usd": "cost",
    "status": "outcome",
}
_PLAIN_UNIT = {"cost": "usd"}  # lengths of time: as the key says, else guessed
_UNITS = frozenset({*DURATION_UNITS_US, "ticks", "dmy", "mdy", "usd", "cents", "usd_micros", "exclusive"})

Keys = dict[str, Binding | None]  # what the keys of rows mean; None: the slot is not needed


class Picker:
    """Picks the values of its bindings from objects; `keys` learns what the keys of its rows mean."""

    def __init__(self, bindings: Iterable[Binding], keys: Keys) -> None:
        self._flat: list[tuple[str, str, frozenset[type]]] = []
        self._deep: list[tuple[str, tuple[str, ...], frozenset[type]]] = []
        for binding in bindings:
            key = f"={binding.slot}@{binding.rank}:{binding.unit}={'.'.join(binding.path)}"
            keys[key] = binding
            if len(binding.path) == 1:
                self._flat.append((key, binding.path[0], admitted_types(binding)))
            else:
                self._deep.append((key, binding.path, admitted_types(binding)))

    def __call__(self, found: dict[str, Any]) -> dict[str, Any]:
        """The values that are there and may stand for what they are bound to."""
        row = {}
        for key, name, types in self._flat:
            if type(value := found.get(name)) in types:
                row[key] = value
        for key, path, types in self._deep:
            if type(value := value_at(found, path)) in types:
                row[key] = value
        return row
