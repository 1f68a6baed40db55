"""How much is used of a rate limit, as vendors count it: sums over sliding windows, what a limiter rejects."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from llmmon.metrics.columns import BoolArray, Columns, FloatArray, IntArray
from llmmon.text.times import DAY_US, MINUTE_US, SECOND_US

WINDOWS_US: Final = {"minute": MINUTE_US, "ten_seconds": 10 * SECOND_US}
REQUESTS, TOKENS, INPUT, OUTPUT = "requests", "tokens", "input_tokens", "output_tokens"
_LEAST_REJECTED: Final = 3  # calls, so that where they began tells of a limit
_STEADY: Final = 0.15  # the most that usage may vary at rejections, as a share of its mean
_LEAST_DAYS: Final = 7
_CERTAIN: Final = 2.5  # standard errors that a slope is away from none


def counted_as(provider: str | None, model: str | None) -> tuple[str, ...]:
    """What a vendor limits a minute: Anthropic input (without cache reads) and output apart, the others tokens."""
    named = f"{provider or ''} {model or ''}".lower()
    if "anthropic" in named or "claude" in named:
        return REQUESTS, INPUT, OUTPUT
    return REQUESTS, TOKENS


def amounts(columns: Columns, what: str, *, input_only: bool) -> FloatArray:
    """What each call counts towards a limit; shape (calls,)."""
    prompt, output = np.nan_to_num(columns.number("prompt_tokens")), np.nan_to_num(columns.number("completion_tokens"))
    if what == REQUESTS:
        return np.ones(columns.size)
    if what == OUTPUT:
        return output
    if what == INPUT:
        return np.maximum(prompt - np.nan_to_num(columns.number("cached_tokens")), 0.0)
    total = columns.number("total_tokens")
    either = np.where(np.isnan(total), prompt + output, total)
    return prompt if input_only else either


def is_google(provider: str | None, model: str | None) -> bool:
    """Google counts input tokens alone."""
    named = f"{provider or ''} {model or ''}".lower()
    return "google" in named or "gemini" in named or "vertex" in named


def sliding(times: IntArray, values: FloatArray, width_us: int) -> FloatArray:
    """The sum over (t - width, t] at each call's own time t, itself included; times ascend; shape (calls,)."""
    ends = np.cumsum(values)
    last = np.searchsorted(times, times, side="right") - 1
    first = np.searchsorted(times, times - width_us, side="right")
    return ends[last] - np.where(first > 0, ends[first - 1], 0.0)


def used_before(times: IntArray, values: FloatArray, moments: IntArray, width_us: int) -> FloatArray:
    """The sum over (t - width, t] of calls at the given moments t; shape (moments,)."""
    ends = np.append(0.0, np.cumsum(values))
    last = np.searchsorted(times, moments, side="right")
    first = np.searchsorted(times, moments - width_us, side="right")
    found: FloatArray = ends[last] - ends[first]
    return found


def rejections(times: IntArray, values: FloatArray, limit: float, width_us: int = MINUTE_US) -> BoolArray:
    """Which calls a limiter turns away that admits `limit` within any window; those use nothing; shape (calls,)."""
    rejected = np.zeros(len(times), np.bool_)
    if not len(times) or sliding(times, values, width_us).max() <= limit:
        return rejected
    admitted: deque[tuple[int, float]] = deque()
    used = 0.0
    for at, (time, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
        while admitted and admitted[0][0] <= time - width_us:
            used -= admitted.popleft()[1]
        if used + value > limit:
            rejected[at] = True
        else:
            admitted.append((time, value))
            used += value
    return rejected


def inferred_limit(
    times: IntArray, values: dict[str, FloatArray], rejected_at: IntArray
) -> tuple[str, str, float] | None:
    """The limit that rejections show: what is limited, over which window, and how much a minute.

    Of all dimensions the one is taken whose usage was most nearly the same whenever a call was rejected, and as high
    as it ever was otherwise; None where none is steady.
    """
    if len(rejected_at) < _LEAST_REJECTED or not len(times):
        return None
    best: tuple[float, str, str, float] | None = None
    for window, width in WINDOWS_US.items():
        for what, each in values.items():
            peak = float(sliding(times, each, width).max())
            used = used_before(times, each, rejected_at, width)
            if not used.mean() or not peak:
                continue
            varies = float(used.std() / used.mean())
            close = float(np.median(used)) / peak
            if varies <= _STEADY and close >= 1 - _STEADY and (best is None or varies < best[0]):
                best = varies, what, window, peak * MINUTE_US / width
    return None if best is None else best[1:]


# what OpenAI's and Anthropic's errors say: "on tokens per min (TPM): Limit 30000", "rate limit of 40,000 input tokens"
_KINDS: Final = "requests|tokens|input tokens|output tokens"
_SAID: Final = (
    re.compile(rf"(?P<what>{_KINDS}) per min[^:]{{0,40}}: Limit:? (?P<limit>[\d,]{{1,15}})"),
    re.compile(rf"rate limit of (?P<limit>[\d,]{{1,15}}) (?P<what>{_KINDS}) per minute"),
)


def limits_said(messages: Sequence[str]) -> dict[str, float]:
    """The limits that error messages name; the last one of each kind."""
    found: dict[str, float] = {}
    for message in messages:
        for pattern in _SAID:
            if (match := pattern.search(message)) is not None:
                found[match["what"].replace(" ", "_")] = float(match["limit"].replace(",", ""))
    return found


def in_flight(starts: IntArray, lengths: FloatArray) -> tuple[float | None, int | None, float | None]:
    """Calls at the same time: the mean (Little's law: arrivals times duration), the most, the p99 that a call meets."""
    known = ~np.isnan(lengths)
    starts, ends = starts[known], starts[known] + lengths[known].astype(np.int64)
    if not len(starts):
        return None, None, None
    span = int(ends.max() - starts.min())
    mean = float((ends - starts).sum() / span) if span else None
    met = np.arange(1, len(starts) + 1) - np.searchsorted(np.sort(ends), np.sort(starts), side="right")
    return mean, int(met.max()), float(np.quantile(met, 0.99))


def daily_peaks(times: IntArray, used: FloatArray) -> tuple[IntArray, FloatArray]:
    """The highest usage of each day that has calls: day numbers, and peaks; the first and last day may be cut short."""
    days = times // DAY_US
    present, starts = np.unique(days, return_index=True)
    return present, np.maximum.reduceat(used, starts) if len(times) else np.empty(0)


def trend(days: IntArray, peaks: FloatArray) -> tuple[float, float] | None:
    """What daily peaks grow by a day and where the line is at the last one; None without a significant slope.

    Least squares over the days, without the first and last one, which may be cut short.
    """
    days, peaks = days[1:-1].astype(np.float64), peaks[1:-1]
    if len(days) < _LEAST_DAYS:
        return None
    centred = days - days.mean()
    spread = float((centred**2).sum())
    slope = float((centred * peaks).sum()) / spread
    rest = peaks - peaks.mean() - slope * centred
    error = float(np.sqrt((rest**2).sum() / (len(days) - 2) / spread))
    if abs(slope) <= _CERTAIN * error or not slope:
        return None
    return slope, float(peaks.mean() + slope * centred[-1])
