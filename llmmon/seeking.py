"""Finding a time range in a big file without reading it: bisection over byte offsets.

Logs are written when calls end, so starts are slightly out of order: the search allows a slack, checks the
order at every probe, and gives up (the whole file is then read) where a file is not in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.columns import without_impossible_times
from llmmon.formats.canonical import Interners
from llmmon.formats.reading import ReadPlan, SpanReader
from llmmon.source_bytes import Source, Span
from llmmon.span_bytes import SpanBytes

SLACK_US: Final = 15 * 60 * 1_000_000
_PROBE_BYTES: Final = 16 << 10
_TAIL_BYTES: Final = 64 << 10
_SPREAD: Final = 8  # probes at even distances, to see whether a file is in order at all
_CLOSE_ENOUGH: Final = 256 << 10


class Probe(msgspec.Struct, frozen=True):
    """The times of the calls on the lines that start in [offset, end); `back_us` is their largest step back."""

    offset: int
    end: int
    first_us: int
    last_us: int
    back_us: int
    longest_us: int


class TimeIndex:
    """Times at byte offsets of one plain file, read when asked for."""

    def __init__(self, source: Source, plan: ReadPlan) -> None:
        self._source = source
        self._bytes = SpanBytes()
        narrow = msgspec.structs.replace(plan, fields=frozenset({"timestamp", "latency_ms"}))
        self._reader = SpanReader(narrow, Interners())
        self._probes: dict[int, Probe | None] = {}
        self.tail = self._tail()
        self.slack_us = max(SLACK_US, 2 * self.tail.longest_us) if self.tail else SLACK_US

    @property
    def last_us(self) -> int | None:
        """The latest time near the end of the file."""
        return self.tail.last_us if self.tail else None

    def in_order(self) -> bool:
        """Whether the probes so far, and some at even distances, never step back by more than the slack."""
        size = self._source.size
        for part in range(_SPREAD):
            self._probe(size * part // _SPREAD)
        known = sorted((p for p in (*self._probes.values(), self.tail) if p is not None), key=lambda p: p.offset)
        return not any(
            probe.back_us > self.slack_us or probe.first_us < _latest(known[:place], probe.offset) - self.slack_us
            for place, probe in enumerate(known)
        )

    def offset_before(self, moment_us: int) -> int:
        """An offset before which no call starts at or after the moment, slack allowed for."""
        return self._bisect(moment_us - self.slack_us, upper=False)

    def offset_after(self, moment_us: int) -> int:
        """An offset after which no call starts before the moment, slack allowed for."""
        return self._bisect(moment_us + self.slack_us, upper=True)

    def _bisect(self, moment_us: int, *, upper: bool) -> int:
        low, high = 0, self._source.size
        while high - low > _CLOSE_ENOUGH:
            middle = (low + high) // 2
            probe = self._probe(middle)
            if probe is not None and probe.first_us < moment_us:
                low = middle
            else:
                high = middle
        return high if upper else low

    def _tail(self) -> Probe | None:
        size, back = self._source.size, _TAIL_BYTES
        while True:
            probe = self._read(max(0, size - back), size)
            if probe is not None or back >= size or back > 64 << 20:
                return probe
            back *= 8

    def _probe(self, offset: int) -> Probe | None:
        if offset not in self._probes:
            size = self._source.size
            span, found = _PROBE_BYTES, None
            while found is None and offset + span // 8 < size and span < 64 << 20:
                found = self._read(offset, min(offset + span, size))
                span *= 8
            self._probes[offset] = found
        return self._probes[offset]

    def _read(self, start: int, end: int) -> Probe | None:
        for chunk in self._bytes.chunks(self._source, Span(0, 0, start, end)):
            self._reader.feed(chunk)
        columns = without_impossible_times(self._reader.flush().columns)
        times = columns.timestamp[columns.dated]
        if not len(times):
            return None
        latency = columns.number("latency_ms")
        longest = int(latency[latency == latency].max(initial=0.0))
        back = int((np.maximum.accumulate(times) - times).max())
        return Probe(start, end, int(times[0]), int(times.max()), back, longest)


def _latest(probes: Sequence[Probe], offset: int) -> int:
    """The latest time that certainly stands before an offset."""
    return max((p.last_us if p.end <= offset else p.first_us for p in probes), default=0)
