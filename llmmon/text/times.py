"""Durations and moments as options and configuration write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from llmmon.errors import UsageError
from llmmon.text.names import unknown
from llmmon.text.patterns import lazy

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
# as a width of buckets: months of the calendar; as a length of time, the mean month
MONTH_US: Final = round(365.2425 / 12 * DAY_US)
CALENDAR_US: Final = {
    "hour": HOUR_US,
    "day": DAY_US,
    "week": 7 * DAY_US,
    "month": MONTH_US,
    "quarter": 3 * MONTH_US,
    "year": 12 * MONTH_US,
}
_CALENDAR_TEXTS: Final = {MONTH_US: "month", 3 * MONTH_US: "quarter", 12 * MONTH_US: "year"}
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST_S: Final = 100 * 366 * 86400.0
_YEARS: Final = range(1970, 2201)  # in which a time can lie
_PART: Final = lazy(r"(?<![\d.])(\d+(?:\.\d+)?)(ms|min|s|m|h|d|w)")


def duration_us(text: str, *, plain: str | None = None) -> int:
    """`90s`, `5m`, `1h30m`, `7d` as microseconds; a bare number is in the unit `plain`, where that is given.

    Raises `UsageError`.
    """
    cleaned = text.strip().lower()
    if plain is not None and re.fullmatch(r"\d+(\.\d+)?", cleaned):
        cleaned += plain
    parts = _PART.findall(cleaned)
    if not parts or _PART.sub("", cleaned):
        raise UsageError(f"{text!r} is not a duration", hint="write it as 90s, 5m, 2h or 7d")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise UsageError(f"{text!r} is longer than a hundred years")
    return round(seconds * SECOND_US)


def width_us(text: str) -> int:
    """A width of time buckets: `month`, `week`, `day` of the calendar, or a duration (of minutes, if it is bare).

    Raises `UsageError`.
    """
    word = text.strip().lower()
    named = CALENDAR_US.get(word) or CALENDAR_US.get(word.removesuffix("s"))
    if named is None and not re.search(r"\d", word):
        raise UsageError("--every: " + unknown("width", text, CALENDAR_US), hint="or a duration such as 5m, 2h or 7d")
    width = named or duration_us(word, plain="m")
    if width < SECOND_US:
        raise UsageError("--every must be at least 1s")
    return width


def duration_text(us: int) -> str:
    """Microseconds as the shortest duration that says them: `90s`, `5m`, `1h30m`, `month`."""
    if us in _CALENDAR_TEXTS:
        return _CALENDAR_TEXTS[us]
    seconds, rest = divmod(us, SECOND_US)
    if rest:
        return f"{us // 1000}ms"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def age_text(us: int) -> str:
    """How long ago something was, for people: `25 min`, `3 h`, `12 days`."""
    minutes = us // (60 * SECOND_US)
    if minutes < 90:
        return f"{minutes} min"
    return f"{round(minutes / 60)} h" if minutes < 48 * 60 else f"{round(minutes / 1440):,} days"


def zone(name: str) -> ZoneInfo:
    """The time zone of a name; raises `UsageError`."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # most runs are in UTC

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"unknown time zone {name!r}", hint="use a name such as Europe/Berlin or UTC") from None


class Ago(NamedTuple):
    """A moment seen from now: so many microseconds earlier."""

    us: int


class Midnight(NamedTuple):
    """The beginning of today (0 days ago) or of yesterday (1) in a time zone."""

    days_ago: int
    tz: str


TimePoint = int | Ago | Midnight  # microseconds UTC, or what depends on now
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}


def time_point(text: str, tz: str) -> TimePoint:
    """ISO time, `2h` or `3d` before now, `today`, `yesterday` or `now` as a value; raises `UsageError`.

    A time without a zone, and the days, are in `tz`.
    """
    word = text.strip().lower()
    if word == "now":
        return Ago(0)
    if word in _DAYS_AGO:
        return Midnight(_DAYS_AGO[word], tz)
    if _PART.match(word) and not _PART.sub("", word):
        return Ago(duration_us(word))
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time", hint="write 2026-01-31T08:00, 2h or 3d (before now), today or yesterday"
        ) from None
    if found.year not in _YEARS:
        raise UsageError(f"{text!r}: the year must be from {_YEARS[0]} to {_YEARS[-1]}")
    return to_us(found if found.tzinfo else found.replace(tzinfo=zone(tz)))


def at(point: TimePoint, now_us: int) -> int:
    """A time point as microseconds UTC."""
    match point:
        case Ago(us):
            return now_us - us
        case Midnight(days_ago, tz):
            local = datetime.fromtimestamp(now_us / SECOND_US, zone(tz))
            midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
            return to_us((midnight - timedelta(hours=12)).replace(hour=0) if days_ago else midnight)
        case _:
            return point


def moment_us(text: str, now_us: int, tz: str) -> int:
    """What `time_point` reads, as microseconds UTC; raises `UsageError`."""
    return at(time_point(text, tz), now_us)


def to_us(when: datetime) -> int:
    """Microseconds since the epoch of an aware moment."""
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def iso(us: int | None) -> str | None:
    """ISO-8601 UTC with `Z`; microseconds only where there are any."""
    if us is None:
        return None
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return when.isoformat(timespec="microseconds" if us % SECOND_US else "seconds").replace("+00:00", "Z")


def local(us: int, tz: str, *, seconds: bool = True) -> str:
    """`2026-01-31 08:00:00` in a zone, for people."""
    when = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).astimezone(zone(tz))
    return when.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def length_text(us: int) -> str:
    """A length of time for people: `55 min`, `3 h`, `1 h 15 min`, `2 days 3 h`."""
    minutes = round(us / MINUTE_US)
    days, rest = divmod(minutes, 24 * 60)
    hours, left = divmod(rest, 60)
    parts = [f"{days} day{'s' * (days != 1)}"] if days else []
    parts += [f"{hours} h"] if hours else []
    parts += [f"{left} min"] if left and not days else []
    return " ".join(parts) or "0 min"


def day_text(us: int, tz: str) -> str:
    """`5 Mar 11:30` in a zone."""
    when = datetime.fromtimestamp(us / SECOND_US, zone(tz))
    return f"{when.day} {when:%b %H:%M}"


def period_text(start_us: int, end_us: int | None, tz: str) -> str:
    """`5 Mar 11:30-14:30 (3 h)`, with the date of its end on another day; `since 5 Mar 11:30` without an end."""
    start = day_text(start_us, tz)
    if end_us is None:
        return f"since {start}"
    end = day_text(end_us, tz)
    day, _, clock = end.rpartition(" ")
    until = clock if day == start.rpartition(" ")[0] else f" {end}"
    dash = "-" if until == clock else " -"
    return f"{start}{dash}{until} ({length_text(end_us - start_us)})"
