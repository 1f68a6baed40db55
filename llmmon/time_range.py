"""Which time a command is about, and where in each log it lies: `--window`, `--since`, `--until`, `--now`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from llmmon.durations import age_text, duration_us, is_relative, local, moment_us
from llmmon.errors import UsageError
from llmmon.reports import Window

if TYPE_CHECKING:
    from llmmon.formats.reading import ReadPlan
    from llmmon.seeking import TimeIndex
    from llmmon.source_bytes import Source

_DAYS_S: Final = {"today": 25 * 3600, "yesterday": 49 * 3600}  # at most this lies between their start and the end
_STALE_US: Final = 15 * 60 * 1_000_000  # a log that ended longer ago than this says so
_Range = tuple[int, int | None]


class TimeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options as they were given; `wall_us` is the clock."""

    wall_us: int
    window: str | None = None
    since: str | None = None
    until: str | None = None
    now: str | None = None
    tz: str = "UTC"

    @property
    def relative(self) -> bool:
        """Whether the range depends on what now is."""
        return bool(self.window) or any(is_relative(text) for text in (self.since, self.until) if text)


class TimeRange:
    """The range [start, end) of a command, None where it is open; `trailing` while the log's end is not known.

    Raises `UsageError` for options that cannot be read, before anything else is.
    """

    def __init__(self, asked: TimeOptions, say: Callable[[str], None]) -> None:
        if asked.window and (asked.since or asked.until):
            raise UsageError("--window does not go together with --since or --until")
        self._asked = asked
        self._say = say
        self.now_us = self._given_now()
        self.start_us, self.end_us = self._bounds(asked.wall_us if self.now_us is None else self.now_us)
        self.ranges: tuple[_Range, ...] = ()
        self.trailing = False

    def _given_now(self) -> int | None:
        now, wall_us = self._asked.now, self._asked.wall_us
        if now in (None, "log"):
            return None
        return wall_us if now == "wall" else moment_us(str(now), wall_us, self._asked.tz)

    def _bounds(self, now: int) -> tuple[int | None, int | None]:
        asked = self._asked
        if asked.window:
            return now - duration_us(asked.window, plain="m"), now
        start = moment_us(asked.since, now, asked.tz) if asked.since else None
        end = moment_us(asked.until, now, asked.tz) if asked.until else None
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
        if self._asked.relative and self.now_us is None:
            ends = [index.last_us for index in indexes or () if index.last_us is not None]
            self.trailing = not ends
            if self.trailing:
                return
            self.settle(max(ends))
        if indexes is not None:
            self.ranges = tuple(self._range(index, source) for index, source in zip(indexes, sources, strict=True))

    def _indexes(self, sources: Sequence[Source], plans: Sequence[ReadPlan]) -> list[TimeIndex] | None:
        from llmmon.seeking import TimeIndex

        indexes = [TimeIndex(source, plan) for source, plan in zip(sources, plans, strict=True)]
        for index, source in zip(indexes, sources, strict=True):
            if not index.in_order():
                self._say(f"{source.path}: not in order of time, so all of it is read")
                return None
        return indexes

    def settle(self, last_us: int | None) -> None:
        """Set the range, now that the last event is known; say so where that was long ago."""
        asked = self._asked
        self.now_us = asked.wall_us if last_us is None else last_us + 1
        self.start_us, self.end_us = self._bounds(self.now_us)
        if last_us is not None and asked.now is None and asked.wall_us - last_us > _STALE_US:
            self._say(f"last event {age_text(asked.wall_us - last_us)} ago ({local(last_us, asked.tz)} {asked.tz})")

    def _range(self, index: TimeIndex, source: Source) -> _Range:
        if index.last_us is None:  # nothing in it is dated
            return (0, None)
        start = 0 if self.start_us is None else index.offset_before(self.start_us)
        end = source.size if self.end_us is None else index.offset_after(self.end_us)
        return (start, max(start, end))

    def horizon_us(self) -> int | None:
        """How far before the last event calls can matter; None: all of them."""
        asked = self._asked
        if asked.window:
            return duration_us(asked.window, plain="m")
        if asked.since is None or not is_relative(asked.since):
            return None
        days = _DAYS_S.get(asked.since.strip().lower())
        return days * 1_000_000 if days else duration_us(asked.since)

    def window(self, first_us: int | None, last_us: int | None) -> Window:
        """The time that the report is about; minutes from first to last event where it is open."""
        end = self.end_us if self.end_us is not None else (None if last_us is None else last_us + 1)
        start = self.start_us if self.start_us is not None else first_us
        if start is not None and end is not None and end < start:  # nothing happened in it
            start, end = (end, end) if self.start_us is None else (start, start)
        minutes = (end - start) / 60e6 if start is not None and end is not None and end - start > 1 else None
        return Window(start, end, minutes)
