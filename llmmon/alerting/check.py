"""`check`: read new calls, evaluate, step alerts and queue notifications, all in one transaction; then send them.

A replay (`--now log`) and a run without a configuration do the same in memory and leave the state file alone.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import numpy as np

from llmmon.alerting.actions import all_rules
from llmmon.alerting.alert import (
    Alert,
    Event,
    NotificationEvent,
    State,
    Suppression,
    Transition,
    alert_id,
    with_evidence_of,
)
from llmmon.alerting.dispatch import send_due
from llmmon.alerting.evaluation import evaluate_minutes, evaluate_rule, streams_of
from llmmon.alerting.evaluation.windows import KEEP, RuleEvaluation, judged_from
from llmmon.alerting.history import Stream, StreamsFold, statistic_of
from llmmon.alerting.lateness import lateness, sentence, wait_for
from llmmon.alerting.lifecycle import without_rules
from llmmon.alerting.objectives import SloStatus
from llmmon.alerting.outbox import NotificationRow, enqueue, enqueue_missing
from llmmon.alerting.reading import HistoryUpdate, read_update, store
from llmmon.alerting.rules import DEFAULT_RULES, LATE_US, AlertRule, with_labels
from llmmon.alerting.state import HOUR, BusyError, StateFile, installation_of, sole_evaluator
from llmmon.alerting.time_span import MOST_REPLAYED, bulk_of, replayed_minutes
from llmmon.errors import EXIT_INPUT, EXIT_OK, LlmmonError, UsageError
from llmmon.ingest.query import Query
from llmmon.ingest.report import SourceReport
from llmmon.ingest.time_range import Now
from llmmon.metrics.aggregates import Aggregates
from llmmon.metrics.columns import IntArray
from llmmon.text.names import lookup
from llmmon.text.times import DAY_US, MINUTE_US, age_text, duration_text, local

if TYPE_CHECKING:
    from llmmon.alerting.alert import GroupLabels
    from llmmon.alerting.mutes import Mute
    from llmmon.alerting.notifiers import Channel
    from llmmon.alerting.objectives import Slo


Result = TypeVar("Result")
FIRST_LOOK: Final = 1440  # minutes that a first run evaluates at most
_KEPT_US: Final = 90 * DAY_US  # episodes and delivered messages
_EVALUATED: Final = "evaluated_minute"
_LAST_EVENT: Final = "last_event_us"
_EVALUATED_BEFORE: Final = "evaluated_before_minute"  # by the run before the last
_EXPLAINED: Final = 60  # minutes
_KNOWN: Final = 60  # minutes with calls from which it is known how many a window holds
_JUDGED, _NOTED = "judged", "noted"  # what is known of a rule: its windows can be judged, or it was said that not
_PIECE: Final = 4 * 1440  # minutes that are evaluated at once, so that a long gap needs little memory
_PIECE_CELLS: Final = 400_000  # minutes times groups
_BUSY_MINUTES: Final = 10  # for which the result of the last evaluation may stand in for one that is still going on
_CLOCK_SLACK: Final = 5  # minutes by which a clock may step back unnoticed
_STALE_US: Final = 15 * MINUTE_US  # age of the last event that is worth a note
_FUTURE_US: Final = DAY_US  # events further ahead than this say nothing about the end of a log


class ExplainedRow(msgspec.Struct, frozen=True):
    """The evaluation of a rule for one group at one minute."""

    minute_us: int
    group: GroupLabels
    value: float | None
    threshold: float
    count: int
    met: bool | None
    note: str
    state: str


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon check`: the alerts that are open or were resolved in this run, transitions, and notifications."""

    alerts: tuple[Alert, ...]
    transitions: tuple[Transition, ...]
    notifications: tuple[NotificationRow, ...]
    minutes: int  # evaluated
    until_us: int | None
    last_event_us: int | None
    source: SourceReport
    exit_code: int = 0
    fault: str = ""  # why the run cannot be trusted: a clock that jumped
    explained: tuple[ExplainedRow, ...] = ()
    slos: tuple[SloStatus, ...] = ()


class CheckPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` evaluates and notifies; without a `state` file nothing is remembered or sent."""

    rules: tuple[AlertRule, ...] = DEFAULT_RULES
    slos: tuple[Slo, ...] = ()
    channels: tuple[Channel, ...] = ()
    mutes: tuple[Mute, ...] = ()
    late_us: int = LATE_US  # how long lines of a minute may take to arrive
    unnoted_late_us: int = 0  # calls that are no later than this are evaluated without a note
    identity: str = ""  # sets alerts that are not kept in a state apart; those of older states have it as well
    name: str = ""  # of the installation, as every message shows it
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)  # of every alert
    state: Path | None = None
    dry_run: bool = False
    explain: str | None = None
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)


def check(query: Query, plan: CheckPlan) -> CheckReport:
    """Evaluate every minute since the last run, and send notifications. Raises `LlmmonError`s."""
    if not query.time.is_open:
        raise UsageError("check evaluates every minute since its last run; --window, --since and --until do not apply")
    path = None if query.time.now is Now.LOG else plan.state
    if path is None:
        with StateFile(None) as state:
            return _Run(query, plan, state, live=False).done()
    with contextlib.ExitStack() as opened:
        with sole_evaluator(path):
            state = opened.enter_context(_state(path, plan, query))
            run = _Run(query, plan, state, live=True)
            report = run.done()
        return run.delivered(report)  # others may evaluate while receivers take their time


def remembered(query: Query, plan: CheckPlan) -> CheckReport:
    """What the last evaluation found, without evaluating or sending anything; raises `BusyError` without a state."""
    if plan.state is None or not plan.state.exists():
        raise BusyError("another evaluation is running for the first time")
    with StateFile(plan.state) as state:
        evaluated = int(state.fact(_EVALUATED) or 0)
        fault = ""
        if query.wall_us // MINUTE_US - evaluated > _BUSY_MINUTES + plan.late_us // MINUTE_US:
            ago = age_text(query.wall_us - evaluated * MINUTE_US)
            fault = f"another run is busy; the last evaluation was {ago} ago"
        last_event = state.fact(_LAST_EVENT)
        return CheckReport(
            alerts=tuple(alert for alert in state.alerts().values() if not alert.resolved),
            transitions=(),
            notifications=(),
            minutes=0,
            until_us=None,
            last_event_us=int(last_event) if last_event else None,
            source=SourceReport(),
            exit_code=EXIT_INPUT if fault else EXIT_OK,
            fault=fault,
        )


@contextlib.contextmanager
def _state(path: Path, plan: CheckPlan, query: Query) -> Iterator[StateFile]:
    """Open the state file; a dry run gets a copy in memory."""
    if plan.dry_run and not path.exists():
        with StateFile(None) as state:
            yield state
        return
    with StateFile(path, replaced=None if plan.dry_run else query.warn) as state:
        if not plan.dry_run:
            yield state
            return
        with state.copied() as copy:
            yield copy


class _Run:
    def __init__(self, query: Query, plan: CheckPlan, state: StateFile, *, live: bool) -> None:
        self.query, self.plan, self.state, self.live = query, plan, state, live
        self.identity = installation_of(state, plan.identity) if live else plan.identity
        labels = {**plan.labels, **({"instance": plan.name} if live and plan.name else {})}
        self.fault = ""  # why this run cannot be trusted
        rules = [with_labels(rule, labels) for rule in all_rules(plan.rules, state)]
        self.names = [rule.name for rule in rules]
        self.rules = [rule for rule in rules if self._unbroken(rule, lambda one: StreamsFold(list(streams_of([one]))))]
        self.replay = query.time.now is Now.LOG
        self.now_us = query.wall_us if isinstance(query.time.now, Now) else query.time.now
        self.keep = _furthest(streams_of(self.rules), *(slo.streams for slo in plan.slos))
        self.streams = list(self.keep)
        self.channels = {channel.name: channel for channel in plan.channels}

    def _unbroken(self, rule: AlertRule, work: Callable[[AlertRule], Result]) -> Result | None:
        """The result of some work for a rule; None where it fails, which is reported and does not stop the others."""
        try:
            return work(rule)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001
            why = str(error) if isinstance(error, LlmmonError) else f"internal error: {type(error).__name__}: {error}"
            self._distrust(f"rule {rule.name!r} was not evaluated: {why}")
            return None

    def _distrust(self, fault: str) -> None:
        """Say why this run cannot be trusted."""
        self.fault = f"{self.fault}; {fault}" if self.fault else fault
        self.query.say(fault)

    def done(self) -> CheckReport:
        update = read_update(self.query, self.streams, self.state, self._since_us())
        with self.state.transaction():
            report = self._evaluated(update)
        return self._with_evidence(report) if self.live else report

    def _with_evidence(self, report: CheckReport) -> CheckReport:
        """The report, with what the calls of newly notified alerts show; their messages get it too."""
        rules = {rule.name: rule for rule in self.rules}
        new = {
            one.alert.alert_id: (one.alert, rules[one.alert.rule])
            for one in report.transitions
            if one.notification is NotificationEvent.TRIGGER and one.event is not Event.REPEATED
            if one.alert.rule in rules
        }
        if not new:
            return report
        from llmmon.alerting.evidence import with_evidence

        found = with_evidence(self.query, new, self.plan.identity)
        with self.state.transaction():
            self.state.save_evidence(found)
        alerts = tuple(with_evidence_of(alert, found) for alert in report.alerts)
        return msgspec.structs.replace(report, alerts=alerts)

    def delivered(self, report: CheckReport) -> CheckReport:
        """Send what is due, and add it to the report."""
        firing = [alert for alert in report.alerts if alert.state is State.FIRING]
        sent = send_due(
            self.state,
            self.channels,
            firing,
            self.now_us,
            self.plan.environment,
            dry_run=self.plan.dry_run,
            mutes=self.plan.mutes,
        )
        return msgspec.structs.replace(report, notifications=(*report.notifications, *sent))

    def _since_us(self) -> int | None:
        """The time from which calls matter in a first run: what it evaluates, and what its rules look back on."""
        if self.replay:
            return None
        return self.now_us - (FIRST_LOOK + max(self.keep.values(), default=0)) * MINUTE_US

    def _evaluated(self, update: HistoryUpdate) -> CheckReport:
        source = update.new_calls.source
        self._note_time(source)
        ends = self._ends(source, update.parts)
        now_minute = int(ends[-1]) if len(ends) else self.now_us // MINUTE_US
        first = min(now_minute, int(ends[0])) if len(ends) else now_minute
        store(self.state, update, self.streams, self.keep, (first, now_minute))
        self._remember_last_event(source)
        before = self.state.alerts()
        kept, removed = without_rules(_not_after(before, self.now_us), self.names, self.now_us)
        after, found = self._stepped(kept, ends)
        transitions = [*removed, *found]
        for transition in transitions:
            self.state.save_episode(transition.alert)
        self.state.save_alerts(before, after)  # after those, because an alert's peak grows after it fired
        suppressed = enqueue(self.state.outbox, transitions, self.channels, self.now_us)
        firing = [alert for alert in after.values() if alert.state is State.FIRING]
        enqueue_missing(self.state.outbox, firing, self.channels, self.now_us)
        if len(ends):
            self.state.set_fact(_EVALUATED_BEFORE, str(int(ends[0]) - 1))
            self.state.set_fact(_EVALUATED, str(int(ends[-1])))
        self._forget(after)
        return self._report(update, ends, after, transitions, suppressed)

    def _stepped(self, alerts: Mapping[str, Alert], ends: IntArray) -> tuple[Mapping[str, Alert], list[Transition]]:
        """Step alerts through the minutes, some days at a time."""
        silences: list[Suppression] = [*self.state.silences(), *self.plan.mutes]
        found: list[Transition] = []
        at, length = 0, HOUR
        while at < len(ends):
            piece = ends[at : at + length]
            at += length
            evaluations = self._evaluations(piece)
            self._note_never(evaluations)
            alerts, more = evaluate_minutes(alerts, evaluations, configuration=self.identity, silences=silences)
            found += more
            groups = max((len(one.groups) for one in evaluations), default=1)
            length = max(HOUR, min(_PIECE, _PIECE_CELLS // max(1, groups)))
        return alerts, found

    def _note_never(self, evaluations: Sequence[RuleEvaluation]) -> None:
        """Say once of each rule that no window of this log has enough calls for it, after a day or a first look."""
        if not self.live or self.plan.dry_run:
            return
        for one in evaluations:
            if not one.rule.measured or not len(one.ends):
                continue
            least = judged_from(one.rule, statistic_of(one.rule))
            fact = f"judged:{one.rule.name}:{least}:{one.rule.window_us}"
            seen = self.state.fact(fact)
            if seen in {_JUDGED, _NOTED}:
                continue
            minutes, most = map(int, (seen or "0 0").split())
            most = max(most, int(one.count.max(initial=0)))
            minutes += int((one.count > 0).any(axis=0).sum())  # a log that stopped shows nothing
            note = _JUDGED if most >= least else f"{minutes} {most}"
            if most < least and minutes >= _KNOWN:
                note = _NOTED
                self.query.say(
                    f"rule {one.rule.name!r} cannot fire here: no window of {duration_text(one.rule.window_us)} holds"
                    f" {least} calls (at most {most} in {duration_text(minutes * MINUTE_US)});"
                    " lower min_count or widen the window"
                )
            self.state.set_fact(fact, note)

    def _note_time(self, source: SourceReport) -> None:
        """Say where the newest event is long ago, or in the future."""
        if not self.live or self.plan.dry_run:
            return
        newest = max(source.end_us or 0, int(self.state.fact(_LAST_EVENT) or 0))
        if source.end_us is not None and source.end_us > self.now_us + _CLOCK_SLACK * MINUTE_US:
            ahead = age_text(source.end_us - self.now_us)
            self.query.say(f"the newest event is {ahead} in the future: is the clock right, and naive_timezone?")
        elif newest and self.now_us - newest > _STALE_US:
            when = local(newest, self.query.tz, seconds=False)
            self.query.say(f"last event {age_text(self.now_us - newest)} ago, {when} {self.query.tz}")

    def _ends(self, source: SourceReport, parts: Mapping[Stream, Aggregates]) -> IntArray:
        """The minutes to evaluate: all since the last run that have ended, and for which late lines have arrived."""
        if self.replay:
            return replayed_minutes(source, parts, self.query.say)
        last = (self.now_us - self.plan.late_us) // MINUTE_US
        evaluated = self.state.fact(_EVALUATED)
        if evaluated is not None:
            begun = int(evaluated)
            if begun > last + _CLOCK_SLACK:
                begun = self._after_a_jump(begun, last)
            else:
                begun, last = self._waited(begun, last, parts)
            if last - begun > MOST_REPLAYED:
                gap = age_text((last - begun) * MINUTE_US)
                self.query.say(f"the last run was {gap} ago: only the last day is evaluated")
                begun = last - FIRST_LOOK
            return np.arange(begun + 1, last + 1)
        return np.arange(max(self._first_minute(source, parts, last), last - FIRST_LOOK + 1), last + 1)

    def _first_minute(self, source: SourceReport, parts: Mapping[Stream, Aggregates], last: int) -> int:
        """The first minute with a call, before it nothing is missing; a stray timestamp does not count."""
        if source.start_us is None:
            return last
        first, bulk = source.start_us // MINUTE_US + 1, bulk_of(parts)
        return min(bulk.first + 1 if bulk is not None and bulk.stray and bulk.first <= last else first, last)

    def _waited(self, evaluated: int, last: int, parts: Mapping[Stream, Aggregates]) -> tuple[int, int]:
        """The minute after which to go on and the last one to evaluate, with calls that came late considered."""
        late = lateness(parts, evaluated)
        last = min(last, (self.now_us - wait_for(self.state, late, self.now_us)) // MINUTE_US)
        if late.calls:
            if self.now_us - late.oldest_minute * MINUTE_US > self.plan.unnoted_late_us:
                self.query.say(sentence(late, self.now_us))
            evaluated = min(late.first_minute, last)
            self.state.set_fact(_EVALUATED, str(evaluated))
        return evaluated, last

    def _after_a_jump(self, evaluated: int, last: int) -> int:
        """The minute after which to go on where the last run was in the future: its clock or this one is wrong.

        A log that has later events than now shows that this clock is wrong; then nothing is evaluated.
        """
        behind = age_text((evaluated - last) * MINUTE_US)
        if (int(self.state.fact(_LAST_EVENT) or 0)) > self.now_us + _CLOCK_SLACK * MINUTE_US:
            self._distrust(f"the clock is {behind} behind the last run and behind the log: nothing is evaluated")
            begun = evaluated
        else:
            before = int(self.state.fact(_EVALUATED_BEFORE) or last)
            begun = before if before < last else last - HOUR
            self._distrust(f"the clock was {behind} ahead in the last run: its minutes are evaluated again")
        return begun

    def _remember_last_event(self, source: SourceReport) -> None:
        known = int(self.state.fact(_LAST_EVENT) or 0)
        if not self.replay and known > self.now_us + _FUTURE_US:
            known = 0
        if (
            source.end_us is not None
            and known < source.end_us
            and (self.replay or source.end_us <= self.now_us + _FUTURE_US)
        ):
            self.state.set_fact(_LAST_EVENT, str(source.end_us))

    def _evaluations(self, ends: IntArray) -> list[RuleEvaluation]:
        """Evaluate every rule; one that fails is left out from then on, and its alerts stay as they are."""
        found = [self._unbroken(rule, lambda one: self._evaluation(one, ends)) for rule in self.rules]
        self.rules = [rule for rule, one in zip(self.rules, found, strict=True) if one is not None]
        return [one for one in found if one is not None]

    def _evaluation(self, rule: AlertRule, ends: IntArray, *, everywhere: bool = False) -> RuleEvaluation:
        first, last = int(ends[0]), int(ends[-1])
        histories = {
            stream: self._history(stream, first - minutes, last) for stream, minutes in streams_of([rule]).items()
        }
        return evaluate_rule(rule, histories, ends, everywhere=everywhere)

    def _history(self, stream: Stream, first: int, last: int) -> Aggregates:
        """The minutes of a stream from `first` to `last`."""
        width = stream.every_us // MINUTE_US
        return self.state.history(stream.name, first // width, last // width)

    def _forget(self, alerts: Mapping[str, Alert]) -> None:
        self.state.forget_episodes(self.now_us - _KEPT_US)
        self.state.forget_silences(self.now_us - _KEPT_US)
        active = {name for name, alert in alerts.items() if not alert.resolved}
        self.state.outbox.forget(self.now_us - _KEPT_US, active)

    def _report(
        self,
        update: HistoryUpdate,
        ends: IntArray,
        after: Mapping[str, Alert],
        transitions: Sequence[Transition],
        suppressed: Sequence[NotificationRow],
    ) -> CheckReport:
        moved = {transition.alert.alert_id for transition in transitions}
        shown = [a for a in after.values() if not a.resolved or (a.alert_id in moved and a.fired_us is not None)]
        last_event = self.state.fact(_LAST_EVENT)
        return CheckReport(
            alerts=tuple(sorted(shown, key=lambda a: (a.resolved, -a.severity.rank, a.rule, str(a.group)))),
            transitions=tuple(transitions),
            notifications=tuple(suppressed),
            minutes=len(ends),
            until_us=int(ends[-1]) * MINUTE_US if len(ends) else None,
            last_event_us=int(last_event) if last_event else None,
            source=msgspec.structs.replace(update.new_calls.source, now_us=self.now_us),
            exit_code=EXIT_INPUT if update.new_calls.failed or self.fault else EXIT_OK,
            fault=self.fault,
            explained=self._explained(after) if self.plan.explain else (),
            slos=self._slo_statuses(ends),
        )

    def _slo_statuses(self, ends: IntArray) -> tuple[SloStatus, ...]:
        """The status of the objectives at the last evaluated minute."""
        evaluated = self.state.fact(_EVALUATED) if not len(ends) else ends[-1]
        if not self.plan.slos or evaluated is None:
            return ()
        from llmmon.alerting.objectives import slo_statuses

        minute = int(evaluated)
        wanted = {stream: reach for slo in self.plan.slos for stream, reach in slo.streams.items()}
        histories = {stream: self._history(stream, minute - reach, minute) for stream, reach in wanted.items()}
        return slo_statuses(self.plan.slos, histories, minute)

    def _explained(self, after: Mapping[str, Alert]) -> tuple[ExplainedRow, ...]:
        """The evaluation of one rule in the last hour, minute by minute; raises `UsageError` for an unknown rule."""
        rule = lookup({rule.name: rule for rule in self.rules}, str(self.plan.explain), "rule")
        evaluated = self.state.fact(_EVALUATED)
        if evaluated is None:
            return ()
        ends = np.arange(int(evaluated) - _EXPLAINED + 1, int(evaluated) + 1)
        evaluation = self._evaluation(rule, ends, everywhere=True)
        return tuple(explained(evaluation, after, self.identity))


def _not_after(alerts: Mapping[str, Alert], now_us: int) -> dict[str, Alert]:
    """The alerts without times after now, which a clock that was ahead has left."""
    names = ("since_us", "met_us", "fired_us", "resolved_us", "notified_us", "last_resolved_notified_us")
    found = {}
    for name, alert in alerts.items():
        late = {field: now_us for field in names if (getattr(alert, field) or 0) > now_us}
        found[name] = msgspec.structs.replace(alert, **late) if late else alert
    return found


def _furthest(*lookbacks: Mapping[Stream, int]) -> dict[Stream, int]:
    """The longest lookback of each stream."""
    found: dict[Stream, int] = {}
    for some in lookbacks:
        for stream, minutes in some.items():
            found[stream] = max(found.get(stream, 0), minutes)
    return found


def explained(evaluation: RuleEvaluation, alerts: Mapping[str, Alert], configuration: str) -> Iterator[ExplainedRow]:
    """The evaluation of a rule, group by group and minute by minute, with the state of each alert."""
    for row, group in enumerate(evaluation.groups):
        alert = alerts.get(alert_id(configuration, evaluation.rule.name, group))
        state = "clear" if alert is None or alert.resolved else alert.state.value
        for at, minute in enumerate(evaluation.ends.tolist()):
            observed = evaluation.observation(row, at)
            yield ExplainedRow(
                minute_us=minute * MINUTE_US,
                group=group,
                value=observed.value,
                threshold=evaluation.rule.threshold if observed.threshold is None else observed.threshold,
                count=observed.count or 0,
                met=None if evaluation.met[row, at] == KEEP else observed.met,
                note=observed.note,
                state=state,
            )
