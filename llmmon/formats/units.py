"""The units of lengths of time whose keys name none: told by the tokens of the same calls, else by their size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from llmmon.formats.dialect import Object
from llmmon.formats.durations import DURATION_UNITS_US
from llmmon.formats.mapping import Binding, Slot, admit, value_at
from llmmon.formats.written_times import date_order

_HUGE: Final = 1e300  # an integer beyond is no number of anything


class Units:
    """The units of lengths of time whose keys name none, guessed from the objects of a file's head."""

    def __init__(self, rows: Sequence[Object], bindings: Iterable[Binding]) -> None:
        self._rows = rows
        self._tokens = sorted(binding for binding in bindings if binding.slot == "completion_tokens")
        self.guessed: list[Binding] = []  # those that nothing but their size speaks for

    def settled(self, binding: Binding) -> Binding:
        """The binding with a unit."""
        if binding.kind is Slot.TIME and not binding.unit:
            order = date_order(value_at(row, binding.path) for row in self._rows)
            return msgspec.structs.replace(binding, unit=order) if order == "dmy" else binding
        if binding.kind is not Slot.DURATION or binding.unit:
            return binding
        pairs = [(_length(value_at(row, binding.path)), row) for row in self._rows]
        known = [(length, self._completion(row)) for length, row in pairs if 0 < length < _HUGE]
        unit, sure = unit_of(known)
        found = Binding(binding.slot, binding.rank, binding.path, unit)
        if not sure:
            self.guessed.append(found)
        return found

    def _completion(self, row: Object) -> float:
        for binding in self._tokens:
            value = admit(binding, value_at(row, binding.path))
            if type(value) in (int, float) and abs(value) < _HUGE:
                return float(value)
        return 0.0


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
