"""The report of `anomalies` in public units: incidents with their causes, the series that make them up, scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.anomaly.anomalies import place_of, score_rows
from llmmon.anomaly.attribution import Contribution
from llmmon.anomaly.detectors.detector import Anomaly, AnomalyStatus, Change, DetectorResults
from llmmon.anomaly.drift import Drift
from llmmon.anomaly.explanations import ExampleCall, Explanation, can_be_explained
from llmmon.anomaly.incidents import Incident
from llmmon.anomaly.panel import COUNTED, PROPORTIONS
from llmmon.anomaly.series import GroupLabels
from llmmon.anomaly.wording import calls_text, figures_text, headline, short_name, topic, when_text
from llmmon.errors import UsageError
from llmmon.ingest.report import Window
from llmmon.text.names import unknown
from llmmon.text.times import DAY_US, HOUR_US, iso, to_us

INCIDENT, DRIFT = "incident", "drift"
DRIFTING: Final = "drifting"  # the status of a drift
FOUND, ALIKE, UNSEARCHED, NO_CALLS, NO_SEARCH = "found", "all alike", "not searched", "no calls", ""
_COURSE: Final = 24  # buckets shown around an anomaly
_CELLS: Final = 32  # of the course of an incident
_OF_GROUP: Final = 0.8  # of the change: a cause with so much of it names the calls concerned
_LEAST_CALLS: Final = 5


class Cause(msgspec.Struct, frozen=True):
    """A name that is over-represented in an incident: its shares of the change and, usually, of the calls."""

    field: str
    name: str | None
    share: float
    of_calls: float
    calls: int


class Symptom(msgspec.Struct, frozen=True):
    """Another series that moved with an incident, in a few words."""

    id: str
    metric_name: str
    group: Mapping[str, str | None]
    text: str


class IncidentReport(msgspec.Struct, frozen=True, kw_only=True):
    """One incident: what, of whom, how much, since when, why.

    `group` are the calls concerned, `usual` and `during` the lead's metric over them (traffic and spend: per hour).
    `end_us` is None while it lasts; `status` is open, new level or over. `cause` says whether causes were found, all
    calls are alike, there was no time to search, or there are no calls behind it. `course` is the lead's metric around
    it, `course_step_us` apart from `course_start_us` on. A slow drift (`kind`) has status drifting, no cause, and the
    days of the whole log as its course.
    """

    id: str
    severity: str
    status: str
    lead: str  # the id of the anomaly that leads
    metric_name: str
    group: Mapping[str, str | None]
    timestamp_us: int
    start_us: int
    end_us: int | None
    headline: str
    figures: str
    size: str  # `38 calls`
    usual: float | None
    during: float | None
    calls: int
    hits: int | None
    symptoms: tuple[Symptom, ...] = ()
    cause: str = UNSEARCHED
    causes: tuple[Cause, ...] = ()
    examples: tuple[ExampleCall, ...] = ()
    error_message: str | None = None
    course: tuple[float | None, ...] = ()
    course_start_us: int = 0
    course_step_us: int = 0
    kind: str = INCIDENT
    per_day: float | None = None  # of a drift: the change a day, relative to `usual`

    @property
    def factor(self) -> float | None:
        """`during` over `usual`."""
        return Change(self.usual, self.during, self.calls).factor

    def when(self, tz: str) -> str:
        """`5 Mar 11:30-14:30 (3 h)`, or since when it lasts."""
        text = when_text(self.start_us, self.end_us, tz, stays=self.status == AnomalyStatus.NEW_LEVEL)
        return f"{text}, accepted as the baseline" if self.status == AnomalyStatus.ACCEPTED else text

    def sentence(self, tz: str = "UTC") -> str:
        """All of it in one line."""
        return ", ".join(part for part in (self.headline, self.figures, self.when(tz), self.size) if part)


class AnomalyReport(msgspec.Struct, frozen=True, kw_only=True):
    """One series that was out of the ordinary; `course` is its metric in the buckets around its beginning.

    `role` is lead or symptom of the incident `incident_id`; `end_us` is None while it lasts.
    """

    id: str
    incident_id: str
    role: str
    metric_name: str
    group: Mapping[str, str | None]
    value: float | None
    low: float | None
    high: float | None
    severity: str
    score: float | None
    detector: str
    timestamp_us: int
    start_us: int
    end_us: int | None
    status: str
    usual: float | None
    during: float | None
    calls: int | None
    description: str
    contributors: tuple[Mapping[str, Any], ...] = ()
    course: tuple[float | None, ...] = ()


class MonitoredSeries(msgspec.Struct, frozen=True):
    """Whether a metric of a group could be judged, with which season, or why not."""

    metric_name: str
    group: Mapping[str, str | None]
    buckets: int
    season: str
    judged: bool
    reason: str


class AnomaliesReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon anomalies`: incidents in the window (open ones first, then the newest), their series, what was monitored.

    `calls` is how many calls the window holds.
    """

    window: Window
    incidents: tuple[IncidentReport, ...]
    anomalies: tuple[AnomalyReport, ...]
    monitored: tuple[MonitoredSeries, ...]
    sensitivity: str
    false_alarms_per_week: float
    calls: int = 0
    methods: tuple[str, ...] = ()
    scores: tuple[Mapping[str, Any], ...] = ()
    explained: tuple[Mapping[str, Any], ...] = ()

    def renamed(self, names: Mapping[str, str]) -> AnomaliesReport:
        """The same with other names for some files."""
        if not names:
            return self
        incidents = [
            msgspec.structs.replace(
                one,
                examples=tuple(msgspec.structs.replace(e, file=names.get(e.file, e.file)) for e in one.examples),
            )
            for one in self.incidents
        ]
        return msgspec.structs.replace(self, incidents=tuple(incidents))

    @property
    def figures(self) -> dict[str, Any]:
        """The figures for conditions of `--fail-on`."""
        return {
            "severity": {row.severity for row in self.incidents},
            "incidents": len(self.incidents),
            "drifts": sum(row.kind == DRIFT for row in self.incidents),
            "open_incidents": sum(row.end_us is None for row in self.incidents),
            "anomalies": len(self.anomalies),
        }


