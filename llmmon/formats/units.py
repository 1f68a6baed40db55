"""The units of lengths of time whose keys name none: from the tokens of the same calls, else by their size."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats.aliases import fold, is_running_total
from llmmon.formats.dialect import Object
from llmmon.formats.durations import DURATION_UNITS_US
from llmmon.formats.mapping import Binding, Path, Slot, admit, value_at
from llmmon.formats.written_times import date_order
from llmmon.metrics.columns import BoolArray, FloatArray

_HUGE: Final = 1e300  # an integer beyond is no number of anything


class Units:
    """The units of lengths of time whose keys name none, guessed from samples of a file, in the order of the file."""

    def __init__(self, rows: Sequence[Object], bindings: Iterable[Binding]) -> None:
        self._rows = rows
        bindings = list(bindings)
        self._tokens = sorted(binding for binding in bindings if binding.slot == "completion_tokens")
        self._cached = [binding for binding in bindings if binding.slot == "cache_hit"]
        self.guessed: list[Binding] = []  # those that nothing but their size speaks for, and dates of unsure order
        self.mixed: list[tuple[Binding, str]] = []  # those that are in another unit on some of the lines

    def settled(self, binding: Binding) -> tuple[Binding, ...]:
        """The binding with a unit; twice where some lines are in another. No unit where no row has a value."""
        if binding.kind is Slot.TIME and not binding.unit:
            order, sure = date_order(value_at(row, binding.path) for row in self._rows)
            if not sure:
                self.guessed.append(msgspec.structs.replace(binding, unit=order))
            return (msgspec.structs.replace(binding, unit=order) if order == "dmy" else binding,)
        if binding.kind is not Slot.DURATION or binding.unit:
            return (binding,)
        there = [(value, row) for row in self._rows if (value := value_at(row, binding.path)) is not None]
        if not there:
            return (binding,)
        pairs = [(_length(value), row) for value, row in there]
        known = [(length, self._completion(row)) for length, row in pairs if 0 < length < _HUGE]
        unit, sure = unit_of(known)
        found = Binding(binding.slot, binding.rank, binding.path, unit)
        if binding.slot == "latency" and (other := self._other_unit(pairs, unit)):
            self.mixed.append((found, other))
            return found, Binding(binding.slot, binding.rank, binding.path, other)
        if not sure:
            self.guessed.append(found)
        return (found,)

    def _other_unit(self, pairs: Sequence[tuple[float, Object]], unit: str) -> str:
        """The unit that nearly all of some lines in a row, or of those with the same keys, must be in instead."""
        groups: dict[Any, list[tuple[float, float]]] = {}
        count = 0
        for length, row in pairs:
            tokens = self._completion(row)
            if 0 < length < _HUGE and tokens >= LEAST_TOKENS and not self._is_cached(row):
                groups.setdefault(tuple(row), []).append((length, tokens))
                groups.setdefault(count // _RUN, []).append((length, tokens))
                count += 1
        for other in _CANDIDATES:
            for group in groups.values() if other != unit else ():
                changed = sum(is_likelier(length, tokens, other, unit) for length, tokens in group)
                if len(group) >= _LEAST_GROUP and changed > _MOST_OF * len(group):
                    return other
        return ""

    def _is_cached(self, row: Object) -> bool:
        return any(value_at(row, binding.path) for binding in self._cached)

    def _completion(self, row: Object) -> float:
        for binding in self._tokens:
            value = admit(binding, value_at(row, binding.path))
            if type(value) in (int, float) and abs(value) < _HUGE:
                return float(value)
        return 0.0


_RUN: Final = 8  # lines in a row that are looked at together
_LEAST_GROUP: Final = 5
_MOST_OF: Final = 0.85
LEAST_TOKENS: Final = 20  # fewer say nothing of a speed


def is_likelier(length: float, tokens: float, one: str, other: str) -> bool:
    """Whether the speed that one unit implies is that of a model, and the speed that the other implies is not."""
    speed = tokens / length * 1e6
    fast, slow = speed / DURATION_UNITS_US[one], speed / DURATION_UNITS_US[other]
    return _SLOWEST <= fast <= _FASTEST and not _SLOWEST <= slow <= _FASTEST


def likelier(one: FloatArray, other: FloatArray, tokens: FloatArray | None) -> BoolArray:
    """Which lengths (microseconds) are likelier than the others: by the speed they imply, else nearer to usual ones."""
    with np.errstate(divide="ignore", invalid="ignore"):
        by_size: BoolArray = np.abs(np.log(one / _USUAL_US)) < np.abs(np.log(other / _USUAL_US))
        if tokens is None:
            return by_size
        speeds = [np.where(tokens >= LEAST_TOKENS, tokens * 1e6 / lengths, np.nan) for lengths in (one, other)]
        fits = [(speed >= _SLOWEST) & (speed <= _FASTEST) for speed in speeds]
    return np.where(fits[0] != fits[1], fits[0], by_size)


_USUAL_US: Final = 2e6  # a call


def _length(value: Any) -> float:
    """A length of time without a unit of its own, 0 for any other value."""
    if type(value) in (int, float):
        return float(value) if abs(value) < _HUGE else 0.0
    if type(value) is str:
        try:
            return float(value)
        except ValueError:
            return 0.0
    return 0.0


_CANDIDATES: Final = ("ms", "s", "us", "ns")  # the likeliest first
_SLOWEST, _FASTEST = 1.0, 2000.0  # tokens a second


def unit_of(lengths: Sequence[tuple[float, float]]) -> tuple[str, bool]:
    """The unit of unsuffixed lengths of time, from pairs (length, completion tokens of the same call); is it sure?

    The unit that implies 1 to 2,000 output tokens a second at the median; where several do or none, the one in
    which the median is the likeliest length of a call: whole numbers from 50 and fractions from 120 on are
    milliseconds, unless that is more than 20 minutes.
    """
    if not lengths:
        return "ms", True
    middle = _median(length for length, _ in lengths)
    speeds = [tokens / length for length, tokens in lengths if tokens > 0]
    plausible: list[str] = []
    if speeds:
        speed = _median(speeds) * 1e6  # per unit -> a second, for units in microseconds
        plausible = [unit for unit in _CANDIDATES if _SLOWEST <= speed / DURATION_UNITS_US[unit] <= _FASTEST]
        if len(plausible) == 1:
            return plausible[0], True
    likely = _likely(middle, all(length == int(length) for length, _ in lengths))
    if not plausible or likely in plausible:
        return likely, bool(plausible)
    return plausible[0], False


def _likely(middle: float, whole: bool) -> str:
    if middle < (50 if whole else 120):
        return "s"
    if middle * DURATION_UNITS_US["ms"] <= _LONGEST_US:
        return "ms"
    return "us" if middle <= _LONGEST_US else "ns"


_LONGEST_US: Final = 20 * 60 * 1e6


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


_SIGNS: Final = {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "元": "CNY"}
_CODES: Final = frozenset(
    "AED ARS AUD BRL CAD CHF CLP CNY COP CZK DKK EUR GBP HKD HUF IDR ILS INR JPY KRW MXN MYR NOK NZD PHP PLN RMB RON "
    "RUB SAR SEK SGD THB TRY TWD UAH VND ZAR".split()
)
_WORD: Final = re.compile(r"[A-Za-z]{3}")
_BESIDE: Final = frozenset({"currency", "costcurrency", "currencycode", "costunit"})


def foreign(bindings: Iterable[Binding], rows: Sequence[Object]) -> Iterator[tuple[Binding, str]]:
    """The bindings of costs that are in another currency in any of the rows, each with its code.

    Running totals, which are no figures of one call, come with the code "".
    """
    for binding in bindings:
        if binding.rank >= 0 and binding.kind is Slot.NUMBER and is_running_total(binding.path):
            yield binding, ""
            continue
        if binding.slot.startswith("cost") and binding.rank >= 0:
            found = (code for row in rows if (code := _currency(row, binding.path)))
            if code := next(found, None):
                yield binding, code


def _currency(row: Object, path: Path) -> str | None:
    value = value_at(row, path)
    if value is None:
        return None
    if isinstance(value, str) and (code := _code_in(value)):
        return code
    for at in {path[:-1], ()}:
        around = value_at(row, at)
        for key, said in around.items() if isinstance(around, dict) else ():
            if fold(key) in _BESIDE and isinstance(said, str) and (code := _code_in(said)):
                return code
    return None


def _code_in(text: Any) -> str | None:
    sign = next((code for sign, code in _SIGNS.items() if sign in text[:40]), None)
    words = (word.upper() for word in _WORD.findall(text[:40]))
    return sign or next((word for word in words if word in _CODES), None)
