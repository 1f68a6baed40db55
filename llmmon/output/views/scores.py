"""What is shown of `score`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llmmon.errors import InputError
from llmmon.output.views import Column, Table, View
from llmmon.quality.platforms import Sent
from llmmon.quality.rates import FlagRate
from llmmon.quality.report import ScoreReport, WorstRow
from llmmon.quality.scorers.flags import DEFAULT_THRESHOLDS, DIMENSIONS, FLAGS
from llmmon.text.figures import MISSING, count, counted, money_text, percent, score

_LONGEST_TEXT: Final = 200


def view_scores(report: ScoreReport, sent: Sent | None = None) -> View:
    """Averages, flags with counts, the worst rows, what was sent; their texts below where they were asked for."""
    return View(
        data=_data(report) | ({"sent": msgspec.to_builtins(sent)} if sent is not None else {}),
        rows=report.rows,
        title=f"quality of {_answers(report)}",
        headline=_headline(report),
        tables=tuple(
            table for table in (_flags(report), _groups(report), _judged(report), _worst(report)) if table.rows
        ),
        notes=(*_sent(sent), *_unscored(report), *(note for worst in report.worst for note in _texts(worst))),
    )


def _data(report: ScoreReport) -> dict[str, Any]:
    judge = {} if report.judge is None else {"judge": dict(report.judge)}
    rates = {name: msgspec.to_builtins(rate) for name, rate in report.rates.items()}
    groups = {"groups": msgspec.to_builtins(report.groups)} if report.groups else {}
    return {
        "summary": dict(report.summary),
        "flags": dict(report.flags),
        "rates": rates,
        "trend": dict(report.trend),
        **groups,
        **judge,
    }


def _sent(sent: Sent | None) -> list[str]:
    if sent is None:
        return []
    to = f"sent {counted(sent.scores, 'score')} of {counted(sent.answers, 'answer')} to {sent.host}"
    unknown = f"; {counted(sent.unknown, 'answer')} without an id of {sent.platform}" if sent.unknown else ""
    refused = f"; {sent.refused:,} refused" if sent.refused else ""
    failed = [f"not all were sent: {sent.error}; the same command sends them again, none twice"] if sent.error else []
    return [f"{to}{unknown}{refused}", *failed]


def _unscored(report: ScoreReport) -> list[str]:
    reasons = {} if report.judge is None else report.judge["unscored_reasons"]
    return [f"not judged: {counted(number, 'answer')}, because {reason}" for reason, number in reasons.items()]


def _judge(judge: Mapping[str, Any]) -> list[tuple[str, str]]:
    agreed = judge["agreement"]
    alike = agreed["spearman"]
    cost = [("judge's cost", money_text(judge["cost_usd"]))] if judge["cost_usd"] is not None else []
    return [
        (
            "judge",
            f"{score(judge['overall_avg'])} for {counted(judge['scored'], 'answer')} ({judge['cached']:,} cached)",
        ),
        ("judge agrees", f"{percent(agreed['same_side'])}, rank correlation {score(alike)}"),
        *cost,
    ]


def _answers(report: ScoreReport) -> str:
    number = int(report.summary["scored"] or 0)
    return counted(number, "answer")


def _headline(report: ScoreReport) -> tuple[tuple[str, str], ...]:
    summary, trend = report.summary, report.trend
    lowest = score(summary["overall_min"])
    pairs = [
        ("overall", f"{score(summary['overall_avg'])} (lowest {lowest})" if lowest != MISSING else MISSING),
        *((name.replace("_", " "), score(summary[f"{name}_avg"])) for name in DIMENSIONS),
    ]
    if trend["overall_avg_before"] is not None:
        recent, before = score(trend["overall_avg"]), score(trend["overall_avg_before"])
        pairs.append((f"last {trend['rows']:,}", f"{recent} (before {before})"))
    pairs += [] if report.judge is None else _judge(report.judge)
    if summary["without_text"]:
        pairs.append(("without text", count(summary["without_text"])))
    return tuple((label, text) for label, text in pairs if text != MISSING)


def _flags(report: ScoreReport) -> Table:
    ranked = sorted(
        ((rate.flagged, name) for name, rate in report.rates.items() if rate.flagged), key=lambda x: (-x[0], x[1])
    )
    rows = tuple(
        (name, count(number), percent(report.rates[name].rate), _wrong(report.rates[name]), FLAGS[name].help)
        for number, name in ranked
    )
    columns = (
        Column("flag", right=False),
        Column("answers"),
        Column("share"),
        Column("likely wrong", rank=1),
        Column("the answer", right=False),
    )
    return Table("flags", columns, rows)


def _wrong(rate: FlagRate) -> str:
    return MISSING if rate.expected_wrong is None else percent(rate.expected_wrong)


_MOST_FLAGS: Final = 6


def _groups(report: ScoreReport) -> Table:
    """A row a group: the average and the rates of the most frequent flags, each with its 95 % interval."""
    if not report.groups:
        return Table("", (), ())
    ranked = sorted(report.rates, key=lambda name: -report.rates[name].flagged)
    names = [name for name in ranked if report.rates[name].flagged][:_MOST_FLAGS]
    fields = tuple(report.groups[0].group)
    timed = report.groups[0].start is not None
    columns = (
        *((Column("from", right=False),) if timed else ()),
        *(Column(name, right=False) for name in fields),
        Column("answers"),
        Column("overall"),
        *(Column(name, rank=i + 1) for i, name in enumerate(names)),
    )
    rows = tuple(
        (
            *((group.start or MISSING,) if timed else ()),
            *(group.group[name] or "(none)" for name in fields),
            count(group.answers),
            score(group.overall_avg),
            *(_interval(group.flags[name]) for name in names),
        )
        for group in report.groups
    )
    return Table("by " + ", ".join((*(("time",) if timed else ()), *fields)), columns, rows)


def _interval(rate: FlagRate) -> str:
    return f"{percent(rate.rate)} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def _judged(report: ScoreReport) -> Table:
    """A row a flag: of the judged answers that have it, how many the judge finds bad."""
    found = {} if report.judge is None else report.judge["flags"]
    columns = (Column("flag", right=False), Column("judged"), Column("right"), Column("precision"))
    rows = tuple(
        (
            name,
            count(one["judged"]),
            count(one["right"]),
            f"{percent(one['precision'])} ({100 * one['low']:.0f}-{100 * one['high']:.0f})",
        )
        for name, one in found.items()
    )
    return Table("flags against the judge", columns, rows)


def view_answer(report: ScoreReport, wanted: str, thresholds: Mapping[str, float]) -> View:
    """Every sign of one answer: its strength, its threshold, whether it is raised, and where.

    Raises `InputError` where no answer has this id or stands at this FILE:LINE.
    """
    row = next((row for row in report.rows if wanted in (row["request_id"], _place(row))), None)
    if row is None:
        raise InputError(f"no answer {wanted}", hint="an id, or FILE:LINE, as `llmmon score` shows them")
    limits = DEFAULT_THRESHOLDS | dict(thresholds)
    signs = sorted(FLAGS, key=lambda name: -(row["signals"][name] or 0.0))
    columns = (Column("sign", right=False), Column("strength"), Column("from"), Column("", right=False), Column("at"))
    rows = tuple(
        (
            name,
            score(row["signals"][name]),
            score(limits[name]),
            "raised" if name in row["flags"] else "",
            ", ".join(f"{start}-{end}" for start, end in row["evidence"].get(name, ())[:3]),
        )
        for name in signs
        if row["signals"][name] is not None
    )
    headline = (
        ("overall", score(row["overall"])),
        *((name.replace("_", " "), score(row[name])) for name in DIMENSIONS),
    )
    return View(
        data={"answer": dict(row)},
        rows=[row],
        title=f"answer {row['request_id'] or row['row']} ({_place(row)})",
        headline=tuple((label, text) for label, text in headline if text != MISSING),
        tables=(Table("signs", columns, rows),),
        notes=tuple(_texts(WorstRow(row, report.texts.get(row["row"])))),
    )


def _worst(report: ScoreReport) -> Table:
    columns = (
        Column("overall"),
        Column("flags", right=False),
        Column("model", right=False, rank=2),
        Column("id", right=False, rank=1),
        Column("where", right=False),
    )
    rows = tuple(_worst_row(worst.row) for worst in report.worst)
    more = report.more_worst
    return Table("worst answers", columns, rows, f"and {more:,} more (--limit 0 shows all)" if more else "")


def _worst_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    flags = ", ".join(row["flags"])
    return score(row["overall"]), flags, row["model"] or MISSING, row["request_id"] or MISSING, _place(row)


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['file']}:{row['line']}" if row["line"] is not None else str(row["file"])


def _texts(worst: WorstRow) -> list[str]:
    if worst.shown is None:
        return []
    found = (("prompt", worst.shown.prompt), ("output", worst.shown.output))
    quoted = [f"{_place(worst.row)} {name}: {text}" for name, text in worst.shown.quotes.items()]
    return [f"{_place(worst.row)} {key}: {_short(text)}" for key, text in found if text is not None] + quoted


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
