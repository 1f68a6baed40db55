"""`check --nagios`: one plugin line with performance data, and its status."""

from __future__ import annotations

from typing import Final

from llmmon.alert import Alert, State
from llmmon.renderers.plain import plain
from llmmon.reports import CheckReport
from llmmon.rules import AlertSeverity

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
        failed = "; ".join(f"{path}: {why}" for path, why in report.source.failed) or "a notification is not delivered"
        what = f"{failed}; {what}"
    pending = sum(alert.state is State.PENDING for alert in report.alerts)
    queued = sum(row.status == "queued" for row in report.notifications)
    data = f"firing={len(firing)};;;0 pending={pending};;;0 queued={queued};;;0 calls={report.source.requests}c;;;0"
    return f"LLMMON {_WORDS[status]} - {plain(what).replace('|', '/')} | {data}"


def _firing(report: CheckReport) -> list[Alert]:
    return [alert for alert in report.alerts if alert.state is State.FIRING]


def _named(alert: Alert) -> str:
    return alert.description or alert.title
