"""Rules over past logs: `backtest` replays them, `suggestions` chooses thresholds for a noise budget.

The history that all rules need is read once, and evaluated in memory; the state file is not touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.alert import GroupLabels
from llmmon.alerting.backtest import (
    BacktestReport,
    Episode,
    LabelledIncident,
    Replay,
    delay_of,
    labels_of,
    metric_of_rule,
    notified,
    replay,
    report_of,
)
from llmmon.alerting.evaluation import Histories, evaluate_rule, streams_of
from llmmon.alerting.evaluation.windows import RuleEvaluation, least_count
from llmmon.alerting.history import Stream, StreamsFold, fields_of, statistic_of
from llmmon.alerting.mutes import Mute
from llmmon.alerting.notifiers import NOTIFIERS, Channel
from llmmon.alerting.reading import complete
from llmmon.alerting.rules import AlertRule, Change
from llmmon.alerting.time_span import replayed_minutes, within
from llmmon.errors import InputError, UsageError, reason_of
from llmmon.ingest.query import Query, read
from llmmon.ingest.report import SourceReport
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import BoolArray, Columns, FloatArray, IntArray, concat
from llmmon.text.tables import parse_toml
from llmmon.text.times import MINUTE_US

PERIODS: Final = {"day": 1440, "week": 7 * 1440, "month": 30 * 1440}  # minutes
_HOLDS: Final = (0, 5, 10, 15)  # minutes of `for` that are tried
_COUNTS: Final = (50, 100)  # values of `min_count` that are tried besides the rule's own
_STEPS: Final = 40  # thresholds of the first search
_LARGEST_SHARE: Final = 0.05  # of the time for which a threshold may be met
_LEAST_JUDGED: Final = 0.8  # of the windows that are judged with the rule's own min_count
_NEARLY: Final = 1.25  # times the smallest distance from normal values
_CURVE: Final = 8
_DIGITS: Final = 3


class NoiseBudget(msgspec.Struct, frozen=True):
    """A number of notifications in a number of minutes."""

    number: float
    minutes: int
    text: str

    def within(self, minutes: int) -> int:
        """The number of whole notifications allowed over a time."""
        return math.floor(self.number * minutes / self.minutes + 1e-9)


def noise_budget(text: str) -> NoiseBudget:
    """`2/week` (day, week, month); raises `UsageError`."""
    number, _, period = text.replace(" ", "").partition("/")
    try:
        found = float(number)
    except ValueError:
        found = -1.0
    if period not in PERIODS or not 0 <= found < 1e6:
        raise UsageError(f"{text!r} is not a noise budget", hint="write it as 2/week, 1/day or 0.5/month")
    return NoiseBudget(found, PERIODS[period], text)


class Outcome(msgspec.Struct, frozen=True):
    """What a rule would have done over a part: notifications, how many of them are noise, and incidents caught.

    The first notification of an alert about a labelled incident is not noise; all others are.
    """

    notifications: int
    noise: int
    caught: int
    incidents: int


class Point(msgspec.Struct, frozen=True):
    """A threshold (of a change: in percent) and its outcome on both parts."""

    threshold: float
    first: Outcome
    rest: Outcome


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """The proposal for one rule (None with a `reason` if there is none), beside the rule as it is."""

    rule: AlertRule
    now: Point | None
    proposed: AlertRule | None = None
    then: Point | None = None
    curve: tuple[Point, ...] = ()
    reason: str = ""


class SuggestReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon rules suggest`: both parts are in minutes."""

    budget: NoiseBudget
    first_minutes: int
    rest_minutes: int
    split_us: int
    allowed: int
    suggestions: tuple[Suggestion, ...]
    labelled: bool


class Parts(msgspec.Struct, frozen=True):
    """History in two parts, and its known incidents."""

    histories: Histories
    first: IntArray
    rest: IntArray
    incidents: tuple[LabelledIncident, ...] = ()


def suggest(rules: Sequence[AlertRule], parts: Parts, budget: NoiseBudget, *, labelled: bool) -> SuggestReport:
    """Suggest thresholds for every rule."""
    allowed = budget.within(len(parts.first))
    return SuggestReport(
        budget=budget,
        first_minutes=len(parts.first),
        rest_minutes=len(parts.rest),
        split_us=int(parts.first[-1]) * MINUTE_US,
        allowed=allowed,
        suggestions=tuple(_suggestion(rule, parts, allowed) for rule in rules),
        labelled=labelled,
    )


