"""When a call began, how long it took and how long its first token took."""

from __future__ import annotations

import numpy as np

from llmmon.columns import MISSING_TIME, FloatArray, IntArray
from llmmon.formats.bound import BoundSlots


def start_and_latency(slots: BoundSlots) -> tuple[IntArray | None, FloatArray | None]:
    """Start and latency; end minus start wins over a logged latency, a lone end gives the start."""
    start, end, latency = slots.moments("start"), slots.moments("end"), _logged_latency(slots)
    if end is None:
        return start, latency
    if start is None:
        start = np.full(slots.size, MISSING_TIME)
    both = (start != MISSING_TIME) & (end != MISSING_TIME) & (end >= start)
    measured = np.where(both, (end - start).astype(np.float64), np.nan)
    latency = measured if latency is None else np.where(both, measured, latency)
    lone = (start == MISSING_TIME) & (end != MISSING_TIME)
    if lone.any():
        start = np.where(lone, end - np.nan_to_num(latency).astype(np.int64), start)
    return start, None if np.isnan(latency).all() else latency


def _logged_latency(slots: BoundSlots) -> FloatArray | None:
    latency, parts = slots.numbers("latency"), slots.added("latency_part")
    if latency is None or parts is None:
        return parts if latency is None else latency
    return np.where(np.isnan(latency), parts, latency)


def first_token(slots: BoundSlots, start: IntArray | None, latency: FloatArray | None) -> FloatArray | None:
    """Microseconds from the start to the first token; none where it came at the very end."""
    ttft = slots.numbers("ttft")
    first = slots.moments("first_output_at")
    if first is None or start is None:
        return ttft
    known = (first != MISSING_TIME) & (start != MISSING_TIME) & (first >= start)
    wait = np.where(known, (first - start).astype(np.float64), np.nan)
    if latency is not None:  # a "first token" at the very end is a call that did not stream
        wait[wait >= latency] = np.nan
    return wait if ttft is None else np.where(np.isnan(ttft), wait, ttft)
