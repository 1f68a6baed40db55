"""Raw values by binding -> the canonical columns of `record.FIELDS`: the one place where units, cached
tokens, outcomes and times are settled, for every dialect and every way of decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.columns import (
    MISSING_CODE,
    MISSING_TIME,
    BoolArray,
    CodeArray,
    Columns,
    FloatArray,
    IntArray,
    Interner,
    Names,
)
from llmmon.formats import outcomes, values
from llmmon.formats.mapping import Binding
from llmmon.formats.slots import Slot
from llmmon.record import NANO_DOLLARS, SCORE_UNITS

_MONEY: Final = {"": NANO_DOLLARS, "usd": NANO_DOLLARS, "cents": NANO_DOLLARS / 100}


class Interners(dict[str, Interner]):
    """One interner per name field, shared by all blocks that one process decodes."""

    def __missing__(self, field: str) -> Interner:
        interner = self[field] = Interner()
        return interner


class RawCalls(msgspec.Struct, eq=False):
    """Rows as they were logged: one compact column a binding (`formats.gather`), only those with a value.

    `lines` numbers each row's line within its span; `has_output` says whether output text is there where
    the text itself was not read.
    """

    size: int
    lines: IntArray
    values: Mapping[Binding, Any]
    has_output: BoolArray | None = None


def canonical(raw: RawCalls, interners: Interners, *, any_row: bool, outcome: bool = True) -> Columns:
    """The calls among the rows; with `any_row` each row is one, otherwise it must carry evidence.

    Status and errors are settled only where `outcome` asks for it.
    """
    slots = _Slots(raw, interners, outcome)
    found = slots.columns()
    keep = np.ones(raw.size, np.bool_) if any_row else _is_call(found, raw)
    return found if keep.all() else found.take(keep)


def _is_call(found: Columns, raw: RawCalls) -> BoolArray:
    keep: BoolArray = np.zeros(raw.size, np.bool_)
    for field in ("prompt_tokens", "completion_tokens", "total_tokens", "latency_ms", "quality_score"):
        if field in found.numbers and not keep.all():
            keep |= ~np.isnan(found.numbers[field])
    if "model" in found.names:
        keep |= found.names["model"].codes != MISSING_CODE
    if raw.has_output is not None and not keep.all():
        keep |= raw.has_output
    if "output" in found.texts and not keep.all():
        keep |= np.array([text is not None for text in found.texts["output"]], np.bool_)
    return keep


class _Slots:
    """The slots of one block of rows, read once each, and what is made of them."""

    def __init__(self, raw: RawCalls, interners: Interners, wants_outcome: bool) -> None:
        self.wants_outcome = wants_outcome
        self.raw = raw
        self.size = raw.size
        self.interners = interners
        self.bound: dict[str, list[Binding]] = {}
        for binding in sorted(raw.values):
            self.bound.setdefault(binding.slot, []).append(binding)

    def columns(self) -> Columns:
        start, latency = self._times()
        numbers: dict[str, FloatArray | None] = {
            "latency_ms": latency,
            "time_to_first_token_ms": self._ttft(start, latency),
            **self._tokens(),
            "cost_usd": self._cost(),
            "quality_score": self._first("quality_score", lambda _: SCORE_UNITS),
            "attempt": self.numbers("attempt"),
            "cache_hit": self.numbers("cache_hit"),
        }
        if self.wants_outcome:
            names, numbers["status_code"] = self._outcome(self._completed(numbers))
        else:
            names = {}
        return Columns(
            size=self.size,
            timestamp=np.full(self.size, MISSING_TIME) if start is None else start,
            numbers={field: column for field, column in numbers.items() if column is not None},
            names={**names, **self._names(set(names))},
            texts={slot: self._texts(slot) for slot in self.bound if self.bound[slot][0].kind is Slot.TEXT},
            positions=self.raw.lines,
        )

    def numbers(self, slot: str) -> FloatArray | None:
        """Per row the number (or microseconds, or flag) of the first binding that has one."""
        return self._first(slot, lambda _: 1)

    def _first(self, slot: str, scale: Callable[[Binding], float]) -> FloatArray | None:
        found: FloatArray | None = None
        for binding in self.bound.get(slot, ()):
            factor, column = scale(binding), self.raw.values[binding]
            column = column if factor == 1 else np.rint(column * factor)
            found = column if found is None else np.where(np.isnan(found), column, found)
            if not np.isnan(found).any():
                break
        return found

    def _moments(self, slot: str) -> IntArray | None:
        found: IntArray | None = None
        for binding in self.bound.get(slot, ()):
            column = self.raw.values[binding]
            found = column if found is None else np.where(found == MISSING_TIME, column, found)
            if (found != MISSING_TIME).all():
                break
        return found

    def _times(self) -> tuple[IntArray | None, FloatArray | None]:
        """Start and latency; end minus start wins over a logged latency, a lone end gives the start."""
        start, end, latency = self._moments("start"), self._moments("end"), self.numbers("latency")
        if end is None:
            return start, latency
        if start is None:
            start = np.full(self.size, MISSING_TIME)
        both = (start != MISSING_TIME) & (end != MISSING_TIME) & (end >= start)
        measured = np.where(both, (end - start).astype(np.float64), np.nan)
        latency = measured if latency is None else np.where(both, measured, latency)
        lone = (start == MISSING_TIME) & (end != MISSING_TIME)
        if lone.any():
            start = np.where(lone, end - np.nan_to_num(latency).astype(np.int64), start)
        return start, None if np.isnan(latency).all() else latency

    def _completed(self, numbers: Mapping[str, FloatArray | None]) -> BoolArray:
        """Rows with a sign of an answer: tokens out, a latency, a finish reason or output text."""
        done: BoolArray = np.zeros(self.size, np.bool_)
        for field in ("completion_tokens", "latency_ms"):
            column = numbers[field]
            if column is not None and not done.all():
                done |= ~np.isnan(column)
        if self.raw.has_output is not None and not done.all():
            done |= self.raw.has_output
        for slot in ("finish_reason", "output"):
            for binding in self.bound.get(slot, ()) if not done.all() else ():
                done |= np.array([value is not None for value in self.raw.values[binding]], np.bool_)
        return done

    def _ttft(self, start: IntArray | None, latency: FloatArray | None) -> FloatArray | None:
        ttft = self.numbers("ttft")
        first = self._moments("first_token_at")
        if first is None or start is None:
            return ttft
        known = (first != MISSING_TIME) & (start != MISSING_TIME) & (first >= start)
        wait = np.where(known, (first - start).astype(np.float64), np.nan)
        if latency is not None:  # a "first token" at the very end is a call that did not stream
            wait[wait >= latency] = np.nan
        return wait if ttft is None else np.where(np.isnan(ttft), wait, ttft)

    def _tokens(self) -> dict[str, FloatArray | None]:
        cached, write = self.numbers("cached_tokens"), self.numbers("cache_write_tokens")
        prompt = self._whole_prompt(cached, write)
        completion = self.numbers("completion_tokens")
        reasoning = self.numbers("reasoning_tokens")
        if completion is not None and reasoning is not None and self._exclusive("completion_tokens"):
            completion = completion + np.nan_to_num(reasoning)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": _total(prompt, completion, self.numbers("total_tokens")),
            "cached_tokens": cached,
            "cache_write_tokens": write,
            "cache_write_1h_tokens": self.numbers("cache_write_1h_tokens"),
            "reasoning_tokens": reasoning,
        }

    def _exclusive(self, slot: str) -> bool:
        return any(binding.unit == "exclusive" for binding in self.bound.get(slot, ()))

    def _whole_prompt(self, cached: FloatArray | None, write: FloatArray | None) -> FloatArray | None:
        """Prompt tokens with cache reads and writes. More cached than prompt means that they are not in it."""
        prompt = self.numbers("prompt_tokens")
        if prompt is None or (cached is None and write is None):
            return prompt
        cache = np.nan_to_num(_or_nan(cached, self.size)) + np.nan_to_num(_or_nan(write, self.size))
        outside = cache > prompt
        if self._exclusive("prompt_tokens"):
            outside |= True
        elif self._exclusive("cached_tokens"):
            outside |= self._paired("prompt_tokens", "input") & self._paired("cached_tokens", "exclusive")
        return np.where(outside, prompt + cache, prompt)

    def _paired(self, slot: str, unit: str) -> BoolArray:
        """Rows whose value of the slot comes from a binding with this unit."""
        found = np.zeros(self.size, np.bool_)
        done = np.zeros(self.size, np.bool_)
        for binding in self.bound.get(slot, ()):
            here = ~np.isnan(self.raw.values[binding]) & ~done
            done |= here
            if binding.unit == unit:
                found |= here
        return found

    def _cost(self) -> FloatArray | None:
        def units(binding: Binding) -> float:
            return _MONEY[binding.unit]

        cost = self._first("cost", units)
        parts = self._first("cost_input", units), self._first("cost_output", units)
        if parts[0] is None and parts[1] is None:
            return cost
        first, second = _or_nan(parts[0], self.size), _or_nan(parts[1], self.size)
        added = np.where(np.isnan(first) & np.isnan(second), np.nan, np.nan_to_num(first) + np.nan_to_num(second))
        return added if cost is None else np.where(np.isnan(cost), added, cost)

    def _outcome(self, completed: BoolArray) -> tuple[dict[str, Names], FloatArray | None]:
        flags = self.numbers("success"), self.numbers("failed")
        said = {slot: [self.raw.values[b] for b in self.bound.get(slot, ())] for slot in ("outcome", "error")}
        logged = {field: self._names_of(field) for field in ("error_type", "error_message")}
        found = outcomes.settle(self.size, flags, said, logged, self.numbers("status_code"), completed)
        names = {"status": Names(found.status, outcomes.STATUSES)}
        for field, patches in (("error_type", found.types), ("error_message", found.messages)):
            if field in self.bound or patches:
                names[field] = self._patched(field, patches)
        return names, found.status_code

    def _names_of(self, slot: str) -> Names | None:
        bindings = self.bound.get(slot)
        return Names(self._codes(bindings), self.interners[slot].values_seen) if bindings else None

    def _patched(self, field: str, patches: Mapping[int, str]) -> Names:
        interner = self.interners[field]
        codes = self._codes(self.bound.get(field, []))
        for row, text in patches.items():
            codes[row] = interner[text]
        return Names(codes, interner.values_seen)

    def _names(self, done: Iterable[str]) -> dict[str, Names]:
        names: dict[str, Names] = {}
        for slot, bindings in self.bound.items():
            if bindings[0].kind is Slot.NAME and slot not in done:
                names[slot] = Names(self._codes(bindings), self.interners[slot].values_seen)
        if "model" not in names and "model_requested" in names:
            names["model"] = names["model_requested"]
        return names

    def _codes(self, bindings: Sequence[Binding]) -> CodeArray:
        found: CodeArray = np.full(self.size, MISSING_CODE, np.int32)
        for binding in bindings:
            gaps = found == MISSING_CODE
            if not gaps.any():
                break
            column: CodeArray = self.raw.values[binding]
            found = column.copy() if gaps.all() else np.where(gaps, column, found)
        return found

    def _texts(self, slot: str) -> list[str | None]:
        columns = [self.raw.values[binding] for binding in self.bound[slot]]
        if len(columns) == 1:
            return [values.as_text(value) for value in columns[0]]
        return [values.as_text(next((v for v in row if v is not None), None)) for row in zip(*columns, strict=True)]


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
