"""Raw values by binding -> the canonical columns of `record.FIELDS`: the one place where units, cached
tokens, outcomes and times are settled, for every dialect and every way of decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats import outcomes, values
from llmmon.formats.mapping import RESULTS, Binding, Slot
from llmmon.metrics.columns import (
    MISSING_CODE,
    MISSING_TIME,
    BoolArray,
    CodeArray,
    Columns,
    FloatArray,
    IntArray,
    Interner,
    Names,
    recode,
)
from llmmon.metrics.record import FIELDS, NANO_DOLLARS, SCORE_UNITS, USAGE


class Interners(dict[str, Interner]):
    """One interner per name field, shared by all blocks that one process decodes."""

    def __missing__(self, field: str) -> Interner:
        interner = self[field] = Interner()
        return interner


class RawCalls(msgspec.Struct, eq=False):
    """Rows as they were logged: one compact column a binding (`formats.gather`), only those with a value.

    `lines` numbers each row's line within its span; `has_output` and `has_prompt` say whether these texts are
    there where they were not read.
    """

    size: int
    lines: IntArray
    values: Mapping[Binding, Any]
    has_output: BoolArray | None = None
    has_prompt: BoolArray | None = None


class CallRule(msgspec.Struct, frozen=True):
    """Which home-made rows are calls, beside those with evidence and a result.

    `weak`: a length of time, a score or an answer alone will do, as no row of the log has evidence. `lone`: so does
    a model (or a prompt with it) alone; otherwise such lines say that a call begins, and others how it ended.
    """

    weak: bool = True
    lone: bool = True


class Evidence(Enum):
    """How much shows that a row is a call."""

    NONE = 0
    WEAK = 1  # a length of time, a score, an answer without its prompt
    STRONG = 2  # a model
    RESULT = 3  # a model and what came of it, or token counts


_COUNTS: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
_ENDED: Final = frozenset({"latency", "output", *RESULTS})
# who speaks on lines that no call ends with
_NOT_ANSWERS: Final = frozenset("user human system developer tool function tool_result toolresult environment".split())


def evidence_of(values: Iterable[tuple[Binding | None, Any]]) -> Evidence:
    """How much the values of a row show."""
    there: set[str] = set()
    for binding, value in values:
        if binding is not None and _shows(binding, value):
            there.add(binding.slot)
    if there & _COUNTS:
        return Evidence.RESULT
    if there & {"model", "model_requested"} or {"prompt", "output"} <= there:
        return Evidence.RESULT if there & _ENDED else Evidence.STRONG
    return Evidence.WEAK if there & {"latency", "quality_score", "output"} else Evidence.NONE


def _shows(binding: Binding, value: Any) -> bool:
    if binding.slot in _COUNTS or binding.kind is Slot.DURATION:
        return bool(values.numbers([value])[0] >= 0)
    if binding.kind is Slot.TEXT:
        return values.has_text(value)
    return value is not None and value != "" and (binding.slot != "outcome" or outcomes.is_over(value))


class BoundSlots:
    """The slots of one block of rows."""

    def __init__(self, raw: RawCalls, interners: Interners) -> None:
        self.raw = raw
        self.size = raw.size
        self.interners = interners
        self.bound: dict[str, list[Binding]] = {}
        for binding in sorted(raw.values):
            self.bound.setdefault(binding.slot, []).append(binding)

    def numbers(self, slot: str, scale: Callable[[Binding], float] | None = None) -> FloatArray | None:
        """Numbers (or microseconds, or flags), times `scale`, NaN for missing; None where no row has one."""
        found: FloatArray | None = None
        for binding in self.bound.get(slot, ()):
            column = self.raw.values[binding]
            column = column if scale is None else np.rint(column * scale(binding))
            found = column if found is None else np.where(np.isnan(found), column, found)
            if not np.isnan(found).any():
                break
        return found

    def counts(self, slot: str, scale: int = 1) -> FloatArray | None:
        """Numbers of tokens, NaN for missing, as -1 and other negative ones are; None where no row has one."""
        found = self.numbers(slot, None if scale == 1 else lambda _: scale)
        if found is None or not (found < 0).any():
            return found
        return np.where(found < 0, np.nan, found)

    def added(self, slot: str) -> FloatArray | None:
        """The sum of all bindings of a slot, NaN where a row has none of them."""
        columns = [self.raw.values[binding] for binding in self.bound.get(slot, ())]
        if not columns:
            return None
        total = sum(np.nan_to_num(column) for column in columns)
        return np.where(np.logical_and.reduce([np.isnan(column) for column in columns]), np.nan, total)

    def moments(self, slot: str) -> IntArray | None:
        """Microseconds since the epoch, `MISSING_TIME` for missing; None where no row has one."""
        found: IntArray | None = None
        for binding in self.bound.get(slot, ()):
            column = self.raw.values[binding]
            found = column if found is None else np.where(found == MISSING_TIME, column, found)
            if (found != MISSING_TIME).all():
                break
        return found

    def from_unit(self, slot: str, unit: str) -> BoolArray | None:
        """Rows whose number comes from a binding with this unit; None where none can."""
        if all(binding.unit != unit for binding in self.bound.get(slot, ())):
            return None
        found = np.zeros(self.size, np.bool_)
        done = np.zeros(self.size, np.bool_)
        for binding in self.bound[slot]:
            here = ~np.isnan(self.raw.values[binding]) & ~done
            done |= here
            if binding.unit == unit:
                found |= here
        return found

    def codes(self, slot: str) -> CodeArray:
        """Names as codes of the slot's interner, -1 for missing; shape (size,)."""
        found: CodeArray = np.full(self.size, MISSING_CODE, np.int32)
        for binding in self.bound.get(slot, ()):
            gaps = found == MISSING_CODE
            if not gaps.any():
                break
            column: CodeArray = self.raw.values[binding]
            found = column.copy() if gaps.all() else np.where(gaps, column, found)
        return found

    def names(self, slot: str, otherwise: str = "") -> Names | None:
        """A name column; where a row has none, the name in the slot `otherwise`. None where no row has one."""
        interner = self.interners[slot]
        if otherwise not in self.bound:
            return Names(self.codes(slot), interner.values_seen) if slot in self.bound else None
        codes, second = self.codes(slot), self.codes(otherwise)
        gaps = (codes == MISSING_CODE) & (second != MISSING_CODE)
        if gaps.any():
            codes[gaps] = recode(Names(second[gaps], self.interners[otherwise].values_seen), interner)
        return Names(codes, interner.values_seen)

    def texts(self, slot: str) -> list[Any]:
        """Raw texts, None for missing; shape (size,)."""
        columns: list[Sequence[Any]] = [self.raw.values[binding] for binding in self.bound[slot]]
        if len(columns) == 1:
            return list(columns[0])
        return [next((v for v in row if v is not None), None) for row in zip(*columns, strict=True)]


