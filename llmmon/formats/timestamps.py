"""Moments as text or numbers -> microseconds: many of one layout at once, whatever else one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmmon.formats.written_times import moment_of_text, plain_moment, zone_named
from llmmon.metrics.columns import MISSING_TIME, FloatArray, IntArray
from llmmon.text.patterns import lazy

_LAYOUT: Final = lazy(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:[.,](?P<fraction>\d{1,9}))?"
    r" ?(?P<zone>[Zz]|UTC|GMT|[+-][01]\d(?::?[0-5]\d)?)?\Z"
)
_SLASH, _DASH = b"/-"
_SLASHED: Final = lazy(rb"\d{4}/\d\d/\d\d[ T]")
_DATE: Final = lazy(rb"\d{4}-\d\d-\d\d\Z")
_WORD: Final = np.dtype("<u8")  # the first of eight characters is the lowest byte
_COLONS: Final = np.uint64(0x00_00_FF_00_00_FF_00_00)

Words = NDArray[np.uint64]


def local_moments(joined: bytes, width: int) -> tuple[IntArray, str | None] | None:
    """Wall-clock microseconds (shape (n,)) and zone of texts of one width; None if one has another layout."""
    if _SLASHED.match(joined):
        dashed = np.frombuffer(joined, np.uint8).reshape(-1, width).copy()
        if (dashed[:, [4, 7]] != _SLASH).any():
            return None
        dashed[:, [4, 7]] = _DASH
        joined = dashed.tobytes()
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

    `unit` is "" (numbers by their magnitude), "s", "ms", "us", "ns" or "ticks", or "dmy" where days come before
    months in dates of numbers alone; `naive` is the zone of stamps that name none.
    """
    if not len(values):
        return np.empty(0, np.int64)
    first = values[0]
    if type(first) in (int, float) and (numbers := _numbers(values)) is not None:
        return _from_numbers(numbers, unit)
    return _by_width(values, unit, naive)


def _by_width(values: Sequence[Any], unit: str, naive: str) -> IntArray:
    """Texts of several layouts: those of one width together, what is no text one by one."""
    widths = np.array([len(value) if type(value) is str else 0 for value in values], np.int64)
    result = np.empty(len(values), np.int64)
    for width in sorted(set(widths.tolist())):  # `np.unique` would import numpy.ma
        places = np.flatnonzero(widths == width)
        found = [values[row] for row in places.tolist()]
        joined = "".join(found) if width else ""
        plain = joined.isascii() and width
        result[places] = joined_moments(joined.encode(), width, unit, naive) if plain else _each(found, unit, naive)
    return result


def _each(values: Sequence[Any], unit: str, naive: str) -> IntArray:
    """Values of any kind: numbers of one kind together, the rest one by one."""
    result = np.full(len(values), MISSING_TIME, np.int64)
    kinds = [type(value) for value in values]
    for kind in set(kinds) - {type(None)}:
        places = [row for row, found in enumerate(kinds) if found is kind]
        found = [values[row] for row in places]
        numbers = _numbers(found) if kind in (int, float) else None
        if numbers is not None:
            result[places] = _from_numbers(numbers, unit)
        else:
            result[places] = [_moment(value, unit, naive) for value in found]
    return result


def joined_moments(joined: bytes, width: int, unit: str, naive: str) -> IntArray:
    """As `moments`, of ASCII texts of one width laid end to end; shape (n,)."""
    fast = local_moments(joined, width)
    if fast is not None:
        return _to_utc(*fast, naive)
    if (numbers := _joined_numbers(joined, width, unit)) is not None:
        return _from_numbers(numbers, unit)
    return _each([joined[at : at + width].decode() for at in range(0, len(joined), width)], unit, naive)


def _to_utc(local: IntArray, zone: str | None, naive: str) -> IntArray:
    if zone is None:
        return localize(local, naive)
    if zone.isalpha():  # Z, UTC, GMT
        return local
    sign = -1 if zone[0] == "-" else 1
    minutes = int(zone[1:3]) * 60 + (int(zone[-2:]) if len(zone) > 3 else 0)
    return local - sign * minutes * 60_000_000


def localize(local: IntArray, zone: str) -> IntArray:
    """Wall-clock microseconds in `zone` -> microseconds UTC; shape (n,)."""
    if zone == "UTC":
        return local
    quarters, inverse = np.unique(local // 900_000_000, return_inverse=True)
    tz = zone_named(zone)
    offsets = [_offset_us(int(quarter), tz) for quarter in quarters]
    result: IntArray = local - np.array(offsets, np.int64)[inverse]
    return result


def _offset_us(quarter: int, tz: tzinfo) -> int:
    wall = (_EPOCH + timedelta(seconds=quarter * 900)).replace(tzinfo=tz)
    offset = wall.utcoffset() or timedelta(0)
    return int(offset.total_seconds() * 1_000_000)


_DATE_WIDTHS: Final = frozenset({8, 12, 14, 17, 20})  # digits that may be a date: `20260314091700`


def _joined_numbers(joined: bytes, width: int, unit: str) -> NDArray[Any] | None:
    """Texts of one width as numbers, whole ones or with a point at one place; None where they are not that."""
    if width > 18 or (width in _DATE_WIDTHS and unit not in _UNITS_US):
        return None
    grid = np.frombuffer(joined, np.uint8).reshape(-1, width)
    others = np.flatnonzero((grid - np.uint8(48)).max(axis=0) > 9)
    texts = np.frombuffer(joined, f"S{width}")
    if not len(others):
        return texts.astype(np.int64)
    pointed = len(others) == 1 and others[0] > 0 and bool((grid[:, others[0]] == _POINT).all())
    return texts.astype(np.float64) if pointed else None


(_POINT,) = b"."


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
    if unit in _UNITS_US:
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
    value = plain_moment(value)
    if not isinstance(value, str):
        return MISSING_TIME if isinstance(value, (dict, list)) else _moment(value, unit, naive)
    number = _NUMBER.fullmatch(value.strip())
    if number is None or unit not in _UNITS_US:
        found = moment_of_text(value, unit, naive)
        if found is not None:
            return found
    if number is None:
        return MISSING_TIME
    return _moment(float(number[0]) if number[1] or number[2] else int(number[0]), unit, naive)


_NUMBER: Final = lazy(r"-?\d{1,40}(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
