"""Incidents, scores and monitored series in public units: the parts of the report of `anomalies`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.anomaly.detectors.detector import Anomaly, DetectorResults, micros, moment, rounded_text, severity_of
from llmmon.anomaly.series import GroupLabels
from llmmon.errors import UsageError
from llmmon.ingest.report import Window
from llmmon.metrics.columns import FloatArray
from llmmon.text.names import unknown
from llmmon.text.times import MINUTE_US, iso

__all__ = ["anomaly_id", "incidents", "score_rows", "severity_of"]

_GAP_US: Final = 30 * MINUTE_US  # alarms nearer than this are one incident
_STRETCH: Final = 12  # buckets
_KIND: Final = {"level": "level", "rate": "rate", "tail": "tail", "traffic": "volume"}


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One bucket (or sample) of one series, as `--scores` writes it; `score` is None where nothing could be scored."""

    timestamp_us: int
    metric_name: str
    group: GroupLabels
    value: float
    expected_range: tuple[float, float]
    score: float | None


def anomaly_id(metric: str, group: GroupLabels, onset_us: int) -> str:
    """The same for the same metric, group and raising bucket, in every run."""
    text = "\x1f".join([metric, *(f"{k}\x1e{v}" for k, v in group), str(onset_us)])
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def anomalies(results: DetectorResults) -> list[Anomaly]:
    """Every incident, in order of time; `rows` of the verdicts must start at the detector's first."""
    found = [anomaly for j in range(len(results.columns)) for anomaly in _of_column(results, j)]
    return merged(found)


def merged(found: Iterable[Anomaly]) -> list[Anomaly]:
    """Anomalies of one metric and group that overlap or nearly touch, as one each; in order of time."""
    last: dict[tuple[str, GroupLabels], Anomaly] = {}
    out: list[Anomaly] = []
    for anomaly in sorted(found, key=lambda a: (a.timestamp, a.metric_name, a.group, a.detector)):
        key = (anomaly.metric_name, anomaly.group)
        known = last.get(key)
        if known is not None and micros(anomaly.timestamp) <= micros(known.end or known.timestamp) + _GAP_US:
            last[key] = _joined(known, anomaly)
        else:
            if known is not None:
                out.append(known)
            last[key] = anomaly
    return sorted([*out, *last.values()], key=lambda a: (a.timestamp, a.metric_name, a.group))


def _joined(first: Anomaly, second: Anomaly) -> Anomaly:
    """The first, lasting and as severe as both."""
    ends = [a.end for a in (first, second) if a.end is not None]
    starts = [a.start for a in (first, second) if a.start is not None]
    return replace(
        first,
        severity=max(first.severity, second.severity, key=lambda severity: severity.rank),
        start=min(starts, default=None),
        end=max(ends, default=None),
        score=max(first.score or 0.0, second.score or 0.0),
    )


def _of_column(results: DetectorResults, j: int) -> list[Anomaly]:
    alarm = results.alarm[:, j]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], alarm, [False]]).astype(np.int8)))
    return [_incident(results, j, int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _incident(results: DetectorResults, j: int, first: int, stop: int) -> Anomaly:
    column = results.columns[j]
    onset = min(max(int(results.onset[first, j]), 0), first)
    peak = _strongest(results.z[first:stop, j])
    low, high, value = (float(m[first, j]) for m in (results.low, results.high, results.value))
    end = int(results.ends[_last(results, j, onset, first, stop)])
    return Anomaly(
        column.metric,
        value,
        (low, high),
        severity_of(peak),
        moment(int(results.ends[first])),
        _sentence(results, j, first, onset),
        start=moment(int(results.starts[onset])),
        end=moment(end),
        group=column.group,
        detector=column.detector,
        score=_known(results.score[first, j]),
        id=anomaly_id(column.metric, column.group, int(results.ends[first])),
    )


def _last(results: DetectorResults, j: int, onset: int, first: int, stop: int) -> int:
    """The bucket with which it ended: the evidence from its onset to there stands out most (sum / sqrt(n)).

    That it is over is only known when its evidence has gone, which takes long where calls are few. One that is
    open at the end of the log is taken to last, unless it has been calm for longer than it lasted.
    """
    if results.columns[j].detector not in _KIND:
        return stop - 1
    running = np.cumsum(np.nan_to_num(results.z[onset:stop, j]))
    apart = running * np.sign(running[first - onset]) / np.sqrt(np.arange(1, stop - onset + 1))
    last = first + int(apart[first - onset :].argmax())
    lasts = stop == len(results.starts) and stop - last <= last - onset
    return stop - 1 if lasts else last


def _strongest(z: FloatArray) -> float:
    """The largest deviation of any stretch of at most an hour, its buckets taken together (sum / sqrt(n)).

    Where calls are few no single bucket can say much, and an hour in which most calls fail is not a small matter.
    """
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(z))])
    lengths = range(1, min(len(z), _STRETCH) + 1)
    return max((float(np.abs(running[n:] - running[:-n]).max()) / n**0.5 for n in lengths), default=0.0)


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _sentence(results: DetectorResults, j: int, first: int, onset: int) -> str:
    """One plain sentence: what, of whom, how much against what, since when."""
    column = results.columns[j]
    value, low, high = (float(m[first, j]) for m in (results.value, results.low, results.high))
    whom = "".join(f" of {field} {name if name is not None else 'unknown'}" for field, name in column.group)
    since = moment(int(results.starts[onset])).strftime("%Y-%m-%d %H:%M")
    if column.detector not in _KIND:
        return (
            f"{column.metric}{whom} is {rounded_text(value)}, unlike anything usual, by the {column.detector} detector."
        )
    if np.isfinite(value) and low <= value <= high:
        way = "above" if results.z[onset : first + 1, j].sum() > 0 else "below"
        return (
            f"{column.metric}{whom} has kept {way} its usual {_KIND[column.detector]} since {since}"
            f" ({rounded_text(value)} now, expected {rounded_text(low)} to {rounded_text(high)})."
        )
    way = "above" if value > high else "below"
    bound = high if value > high else low
    return f"{column.metric}{whom} is {rounded_text(value)}, {way} the expected {rounded_text(bound)}, since {since}."


