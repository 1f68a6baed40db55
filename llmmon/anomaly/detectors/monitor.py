"""The default monitor: every watched metric, overall and by group, watched together, an hour at a time.

Within an hour the baselines do not change, so a block of buckets is processed at once; what is learned from an hour
is learned when the next one begins. A result therefore depends on nothing after its bucket.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

import numpy as np

from llmmon.anomaly.detectors.detector import DetectorResults
from llmmon.anomaly.detectors.evidence import Cusum, Hour, HourBlock, Rarity, blocks_of, joined
from llmmon.anomaly.detectors.layout import Matrices, MonitorLayout
from llmmon.anomaly.detectors.levels import ALTERNATIVES, LevelDetector
from llmmon.anomaly.detectors.rates import RateDetector, Tails, TrafficDetector
from llmmon.anomaly.series import Panel
from llmmon.metrics.columns import BoolArray, FloatArray
from llmmon.text.times import HOUR_US

_WEEK_US: Final = 168 * HOUR_US
ACCEPTED_AFTER_US: Final = 12 * HOUR_US  # a level that lasts so long becomes the baseline
_SUDDEN_US: Final = 3 * HOUR_US // 2  # demand wanders: half of its evidence is let go in so long
_EQUALS: Final = 6  # series that may alarm sooner at once
_LEAST_SERIES: Final = 24  # that share the budget of false alarms: a few series have no right to all of it
_LIVELY: Final = 0.25  # chances a bucket of the liveliest sums
_SLOWEST: Final = 0.05  # nats a bucket
_PACE_H: Final = 72.0  # hours over which the pace of sums is learned
_CREEPING_CHANCES: Final = 4000  # a week and series: slow sums have few independent chances to alarm

BlockDetector: TypeAlias = LevelDetector | RateDetector | TrafficDetector


class Sensitivity(StrEnum):
    """How readily the monitor raises an alarm."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def false_alarms_per_week(self) -> float:
        """How many alarms to expect in a week in which nothing happens, over all series together.

        Measured on simulated quiet logs of 1,500 to 20,000 calls a day: 0.2 to 0.4, 0.4 to 1.1, 3 to 5.
        """
        return {"low": 0.25, "medium": 1.0, "high": 5.0}[self.value]


@dataclass(slots=True)
class _Part:
    """A detector and the columns that it owns."""

    detector: BlockDetector
    columns: slice


