"""Axes: which values and times get a label, and how it reads."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil, floor, log10
from typing import Final

from llmmon.durations import zone
from llmmon.views.page import Tick

_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_UP: Final = 5
_MOST_ACROSS: Final = 10
_MOST_DIGITS: Final = 12
_LAST: Final = 0.98  # where a label would run out of the axis
_S: Final = 1_000_000
_DAY_S: Final = 86_400
_STEPS_S: Final = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200)
_STEPS_D: Final = (1, 2, 7, 14, 28, 91, 182, 364, 728)
_MS_UNITS: Final = ((1.0, "ms"), (1000.0, "s"), (60_000.0, "min"), (3_600_000.0, "h"))
_COUNT_UNITS: Final = ((1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"))


def nice_step(span: float, most: int, *, whole: bool = False) -> float:
    """The smallest step of 1, 2, 2.5 or 5 times a power of ten that makes at most `most` steps of the span."""
    raw = span / most
    power = 10.0 ** floor(log10(raw))
    step = next(n * power for n in _NICE if n * power >= raw * 0.999999)
    return max(1.0, ceil(step)) if whole else step


def value_axis(low: float, high: float, unit: str) -> tuple[float, float, tuple[Tick, ...]]:
    """The ends and the ticks of an axis that holds low to high; `unit` is ms, count, share, usd, score or rate."""
    if high <= low:
        high = low + 1.0
    scale, sign = _unit(high, unit)
    step = nice_step((high - low) / scale, _MOST_UP, whole=unit == "count" and scale == 1.0)
    first, last = floor(low / scale / step + 1e-9), ceil(high / scale / step - 1e-9)
    values = [n * step for n in range(first, max(last, first + 1) + 1)]
    digits = _digits(step)
    ends = values[0] * scale, values[-1] * scale
    reach = values[-1] - values[0]
    ticks = tuple(Tick((v - values[0]) / reach, _text(v, digits, unit, sign)) for v in values)
    return ends[0], ends[1], ticks


def _unit(high: float, unit: str) -> tuple[float, str]:
    if unit == "share":
        return 0.01, "%"
    table = {"ms": _MS_UNITS, "count": _COUNT_UNITS}.get(unit, ((1.0, ""),))
    return next(((size, sign) for size, sign in reversed(table) if high >= (1 if sign == "s" else 2) * size), table[0])


def _digits(step: float) -> int:
    """How many decimals tell multiples of a step apart."""
    for digits in range(_MOST_DIGITS):
        scaled = step * 10**digits
        if round(scaled) and abs(scaled - round(scaled)) < 1e-6:
            return digits
    return _MOST_DIGITS


def _text(value: float, digits: int, unit: str, sign: str) -> str:
    text = f"{value:,.{digits}f}" if value else "0"
    if unit == "usd":
        return f"${text}"
    return f"{text} {sign}" if unit in {"ms", "share"} else f"{text}{sign if value else ''}"


def time_axis(start_us: int, end_us: int, tz: str) -> tuple[Tick, ...]:
    """Ticks at round times of the zone: days, or hours within them."""
    span_s = (end_us - start_us) / _S
    if span_s <= 0:
        return ()
    step = next((s for s in _STEPS_S if span_s / s <= _MOST_ACROSS), None)
    if step is not None:
        moments = _within_days(start_us, end_us, step, tz)
    else:
        days = next((d for d in _STEPS_D if span_s / _DAY_S / d <= _MOST_ACROSS), _STEPS_D[-1])
        moments = _whole_days(start_us, end_us, days, tz)
    years = span_s > 300 * _DAY_S
    places = [((us - start_us) / (end_us - start_us), us) for us in moments]
    inside = [(place, us) for place, us in places if 0 <= place <= _LAST]
    return tuple(Tick(place, _label(us, tz, step, years=years), i % 2 == 1) for i, (place, us) in enumerate(inside))


def _at(us: int, tz: str) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).astimezone(zone(tz))


def _us(when: datetime) -> int:
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _whole_days(start_us: int, end_us: int, days: int, tz: str) -> list[int]:
    first = _at(start_us, tz).date()
    if days % 7 == 0:
        first -= timedelta(days=first.weekday())
    reach = (end_us - start_us) // (_DAY_S * _S) + 9
    dates = [first + timedelta(days=n) for n in range(0, reach, days)]
    return [_us(datetime(d.year, d.month, d.day, tzinfo=zone(tz))) for d in dates]


def _within_days(start_us: int, end_us: int, step_s: int, tz: str) -> list[int]:
    found: set[int] = set()
    for midnight in _whole_days(start_us, end_us, 1, tz):
        first = max(0, (start_us - midnight) // (step_s * _S))
        last = min(_DAY_S // step_s - 1, (end_us - midnight) // (step_s * _S))
        found.update(midnight + n * step_s * _S for n in range(first, last + 1))
    return sorted(found)


def _label(us: int, tz: str, step_s: int | None, *, years: bool) -> str:
    when = _at(us, tz)
    day = f"{when.day} {when:%b}"
    if step_s is None:
        return f"{day} {when.year}" if years else day
    if when.hour == when.minute == when.second == 0:
        return day
    return f"{when:%H:%M:%S}" if step_s < 60 else f"{when:%H:%M}"


def bin_ticks(edges: Sequence[float], texts: Mapping[float, str]) -> tuple[Tick, ...]:
    """Ticks at values of an axis on which every bin is equally wide, logarithmic within a bin."""
    inside = [(value, text) for value, text in texts.items() if edges[0] <= value <= edges[-1]]
    return tuple(Tick(_share(edges, value), text, i % 2 == 1) for i, (value, text) in enumerate(inside))


def _share(edges: Sequence[float], value: float) -> float:
    at = min(bisect_right(edges, value), len(edges) - 1) - 1
    within = log10(value / edges[at]) / log10(edges[at + 1] / edges[at])
    return (at + within) / (len(edges) - 1)
