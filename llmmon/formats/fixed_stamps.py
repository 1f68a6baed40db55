"""ISO stamps of one layout, laid end to end -> microseconds: arithmetic on eight characters at a time."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmmon.columns import IntArray

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
