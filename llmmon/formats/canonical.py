"""Raw values by binding -> the canonical columns of `record.FIELDS`: the one place where units, cached
tokens, outcomes and times are settled, for every dialect and every way of decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats import outcomes, values
from llmmon.formats.bound import BoundSlots, Interners, RawCalls
from llmmon.formats.counts import billed_apart, token_counts
from llmmon.formats.doubts import Doubts, add_doubts, doubts_of
from llmmon.formats.mapping import CALL_KEYS, JOIN_KEY, RESULTS, Binding, Slot
from llmmon.formats.units import likelier
from llmmon.metrics.columns import (
    MISSING_CODE,
    MISSING_TIME,
    BoolArray,
    Columns,
    FloatArray,
    IntArray,
    Names,
)
from llmmon.metrics.record import LIMITS, NANO_DOLLARS, SCORE_UNITS, USAGE


class CallRule(msgspec.Struct, frozen=True):
    """Which home-made rows are calls, beside those with evidence and a result.

    `weak`: a length of time, a score or an answer alone will do, as no row of the log has evidence. `lone`: so does
    a model (or a prompt with it) alone; otherwise such lines say that a call begins, and others how it ended.
    """

    weak: bool = True
    lone: bool = True
    halves: bool = False  # lines with a key that joins them to others count whatever little they show


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
    _settle_mixed_units(slots)
    latency, parts = slots.numbers("latency"), slots.added("latency_part")
    if latency is None or parts is None:
        return parts if latency is None else latency
    return np.where(np.isnan(latency), parts, latency)


def _settle_mixed_units(slots: BoundSlots) -> None:
    """Where a key is bound in two units, as lines differ in it, take for each line the likelier one."""
    for first, second in pairwise(slots.bound.get("latency", ())):
        if first.path == second.path and first.rank == second.rank:
            one, other = slots.raw.values[first], slots.raw.values[second]
            tokens = slots.counts("completion_tokens")
            chosen = np.where(likelier(one, other, tokens), one, other)
            slots.raw.values = {**slots.raw.values, first: chosen, second: chosen}


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


__all__ = ["Interners", "RawCalls", "canonical"]  # both halves of one step
_MONEY: Final = {
    **dict.fromkeys(("", "usd", "usd_if_any"), NANO_DOLLARS),
    "cents": NANO_DOLLARS / 100,
    "usd_micros": NANO_DOLLARS / 1_000_000,
    "usd_ticks": 0.1,
}
_WEAK: Final = ("latency_ms", "quality_score")


def canonical(
    raw: RawCalls, interners: Interners, *, rule: CallRule | None, outcome: bool = True, doubts: Doubts | None = None
) -> Columns:
    """The calls among the rows, those that a rule admits; without one each row is a call.

    Status and errors are settled only where `outcome` asks for it; what looks wrong is counted into `doubts`.
    """
    slots = BoundSlots(raw, interners, {} if doubts is None else doubts)
    answered = _with_text(slots, "output")
    found = _columns(slots, answered, wants_outcome=outcome, home_made=rule is not None)
    keep = np.ones(raw.size, np.bool_) if rule is None else _is_call(slots, found, answered, rule)
    kept = found if keep.all() else found.take(keep)
    if doubts is not None:
        add_doubts(doubts, doubts_of(kept, home_made=rule is not None))
    return kept


def _columns(slots: BoundSlots, answered: BoolArray, *, wants_outcome: bool, home_made: bool) -> Columns:
    start, latency = start_and_latency(slots)
    numbers: dict[str, FloatArray | None] = {
        "latency_ms": latency,
        "time_to_first_token_ms": first_token(slots, start, latency),
        **token_counts(slots),
        **billed_apart(slots),
        "cost_usd": _cost(slots),
        "quality_score": slots.numbers("quality_score", lambda _: SCORE_UNITS),
        "attempt": slots.numbers("attempt"),
        "cache_hit": slots.numbers("cache_hit"),
        **{slot: slots.numbers(slot) for slot in CALL_KEYS},
        **{slot: slots.counts(slot) for slot in LIMITS if slot in slots.bound},
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
            slot: list(map(_text_reader(slot, home_made=home_made), slots.texts(slot)))
            for slot, bindings in slots.bound.items()
            if bindings[0].kind is Slot.TEXT and slot != "buckets"
        },
        positions=slots.raw.lines,
    )


def _text_reader(slot: str, *, home_made: bool) -> Callable[[Any], str | None]:
    """What makes texts of a slot's values; only in home-made rows is an output any object that its writer likes."""
    if slot == "schema":
        return values.as_json
    return values.as_answer if slot == "output" and home_made else values.as_text


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
    grouped = slots.numbers("grouped")
    if grouped is not None:
        buckets = ~np.isnan(grouped) & (grouped != 1)
        add_doubts(slots.doubts, {"grouped": int(np.count_nonzero(buckets))})
        kept: BoolArray = ~buckets & _is_call(slots.without("grouped"), found, answered, rule)
        return kept
    if counted.all():
        return counted
    named = _is_named(found, "model")
    prompted = _with_text(slots, "prompt") & answered
    keep: BoolArray = counted | named | prompted | _written(slots)
    if rule.weak and not keep.all():
        weak = ~keep & (answered | _any_there(found, _WEAK))
        add_doubts(slots.doubts, {"weak": int(np.count_nonzero(weak))})
        keep |= weak
    if rule.halves and not keep.all():
        joined = slots.codes(JOIN_KEY) != MISSING_CODE
        keep |= joined & (answered | _any_there(found, _WEAK) | _is_over(slots))
    if not rule.halves:
        lone = _lone(slots, found, keep & ~(counted | answered) & (slots.codes(JOIN_KEY) == MISSING_CODE))
        keep &= ~lone | rule.lone
        add_doubts(slots.doubts, {"lone" if rule.lone else "passed": int(np.count_nonzero(lone))})
    if (done := slots.numbers("done")) is not None:
        keep &= counted | (done != 0)
    if "role" in slots.bound:
        keep &= counted | ~_spoken_by_others(slots)
    return keep


