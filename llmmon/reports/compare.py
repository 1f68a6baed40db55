"""`compare`: two sets of calls -> every metric's change with its interval and verdict, and the groups that moved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import UsageError
from llmmon.ingest.query import Query
from llmmon.ingest.report import SourceReport
from llmmon.metrics.columns import FloatArray, IntArray
from llmmon.metrics.definitions import (
    METRICS,
    QUANTILES,
    STATISTICS,
    Direction,
    MetricKind,
    Statistic,
    needed_fields,
    statistic_called,
    statistic_name,
)
from llmmon.metrics.filters import Check, checks_of, figure_in
from llmmon.metrics.grouping import Grouping
from llmmon.quality.scorers.flags import DEFAULT_THRESHOLDS
from llmmon.reports.differences import Calls, Change, Matching, Measure, adjusted, difference, matching_weights
from llmmon.reports.sides import Margins, SideInfo, Sides, Split, calls_of, flag_column, hourly, read_sides
from llmmon.text.names import unknown

LEVEL: Final = 0.05  # false discovery rate of the verdicts
LEAST_CHANGE: Final = 0.25  # relative to before: what the data must be able to show for "no difference"
_LEAST_POINTS: Final = 0.02  # the same for shares, where it is more
_LEAST_CALLS: Final = 30  # of a group, on either side
_MOST_GROUPS: Final = 12  # of one field, those with most calls
_DEFAULT: Final = (
    *("error_rate", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "ttft_p50_ms", "ttft_p95_ms"),
    *("output_tokens_per_second_p50", "prompt_tokens_avg", "completion_tokens_avg", "cached_tokens_avg"),
    *("reasoning_tokens_avg", "cost_per_request_usd", "truncated_rate", "refused_rate", "empty_rate"),
    *("cache_hit_rate", "quality_avg"),
)
TRAFFIC: Final = "requests_per_minute"


class Verdict(StrEnum):
    """What a change amounts to; higher and lower are for metrics that have no better direction."""

    BETTER = "better"
    WORSE = "worse"
    HIGHER = "higher"
    LOWER = "lower"
    NO_DIFFERENCE = "no difference"
    TOO_LITTLE_DATA = "too little data"

    @property
    def is_change(self) -> bool:
        """Whether something changed, beyond noise."""
        return self not in (Verdict.NO_DIFFERENCE, Verdict.TOO_LITTLE_DATA)


class Judged(msgspec.Struct, frozen=True):
    """A change with its verdict; `p_adjusted` has the number of comparisons in view."""

    change: Change
    p_adjusted: float
    verdict: Verdict


class MetricChange(msgspec.Struct, frozen=True):
    """One metric on both sides: the whole change, and that within the matched mix (None: not matched).

    `mix` is the whole change less that within, in the metric's unit.
    """

    metric: str
    unit: str
    better: Direction
    is_share: bool
    calls_before: int
    calls_after: int
    whole: Judged | None
    within: Judged | None
    mix: float | None


class GroupChange(msgspec.Struct, frozen=True):
    """One metric in one group; `weight` is the group's share of the calls of both sides."""

    field: str
    value: str | None
    metric: str
    unit: str
    is_share: bool
    calls_before: int
    calls_after: int
    weight: float
    judged: Judged


class MixShift(msgspec.Struct, frozen=True):
    """The share that a group has of the calls of either side."""

    field: str
    value: str | None
    share_before: float
    share_after: float


class Matched(msgspec.Struct, frozen=True):
    """What both sides were matched by, which share of their calls that covers, or why they were not matched."""

    fields: tuple[str, ...]
    hours: str
    share_before: float
    share_after: float
    reason: str = ""


class CompareReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon compare`: both sides and every metric's change."""

    split: Split
    before: SideInfo
    after: SideInfo
    at_us: int | None
    left_out: int
    unit: str
    units: int
    passed_over: tuple[str, ...]
    matched: Matched
    metrics: tuple[MetricChange, ...]
    groups: tuple[GroupChange, ...]
    mix: tuple[MixShift, ...]

    def has(self, metric: str) -> bool:
        """Whether a metric was compared."""
        return any(metric in (row.metric, row.metric.removeprefix("flag_")) for row in self.metrics)


class ComparePlan(msgspec.Struct, frozen=True):
    """The options of `compare`; `metrics` empty: all that the calls carry. `by` is the mix, and the groups.

    `thresholds` are those of flags of scored logs that differ from the default.
    """

    split: Split
    by: tuple[str, ...] = ("model", "feature")
    metrics: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # metrics that conditions name
    thresholds: Mapping[str, float] = msgspec.field(default_factory=dict)


class _Values(msgspec.Struct, frozen=True, eq=False):
    """One metric of all calls of both sides, in its public unit; NaN where a call has none."""

    name: str
    unit: str
    better: Direction
    measure: Measure
    values: FloatArray


def compare(query: Query, plan: ComparePlan) -> tuple[CompareReport, SourceReport, int]:
    """Compare both sides; the report, what was read, the exit code. Raises `UsageError`."""
    Grouping(plan.by)  # checks the fields
    statistics, _ = _asked(plan)
    fields = needed_fields([one.name for one in statistics]) | {"timestamp", "user", "session", *plan.by}
    sides = read_sides(query, plan.split, fields)
    return compared(sides, plan, query.tz), sides.source, sides.exit_code


def _asked(plan: ComparePlan) -> tuple[list[Statistic], tuple[str, ...]]:
    """The statistics and the flags of the metrics that are named, all without any; raises `UsageError`."""
    statistics = [] if plan.metrics else [STATISTICS[name] for name in _DEFAULT]
    flags = [] if plan.metrics else list(DEFAULT_THRESHOLDS)
    for name in (*plan.metrics, *plan.also):
        flag = _flag_of(name)
        if flag:
            flags.append(flag)
        if not flag or name in STATISTICS:
            statistics.append(comparable(name))
    return list(dict.fromkeys(statistics)), tuple(dict.fromkeys(flags))


def _flag_of(name: str) -> str:
    stem = name.removesuffix("_rate").removeprefix("flag_")
    return stem if name.endswith("_rate") and stem in DEFAULT_THRESHOLDS else ""


def comparable(name: str) -> Statistic:
    """The statistic of a name as it is compared: by call, whatever the number of calls; raises `UsageError`."""
    try:
        found = statistic_called(name)
    except UsageError:
        flags = {f"{flag}_rate" for flag in DEFAULT_THRESHOLDS}
        raise UsageError(unknown("metric", name, {*STATISTICS, *METRICS, *flags})) from None
    how = found.aggregation
    if how in ("min", "max"):
        raise UsageError(f"{name}: extremes say nothing about a change", hint=f"{statistic_name(found.metric, 'p95')}")
    if found.metric.kind is MetricKind.EVENT:
        how = "rate"
    elif how not in QUANTILES:
        how = "avg"
    return _public(found.metric.name, how)


def _public(metric: str, how: str) -> Statistic:
    """The statistic by the name that other commands call it by."""
    name = statistic_name(METRICS[metric], how)
    usual = next((s for s in STATISTICS.values() if (s.metric.name, s.aggregation) == (metric, how)), STATISTICS[name])
    named = "cost_per_request_usd" if name == "cost_avg_usd" else usual.name
    return STATISTICS[named]


def compared(sides: Sides, plan: ComparePlan, tz: str) -> CompareReport:
    """The report on two sides that have been read; raises `UsageError` for unknown metrics."""
    statistics, flags = _asked(plan)
    calls, units, margins = calls_of(sides, plan.by, tz)
    measured = list(_measured(sides, statistics, flags, plan))
    matching, matched = _matching(calls, margins)
    changes = [(one, *_changes(one, calls, matching)) for one in measured]
    traffic = hourly(sides, tz) if not plan.metrics else None
    if traffic is not None:
        changes.insert(0, _traffic(*traffic))
    return CompareReport(
        split=sides.split,
        before=sides.infos[0],
        after=sides.infos[1],
        at_us=sides.at_us,
        left_out=sides.left_out,
        unit=units.unit,
        units=units.count,
        passed_over=units.passed_over,
        matched=matched,
        metrics=tuple(_judged_metrics(changes, calls)),
        groups=tuple(_group_changes(sides, plan, measured, calls)),
        mix=tuple(_mix_shifts(sides, plan.by)),
    )


def _measured(
    sides: Sides, statistics: Sequence[Statistic], flags: Sequence[str], plan: ComparePlan
) -> Iterator[_Values]:
    """The metrics that the calls carry, and that are not the same for every call (unless they were asked for)."""
    taken = set()
    for statistic in statistics:
        rows = statistic.metric.rows(sides.columns)
        if rows is None or not _says_something(rows, asked=bool(plan.metrics) or statistic.name == "error_rate"):
            continue
        taken.add(statistic.name)
        measure = Measure(statistic.metric.kind is MetricKind.EVENT, QUANTILES.get(statistic.aggregation))
        values = rows / statistic.metric.scale
        yield _Values(statistic.name, statistic.metric.unit, statistic.metric.better, measure, values)
    for flag in flags:
        strengths = sides.columns.number(flag_column(flag))
        raised = np.where(np.isnan(strengths), np.nan, strengths >= plan.thresholds.get(flag, DEFAULT_THRESHOLDS[flag]))
        if _says_something(raised, asked=bool(plan.metrics)):
            name = f"{flag}_rate"
            name = f"flag_{name}" if name in taken else name
            yield _Values(name, "", Direction.LOWER, Measure(is_share=True), raised)


def _says_something(rows: FloatArray, *, asked: bool) -> bool:
    known = rows[~np.isnan(rows)]
    return bool(len(known)) and (asked or bool((known != 0).any()))


def _matching(calls: Calls, margins: Margins) -> tuple[Matching | None, Matched]:
    if not calls.margins:
        return None, Matched((), "", 0.0, 0.0, "nothing to match by: all calls are of one kind")
    found = matching_weights(calls)
    by = Matched(margins.fields, margins.hours, found.share_before, found.share_after)
    if found.is_enough:
        return found, by
    reason = (
        f"only {found.share_before * 100:.0f} % of the calls before and {found.share_after * 100:.0f} % of those after"
        " are in groups and hours that both sides have"
    )
    return None, msgspec.structs.replace(by, reason=reason)


_Changes = tuple[_Values, Change | None, Change | None]


def _changes(one: _Values, calls: Calls, matching: Matching | None) -> tuple[Change | None, Change | None]:
    """The whole change of a metric, and that within the matched mix, which is matched for the calls that have it."""
    known = ~np.isnan(one.values)
    if known.all():
        within = None if matching is None else difference(one.values, calls, one.measure, matching.weights)
        return difference(one.values, calls, one.measure), within
    values, part = one.values[known], calls.take(known)
    whole = difference(values, part, one.measure)
    if matching is None or whole is None:
        return whole, None
    own = matching_weights(part)
    return whole, difference(values, part, one.measure, own.weights) if own.is_enough else None


def _traffic(values: FloatArray, calls: Calls) -> _Changes:
    own = matching_weights(calls)
    one = _Values(TRAFFIC, "", Direction.NEITHER, Measure(), values)
    return (
        one,
        difference(values, calls, one.measure),
        (difference(values, calls, one.measure, own.weights) if own.is_enough else None),
    )


def _judged_metrics(changes: Sequence[_Changes], calls: Calls) -> Iterator[MetricChange]:
    found = [change for _, *both in changes for change in both if change is not None]
    p_values = dict(zip(map(id, found), adjusted([change.p for change in found]), strict=True))
    for one, whole, within in changes:
        known = ~np.isnan(one.values) if one.name != TRAFFIC else np.ones(len(calls.after), np.bool_)
        after = int((known & calls.after).sum())
        yield MetricChange(
            metric=one.name,
            unit=one.unit,
            better=one.better,
            is_share=one.measure.is_share,
            calls_before=int(known.sum()) - after,
            calls_after=after,
            whole=None if whole is None else _judged(one, whole, p_values[id(whole)]),
            within=None if within is None else _judged(one, within, p_values[id(within)]),
            mix=None if whole is None or within is None else whole.change - within.change,
        )


def _judged(one: _Values, change: Change, p_adjusted: float) -> Judged:
    return Judged(change, p_adjusted, _verdict(one, change, p_adjusted))


def _verdict(one: _Values, change: Change, p_adjusted: float) -> Verdict:
    if p_adjusted <= LEVEL and not change.low <= 0 <= change.high:
        rises = change.change > 0
        if one.better is Direction.NEITHER:
            return Verdict.HIGHER if rises else Verdict.LOWER
        return Verdict.BETTER if rises == (one.better is Direction.HIGHER) else Verdict.WORSE
    matters = LEAST_CHANGE * abs(change.before)
    if one.measure.is_share:
        matters = max(matters, _LEAST_POINTS)
    return Verdict.NO_DIFFERENCE if change.detectable <= matters else Verdict.TOO_LITTLE_DATA


def _group_changes(sides: Sides, plan: ComparePlan, measured: Sequence[_Values], calls: Calls) -> Iterator[GroupChange]:
    """Every metric in the largest groups of each field, those that moved most first."""
    found: list[tuple[str, str | None, float, _Values, int, int, Change]] = []
    for field, value, rows in _groups(sides, plan.by):
        weight = len(rows) / len(calls.after)
        part = calls.take(rows)
        for one in measured:
            values = one.values[rows]
            known = ~np.isnan(values)
            mine = part.take(known)
            sizes = int((~mine.after).sum()), int(mine.after.sum())
            change = difference(values[known], mine, one.measure) if min(sizes) >= _LEAST_CALLS else None
            if change is not None:
                found.append((field, value, weight, one, *sizes, change))
    p_values = adjusted([change.p for *_, change in found])
    rows_found = [
        GroupChange(
            field=field,
            value=value,
            metric=one.name,
            unit=one.unit,
            is_share=one.measure.is_share,
            calls_before=before,
            calls_after=after,
            weight=weight,
            judged=_judged(one, change, p),
        )
        for (field, value, weight, one, before, after, change), p in zip(found, p_values, strict=True)
    ]
    yield from sorted(rows_found, key=_moved_most)


def _moved_most(row: GroupChange) -> tuple[bool, float, float]:
    """The key that puts what moved most first: what is beyond noise, then by how much, of how many calls."""
    change = row.judged.change
    size = abs(change.change) * 10 if row.is_share else abs(change.share or 0.0)
    return not row.judged.verdict.is_change, -min(size, 10.0) * row.weight, change.p


def _groups(sides: Sides, by: Sequence[str]) -> Iterator[tuple[str, str | None, IntArray]]:
    """(field, value, rows) of the groups with most calls; a field with a single value has none."""
    for field in by:
        names = sides.columns.name(field)
        codes = np.unique(names.codes)
        if field == sides.split.field or len(codes) < 2:
            continue
        sizes = {int(code): int((names.codes == code).sum()) for code in codes}
        for code in sorted(sizes, key=lambda code: -sizes[code])[:_MOST_GROUPS]:
            yield field, None if code < 0 else names.values[code], np.flatnonzero(names.codes == code).astype(np.int64)


def _mix_shifts(sides: Sides, by: Sequence[str]) -> Iterator[MixShift]:
    """The shares of all groups on both sides, those that changed most first."""
    sizes = [max(1, info.calls) for info in sides.infos]
    found = []
    for field in by:
        names = sides.columns.name(field)
        if field == sides.split.field or not names.values:
            continue
        for code in np.unique(names.codes).tolist():
            rows = names.codes == code
            after = int((rows & sides.after).sum())
            value = None if code < 0 else names.values[code]
            found.append(MixShift(field, value, (int(rows.sum()) - after) / sizes[0], after / sizes[1]))
    yield from sorted(found, key=lambda row: (-abs(row.share_after - row.share_before), row.field, row.value or ""))


class Gate(msgspec.Struct, frozen=True):
    """A condition of `--fail-on`: `latency_p95_ms worse by 10%`, `any worse`, `error_rate within higher by 1pp`."""

    metric: str  # empty: any
    within: bool
    verdict: str
    least: float
    unit: str  # %, pp, or empty: the metric's own


_GATE: Final = re.compile(
    r"\A(\w+)(?: (whole|within))? (better|worse|higher|lower|different|too little data)"
    r"(?: by (\d+(?:\.\d+)?) ?(%|pp)?)?"
)
_COUNTS: Final = {"worse": Verdict.WORSE, "better": Verdict.BETTER}  # numbers of metrics


def parse_gate(text: str) -> Gate:
    """A condition of `--fail-on`; raises `UsageError`."""
    form = _GATE.fullmatch(" ".join(text.split()))
    if form is None:
        hint = "for example --fail-on 'latency_p95_ms worse by 10%', --fail-on 'error_rate>5%', --fail-on 'any worse'"
        raise UsageError(f"--fail-on {text!r} is not a condition", hint=hint)
    name, which, verdict, least, unit = form.groups()
    if name != "any" and not _flag_of(name):
        statistic = comparable(name)
        name = statistic.name
        if verdict in ("better", "worse") and statistic.metric.better is Direction.NEITHER:
            raise UsageError(f"--fail-on {text!r}: {name} is neither better nor worse", hint=f"{name} higher by 10%")
    return Gate("" if name == "any" else name, which == "within", verdict, float(least or 0), unit or "")


class Condition(msgspec.Struct, frozen=True):
    """A condition of `--fail-on`: a change (`gate`), or a figure after it, as everywhere (`error_rate>5%`)."""

    text: str
    metric: str  # empty: any
    gate: Gate | None


def parse_condition(text: str) -> Condition:
    """A change as `parse_gate` reads it, or a figure with a limit; raises `UsageError`."""
    said = figure_in(text)
    if said is None:
        gate = parse_gate(text)
        return Condition(text, gate.metric, gate)
    if said in _COUNTS:
        return Condition(text, "", None)
    name = said if _flag_of(said) else comparable(said).name
    checks_of((text,), {name: None}, {})  # raises where the limit cannot be read
    return Condition(text, name, None)


def checks(conditions: Sequence[Condition], report: CompareReport) -> tuple[Check, ...]:
    """The conditions with what there was instead; a metric that no call carries fails none."""
    whole = {row.metric: row.whole for row in report.metrics if row.whole}
    figures: dict[str, float | None] = {one.metric: None for one in conditions if one.metric}
    for name, judged in whole.items():
        figures[name] = figures[name.removeprefix("flag_")] = judged.change.after
    figures |= {name: sum(one.verdict is verdict for one in whole.values()) for name, verdict in _COUNTS.items()}
    return tuple(
        Check(one.text, is_met(one.gate, report)) if one.gate else checks_of((one.text,), figures, {})[0]
        for one in conditions
    )


def is_met(gate: Gate, report: CompareReport) -> bool:
    """Whether a metric changed as the condition says, beyond noise."""
    rows = [row for row in report.metrics if gate.metric in ("", row.metric, row.metric.removeprefix("flag_"))]
    return any(_is_met(gate, judged) for row in rows if (judged := row.within if gate.within else row.whole))


def _is_met(gate: Gate, judged: Judged) -> bool:
    change, verdict = judged.change, judged.verdict
    if gate.verdict == Verdict.TOO_LITTLE_DATA:
        return verdict is Verdict.TOO_LITTLE_DATA
    if not verdict.is_change:
        return False
    rises = {"higher": change.change > 0, "lower": change.change < 0, "different": True}
    if not rises.get(gate.verdict, verdict == gate.verdict):
        return False
    if gate.unit == "%":
        return change.share is None or abs(change.share) * 100 >= gate.least
    size = abs(change.change) * 100 if gate.unit == "pp" else abs(change.change)
    return size >= gate.least
