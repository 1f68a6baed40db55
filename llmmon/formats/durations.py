"""Lengths of time as text and objects -> microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from llmmon.metrics.columns import FloatArray
from llmmon.text.patterns import lazy

DURATION_UNITS_US: Final = {
    "ns": 1e-3,
    "us": 1.0,
    "µs": 1.0,
    "μs": 1.0,
    "ms": 1e3,
    "s": 1e6,
    "m": 6e7,
    "min": 6e7,
    "h": 3.6e9,
}
_WORDS_US: Final = {
    **DURATION_UNITS_US,
    **dict.fromkeys(("nanosecond", "nanoseconds", "nanos", "nsec"), 1e-3),
    **dict.fromkeys(("microsecond", "microseconds", "micros", "usec"), 1.0),
    **dict.fromkeys(("millisecond", "milliseconds", "millis", "msec", "msecs"), 1e3),
    **dict.fromkeys(("second", "seconds", "sec", "secs"), 1e6),
    **dict.fromkeys(("minute", "minutes", "mins"), 6e7),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), 3.6e9),
    **dict.fromkeys(("d", "day", "days"), 8.64e10),
}
_NUMBER: Final = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?"
_PART: Final = lazy(rf"(?<![\d.])({_NUMBER})\s*([a-zµμ]+)")
_PARTS: Final = lazy(rf"(?:{_NUMBER}\s*[a-zµμ]+(?:\s*,\s*|\s+and\s+|\s*))+\Z")
_THOUSANDS: Final = lazy(r"\d{1,3}(?:,\d{3})+(?:\.\d{0,20})?\Z")
_ISO: Final = lazy(
    r"p(?:(?P<d>\d+(?:\.\d+)?)d)?(?:t(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:[.,]\d+)?)s)?)?\Z"
)
_CLOCK: Final = lazy(r"(?:(?P<d>\d+)(?:\.|\s*days?,?\s+))?(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d(?:[.,]\d+)?)\Z")
_MINUTES: Final = lazy(r"(?P<m>\d{1,3}):(?P<s>\d\d\.\d+)\Z")
_SCALES_US: Final = {"d": 8.64e10, "h": 3.6e9, "m": 6e7, "s": 1e6}


def duration_us(value: Any) -> float | None:
    """A length of time that says its own unit, in microseconds; None for anything else, numbers alone too.

    `1.2s`, `845.2ms`, `1m2.5s`, `1.2 seconds`, ISO 8601 (`PT1.2S`), Python's and .NET's clocks (`0:00:01.2`,
    `1.02:03:04`), `{"secs", "nanos"}` and its like.
    """
    if isinstance(value, str):
        return _of_text(value)
    return _of_object(value) if isinstance(value, Mapping) else None


def durations_us(values: Sequence[Any], unit: str = "") -> FloatArray:
    """As `duration_us`, of many; numbers (in text too) are in `unit` (ms where none is given); shape (n,).

    NaN where there is no length of time.
    """
    scale = DURATION_UNITS_US[unit or "ms"]
    return np.array([_one(value, scale) for value in values], np.float64)


def _one(value: Any, scale: float) -> float:
    if isinstance(value, bool):
        return np.nan
    try:
        return float(value) * scale  # TypeError: no number and no text
    except (TypeError, ValueError, OverflowError):
        if isinstance(value, str) and _THOUSANDS.match(value.strip()):
            return float(value.replace(",", "")) * scale
        found = duration_us(value)
        return np.nan if found is None else found


@lru_cache(maxsize=8192)
def _of_text(text: str) -> float | None:
    text = text.strip().lower()
    sign = -1.0 if text[:1] == "-" else 1.0
    text = text.lstrip("+-")
    found = _ISO.match(text) or _CLOCK.match(text) or _MINUTES.match(text)
    if found is not None and any(found.groups()):
        return sign * sum(
            float(part.replace(",", ".")) * _SCALES_US[key] for key, part in found.groupdict().items() if part
        )
    if not _PARTS.match(text):
        return None
    parts = _PART.findall(text)
    if any(name not in _WORDS_US for _, name in parts):
        return None
    return sign * sum(float(number.replace(",", "")) * _WORDS_US[name] for number, name in parts)


_KEYS_US: Final = {
    **dict.fromkeys(("secs", "seconds", "sec", "s"), 1e6),
    **dict.fromkeys(("millis", "milliseconds", "ms"), 1e3),
    **dict.fromkeys(("micros", "microseconds", "us"), 1.0),
    **dict.fromkeys(("nanos", "nanoseconds", "ns", "nano"), 1e-3),
}
_WHOLE_US: Final = {"TotalMilliseconds": 1e3, "totalMilliseconds": 1e3, "TotalSeconds": 1e6, "Ticks": 0.1, "ticks": 0.1}


def _of_object(value: Mapping[str, Any]) -> float | None:
    for key, scale in _WHOLE_US.items():  # .NET's TimeSpan, whose other keys are parts of it
        if (number := _number(value.get(key))) is not None:
            return number * scale
    if "value" in value and str(value.get("unit")).lower() in _WORDS_US and len(value) <= 3:
        number = _number(value["value"])
        return None if number is None else number * _WORDS_US[str(value["unit"]).lower()]
    if not value or not value.keys() <= _KEYS_US.keys():
        return None
    parts = [(_number(part), _KEYS_US[key]) for key, part in value.items()]
    return (
        sum(number * scale for number, scale in parts if number is not None)
        if any(number is not None for number, _ in parts)
        else None
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
