"""What is shown of `score`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmmon.output.views import Column, Table, View
from llmmon.quality.report import ScoreReport, WorstRow
from llmmon.quality.scorers.flags import DIMENSIONS, FLAGS
from llmmon.text.figures import MISSING, count, counted, money_text, percent, score

_LONGEST_TEXT: Final = 200


def view_scores(report: ScoreReport) -> View:
    """Averages, flags with counts, the worst rows; their texts below where they were asked for."""
    return View(
        data=_data(report),
        rows=report.rows,
        title=f"quality of {_answers(report)}",
        headline=_headline(report),
        tables=tuple(table for table in (_flags(report), _worst(report)) if table.rows),
        notes=(*_unscored(report), *(note for worst in report.worst for note in _texts(worst))),
    )


def _data(report: ScoreReport) -> dict[str, Any]:
    judge = {} if report.judge is None else {"judge": dict(report.judge)}
    return {"summary": dict(report.summary), "flags": dict(report.flags), "trend": dict(report.trend), **judge}


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
    answers = report.summary["scored"] or 1
    ranked = sorted(((number, name) for name, number in report.flags.items() if number), key=lambda x: (-x[0], x[1]))
    rows = tuple((name, count(number), percent(number / answers), FLAGS[name].help) for number, name in ranked)
    columns = (Column("flag", right=False), Column("answers"), Column("share"), Column("the answer", right=False))
    return Table("flags", columns, rows)


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
    found = (("prompt", worst.prompt), ("output", worst.output))
    return [f"{_place(worst.row)} {key}: {_short(text)}" for key, text in found if text is not None]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
