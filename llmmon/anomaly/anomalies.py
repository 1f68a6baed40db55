"""Incidents, scores and monitored series in public units: the parts of the report of `anomalies`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import numpy as np

from llmmon.anomaly.courses import Course, Spell
from llmmon.anomaly.detectors.detector import (
    Anomaly,
    AnomalyStatus,
    DetectorResults,
    Severity,
    moment,
    severity_of,
)
from llmmon.anomaly.detectors.evidence import watch_of
from llmmon.anomaly.detectors.monitor import ACCEPTED_AFTER_US
from llmmon.anomaly.series import GroupLabels
from llmmon.anomaly.wording import sentence
from llmmon.metrics.columns import BoolArray, FloatArray
from llmmon.text.times import HOUR_US, MINUTE_US, to_us

_GAP_US: Final = 30 * MINUTE_US  # alarms nearer than this are one anomaly
_STRETCH: Final = 12  # buckets
_WATCHED: Final = frozenset({"level", "rate", "tail", "traffic"})  # the detectors of the default monitor
_STILL_MOVES_US: Final = 12 * HOUR_US  # after its level was accepted, in which a change may go on
_RETURN_US: Final = 3 * HOUR_US
_TINY: Final = 1e-12


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
    """Every anomaly, in order of time; `rows` of the results must start at the detector's first."""
    calm = _calm(results)
    found = [anomaly for j in range(len(results.columns)) for anomaly in _of_column(results, j, calm[:, j].copy())]
    single = set(map(id, found))
    return [one if id(one) in single else _measured_again(one, results, calm) for one in merged(found)]


def _calm(results: DetectorResults) -> BoolArray:
    """The buckets in which no series of the same calls alarms, so that they tell what is usual; (buckets, columns)."""
    groups: dict[GroupLabels, list[int]] = {}
    for j, column in enumerate(results.columns):
        groups.setdefault(tuple(label for label in column.group if label[0] != "error_type"), []).append(j)
    calm = np.ones(results.alarm.shape, np.bool_)
    for columns in groups.values():
        quiet: BoolArray = np.logical_not(results.alarm[:, columns].any(axis=1))
        calm[:, columns] = quiet[:, None]
    return calm


def _measured_again(anomaly: Anomaly, results: DetectorResults, calm: BoolArray) -> Anomaly:
    """An anomaly that several alarms make up, with its change over all of its time."""
    place = place_of(anomaly, [results])
    if place is None:
        return anomaly
    start_us, end_us = to_us(anomaly.start or anomaly.timestamp), None if anomaly.end is None else to_us(anomaly.end)
    first = int(np.searchsorted(results.starts, start_us))
    stop = len(results.starts) if end_us is None else int(np.searchsorted(results.ends, end_us)) + 1
    change = Course(results, place[1], calm[:, place[1]]).change(first, stop)
    when = (start_us, end_us, anomaly.status is AnomalyStatus.NEW_LEVEL)
    return replace(anomaly, change=change, description=sentence(anomaly.metric_name, anomaly.group, change, when))


def merged(found: Iterable[Anomaly]) -> list[Anomaly]:
    """Anomalies of one metric and group that overlap or nearly touch, as one each; in order of time."""
    last: dict[tuple[str, GroupLabels], Anomaly] = {}
    out: list[Anomaly] = []
    for anomaly in sorted(found, key=lambda a: (a.timestamp, a.metric_name, a.group, a.detector)):
        key = (anomaly.metric_name, anomaly.group)
        known = last.get(key)
        if known is not None and _is_return(known, anomaly):
            continue
        if known is not None and _continues(known, anomaly):
            last[key] = _joined(known, anomaly)
        else:
            if known is not None:
                out.append(known)
            last[key] = anomaly
    return sorted([*out, *last.values()], key=lambda a: (a.timestamp, a.metric_name, a.group))


def _continues(known: Anomaly, anomaly: Anomaly) -> bool:
    """Whether an anomaly goes on with the one before it; one that stays at a new level may still be moving."""
    if known.status is AnomalyStatus.NEW_LEVEL or (known.resolved or known.timestamp) > (
        known.closed or known.timestamp
    ):
        return to_us(anomaly.timestamp) <= to_us(known.closed or known.timestamp) + _STILL_MOVES_US
    return to_us(anomaly.timestamp) <= to_us(known.end or known.closed or known.timestamp) + _GAP_US