def start_and_latency(slots: BoundSlots) -> tuple[IntArray | None, FloatArray | None]:
    """Start and latency; end minus start wins over a logged latency, a lone end gives the start."""
    start, end, latency = slots.moments("start"), slots.moments("end"), _logged_latency(slots)
    if end is None:
        return start, latency
    if start is None:
        start = np.full(slots.size, MISSING_TIME)
    both = (start != MISSING_TIME) & (end != MISSING_TIME) & (end >= start)
    measured = np.where(both, (end - start).astype(np.float64), np.nan)
    latency = measured if latency is None else np.where(both, measured, latency)
    lone = (start == MISSING_TIME) & (end != MISSING_TIME)
    if lone.any():
        start = np.where(lone, end - np.nan_to_num(latency).astype(np.int64), start)
    return start, None if np.isnan(latency).all() else latency


def _logged_latency(slots: BoundSlots) -> FloatArray | None:
    latency, parts = slots.numbers("latency"), slots.added("latency_part")
    if latency is None or parts is None:
        return parts if latency is None else latency
    return np.where(np.isnan(latency), parts, latency)


def first_token(slots: BoundSlots, start: IntArray | None, latency: FloatArray | None) -> FloatArray | None:
    """Microseconds from the start to the first token; none where it came at the very end."""
    ttft = slots.numbers("ttft")
    first = slots.moments("first_output_at")
    if first is None or start is None:
        return ttft
    known = (first != MISSING_TIME) & (start != MISSING_TIME) & (first >= start)
    wait = np.where(known, (first - start).astype(np.float64), np.nan)
    if latency is not None:  # a "first token" at the very end is a call that did not stream
        wait[wait >= latency] = np.nan
    return wait if ttft is None else np.where(np.isnan(ttft), wait, ttft)


