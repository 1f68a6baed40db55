"""Token counts: what is inside what, which parts are missing, and what a logged total says of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from llmmon.formats.bound import BoundSlots
from llmmon.formats.doubts import add_doubts
from llmmon.metrics.columns import (
    BoolArray,
    FloatArray,
)
from llmmon.metrics.record import FIELDS, USAGE


def token_counts(slots: BoundSlots) -> dict[str, FloatArray | None]:
    """The token fields of the record; NaN for missing, None where no row has one."""
    cached, write = slots.counts("cached_tokens"), slots.counts("cache_write_tokens")
    total, reasoning = slots.counts("total_tokens"), slots.counts("reasoning_tokens")
    logged = _with_beside(slots, "prompt_tokens", "input_tool_tokens")
    if "output_citation_tokens" in slots.bound:
        total = _with_beside(slots, "total_tokens", "output_citation_tokens")
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
    _count_contradictions(slots, counts["prompt_tokens"], counts["completion_tokens"], total)
    return {**counts, "total_tokens": _total(counts["prompt_tokens"], counts["completion_tokens"], total)}


def _with_beside(slots: BoundSlots, whole: str, part: str) -> FloatArray | None:
    """A count with a part that is logged beside it, as a binding's unit says; None where no row has the count."""
    logged = slots.counts(whole)
    beside = slots.from_unit(part, "exclusive")
    if logged is None or beside is None:
        return logged
    counted = slots.counts(part)
    return logged if counted is None else np.where(beside, logged + np.nan_to_num(counted), logged)


def billed_apart(slots: BoundSlots) -> dict[str, FloatArray | None]:
    """The usage that some models bill apart, where the log has any."""
    return {name: slots.counts(name, FIELDS[name].scale) for name in USAGE if name in slots.bound}


def _count_contradictions(
    slots: BoundSlots, prompt: FloatArray | None, completion: FloatArray | None, total: FloatArray | None
) -> None:
    """Count the calls whose logged total is not the sum of its parts, beyond what rounding explains."""
    if prompt is not None and completion is not None and total is not None:
        with np.errstate(invalid="ignore"):
            apart = np.abs(prompt + completion - total) > np.maximum(2.0, _CONTRADICTION * total)
        add_doubts(slots.doubts, {"contradicted": int(np.count_nonzero(apart))})


_CONTRADICTION: Final = 0.01


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