class Monitor:
    """Watches a panel; `extend` continues where the last call ended, `detect` starts anew."""

    def __init__(self, panel: Panel, sensitivity: Sensitivity | str = Sensitivity.MEDIUM) -> None:
        """`panel` gives the series to watch (its length does not matter)."""
        self.sensitivity = Sensitivity(sensitivity)
        self.step_us = panel.step_us
        self.layout = MonitorLayout.of(panel)
        layout = self.layout
        self.tails = Tails(layout.tail_watches)
        detectors: list[tuple[BlockDetector, int]] = [
            (LevelDetector(layout.level_watches, layout.given), len(layout.level_watches)),
            (RateDetector(layout.usual), len(layout.usual)),
            (TrafficDetector(layout.traffic_bad, layout.traffic_sums), len(layout.traffic_bad)),
        ]
        self.parts, at = [], 0
        for detector, width in detectors:
            self.parts.append(_Part(detector, slice(at, at + width)))
            at += width
        keep = np.where(layout.sudden, 0.5 ** (panel.step_us / _SUDDEN_US), 1.0)
        self.cusum, self.rarity = Cusum(ALTERNATIVES, at, keep), Rarity(at)
        self.open_for = np.zeros(at, np.int64)
        self.pace = np.ones((ALTERNATIVES, at))  # nats a bucket by which a quiet sum falls
        self._sooner = layout.sooner
        self.rows = 0
        self._hour: int | None = None
        self._blocks: list[tuple[list[HourBlock], BoolArray, FloatArray]] = []
        self._fallen, self._fell_for = np.zeros((ALTERNATIVES, at)), np.zeros(at)

    def extend(self, panel: Panel) -> DetectorResults:
        """Results for the next buckets, which must follow those before; shape (buckets, columns)."""
        matrices = self.layout.matrices(panel, self.tails)
        found = [self._detect_rows(panel, matrices, rows) for rows in blocks_of(panel.starts, panel.step_us)]
        self.rows += len(panel)
        return self.layout.results(panel, matrices, found, self._monitored_state())

    def _monitored_state(self) -> tuple[BoolArray, BoolArray, FloatArray]:
        ready = np.concatenate([part.detector.ready for part in self.parts])
        weekly = np.concatenate([part.detector.weekly for part in self.parts])
        return ready, weekly, np.concatenate([part.detector.hours for part in self.parts])

    def _detect_rows(self, panel: Panel, matrices: Matrices, rows: slice) -> Hour:
        number = int(panel.starts[rows.start] // max(HOUR_US, panel.step_us))
        if self._hour is not None and number != self._hour:
            self._learn()
        self._hour = number
        blocks = [matrices.block(panel, rows, part.columns) for part in self.parts]
        found = [part.detector.detect(block) for part, block in zip(self.parts, blocks, strict=True)]
        ready = np.concatenate([part.detector.ready for part in self.parts])
        steps = np.where(ready, np.concatenate([one.steps for one in found], axis=2), 0.0)
        z = np.concatenate([one.z for one in found], axis=1)
        limits = self._limits(ready)
        course = self.cusum.add(steps, limits)
        evidence = self._evidence(course.ratio, z, limits)
        score = np.where(ready & matrices.known[rows], self.rarity.score(evidence), np.nan)
        self._blocks.append((blocks, course.alarm, np.where(ready, evidence, -1.0)))
        self._fallen += -np.where(course.alarm[:, None, :], 0.0, steps).sum(axis=0)
        self._fell_for += np.where(ready, (~course.alarm).sum(axis=0), 0)
        low = np.concatenate([one.low for one in found], axis=1)
        high = np.concatenate([one.high for one in found], axis=1)
        center = np.concatenate([one.center for one in found], axis=1)
        blank = np.where(ready, 0.0, np.nan)
        return Hour(low + blank, high + blank, center + blank, score, z + blank, course.alarm, course.onset)

    def _limits(self, ready: BoolArray) -> FloatArray:
        """Evidence that raises an alarm, for the series known by now; shape (alternatives, columns)."""
        chances = max(int(ready.sum()), _LEAST_SERIES) * _WEEK_US / self.step_us
        limit = np.log(chances * self._liveliness() / self.sensitivity.false_alarms_per_week)
        slow = max(int((ready & self.layout.creeping.any(axis=0)).sum()), 1) * _CREEPING_CHANCES
        creeping = np.log(slow / self.sensitivity.false_alarms_per_week)
        # no share of the budget is larger than the budget: with few series all have the same
        sooner = np.minimum(self._sooner, np.log(max(ready.sum() / _EQUALS, 1.0)))
        usual = np.where(self.layout.creeping, creeping, limit) - sooner
        limits: FloatArray = np.where(np.isinf(self.layout.off), np.inf, usual)
        return limits

    def _liveliness(self) -> FloatArray:
        """Independent chances to alarm that a bucket gives a sum; shape (alternatives, columns).

        A sum that falls by I nats a bucket passes a limit h about I exp(-1.65 sqrt(I) - h) times a bucket
        (Siegmund, 1985, VIII.2), so little evidence a bucket needs less of it. Taken at its most from I = 1 on.
        """
        pace = np.clip(self.pace, _SLOWEST, 1.0)
        lively: FloatArray = _LIVELY * pace * np.exp(1.65 * (1.0 - np.sqrt(pace)))
        return lively

    def _learn_pace(self) -> None:
        known = self._fell_for > 0
        fell = np.maximum(self._fallen / np.maximum(self._fell_for, 1.0), 0.0)
        self.pace += np.where(known, 1.0 / _PACE_H, 0.0) * (fell - self.pace)
        self._fallen, self._fell_for = np.zeros_like(self._fallen), np.zeros_like(self._fell_for)

    def _evidence(self, ratio: FloatArray, z: FloatArray, limits: FloatArray) -> FloatArray:
        worse = np.where(self.layout.up, np.maximum(z, 0.0), 0.0)
        better = np.where(self.layout.down, np.maximum(-z, 0.0), 0.0)
        now = np.minimum(np.maximum(worse, better) ** 2 / 2, 60.0)
        evidence: FloatArray = np.maximum(ratio * limits.min(axis=0), now)
        return evidence

    def _learn(self) -> None:
        alarm = np.concatenate([one[1] for one in self._blocks])
        evidence = np.concatenate([one[2] for one in self._blocks])
        for k, part in enumerate(self.parts):
            block = joined([one[0][k] for one in self._blocks])
            part.detector.learn(block, ~alarm[:, part.columns])
        self.rarity.learn(evidence, ~alarm & (evidence >= 0))
        self._learn_pace()
        self.open_for = np.where(self.cusum.open, self.open_for + len(alarm), 0)
        lasting = self.open_for * self.step_us >= ACCEPTED_AFTER_US
        if lasting.any():
            for part in self.parts:
                part.detector.accept(lasting[part.columns])
            self.cusum.reset(lasting)
            self.open_for = np.where(lasting, 0, self.open_for)
        self._blocks = []


def complete(panel: Panel, until_us: int | None) -> Panel:
    """The buckets that have ended by `until_us`; all of them where it is None."""
    if until_us is None:
        return panel
    ended = int(np.searchsorted(panel.starts + panel.step_us, until_us, "right"))
    return panel[:ended]


def detect(
    panel: Panel, sensitivity: Sensitivity | str = Sensitivity.MEDIUM, until_us: int | None = None
) -> DetectorResults:
    """Results of a new monitor for every complete bucket of a panel."""
    return Monitor(panel, sensitivity).extend(complete(panel, until_us))
