"""Findings about doubtful rules and channels, with the reason: from the rules alone, and from their evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.alert import Alert, GroupLabels, Receiver, matches
from llmmon.alerting.backtest import replay
from llmmon.alerting.evaluation.windows import KEEP, MET, RuleEvaluation, judged_from
from llmmon.alerting.history import Stream, statistic_of
from llmmon.alerting.lifecycle import FLAPPING
from llmmon.alerting.rules import INCIDENT, SIGNS, AlertRule, Change, group_text, number_text
from llmmon.metrics.aggregates import Aggregates, sorted_run
from llmmon.metrics.columns import BoolArray
from llmmon.metrics.definitions import MetricKind
from llmmon.text.times import DAY_US, MINUTE_US, duration_text, iso

DEFAULT_STEP_US: Final = 5 * MINUTE_US  # between two runs of `check`
# statistics that a few calls decide, and the windows that are too short for them
_JUMPY: Final = {"p99": DAY_US // 24, "p95": 15 * MINUTE_US, "p90": 15 * MINUTE_US, "max": DAY_US, "min": DAY_US}


_MANY_LATE: Final = 5  # calls


class Finding(msgspec.Struct, frozen=True):
    """One finding: a stable code, the rule or channel that it is about, what was found, and why it matters."""

    code: str
    about: str
    message: str
    reason: str


def lint(rules: Sequence[AlertRule], channels: Sequence[Receiver], step_us: int = DEFAULT_STEP_US) -> list[Finding]:
    """Check rules and channels without any log; `step_us` is the time between two runs of `check`."""
    found = [finding for rule in rules for finding in _of_rule(rule, step_us)]
    return [*found, *_of_channels(rules, channels)]


def _of_rule(rule: AlertRule, step_us: int) -> Iterator[Finding]:
    if not rule.measured:
        return
    if rule.window_us < step_us:
        window, step = duration_text(rule.window_us), duration_text(step_us)
        yield Finding(
            "short-window",
            rule.name,
            f"the window of {window} is shorter than the {step} between two runs",
            "what happens between two runs is notified when it is over; run check more often, or use a longer window",
        )
    yield from _of_statistic(rule)


def _of_statistic(rule: AlertRule) -> Iterator[Finding]:
    statistic = statistic_of(rule)
    counts = statistic.aggregation in {"count", "sum"} or statistic.metric.name == "requests"
    if rule.min_count == 0 and not counts:
        what = "a rate" if statistic.metric.kind is MetricKind.EVENT else f"the {statistic.aggregation}"
        yield Finding(
            "no-min-count",
            rule.name,
            f"min_count is 0, so {what} of a single call counts",
            "one failed or slow call at night is then an alert; leave min_count out (20) or set it",
        )
    if rule.window_us < _JUMPY.get(statistic.aggregation, 0) and rule.for_us == 0 and rule.keep_firing_for_us == 0:
        yield Finding(
            "no-for",
            rule.name,
            f"{statistic.name} over {duration_text(rule.window_us)} fires at once and resolves at once",
            "few calls decide it, so it comes and goes; set for (or keep_firing_for), such as 5m, or a longer window",
        )
    if rule.for_us > 7 * DAY_US:
        yield Finding("long-for", rule.name, f"for is {duration_text(rule.for_us)}", "nobody is notified for a week")


def _of_channels(rules: Sequence[AlertRule], channels: Sequence[Receiver]) -> Iterator[Finding]:
    taken = {rule.name: [channel for channel in channels if _may_receive(channel, rule)] for rule in rules}
    for channel in channels:
        if not any(channel in those for those in taken.values()):
            yield Finding(
                "unused-channel",
                channel.name,
                "no rule notifies this channel",
                f"by notify, min_severity ({channel.min_severity.value}) or match, no alert is routed to it",
            )
    for rule in rules:
        if channels and not taken[rule.name]:
            why = "notify is empty" if rule.notify == () else f"its severity is {rule.severity.value}"
            yield Finding(
                "unheard-rule",
                rule.name,
                "no channel is notified of this rule",
                f"{why}: nobody is notified when it fires",
            )


def _may_receive(channel: Receiver, rule: AlertRule) -> bool:
    """Whether any alert of a rule may be routed to a channel; matchers of group fields may match some group."""
    if rule.notify is not None and channel.name not in rule.notify:
        return False
    grouped = {*rule.by, *(["metric", INCIDENT] if rule.anomaly else [])}
    alert = Alert("", "", "", rule.severity, rule.metric_name, None, None, rule=rule.name, labels=rule.labels)
    matchers = {name: wanted for name, wanted in channel.match.items() if name not in grouped}
    return rule.severity.rank >= channel.min_severity.rank and matches(alert, matchers)


def lint_evaluations(evaluations: Sequence[RuleEvaluation]) -> list[Finding]:
    """Check how rules worked on logs: conditions that are never or always met, windows without enough calls."""
    found = [finding for evaluation in evaluations for finding in _of_evaluation(evaluation)]
    return [*found, *_of_flapping(evaluations)]


def _of_flapping(evaluations: Sequence[RuleEvaluation]) -> Iterator[Finding]:
    """The rules one of whose alerts begins so often in a day that notifications are held back."""
    days: dict[str, Counter[tuple[int, GroupLabels]]] = {}
    for episode in replay(evaluations).episodes if evaluations else ():
        days.setdefault(episode.rule, Counter())[episode.fired_us // DAY_US, episode.group] += 1
    for rule, counts in days.items():
        ((day, group), most) = counts.most_common(1)[0]
        if most >= FLAPPING:
            whom = f" for {group_text(group)}" if group else ""
            message = f"it fires {most} times{whom} on {(iso(day * DAY_US) or '')[:10]}"
            reason = (
                "it comes and goes, and soon only what lasts is notified; set for, keep_firing_for or a longer window"
            )
            yield Finding("flapping", rule, message, reason)


DURATIONS: Final = Stream("latency_ms", values=True)  # what `lint_durations` looks at


def lint_durations(durations: Aggregates, late_us: int) -> list[Finding]:
    """Check whether calls take longer than minutes wait for them: they are logged when they end."""
    values = durations.values.get("latency_ms")
    if values is None or not len(values):
        return []
    run = sorted_run(values)
    took_us = run.values().astype(np.int64)
    beyond = took_us > late_us
    calls = int(run.weights()[beyond].sum())
    if calls < _MANY_LATE:
        return []
    longest = -(-int(took_us.max()) // MINUTE_US) * MINUTE_US
    fits = duration_text(min(longest + MINUTE_US, DAY_US))
    return [
        Finding(
            "short-late",
            "late",
            f"{calls:,} calls took longer than the {duration_text(late_us)} that minutes wait for them,"
            f" up to {duration_text(longest)}",
            f'a call is logged when it ends, so a provider that hangs is noticed late; late = "{fits}" waits for them',
        )
    ]


def _of_evaluation(evaluation: RuleEvaluation) -> Iterator[Finding]:
    rule = evaluation.rule
    if not len(evaluation.ends) or not rule.measured:
        return
    lasted = duration_text(len(evaluation.ends) * MINUTE_US)
    statistic = statistic_of(rule)
    least = judged_from(rule, statistic)
    if not evaluation.count.any() and statistic.metric.name != "requests":
        what = f"no call{f' where {rule.where}' if rule.where else ''} has {statistic.metric.name}"
        yield Finding("no-data", rule.name, f"{what} in these logs", "the rule cannot fire; see `llmmon inspect`")
        return
    judged = _judged(evaluation, least)
    if not judged.any():
        most = int(evaluation.count.max(initial=0))
        message = f"no window of {duration_text(rule.window_us)} holds {least} calls (at most {most})"
        yield Finding("never-judged", rule.name, message, "the rule cannot fire; lower min_count or widen the window")
        return
    if not (evaluation.met == MET).any():
        reason = "fine for what should never happen, otherwise the threshold is out of reach"
        yield Finding("never-met", rule.name, f"never met in {lasted}: {_limit(rule)}{_extreme(evaluation)}", reason)
    for row in np.flatnonzero(_always(evaluation, judged)).tolist():
        whom = f" for {group_text(evaluation.groups[row])}" if evaluation.groups[row] else ""
        message = f"always met{whom} in {lasted}: {_limit(rule)}"
        yield Finding("always-met", rule.name, message, "an alert that never ends is of no use; move the threshold")


def _judged(evaluation: RuleEvaluation, least: int) -> BoolArray:
    judged: BoolArray = (evaluation.count >= least) & ~evaluation.gone
    return judged


def _always(evaluation: RuleEvaluation, judged: BoolArray) -> BoolArray:
    """The groups whose condition held whenever it was judged, over a day's worth of minutes or more."""
    held: BoolArray = (~judged | (evaluation.met == MET) | (evaluation.met == KEEP)).all(axis=1) & judged.any(axis=1)
    lasting: BoolArray = judged.sum(axis=1) >= min(1440, len(evaluation.ends) // 2)
    return held & lasting


def _limit(rule: AlertRule) -> str:
    if isinstance(rule.basis, Change):
        return f"{rule.aggregation} {rule.metric_name} {rule.basis.factor - 1:+.0%} against {rule.basis.versus}".strip()
    return f"{rule.aggregation} {rule.metric_name} {SIGNS[rule.condition]} {number_text(rule.threshold)}".strip()


def _extreme(evaluation: RuleEvaluation) -> str:
    """The value closest to the threshold, where values are known."""
    known = evaluation.value[~np.isnan(evaluation.value)]
    if not known.size:
        return ""
    low = evaluation.rule.condition in {"lt", "le"}
    return f" (the {'lowest' if low else 'highest'} was {number_text(float(known.min() if low else known.max()))})"
