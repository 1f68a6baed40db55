"""What is shown of `rules check` and `rules test`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmmon.durations import duration_text
from llmmon.rule_lint import Finding
from llmmon.rule_tests import Compared, ExpectedAlert, OpenAlert, RuleTestResult
from llmmon.rules import AlertRule
from llmmon.views import Column, Table, View


def view_lint(rules: Sequence[AlertRule], channels: Sequence[Any], findings: Sequence[Finding]) -> View:
    """Findings, each with its reason."""
    counted = f"{_many(len(rules), 'rule')}, {_many(len(channels), 'channel')}"
    rows = [{"code": one.code, "about": one.about, "message": one.message, "reason": one.reason} for one in findings]
    return View(
        data={"rules": len(rules), "channels": len(channels), "findings": rows},
        rows=rows,
        title=f"{counted}: {_many(len(findings), 'finding') if findings else 'nothing found'}",
        notes=tuple(f"{one.about}: {one.message} ({one.code}): {one.reason}" for one in findings),
    )


def view_tests(results: Sequence[RuleTestResult]) -> View:
    """Which tests passed; of those that failed, what was expected beside what there was."""
    failed = [result for result in results if not result.passed]
    return View(
        data={"tests": [_test(result) for result in results]},
        rows=[_test(result) for result in results],
        title=f"{_many(len(results), 'test')}: {len(results) - len(failed)} passed, {len(failed)} failed",
        tables=tuple(_difference(result, time) for result in failed for time in result.times if not time.passed),
    )


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


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
