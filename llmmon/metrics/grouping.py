"""Which group each call belongs to: the fields of `--by`, and the time bucket of `--every`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from llmmon.errors import UsageError
from llmmon.metrics.aggregates import Group, GroupIndex
from llmmon.metrics.columns import Columns, IntArray, Names
from llmmon.metrics.record import FIELDS, TAG_PREFIX, Kind
from llmmon.text.names import unknown
from llmmon.text.times import MONTH_US

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER_US: Final = 900_000_000  # zones change their offset at quarters of an hour


def from_wall(wall: IntArray, zone: str) -> IntArray:
    """Wall-clock microseconds in `zone` -> microseconds UTC (the first of two where clocks go back); shape (n,)."""
    return wall if zone == "UTC" else wall - _offsets(wall, zone, of_wall=True)


def to_wall(moments: IntArray, zone: str) -> IntArray:
    """Microseconds UTC -> wall-clock microseconds in `zone`; shape (n,)."""
    return moments if zone == "UTC" else moments + _offsets(moments, zone, of_wall=False)


def _offsets(times: IntArray, zone: str, *, of_wall: bool) -> IntArray:
    from zoneinfo import ZoneInfo  # most runs are in UTC

    quarters, inverse = np.unique(times // _QUARTER_US, return_inverse=True)
    tz = ZoneInfo(zone)
    found = np.array([_offset_us(int(quarter), tz, of_wall=of_wall) for quarter in quarters], np.int64)
    offsets: IntArray = found[inverse]
    return offsets


def _offset_us(quarter: int, tz: ZoneInfo, *, of_wall: bool) -> int:
    moment = _EPOCH + timedelta(microseconds=quarter * _QUARTER_US)
    there = moment.replace(tzinfo=tz) if of_wall else moment.astimezone(tz)
    return int((there.utcoffset() or timedelta(0)).total_seconds() * 1_000_000)


_DAY_US = 86_400_000_000
_MONDAY_US = 4 * _DAY_US  # 1970-01-05, so that weeks begin on Mondays


class Grouping(msgspec.Struct, frozen=True):
    """Fields to group by (names, or `tag.X`), and the width of time buckets (0: none).

    A group is a tuple: the bucket's number where there are buckets, then one name per field, None where a
    call has none. Undated calls have no bucket and are left out of a grouping with buckets. Buckets of whole
    days begin at midnight in `tz` (weeks on Monday), those of months (`MONTH_US`) on the first of one, shorter ones at
    multiples of their width.
    """

    by: tuple[str, ...] = ()
    every_us: int = 0
    tz: str = "UTC"

    def __post_init__(self) -> None:
        for name in self.by:
            if not name.startswith(TAG_PREFIX) and (name not in FIELDS or FIELDS[name].kind is not Kind.NAME):
                raise UsageError(_no_group_field(name))

    def rows(self, columns: Columns, index: GroupIndex) -> tuple[IntArray, IntArray | None]:
        """The group number of each call (shape (calls,)), and the calls that are left in where some are not."""
        kept: IntArray | None = None
        if self.every_us and not (dated := columns.dated).all():
            kept = np.flatnonzero(dated)
            columns = columns.take(kept)
        if not self.by and not self.every_us:
            return np.full(columns.size, index[()], np.int64), kept
        if len(self.by) == 1 and not self.every_us:
            return _by_name(columns.name(self.by[0]), index), kept
        parts = [self.numbers(columns.timestamp)] if self.every_us else []
        parts += [columns.name(name).codes.astype(np.int64) for name in self.by]
        return _numbered(parts, lambda row: self._group(row, columns), index), kept

    def numbers(self, times: IntArray) -> IntArray:
        """The number of the bucket of each time, microseconds UTC; shape as given."""
        if months := self._months:
            wall = to_wall(times, self.tz).astype("datetime64[us]").astype("datetime64[M]")
            numbers: IntArray = wall.astype(np.int64) // months
            return numbers
        if self.every_us % _DAY_US:
            return times // self.every_us
        return (to_wall(times, self.tz) - _MONDAY_US) // self.every_us

    def bucket_start(self, number: int) -> int:
        """When a bucket begins, microseconds UTC."""
        if months := self._months:
            first = np.array([number * months]).astype("datetime64[M]").astype("datetime64[us]")
            return int(from_wall(first.astype(np.int64), self.tz)[0])
        if self.every_us % _DAY_US:
            return number * self.every_us
        return int(from_wall(np.array([number * self.every_us + _MONDAY_US]), self.tz)[0])

    @property
    def _months(self) -> int:
        """How many months a bucket has, 0 if its width is no number of months."""
        return 0 if self.every_us % MONTH_US else self.every_us // MONTH_US

    def _group(self, row: Sequence[int], columns: Columns) -> Group:
        names = [columns.name(name) for name in self.by]
        codes = row[1:] if self.every_us else row
        found = tuple(None if code < 0 else column.values[code] for code, column in zip(codes, names, strict=True))
        return (int(row[0]), *found) if self.every_us else found


def _by_name(names: Names, index: GroupIndex) -> IntArray:
    """The group of each call by one name; shape (calls,)."""
    if not names.values:
        return np.full(len(names.codes), index[(None,)] if len(names.codes) else 0, np.int64)
    size = len(names.values) + 1
    places: IntArray = names.codes + np.int64(1)
    if size > 4 * len(places) + 1024:
        present, places = np.unique(places, return_inverse=True)
    else:
        present = np.flatnonzero(np.bincount(places, minlength=size))
        table = np.zeros(size, np.int64)
        table[present] = np.arange(len(present))
        places = table.take(places)
    numbers = [index[(names.values[code - 1] if code else None,)] for code in present.tolist()]
    return np.array(numbers, np.int64).take(places)


def _numbered(parts: Sequence[IntArray], group: Callable[[Sequence[int]], Group], index: GroupIndex) -> IntArray:
    lows = [int(part.min()) if len(part) else 0 for part in parts]
    spans = [int(part.max()) - low + 1 if len(part) else 1 for part, low in zip(parts, lows, strict=True)]
    if np.prod([float(span) for span in spans]) < 2**62:
        combined = np.zeros(len(parts[0]), np.int64)
        for part, low, span in zip(parts, lows, spans, strict=True):
            combined = combined * span + (part - low)
        _, first, inverse = _distinct(combined, int(np.prod(spans)))
    else:
        _, first, inverse = np.unique(np.stack(parts), axis=1, return_index=True, return_inverse=True)
    numbers = [index[group([int(part[at]) for part in parts])] for at in first.tolist()]
    return np.array(numbers, np.int64)[inverse.ravel()]


def _distinct(codes: IntArray, size: int) -> tuple[IntArray, IntArray, IntArray]:
    """As `np.unique` with first places and inverse; without sorting where the codes are few."""
    if size > 4 * len(codes) + 1024:
        return np.unique(codes, return_index=True, return_inverse=True)
    first = np.full(size, -1, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    present = np.flatnonzero(first >= 0)
    place = np.empty(size, np.int64)
    place[present] = np.arange(len(present))
    return present, first[present], place[codes]


def _no_group_field(name: str) -> str:
    groupable = [field.name for field in FIELDS.values() if field.kind is Kind.NAME]
    return f"--by: {unknown('field', name, groupable)} (a tag is written tag.{name})"


def is_groupable(name: str) -> bool:
    """Whether calls can be grouped by the field or tag."""
    return name.startswith(TAG_PREFIX) or (name in FIELDS and FIELDS[name].kind is Kind.NAME)