def score_rows(results: DetectorResults) -> list[ScoreRow]:
    """One row per bucket and series, by time; of several detectors on one series the highest score counts."""
    places: dict[tuple[str, GroupLabels], list[int]] = {}
    for j, column in enumerate(results.columns):
        places.setdefault((column.metric, column.group), []).append(j)
    rows: list[ScoreRow] = []
    for (metric, group), columns in places.items():
        scores = _highest(results.score[:, columns])
        j = columns[0]
        for i, score in enumerate(scores.tolist()):
            span = (float(results.low[i, j]), float(results.high[i, j]))
            value = float(results.value[i, j])
            rows.append(ScoreRow(int(results.starts[i]), metric, group, value, span, _known(score)))
    rows.sort(key=lambda row: row.timestamp_us)
    return rows


def _highest(scores: FloatArray) -> FloatArray:
    """Along the columns, corrected for how many there are: p becomes at most columns x p."""
    known = np.isfinite(scores)
    many = np.maximum(known.sum(axis=1), 1)
    best = np.where(known, scores, -np.inf).max(axis=1)
    return np.where(known.any(axis=1), np.maximum(1.0 - many * (1.0 - best), 0.0), np.nan)


class AnomalyReport(msgspec.Struct, frozen=True, kw_only=True):
    """One incident of `anomalies`; `course` is the metric in the buckets around its beginning."""

    id: str
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
    end_us: int
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
    """`llmmon anomalies`: incidents in the window, the monitored series, and on demand every bucket's score."""

    window: Window
    incidents: tuple[AnomalyReport, ...]
    monitored: tuple[MonitoredSeries, ...]
    sensitivity: str
    false_alarms_per_week: float
    methods: tuple[str, ...] = ()
    scores: tuple[Mapping[str, Any], ...] = ()
    explained: tuple[Mapping[str, Any], ...] = ()

    @property
    def figures(self) -> dict[str, Any]:
        """The figures for conditions of `--fail-on`."""
        return {"severity": {row.severity for row in self.incidents}, "incidents": len(self.incidents)}


_COURSE: Final = 24  # buckets shown around an incident


def anomaly_report(anomaly: Anomaly, results: Sequence[DetectorResults]) -> AnomalyReport:
    """An incident in public units, with the metric's course around its beginning."""
    where = _place(anomaly, results)
    course: tuple[float | None, ...] = ()
    if where is not None:
        one, j = where
        at = int(np.searchsorted(one.ends, micros(anomaly.timestamp)))
        around = one.value[max(0, at - _COURSE // 2) : at + _COURSE // 2, j]
        course = tuple(_finite(value) for value in around.tolist())
    low, high = anomaly.expected_range
    return AnomalyReport(
        id=anomaly.id,
        metric_name=anomaly.metric_name,
        group=dict(anomaly.group),
        value=_finite(anomaly.value),
        low=_finite(low),
        high=_finite(high),
        severity=anomaly.severity.value,
        score=anomaly.score,
        detector=anomaly.detector,
        timestamp_us=micros(anomaly.timestamp),
        start_us=micros(anomaly.start or anomaly.timestamp),
        end_us=micros(anomaly.end or anomaly.timestamp),
        description=anomaly.description,
        contributors=tuple(anomaly.contributors),
        course=course,
    )


def _place(anomaly: Anomaly, results: Sequence[DetectorResults]) -> tuple[DetectorResults, int] | None:
    for one in results:
        for j, column in enumerate(one.columns):
            if (column.metric, column.group, column.detector) == (
                anomaly.metric_name,
                anomaly.group,
                anomaly.detector,
            ):
                return one, j
    return None


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


def asked_for(wanted: str, every: Sequence[Anomaly]) -> Anomaly:
    """The incident whose id begins so; raises `UsageError`."""
    for anomaly in every:
        if anomaly.id.startswith(wanted):
            return anomaly
    raise UsageError("--explain: " + unknown("incident", wanted, [a.id for a in every] or ["none was found"]))


def explained_buckets(anomaly: Anomaly, results: Sequence[DetectorResults]) -> tuple[Mapping[str, Any], ...]:
    """Bucket by bucket around one incident."""
    where = _place(anomaly, results)
    if where is None:
        return ()
    one, j = where
    first = int(np.searchsorted(one.ends, micros(anomaly.start or anomaly.timestamp)))
    last = int(np.searchsorted(one.ends, micros(anomaly.end or anomaly.timestamp)))
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
