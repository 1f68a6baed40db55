"""Views of `check` and `alerts list`: alerts, their transitions, notifications, and the Nagios line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from llmmon.alerting.actions import PastAction
from llmmon.alerting.alert import Alert, Event, State, Transition
from llmmon.alerting.check import CheckReport, ExplainedRow
from llmmon.alerting.objectives import SloStatus
from llmmon.alerting.outbox import NotificationRow, QueuedNotification
from llmmon.alerting.rules import AlertSeverity, group_text, number_text
from llmmon.alerting.sentences import figure
from llmmon.output.views import Column, Table, View
from llmmon.text.figures import plain
from llmmon.text.times import SECOND_US, duration_text, iso, local

_WORDS: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_MOST_NAMED: Final = 5


def nagios_status(report: CheckReport) -> int:
    """0, 1 (info or warning), 2 (error or critical), by what fires; https://nagios-plugins.org/doc/guidelines.html."""
    ranks = [alert.severity.rank for alert in _firing(report)]
    return 0 if not ranks else 2 if max(ranks) >= AlertSeverity.ERROR.rank else 1


def nagios_line(report: CheckReport, failures: set[int]) -> str:
    """`LLMMON CRITICAL - 2 firing: slow; errors | firing=2;;;0 ...`; UNKNOWN where the tool itself failed."""
    firing = _firing(report)
    status = 3 if failures - {0} else nagios_status(report)
    named = "; ".join(_named(alert) for alert in firing[:_MOST_NAMED])
    more = f" and {len(firing) - _MOST_NAMED} more" if len(firing) > _MOST_NAMED else ""
    what = f"{len(firing)} firing: {named}{more}" if firing else "nothing fires"
    if failures - {0}:
        failed = "; ".join(f"{path}: {why}" for path, why in report.source.failed) or report.fault
        failed = failed or "a notification was not delivered"
        what = f"{failed}; {what}"
    pending = sum(alert.state is State.PENDING for alert in report.alerts)
    queued = sum(row.status == "queued" for row in report.notifications)
    data = f"firing={len(firing)};;;0 pending={pending};;;0 queued={queued};;;0 calls={report.source.requests}c;;;0"
    return f"LLMMON {_WORDS[status]} - {plain(what).replace('|', '/')} | {data}"


def _firing(report: CheckReport) -> list[Alert]:
    return [alert for alert in report.alerts if alert.state is State.FIRING]


def _named(alert: Alert) -> str:
    return alert.description or alert.title


def view_check(report: CheckReport, tz: str) -> View:
    """Transitions for people; all alerts as data."""
    tables = (
        [_notifications(report)] if any(row.status != "sent" and not row.text for row in report.notifications) else []
    )
    tables += [_explained(report.explained, tz)] if report.explained else []
    lines = [*_lines(report.transitions, tz), *_messages(report.notifications)]
    return View(
        data={
            "alerts": [alert_row(alert) for alert in report.alerts],
            "notifications": [notification_row(row) for row in report.notifications],
            "transitions": [transition_row(one) for one in report.transitions],
            "minutes": report.minutes,
            "until": iso(report.until_us),
            "last_event": iso(report.last_event_us),
            **({"slos": [_slo_row(one) for one in report.slos]} if report.slos else {}),
            **({"explained": [_explained_row(row) for row in report.explained]} if report.explained else {}),
        },
        rows=[alert_row(alert) for alert in report.alerts],
        lines=tuple(lines),
        tables=tuple(tables),
        notes=tuple(one.sentence for one in report.slos) if lines else (),
    )


def _slo_row(one: SloStatus) -> dict[str, Any]:
    return {
        "slo": one.slo,
        "group": dict(one.group),
        "objective": one.objective,
        "window": duration_text(one.window_us),
        "calls": one.calls,
        "failures": one.failures,
        "good_share": one.good_share,
        "budget_left": one.budget_left,
    }


