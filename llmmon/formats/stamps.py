"""Moments and lengths of time, as text or numbers -> microseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmmon.columns import MISSING_TIME, FloatArray, IntArray
from llmmon.formats.fixed_stamps import local_moments

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS_AT_EPOCH: Final = 621_355_968_000_000_000  # .NET ticks (100 ns) from year 1 to 1970
_LATEST_US: Final = 253_402_300_800_000_000  # year 10000


def moments(values: Sequence[Any], unit: str = "", naive: str = "UTC") -> IntArray:
    """Microseconds since the epoch, `MISSING_TIME` where there is no usable moment; shape (n,).

    `unit` is "" (numbers by their magnitude), "s", "ms", "us", "ns" or "ticks"; `naive` is the zone of
    stamps that name none.
    """
    if not len(values):
        return np.empty(0, np.int64)
    first = values[0]
    if type(first) in (int, float) and (numbers := _numbers(values)) is not None:
        return _from_numbers(numbers, unit)
    return _by_width(values, unit, naive)


def _by_width(values: Sequence[Any], unit: str, naive: str) -> IntArray:
    """Texts of several layouts: those of one width together, what is no text one by one."""
    rows: dict[int, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(len(value) if type(value) is str else 0, []).append(row)
    result = np.empty(len(values), np.int64)
    for width, places in rows.items():
        found = [values[row] for row in places]
        joined = "".join(found) if width else ""
        plain = joined.isascii() and width
        result[places] = joined_moments(joined.encode(), width, unit, naive) if plain else _each(found, unit, naive)
    return result


def _each(values: Sequence[Any], unit: str, naive: str) -> IntArray:
    return np.array([_moment(value, unit, naive) for value in values], np.int64)


def joined_moments(joined: bytes, width: int, unit: str, naive: str) -> IntArray:
    """As `moments`, of ASCII texts of one width laid end to end; shape (n,)."""
    fast = local_moments(joined, width)
    if fast is not None:
        return _to_utc(*fast, naive)
    return _each([joined[at : at + width].decode() for at in range(0, len(joined), width)], unit, naive)


def _to_utc(local: IntArray, zone: str | None, naive: str) -> IntArray:
    if zone is None:
        return localize(local, naive)
    if zone == "Z":
        return local
    sign = -1 if zone[0] == "-" else 1
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return local - sign * minutes * 60_000_000


def localize(local: IntArray, zone: str) -> IntArray:
    """Wall-clock microseconds in `zone` -> microseconds UTC; shape (n,)."""
    if zone == "UTC":
        return local
    quarters, inverse = np.unique(local // 900_000_000, return_inverse=True)
    tz = _zone(zone)
    offsets = [_offset_us(int(quarter), tz) for quarter in quarters]
    result: IntArray = local - np.array(offsets, np.int64)[inverse]
    return result


@lru_cache(maxsize=8)
def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # not needed by logs in UTC

    return UTC if name == "UTC" else ZoneInfo(name)


def _offset_us(quarter: int, tz: tzinfo) -> int:
    wall = (_EPOCH + timedelta(seconds=quarter * 900)).replace(tzinfo=tz)
    offset = wall.utcoffset() or timedelta(0)
    return int(offset.total_seconds() * 1_000_000)


def _numbers(values: Sequence[Any]) -> NDArray[Any] | None:
    """As one int64 or float64 array, None where that would lose something (booleans, gaps, digits)."""
    kinds = set(map(type, values))
    if not kinds <= {int, float}:
        return None
    try:
        array = np.array(values)
    except OverflowError:
        return None
    lossy = len(kinds) > 1 and bool((np.abs(array) > 2.0**53).any())
    return array if array.dtype in (np.int64, np.float64) and not lossy else None


def _from_numbers(numbers: NDArray[Any], unit: str) -> IntArray:
    """Epoch numbers by their magnitude (seconds, ms, us, .NET ticks, ns) where no unit is given."""
    size = np.abs(numbers.astype(np.float64))
    if unit:
        scale, shift = _UNITS_US[unit]
        return _scaled(numbers, np.full(len(numbers), scale), shift)
    seconds = np.select(
        [size < 1e11, size < 1e14, size < 1e17, (size >= 6.2e17) & (size < 6.6e17)], [1e6, 1e3, 1.0, 0.1], 1e-3
    )
    out = _scaled(numbers, seconds, 0)
    ticks = seconds == 0.1
    if ticks.any():
        out[ticks] = (numbers[ticks].astype(np.int64) - _TICKS_AT_EPOCH) // 10
    return out


_UNITS_US: Final = {
    "s": (1e6, 0),
    "ms": (1e3, 0),
    "us": (1.0, 0),
    "ns": (1e-3, 0),
    "ticks": (0.1, _TICKS_AT_EPOCH),
}


def _scaled(numbers: NDArray[Any], scale: FloatArray, shift: int) -> IntArray:
    if numbers.dtype == np.int64:
        shifted = numbers - shift
        whole = np.where(scale >= 1, shifted * scale.astype(np.int64), 0)
        small = scale < 1
        if small.any():
            whole[small] = shifted[small] // np.rint(1 / scale[small]).astype(np.int64)
        usable = np.abs(numbers.astype(np.float64)) * scale < _LATEST_US * (10 if shift else 1)
        return np.where(usable, whole, MISSING_TIME)
    with np.errstate(invalid="ignore", over="ignore"):
        micros = (numbers - shift) * scale
        usable = np.abs(micros) < _LATEST_US
        return np.where(usable, np.rint(np.where(usable, micros, 0.0)).astype(np.int64), MISSING_TIME)


def _moment(value: Any, unit: str, naive: str) -> int:
    if value is None or isinstance(value, bool):
        return MISSING_TIME
    if isinstance(value, (int, float)):
        numbers = _numbers([value])
        return MISSING_TIME if numbers is None else int(_from_numbers(numbers, unit)[0])
    if not isinstance(value, str) or not value:
        return MISSING_TIME
    parsed = _parse_text(value.strip(), naive)
    if parsed is not None:
        return parsed
    try:
        number = float(value) if not value.strip().lstrip("-").isdigit() else int(value)
    except ValueError:
        return MISSING_TIME
    return _moment(number, unit, naive)


def _parse_text(text: str, naive: str) -> int | None:
    if not re.match(r"\d{4}-|\d\d? [A-Z]|[A-Z][a-z]{2},", text):
        return None
    cleaned = re.sub(r"\s?(?:UTC|GMT)\Z", "+00:00", text)
    cleaned = re.sub(r"([.,]\d{6})\d+", r"\1", cleaned)  # finer than microseconds
    try:
        when = datetime.fromisoformat(cleaned)
    except (ValueError, OverflowError):
        from email.utils import parsedate_to_datetime  # takes a while to load, and is rarely needed

        try:
            when = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
    try:
        if when.tzinfo is None:
            when = when.replace(tzinfo=_zone(naive))
        return (when - _EPOCH) // timedelta(microseconds=1)
    except OverflowError:
        return None


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
_PART: Final = r"(\d+(?:\.\d+)?)\s*(ns|us|µs|μs|ms|min|m|s|h)(?![a-z])"
_ISO_DURATION: Final = r"PT(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?\Z"


def duration_us(text: str, unit: str) -> float:
    """`1.23s`, `845.2ms`, `1m2s`, `PT1.5S` or a bare number in `unit` -> microseconds, NaN if neither."""
    text = text.strip().lower() if not text.startswith("PT") else text
    if iso := re.match(_ISO_DURATION, text):
        hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        return (hours * 3600 + minutes * 60 + seconds) * 1e6
    parts = re.findall(_PART, text)
    if parts and not re.sub(_PART, "", text).strip():
        return sum(float(number) * DURATION_UNITS_US[name] for number, name in parts)
    try:
        return float(text) * DURATION_UNITS_US[unit or "ms"]
    except ValueError:
        return float("nan")