def _suggestion(rule: AlertRule, parts: Parts, allowed: int) -> Suggestion:
    if not rule.measured:
        return Suggestion(rule=rule, now=None, reason="its thresholds follow from its objective or budget")
    now = point_of(rule, parts)
    if rule.levels:
        return Suggestion(rule=rule, now=now, reason="it has levels; one threshold at a time can be searched")
    if rule.condition in {"eq", "ne"}:
        return Suggestion(rule=rule, now=now, reason=f"condition {rule.condition} has no order to search")
    search = _Search(rule, parts)
    if not search.usable:
        return Suggestion(rule=rule, now=now, reason="the first part of the log has nothing that it could judge")
    tried = [found for hold, least in search.settings() if (found := search.best(hold, least, allowed)) is not None]
    if not tried:
        return Suggestion(rule=rule, now=now, reason="no threshold stays within the budget")
    proposed = search.chosen(tried)
    curve = tuple(point_of(search.rule_with(x, proposed.for_us, None, proposed), parts) for x in search.curve(proposed))
    return Suggestion(rule=rule, now=now, proposed=proposed, then=point_of(proposed, parts), curve=curve)


def point_of(rule: AlertRule, parts: Parts) -> Point:
    """The outcome of a rule on both parts, each evaluated on its own."""
    return Point(shown_threshold(rule), *(outcome(rule, parts, ends)[0] for ends in (parts.first, parts.rest)))


def shown_threshold(rule: AlertRule) -> float:
    """The threshold; of a change in percent."""
    return round((rule.basis.factor - 1) * 100, 6) if isinstance(rule.basis, Change) else rule.threshold


def outcome(rule: AlertRule, parts: Parts, ends: IntArray) -> tuple[Outcome, tuple[Episode, ...]]:
    """The outcome of a rule over some minutes, with the alert lifecycle of `check`; and its episodes."""
    if not len(ends):
        return Outcome(0, 0, 0, 0), ()
    done = replay([evaluate_rule(rule, parts.histories, ends)])
    notifications = notified(done.messages)
    of = [next((i for i in parts.incidents if _is_about(at, group, i, rule)), None) for at, _, group in notifications]
    news = {(i.start_us, group) for i, (_, _, group) in zip(of, notifications, strict=True) if i is not None}
    start, end = (int(ends[0]) - 1) * MINUTE_US, int(ends[-1]) * MINUTE_US
    mine = [i for i in parts.incidents if i.metric == metric_of_rule(rule) and start <= i.start_us < end]
    caught = sum(1 for i in mine if delay_of(i, done.episodes, rule) is not None)
    return Outcome(len(notifications), len(notifications) - len(news), caught, len(mine)), done.episodes


def _is_about(at_us: int, group: GroupLabels, incident: LabelledIncident, rule: AlertRule) -> bool:
    """Whether a notification may be about an incident: it comes during it, or as late as the rule can be."""
    return incident.start_us <= at_us <= incident.end_us + rule.window_us + rule.for_us and incident.concerns(group)


