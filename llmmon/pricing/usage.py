"""What is billed of each call: disjoint kinds of tokens, and what may be billed apart, from the counts in the log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from llmmon.metrics.columns import BoolArray, Columns, FloatArray
from llmmon.metrics.record import Status
from llmmon.pricing.price_list import KINDS
from llmmon.pricing.units import BASE

_FAILED = frozenset({Status.ERROR.value, Status.CANCELLED.value})


class Usage(msgspec.Struct, frozen=True, eq=False):
    """What is billed of each call: disjoint kinds of tokens, and what may be billed apart.

    All arrays have shape (calls,) and are never NaN; None where no call has any.

    `prompt` is the whole prompt (it decides the context tier). `prompt_open` and `output_open` mark calls whose
    log gives some usage but not this half of it.
    """

    prompt: FloatArray
    uncached: FloatArray
    cache_read: FloatArray | None
    cache_write: FloatArray | None
    cache_write_1h: FloatArray | None
    output: FloatArray
    reasoning: FloatArray | None
    apart: Mapping[str, FloatArray]  # what some models bill apart, by kind: parts of the above, and other things
    prompt_open: BoolArray | None
    output_open: BoolArray | None
    used: BoolArray

    @property
    def kinds(self) -> tuple[FloatArray | None, ...]:
        """The disjoint tokens in the order of `units.BASE` (without the request itself)."""
        return self.uncached, self.cache_read, self.cache_write, self.cache_write_1h, self.output, self.reasoning


def usage_of(columns: Columns) -> Usage:
    """The billed tokens of calls.

    Caches larger than the prompt mean that the log counts them beside it, reasoning larger than the completion
    likewise. One half of the usage follows from the other and the total. A failed call has no missing output.
    """
    prompt, completion = _halves(columns)
    prompt_open, output_open = _missing(prompt), _missing(completion)
    gross, output = _filled(prompt), _filled(completion)
    read, write, hour = (_some(columns, f"{name}_tokens") for name in ("cached", "cache_write", "cache_write_1h"))
    if hour is not None:
        write = np.maximum(hour, 0.0 if write is None else write) - hour
    whole, uncached = _apart(gross, read, write, hour)
    reasoning = _some(columns, "reasoning_tokens")
    if reasoning is not None:
        output = np.where(reasoning > output, output, output - reasoning)
    used = (whole > 0) | (output > 0)
    if not used.all():
        used |= _known_total(columns)
        used |= False if reasoning is None else reasoning > 0
    apart = _billed_apart(columns)
    for amounts in apart.values():
        used |= amounts > 0
    if output_open is not None:
        output_open &= ~failed(columns)
    return Usage(whole, uncached, read, write, hour, output, reasoning, apart, prompt_open, output_open, used)


def _billed_apart(columns: Columns) -> dict[str, FloatArray]:
    """Usage of the kinds that only some models bill apart, where there is any; a part is never more than the whole."""
    found: dict[str, FloatArray] = {}
    for name, unit in reversed(list(KINDS.items())[len(BASE) :]):  # parts before what holds them
        amounts = _some(columns, unit.field or "")
        amounts = _once_a_reply(columns, amounts) if name == "web_searches" and amounts is not None else amounts
        for part in (part for part in found if name in KINDS[part].inside):
            amounts = found[part] if amounts is None else np.maximum(amounts, found[part])
        if amounts is not None:
            found[name] = amounts
    return found


# models that bill a reply with search results once, however often was searched for it
_ONE_SEARCH: Final = re.compile(r"gemini-[12](?![0-9])")


def _once_a_reply(columns: Columns, searches: FloatArray) -> FloatArray:
    models = columns.name("model")
    once = np.array([_ONE_SEARCH.search(name.lower()) is not None for name in models.values] + [False])[models.codes]
    return np.where(once, np.minimum(searches, 1.0), searches) if once.any() else searches


def failed(columns: Columns) -> BoolArray:
    """Calls that ended in an error or were cancelled; an unknown end is none; shape (calls,)."""
    return _status_in(columns, _FAILED)


def succeeded(columns: Columns) -> BoolArray:
    """Calls that the log calls successful; shape (calls,)."""
    return _status_in(columns, frozenset({Status.OK.value}))


def gateway_hits(columns: Columns) -> BoolArray:
    """Calls that a gateway answered from its own cache, so that no provider billed them; shape (calls,)."""
    hits = columns.numbers.get("cache_hit")
    return np.zeros(columns.size, np.bool_) if hits is None else hits == 1


def _status_in(columns: Columns, wanted: frozenset[str]) -> BoolArray:
    status = columns.names.get("status")
    if status is None:
        return np.zeros(columns.size, np.bool_)
    table = np.array([value in wanted for value in status.values] + [False])
    found: BoolArray = table[status.codes]
    return found


def _halves(columns: Columns) -> tuple[FloatArray, FloatArray]:
    """Prompt and completion tokens, each from the total where only the other is logged."""
    prompt, completion = columns.number("prompt_tokens"), columns.number("completion_tokens")
    total = columns.numbers.get("total_tokens")
    if total is None or (_missing(prompt) is None and _missing(completion) is None):
        return prompt, completion
    rest, start = np.maximum(total - prompt, 0.0), np.maximum(total - completion, 0.0)
    return np.where(np.isnan(prompt), start, prompt), np.where(np.isnan(completion), rest, completion)


def _missing(values: FloatArray) -> BoolArray | None:
    return np.isnan(values) if len(values) and np.isnan(values.min()) else None


def _filled(values: FloatArray) -> FloatArray:
    """0 for missing and for negative; shape (calls,)."""
    if len(values) and values.min() >= 0:  # NaN if any is missing
        return values
    filled: FloatArray = np.fmax(values, 0.0)
    return filled


def _some(columns: Columns, name: str) -> FloatArray | None:
    values = columns.numbers.get(name)
    if values is None:
        return None
    filled = _filled(values)
    return filled if filled.any() else None


def _apart(gross: FloatArray, *caches: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """The whole prompt, and its part that touched no cache."""
    found = [cache for cache in caches if cache is not None]
    if not found:
        return gross, gross
    cached = sum(found[1:], found[0])
    beside = cached > gross
    return np.where(beside, gross + cached, gross), np.where(beside, gross, gross - cached)


def _known_total(columns: Columns) -> BoolArray:
    total = columns.numbers.get("total_tokens")
    return np.zeros(columns.size, np.bool_) if total is None else total > 0


def uncached(usage: Usage, *, reads: bool) -> Usage:
    """The same usage if the cache had not been read from (or not written to)."""
    if reads:
        if usage.cache_read is None:
            return usage
        return msgspec.structs.replace(usage, uncached=usage.uncached + usage.cache_read, cache_read=None)
    written = [tokens for tokens in (usage.cache_write, usage.cache_write_1h) if tokens is not None]
    if not written:
        return usage
    fresh = usage.uncached + sum(written[1:], written[0])
    return msgspec.structs.replace(usage, uncached=fresh, cache_write=None, cache_write_1h=None)
