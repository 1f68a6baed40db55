"""What is shown of `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llmmon.output.views import Column, Table, View
from llmmon.reports.compare import CompareReport, GroupChange, Judged, MetricChange, Verdict
from llmmon.reports.differences import Change
from llmmon.reports.sides import SideInfo, SplitKind
from llmmon.text.figures import MISSING, count, counted, milliseconds, money_text, name, percent, rate
from llmmon.text.times import iso, local

_MOST_GROUPS: Final = 10
_MOST_SHIFTS: Final = 8
_LEAST_SHIFT: Final = 0.02  # of a side's calls
_ORDER: Final = (Verdict.WORSE, Verdict.BETTER, Verdict.HIGHER, Verdict.LOWER)


def view_compare(report: CompareReport, tz: str) -> View:
    """What changed beyond noise, in sentences; every metric; the groups that moved most; the mix."""
    tables = [_metrics(report)] if report.metrics else []
    tables += [_groups(rows)] if (rows := _moved(report)) else []
    tables += [_mix(report)] if _shifts(report) else []
    return View(
        data=_data(report),
        rows=[_metric_row(row) for row in report.metrics],
        title=_title(report, tz),
        headline=_headline(report, tz),
        lines=_sentences(report),
        tables=tuple(tables),
        notes=_notes(report),
    )


def _data(report: CompareReport) -> dict[str, Any]:
    split, matched = report.split, report.matched
    return {
        "split": {"by": split.kind.value, "field": split.field or None, "at": iso(report.at_us)},
        "before": _side(report.before),
        "after": _side(report.after),
        "left_out": report.left_out,
        "units": {"of": report.unit, "count": report.units},
        "matched": {
            "by": list(matched.fields),
            "hours": matched.hours or None,
            "share_before": matched.share_before,
            "share_after": matched.share_after,
            "is_matched": not matched.reason,
            "reason": matched.reason or None,
        },
        "metrics": [_metric_row(row) for row in report.metrics],
        "groups": [_group_row(row) for row in report.groups],
        "mix": [
            {"field": row.field, "value": row.value, "share_before": row.share_before, "share_after": row.share_after}
            for row in report.mix
        ],
    }


def _side(info: SideInfo) -> dict[str, Any]:
    return {"name": info.name, "calls": info.calls, "start": iso(info.start_us), "end": iso(info.end_us)}


_NO_CHANGE: Final = (
    *("before", "after", "change", "low", "high", "change_share", "low_share", "high_share"),
    *("p", "p_adjusted", "detectable", "verdict"),
)


def _judged_row(judged: Judged | None) -> dict[str, Any]:
    if judged is None:
        return {**dict.fromkeys(_NO_CHANGE), "verdict": Verdict.TOO_LITTLE_DATA.value}
    change = judged.change
    return {
        "before": change.before,
        "after": change.after,
        "change": change.change,
        "low": change.low,
        "high": change.high,
        "change_share": change.share,
        "low_share": change.low_share,
        "high_share": change.high_share,
        "p": change.p,
        "p_adjusted": judged.p_adjusted,
        "detectable": change.detectable,
        "verdict": judged.verdict.value,
    }


def _metric_row(row: MetricChange) -> dict[str, Any]:
    return {
        "metric": row.metric,
        "unit": row.unit or None,
        "better": row.better.value,
        "calls_before": row.calls_before,
        "calls_after": row.calls_after,
        **_judged_row(row.whole),
        "mix": row.mix,
        "within": None if row.within is None else _judged_row(row.within),
    }


def _group_row(row: GroupChange) -> dict[str, Any]:
    return {
        "field": row.field,
        "value": row.value,
        "metric": row.metric,
        "unit": row.unit or None,
        "calls_before": row.calls_before,
        "calls_after": row.calls_after,
        "weight": row.weight,
        **_judged_row(row.judged),
    }


def _title(report: CompareReport, tz: str) -> str:
    if report.split.kind is SplitKind.TIME and report.at_us is not None:
        return f"before and after {local(report.at_us, tz, seconds=False)} {tz}"
    field = f"{report.split.field}: " if report.split.field else ""
    return f"{field}{report.before.name} against {report.after.name}"


def _headline(report: CompareReport, tz: str) -> tuple[tuple[str, str], ...]:
    is_field = report.split.kind is SplitKind.FIELD
    labels = (report.before.name, report.after.name) if is_field else ("before", "after")
    pairs = [
        (label, f"{counted(side.calls, 'call')}{_times(side, tz)}")
        for label, side in zip(labels, (report.before, report.after), strict=True)
    ]
    matched = report.matched
    by = ", ".join((*matched.fields, *((matched.hours,) if matched.hours else ())))
    covers = min(matched.share_before, matched.share_after)
    pairs.append(("matched by", f"{by} ({percent(covers)} of the calls)" if not matched.reason else "nothing"))
    pairs.append(("intervals", f"95 %, from {counted(report.units, report.unit)}"))
    return tuple(pairs)


def _times(side: SideInfo, tz: str) -> str:
    if side.start_us is None or side.end_us is None:
        return ""
    start, end = (local(us, tz, seconds=False) for us in (side.start_us, side.end_us))
    return f", {start} to {end} {tz}"


def _sentences(report: CompareReport) -> tuple[str, ...]:
    """The changes beyond noise, a line each, and how many metrics did not change."""
    judged = [(row, row.whole) for row in report.metrics if row.whole is not None]
    lines = [_sentence(row, whole) for verdict in _ORDER for row, whole in judged if whole.verdict is verdict]
    lines += [
        f"{row.within.verdict.value} within the same mix: {row.metric} {_arrow(row, row.within.change)},"
        f" {_relative(row, row.within.change)}, hidden by the mix"
        for row, whole in judged
        if row.within is not None and row.within.verdict.is_change and not whole.verdict.is_change
    ]
    verdicts = [Verdict.TOO_LITTLE_DATA if row.whole is None else row.whole.verdict for row in report.metrics]
    still = [
        f"{verdict.value}: {counted(verdicts.count(verdict), 'metric')}"
        for verdict in (Verdict.NO_DIFFERENCE, Verdict.TOO_LITTLE_DATA)
        if verdict in verdicts
    ]
    return (*lines, *(("; ".join(still),) if still else ()))


def _sentence(row: MetricChange, whole: Judged) -> str:
    text = f"{whole.verdict.value}: {row.metric} {_arrow(row, whole.change)}, {_relative(row, whole.change)}"
    if row.within is None:
        return text
    if row.within.verdict is Verdict.NO_DIFFERENCE:
        return f"{text}, because the mix changed: no difference within"
    unsure = "" if row.within.verdict.is_change else ", which may be noise"
    return f"{text} ({_relative(row, row.within.change)} within the same mix{unsure})"


def _arrow(row: MetricChange | GroupChange, change: Change) -> str:
    return f"{_value(row, change.before)} → {_value(row, change.after)}"


def _relative(row: MetricChange | GroupChange, change: Change) -> str:
    """`+26 %`, or for shares `+1.2 pp`."""
    if row.is_share:
        return _points(change.change)
    return MISSING if change.share is None else _percents(change.share)


def _points(share: float) -> str:
    """A difference of shares in percentage points: `+1.2 pp`."""
    value = share * 100
    return f"{value:+.1f} pp" if abs(value) >= 1 else f"{value:+.2f} pp"


def _percents(share: float) -> str:
    value = share * 100
    return f"{value:+.0f} %" if abs(value) >= 10 else f"{value:+.1f} %"


def _interval(row: MetricChange | GroupChange, change: Change) -> str:
    """`+18 to +35 %`."""
    if row.is_share:
        return f"{_points(change.low).removesuffix(' pp')} to {_points(change.high)}"
    if change.low_share is None or change.high_share is None:
        return f"{_value(row, change.low)} to {_value(row, change.high)}"
    return f"{_percents(change.low_share).removesuffix(' %')} to {_percents(change.high_share)}"


def _visible(row: MetricChange | GroupChange, change: Change) -> str:
    """The smallest change that would have been found."""
    if row.is_share:
        return _points(change.detectable).removeprefix("+")
    if change.before <= 0:
        return _value(row, change.detectable)
    return f"{change.detectable / change.before * 100:.2g} %" if change.detectable < change.before else ">100 %"


def _value(row: MetricChange | GroupChange, value: float) -> str:
    if row.is_share:
        return percent(value)
    if row.metric.startswith("quality"):
        return f"{value:.3f}"
    match row.unit:
        case "ms":
            return milliseconds(value)
        case "usd":
            return money_text(value)
        case "tokens":
            return count(value)
        case _:
            return rate(value)


def _metrics(report: CompareReport) -> Table:
    is_matched = any(row.within is not None for row in report.metrics)
    columns = [
        *(Column("metric", right=False), Column("before"), Column("after"), Column("change")),
        *(Column("95 % interval", rank=2), Column("verdict", right=False)),
    ]
    if is_matched:
        columns += [
            Column("within", rank=1),
            Column("95 % interval", rank=2),
            Column("verdict within", right=False, rank=1),
        ]
        columns += [Column("by mix", rank=3)]
    columns.append(Column("could see", rank=3))
    rows = []
    for row in report.metrics:
        cells = [row.metric, *_cells(row, row.whole)]
        if is_matched:
            cells += _cells(row, row.within)[2:] if row.within is not None else [MISSING] * 3
            cells.append(_mix_text(row))
        cells.append(MISSING if row.whole is None else _visible(row, row.whole.change))
        rows.append(tuple(cells))
    return Table("metrics", tuple(columns), tuple(rows))


def _cells(row: MetricChange, judged: Judged | None) -> list[str]:
    """Before, after, change, its interval, the verdict."""
    if judged is None:
        return [MISSING] * 4 + [Verdict.TOO_LITTLE_DATA.value]
    change = judged.change
    pair = [_value(row, change.before), _value(row, change.after)]
    return [*pair, _relative(row, change), _interval(row, change), judged.verdict.value]


def _mix_text(row: MetricChange) -> str:
    if row.mix is None or row.whole is None:
        return MISSING
    if row.is_share:
        return _points(row.mix)
    return _percents(row.mix / row.whole.change.before) if row.whole.change.before > 0 else MISSING


def _moved(report: CompareReport) -> list[GroupChange]:
    return [row for row in report.groups if row.judged.verdict.is_change]


def _groups(moved: Sequence[GroupChange]) -> Table:
    heads = ("group", "metric", "before", "after", "change", "95 % interval", "verdict", "calls")
    left = {0, 1, 6}
    columns = tuple(
        Column(head, right=i not in left, rank={5: 3, 6: 1, 7: 4}.get(i, 0)) for i, head in enumerate(heads)
    )
    rows = tuple(
        (
            f"{row.field} {name(row.value)}",
            row.metric,
            _value(row, row.judged.change.before),
            _value(row, row.judged.change.after),
            _relative(row, row.judged.change),
            _interval(row, row.judged.change),
            row.judged.verdict.value,
            f"{row.calls_before:,} / {row.calls_after:,}",
        )
        for row in moved
    )
    return Table("groups that moved most", columns, rows, most=_MOST_GROUPS)


def _shifts(report: CompareReport) -> list[tuple[str, str, str]]:
    return [
        (f"{row.field} {name(row.value)}", percent(row.share_before), percent(row.share_after))
        for row in report.mix
        if abs(row.share_after - row.share_before) >= _LEAST_SHIFT
    ]


def _mix(report: CompareReport) -> Table:
    columns = (Column("group", right=False), Column("of the calls before"), Column("after"))
    return Table("the mix", columns, tuple(_shifts(report)), most=_MOST_SHIFTS)


def _notes(report: CompareReport) -> tuple[str, ...]:
    notes = []
    if report.matched.reason:
        notes.append(f"not matched by mix or hour: {report.matched.reason}")
    if report.passed_over:
        notes.append(
            f"too few {' and '.join(f'{field}s' for field in report.passed_over)} to count as units of their own:"
            f" each {report.unit} counts"
        )
    if report.left_out:
        why = "have another value" if report.split.kind is SplitKind.FIELD else "have no time"
        notes.append(f"{counted(report.left_out, 'call')} left out: they {why}")
    return tuple(notes)