def view_alerts(alerts: Sequence[Alert], silences: Sequence[dict[str, Any]], tz: str) -> View:
    """The alerts that are remembered, open ones first, and the silences."""
    columns = (
        *(Column("id", right=False), Column("state", right=False), Column("severity", right=False, rank=1)),
        *(Column("alert", right=False), Column("value"), Column("threshold", rank=2)),
        *(Column("since", right=False), Column("notified", right=False, rank=3)),
    )
    rows = tuple(_alert_cells(alert, tz) for alert in alerts)
    tables = [Table("alerts", columns, rows)] if rows else []
    if silences:
        titles = (Column("id", right=False), Column("matches", right=False), Column("until", right=False))
        cells = tuple(
            (s["silence_id"], ", ".join(f"{k}={v}" for k, v in s["matchers"].items()), s["until"], s["why"])
            for s in silences
        )
        tables.append(Table("silences", (*titles, Column("why", right=False)), cells))
    rows_of = [alert_row(alert) for alert in alerts]
    note = () if tables else ("no alerts",)
    return View(data={"alerts": rows_of, "silences": list(silences)}, rows=rows_of, tables=tuple(tables), notes=note)


def _alert_cells(alert: Alert, tz: str) -> tuple[str, ...]:
    state = alert.state.value
    state += " (ack)" * alert.acknowledged + " (silenced)" * alert.silenced + " (held)" * alert.held
    notified = "-" if alert.notified_us is None else local(alert.notified_us, tz, seconds=False)
    value, threshold = number_text(alert.value), number_text(alert.threshold)
    since = local(alert.since_us, tz, seconds=False)
    return alert.alert_id, state, alert.severity.value, alert.title, value, threshold, since, notified


def view_history(found: Sequence[tuple[Alert, Sequence[PastAction]]], tz: str) -> View:
    """Every episode, and what people did."""
    columns = (
        *(Column("fired", right=False), Column("lasted"), Column("severity", right=False, rank=2)),
        *(Column("alert", right=False), Column("peak", rank=1), Column("end", right=False)),
        *(Column("actions", right=False), Column("id", right=False, rank=3)),
    )
    cells = tuple(_episode_cells(alert, actions, tz) for alert, actions in found)
    rows = [
        {
            **alert_row(alert),
            "actions": [{"at": iso(one.at_us), "action": one.action, "by": one.by, "why": one.why} for one in actions],
        }
        for alert, actions in found
    ]
    tables = (Table(f"episodes ({tz})", columns, cells),) if cells else ()
    note = () if cells else ("no alert has fired in this time",)
    return View(data={"episodes": rows}, rows=rows, tables=tables, notes=note)


