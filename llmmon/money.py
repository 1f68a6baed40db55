"""Money as text: complete, partial or unknown."""

from __future__ import annotations


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
