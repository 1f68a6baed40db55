"""Moments and lengths of time, as text or numbers -> microseconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmmon.metrics.columns import MISSING_TIME, FloatArray, IntArray

_LAYOUT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,](?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:?\d\d)?\Z"
)
_DATE: Final = re.compile(rb"\d{4}-\d\d-\d\d\Z")
_WORD: Final = np.dtype("<u8")  # the first of eight characters is the lowest byte
_COLONS: Final = np.uint64(0x00_00_FF_00_00_FF_00_00)

Words = NDArray[np.uint64]


def local_moments(joined: bytes, width: int) -> tuple[IntArray, str | None] | None:
    """Wall-clock microseconds (shape (n,)) and zone of texts of one width; None if one has another layout."""
    layout = _LAYOUT.match(joined[:width].decode("ascii", "replace"))
    if layout is None:
        return None
    fraction = len(layout["fraction"] or "")
    grid = np.frombuffer(joined, np.uint8).reshape(-1, width)
    if not _same_signs(grid, fraction):
        return None
    time = _seconds(_word(joined, width, 11))
    micros = _micros(_word(joined, width, 12 + min(fraction, 6)), min(fraction, 6)) if fraction else np.int64(0)
    days = _midnights(joined, grid)
    if time is None or micros is None or days is None:
        return None
    return days + (time * 1_000_000 + micros), layout["zone"]


def _word(raw: bytes, width: int, at: int) -> Words:
    """The eight characters from a place of each text; shape (n,)."""
    return np.ndarray((len(raw) // width,), _WORD, raw, at, (width,)).copy()


def _same_signs(grid: NDArray[np.uint8], fraction: int) -> bool:
    """Whether what is no date, time or microsecond is as in the first text, digits where that has digits."""
    signs = [10, *([19] if fraction else []), *range(20 + fraction if fraction else 19, grid.shape[1])]
    finer = range(26, 20 + fraction)
    return all((grid[:, at] == grid[0, at]).all() for at in signs) and all(
        (grid[:, at] - np.uint8(48)).max() <= 9 for at in finer
    )


def _repeated(byte: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([byte]) * 8, "little"))


_ZEROS, _HIGH, _TO_HIGH = _repeated(0x30), _repeated(0x80), _repeated(0x76)


def _are_digits(values: Words) -> bool:
    """Whether all bytes are below ten (and none is above 127 to begin with)."""
    return not bool(((values + _TO_HIGH) & _HIGH).any())


def _seconds(words: Words) -> IntArray | None:
    """`HH:MM:SS` as seconds; None if one is no time of day."""
    words ^= _ZEROS
    if ((words & _COLONS) != np.uint64(0x00_00_0A_00_00_0A_00_00)).any():
        return None
    words &= ~_COLONS
    if not _are_digits(words):
        return None
    pairs = words * np.uint64(10) + (words >> np.uint64(8))
    hours, minutes, seconds = (((pairs >> np.uint64(shift)) & np.uint64(0xFF)) for shift in (0, 24, 48))
    if hours.max() > 23 or minutes.max() > 59 or seconds.max() > 59:
        return None
    return ((hours * np.uint64(60) + minutes) * np.uint64(60) + seconds).astype(np.int64)


def _micros(words: Words, digits: int) -> IntArray | None:
    """The last one to six of eight characters as the digits of a fraction of a second; None if one is no digit."""
    words ^= _ZEROS
    words &= ~np.uint64((1 << 8 * (8 - digits)) - 1)
    if not _are_digits(words):
        return None
    for factor, shift, mask in _JOINS:
        words = (words * np.uint64(factor) + (words >> np.uint64(shift))) & np.uint64(mask)
    found: IntArray = words.astype(np.int64) * 10 ** (6 - digits)
    return found


# digits to pairs, pairs to fours, fours to the whole
_JOINS: Final = ((10, 8, 0x00FF_00FF_00FF_00FF), (100, 16, 0x0000_FFFF_0000_FFFF), (10_000, 32, 0xFFFF_FFFF))


def _midnights(raw: bytes, grid: NDArray[np.uint8]) -> IntArray | None:
    """Midnight of each text's date, None if one is no date; dates come in runs, so only changes are looked up."""
    width = grid.shape[1]
    first, last = _word(raw, width, 0), _word(raw, width, 2)
    changed = np.flatnonzero((first[1:] != first[:-1]) | (last[1:] != last[:-1])) + 1
    edges: list[Any] = [0, *changed.tolist(), len(grid)]
    found = [_midnight(raw[start * width : start * width + 10]) for start in edges[:-1]]
    if None in found:
        return None
    return np.repeat(np.array(found, np.int64), np.diff(edges))


@lru_cache(maxsize=4096)
def _midnight(date: bytes) -> int | None:
    if not _DATE.match(date):
        return None
    try:
        return int(np.datetime64(date.decode(), "us").astype(np.int64))
    except ValueError:
        return None


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