def incident_report(
    incident: Incident, results: Sequence[DetectorResults], explanation: Explanation | None = None
) -> IncidentReport:
    """An incident in public units, narrowed to the calls that most of its change comes from."""
    lead = incident.lead
    causes = _causes(incident, results, explanation)
    group, change = _narrowed(incident, explanation)
    course, first_us, step_us = _course_of(incident, results)
    shown = _with_error_type(group, lead, explanation)
    return IncidentReport(
        id=incident.id,
        severity=incident.severity.value,
        status=incident.status.value,
        lead=lead.id,
        metric_name=lead.metric_name,
        group=dict(group),
        timestamp_us=to_us(incident.timestamp),
        start_us=to_us(incident.start),
        end_us=None if incident.end is None else to_us(incident.end),
        headline=headline(lead.metric_name, shown, change),
        figures=figures_text(lead.metric_name, change),
        size=calls_text(change),
        usual=change.usual,
        during=change.during,
        calls=change.calls,
        hits=change.hits,
        symptoms=tuple(
            Symptom(one.id, one.metric_name, dict(one.group), _symptom(one, group)) for one in incident.symptoms
        ),
        cause=_searched(incident, causes, explanation),
        causes=causes,
        examples=() if explanation is None else explanation.examples,
        error_message=None if explanation is None else explanation.error_message,
        course=course,
        course_start_us=first_us,
        course_step_us=step_us,
    )


_GRAVE: Final = ((0.5, "high"), (0.25, "medium"))  # a drift is low below these changes


def drift_report(drift: Drift) -> IncidentReport:
    """A slow drift as an incident that goes on."""
    change = Change(drift.usual, drift.now, drift.calls)
    moved = f"{_percents(drift.per_day)} a day, {_percents(drift.change)} by now"
    return IncidentReport(
        id=drift.id,
        severity=next((name for least, name in _GRAVE if abs(drift.change) >= least), "low"),
        status=DRIFTING,
        lead=drift.id,
        metric_name=drift.metric,
        group=dict(drift.group),
        timestamp_us=drift.until_us,
        start_us=drift.since_us,
        end_us=None,
        headline=f"{topic(drift.metric, drift.group)} drifting, {moved}",
        figures=figures_text(drift.metric, change),
        size=calls_text(change),
        usual=drift.usual,
        during=drift.now,
        calls=drift.calls,
        hits=None,
        symptoms=tuple(
            Symptom("", metric, dict(group), f"{topic(metric, group)} {_percents(share)}")
            for metric, group, share in drift.also
        ),
        cause=NO_SEARCH,
        course=drift.days,
        course_start_us=drift.first_us,
        course_step_us=DAY_US,
        kind=DRIFT,
        per_day=drift.per_day,
    )


def _percents(share: float) -> str:
    return f"{share * 100:+.0f} %" if abs(share) >= 0.095 else f"{share * 100:+.1f} %"


