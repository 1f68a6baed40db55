"""Figures of the last day, and counters since the start for Prometheus, kept up to date from what is appended to the
logs (the one that is written here is one of them).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.ingest.checkpoints import Checkpoint
from llmmon.ingest.follow import Plans, Seen, read_new
from llmmon.ingest.query import Query
from llmmon.ingest.samples import sampled_columns
from llmmon.live.rolling import LONGEST_US, Recent
from llmmon.metrics.aggregation import Measures, evaluate
from llmmon.metrics.columns import Columns
from llmmon.metrics.definitions import needed_fields, statistic_called
from llmmon.output.export.prometheus import FIELDS as EXPOSED
from llmmon.output.export.prometheus import INSTRUMENTS
from llmmon.output.export.tallies import Kept, Tally, add, kept_labels, limited, tally
from llmmon.text.times import MINUTE_US

FIGURES: Final = (
    *("latency_avg_ms", "latency_p95_ms", "latency_p99_ms", "tokens_total"),
    *("cost_total_usd", "error_count", "request_count", "quality_avg", "error_rate"),
)
LONGEST_MINUTES: Final = LONGEST_US // MINUTE_US
_OF_CALLS: Final = frozenset({"request_count", "error_rate"})  # what single samples do not give
_MEASURES: Final = Measures.of(FIGURES)
_LABEL_LIMIT: Final = 100
_MOST_SAMPLED: Final = 2000  # series of samples whose last value is kept
_FRESH_S: Final = 1.0


class Counted(msgspec.Struct, frozen=True):
    """Everything counted since the start, as exported to Prometheus, and the last sample of each series."""

    tally: Tally
    lines: int
    rejected: int
    age_s: float  # since the last reading
    samples: tuple[Mapping[str, Any], ...]


class _Fold:
    """The calls of one reading, kept apart until all of it succeeded."""

    def __init__(self, since_us: int, now_us: int, naive: str) -> None:
        self.calls, self.sampled = Recent((), _MEASURES), Recent((), _MEASURES)
        self.tally = Tally()
        self.samples: list[dict[str, Any]] = []
        self._since_us = since_us
        self._now_us = now_us
        self._naive = naive

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        self.calls.add(columns, self._now_us)
        new = columns if self._since_us == 0 else columns.take(columns.timestamp >= self._since_us)
        if new.size:
            self.tally = add([self.tally, tally(new, INSTRUMENTS)])
        if samples:
            self.sampled.add(sampled_columns(samples, self._naive), self._now_us)
            self.samples += samples[-_MOST_SAMPLED:]

    def result(self) -> _Fold:
        return self


class Follower:
    """Follows the logs of a query; `clock` gives microseconds UTC. Every method may be called from any thread."""

    def __init__(self, query: Query, clock: Callable[[], int]) -> None:
        self._query = query
        self._clock = clock
        self._lock = threading.Lock()
        self._started_us = clock()
        self._checkpoints: tuple[Checkpoint, ...] = ()
        self._plans: Plans = {}
        self._delivered = Seen()
        self._calls, self._sampled = Recent((), _MEASURES), Recent((), _MEASURES)
        self._kept: Kept | None = None
        self._seen: tuple[int, float] = (-1, 0.0)
        self._tally = Tally()
        self._lines = self._rejected = 0
        self._samples: dict[Any, Mapping[str, Any]] = {}
        self.is_first = True

    def refresh(self, written: int) -> None:
        """Read what is new, unless nothing was written since and the last reading was just now."""
        with self._lock:
            if self._seen[0] != written or time.monotonic() - self._seen[1] > _FRESH_S:
                self._read()
                self._seen = (written, time.monotonic())

    def _read(self) -> None:
        now_us = self._clock()
        first = self.is_first
        growth = read_new(
            msgspec.structs.replace(self._query, wall_us=now_us),
            needed_fields(FIGURES) | EXPOSED,
            lambda: _Fold(self._started_us if first else 0, now_us, self._query.naive_tz),
            self._checkpoints,
            since_us=now_us - LONGEST_US if first else None,
            plans=self._plans,
            seen=self._delivered,
        )
        for part in growth.results:
            self._calls.absorb(part.calls, now_us)
            self._sampled.absorb(part.sampled, now_us)
            self._count(part)
        self._lines += growth.source.lines
        self._rejected += 0 if first else growth.source.rejected
        self._checkpoints = growth.checkpoints
        self._calls.forget(now_us)
        self._sampled.forget(now_us)
        self.is_first = False

    def _count(self, part: _Fold) -> None:
        """Counters only grow: a label's value that has a name of its own keeps it."""
        self._kept = kept_labels(part.tally, INSTRUMENTS, _LABEL_LIMIT, self._kept)
        self._tally = add([self._tally, limited(part.tally, INSTRUMENTS, self._kept)])
        for sample in part.samples:
            key = sample["name"], *sorted((name, str(value)) for name, value in sample["tags"].items())
            if key in self._samples or len(self._samples) < _MOST_SAMPLED:
                self._samples[key] = sample

    def counted(self) -> Counted:
        """What was counted so far."""
        with self._lock:
            age_s = time.monotonic() - self._seen[1] if self._seen[1] else 0.0
            return Counted(self._tally, self._lines, self._rejected, age_s, tuple(self._samples.values()))

    def figures(self, minutes: int) -> dict[str, float | int | None]:
        """`FIGURES` of the last minutes, from the beginning of a bucket on (10 s; beyond 30 minutes 1, 3 hours 10 min).

        What no call carries is taken from metric samples of that name.
        """
        with self._lock:
            now_us, window_us = self._clock(), minutes * MINUTE_US
            calls = _evaluated(self._calls.window((), window_us, now_us), minutes)
            sampled = _evaluated(self._sampled.window((), window_us, now_us), minutes)
        if not calls["request_count"]:
            calls["error_count"] = sampled["error_count"]
        return {
            name: sampled[name] if calls[name] is None and name not in _OF_CALLS else calls[name] for name in FIGURES
        }


def _evaluated(aggregates: Any, minutes: int) -> dict[str, float | int | None]:
    table = evaluate(aggregates, FIGURES, minutes)
    return {name: _number(float(table[name][-1]), whole=statistic_called(name).integral) for name in FIGURES}


def _number(value: float, *, whole: bool) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if whole else value


def only(figures: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Some of the figures, in this order."""
    return {name: figures[name] for name in names}
