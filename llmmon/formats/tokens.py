"""Token counts as every log should have logged them: cache inside the prompt, reasoning inside the answer."""

from __future__ import annotations

import numpy as np

from llmmon.columns import BoolArray, FloatArray
from llmmon.formats.bound import BoundSlots


def token_counts(slots: BoundSlots) -> dict[str, FloatArray | None]:
    """The token fields of the record; NaN for missing, None where no row has one."""
    cached, write = slots.numbers("cached_tokens"), slots.numbers("cache_write_tokens")
    logged, completion = slots.numbers("prompt_tokens"), _whole_completion(slots)
    total = slots.numbers("total_tokens")
    nothing = _nothing_counted(logged, completion, total)
    counts = {
        "prompt_tokens": _whole_prompt(slots, logged, cached, write),
        "completion_tokens": completion,
        "cached_tokens": cached,
        "cache_write_tokens": write,
        "cache_write_1h_tokens": slots.numbers("cache_write_1h_tokens"),
        "reasoning_tokens": slots.numbers("reasoning_tokens"),
    }
    if nothing is not None:
        counts = {
            field: None if column is None else np.where(nothing, np.nan, column) for field, column in counts.items()
        }
        total = None if total is None else np.where(nothing, np.nan, total)
    return {**counts, "total_tokens": _total(counts["prompt_tokens"], counts["completion_tokens"], total)}


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


def _whole_completion(slots: BoundSlots) -> FloatArray | None:
    """Completion tokens with reasoning, also where a log counts the two apart."""
    completion, reasoning = slots.numbers("completion_tokens"), slots.numbers("reasoning_tokens")
    apart = slots.from_unit("completion_tokens", "exclusive")
    if completion is None or reasoning is None or apart is None:
        return completion
    return np.where(apart, completion + np.nan_to_num(reasoning), completion)


def _whole_prompt(
    slots: BoundSlots, prompt: FloatArray | None, cached: FloatArray | None, write: FloatArray | None
) -> FloatArray | None:
    """Prompt tokens with cache reads and writes. More cached than prompt means that they are not in it."""
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