def token_counts(slots: BoundSlots) -> dict[str, FloatArray | None]:
    """The token fields of the record; NaN for missing, None where no row has one."""
    cached, write = slots.counts("cached_tokens"), slots.counts("cache_write_tokens")
    total, reasoning = slots.counts("total_tokens"), slots.counts("reasoning_tokens")
    logged = _with_beside(slots, "prompt_tokens", "input_tool_tokens")
    completion = _whole_completion(slots, logged, reasoning, total)
    nothing = _nothing_counted(logged, completion, total)
    counts = {
        "prompt_tokens": _whole_prompt(slots, logged, cached, write, (completion, total)),
        "completion_tokens": completion,
        "cached_tokens": cached,
        "cache_write_tokens": write,
        "cache_write_1h_tokens": slots.counts("cache_write_1h_tokens"),
        "reasoning_tokens": reasoning,
    }
    _fill_halves(counts, total)
    if nothing is not None:
        counts = {
            field: None if column is None else np.where(nothing, np.nan, column) for field, column in counts.items()
        }
        total = None if total is None else np.where(nothing, np.nan, total)
    return {**counts, "total_tokens": _total(counts["prompt_tokens"], counts["completion_tokens"], total)}


def _with_beside(slots: BoundSlots, half: str, part: str) -> FloatArray | None:
    """A half of the usage with a part that is logged beside it, as a binding's unit says; None where no row has it."""
    whole = slots.counts(half)
    beside = slots.from_unit(part, "exclusive")
    if whole is None or beside is None:
        return whole
    counted = slots.counts(part)
    return whole if counted is None else np.where(beside, whole + np.nan_to_num(counted), whole)


def _nothing_counted(
    prompt: FloatArray | None, completion: FloatArray | None, total: FloatArray | None
) -> BoolArray | None:
    """Rows of which nothing was counted: no call has a prompt of 0 tokens and an answer of 0.

    Many logs write zeros where usage was not known, above all for failed calls.
    """
    if prompt is None or completion is None:
        return None
    nothing: BoolArray = (prompt == 0) & (completion == 0)
    if total is not None:
        nothing &= ~(total > 0)
    return nothing if nothing.any() else None


def _whole_completion(
    slots: BoundSlots, prompt: FloatArray | None, reasoning: FloatArray | None, total: FloatArray | None
) -> FloatArray | None:
    """Completion tokens with reasoning, also where a log counts the two apart: the total, or their sizes, tell."""
    completion = _with_beside(slots, "completion_tokens", "output_citation_tokens")
    if completion is None or reasoning is None:
        return completion
    known = np.nan_to_num(reasoning)
    apart: BoolArray = known > completion
    if (said := slots.from_unit("completion_tokens", "exclusive")) is not None:
        apart |= said
    if prompt is not None and total is not None:
        apart |= (known > 0) & (np.nan_to_num(prompt) + completion + known == total)
    return np.where(apart, completion + known, completion) if apart.any() else completion


def _fill_halves(counts: dict[str, FloatArray | None], total: FloatArray | None) -> None:
    """Where a total and one half are logged, the other half is what is left."""
    if total is None:
        return
    for one, other in (("prompt_tokens", "completion_tokens"), ("completion_tokens", "prompt_tokens")):
        half, known = counts[one], counts[other]
        if known is None:
            continue
        left = total - known
        missing = (left > 0) if half is None else np.isnan(half) & (left > 0)
        if missing.any():
            counts[one] = np.where(missing, left, np.nan if half is None else half)


def _whole_prompt(
    slots: BoundSlots,
    prompt: FloatArray | None,
    cached: FloatArray | None,
    write: FloatArray | None,
    others: tuple[FloatArray | None, FloatArray | None],
) -> FloatArray | None:
    """Prompt tokens with cache reads and writes; `others` are the answer's and all tokens.

    More cached than prompt means that they are not in it; else the total tells, else the names of the keys.
    """
    if prompt is None or (cached is None and write is None):
        return prompt
    cache = np.nan_to_num(_or_nan(cached, slots.size)) + np.nan_to_num(_or_nan(write, slots.size))
    outside = cache > prompt
    if (apart := slots.from_unit("prompt_tokens", "exclusive")) is not None:
        outside |= apart
    # names of Anthropic's usage: both together mean that the one does not hold the other
    named, cached_named = slots.from_unit("prompt_tokens", "input"), slots.from_unit("cached_tokens", "exclusive")
    if named is not None and cached_named is not None:
        outside |= named & cached_named
    completion, total = others
    if completion is not None and total is not None:
        with_answer = prompt + np.nan_to_num(completion)
        outside = (outside & (with_answer != total)) | ((cache > 0) & (with_answer + cache == total))
    return np.where(outside, prompt + cache, prompt)


