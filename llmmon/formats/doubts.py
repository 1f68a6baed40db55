"""What looks wrong in what was read: counted while reading, said in one line each, silent on healthy logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from llmmon.formats.mapping import Binding
from llmmon.metrics.columns import MISSING_CODE, BoolArray, Columns, IntArray
from llmmon.text.times import DAY_US

Doubts = dict[str, int]  # what was counted, by the names below

_LONGEST_US: Final = 3600 * 1e6  # no call takes longer
_FASTEST, _SLOWEST = 5000.0, 0.2  # output tokens a second, beyond which a unit is more likely wrong than the log
_LEAST_TOKENS: Final = 20  # fewer say nothing of a speed
_SHARE: Final = 0.5  # of the calls, from which speeds or missing times are said
_LEAST_SHARE: Final = 0.05  # of the calls, from which ones without model, tokens and cost are said
_ORDERS: Final = {"dmy": "day", "mdy": "month"}
_NEXT: Final = "`llmmon inspect` shows how each file is read"


def doubts_of(columns: Columns, *, home_made: bool) -> Doubts:
    """What looks wrong in a block of calls, as counts; of fields that were not read nothing is counted.

    What a named dialect does not log is no doubt.
    """
    found: Doubts = {}
    if home_made:
        undated = columns.size - int(np.count_nonzero(columns.dated))
        found = {"calls": columns.size, "bare": int(np.count_nonzero(_bare(columns))), "undated": undated}
        found["daily"] = columns.size if _are_daily(columns.timestamp[columns.dated]) else 0
    latency, tokens = columns.numbers.get("latency_ms"), columns.numbers.get("completion_tokens")
    if latency is not None:
        found["long"] = int(np.count_nonzero(latency > _LONGEST_US))
    if latency is not None and tokens is not None:
        both = (latency > 0) & (tokens >= _LEAST_TOKENS)
        speed = tokens[both] * 1e6 / latency[both]
        found["timed"] = len(speed)
        found["fast"] = int(np.count_nonzero(speed > _FASTEST))
        found["slow"] = int(np.count_nonzero(speed < _SLOWEST))
    return found


def _are_daily(timestamps: IntArray) -> bool:
    """Whether all calls are at midnight, on several days: dates without a time, so sums of days maybe."""
    return len(timestamps) > 1 and bool((timestamps % DAY_US == 0).all() and timestamps.min() != timestamps.max())


def _bare(columns: Columns) -> BoolArray:
    """Calls that name no model and have neither tokens nor a cost, where these were looked for; not failed ones."""
    bare: BoolArray = np.ones(columns.size, np.bool_)
    for field in ("prompt_tokens", "completion_tokens", "total_tokens", "cost_usd"):
        if field in columns.numbers:
            bare &= np.isnan(columns.numbers[field])
    if "model" in columns.names:
        bare &= columns.names["model"].codes == MISSING_CODE
    status = columns.names.get("status")
    if status is not None:
        failed = np.array([name in ("error", "cancelled") for name in status.values] + [False], np.bool_)
        bare &= ~failed[status.codes]
    return bare


def add_doubts(total: Doubts, more: Mapping[str, int]) -> None:
    """Add counts in place."""
    for name, count in more.items():
        if count:
            total[name] = total.get(name, 0) + count


OfFiles = Sequence[tuple[str, Binding, str]]


def warnings_of(
    counts: Mapping[str, int],
    *,
    guessed: Sequence[tuple[str, Binding]] = (),
    mixed: OfFiles = (),
    foreign: OfFiles = (),
    unmatched: Sequence[Binding] = (),
    unread_times: Sequence[tuple[str, str]] = (),
) -> Iterator[str]:
    """The lines to say; the tuples are (file, what) and (file, what, which unit or currency)."""
    for binding in unmatched:
        yield f"--map: nothing is at {'.'.join(binding.path)!r} in any line; {_NEXT}"
    yield from _counted(counts)
    for file, binding in guessed:
        yield _guess(file, binding)
    for file, key in dict.fromkeys((file, ".".join(binding.path[:2])) for file, binding, code in foreign if not code):
        yield f"{file}: figures in {key} are totals of all calls so far, so they are not read as those of one call"
    for file, binding, code in foreign:
        if not code:
            continue
        yield (
            f"{file}: {'.'.join(binding.path)} is in {code} on some lines, so it is not read; costs are calculated "
            f"from prices (--map cost_usd={'.'.join(binding.path)} reads it as US dollars)"
        )
    for file, binding, other in mixed:
        yield (
            f"{file}: {'.'.join(binding.path)} is in {binding.unit} on some lines and in {other} on others; each line "
            "is read in the unit that its tokens a second speak for"
        )
    for file, key in unread_times:
        yield f"{file}: {key!r} looks like a time but cannot be read as one; --map timestamp=PATH names another key"
    calls = counts.get("calls", 0)
    if _SHARE * calls < (undated := counts.get("undated", 0)) < calls:
        yield f"{undated:,} of {_calls(calls)} without a time: these count in totals, never in time ranges; {_NEXT}"


def _counted(counts: Mapping[str, int]) -> Iterator[str]:
    calls, timed = counts.get("calls", 0), counts.get("timed", 0)
    if counts.get("bare", 0) > _LEAST_SHARE * calls:
        yield (
            f"{_calls(counts['bare'])} of {calls:,} without model, tokens and cost: these may be no LLM calls, "
            f"or their fields have other names; {_NEXT}"
        )
    if (count := counts.get("passed", 0)) > calls:  # fewer are the lines with which the calls begin
        yield f"{count:,} line{_s(count)} that name a model but no result were not counted as calls; {_NEXT}"
    if count := counts.get("grouped", 0):
        yield f"{count:,} line{_s(count)} that sum up several calls each were not counted"
    if counts.get("daily", 0) > _SHARE * calls:
        yield f"{_calls(counts['daily'])} with a date and no time: a line that sums up a day is no call; {_NEXT}"
    if (count := counts.get("lone", 0)) > _SHARE * calls:
        yield (
            f"{_calls(count)} of {calls:,} with a model and nothing that came of it: these may be no LLM calls, "
            f"or their fields have other names; {_NEXT}"
        )
    if count := counts.get("long", 0):
        yield f"{_calls(count)} longer than 1 hour: the unit of the latency may be wrong (--map latency_ms=PATH:UNIT)"
    if timed and counts.get("fast", 0) > _SHARE * timed:
        yield (
            f"{_calls(counts['fast'])} of {timed:,} write more than {_FASTEST:,.0f} tokens a second: the unit of the "
            "latency may be wrong (--map latency_ms=PATH:UNIT)"
        )
    if timed and counts.get("slow", 0) > _SHARE * timed:
        yield (
            f"{_calls(counts['slow'])} of {timed:,} take more than {1 / _SLOWEST:.0f} s a token: the unit of the "
            "latency may be wrong (--map latency_ms=PATH:UNIT)"
        )
    if count := counts.get("contradicted", 0):
        yield f"{_calls(count)} whose logged total of tokens is not the sum of its parts; {_NEXT}"


def _guess(file: str, binding: Binding) -> str:
    key = ".".join(binding.path)
    if binding.unit in _ORDERS:
        other = "mdy" if binding.unit == "dmy" else "dmy"
        return (
            f"{file}: dates of {key} may have the day or the month first; read with the {_ORDERS[binding.unit]} first "
            f"(--map timestamp={key}:{other} says the other)"
        )
    return (
        f"{file}: {key} names no unit; read as {binding.unit}, by its size alone (--map latency_ms={key}:UNIT says it)"
    )


def _calls(count: int) -> str:
    return f"{count:,} call{_s(count)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