def _searched(incident: Incident, causes: Sequence[Cause], explanation: Explanation | None) -> str:
    if not can_be_explained(incident.lead):
        return NO_CALLS
    if causes:
        return FOUND
    return UNSEARCHED if explanation is None else ALIKE


def _causes(
    incident: Incident, results: Sequence[DetectorResults], explanation: Explanation | None
) -> tuple[Cause, ...]:
    """The names that are over-represented, the most so first; those of the lead's own group have all of the change."""
    found = [
        Cause(part.field, part.name, min(part.share, 1.0), part.of_calls, part.calls)
        for part in (() if explanation is None else explanation.causes)
    ]
    of_calls = _usual_share(incident.lead, results)
    own = [Cause(field, name, 1.0, of_calls, incident.change.calls) for field, name in incident.group]
    return tuple(sorted([*found, *own], key=lambda one: -(one.share - one.of_calls)))


def _usual_share(anomaly: Anomaly, results: Sequence[DetectorResults]) -> float:
    """The share of the calls that are of an anomaly's group, before it began."""
    for one in results:
        found = {s.group: s for s in one.series if s.metric == COUNTED}
        if anomaly.group in found and () in found:
            before = one.ends <= to_us(anomaly.start or anomaly.timestamp)
            whole = float(found[()].count[before].sum())
            return float(found[anomaly.group].count[before].sum()) / max(whole, 1.0)
    return 0.0


def _narrowed(incident: Incident, explanation: Explanation | None) -> tuple[GroupLabels, Change]:
    """The calls concerned and how their metric moved: those of a cause, if nearly all of the change comes from it."""
    metric = incident.lead.metric_name
    top = next((part for part in (() if explanation is None else explanation.causes) if _narrows(part)), None)
    if top is None:
        return incident.group, incident.change
    hits = round(top.now * top.calls) if metric in PROPORTIONS else None
    return (*incident.group, (top.field, top.name)), Change(top.before, top.now, top.calls, hits)


def _narrows(part: Contribution) -> bool:
    """Not where the calls are new: there is nothing that they usually are."""
    known = np.isfinite(part.now) and np.isfinite(part.before)
    return bool(part.field != "error_type" and part.share >= _OF_GROUP and part.calls >= _LEAST_CALLS and known)


def _with_error_type(group: GroupLabels, lead: Anomaly, explanation: Explanation | None) -> GroupLabels:
    """The group with the type of error that most of the failures are, for the headline."""
    kinds = [label for label in lead.group if label[0] == "error_type"]
    if not kinds and explanation is not None:
        kinds = [(p.field, p.name) for p in explanation.causes if p.field == "error_type" and p.share >= _OF_GROUP]
    return (*group, *kinds)


def _symptom(anomaly: Anomaly, group: GroupLabels) -> str:
    """`first token ×2.3`, with whose it is where that is another group."""
    change = anomaly.change
    factor = None if change is None else change.factor
    whose = "" if anomaly.group == group or not anomaly.group else " of " + ", ".join(str(v) for _, v in anomaly.group)
    moved = "" if factor is None or factor <= 0 else f" ×{factor:.1f}" if factor >= 1 else f" ÷{1 / factor:.1f}"
    if anomaly.metric_name in PROPORTIONS and change is not None and change.during is not None:
        moved = f" {change.during * 100:.0f} %"
    return f"{short_name(anomaly.metric_name)}{whose}{moved}"