def _lone(slots: BoundSlots, found: Columns, unsettled: BoolArray) -> BoolArray:
    """Which of some rows without tokens and an answer carry nothing else that came of the call."""
    unsettled = unsettled & ~_any_there(found, ("latency_ms", "cost_usd", *USAGE))
    return unsettled & ~_is_over(slots) if unsettled.any() else unsettled


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
            over = over | (values.by_distinct(column, _says_over) == 1)
    return over


def _says_over(value: Any) -> bool:
    return bool(value) and outcomes.is_over(value)


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

    cost = _with_upstream(slots.numbers("cost", units), slots.numbers("cost_upstream", units), slots.numbers("own_key"))
    if (broken_down := slots.numbers("cost_breakdown", units)) is not None:
        cost = _with_breakdown(cost, broken_down, slots.numbers("cache_hit"))
    parts = [part for slot in ("cost_input", "cost_output") if (part := slots.numbers(slot, units)) is not None]
    if not parts:
        return cost
    missing = np.logical_and.reduce([np.isnan(part) for part in parts])
    added = np.where(missing, np.nan, sum(np.nan_to_num(part) for part in parts))
    return added if cost is None else np.where(np.isnan(cost), added, cost)


def _with_breakdown(cost: FloatArray | None, broken_down: FloatArray, cache_hit: FloatArray | None) -> FloatArray:
    """Costs, from the breakdown beside them where they are 0; what a cache answered cost nothing."""
    if cost is None:
        return broken_down
    billed = ~(cost > 0) & (broken_down > 0)
    return np.where(billed if cache_hit is None else billed & ~(cache_hit == 1), broken_down, cost)


def _with_upstream(
    cost: FloatArray | None, upstream: FloatArray | None, own_key: FloatArray | None
) -> FloatArray | None:
    """Costs with what the provider bills to the caller's own key beside them."""
    if cost is None or upstream is None or own_key is None:
        return cost
    return np.where((own_key == 1) & ~np.isnan(upstream), np.nan_to_num(cost) + upstream, cost)


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
