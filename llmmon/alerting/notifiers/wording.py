"""The wording of notifications; text from logs is put on one line, without control characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from llmmon.alerting.alert import Alert, Ended, NotificationEvent, TopError
from llmmon.alerting.notifiers.channel import Notification
from llmmon.alerting.rules import SIGNS
from llmmon.alerting.sentences import brief, figure, statistic_words
from llmmon.errors import UsageError
from llmmon.http_client import check_url
from llmmon.text.figures import plain
from llmmon.text.times import duration_text, local, to_us

MOST_SHOWN: Final = 100  # alerts in one mail
_MOST_LINK: Final = 2_000  # characters
_MOST_PAST: Final = 3  # alerts that were over before they could be sent, above which they are summarized
_MOST_PAST_LINES: Final = 20


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


def summarized(notifications: Sequence[Notification]) -> tuple[list[Notification], list[str]]:
    """What is shown one by one, in reading order, and a line each of much that was over before it could be sent."""
    ordered = ranked(notifications)
    past = [n for n in ordered if n.over and n.event == NotificationEvent.TRIGGER]
    if len(past) <= _MOST_PAST:
        return ordered, []
    past.sort(key=lambda n: since_us(n.alert))
    lines = [_past_line(n) for n in past[:_MOST_PAST_LINES]]
    if (more := len(past) - len(lines)) > 0:
        lines.append(f"and {more:,} more")
    return [n for n in ordered if n not in past], lines


def past_title(lines: Sequence[str], notifications: Sequence[Notification]) -> str:
    """`12 alerts fired and were over before this message` for the lines of a summary."""
    past = sum(n.over and n.event == NotificationEvent.TRIGGER for n in notifications)
    return f"{past:,} alerts fired and were over before this message:" if lines else ""


def _past_line(notification: Notification) -> str:
    alert = notification.alert
    lasted = duration_us(alert) or 0
    peak = figure(alert.metric_name, alert.peak if alert.peak is not None else alert.value, alert.aggregation)
    when = local(since_us(alert), notification.tz, seconds=False)
    how_long = duration_text(lasted // 1_000_000 * 1_000_000)
    return f"{when}, {how_long}: [{alert.severity.value}] {title(alert, 100)}, peak {peak}"


def _present(notifications: Sequence[Notification]) -> list[str]:
    statuses = {n.status for n in notifications}
    return [status for status in ("firing", "acknowledged", "resolved") if status in statuses]


def facts(notification: Notification) -> list[tuple[str, str]]:
    """Names and values: the value, its limit, severity, labels, since when; for an end also duration and peak."""
    alert = notification.alert
    name, how = alert.metric_name, alert.aggregation
    found = [("Metric", clamped(plain(statistic_words(name, how)), 200))] if name else []
    found.append(("Value", figure(name, alert.value, how)))
    if alert.threshold is not None:
        limit = brief(figure(name, alert.threshold, how))
        found.append(("Threshold", f"{SIGNS.get(alert.condition, '')} {limit}".strip()))
    found.append(("Severity", alert.severity.value))
    found += [
        (clamped(plain(key), 60), clamped(plain(text), 200)) for key, text in alert.labels.items() if not is_link(text)
    ]
    found.append(("Since", f"{local(since_us(alert), notification.tz)} {notification.tz}"))
    lasted = duration_us(alert)
    if notification.over:
        found.append(("Lasted", "-" if lasted is None else duration_text(lasted // 1_000_000 * 1_000_000)))
    if notification.over or notification.repeated:
        found.append(("Peak", figure(name, alert.peak if alert.peak is not None else alert.value, how)))
    return found


def is_link(text: str) -> bool:
    """Whether a text is an address that a reader can follow."""
    try:
        check_url(text)
    except UsageError:
        return False
    return not re.search(r"[\s<>\"'`|\\^{}\x00-\x1f\x7f-\x9f]", text)


def links(alert: Alert) -> list[tuple[str, str]]:
    """What can be followed: the runbook, the dashboard, and labels that are addresses; names and URLs."""
    named = [("Runbook", alert.runbook), ("Dashboard", alert.dashboard)]
    named += [(clamped(plain(key), 60), text) for key, text in alert.labels.items()]
    return [(name, url) for name, url in named if len(url) <= _MOST_LINK and is_link(url)]


def details(notification: Notification) -> list[tuple[str, list[str]]]:
    """What the calls of a firing alert show: the most frequent errors, some requests, and the command for more."""
    alert = notification.alert
    if notification.event is not NotificationEvent.TRIGGER:
        return []
    errors = [error_text(one) for one in alert.top_errors]
    examples = [f"{clamped(plain(one.request_id), 80)} ({clamped(plain(one.place), 120)})" for one in alert.examples]
    found = [
        ("Top errors", errors),
        ("Requests", examples),
        ("Look further", [plain(alert.command)] * bool(alert.command)),
    ]
    return [(name, lines) for name, lines in found if lines]


def error_text(error: TopError) -> str:
    """`12 x rate_limit: 429 too many requests`."""
    what = ": ".join(part for part in (plain(error.error_type), clamped(plain(error.message), 160)) if part)
    return f"{error.calls:,} x {what or 'failed'}"


def sentence(notification: Notification, most: int = 1500) -> str:
    """The alert's description, preceded by its current status."""
    alert = notification.alert
    found = clamped(plain(alert.description), most)
    if notification.repeated and not notification.over:
        raised = f"Now {alert.severity.value}, no longer {alert.raised_from}." if alert.raised_from else "Still firing."
        return f"{raised} {found}"
    if notification.status == "acknowledged":
        by = f" by {plain(alert.acknowledged_by)}" if alert.acknowledged_by else ""
        why = f": {plain(alert.acknowledged_why)}" if alert.acknowledged_why else ""
        return clamped(f"Acknowledged{by}{why}. {found}", most)
    if not notification.over:
        return found
    lasted = duration_us(alert)
    after = "" if lasted is None else f" after {duration_text(lasted // 1_000_000 * 1_000_000)}"
    what = (
        "Fired and resolved" if notification.event is NotificationEvent.TRIGGER else _ENDS.get(alert.ended, "Resolved")
    )
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
    if notification.event is not NotificationEvent.TRIGGER and alert.ended == Ended.BY_HAND.value:
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


def text_of(notifications: Sequence[Notification]) -> str:
    """Everything as plain text, for mails and services that take nothing else."""
    parts = []
    single, past = summarized(notifications)
    for notification in single[:MOST_SHOWN]:
        lines = [f"[{tag(notification)}] {title(notification.alert)}", sentence(notification), ""]
        lines += [f"{name + ':':<11}{value}" for name, value in facts(notification)]
        lines += [f"{name + ':':<11}{url}" for name, url in links(notification.alert)]
        for name, texts in details(notification):
            lines += ["", f"{name}:", *(f"  {text}" for text in texts)]
        parts.append("\n".join(lines))
    if past:
        parts.append("\n".join([past_title(past, notifications), *(f"  {line}" for line in past)]))
    return "\n\n".join([*parts, *rest_of(len(single))]) + "\n"


def rest_of(count: int) -> list[str]:
    """The line that counts the alerts that are not shown."""
    more = count - MOST_SHOWN
    return [f"and {more:,} more"] if more > 0 else []