class _Search:
    """Searches thresholds of a rule on the first part; levels are values, negated for conditions below a threshold."""

    def __init__(self, rule: AlertRule, parts: Parts) -> None:
        self._rule, self._parts = rule, parts
        self._down = rule.condition in {"lt", "le"}
        self._evaluation = evaluate_rule(rule, parts.histories, parts.first, everywhere=True)
        self._least = least_count(rule, statistic_of(rule))
        self._x = self._levels(self._evaluation)
        self._judged = int((~np.isnan(self._x) & (self._evaluation.count >= self._least)).sum())
        self.usable = self._judged > 0
        self._normal = float(np.nanmedian(self._x)) if self.usable else 0.0

    def _levels(self, evaluation: RuleEvaluation) -> FloatArray:
        value = evaluation.value
        if isinstance(self._rule.basis, Change) and evaluation.threshold is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                value = value / evaluation.threshold * self._rule.basis.factor
        found: FloatArray = np.where(evaluation.gone | ~np.isfinite(value), np.nan, -value if self._down else value)
        return found

    def settings(self) -> list[tuple[int, int | None]]:
        """The values of `for` in minutes and `min_count` (None: as it is) to try, quickest first."""
        own = self._rule.for_us // MINUTE_US
        counts = [None, *(n for n in _COUNTS if n > self._least)] if self._least else [None]
        return [(hold, least) for hold in sorted({own, *_HOLDS}) for least in counts]

    def best(self, hold: int, least: int | None, allowed: int) -> AlertRule | None:
        """The rule with the most sensitive threshold that stays within the budget with these settings."""
        count = self._least if least is None else least
        judged = np.where(self._evaluation.count >= count, self._x, np.nan)
        known = np.sort(judged[~np.isnan(judged)])
        if not len(known) or len(known) < _LEAST_JUDGED * self._judged:
            return None  # a rule that is blind most of the time makes no noise either
        shares = np.geomspace(1 / len(known), _LARGEST_SHARE, _STEPS)
        levels = known[np.minimum((len(known) * (1 - shares)).astype(np.int64), len(known) - 1)]
        kept = float(known[-1])
        for level in np.unique(levels)[::-1].tolist():
            if self._runs(judged, level, hold) > allowed:
                break
            kept = level
        rule = self.rule_with(kept, hold * MINUTE_US, least, self._rule)
        while self._noise(rule) > allowed:  # repeats and windows without data notify too
            kept += max(abs(kept) * 0.1, 1e-9)
            if kept > known[-1] + 2 * abs(known[-1]) + 1:
                return None
            rule = self.rule_with(kept, hold * MINUTE_US, least, self._rule)
        return rule

    def _noise(self, rule: AlertRule) -> int:
        return outcome(rule, self._parts, self._parts.first)[0].noise

    def _runs(self, judged: FloatArray, level: float, hold: int) -> int:
        """How often a level is exceeded for over `hold` minutes outside of incidents, an upper bound of firing."""
        with np.errstate(invalid="ignore"):
            met = np.pad(judged > level, ((0, 0), (1, 1)))
        edges = np.diff(met.astype(np.int8), axis=1)
        (row, start), (_, end) = np.nonzero(edges == 1), np.nonzero(edges == -1)
        long = end - start > hold
        excused = self._excused()[row[long], np.minimum(start[long] + hold, judged.shape[1] - 1)]
        return int((~excused).sum())

    def _excused(self) -> BoolArray:
        """Where a notification would be about an incident; shape (groups, m)."""
        out = np.zeros(self._x.shape, np.bool_)
        at = self._parts.first * MINUTE_US
        for incident in self._parts.incidents:
            until = incident.end_us + self._rule.window_us
            for row, group in enumerate(self._evaluation.groups):
                if incident.concerns(group):
                    out[row] |= (at >= incident.start_us) & (at <= until)
        return out

    def rule_with(self, level: float, for_us: int, least: int | None, like: AlertRule) -> AlertRule:
        """The rule with another threshold, rounded away from normal values."""
        found = msgspec.structs.replace(like, for_us=for_us, min_count=like.min_count if least is None else least)
        level = -level if self._down else level
        if isinstance(found.basis, Change):
            percent = rounded((level - 1) * 100, up=not self._down)
            percent = min(percent, -1.0) if self._down else max(percent, 1.0)
            return msgspec.structs.replace(found, basis=Change(1 + max(percent, -99.9) / 100, found.basis.earlier_us))
        return msgspec.structs.replace(found, threshold=rounded(level, up=not self._down))

    def chosen(self, tried: Sequence[AlertRule]) -> AlertRule:
        """The rule that catches most; of these the quickest whose threshold is about as close to normal as any."""
        caught = [outcome(rule, self._parts, self._parts.first)[0].caught for rule in tried]
        good = [rule for rule, number in zip(tried, caught, strict=True) if number == max(caught)]
        least = min(self._distance(rule) for rule in good)
        limit = least * _NEARLY if least > 0 else least + 1e-9
        return next(rule for rule in good if self._distance(rule) <= limit)

    def _distance(self, rule: AlertRule) -> float:
        return self._level(rule) - self._normal

    def _level(self, rule: AlertRule) -> float:
        level = rule.basis.factor if isinstance(rule.basis, Change) else rule.threshold
        return -level if self._down else level

    def curve(self, proposed: AlertRule) -> list[float]:
        """Levels on both sides of the proposed one, from sensitive to insensitive."""
        known = self._x[~np.isnan(self._x)]
        level = self._level(proposed)
        floor = max(float(np.quantile(known, 1 - _LARGEST_SHARE)), level - 2 * abs(level - self._normal))
        if floor >= level:
            floor = level - abs(level - self._normal) / 2
        low = np.linspace(floor, level, _CURVE // 2, endpoint=False)
        high = np.linspace(level, max(level, min(float(known.max()), 2 * level - floor)), _CURVE // 2)
        return list(dict.fromkeys([*low.tolist(), *high.tolist()]))


def rounded(value: float, *, up: bool) -> float:
    """Round to three significant digits, upwards or downwards."""
    if value == 0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(abs(value))))
    found = math.ceil(value * scale - 1e-9) if up else math.floor(value * scale + 1e-9)
    return float(f"{found / scale:.12g}")