def _is_return(known: Anomaly, anomaly: Anomaly) -> bool:
    """Whether an alarm is only that a level which the detector had taken as its baseline is back where it was."""
    if known.change is None or anomaly.change is None or known.closed is None or anomaly.start is None:
        return False
    accepted = known.resolved is None or known.resolved > known.closed
    opposite = known.change.shift * anomaly.change.shift < 0
    ended = known.end is not None and abs(to_us(known.end) - to_us(anomaly.start)) <= _RETURN_US
    return accepted and opposite and ended and anomaly.timestamp > known.closed


def _joined(first: Anomaly, second: Anomaly) -> Anomaly:
    """The first, lasting and as severe as both."""
    later = second if _ends(second) >= _ends(first) else first
    graver = max(first, second, key=lambda one: (one.severity.rank, one.detector != "tail"))
    starts = [a.start for a in (first, second) if a.start is not None]
    return replace(
        first,
        value=graver.value,
        expected_range=graver.expected_range,
        detector=graver.detector,
        severity=graver.severity,
        start=min(starts, default=None),
        end=later.end,
        status=later.status,
        closed=later.closed,
        resolved=later.resolved,
        score=max(first.score or 0.0, second.score or 0.0),
    )


def _ends(anomaly: Anomaly) -> float:
    if anomaly.status is not AnomalyStatus.OVER:
        return float("inf")
    return to_us(anomaly.end or anomaly.timestamp)


def _of_column(results: DetectorResults, j: int, calm: BoolArray) -> Iterator[Anomaly]:
    alarm = results.alarm[:, j]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], alarm, [False]]).astype(np.int8)))
    for first, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        onset = min(max(int(results.onset[first, j]), 0), first)
        course = Course(results, j, calm)
        for spell in _spells(results, j, (onset, first, stop), course):
            yield _anomaly(results, j, spell, stop, course)
            calm[spell.onset : (len(calm) if spell.certain is None else spell.certain) + 1] = False
            if spell.certain is None:  # what comes after it is compared with the new level
                calm[:stop], calm[stop:] = False, ~results.alarm[stop:, j]


def _spells(results: DetectorResults, j: int, rows: tuple[int, int, int], course: Course) -> list[Spell]:
    onset, first, stop = rows
    if results.columns[j].detector not in _WATCHED or not results.series:
        return [Spell(onset, first, stop, stop if stop < len(results.starts) else None)]
    way = float(np.sign(results.z[onset : first + 1, j].sum()) or 1.0)
    lasted_us = int(results.ends[stop - 1] - results.starts[first])
    settled = stop < len(results.starts) and lasted_us < ACCEPTED_AFTER_US - HOUR_US
    found = course.spells((onset, first, stop), way, settled=settled)
    return [spell._replace(end=_refined(results.z[:stop, j] * way, spell)) for spell in found]


def _refined(away: FloatArray, spell: Spell) -> int:
    """The end of a spell by what the detector made of each bucket: it knows what explains a value, such as its length.

    It does not where the spell outlasts the alarm, as the level has become the detector's own by then.
    """
    if spell.certain is None or spell.certain > len(away):
        return spell.end
    known = np.nan_to_num(away[spell.onset : spell.certain + 1])
    shift = max(float(known[: spell.end - spell.onset].mean()), 1.0)
    tail = np.cumsum(known[spell.raised + 1 - spell.onset :] - shift / 2)
    return spell.raised + 1 + int(np.concatenate([[0.0], tail]).argmax())


def _anomaly(results: DetectorResults, j: int, spell: Spell, stop: int, course: Course) -> Anomaly:
    """`stop` is the bucket at which the detector closed its alarm."""
    column, first = results.columns[j], spell.raised
    status = _status(results, j, spell, stop)
    over = status is AnomalyStatus.OVER
    last = max((spell.end if over else len(results.starts)) - 1, first)
    severity = severity_of(_strongest(results.z[first : min(stop, last + 1), j]))
    value, low, high = _standing_out(results, j, (spell.onset, first, min(stop, last + 1)))
    if low <= value <= high:  # the sum of its evidence stands out, no part of it does
        severity = min(severity, Severity.MEDIUM, key=lambda one: one.rank)
    change = course.change(spell.onset, last + 1)
    start_us, end_us = int(results.starts[spell.onset]), int(results.ends[last])
    closed = stop if spell.certain is None else min(stop, spell.certain)
    return Anomaly(
        column.metric,
        value,
        (low, high),
        severity,
        moment(int(results.ends[first])),
        sentence(
            column.metric, column.group, change, (start_us, end_us if over else None, status is AnomalyStatus.NEW_LEVEL)
        ),
        start=moment(start_us),
        end=moment(end_us) if over else None,
        group=column.group,
        detector=column.detector,
        score=_known(results.score[first, j]),
        id=anomaly_id(column.metric, column.group, int(results.ends[first])),
        status=status,
        change=change,
        closed=moment(int(results.ends[closed])) if closed < len(results.starts) else None,
        resolved=None
        if spell.certain is None
        else moment(int(results.ends[min(spell.certain, len(results.ends) - 1)])),
    )


