"""Views of `rules check`, `rules test` and `rules suggest`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmmon.alerting.lint import Finding
from llmmon.alerting.rule_config import rule_toml
from llmmon.alerting.rule_tests import Compared, ExpectedAlert, OpenAlert, RuleTestResult
from llmmon.alerting.rules import AlertRule, Change, number_text
from llmmon.alerting.suggest import Outcome, Point, Suggestion, SuggestReport
from llmmon.metrics.filters import Check
from llmmon.output.views import Column, Table, View
from llmmon.text.figures import counted
from llmmon.text.times import MINUTE_US, duration_text, iso, local


def view_lint(rules: Sequence[AlertRule], channels: Sequence[Any], findings: Sequence[Finding]) -> View:
    """Findings, each with its reason."""
    total = f"{counted(len(rules), 'rule')}, {counted(len(channels), 'channel')}"
    rows = [{"code": one.code, "about": one.about, "message": one.message, "reason": one.reason} for one in findings]
    return View(
        data={"rules": len(rules), "channels": len(channels), "findings": rows},
        rows=rows,
        title=f"{total}: {counted(len(findings), 'finding') if findings else 'no findings'}",
        notes=tuple(f"{one.about}: {one.message} ({one.code}): {one.reason}" for one in findings),
    )


def view_tests(results: Sequence[RuleTestResult]) -> View:
    """Which tests passed; of those that failed, what was expected beside what there was."""
    failed = [result for result in results if not result.passed]
    return View(
        data={"tests": [_test(result) for result in results]},
        rows=[_test(result) for result in results],
        title=f"{counted(len(results), 'test')}: {len(results) - len(failed)} passed, {len(failed)} failed",
        tables=tuple(_difference(result, time) for result in failed for time in result.times if not time.passed),
    )


def checks_of_tests(results: Sequence[RuleTestResult]) -> list[Check]:
    """Each test as a check; what failed says which alerts were expected and which there were, by time."""
    return [Check(result.name, not result.passed, "; ".join(_said(result))) for result in results]


def _said(result: RuleTestResult) -> Iterator[str]:
    for time in result.times:
        wrong = [pair for pair in time.pairs if not time.passed and not _same(pair)]
        for wanted, got in wrong or ([] if time.passed else [(None, None)]):
            yield f"at {duration_text(time.at_us)}: expected {_expected(wanted)}, got {_got(got)}"


def _difference(result: RuleTestResult, time: Compared) -> Table:
    columns = (Column("", right=False), Column("expected", right=False), Column("got", right=False))
    rows = tuple(("" if _same(pair) else "!", _expected(pair[0]), _got(pair[1])) for pair in time.pairs)
    return Table(f"{result.name}, at {duration_text(time.at_us)}", columns, rows or (("!", "nothing", "nothing"),))


def _same(pair: tuple[ExpectedAlert | None, OpenAlert | None]) -> bool:
    wanted, got = pair
    return (
        wanted is not None
        and got is not None
        and wanted.rule == got.rule
        and wanted.state == got.state
        and wanted.group in (None, dict(got.group))
        and wanted.severity in (None, got.severity)
    )


def _expected(wanted: ExpectedAlert | None) -> str:
    if wanted is None:
        return "nothing"
    return _alert(wanted.rule, wanted.state, wanted.group or {}, wanted.severity)


def _got(got: OpenAlert | None) -> str:
    return "nothing" if got is None else _alert(got.rule, got.state, dict(got.group), got.severity)


def _alert(rule: str, state: str, group: Mapping[str, str | None], severity: str | None) -> str:
    return " ".join(
        [rule, *(f"{field}={name}" for field, name in group.items()), state, *([severity] if severity else [])]
    )


def _test(result: RuleTestResult) -> dict[str, Any]:
    return {"name": result.name, "passed": result.passed, "times": [_time(time) for time in result.times]}


def _time(time: Compared) -> dict[str, Any]:
    return {
        "at": duration_text(time.at_us),
        "passed": time.passed,
        "expected": [row for wanted, _ in time.pairs if wanted for row in _wanted_row(wanted)],
        "got": [
            {"rule": got.rule, "state": got.state, "group": dict(got.group), "severity": got.severity}
            for _, got in time.pairs
            if got
        ],
    }


def _wanted_row(wanted: ExpectedAlert) -> Iterator[dict[str, Any]]:
    group = None if wanted.group is None else dict(wanted.group)
    yield {"rule": wanted.rule, "state": wanted.state, "group": group, "severity": wanted.severity}


def view_suggestions(report: SuggestReport, tz: str) -> View:
    """One table of all rules, one of the trade-off of each; the rules as TOML are data."""
    curves = [_curve(one, labelled=report.labelled) for one in report.suggestions if one.curve]
    return View(
        data={
            "budget": report.budget.text,
            "allowed": report.allowed,
            "split": iso(report.split_us),
            "first_minutes": report.first_minutes,
            "rest_minutes": report.rest_minutes,
            "suggestions": [_row(one) for one in report.suggestions],
            "toml": toml_of(report),
        },
        rows=[_row(one) for one in report.suggestions],
        title=_title(report, tz),
        tables=(_rules(report), *curves),
        notes=tuple(f"{one.rule.name}: {one.reason}" for one in report.suggestions if one.reason),
    )


def _title(report: SuggestReport, tz: str) -> str:
    first, rest = (minutes / 1440 for minutes in (report.first_minutes, report.rest_minutes))
    return (
        f"tuned on the first {first:.1f} days (budget {report.budget.text}: {report.allowed}), "
        f"checked on the last {rest:.1f} days, from {local(report.split_us, tz, seconds=False)} {tz}"
    )


def toml_of(report: SuggestReport) -> str:
    """The proposed rules, ready to paste."""
    found = []
    for one in report.suggestions:
        if one.proposed is None or one.then is None:
            continue
        first, rest = one.then.first.notifications, one.then.rest.notifications
        noise = f"{counted(first, 'notification')} in the tuning period, {rest:,} after it"
        found.append(f"# {noise}\n{rule_toml(one.proposed)}\n")
    return "\n".join(found)


def _rules(report: SuggestReport) -> Table:
    columns = (
        *(Column("rule", right=False), Column("", right=False), Column("threshold"), Column("for", rank=1)),
        *(Column("min_count", rank=2), Column("first"), Column("rest")),
        *(
            (Column("noise", rank=3), Column("caught", rank=1), Column("rest caught", rank=1))
            if report.labelled
            else ()
        ),
    )
    rows = []
    for one in report.suggestions:
        if one.now is not None:
            rows.append(_cells(one.rule, "now", one.now, labelled=report.labelled))
        if one.proposed is not None and one.then is not None:
            rows.append(_cells(one.proposed, "then", one.then, labelled=report.labelled))
    note = "first, rest: notifications in the tuning period and after it"
    note += (
        "; noise: those that are not the first of an incident; caught: labelled incidents of the rule's metric"
        if report.labelled
        else ""
    )
    return Table("rules", columns, tuple(rows), note)


def _cells(rule: AlertRule, what: str, point: Point, *, labelled: bool) -> tuple[str, ...]:
    least = "usual" if rule.min_count is None else f"{rule.min_count:,}"
    cells = (
        *(rule.name if what == "now" else "", what),
        *(_threshold(rule, point), duration_text(rule.for_us), least),
        *(f"{point.first.notifications:,}", f"{point.rest.notifications:,}"),
    )
    if not labelled:
        return cells
    return (*cells, f"{point.first.noise:,}", _caught(point.first), _caught(point.rest))


def _caught(outcome: Outcome) -> str:
    return f"{outcome.caught} of {outcome.incidents}" if outcome.incidents else "-"


def _threshold(rule: AlertRule, point: Point) -> str:
    if isinstance(rule.basis, Change):
        return f"{point.threshold:+g} %"
    return number_text(point.threshold)


def _curve(one: Suggestion, *, labelled: bool) -> Table:
    rule = one.proposed or one.rule
    columns = (
        *(Column("threshold"), Column("first"), Column("rest")),
        *((Column("caught"), Column("rest caught")) if labelled else ()),
        Column("", right=False),
    )
    rows = tuple(
        (
            *(_threshold(rule, point), f"{point.first.notifications:,}", f"{point.rest.notifications:,}"),
            *((_caught(point.first), _caught(point.rest)) if labelled else ()),
            "← proposed" if one.then is not None and point.threshold == one.then.threshold else "",
        )
        for point in one.curve
    )
    return Table(f"{rule.name}: threshold against notifications, for {duration_text(rule.for_us)}", columns, rows)


def _row(one: Suggestion) -> dict[str, Any]:
    return {
        "rule": one.rule.name,
        "now": None if one.now is None else _point(one.rule, one.now),
        "then": None if one.then is None or one.proposed is None else _point(one.proposed, one.then),
        "curve": [_point(one.proposed or one.rule, point) for point in one.curve],
        "reason": one.reason or None,
    }


def _point(rule: AlertRule, point: Point) -> dict[str, Any]:
    return {
        "threshold": point.threshold,
        "for_minutes": rule.for_us // MINUTE_US,
        "min_count": rule.min_count,
        "first": _outcome(point.first),
        "rest": _outcome(point.rest),
    }


def _outcome(outcome: Outcome) -> dict[str, int]:
    return {
        "notifications": outcome.notifications,
        "noise": outcome.noise,
        "caught": outcome.caught,
        "incidents": outcome.incidents,
    }
