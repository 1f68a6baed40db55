"""Numbers as people read them: `912 ms`, `13.4 M`, `2.0 %`; a missing one is a dash."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import floor, log10
from typing import Any, Final

from llmmon.text.patterns import lazy

_CONTROL: Final = lazy(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
    # C0, C1, invisible (fillers of Hangul, too), bidirectional, halves of surrogate pairs, annotations, tags
)


def plain(text: str) -> str:
    """The text on one line, each control character as `\\xNN` (a newline or tab as a space)."""
    return _CONTROL.sub(visible, text)


def visible(match: re.Match[str]) -> str:
    """A character as its code, or as a space."""
    sign = match[0]
    if sign in "\n\t\r":
        return " "
    return f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"


def plain_lines(text: str) -> str:
    """The text with its newlines, each line harmless."""
    return "\n".join(map(plain, text.split("\n")))


def shortened(text: str, width: int) -> str:
    """The text without its middle where it is longer than `width` characters: both ends of a name identify it."""
    if len(text) <= width:
        return text
    if width < 3:
        return "…"[:width]
    end = len(text) - text.rfind("/")  # what stands behind the last slash is kept whole where there is room
    tail = end if 2 < end <= width - 5 else (width - 1) - (width // 2 if end > len(text) else (width - 1) // 3)
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def clipped(text: str, width: int) -> str:
    """The beginning of a text that is longer than `width` characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)].rstrip()}…"


class Written(str):
    """A figure as text that knows its value and kind, so that a column of them can be written alike (`aligned`)."""

    __slots__ = ("kind", "sign", "value")
    value: float
    kind: str
    sign: str

    @classmethod
    def of(cls, text: str, value: float, kind: str, sign: str = "") -> Written:
        """A text with what it was written from; `sign` stands before it whatever its form."""
        found = cls(text)
        found.value, found.kind, found.sign = value, kind, sign
        return found


MISSING: Final = "-"
_BARS: Final = "▁▂▃▄▅▆▇█"
_CENT: Final = 0.01
_LEAST_USD: Final = 1e-9  # below it an amount has an exponent


def money_text(usd: float | None, *, complete: bool = True) -> str:
    """`$12.34` complete, `~$12.34` partial (some of it has no price), `-` unknown.

    Two decimals from a cent on; two digits that count below it.
    """
    if usd is None or usd != usd:
        return MISSING
    about = "" if complete else "~"
    return Written.of(about + _dollars(usd, 2 if usd == 0 else _cents(usd)), usd, "usd", about)


def _dollars(usd: float, digits: int) -> str:
    if 0 < abs(usd) < _LEAST_USD:
        return f"{'-' * (usd < 0)}${abs(usd):.1e}"
    return f"{'-' * (usd < 0)}${abs(usd):,.{digits}f}"


def _cents(usd: float) -> int:
    """How many decimals an amount has by itself."""
    if abs(usd) >= _CENT * 0.995 or abs(usd) < _LEAST_USD:
        return 2
    return 1 - floor(log10(abs(usd)))


def milliseconds(value: float | None) -> str:
    """A length of time, in the unit that suits it."""
    return MISSING if value is None else Written.of(_time_text(value), value, "ms")


def _time_text(value: float) -> str:
    if value < 1:
        return f"{value:.2f} ms" if value else "0 ms"
    if value < 999.5:
        return f"{value:.0f} ms"
    seconds = value / 1000
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    if seconds < 5397:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"


def count(value: float | None) -> str:
    """A whole number with separators, shortened from ten million on."""
    return MISSING if value is None else Written.of(_count_text(value), value, "count")


_LARGE: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def _count_text(value: float) -> str:
    if abs(value) < 10_000_000:
        return f"{value:,.0f}"
    size, sign = next(one for one in _LARGE if abs(value) >= one[0] * 0.99995)
    return f"{value / size:.1f} {sign}"


def brief_count(value: float | None) -> str:
    """A whole number in three digits or so from a million on: `5.29 M`."""
    if value is None or abs(value) < 999_500:
        return count(value)
    size, sign = next(one for one in _LARGE if abs(value) >= one[0] * 0.9995)
    amount = value / size
    return f"{amount:.{2 if amount < 9.995 else 1 if amount < 99.95 else 0}f} {sign}"


def from_to(before: str, after: str) -> str:
    """`87.0 → 84.6 tok/s`: the unit once where both have the same."""
    number, _, unit = before.partition(" ")
    return f"{number if unit and after.endswith(f' {unit}') else before} → {after}"