def _status(results: DetectorResults, j: int, spell: Spell, stop: int) -> AnomalyStatus:
    size = len(results.starts)
    if spell.certain is not None or (stop == size and results.columns[j].detector not in _WATCHED):
        return AnomalyStatus.OVER
    if size - spell.end > spell.end - spell.onset:  # calm for longer than it lasted
        return AnomalyStatus.OVER
    lasts_us = int(results.ends[-1] - results.starts[spell.onset])
    return AnomalyStatus.NEW_LEVEL if lasts_us > ACCEPTED_AFTER_US else AnomalyStatus.OPEN


def _strongest(z: FloatArray) -> float:
    """The largest deviation of any stretch of at most an hour, its buckets taken together (sum / sqrt(n)).

    Where calls are few no single bucket can say much, and an hour in which most calls fail is not a small matter.
    """
    return max((value for value, _, _ in _stretches(z, _STRETCH)), default=0.0)


def _stretches(z: FloatArray, longest: int) -> Iterator[tuple[float, int, int]]:
    """(deviation, first, stop) of the stretch that stands out most, of every length up to `longest`."""
    running = np.concatenate([[0.0], np.cumsum(np.nan_to_num(z))])
    for n in range(1, min(len(z), longest) + 1):
        apart = np.abs(running[n:] - running[:-n])
        at = int(apart.argmax())
        yield float(apart[at]) / n**0.5, at, at + n


def _standing_out(results: DetectorResults, j: int, rows: tuple[int, int, int]) -> tuple[float, float, float]:
    """(value, low, high) of the hour that stands out most; of all of it, where only that is out of its range."""
    onset, first, stop = rows
    if results.columns[j].detector not in _WATCHED:
        value, low, high = (float(m[first, j]) for m in (results.value, results.low, results.high))
        return value, low, high
    best = max(_stretches(results.z[first:stop, j], _STRETCH), default=(0.0, 0, 1))
    value, low, high = _pooled(results, j, first + best[1], first + best[2])
    return (value, low, high) if not low <= value <= high else _pooled(results, j, onset, stop)


def _pooled(results: DetectorResults, j: int, start: int, stop: int) -> tuple[float, float, float]:
    """(value, low, high) of some buckets taken together: the range of a mean of independent ones is narrower."""
    rows = slice(start, stop)
    value, low, high = (m[rows, j] for m in (results.value, results.low, results.high))
    expected = None if results.expected is None else results.expected[rows, j]
    known = np.isfinite(value) & np.isfinite(high if np.isfinite(high).any() else low)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    if expected is None or not np.isfinite(expected[known]).all():  # a tail, or a detector with a range of its own
        apart = np.where(known, np.maximum(value / high, low / np.maximum(value, _TINY)), -np.inf)
        at = int(apart.argmax())
        return float(value[at]), float(low[at]), float(high[at])
    column = results.columns[j]
    log = column.detector == "level" and watch_of(column.metric).log
    x, middle, top = (np.log(m[known]) if log else m[known] for m in (value, expected, high))
    weight = np.ones(len(x))
    if column.detector != "traffic" and results.series:
        weight = results.series[column.series].count[rows][known]
    total = max(float(weight.sum()), _TINY)
    mean, center = float((weight * x).sum()) / total, float((weight * middle).sum()) / total
    reach = float(np.sqrt(((weight * (top - middle)) ** 2).sum())) / total
    bounds = (mean, center - reach, center + reach)
    if log:
        return float(np.exp(bounds[0])), float(np.exp(bounds[1])), float(np.exp(bounds[2]))
    floor = -np.inf if column.detector == "level" else 0.0
    return bounds[0], max(bounds[1], floor), bounds[2]


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


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


def place_of(anomaly: Anomaly, results: Sequence[DetectorResults]) -> tuple[DetectorResults, int] | None:
    """The results and the column in which an anomaly was found."""
    wanted = (anomaly.metric_name, anomaly.group, anomaly.detector)
    for one in results:
        for j, column in enumerate(one.columns):
            if (column.metric, column.group, column.detector) == wanted:
                return one, j
    return None
