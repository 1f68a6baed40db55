"""Which time a command is about, and where in each log it lies: `--window`, `--since`, `--until`, `--now`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import UsageError
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import ReadPlan
from llmmon.formats.reader import SpanReader
from llmmon.ingest.report import Window
from llmmon.ingest.spans import Source, Span, SpanBytes
from llmmon.metrics.columns import without_impossible_times
from llmmon.text.times import (
    SECOND_US,
    Ago,
    Midnight,
    TimePoint,
    age_text,
    at,
    duration_us,
    local,
    moment_us,
    time_point,
)

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
    """The latest time that certainly comes before an offset."""
    return max((p.last_us if p.end <= offset else p.first_us for p in probes), default=0)


_SHORTEST_DAY_US: Final = 23 * 3600 * SECOND_US  # when clocks are set forward
_LONGEST_DAY_US: Final = 25 * 3600 * SECOND_US  # when clocks are set back
_STALE_US: Final = 15 * 60 * SECOND_US  # a note says so where the log ended longer ago
_Range = tuple[int, int | None]


class Now(StrEnum):
    """What now is, where it is no fixed moment."""

    USUAL = "usual"  # the end of the log for a range that ends there, the clock for what goes on
    LOG = "log"  # just after the last event
    WALL = "wall"  # the clock


class TimeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The time that a command is asked about; open where nothing is given. `now` is microseconds UTC, or a `Now`."""

    window_us: int | None = None  # a length of time that ends now
    since: TimePoint | None = None
    until: TimePoint | None = None
    now: int | Now = Now.USUAL

    @classmethod
    def parse(
        cls,
        *,
        wall_us: int,
        window: str | None = None,
        since: str | None = None,
        until: str | None = None,
        now: str | None = None,
        tz: str = "UTC",
    ) -> TimeRequest:
        """Read `--window`, `--since`, `--until` and `--now`, texts without a zone in `tz`; raises `UsageError`."""
        return cls(
            window_us=duration_us(window, plain="m") if window else None,
            since=time_point(since, tz) if since else None,
            until=time_point(until, tz) if until else None,
            now=Now.USUAL if now is None else Now(now) if now in ("log", "wall") else moment_us(now, wall_us, tz),
        )

    @property
    def has_start(self) -> bool:
        """Whether calls before some moment are left out."""
        return self.window_us is not None or self.since is not None

    @property
    def is_open(self) -> bool:
        """Whether all calls are asked for."""
        return not self.has_start and self.until is None

    @property
    def is_relative(self) -> bool:
        """Whether the range depends on what now is."""
        ends = (self.since, self.until)
        return self.window_us is not None or any(isinstance(end, (Ago, Midnight)) for end in ends)

    def without_start(self) -> TimeRequest:
        """The same end, with everything before it."""
        return msgspec.structs.replace(self, window_us=None, since=None)

    def begun_earlier(self, us: int) -> TimeRequest:
        """The same end, with that much more before its beginning."""
        since = self.since
        if isinstance(since, Ago):
            since = Ago(since.us + us)
        elif isinstance(since, Midnight):
            since = Midnight(since.days_ago + -(-us // _SHORTEST_DAY_US), since.tz)
        elif since is not None:
            since -= us
        window_us = None if self.window_us is None else self.window_us + us
        return msgspec.structs.replace(self, window_us=window_us, since=since)

    def bounds(self, now_us: int) -> tuple[int | None, int | None]:
        """The range [start, end) that is asked for, None where it is open; microseconds UTC."""
        if self.window_us is not None:
            return now_us - self.window_us, now_us
        return tuple(None if end is None else at(end, now_us) for end in (self.since, self.until))  # type: ignore[return-value]

    def horizon_us(self) -> int | None:
        """How far before the last event calls can matter; None: all of them."""
        match self.since:
            case _ if self.window_us is not None:
                return self.window_us
            case Ago(us):
                return us
            case Midnight(days_ago, _):
                return (days_ago + 1) * _LONGEST_DAY_US
            case _:
                return None


class TimeRange:
    """The range [start, end) of a command, None where it is open; `trailing` while the log's end is not known.

    `wall_us` is the clock, `tz` the zone of what is said. Raises `UsageError` for a range that
    is no range.
    """

    def __init__(self, asked: TimeRequest, wall_us: int, tz: str, say: Callable[[str], None]) -> None:
        if asked.window_us is not None and (asked.since is not None or asked.until is not None):
            raise UsageError("--window cannot be combined with --since or --until")
        self._asked = asked
        self._wall_us = wall_us
        self._tz = tz
        self._say = say
        self.now_us = self._given_now()
        self.start_us, self.end_us = self._bounds(wall_us if self.now_us is None else self.now_us)
        self.ranges: tuple[_Range, ...] = ()
        self.trailing = False

    def _given_now(self) -> int | None:
        match self._asked.now:
            case Now.WALL:
                return self._wall_us
            case Now.LOG | Now.USUAL:
                return None
            case now_us:
                return now_us

    def _bounds(self, now: int) -> tuple[int | None, int | None]:
        start, end = self._asked.bounds(now)
        if start is not None and end is None and self.now_us is not None:
            end = now
        if start is not None and end is not None and end < start:
            raise UsageError("the time range ends before it begins")
        return start, end

    def locate(self, sources: Sequence[Source], plans: Sequence[ReadPlan]) -> None:
        """Find the byte ranges that can hold the time range; all of a source that cannot be searched."""
        self.ranges = ((0, None),) * len(sources)
        if self.start_us is None and self.end_us is None:
            return
        searchable = all(s.splittable and p.splittable for s, p in zip(sources, plans, strict=True))
        indexes = self._indexes(sources, plans) if searchable else None
        if self._asked.is_relative and self.now_us is None:
            ends = [index.last_us for index in indexes or () if index.last_us is not None]
            self.trailing = not ends
            if self.trailing:
                return
            self.settle(max(ends))
        if indexes is not None:
            self.ranges = tuple(self._range(index, source) for index, source in zip(indexes, sources, strict=True))

    def _indexes(self, sources: Sequence[Source], plans: Sequence[ReadPlan]) -> list[TimeIndex] | None:
        indexes = [TimeIndex(source, plan) for source, plan in zip(sources, plans, strict=True)]
        for index, source in zip(indexes, sources, strict=True):
            if not index.in_order():
                self._say(f"{source.path}: not sorted by time, so the whole file is read")
                return None
        return indexes

    def settle(self, last_us: int | None) -> None:
        """Set the range, now that the last event is known; say so where that was long ago."""
        self.now_us = self._wall_us if last_us is None else last_us + 1
        self.start_us, self.end_us = self._bounds(self.now_us)
        if last_us is not None and self._asked.now is Now.USUAL and self._wall_us - last_us > _STALE_US:
            self._say(f"last event {age_text(self._wall_us - last_us)} ago ({local(last_us, self._tz)} {self._tz})")

    def _range(self, index: TimeIndex, source: Source) -> _Range:
        if index.last_us is None:  # nothing in it is dated
            return (0, None)
        start = 0 if self.start_us is None else index.offset_before(self.start_us)
        end = source.size if self.end_us is None else index.offset_after(self.end_us)
        return (start, max(start, end))

    def window(self, first_us: int | None, last_us: int | None) -> Window:
        """The time that the report is about; minutes from first to last event where it is open."""
        end = self.end_us if self.end_us is not None else (None if last_us is None else last_us + 1)
        start = self.start_us if self.start_us is not None else first_us
        if start is not None and end is not None and end < start:  # nothing happened in it
            start, end = (end, end) if self.start_us is None else (start, start)
        minutes = (end - start) / 60e6 if start is not None and end is not None and end - start > 1 else None
        return Window(start, end, minutes)
