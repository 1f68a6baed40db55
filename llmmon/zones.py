"""Wall clocks and UTC, for whole columns of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from llmmon.columns import IntArray

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
