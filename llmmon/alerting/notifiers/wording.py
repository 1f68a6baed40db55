"""The wording of notifications; text from logs is put on one line, without control characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmmon.alerting.alert import Alert, Ended
from llmmon.alerting.notifiers.channel import Notification
from llmmon.alerting.rules import SIGNS, number_text
from llmmon.errors import UsageError
from llmmon.text.figures import milliseconds, money_text, percent, plain
from llmmon.text.times import duration_text, local, to_us


def clamped(text: str, most: int) -> str:
    """The text, cut to a number of characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def tag(notification: Notification) -> str:
    """`CRITICAL`, `RESOLVED` or `ACKNOWLEDGED`: the first word of every message."""
    return notification.alert.severity.value.upper() if notification.status == "firing" else notification.status.upper()


def title(alert: Alert, most: int = 200) -> str:
    """The alert's title without control characters."""
    return clamped(plain(alert.title), most)


def headline(notifications: Sequence[Notification], most: int = 250) -> str:
    """One line for all: `[CRITICAL] High Error Rate`, `[CRITICAL] 2 firing, 1 resolved: ...`."""
    first, *others = ordered = ranked(notifications)
    if not others:
        return clamped(f"[{tag(first)}] {title(first.alert)}", most)
    counts = [f"{sum(n.status == status for n in ordered)} {status}" for status in _present(ordered)]
    names = ", ".join(dict.fromkeys(title(n.alert, 60) for n in ordered))
    return clamped(f"[{tag(first)}] {', '.join(counts)}: {names}", most)


def ranked(notifications: Sequence[Notification]) -> list[Notification]:
    """Notifications in reading order: firing before resolved, most severe first."""
    return sorted(notifications, key=lambda n: (n.status != "firing", -n.alert.severity.rank))


def _present(notifications: Sequence[Notification]) -> list[str]:
    statuses = {n.status for n in notifications}
    return [status for status in ("firing", "acknowledged", "resolved") if status in statuses]


def facts(notification: Notification) -> list[tuple[str, str]]:
    """Names and values: metric, value, threshold, severity, since; for an end also duration and peak."""
    alert = notification.alert
    name = alert.metric_name
    found = [("Metric", clamped(plain(name), 200))] if name else []
    found.append(("Value", figure(name, alert.value)))
    if alert.threshold is not None:
        found.append(("Threshold", f"{SIGNS.get(alert.condition, '')} {figure(name, alert.threshold)}".strip()))
    found.append(("Severity", alert.severity.value))
    found += [(clamped(plain(key), 60), clamped(plain(text), 200)) for key, text in alert.labels.items()]
    found.append(("Since", f"{local(since_us(alert), 'UTC')} UTC"))
    lasted = duration_us(alert)
    if notification.over:
        found.append(("Lasted", "-" if lasted is None else duration_text(lasted // 1_000_000 * 1_000_000)))
    if notification.over or notification.repeated:
        found.append(("Peak", figure(name, alert.peak if alert.peak is not None else alert.value)))
    return found


def sentence(notification: Notification, most: int = 1500) -> str:
    """The alert's description, preceded by its current status."""
    alert = notification.alert
    found = clamped(plain(alert.description), most)
    if notification.repeated and not notification.over:
        return f"Still firing. {found}"
    if notification.status == "acknowledged":
        by = f" by {plain(alert.acknowledged_by)}" if alert.acknowledged_by else ""
        why = f": {plain(alert.acknowledged_why)}" if alert.acknowledged_why else ""
        return clamped(f"Acknowledged{by}{why}. {found}", most)
    if not notification.over:
        return found
    lasted = duration_us(alert)
    after = "" if lasted is None else f" after {duration_text(lasted // 1_000_000 * 1_000_000)}"
    what = "Fired and resolved" if notification.event == "trigger" else _ENDS.get(alert.ended, "Resolved")
    return clamped(f"{what}{after}{_end_reason(notification)}. It was: {found}", most)


_ENDS: Final = {
    Ended.RECOVERED.value: "Recovered",
    Ended.BY_HAND.value: "Resolved by hand",
    Ended.ACCEPTED.value: "Accepted",
}


def _end_reason(notification: Notification) -> str:
    """Why it ended, where that is no recovery: `: no data for 5m`."""
    alert = notification.alert
    if alert.ended in {"", Ended.RECOVERED.value} or not alert.ended_reason:
        return ""
    reason = plain(alert.ended_reason)
    if notification.event != "trigger" and alert.ended == Ended.BY_HAND.value:
        reason = reason.removeprefix("resolved by hand").removeprefix(": ")
    return (
        f": {reason}, which is not a recovery" if alert.ended == Ended.NO_DATA.value else f": {reason}" * bool(reason)
    )


def since_us(alert: Alert) -> int:
    """When the episode began, in microseconds UTC."""
    return alert.since_us or to_us(alert.timestamp)


def duration_us(alert: Alert) -> int | None:
    """How long the episode lasted; None while it lasts, or if its end is not known."""
    return None if alert.resolved_us is None else max(0, alert.resolved_us - since_us(alert))


def figure(metric_name: str, value: float | None) -> str:
    """A value in the unit of its metric: `6.20 s`, `$1.23`, `35.0 %`."""
    if value is None or value != value:
        return "-"
    from llmmon.metrics.definitions import MetricKind, statistic_called

    try:
        statistic = statistic_called(metric_name)
    except UsageError:
        return number_text(value)
    if statistic.aggregation == "count":
        return number_text(value)
    if statistic.metric.kind is MetricKind.EVENT and statistic.aggregation in {"rate", "avg"}:
        return percent(value)
    unit = statistic.metric.unit
    per_minute = "/min" if statistic.aggregation == "rate" else ""
    if metric_name.endswith("_usd") or unit == "usd":
        return money_text(value) + per_minute
    if metric_name.endswith("_ms") and not per_minute:
        return milliseconds(value)
    return number_text(value) + per_minute
