"""From verdicts to incidents: consecutive alarms of one metric and group are one, with a stable id and a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import numpy as np

from llmmon.detectors.anomaly import Anomaly, Severity, micros, moment, severity_of, spoken
from llmmon.detectors.verdicts import Verdicts
from llmmon.series import FloatArray, Group

__all__ = ["Anomaly", "Severity", "incident_id", "incidents", "score_rows", "severity_of"]

_GAP_US: Final = 30 * 60 * 1_000_000  # alarms nearer than this are one incident
_STRETCH: Final = 12  # buckets
_KIND: Final = {"level": "level", "rate": "rate", "tail": "tail", "traffic": "volume"}


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One bucket (or sample) of one series, as `--scores` writes it; `score` None where nothing was judged."""

    timestamp_us: int
    metric_name: str
    group: Group
    value: float
    expected_range: tuple[float, float]
    score: float | None


def incident_id(metric: str, group: Group, onset_us: int) -> str:
    """The same for the same metric, group and raising bucket, in every run."""
    text = "\x1f".join([metric, *(f"{k}\x1e{v}" for k, v in group), str(onset_us)])
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def incidents(verdicts: Verdicts) -> list[Anomaly]:
    """Every incident, in order of time; `rows` of the verdicts must start at the detector's first."""
    found = [anomaly for j in range(len(verdicts.columns)) for anomaly in _of_column(verdicts, j)]
    return merged(found)


def merged(found: Iterable[Anomaly]) -> list[Anomaly]:
    """Anomalies of one metric and group that overlap or nearly touch, as one each; in order of time."""
    last: dict[tuple[str, Group], Anomaly] = {}
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


def _of_column(verdicts: Verdicts, j: int) -> list[Anomaly]:
    alarm = verdicts.alarm[:, j]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], alarm, [False]]).astype(np.int8)))
    return [_incident(verdicts, j, int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _incident(verdicts: Verdicts, j: int, first: int, stop: int) -> Anomaly:
    column = verdicts.columns[j]
    onset = min(max(int(verdicts.onset[first, j]), 0), first)
    peak = _strongest(verdicts.z[first:stop, j])
    low, high, value = (float(m[first, j]) for m in (verdicts.low, verdicts.high, verdicts.value))
    end = int(verdicts.ends[_last(verdicts, j, onset, first, stop)])
    return Anomaly(
        column.metric,
        value,
        (low, high),
        severity_of(peak),
        moment(int(verdicts.ends[first])),
        _sentence(verdicts, j, first, onset),
        start=moment(int(verdicts.starts[onset])),
        end=moment(end),
        group=column.group,
        detector=column.detector,
        score=_known(verdicts.score[first, j]),
        id=incident_id(column.metric, column.group, int(verdicts.ends[first])),
    )


def _last(verdicts: Verdicts, j: int, onset: int, first: int, stop: int) -> int:
    """The bucket with which it ended: the evidence from its onset to there stands out most (sum / sqrt(n)).

    That it is over is only known when its evidence has gone, which takes long where calls are few. One that is
    open at the end of the log is taken to last, unless it has been calm for longer than it lasted.
    """
    if verdicts.columns[j].detector not in _KIND:
        return stop - 1
    running = np.cumsum(np.nan_to_num(verdicts.z[onset:stop, j]))
    apart = running * np.sign(running[first - onset]) / np.sqrt(np.arange(1, stop - onset + 1))
    last = first + int(apart[first - onset :].argmax())
    lasts = stop == len(verdicts.starts) and stop - last <= last - onset
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


def _sentence(verdicts: Verdicts, j: int, first: int, onset: int) -> str:
    """One plain sentence: what, of whom, how much against what, since when."""
    column = verdicts.columns[j]
    value, low, high = (float(m[first, j]) for m in (verdicts.value, verdicts.low, verdicts.high))
    whom = "".join(f" of {field} {name if name is not None else 'unknown'}" for field, name in column.group)
    since = moment(int(verdicts.starts[onset])).strftime("%Y-%m-%d %H:%M")
    if column.detector not in _KIND:
        return f"{column.metric}{whom} is {spoken(value)}, unlike anything usual, by the {column.detector} detector."
    if np.isfinite(value) and low <= value <= high:
        way = "above" if verdicts.z[onset : first + 1, j].sum() > 0 else "below"
        return (
            f"{column.metric}{whom} has kept {way} its usual {_KIND[column.detector]} since {since}"
            f" ({spoken(value)} now, expected {spoken(low)} to {spoken(high)})."
        )
    way = "above" if value > high else "below"
    bound = high if value > high else low
    return f"{column.metric}{whom} is {spoken(value)}, {way} the expected {spoken(bound)}, since {since}."


def score_rows(verdicts: Verdicts) -> list[ScoreRow]:
    """One row per bucket and series, by time; of several detectors on one series the highest score counts."""
    places: dict[tuple[str, Group], list[int]] = {}
    for j, column in enumerate(verdicts.columns):
        places.setdefault((column.metric, column.group), []).append(j)
    rows: list[ScoreRow] = []
    for (metric, group), columns in places.items():
        scores = _highest(verdicts.score[:, columns])
        j = columns[0]
        for i, score in enumerate(scores.tolist()):
            span = (float(verdicts.low[i, j]), float(verdicts.high[i, j]))
            value = float(verdicts.value[i, j])
            rows.append(ScoreRow(int(verdicts.starts[i]), metric, group, value, span, _known(score)))
    rows.sort(key=lambda row: row.timestamp_us)
    return rows


def _highest(scores: FloatArray) -> FloatArray:
    """Along the columns, corrected for how many there are: p becomes at most columns x p."""
    known = np.isfinite(scores)
    many = np.maximum(known.sum(axis=1), 1)
    best = np.where(known, scores, -np.inf).max(axis=1)
    return np.where(known.any(axis=1), np.maximum(1.0 - many * (1.0 - best), 0.0), np.nan)
