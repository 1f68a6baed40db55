"""The course of one watched series: its usual level, how far it moved from that, and whether it came back.

The detectors follow the level they watch, so a change that lasts becomes their baseline after half a day. A course
compares with the level before the change instead, however long ago that was: hour of the day by hour of the day for
levels, hour of the week for traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np

from llmmon.anomaly.detectors.detector import Change, DetectorResults
from llmmon.anomaly.detectors.evidence import Bad, watch_of
from llmmon.anomaly.series import BucketValues, Series, SeriesKind
from llmmon.metrics.columns import BoolArray, FloatArray, IntArray
from llmmon.text.times import DAY_US, HOUR_US

_BEFORE_US: Final = 7 * DAY_US  # from which the usual level is taken
_WEEKS_US: Final = 28 * DAY_US  # the same for traffic, which has a weekly season
_DRAWN_IN: Final = 20.0  # calls for which the mean of all hours counts in the mean of one
_SAMPLES: Final = 100  # values before a change, of a series that no baseline was learned for
_CERTAIN: Final = 9.0  # nats after which a level is back
_MOST_A_BUCKET: Final = 2.0  # nats that one bucket can say
_TRAFFIC_NOISE: Final = 0.2  # of the logarithm of an hour's traffic
_TAIL: Final = {"up": 0.99, "down": 0.01}
_MOST_ROWS: Final = 288  # that are tested against one estimate of a shift
_EARLIER: Final = 24  # rows by which an onset may be earlier than the detector has it
_CAUTION: Final = 1.5  # standard errors
_MOST_SHIFT: Final = 4.0  # of the logarithm of a total
_TINY: Final = 1e-9


class Course:
    """A column of detector results against its own past."""

    def __init__(
        self, results: DetectorResults, j: int, calm: BoolArray | None = None, series: Series | None = None
    ) -> None:
        """`calm` are the buckets that may tell what is usual (by default those without alarm).

        `series` replaces the watched one: for the calls that are left without some group.
        """
        column = results.columns[j]
        own = results.series[column.series] if results.series else None
        self.series = series or own or _bare(results, j)
        self._kind = column.detector
        self._watch = watch_of(self.series.metric)
        self._starts = results.starts
        self._calm = ~results.alarm[:, j] if calm is None else calm
        self._step_us = self.series.step_us or HOUR_US
        self._expected = None if results.expected is None or series is not None else results.expected[:, j]
        self._n, self._x, self._within = self._working()

    def _working(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(weight, mean in working units, variance of one call) of each bucket."""
        series = self.series
        if self._kind == "level":
            with np.errstate(invalid="ignore", divide="ignore"):
                x = np.log(series.value) if self._watch.log else series.value
            spread = np.zeros(len(series)) if series.spread is None else series.spread
            known = (series.count > 0) & np.isfinite(x)
            many = known & (series.count > 1)
            degrees = float((series.count[many] - 1).sum())
            within = float((series.count[many] * spread[many]).sum()) / max(degrees, 1.0)
            return np.where(known, series.count, 0.0), np.where(known, x, 0.0), np.full(len(series), within)
        if self._kind == "rate":
            return series.count, np.nan_to_num(series.value), np.zeros(len(series))
        known = np.isfinite(series.value)
        return known.astype(np.float64), np.nan_to_num(series.value), np.zeros(len(series))

    def before(self, onset: int) -> BoolArray:
        """The calm buckets from which the usual level is taken."""
        back = _WEEKS_US if self._kind == "traffic" else _BEFORE_US
        first = int(np.searchsorted(self._starts, self._starts[onset] - back)) if onset < len(self._starts) else 0
        if self.series.kind is SeriesKind.SAMPLES:
            first = max(0, onset - _SAMPLES)
        chosen = np.zeros(len(self._starts), np.bool_)
        chosen[first:onset] = self._calm[first:onset]
        return chosen

    def _reference(self, onset: int) -> FloatArray:
        """What every bucket would be in working units, had nothing changed; shape (buckets)."""
        rows = self.before(onset)
        if self._kind == "traffic":
            return self._traffic_reference(rows)
        total = float(self._n[rows].sum())
        mean = float((self._n[rows] * self._x[rows]).sum()) / max(total, _TINY)
        if self._kind != "level" or self._step_us > HOUR_US:
            return np.full(len(self._starts), mean)
        hour = (self._starts // HOUR_US % 24).astype(np.int64)
        weight = np.bincount(hour[rows], self._n[rows], 24)
        sums = np.bincount(hour[rows], self._n[rows] * self._x[rows], 24)
        drawn: FloatArray = ((sums + _DRAWN_IN * mean) / (weight + _DRAWN_IN))[hour]
        return drawn

    def _traffic_reference(self, rows: BoolArray) -> FloatArray:
        """The mean of the same hour of the week before, else of the same hour of the day."""
        week, day = (self._starts // HOUR_US % 168).astype(np.int64), (self._starts // HOUR_US % 24).astype(np.int64)
        seen_week, seen_day = np.bincount(week[rows], minlength=168), np.bincount(day[rows], minlength=24)
        of_week = np.bincount(week[rows], self._x[rows], 168) / np.maximum(seen_week, 1)
        of_day = np.bincount(day[rows], self._x[rows], 24) / np.maximum(seen_day, 1)
        found: FloatArray = np.where(seen_week[week] > 0, of_week[week], of_day[day])
        return found

    def change(self, onset: int, stop: int) -> Change:
        """The change from before `onset` to the buckets [onset, stop)."""
        if self._kind == "traffic":
            return self._traffic_change(onset, stop)
        if self._kind == "tail":
            return self._tail_change(onset, stop)
        n, x = self._n[onset:stop], self._x[onset:stop]
        calls = float(n.sum())
        if not calls:
            return Change(None, None, 0)
        during = float((n * x).sum()) / calls
        known = bool(self._n[self.before(onset)].any())
        usual = float((n * self._reference(onset)[onset:stop]).sum()) / calls if known else None
        shift = 0.0 if usual is None else during - usual
        error = self._error(onset, stop, usual or 0.0)
        if self._kind == "level":
            write = np.exp if self._watch.log else float
            shown = None if usual is None else float(write(usual))
            return Change(shown, float(write(during)), round(calls), None, shift, shift / error)
        hits = round(during * calls) if self._kind == "rate" else None
        return Change(usual, during, round(calls), hits, shift, shift / error)

    def _error(self, onset: int, stop: int, usual: float) -> float:
        """One standard error of the mean over [onset, stop)."""
        n = self._n[onset:stop]
        if self._kind == "rate":
            rate = min(max(usual, 0.002), 0.998)
            return float(np.sqrt(rate * (1 - rate) / max(n.sum(), 1.0)))
        of_calls = float((n * self._within[onset:stop]).sum()) / max(float(n.sum()) ** 2, _TINY)
        return float(np.sqrt(of_calls + self._between(onset) * float((n * n).sum()) / max(float(n.sum()) ** 2, _TINY)))

    def _between(self, onset: int) -> float:
        """The variance of buckets before `onset` beyond that of their calls."""
        rows = self.before(onset) & (self._n > 0)
        if rows.sum() < 12:
            return 0.02
        left = self._x[rows] - self._reference(onset)[rows]
        weight = self._n[rows]
        excess = (weight * (left**2 - self._within[rows] / weight)).sum() / weight.sum()
        return max(float(excess), 1e-4)

    def _traffic_change(self, onset: int, stop: int) -> Change:
        rows = slice(onset, stop)
        hours = (stop - onset) * self._step_us / HOUR_US
        expected = np.full(stop - onset, np.nan) if self._expected is None else self._expected[rows]
        reference = self._reference(onset)[rows]
        usual_sum = float(np.where(np.isfinite(expected), expected, reference).sum())
        if stop - onset > DAY_US // self._step_us // 2:
            usual_sum = float(reference.sum())
        total = float(self._x[rows].sum())
        calls = round(float(self.series.count[rows].sum()))
        if not hours:
            return Change(None, None, calls)
        shift = float(np.clip(np.log((total + _TINY) / (usual_sum + _TINY)), -_MOST_SHIFT, _MOST_SHIFT))
        return Change(usual_sum / hours, total / hours, calls, None, shift, shift / _TRAFFIC_NOISE)

    def _tail_change(self, onset: int, stop: int) -> Change:
        table = self.series.table
        if table is None:
            return Change(None, None, 0)
        q = _TAIL["down" if self._watch.bad is Bad.DOWN else "up"]
        rows = np.zeros(len(self._starts), np.bool_)
        rows[onset:stop] = True
        usual, during = _quantile(table, self.before(onset), q), _quantile(table, rows, q)
        calls = round(float(self.series.count[onset:stop].sum()))
        if usual is None or during is None or usual <= 0 or during <= 0:
            return Change(usual, during, calls)
        shift = float(np.log(during / usual))
        return Change(usual, during, calls, None, shift, shift)

    def spells(self, rows: tuple[int, int, int], way: float, *, settled: bool) -> list[Spell]:
        """The times at which the level was away from its usual, from the alarm at `first` on.

        In each bucket from there on the evidence that the level is the usual one again (or, after that, that it has
        left it again) is added up as in a CUSUM test. `rows` are onset, first and stop of an alarm, `way` is the sign
        of the change. From `stop` on nothing new begins; if the alarm was `settled` then, the level was back, else it
        is waited for. There are none where the alarm was about something else, such as a season learned wrongly.
        """
        onset, first, stop = rows
        follower = _Returning(*self._evidence(onset), way, stop if settled else None)
        began = follower.onset(onset, first)
        if not follower.is_away(began, first + 1):
            return []
        return follower.spells(began, first, stop)

    def _evidence(self, onset: int) -> tuple[Evidence, float]:
        """What each bucket says about a shift, and the least shift worth telling from none."""
        if self._kind == "tail":
            n, hits, usual = self._beyond(onset)
            return Shares(n, hits, usual), 0.01
        reference = self._reference(onset)
        if self._kind == "rate":
            return Shares(self._n, self._n * self._x, float(reference[0])), 0.01
        if self._kind == "traffic":
            rows = self.before(onset)
            due = float(reference[rows].sum())
            spread = float(((self._x[rows] - reference[rows]) ** 2).sum()) / max(due, _TINY)
            return Totals(self._x, self._lately(onset, reference), max(spread, _TINY)), 0.3
        variance = self._within / np.maximum(self._n, 1.0) + self._between(onset)
        least = 0.08 if self._watch.log else 0.02
        return Levels(self._n, self._x - reference, np.maximum(variance, _TINY)), least

    def _lately(self, onset: int, reference: FloatArray) -> FloatArray:
        """A reference of traffic, scaled to how busy the service was when the change began."""
        if self._expected is None:
            return reference
        rows = slice(onset, onset + 12)
        expected = np.nan_to_num(self._expected[rows])
        factor = (float(expected.sum()) + _TINY) / (float(reference[rows].sum()) + _TINY)
        return reference * min(max(factor, 0.5), 2.0)

    def _beyond(self, onset: int) -> tuple[FloatArray, FloatArray, float]:
        """(calls, calls beyond the usual tail, their usual share) by bucket."""
        table, share = self.series.table, max(self._watch.tail, 0.003)
        nothing = np.zeros(len(self._starts))
        if table is None:
            return nothing, nothing, share
        falls = self._watch.bad is Bad.DOWN
        rows = self.before(onset)
        limit = _quantile(table, rows, share if falls else 1 - share)
        if limit is None:
            return nothing, nothing, share
        beyond = table.values < limit if falls else table.values > limit
        n, hits = table.sums(np.ones(len(table.values))), table.sums(beyond.astype(np.float64))
        return n, hits, float(hits[rows].sum()) / max(float(n[rows].sum()), 1.0)


class Spell(NamedTuple):
    """Rows [onset, end) in which a level was away; `raised` and `certain` are when that, and its end, were known.

    `certain` is None while it lasts.
    """

    onset: int
    raised: int
    end: int
    certain: int | None


class Evidence(Protocol):
    """What each bucket says about a shift."""

    def shift(self, first: int, stop: int) -> float:
        """The shift pooled over some rows."""
        ...

    def error(self, first: int, stop: int) -> float:
        """One standard error of that shift."""
        ...

    def steps(self, shift: float, rows: slice) -> FloatArray:
        """Nats by which each row speaks for no shift, against this one."""
        ...


@dataclass(frozen=True, slots=True)
class Levels:
    """Calls and residuals of a level by bucket, and the variance of each."""

    n: FloatArray
    left: FloatArray
    variance: FloatArray

    def shift(self, first: int, stop: int) -> float:
        """The mean residual."""
        n = self.n[first:stop]
        return float((n * self.left[first:stop]).sum()) / max(float(n.sum()), _TINY)

    def error(self, first: int, stop: int) -> float:
        """Of a weighted mean of buckets."""
        n = self.n[first:stop]
        return float(np.sqrt((n * n * self.variance[first:stop]).sum())) / max(float(n.sum()), _TINY)

    def steps(self, shift: float, rows: slice) -> FloatArray:
        """The likelihood ratio of normal residuals."""
        found: FloatArray = shift * (shift / 2 - self.left[rows]) / self.variance[rows]
        return np.where(self.n[rows] > 0, found, 0.0)


@dataclass(frozen=True, slots=True)
class Shares:
    """Calls and hits by bucket, and the usual share of hits."""

    n: FloatArray
    hits: FloatArray
    usual: float

    def shift(self, first: int, stop: int) -> float:
        """The share less the usual one."""
        return float(self.hits[first:stop].sum()) / max(float(self.n[first:stop].sum()), 1.0) - self.usual

    def error(self, first: int, stop: int) -> float:
        """Of a binomial share."""
        n = max(float(self.n[first:stop].sum()), 1.0)
        share = (float(self.hits[first:stop].sum()) + 0.5) / (n + 1.0)
        return float(np.sqrt(share * (1 - share) / n))

    def steps(self, shift: float, rows: slice) -> FloatArray:
        """The likelihood ratio of binomial hits."""
        low = min(max(self.usual, 0.002), 0.99)
        high = min(max(self.usual + shift, 2 * low / (1 + low), 0.004), 0.998)
        n, hits = self.n[rows], self.hits[rows]
        found: FloatArray = hits * np.log(low / high) + (n - hits) * np.log((1 - low) / (1 - high))
        return found


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals by bucket beside those expected, and how much more than Poisson they vary."""

    total: FloatArray
    due: FloatArray
    spread: float

    def shift(self, first: int, stop: int) -> float:
        """The logarithm of all over what was expected."""
        some = self.spread / 2
        found = float(np.log((self.total[first:stop].sum() + some) / (self.due[first:stop].sum() + some)))
        return min(max(found, -_MOST_SHIFT), _MOST_SHIFT)

    def error(self, first: int, stop: int) -> float:
        """Of the logarithm of an overdispersed Poisson total."""
        return float(np.sqrt(self.spread / max(float(self.total[first:stop].sum()), self.spread)))

    def steps(self, shift: float, rows: slice) -> FloatArray:
        """The likelihood ratio of overdispersed Poisson totals."""
        found: FloatArray = (self.due[rows] * np.expm1(shift) - self.total[rows] * shift) / self.spread
        return found


class _Returning:
    """Follows a level bucket by bucket: away, back, away again."""

    def __init__(self, evidence: Evidence, least: float, way: float, settled: int | None) -> None:
        self._evidence, self._least, self._way, self._settled = evidence, least, way, settled

    def spells(self, onset: int, first: int, stop: int) -> list[Spell]:
        """See `Course.spells`."""
        found: list[Spell] = []
        while True:
            end, certain = self._return(onset, first)
            found.append(Spell(onset, first, end, certain))
            if certain is None or (again := self._again(onset, end, certain, stop)) is None:
                return found
            onset, first = again

    def is_away(self, onset: int, stop: int) -> bool:
        """Whether the level was away at all, by more than half of what is worth telling."""
        return self._way * self._evidence.shift(onset, stop) > self._least / 2

    def _seen(self, onset: int, stop: int) -> float:
        """The shift as it looks."""
        return self._way * max(self._way * self._evidence.shift(onset, stop), self._least)

    def _shift(self, onset: int, stop: int) -> float:
        """The shift that is certain: of few calls, an alarm has the most extreme."""
        shift = self._way * self._evidence.shift(onset, stop) - _CAUTION * self._evidence.error(onset, stop)
        return self._way * max(shift, self._least)

    def _return(self, onset: int, first: int) -> tuple[int, int | None]:
        """(the first row of the return, the row at which it was certain or None)."""
        row, since, total, width = first + 1, first + 1, 0.0, 3
        stop = self._size if self._settled is None else min(self._settled, self._size)
        while row < stop:
            shift = self._shift(onset, since)  # known better, the longer it lasts
            for step in self._steps(shift, row, min(row + width, stop)):
                total = max(total + step, 0.0)
                row += 1
                if not total:
                    since = row
                elif total > _CERTAIN:
                    return self._end(onset, first, since, row), row - 1
            width = min(2 * width, _MOST_ROWS)
        if self._settled is None:
            return since, None
        return self._end(onset, first, since, stop), stop

    def _end(self, onset: int, first: int, since: int, stop: int) -> int:
        """The row before which the evidence for the shift is largest, of those from the alarm at `first` to `stop`."""
        away = -np.array([0.0, *self._steps(self._seen(onset, since), first + 1, stop)])
        return first + 1 + int(np.cumsum(away).argmax())

    def _steps(self, shift: float, first: int, stop: int) -> list[float]:
        steps = self._evidence.steps(shift, slice(first, stop))
        found: list[float] = np.clip(steps, -_MOST_A_BUCKET, _MOST_A_BUCKET).tolist()
        return found

    def _again(self, onset: int, end: int, certain: int, stop: int) -> tuple[int, int] | None:
        """(onset, row at which it was certain) of the same shift coming again before `stop`; None if it does not."""
        total, since = 0.0, certain + 1
        for row, step in enumerate(self._steps(self._shift(onset, end), certain + 1, stop), certain + 1):
            total = max(total - step, 0.0)
            if not total:
                since = row + 1
            elif total > _CERTAIN:
                return since, row
        return None

    def onset(self, onset: int, first: int) -> int:
        """The row from which on the evidence up to `first` speaks most for the shift."""
        for _ in range(2):
            low = max(0, onset - _EARLIER)
            steps = -np.array(self._steps(self._seen(onset, first + 1), low, first + 1))
            running = np.cumsum(steps[::-1])[::-1]  # of each row and all after it
            onset = low + int(running.argmax())
        return onset

    @property
    def _size(self) -> int:
        return len(self._evidence.steps(0.0, slice(None)))


def _quantile(table: BucketValues, rows: BoolArray, q: float) -> float | None:
    """The quantile of the values of all these buckets together; None without any."""
    inside = np.repeat(rows, np.diff(table.offsets))
    values = table.values[inside]
    if not len(values):
        return None
    weights = np.ones(len(values)) if table.weights is None else table.weights[inside].astype(np.float64)
    order = np.argsort(values, kind="stable")
    running = np.cumsum(weights[order])
    return float(values[order[min(int(np.searchsorted(running, q * running[-1])), len(values) - 1)]])


def without(whole: Series, part: Series) -> Series:
    """The calls of `whole` that are not in `part`, as a series of the same metric."""
    count: FloatArray = np.maximum(whole.count - part.count, 0.0)
    if whole.kind is SeriesKind.PROPORTION and whole.hits is not None and part.hits is not None:
        hits = np.maximum(whole.hits - part.hits, 0.0)
        value = hits / np.maximum(count, 1.0)
        return Series(whole.metric, whole.kind, whole.starts, value, count, (), whole.step_us, hits)
    if whole.kind is SeriesKind.LEVEL:
        log = watch_of(whole.metric).log
        a, b = (np.nan_to_num(np.log(s.value) if log else s.value) for s in (whole, part))
        with np.errstate(invalid="ignore", divide="ignore"):
            x = (whole.count * a - part.count * b) / np.where(count > 0, count, np.nan)
        return Series(
            *(whole.metric, whole.kind, whole.starts, np.exp(x) if log else x, count, (), whole.step_us),
            spread=whole.spread,
        )
    value = np.maximum(np.nan_to_num(whole.value) - np.nan_to_num(part.value), 0.0)
    return Series(whole.metric, whole.kind, whole.starts, value, count, (), whole.step_us)


def _bare(results: DetectorResults, j: int) -> Series:
    """A column as a series of its own, where the results do not know what was watched."""
    value = results.value[:, j]
    column = results.columns[j]
    starts: IntArray = results.starts
    known = np.isfinite(value).astype(np.float64)
    step = int(results.ends[0] - starts[0]) if len(starts) else 0
    return Series(column.metric, SeriesKind.LEVEL, starts, value, known, column.group, step or None)
