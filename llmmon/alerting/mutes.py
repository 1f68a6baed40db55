"""`[[mutes]]`: times of every week at which matching alerts are evaluated but not notified."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from llmmon.alerting.alert import Alert, matches
from llmmon.text.names import unknown
from llmmon.text.tables import TomlTable
from llmmon.text.times import zone

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
KEYS: Final = ("name", "days", "times", "timezone", "match")
_SPAN: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-4]):([0-5]\d)")
_DAY: Final = 1440  # minutes
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Span = tuple[int, int]  # minutes of a day, the end after midnight where it is not behind the start


class Mute(msgspec.Struct, frozen=True):
    """Times of a week (of a time zone), and the alerts that it holds back then: those that match all of `matchers`.

    `days` are numbers from 0 for Monday. A time that goes past midnight belongs to the day on which it begins.
    """

    name: str = ""
    days: frozenset[int] = frozenset(range(7))
    times: tuple[Span, ...] = ((0, _DAY),)
    tz: str = "UTC"
    matchers: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What an alert that it covers is."""
        return "muted"

    @property
    def why(self) -> str:
        """Its name."""
        return self.name

    def covers(self, alert: Alert, now_us: int) -> bool:
        """Whether it holds back an alert now."""
        return matches(alert, self.matchers) and self.is_active(now_us)

    def is_active(self, now_us: int) -> bool:
        """Whether a moment is within its times, by the clock on the wall."""
        wall = (_EPOCH + timedelta(microseconds=now_us)).astimezone(zone(self.tz))
        day, minute = wall.weekday(), wall.hour * 60 + wall.minute
        return any(
            (day in self.days and start <= minute < end)
            or ((day - 1) % 7 in self.days and start <= minute + _DAY < end)
            for start, end in self.times
        )


def mutes_of(tables: Iterable[TomlTable], tz: str) -> tuple[Mute, ...]:
    """The mutes of `[[mutes]]`, in the time zone `tz` where they name none; what is wrong is noted in the tables."""
    return tuple(_mute(read, tz) for read in tables)


def _mute(read: TomlTable, tz: str) -> Mute:
    read.only(KEYS)
    mute = Mute(
        name=read.text("name"),
        days=frozenset(_days(read)) or frozenset(range(7)),
        times=tuple(_times(read)) or ((0, _DAY),),
        tz=read.text("timezone", tz),
        matchers=read.named_texts("match"),
    )
    if not (read.has("days") or read.has("times")):
        read.fault("", "needs days or times: without them it would mute for ever")
    read.check("timezone", lambda: zone(mute.tz))
    return mute


def _days(read: TomlTable) -> list[int]:
    found = []
    for text in read.texts("days"):
        first, dash, last = (part.strip().lower()[:3] for part in text.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            read.fault("days", unknown("day", text, DAYS))
            continue
        start, end = DAYS.index(first), DAYS.index(last or first)
        found += [day % 7 for day in range(start, (end if end >= start else end + 7) + 1)]
    return found


def _times(read: TomlTable) -> list[Span]:
    found = []
    for text in read.texts("times"):
        match = _SPAN.fullmatch(text.strip())
        start, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
        if match is None or start == end or end > _DAY:
            read.fault("times", f'must look like "22:00-07:00", not {text!r}')
            continue
        found.append((start, end if end > start else end + _DAY))
    return found
