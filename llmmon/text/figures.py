"""Numbers as people read them: `912 ms`, `13.4 M`, `2.0 %`; a missing one is a dash."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from llmmon.text.patterns import lazy

_CONTROL: Final = lazy(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
    # C0, C1, invisible, bidirectional, halves of surrogate pairs, annotations, tags
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
    """The text without its middle where it is longer than `width` characters: both ends of a name tell it apart."""
    if len(text) <= width:
        return text
    if width < 3:
        return "…"[:width]
    head = width // 2 if "/" not in text[-width // 2 :] else (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def clipped(text: str, width: int) -> str:
    """The beginning of a text that is longer than `width` characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)].rstrip()}…"


def money_text(usd: float | None, *, complete: bool = True) -> str:
    """`$12.34` complete, `~$12.34` partial (some of it has no price), `-` unknown; small amounts keep digits."""
    if usd is None or usd != usd:
        return "-"
    sign = "-" if usd < 0 else ""
    return ("" if complete else "~") + sign + "$" + _amount(abs(usd))


def _amount(usd: float) -> str:
    if usd == 0 or usd >= 1:
        return f"{usd:,.2f}"
    for digits in (4, 6, 9):
        text = f"{usd:.{digits}f}"
        if usd >= 10 ** (2 - digits):
            return text.rstrip("0").ljust(4, "0") if digits == 4 else text
    return f"{usd:.1e}"


MISSING: Final = "-"
_BARS: Final = "▁▂▃▄▅▆▇█"


def milliseconds(value: float | None) -> str:
    """A length of time, in the unit that suits it."""
    if value is None:
        return MISSING
    if value < 1:
        return f"{value:.2f} ms" if value else "0 ms"
    if value < 1000:
        return f"{value:.0f} ms"
    seconds = value / 1000
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def count(value: float | None) -> str:
    """A whole number with separators, shortened from ten million on."""
    if value is None:
        return MISSING
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e7, "M")):
        if abs(value) >= size:
            return f"{value / (size if unit != 'M' else 1e6):.1f} {unit}"
    return f"{value:,.0f}"


def brief_count(value: float | None) -> str:
    """A whole number in three digits or so from a million on: `5.29 M`."""
    if value is None or abs(value) < 999_500:
        return count(value)
    for size, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.{2 if value < 9.995 * size else 1 if value < 99.95 * size else 0}f} {sign}"
    return count(value)


def from_to(before: str, after: str) -> str:
    """`87.0 → 84.6 tok/s`: the unit once where both have the same."""
    number, _, unit = before.partition(" ")
    return f"{number if unit and after.endswith(f' {unit}') else before} → {after}"


def counted(number: int, what: str) -> str:
    """A number with its noun: `1 call`, `2 calls`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


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
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


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
        return money_text(float(f"{value:.3g}"))
    if metric.endswith("_score"):
        return f"{value:.2f}"
    if abs(value) >= 100 or value == int(value):
        return count(value)
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def _brief_time(value: float) -> str:
    if value < 999.5:
        return milliseconds(value) if value < 10 else f"{value:.0f} ms"
    return f"{value / 1000:.1f} s" if value < 99_950 else milliseconds(value)
