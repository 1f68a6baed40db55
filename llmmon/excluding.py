"""Times that do not count (deploys, known incidents): bridged, so that nothing is learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from llmmon.columns import BoolArray, FloatArray
from llmmon.durations import moment_us
from llmmon.errors import UsageError
from llmmon.series import HOUR_US, Kind, Panel, Series

_WEEK_US: Final = 168 * HOUR_US
_DAY_US: Final = 24 * HOUR_US


def parse_range(text: str, tz: str, wall_us: int) -> tuple[int, int]:
    """`START/END` from `--exclude`; raises `UsageError`."""
    start, slash, end = text.partition("/")
    if not slash:
        raise UsageError(f"--exclude {text!r} is no START/END", hint="2026-01-31T08:00/2026-01-31T09:00")
    first, last = moment_us(start, wall_us, tz), moment_us(end, wall_us, tz)
    if last <= first:
        raise UsageError(f"--exclude {text!r} ends before it begins", hint="START/END")
    return first, last


def bridged(panel: Panel, ranges: Sequence[tuple[int, int]]) -> Panel:
    """The panel with the traffic of excluded buckets as it was a week (else a day) before.

    Their calls are already left out, so levels and rates have gaps there; a gap in traffic would be a drop.
    """
    outside = np.zeros(len(panel), np.bool_)
    for start, end in ranges:
        outside |= (panel.starts + panel.step_us > start) & (panel.starts < end)
    if not outside.any():
        return panel
    return Panel(panel.starts, panel.step_us, tuple(_bridged(one, outside, panel.step_us) for one in panel.series))


def _bridged(series: Series, outside: BoolArray, step_us: int) -> Series:
    if series.kind not in (Kind.COUNT, Kind.TOTAL):
        return series
    value, count = _filled(series.value, outside, step_us), _filled(series.count, outside, step_us)
    return Series(series.metric, series.kind, series.starts, value, count, series.group, series.step_us)


def _filled(column: FloatArray, outside: BoolArray, step_us: int) -> FloatArray:
    filled = column.copy()
    for row in np.flatnonzero(outside).tolist():
        earlier = [row - back // step_us for back in (_WEEK_US, _DAY_US) if row >= back // step_us]
        filled[row] = filled[earlier[0]] if earlier else column[~outside].mean() if (~outside).any() else 0.0
    return filled
