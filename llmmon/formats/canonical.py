"""Raw values by binding -> the canonical columns of `record.FIELDS`: the one place where units, cached
tokens, outcomes and times are settled, for every dialect and every way of decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from llmmon.columns import MISSING_CODE, MISSING_TIME, BoolArray, Columns, FloatArray, Names
from llmmon.formats import outcomes, values
from llmmon.formats.bound import BoundSlots, Interners, RawCalls
from llmmon.formats.mapping import Binding
from llmmon.formats.slots import Slot
from llmmon.formats.times import first_token, start_and_latency
from llmmon.formats.tokens import token_counts
from llmmon.record import NANO_DOLLARS, SCORE_UNITS

__all__ = ["Interners", "RawCalls", "canonical"]  # both halves of one step
_MONEY: Final = {"": NANO_DOLLARS, "usd": NANO_DOLLARS, "cents": NANO_DOLLARS / 100}
_EVIDENCE: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "latency_ms", "quality_score")


def canonical(raw: RawCalls, interners: Interners, *, any_row: bool, outcome: bool = True) -> Columns:
    """The calls among the rows; with `any_row` each row is one, otherwise it must carry evidence.

    Status and errors are settled only where `outcome` asks for it.
    """
    slots = BoundSlots(raw, interners)
    answered = _with_output(slots)
    found = _columns(slots, answered, wants_outcome=outcome)
    keep = np.ones(raw.size, np.bool_) if any_row else _is_call(found, answered | _written(slots))
    return found if keep.all() else found.take(keep)


def _columns(slots: BoundSlots, answered: BoolArray, *, wants_outcome: bool) -> Columns:
    start, latency = start_and_latency(slots)
    numbers: dict[str, FloatArray | None] = {
        "latency_ms": latency,
        "time_to_first_token_ms": first_token(slots, start, latency),
        **token_counts(slots),
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


def _with_output(slots: BoundSlots) -> BoolArray:
    """Rows with an answer's text, read or only seen."""
    found: BoolArray = np.zeros(slots.size, np.bool_) if slots.raw.has_output is None else slots.raw.has_output
    if "output" in slots.bound:
        found = found | np.array([values.has_text(value) for value in slots.texts("output")], np.bool_)
    return found


def _written(slots: BoundSlots) -> BoolArray:
    """Rows that llmmon wrote as calls, whatever they carry."""
    said = slots.numbers("written")
    return np.zeros(slots.size, np.bool_) if said is None else said == 1


def _is_call(found: Columns, answered: BoolArray) -> BoolArray:
    keep = answered.copy()
    for field in _EVIDENCE:
        if field in found.numbers and not keep.all():
            keep |= ~np.isnan(found.numbers[field])
    if "model" in found.names:
        keep |= found.names["model"].codes != MISSING_CODE
    return keep


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
        if bindings[0].kind is Slot.NAME and (found := slots.names(slot)) is not None:
            names[slot] = found
    model: Any = slots.names("model", otherwise="model_requested")
    return names if model is None else {**names, "model": model}