def _course_of(incident: Incident, results: Sequence[DetectorResults]) -> tuple[tuple[float | None, ...], int, int]:
    """(the lead's metric around the incident in a few cells, the first cell's start, the width of a cell)."""
    where = place_of(incident.lead, results)
    if where is None or not len(where[0].starts):
        return (), 0, 0
    one, j = where
    step_us = int(one.ends[0] - one.starts[0])
    last_us = int(one.ends[-1])
    end_us = last_us if incident.end is None else to_us(incident.end)
    around_us = min(max(end_us - to_us(incident.start), 2 * HOUR_US), 2 * DAY_US)
    first = int(np.searchsorted(one.starts, to_us(incident.start) - around_us))
    stop = int(np.searchsorted(one.starts, min(end_us + around_us // 2, last_us)))
    if not step_us or stop <= first:
        return (), 0, 0
    width = -(-(stop - first) // _CELLS)
    series = one.series[one.columns[j].series] if one.series else None
    weight = np.ones(len(one.starts)) if series is None or one.columns[j].detector == "traffic" else series.count
    cells = [_mean(one.value[a : a + width, j], weight[a : a + width]) for a in range(first, stop, width)]
    return tuple(cells), int(one.starts[first]), width * step_us


def _mean(values: Any, weight: Any) -> float | None:
    known = np.isfinite(values) & (weight > 0)
    return float((values[known] * weight[known]).sum() / weight[known].sum()) if known.any() else None


def anomaly_report(
    anomaly: Anomaly, incident: Incident, results: Sequence[DetectorResults], explanation: Explanation | None = None
) -> AnomalyReport:
    """An anomaly in public units, with the metric's course around its beginning."""
    where = place_of(anomaly, results)
    course: tuple[float | None, ...] = ()
    if where is not None:
        one, j = where
        at = int(np.searchsorted(one.ends, to_us(anomaly.timestamp)))
        around = one.value[max(0, at - _COURSE // 2) : at + _COURSE // 2, j]
        course = tuple(_finite(value) for value in around.tolist())
    low, high = anomaly.expected_range
    change = anomaly.change or Change(None, None, 0)
    return AnomalyReport(
        id=anomaly.id,
        incident_id=incident.id,
        role="lead" if anomaly.id == incident.lead.id else "symptom",
        metric_name=anomaly.metric_name,
        group=dict(anomaly.group),
        value=_finite(anomaly.value),
        low=_finite(low),
        high=_finite(high),
        severity=anomaly.severity.value,
        score=anomaly.score,
        detector=anomaly.detector,
        timestamp_us=to_us(anomaly.timestamp),
        start_us=to_us(anomaly.start or anomaly.timestamp),
        end_us=None if anomaly.end is None else to_us(anomaly.end),
        status=anomaly.status.value,
        usual=change.usual,
        during=change.during,
        calls=None if anomaly.change is None else change.calls,
        description=anomaly.description,
        contributors=() if explanation is None else explanation.contributors,
        course=course,
    )


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def monitored_series(results: Sequence[DetectorResults]) -> tuple[MonitoredSeries, ...]:
    """Every monitored series, with the reason if it could not be judged."""
    return tuple(
        MonitoredSeries(row.metric_name, dict(row.group), row.buckets, row.season, row.judged, row.reason)
        for one in results
        for row in one.monitored
    )


def bucket_scores(results: Sequence[DetectorResults], window: Window) -> tuple[Mapping[str, Any], ...]:
    """One row per bucket and series of the window, as `--scores` writes them."""
    return tuple(_scores(results, window))


def _scores(results: Sequence[DetectorResults], window: Window) -> Iterator[Mapping[str, Any]]:
    for one in results:
        for row in score_rows(one):
            if window.start_us is None or row.timestamp_us >= window.start_us:
                yield {
                    "timestamp": iso(row.timestamp_us),
                    "metric_name": row.metric_name,
                    "group": dict(row.group),
                    "value": _finite(row.value),
                    "expected_range": [_finite(bound) for bound in row.expected_range],
                    "score": row.score,
                }


def asked_for(wanted: str, every: Sequence[Incident]) -> tuple[Incident, Anomaly]:
    """The incident and the anomaly whose id begins so (of an incident, its lead); raises `UsageError`."""
    for incident in every:
        if incident.id.startswith(wanted):
            return incident, incident.lead
    for incident in every:
        for anomaly in incident.members:
            if anomaly.id.startswith(wanted):
                return incident, anomaly
    known = [incident.id for incident in every] or ["none was found"]
    raise UsageError("--explain: " + unknown("incident", wanted, known))


def explained_buckets(anomaly: Anomaly, results: Sequence[DetectorResults]) -> tuple[Mapping[str, Any], ...]:
    """Bucket by bucket around one anomaly."""
    where = place_of(anomaly, results)
    if where is None:
        return ()
    one, j = where
    first = int(np.searchsorted(one.ends, to_us(anomaly.start or anomaly.timestamp)))
    last = int(np.searchsorted(one.ends, to_us(anomaly.end or anomaly.closed or anomaly.timestamp)))
    rows = range(max(0, first - _COURSE // 2), min(len(one.starts), last + _COURSE // 4))
    return tuple(
        {
            "start": iso(int(one.starts[i])),
            "value": _finite(one.value[i, j]),
            "low": _finite(one.low[i, j]),
            "high": _finite(one.high[i, j]),
            "z": _finite(one.z[i, j]),
            "score": _finite(one.score[i, j]),
            "alarm": bool(one.alarm[i, j]),
        }
        for i in rows
    )