def _or_nan(column: FloatArray | None, size: int) -> FloatArray:
    return np.full(size, np.nan) if column is None else column


def _total(prompt: FloatArray | None, completion: FloatArray | None, logged: FloatArray | None) -> FloatArray | None:
    """Prompt plus completion where either is known, else the logged total."""
    if prompt is None or completion is None:
        added = completion if prompt is None else prompt
        if added is None or logged is None:
            return logged if added is None else added
        return np.where(np.isnan(added), logged, added)
    either = np.isnan(prompt) & np.isnan(completion)
    added = np.where(either, np.nan, np.nan_to_num(prompt) + np.nan_to_num(completion))
    return added if logged is None or not either.any() else np.where(either, logged, added)


__all__ = ["Interners", "RawCalls", "canonical"]  # both halves of one step
_MONEY: Final = {"": NANO_DOLLARS, "usd": NANO_DOLLARS, "cents": NANO_DOLLARS / 100, "usd_ticks": 0.1}
_WEAK: Final = ("latency_ms", "quality_score")


def canonical(raw: RawCalls, interners: Interners, *, rule: CallRule | None, outcome: bool = True) -> Columns:
    """The calls among the rows, those that a rule admits; without one each row is a call.

    Status and errors are settled only where `outcome` asks for it.
    """
    slots = BoundSlots(raw, interners)
    answered = _with_text(slots, "output")
    found = _columns(slots, answered, wants_outcome=outcome)
    keep = np.ones(raw.size, np.bool_) if rule is None else _is_call(slots, found, answered, rule)
    return found if keep.all() else found.take(keep)


def _columns(slots: BoundSlots, answered: BoolArray, *, wants_outcome: bool) -> Columns:
    start, latency = start_and_latency(slots)
    numbers: dict[str, FloatArray | None] = {
        "latency_ms": latency,
        "time_to_first_token_ms": first_token(slots, start, latency),
        **token_counts(slots),
        **_usage(slots),
        "cost_usd": _cost(slots),
        "quality_score": slots.numbers("quality_score", lambda _: SCORE_UNITS),
        "attempt": slots.numbers("attempt"),
        "cache_hit": slots.numbers("cache_hit"),
    }
    names: dict[str, Names] = {}
    if wants_outcome:
        names, numbers["status_code"] = _outcome(slots, _completed(slots, numbers, answered))
    return Columns(
        size=slots.size,
        timestamp=np.full(slots.size, MISSING_TIME) if start is None else start,
        numbers={field: column for field, column in numbers.items() if column is not None},
        names={**_names(slots), **names},
        texts={
            slot: [(values.as_json if slot == "schema" else values.as_text)(value) for value in slots.texts(slot)]
            for slot, bindings in slots.bound.items()
            if bindings[0].kind is Slot.TEXT
        },
        positions=slots.raw.lines,
    )


def _usage(slots: BoundSlots) -> dict[str, FloatArray | None]:
    """The usage that some models bill apart, where the log has any."""
    return {name: slots.counts(name, FIELDS[name].scale) for name in USAGE if name in slots.bound}


def _with_text(slots: BoundSlots, slot: str) -> BoolArray:
    """Rows with an answer's (or a prompt's) text, read or only seen."""
    seen = slots.raw.has_output if slot == "output" else slots.raw.has_prompt
    found: BoolArray = np.zeros(slots.size, np.bool_) if seen is None else seen
    if slot in slots.bound:
        found = found | np.array([values.has_text(value) for value in slots.texts(slot)], np.bool_)
    return found


def _written(slots: BoundSlots) -> BoolArray:
    """Rows that llmmon wrote as calls, whatever they carry."""
    said = slots.numbers("written")
    return np.zeros(slots.size, np.bool_) if said is None else said == 1