LABELS: Final = "labels.toml"  # written by `simulate` beside the logs


class ReadHistory(msgspec.Struct, frozen=True):
    """The histories that rules read, the minutes to evaluate, and the report of the reading."""

    histories: Histories
    ends: IntArray
    source: SourceReport
    exit_code: int

    def evaluations(self, rules: Sequence[AlertRule], *, everywhere: bool = False) -> list[RuleEvaluation]:
        """Evaluate rules at every minute."""
        if not len(self.ends):
            return []
        return [evaluate_rule(rule, self.histories, self.ends, everywhere=everywhere) for rule in rules]


class Backtested(msgspec.Struct, frozen=True):
    """The report of a replay, the replay, and the history that was read."""

    report: BacktestReport
    replay: Replay
    done: ReadHistory


def read_for(query: Query, rules: Sequence[AlertRule], beside: Sequence[Stream] = ()) -> ReadHistory:
    """Read logs once for all rules; as in `check`, every minute from the first call to the last is evaluated.

    Of a time range every minute of it is evaluated, and what the rules look back on is read too. `beside` are streams
    that no rule reads.
    """
    lookbacks = streams_of(rules)
    streams, reach = list(dict.fromkeys((*lookbacks, *beside))), max(lookbacks.values(), default=0)
    longer = msgspec.structs.replace(query, time=query.time.begun_earlier(reach * MINUTE_US))
    found = read(longer, fields_of(streams), lambda: StreamsFold(streams))
    histories = complete(streams, found.results)
    now_us = query.wall_us if found.source.now_us is None else found.source.now_us
    ends = replayed_minutes(found.source, histories, query.say, query.time.bounds(now_us))
    return ReadHistory(within(histories, ends, reach), ends, found.source, found.exit_code)


def read_calls(query: Query, rules: Sequence[AlertRule]) -> Columns:
    """Read the calls themselves, with the fields that rules need."""
    return concat(read(query, fields_of(streams_of(rules)), ColumnsFold).results)


def backtest(
    query: Query,
    rules: Sequence[AlertRule],
    channels: Sequence[Channel] = (),
    labels: Path | None = None,
    *,
    identity: str = "",
    mutes: Sequence[Mute] = (),
) -> Backtested:
    """Replay rules over logs, as if `check` had run every minute; the state file is not touched."""
    incidents = _labels(query, labels)
    done = read_for(query, rules)
    if not len(done.ends):
        raise _nothing("replay", query)
    played = replay(done.evaluations(rules), channels, identity, mutes)
    together = {"", *(channel.name for channel in channels if not NOTIFIERS[channel.type].one_each)}
    return Backtested(report_of(played, rules, query.tz, incidents, together), played, done)


def _nothing(what: str, query: Query) -> InputError:
    if query.time.is_open:
        return InputError(f"no call in the logs has a time: there is nothing to {what}", hint="see `llmmon inspect`")
    return InputError(f"no call is in the time range: there is nothing to {what}", hint="widen it, or leave it out")


def suggestions(
    query: Query, rules: Sequence[AlertRule], budget: NoiseBudget, labels: Path | None, first: float
) -> tuple[SuggestReport, ReadHistory]:
    """Suggest thresholds for a noise budget, chosen on the `first` share of the time of the logs."""
    incidents = _labels(query, labels)
    done = read_for(query, rules)
    cut = round(len(done.ends) * first)
    if not cut:
        raise _nothing("tune on", query)
    parts = Parts(done.histories, done.ends[:cut], done.ends[cut:], incidents or ())
    return suggest(rules, parts, budget, labelled=incidents is not None), done


def _labels(query: Query, chosen: Path | None) -> tuple[LabelledIncident, ...] | None:
    """The incidents of the chosen labels file, else of one beside the logs; None without one."""
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in map(Path, query.logs))
    path = chosen or next((folder / LABELS for folder in folders if (folder / LABELS).is_file()), None)
    if path is None:
        return None
    try:
        return labels_of(parse_toml(path.read_bytes()), str(path))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {reason_of(error)}") from None