def _episode_cells(alert: Alert, actions: Sequence[PastAction], tz: str) -> tuple[str, ...]:
    fired = local(alert.fired_us or alert.since_us, tz, seconds=False)
    lasted = "-" if alert.duration_us is None else duration_text(alert.duration_us // SECOND_US * SECOND_US)
    peak = figure(alert.metric_name, alert.peak, alert.aggregation)
    end = (alert.ended or "over").replace("_", " ") if alert.resolved else "still firing"
    done = "; ".join(f"{one.action} by {one.by or '-'}{': ' * bool(one.why)}{one.why}" for one in actions)
    return fired, lasted, alert.severity.value, alert.title, peak, end, done, alert.alert_id


def view_queue(found: Sequence[QueuedNotification], tz: str) -> View:
    """What waits to be sent, and what was given up."""
    columns = (
        *(Column("number"), Column("channel", right=False), Column("event", right=False, rank=1)),
        *(Column("alert", right=False), Column("status", right=False), Column("since", right=False, rank=2)),
        *(Column("tries", rank=3), Column("next try", right=False, rank=2), Column("why", right=False)),
    )
    cells = tuple(
        (
            *(str(one.id), one.channel, one.event, one.alert.title, one.status),
            *(local(one.created_us, tz, seconds=False), str(one.tries)),
            *(local(one.due_us, tz, seconds=False) if one.status == "queued" else "-", one.error),
        )
        for one in found
    )
    rows = [
        {
            "number": one.id,
            "channel": one.channel,
            "event": one.event,
            "alert_id": one.alert.alert_id,
            "title": one.alert.title,
            "status": one.status,
            "created": iso(one.created_us),
            "tries": one.tries,
            "due": iso(one.due_us) if one.status == "queued" else None,
            "reason": one.error,
        }
        for one in found
    ]
    tables = (Table(f"queue ({tz})", columns, cells),) if cells else ()
    return View(data={"queue": rows}, rows=rows, tables=tables, notes=() if cells else ("nothing waits",))


def alert_row(alert: Alert) -> dict[str, Any]:
    """An alert as JSON shows it."""
    return {
        "alert_id": alert.alert_id,
        "rule": alert.rule,
        "title": alert.title,
        "description": alert.description,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "metric_name": alert.metric_name,
        "value": alert.value,
        "threshold": alert.threshold,
        "group": dict(alert.group),
        "since": iso(alert.since_us),
        "timestamp": alert.timestamp.isoformat().replace("+00:00", "Z"),
        "acknowledged": alert.acknowledged,
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_why": alert.acknowledged_why,
        "silenced": alert.silenced,
        "fired": iso(alert.fired_us),
        "resolved": iso(alert.resolved_us),
        "ended": alert.ended,
        "ended_reason": alert.ended_reason,
        "peak": alert.peak,
        "episode": alert.episode,
        "labels": dict(alert.labels),
        "calls": alert.count,
        "runbook": alert.runbook,
        "dashboard": alert.dashboard,
        "top_errors": [msgspec.to_builtins(one) for one in alert.top_errors],
        "examples": [msgspec.to_builtins(one) for one in alert.examples],
        "command": alert.command,
    }


def notification_row(row: NotificationRow) -> dict[str, Any]:
    """A notification as JSON shows it."""
    return {
        "alert_id": row.alert_id,
        "channel": row.channel,
        "event": str(row.event),
        "status": row.status,
        "reason": row.reason,
        **({"text": row.text} if row.text else {}),
    }


def transition_row(one: Transition) -> dict[str, Any]:
    """A transition as JSON shows it."""
    return {
        "at": iso(one.at_us),
        "event": one.event.value,
        "alert_id": one.alert.alert_id,
        "title": one.alert.title,
        "reason": one.reason,
        "tell": one.notification.value if one.notification is not None else None,
    }


def _messages(rows: Sequence[NotificationRow]) -> Iterator[str]:
    """What would be sent, in a dry run."""
    for row in rows:
        if row.text:
            yield ""
            yield f"--- {row.channel}"
            yield from row.text.splitlines()


def _lines(found: Sequence[Transition], tz: str) -> Iterator[str]:
    """A line for each transition that is news: that a condition begins to hold is not yet."""
    shown = [one for one in found if one.event not in {Event.PENDING, Event.CLEARED}]
    events = max((len(one.event.value) for one in shown), default=0)
    severities = max((len(one.alert.severity.value) for one in shown), default=0)
    for one in shown:
        when = local(one.at_us, tz, seconds=False)
        what = f"{one.event.value:{events}} {one.alert.severity.value:{severities}}"
        yield f"{when} {what} {one.alert.title}: {_why(one)}"


def _why(one: Transition) -> str:
    alert = one.alert
    if alert.resolved and alert.duration_us is not None:
        return f"{one.reason}, after {duration_text(alert.duration_us)}, peak {number_text(alert.peak)}"
    return one.reason


def _notifications(report: CheckReport) -> Table:
    titles = {alert.alert_id: alert.title for alert in report.alerts}
    columns = (
        *(Column("channel", right=False), Column("event", right=False), Column("status", right=False)),
        *(Column("alert", right=False), Column("why", right=False)),
    )
    rows = tuple(
        (row.channel, str(row.event), row.status, titles.get(row.alert_id, row.alert_id), row.reason)
        for row in report.notifications
        if row.status != "sent" and not row.text
    )
    return Table("notifications not sent", columns, rows)


def _explained(rows: Sequence[ExplainedRow], tz: str) -> Table:
    columns = (
        *(Column("minute", right=False), Column("group", right=False), Column("value"), Column("threshold")),
        *(Column("calls"), Column("met", right=False), Column("alert", right=False), Column("note", right=False)),
    )
    cells = tuple(
        (
            *(local(row.minute_us, tz, seconds=False), group_text(row.group), number_text(row.value)),
            *(number_text(row.threshold), f"{row.count:,}", {True: "yes", False: "no", None: "kept"}[row.met]),
            *(row.state, row.note),
        )
        for row in rows
    )
    return Table(f"evaluations of the rule ({tz})", columns, cells)


def _explained_row(row: ExplainedRow) -> dict[str, Any]:
    return {
        "minute": iso(row.minute_us),
        "group": dict(row.group),
        "value": row.value,
        "threshold": row.threshold,
        "count": row.count,
        "met": row.met,
        "state": row.state,
        "note": row.note,
    }