def _is_call(slots: BoundSlots, found: Columns, answered: BoolArray, rule: CallRule) -> BoolArray:
    counted = _any_there(found, _COUNTS)
    if counted.all():
        return counted
    named = _is_named(found, "model")
    prompted = _with_text(slots, "prompt") & answered
    keep: BoolArray = counted | named | prompted | _written(slots)
    if rule.weak and not keep.all():
        keep |= answered | _any_there(found, _WEAK)
    if not rule.lone and not counted.all():
        ended = answered | _any_there(found, ("latency_ms", "cost_usd")) | _is_over(slots)
        keep &= counted | ended
    if "role" in slots.bound:
        keep &= counted | ~_spoken_by_others(slots)
    return keep


def _any_there(found: Columns, fields: Iterable[str]) -> BoolArray:
    there: BoolArray = np.zeros(found.size, np.bool_)
    for field in fields:
        if field in found.numbers and not there.all():
            there |= ~np.isnan(found.numbers[field])
    return there


def _is_named(found: Columns, field: str) -> BoolArray:
    names = found.names.get(field)
    return np.zeros(found.size, np.bool_) if names is None else names.codes != MISSING_CODE


def _is_over(slots: BoundSlots) -> BoolArray:
    """Rows that say how the call ended: with an error, a finish reason, a flag, or a status that is an end."""
    over: BoolArray = slots.codes("finish_reason") != MISSING_CODE
    over = over | (slots.codes("error_type") != MISSING_CODE)
    for slot in ("success", "failed", "status_code"):
        if (column := slots.numbers(slot)) is not None:
            over = over | ~np.isnan(column)
    for slot in ("outcome", "error"):
        for binding in slots.bound.get(slot, ()):
            column = slots.raw.values[binding]
            over = over | np.array([bool(value) and outcomes.is_over(value) for value in column], np.bool_)
    return over


def _spoken_by_others(slots: BoundSlots) -> BoolArray:
    """Rows that a user, a tool or the system speaks, by their `role`."""
    seen = slots.interners["role"].values_seen
    others = np.array([str(name).lower().replace("-", "_") in _NOT_ANSWERS for name in seen] + [False], np.bool_)
    spoken: BoolArray = others[slots.codes("role")]
    return spoken


def _completed(slots: BoundSlots, numbers: Mapping[str, FloatArray | None], answered: BoolArray) -> BoolArray:
    """Rows with a sign of an answer: tokens out, a latency, a finish reason or output text."""
    done = answered.copy()
    for field in ("completion_tokens", "latency_ms"):
        column = numbers[field]
        if column is not None and not done.all():
            done |= ~np.isnan(column)
    return done if done.all() else done | (slots.codes("finish_reason") != MISSING_CODE)


def _cost(slots: BoundSlots) -> FloatArray | None:
    def units(binding: Binding) -> float:
        return _MONEY[binding.unit]

    cost = slots.numbers("cost", units)
    parts = [part for slot in ("cost_input", "cost_output") if (part := slots.numbers(slot, units)) is not None]
    if not parts:
        return cost
    missing = np.logical_and.reduce([np.isnan(part) for part in parts])
    added = np.where(missing, np.nan, sum(np.nan_to_num(part) for part in parts))
    return added if cost is None else np.where(np.isnan(cost), added, cost)


def _outcome(slots: BoundSlots, completed: BoolArray) -> tuple[dict[str, Names], FloatArray | None]:
    flags = slots.numbers("success"), slots.numbers("failed")
    said = {slot: [slots.raw.values[b] for b in slots.bound.get(slot, ())] for slot in ("outcome", "error")}
    logged = {field: slots.names(field) for field in ("error_type", "error_message")}
    found = outcomes.settle(slots.size, flags, said, logged, slots.numbers("status_code"), completed)
    names = {"status": Names(found.status, outcomes.STATUSES)}
    for field, patches in (("error_type", found.types), ("error_message", found.messages)):
        if field in slots.bound or patches:
            names[field] = _patched(slots, field, patches)
    return names, found.status_code


def _patched(slots: BoundSlots, field: str, patches: Mapping[int, str]) -> Names:
    interner = slots.interners[field]
    codes = slots.codes(field)
    for row, text in patches.items():
        codes[row] = interner[text]
    return Names(codes, interner.values_seen)


def _names(slots: BoundSlots) -> dict[str, Names]:
    names: dict[str, Names] = {}
    for slot, bindings in slots.bound.items():
        if bindings[0].kind is Slot.NAME and slot != "role" and (found := slots.names(slot)) is not None:
            names[slot] = found
    model: Any = slots.names("model", otherwise="model_requested")
    return names if model is None else {**names, "model": model}