def counted(number: int, what: str) -> str:
    """A number with its noun: `1 call`, `2 calls`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def many(value: float | None, what: str) -> str:
    """As `counted`, with large numbers shortened: `1 call`, `1.2 M calls`."""
    return f"{count(value)} {what}{'s' * (value != 1)}"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    if share is None:
        return MISSING
    value = share * 100
    return f"{value:.1f} %" if value >= 0.1 or value == 0 else "<0.1 %"


def rate(value: float | None) -> str:
    """A rate with three digits or so."""
    if value is None:
        return MISSING
    text = f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"
    return Written.of(text, value, "rate")


def score(value: float | None) -> str:
    """A score in [0, 1]."""
    return MISSING if value is None else f"{value:.2f}"


def size(value: int) -> str:
    """Bytes, in the unit that suits them."""
    amount = float(value)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def sparkline(values: Sequence[float | None], width: int = 48) -> str:
    """A row of bars from 0 to the largest value; neighbours are averaged to fit; a gap is a space."""
    cells = _fitted(values, width)
    top = max((value for value in cells if value is not None), default=0.0)
    if top <= 0:
        return "".join(" " if value is None else _BARS[0] for value in cells)
    return "".join(" " if v is None else _BARS[min(7, int(max(v, 0.0) / top * 7.999))] for v in cells)


def _fitted(values: Sequence[float | None], width: int) -> list[float | None]:
    if len(values) <= width:
        return list(values)
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    cells: list[float | None] = []
    for start, end in pairwise(edges):
        known = [value for value in values[start:end] if value is not None]
        cells.append(sum(known) / len(known) if known else None)
    return cells


def name(value: str | None) -> str:
    """A group's name; a missing one is `(none)`."""
    return "(none)" if value is None else value


def key_text(key: Mapping[str, Any]) -> str:
    """A group as one text."""
    return " / ".join(name(value) for value in key.values()) or "all"


def metric_figure(metric: str, value: float | None) -> str:
    """A value of a metric in few digits, by the unit in the metric's name: `4.2 s`, `32 %`, `$0.25`, `8,520`."""
    if value is None:
        return MISSING
    if metric.endswith("_ms"):
        return _brief_time(value)
    if metric.endswith("_rate"):
        share = value * 100
        return f"{share:.0f} %" if share >= 9.95 or share == 0 else f"{share:.1f} %" if share >= 0.1 else "<0.1 %"
    if metric.endswith("_usd"):
        return money_text(value)
    if metric.endswith("_score"):
        return f"{value:.2f}"
    if abs(value) >= 100 or value == int(value):
        return count(value)
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def statistic_figure(statistic: str, value: float | None) -> str:
    """A value of a statistic, by what its name says of its unit: `latency_p95_ms`, `cost_total_usd`, `error_rate`."""
    if value is None:
        return MISSING
    if statistic.endswith("_ms"):
        return milliseconds(value)
    if statistic.endswith("_usd"):
        return money_text(value)
    if statistic.endswith(("_rate", "_share")):
        return percent(value)
    if statistic.startswith("quality"):
        return score(value)
    return count(value) if value == int(value) else rate(value)


def _brief_time(value: float) -> str:
    if value < 999.5:
        return milliseconds(value) if value < 10 else f"{value:.0f} ms"
    return f"{value / 1000:.1f} s" if value < 99_950 else milliseconds(value)


def aligned(cells: Sequence[str]) -> list[str]:
    """The cells of a column, its figures in one unit with one number of decimals where that loses none of them."""
    figures = [cell for cell in cells if isinstance(cell, Written)]
    kinds = {cell.kind for cell in figures}
    if len(kinds) != 1:
        return list(cells)
    known = [abs(cell.value) for cell in figures if cell.value]
    write = _COLUMNS[kinds.pop()](min(known), max(known)) if known else None
    if write is None:
        return list(cells)
    return [cell.sign + write(cell.value) if isinstance(cell, Written) else cell for cell in cells]


ColumnWriter = Callable[[float], str]


def _times(low: float, high: float) -> ColumnWriter | None:
    """In the largest unit in which the smallest still shows; each in its own where there is none."""
    for size, unit, least in ((3_600_000.0, "h", 1.0), (60_000.0, "min", 0.5), (1000.0, "s", 0.005)):
        if high >= 0.9995 * size and low >= least * size and high < 1000 * size:
            digits = 2 if unit == "s" and (high < 9.995 * size or low < 0.9995 * size) else 1
            return lambda value: f"{value / size:,.{digits}f} {unit}"
    if high >= 999.5:
        return None
    digits = 0 if low >= 1 or high >= 100 else 2
    return lambda value: f"{value:.{digits}f} ms"


def _amounts(low: float, high: float) -> ColumnWriter | None:
    """Cents; what is less than one is said to be so beside dollars, and shows its digits beside cents."""
    if low >= _CENT * 0.995:
        return lambda usd: _dollars(usd, 2)
    if high >= 1:
        return lambda usd: _dollars(usd, 2) if abs(usd) >= _CENT / 2 or not usd else f"{'-' * (usd < 0)}<$0.01"
    if high >= 10 * _CENT or low < _LEAST_USD:
        return None
    digits = min(_cents(low), _cents(high) + 2)
    return lambda usd: _dollars(usd, digits if usd else 2)


def _counts(low: float, high: float) -> ColumnWriter | None:
    """Millions where all are, else all digits."""
    if high < 10_000_000:
        return None
    size, sign = next((one for one in _LARGE if low >= one[0]), (1.0, ""))
    return lambda value: f"{value / size:,.1f} {sign}" if sign and value else f"{value:,.0f}"


def _rates(low: float, high: float) -> ColumnWriter | None:
    digits = 0 if low >= 9.95 and high >= 99.95 else 1 if low >= 0.95 else 2
    return lambda value: f"{value:,.{digits}f}"


_COLUMNS: Final[Mapping[str, Callable[[float, float], ColumnWriter | None]]] = {
    "ms": _times,
    "usd": _amounts,
    "count": _counts,
    "rate": _rates,
}
