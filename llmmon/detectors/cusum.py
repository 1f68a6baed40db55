"""Adds up evidence bucket by bucket: many one-sided CUSUMs of log likelihood ratios, with hysteresis.

Page (1954): S = max(0, S + log f1(x)/f0(x)); an alarm when S passes a limit. In nats a limit h lets
through about exp(-h) false alarms a bucket, whatever the metric, which makes one budget fit all series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmmon.series import FloatArray, IntArray

BoolArray = NDArray[np.bool_]

ENDS_BELOW: Final = 0.3  # of the limit: an incident is over when its evidence has gone
CEILING: Final = 1.3  # times the limit: so that the end is seen soon


@dataclass(frozen=True, slots=True)
class Course:
    """What a run of buckets did to the sums; all of shape (buckets, columns).

    `ratio` is the largest sum over its limit, `alarm` whether an incident is open, `onset` the bucket
    number since which the leading sum has been above zero.
    """

    ratio: FloatArray
    alarm: BoolArray
    onset: IntArray


class Cusum:
    """The sums of every column for every alternative; shape (alternatives, columns)."""

    def __init__(self, alternatives: int, columns: int, keep: FloatArray | float = 1.0) -> None:
        """`keep` (columns) is the share of a sum that is left a bucket later: below 1, slow change is let go."""
        self.keep = keep
        self.sums = np.zeros((alternatives, columns))
        self.open = np.zeros(columns, np.bool_)
        self.since = np.zeros(columns, np.int64)  # onset of the open incident
        self.rest = np.zeros((alternatives, columns), np.int64)  # the bucket after each sum's last zero
        self.seen = 0

    def add(self, steps: FloatArray, limits: FloatArray) -> Course:
        """Take in evidence of shape (buckets, alternatives, columns) against limits (alternatives, columns)."""
        size, _, width = steps.shape
        course = Course(np.zeros((size, width)), np.zeros((size, width), np.bool_), np.zeros((size, width), np.int64))
        share, ceiling = 1.0 / limits, CEILING * limits
        for i in range(size):
            sums = self.sums * self.keep + steps[i]
            np.clip(sums, 0.0, ceiling, out=sums)
            self.sums = sums
            self.seen += 1
            np.copyto(self.rest, self.seen, where=sums <= 0)
            shares = sums * share
            ratio = shares.max(axis=0)
            self._switch(shares, ratio)
            course.ratio[i], course.alarm[i], course.onset[i] = ratio, self.open, self.since
        return course

    def _switch(self, shares: FloatArray, ratio: FloatArray) -> None:
        rise = (ratio > 1.0) & ~self.open
        if rise.any():
            columns = np.flatnonzero(rise)
            self.since[columns] = self.rest[shares[:, columns].argmax(axis=0), columns]
        self.open = (self.open & (ratio > ENDS_BELOW)) | rise

    def reset(self, columns: BoolArray) -> None:
        """Forget the evidence of some columns and close their incidents."""
        self.sums[:, columns] = 0.0
        self.rest[:, columns] = self.seen
        self.open = self.open & ~columns
