"""What is shown of `rules backtest`: a table of rules, a timeline, and the labelled incidents."""

from __future__ import annotations

from typing import Any, Final

from llmmon.alerting.backtest import ALWAYS, BacktestReport, Caught, Episode, RuleBacktest, Strip
from llmmon.alerting.rules import group_text
from llmmon.output.views import Column, Table, View
from llmmon.text.figures import counted, percent
from llmmon.text.times import DAY_US, MINUTE_US, duration_text, iso, local

_BARS: Final = "▁▂▃▄▅▆▇█"
_MOST_STRIPS: Final = 40


def view_backtest(report: BacktestReport, tz: str) -> View:
    """Figures for people, every episode as data."""
    tables = [_rules(report, tz)]
    tables += [_timeline(report, tz)] if report.strips else []
    tables += [_incidents(report, tz)] if report.incidents else []
    return View(
        data={
            "start": iso(report.start_us),
            "end": iso(report.end_us),
            "rules": [_rule_row(row) for row in report.rules],
            "episodes": [_episode_row(row) for row in report.episodes],
            "messages": dict(report.messages),
            "incidents": None if report.incidents is None else [_incident_row(row) for row in report.incidents],
        },
        rows=[_rule_row(row) for row in report.rules],
        title=_title(report, tz),
        tables=tuple(tables),
        notes=tuple(_notes(report)),
    )


def _title(report: BacktestReport, tz: str) -> str:
    lasted = (report.end_us - report.start_us) / DAY_US
    start, end = (local(us, tz, seconds=False) for us in (report.start_us, report.end_us))
    return f"{start} to {end} {tz} ({lasted:.1f} days), evaluated every minute"


def _rules(report: BacktestReport, tz: str) -> Table:
    labelled = report.incidents is not None
    columns = (
        *(Column("rule", right=False), Column("severity", right=False, rank=3), Column("notified")),
        *(Column("by week", rank=1), Column("episodes", rank=2), Column("firing"), Column("share", rank=2)),
        Column("longest", rank=1),
        *((Column("caught"), Column("delay")) if labelled else ()),
    )
    first = local(report.rules[0].weeks[0].start_us, tz)[:10] if report.rules and report.rules[0].weeks else ""
    note = f"notified: notifications that the rule fires; by week from Monday {first}"
    if labelled:
        note += "; caught: labelled incidents of the rule's metric, with the median delay"
    return Table("rules", columns, tuple(_rule_cells(row, labelled=labelled) for row in report.rules), note)


def _rule_cells(row: RuleBacktest, *, labelled: bool) -> tuple[str, ...]:
    weeks = " ".join(str(week.notifications) for week in row.weeks)
    cells = (
        *(row.rule, row.severity, f"{row.notifications:,}", weeks, f"{row.episodes:,}"),
        *(_lasting(row.firing_us), percent(row.firing_share), _lasting(row.longest_us)),
    )
    if not labelled:
        return cells
    return (*cells, f"{row.caught} of {row.incidents}" if row.incidents else "-", _delay(row.delay_us))


def _lasting(us: int) -> str:
    return duration_text(us // MINUTE_US * MINUTE_US) if us else "-"


def _delay(us: int | None) -> str:
    return "-" if us is None else duration_text(us // MINUTE_US * MINUTE_US)


def _timeline(report: BacktestReport, tz: str) -> Table:
    start, end = report.strips_us
    cells = len(report.strips[0].shares)
    title = local(start, tz)[5:10] + local(end - 1, tz)[5:10].rjust(cells - 5)
    each = duration_text(round((end - start) / cells / MINUTE_US) * MINUTE_US)
    most = sorted(report.strips, key=lambda strip: -sum(strip.shares))[:_MOST_STRIPS]
    rows = tuple((_whom(strip), _drawn(strip)) for strip in report.strips if strip in most)
    note = f"each character is {each}; its height is the share of that time during which the alert fired"
    if len(report.strips) > len(rows):
        note += f"; {counted(len(report.strips) - len(rows), 'alert')} that fired for less time not shown"
    return Table("when they fired", (Column("alert", right=False), Column(title)), rows, note)


def _whom(strip: Strip) -> str:
    """The rule and the names of its group, without the fields that they are of."""
    names = ", ".join("(none)" if name is None else name for _, name in strip.group)
    return f"{strip.rule}: {names}" if names else strip.rule


def _drawn(strip: Strip) -> str:
    return "".join("·" if share == 0 else _BARS[min(7, int(share * 8))] for share in strip.shares)


def _incidents(report: BacktestReport, tz: str) -> Table:
    columns = (
        *(Column("start", right=False), Column("incident", right=False), Column("metric", right=False, rank=2)),
        *(Column("group", right=False, rank=1), Column("caught by", right=False), Column("after")),
    )
    rows = tuple(
        (
            *(local(one.incident.start_us, tz, seconds=False), one.incident.kind, one.incident.metric),
            *(group_text(tuple(one.incident.group.items())), one.rule or "nothing", _delay(one.delay_us)),
        )
        for one in report.incidents or ()
    )
    found = sum(1 for one in report.incidents or () if one.rule)
    return Table(f"labelled incidents: an alert fired for {found} of {len(rows)}", columns, rows)


def _notes(report: BacktestReport) -> list[str]:
    notes = []
    if never := [row.rule for row in report.rules if not row.episodes]:
        notes.append(f"never fired: {', '.join(never)}")
    if always := [row.rule for row in report.rules if row.firing_share >= ALWAYS]:
        notes.append(f"always fired: {', '.join(always)}")
    sent = [f"{name} {count:,}" for name, count in report.messages.items() if name]
    if sent:
        notes.append(f"notifications per channel, resolutions included: {', '.join(sent)}")
    return notes


def _rule_row(row: RuleBacktest) -> dict[str, Any]:
    return {
        "rule": row.rule,
        "severity": row.severity,
        "notifications": row.notifications,
        "weeks": [{"start": iso(week.start_us), "notifications": week.notifications} for week in row.weeks],
        "episodes": row.episodes,
        "firing_minutes": row.firing_us // MINUTE_US,
        "firing_share": row.firing_share,
        "longest_minutes": row.longest_us // MINUTE_US,
        "incidents": row.incidents,
        "caught": row.caught,
        "delay_minutes": None if row.delay_us is None else row.delay_us / MINUTE_US,
        "never": row.episodes == 0,
        "always": row.firing_share >= ALWAYS,
    }


def _episode_row(row: Episode) -> dict[str, Any]:
    return {
        "rule": row.rule,
        "group": dict(row.group),
        "severity": row.severity,
        "since": iso(row.since_us),
        "fired": iso(row.fired_us),
        "resolved": iso(row.resolved_us),
        "peak": row.peak,
    }


def _incident_row(row: Caught) -> dict[str, Any]:
    return {
        "kind": row.incident.kind,
        "start": iso(row.incident.start_us),
        "end": iso(row.incident.end_us),
        "metric": row.incident.metric,
        "group": dict(row.incident.group),
        "caught_by": row.rule or None,
        "delay_minutes": None if row.delay_us is None else row.delay_us / MINUTE_US,
    }
