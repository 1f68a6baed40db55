"""Calls written as dicts, and a small price table, for the tests of prices and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from llmmon.metrics.columns import MISSING_TIME, Columns, Interner, Names
from llmmon.metrics.record import NAMES
from llmmon.pricing.price_table import PriceTable

NOV_2026 = datetime(2026, 11, 10, 12, tzinfo=UTC)


def us(when: datetime | None) -> int:
    return MISSING_TIME if when is None else int(when.timestamp()) * 1_000_000


def calls(*rows: Mapping[str, Any]) -> Columns:
    """Columns of calls written as dicts; costs in dollars, `at` is the time, successful unless said otherwise."""
    full = [{"status": "ok", "at": NOV_2026, **row} for row in rows]
    keys = {key for row in full for key in row} - {"at"}
    return Columns(
        size=len(full),
        timestamp=np.array([us(row["at"]) for row in full], np.int64),
        numbers={key: _numbers([row.get(key) for row in full], key) for key in keys if key not in NAMES},
        names={key: _names([row.get(key) for row in full]) for key in keys if key in NAMES},
        positions=np.arange(len(full)),
    )


def _numbers(values: Sequence[float | None], key: str) -> Any:
    scale = 1e9 if key == "cost_usd" else 1.0
    return np.array([np.nan if value is None else round(value * scale) for value in values])


def _names(values: Sequence[str | None]) -> Names:
    interner = Interner()
    codes = np.array([interner[value] for value in values], np.int32)
    return Names(codes, interner.values_seen)


def costs(columns: Columns) -> list[float | None]:
    """Effective costs in dollars."""
    return [None if value != value else value for value in columns.public("cost_usd").tolist()]


class NoPrices(msgspec.Struct, frozen=True):
    """No list prices at all: only the overrides of a table count."""

    def providers(self) -> Sequence[Any]:
        return ()

    def version(self) -> str:
        return "no price list"

    def digest(self) -> str:
        return "0" * 64


OWN = PriceTable.of(
    {
        "big": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75, "cache_write_1h": 6},
        "think": {"input": 2, "output": 8, "reasoning": 3, "request": 5},
        "embed": {"input": 0.02},
        "free": 0,
        "local/*": {"input": 0.5, "output": 1.5},
    },
    NoPrices(),
)
