"""Moments as people and programs write them: one text, object or list at a time, for what no fast layout fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final

from llmmon.text.patterns import lazy

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ORDINAL_1970: Final = _EPOCH.toordinal()
_MONTHS: Final = {
    name: number + 1
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split())  # "sept" is cut to three
}
_DAY: Final = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_MONTH: Final = r"(?P<mon>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK: Final = (
    r"(?P<h>\d{1,2}):(?P<mi>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<f>\d{1,12}))?)?(?:\s*(?P<half>[ap])\.?m\.?(?![a-z]))?"
)
_ZONE_NAME: Final = r"(?P<z>(?:utc|gmt)\s?[+-]\d\d?(?::?\d\d)?|[+-]\d\d(?::?\d\d)?|[a-z]{1,4})"
_ZONE: Final = rf"(?:\s*{_ZONE_NAME})?"
# beside an offset: a zone's name, once more as Go has it, Go's clock, a name in brackets
_AFTER: Final = r"(?:\s+[a-z]{2,5}|\s+[+-]\d{2,4})?(?:\s+m=[+-][\d.]+)?(?:\s*[(\[](?P<named>[^)\]]*)[)\]])?"
_AT: Final = r"(?:t|\s*,\s*|\s+at\s+|\s+@\s+|\s+)"  # Kibana has `@`
_Y: Final = r"(?P<y>\d{4})"
_LAYOUTS: Final = (
    rf"{_Y}[-/.](?P<m>\d\d?)[-/.](?P<d>\d\d?)(?:{_AT}{_CLOCK}{_ZONE}{_AFTER})?",  # ISO, Go, slashes
    rf"{_Y}(?P<m>\d\d)(?P<d>\d\d)(?:t|\s)(?P<h>\d\d)(?P<mi>\d\d)(?:(?P<s>\d\d)(?:[.,](?P<f>\d{{1,9}}))?)?{_ZONE}",
    r"(?P<y>19[7-9]\d|20\d\d)(?P<m>\d\d)(?P<d>\d\d)(?P<h>\d\d)(?P<mi>\d\d)(?:(?P<s>\d\d)(?P<f>\d{3}|\d{6})?)?",
    rf"{_Y}(?P<m>\d\d)(?P<d>\d\d)(?:t|\s+){_CLOCK}{_ZONE}",
    r"(?P<y>19[7-9]\d|20\d\d)(?P<m>\d\d)(?P<d>\d\d)",
    rf"{_Y}-?(?P<day>\d\d\d)t{_CLOCK}{_ZONE}",  # day of the year
    rf"{_DAY}{_MONTH}\s+(?P<d>\d\d?)\s+{_CLOCK}(?:\s+{_ZONE_NAME})?\s+{_Y}",  # ctime
    rf"{_DAY}{_MONTH}\s+(?P<d>\d\d?)(?:st|nd|rd|th)?,?\s+{_Y}(?:{_AT}{_CLOCK}{_ZONE}{_AFTER})?",  # JavaScript, US
    rf"{_DAY}(?P<d>\d\d?)[\s/.-]+{_MONTH}[\s/.-]+(?P<y>\d{{4}}|\d\d)(?:(?::|{_AT}){_CLOCK}{_ZONE}{_AFTER})?",  # CLF
    rf"(?P<a>\d\d?)(?P<sep>[/.-])(?P<b>\d\d?)(?P=sep)(?P<y>\d{{4}}|\d\d)(?:{_AT}{_CLOCK}{_ZONE}{_AFTER})?",
)
# zone names that mean one thing (RFC 822 and the central European ones)
_NAMED: Final = {
    **dict.fromkeys(("z", "utc", "gmt", "ut", "wet"), 0),
    "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420,
    "cet": 60, "cest": 120, "eet": 120, "eest": 180, "msk": 180, "jst": 540,
}  # fmt: skip
_LONGEST: Final = 100
_BLANKS: Final = {0x202F: " ", 0xA0: " "}  # between a time and AM or PM


@lru_cache(maxsize=1)
def _layouts() -> tuple[re.Pattern[str], ...]:
    """Compiled when first needed: few logs have such times, and every run would wait for it."""
    return tuple(re.compile(rf"[\[(]?{layout}[\])]?\Z", re.IGNORECASE | re.ASCII) for layout in _LAYOUTS)


@lru_cache(maxsize=8192)  # stamps without fractions come again and again
def moment_of_text(text: str, order: str = "", naive: str = "UTC") -> int | None:
    """A moment as text -> microseconds since the epoch; None if it is none.

    `order` is "dmy" where days come before months in dates of numbers alone; otherwise months do, as long as they
    can. `naive` is the zone of stamps that name none.
    """
    cleaned = text.translate(_BLANKS).strip()
    if len(cleaned) > _LONGEST or not any(sign.isdigit() for sign in cleaned[:24]):
        return None
    if cleaned[4:5] == "-":
        try:
            return _to_utc(datetime.fromisoformat(cleaned), naive)  # also weeks
        except (ValueError, OverflowError):
            pass
    for layout in _layouts():
        if found := layout.match(cleaned):
            return _moment(found.groupdict(), order, naive)
    return None


def _moment(parts: Mapping[str, str | None], order: str, naive: str) -> int | None:
    zone = parts.get("z")
    offset = _offset_of(zone.lower()) if zone else None
    if zone and offset is None:
        return None
    try:
        wall = _day(parts, order) * 86_400_000_000 + _time_of_day(parts)
        if offset is None:
            return _to_utc(_EPOCH.replace(tzinfo=None) + timedelta(microseconds=wall), parts.get("named") or naive)
        return wall - offset * 60_000_000
    except (ValueError, OverflowError, LookupError):  # or a zone that is not known
        return None


def _day(parts: Mapping[str, str | None], order: str) -> int:
    """Days from 1970 to the date; raises `ValueError`."""
    year = int(parts["y"] or 0)
    if year < 100:
        year += 2000 if year < 70 else 1900
    if number := parts.get("day"):
        found = date(year, 1, 1) + timedelta(days=int(number) - 1)
        if found.year != year:
            raise ValueError(number)
    elif first := parts.get("a"):
        a, b = int(first), int(parts["b"] or 0)
        days_first = b <= 12 and (parts["sep"] == "." or order == "dmy" or a > 12)
        found = date(year, b, a) if days_first else date(year, a, b)
    else:
        name = parts.get("mon")
        found = date(year, _MONTHS[name.lower()] if name else int(parts["m"] or 0), int(parts["d"] or 0))
    return found.toordinal() - _ORDINAL_1970


def _time_of_day(parts: Mapping[str, str | None]) -> int:
    """Microseconds; raises `ValueError`. A leap second is the beginning of the next minute."""
    if not parts.get("h"):
        return 0
    hour, minute, second = int(parts["h"] or 0), int(parts["mi"] or 0), int(parts.get("s") or 0)
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            raise ValueError(hour)
        hour = hour % 12 + 12 * (half.lower() == "p")
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError(hour)
    fraction = (parts.get("f") or "")[:6].ljust(6, "0")
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + int(fraction)


@lru_cache(maxsize=1024)
def _offset_of(name: str) -> int | None:
    """The minutes by which a zone is ahead of UTC; None where its name is not known."""
    if name in _NAMED:
        return _NAMED[name]
    offset = re.fullmatch(r"(?:utc|gmt)?\s?([+-])(\d\d?)(?::?(\d\d))?", name)
    if offset is None:
        return None
    minutes = int(offset[2]) * 60 + int(offset[3] or 0)
    return None if minutes >= 24 * 60 else -minutes if offset[1] == "-" else minutes


def _to_utc(when: datetime, naive: str) -> int:
    zoned = when if when.tzinfo is not None else when.replace(tzinfo=zone_named(naive))
    return (zoned - _EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=8)
def zone_named(name: str) -> tzinfo:
    """A time zone by its name."""
    from zoneinfo import ZoneInfo  # not needed by logs in UTC

    return UTC if name == "UTC" else ZoneInfo(name)


_NET_DATE: Final = lazy(r"\\?/Date\((-?\d+)(?:[+-]\d{4})?\)\\?/\Z")
_SECONDS: Final = ("seconds", "_seconds", "secs", "epochSecond", "secs_since_epoch", "epoch_second", "t")
_NANOS: Final = ("nanos", "_nanoseconds", "nanoseconds", "nano", "nanoOfSecond", "nanos_since_epoch", "nano_of_second")
_INSIDE: Final = ("$date", "$timestamp", "value", "datetime", "DateTime", "iso")
_NUMBERS: Final = ("$numberLong", "$numberInt", "$numberDouble", "$numberDecimal")


def plain_moment(value: Any, depth: int = 3) -> Any:
    """A moment that is an object, a list or a wrapped text, as a text or a number; anything else as it is.

    MongoDB's extended JSON, Firestore and protobuf, Log4j's `instant`, Rust's SystemTime, OpenTelemetry's pair of
    seconds and nanoseconds, Jackson's list of the parts of a date, .NET's `/Date(...)/`.
    """
    if isinstance(value, str):
        found = _NET_DATE.match(value) if value[-1:] == "/" else None
        return int(found[1]) if found else value
    if isinstance(value, Mapping) and depth:
        return _of_object(value, depth)
    if isinstance(value, list):
        return _of_list(value)
    return value


def _of_object(value: Mapping[str, Any], depth: int) -> Any:
    for key in _NUMBERS:
        if key in value:
            return value[key]
    seconds = _whole(next((value[key] for key in _SECONDS if key in value), None))
    if seconds is not None and len(value) <= 4:
        nanos = _whole(next((value[key] for key in _NANOS if key in value), 0)) or 0
        return _iso(seconds, nanos)
    for key in _INSIDE:
        if value.get(key) is not None and len(value) <= 2:
            return plain_moment(value[key], depth - 1)
    return None


def _iso(seconds: int, nanos: int) -> str | None:
    try:
        return (_EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)).isoformat()
    except OverflowError:
        return None


def _whole(value: Any) -> int | None:
    if isinstance(value, Mapping):
        value = next((value[key] for key in _NUMBERS if key in value), None)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _of_list(parts: Sequence[Any]) -> Any:
    if not all(type(part) is int and part >= 0 for part in parts):
        return None
    if len(parts) == 2 and parts[0] > 10**8 and parts[1] < 10**9:
        return _iso(*parts)
    if 3 <= len(parts) <= 7 and 1970 <= parts[0] < 2200:
        year, month, day, hour, minute, second, nano = (*parts, 0, 0, 0, 0)[:7]
        return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nano:09}"
    return None


_OF_NUMBERS: Final = lazy(r"(\d\d?)([/-])(\d\d?)\2(\d{4}|\d\d)(?![\d/-])")


def date_order(values: Iterable[Any]) -> tuple[str, bool]:
    """ "dmy" where days come before months in the dates of a log such as `14/03/2026`, "mdy" where months do, else "";
    and whether that is sure.

    A number above twelve tells. Where there is none, the order in which the dates lie closer together is taken;
    of equal ones, months first.
    """
    dates = {(int(d[1]), int(d[3]), int(d[4])) for v in values if isinstance(v, str) and (d := _OF_NUMBERS.match(v))}
    if not dates:
        return "", True
    if any(a > 12 for a, _, _ in dates) != any(b > 12 for _, b, _ in dates):
        return ("dmy" if any(a > 12 for a, _, _ in dates) else "mdy"), True
    by_month = [y * 372 + a * 31 + b for a, b, y in dates]
    by_day = [y * 372 + b * 31 + a for a, b, y in dates]
    closer = "dmy" if max(by_day) - min(by_day) < max(by_month) - min(by_month) else "mdy"
    return closer, all(a == b for a, b, _ in dates)


_TIME_KEY: Final = lazy(r"(?:^|[^a-z])(ts|t|at|dt)$|time|date|stamp|epoch|created|started|ended|instant", re.IGNORECASE)
_TIME_SHAPE: Final = lazy(r"\d{1,4}[-/.:]\d{1,2}[-/.:]\d|\d\d?:\d\d|\d{8}T\d{4}", re.IGNORECASE)
_LENGTHS: Final = lazy(
    r"(time_?to|time_?taken|duration|elapsed|latency|timeout|runtime|response_?time|_ms$|_s$)", re.IGNORECASE
)


def looks_like_time(key: str, value: Any) -> bool:
    """Whether a value under a key looks like a moment, readable or not: for `inspect` to say which key holds time."""
    if isinstance(value, bool) or value is None or _LENGTHS.search(key):
        return False
    named = bool(_TIME_KEY.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)))
    if isinstance(value, str):
        return bool(_TIME_SHAPE.search(value[:40])) and (named or bool(re.match(r"\W*(\d|[A-Z][a-z]{2}\b)", value)))
    if isinstance(value, (int, float)):
        return named and 1e8 < abs(value) < 1e20
    return named and isinstance(value, (Mapping, list)) and plain_moment(value) is not None


__all__ = ["date_order", "looks_like_time", "moment_of_text", "plain_moment", "zone_named"]
