"""`limits`: how close calls come to the rate limits of their vendors, who uses them up, and until when they last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import InputError
from llmmon.ingest.query import Query, Read, read
from llmmon.metrics.aggregates import GroupIndex
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import BoolArray, Columns, FloatArray, IntArray, concat
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import LIMITS
from llmmon.reports.rate_windows import (
    INPUT,
    OUTPUT,
    REQUESTS,
    TOKENS,
    WINDOWS_US,
    amounts,
    counted_as,
    daily_peaks,
    in_flight,
    inferred_limit,
    is_google,
    limits_said,
    rejections,
    sliding,
    trend,
)
from llmmon.reports.session_figures import Finding
from llmmon.text.figures import count, counted, percent
from llmmon.text.times import DAY_US, MINUTE_US, local

_READ: Final = frozenset(
    {"timestamp", "latency_ms", "prompt_tokens", "completion_tokens", "cached_tokens", "total_tokens", "model"}
    | {"provider", "status", "status_code", "error_type", "error_message", *LIMITS}
)
_HOT: Final = 0.8  # share of the limit from which on a window is nearly full
_FARTHEST_DAYS: Final = 730


class LimitRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is limited of a group: `requests`, `tokens`, `input_tokens` (without cache reads), `output_tokens` a minute.

    `peak` and `p99` are of sliding 60 seconds (p99 of what calls meet), `peak_10s` of ten seconds, times six.
    `limit_from` is `given`, `headers`, `errors` or `rejections` (inferred from where they began), None without a limit.
    `rejected_at_limit` is how many calls a limiter of that limit would have turned away.
    """

    key: Mapping[str, str | None]
    what: str
    calls: int
    peak: float
    peak_us: int
    p99: float
    peak_10s: float
    mean: float | None
    limit: float | None
    limit_from: str | None
    peak_share: float | None
    p99_share: float | None
    rejected_at_limit: int | None
    growth_a_week: float | None
    reached_us: int | None


class ScopeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group of calls under one limit: how many were rejected, and how many ran at the same time."""

    key: Mapping[str, str | None]
    calls: int
    rejected: int
    first_rejected_us: int | None
    concurrency_mean: float | None
    concurrency_p99: float | None
    concurrency_max: int | None


class UserRow(msgspec.Struct, frozen=True):
    """A part of what was used in the windows that were nearly full, or the fullest ones where no limit is known."""

    key: Mapping[str, str | None]
    what: str
    field: str
    name: str | None
    share: float
    calls: int


class LimitsReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon limits`."""

    by: tuple[str, ...]
    scopes: tuple[ScopeRow, ...]
    limits: tuple[LimitRow, ...]
    users: tuple[UserRow, ...]
    findings: tuple[Finding, ...]
    undated: int

    @property
    def figures(self) -> dict[str, float | int | None]:
        """The totals by the names that `--fail-on` takes."""
        shares = [row.peak_share for row in self.limits if row.peak_share is not None]
        return {
            "peak_share": max(shares, default=None),
            "p99_share": max((row.p99_share for row in self.limits if row.p99_share is not None), default=None),
            "rejected": sum(row.rejected for row in self.scopes),
            "concurrency_max": max((row.concurrency_max or 0 for row in self.scopes), default=None),
        }


def report_limits(
    query: Query, *, by: Sequence[str], given: Mapping[str, float], who: Sequence[str] = ("user", "feature")
) -> tuple[LimitsReport, Read]:
    """How close calls come to their limits; `given` are limits a minute by what they limit. Raises `UsageError`."""
    grouping = Grouping(tuple(by))
    Grouping(tuple(who))  # checks the fields
    found = read(query, _READ | {*by, *who}, ColumnsFold)
    found.source.need_calls()
    columns = concat(found.results)
    undated = columns.size - int(columns.dated.sum())
    dated = columns.take(columns.dated)
    if not dated.size:
        raise InputError("no call of these logs has a time", hint="--map timestamp=KEY names the key that holds it")
    dated = dated.take(np.argsort(dated.timestamp, kind="stable"))
    index = GroupIndex()
    groups, _ = grouping.rows(dated, index)
    scopes, rows, users = [], [], []
    for number, group in enumerate(index):
        scope = _Scope(dated.take(groups == number), dict(zip(by, group, strict=True)), given)
        scopes.append(scope.row())
        rows += scope.limits()
        users += [user for field in who for user in scope.users(field)]
    scopes.sort(key=lambda row: (-row.rejected, -row.calls))
    rows.sort(key=lambda row: (-(row.peak_share or 0), -row.calls, str(row.key), row.what))
    findings = _findings(rows, scopes, users, query.tz)
    return LimitsReport(
        by=tuple(by),
        scopes=tuple(scopes),
        limits=tuple(rows),
        users=tuple(users),
        findings=findings,
        undated=undated,
    ), found


class _Scope:
    """The calls that one limit counts, in the order of time."""

    def __init__(self, columns: Columns, key: Mapping[str, str | None], given: Mapping[str, float]) -> None:
        self.key = key
        self._rejected = _turned_away(columns)
        self._all = columns
        self._columns = columns.take(~self._rejected)  # what is rejected uses nothing
        self._times: IntArray = self._columns.timestamp
        provider, model = _most_common(columns, "provider"), _most_common(columns, "model")
        whats = dict.fromkeys((*counted_as(provider, model), *given))
        only_input = is_google(provider, model)
        self._values = {what: amounts(self._columns, what, input_only=only_input) for what in whats}
        self._values = {what: values for what, values in self._values.items() if what == REQUESTS or values.any()}
        self._limits = self._known_limits(given)
        self._hot: dict[str, BoolArray] = {}

    def row(self) -> ScopeRow:
        """The scope's rejections and concurrency."""
        mean, most, p99 = in_flight(self._times, self._columns.number("latency_ms"))
        turned_away = self._all.timestamp[self._rejected]
        return ScopeRow(
            key=self.key,
            calls=self._all.size,
            rejected=len(turned_away),
            first_rejected_us=int(turned_away[0]) if len(turned_away) else None,
            concurrency_mean=mean,
            concurrency_p99=p99,
            concurrency_max=most,
        )

    def _known_limits(self, given: Mapping[str, float]) -> dict[str, tuple[float, str]]:
        """The limit of each dimension, and where it is known from: options, headers, error messages, rejections."""
        found: dict[str, tuple[float, str]] = {}
        if len(self._times):
            shown = inferred_limit(self._times, self._values, self._all.timestamp[self._rejected])
            if shown is not None:
                found[shown[0]] = (shown[2], "rejections")
        messages = self._all.take(self._rejected).name("error_message").texts()
        said = limits_said([message for message in dict.fromkeys(messages) if message])
        found |= {what: (limit, "errors") for what, limit in said.items()}
        for field in LIMITS:
            values = self._all.number(field)
            known = values[~np.isnan(values) & (values > 0)]
            if len(known):
                found[field.removeprefix("limit_")] = (float(known[-1]), "headers")
        return found | {what: (limit, "given") for what, limit in given.items()}

    def limits(self) -> list[LimitRow]:
        """A row for each dimension."""
        return [self._limit(what, values) for what, values in self._values.items() if len(self._times)]

    def _limit(self, what: str, values: FloatArray) -> LimitRow:
        used = sliding(self._times, values, MINUTE_US)
        ten = sliding(self._times, values, WINDOWS_US["ten_seconds"]) * 6
        at = int(np.argmax(used))
        peak, p99 = float(used[at]), float(np.quantile(used, 0.99))
        limit, origin = self._limits.get(what, (None, None))
        full = used >= (limit * _HOT if limit is not None and peak >= limit * _HOT else p99)
        self._hot[what] = _within(self._times, full)
        grows = trend(*daily_peaks(self._times, used))
        slope, level = grows if grows is not None else (0.0, 0.0)
        reached = None
        if limit is not None and slope > 0 and (left := (limit - level) / slope) <= _FARTHEST_DAYS:
            reached = int(self._times[-1] + max(left, 0.0) * DAY_US)
        span = int(self._times[-1] - self._times[0])
        return LimitRow(
            key=self.key,
            what=what,
            calls=self._columns.size,
            peak=peak,
            peak_us=int(self._times[at]),
            p99=p99,
            peak_10s=float(ten.max()),
            mean=float(values.sum()) * MINUTE_US / span if span else None,
            limit=limit,
            limit_from=origin,
            peak_share=peak / limit if limit else None,
            p99_share=p99 / limit if limit else None,
            rejected_at_limit=int(self._turned_away_at(what, limit).sum()) if limit else None,
            growth_a_week=7 * slope / level if level > 0 else None,
            reached_us=reached,
        )

    def _turned_away_at(self, what: str, limit: float) -> BoolArray:
        """Which calls a limiter would turn away, of all that were asked for: rejected ones ask for what others do."""
        values = amounts(self._all, what, input_only=False)
        if what in self._values and self._rejected.any():
            usual = float(np.median(self._values[what])) if len(self._values[what]) else 0.0
            values = np.where(self._rejected & (values == 0), usual, values)
        return rejections(self._all.timestamp, values, limit)

    def users(self, field: str) -> list[UserRow]:
        """Who used what was used in the fullest windows, the largest part first."""
        names = self._columns.name(field)
        if not names.values or (names.codes < 0).all():
            return []
        found = []
        for what, hot in self._hot.items():
            codes, values = names.codes[hot].astype(np.int64), self._values[what][hot]
            whole = float(values.sum())
            sums = np.bincount(codes + 1, values, minlength=len(names.values) + 1)
            calls = np.bincount(codes + 1, minlength=len(names.values) + 1)
            for code in np.argsort(-sums, kind="stable")[:5].tolist():
                if sums[code] and whole:
                    name = names.values[code - 1] if code else None
                    found.append(UserRow(self.key, what, field, name, float(sums[code]) / whole, int(calls[code])))
        return found


def _turned_away(columns: Columns) -> BoolArray:
    """Calls that a rate limit rejected: status 429, or an error class that says so; shape (calls,)."""
    found: BoolArray = columns.number("status_code") == 429
    types = columns.name("error_type")
    named = np.array([_is_rate_limit(value) for value in types.values] + [False])
    rejected: BoolArray = found | named[types.codes]
    return rejected


def _is_rate_limit(error: str) -> bool:
    folded = error.lower().replace("_", "").replace("-", "").replace(" ", "")
    return "ratelimit" in folded or "toomanyrequests" in folded or folded in ("429", "throttlingexception")


def _most_common(columns: Columns, field: str) -> str | None:
    names = columns.name(field)
    known = names.codes[names.codes >= 0]
    return names.values[int(np.bincount(known).argmax())] if len(known) else None


def _within(times: IntArray, full: BoolArray) -> BoolArray:
    """The calls in the minutes that end at one of `full`; shape (calls,)."""
    ends = np.flatnonzero(full)
    steps = np.zeros(len(times) + 1, np.int64)
    np.add.at(steps, np.searchsorted(times, times[ends] - MINUTE_US, side="right"), 1)
    np.add.at(steps, ends + 1, -1)
    inside: BoolArray = np.cumsum(steps)[:-1] > 0
    return inside


WORDS: Final = {
    REQUESTS: "requests",
    TOKENS: "tokens",
    INPUT: "input tokens (without cache reads)",
    OUTPUT: "output tokens",
}


def _findings(
    rows: Sequence[LimitRow], scopes: Sequence[ScopeRow], users: Sequence[UserRow], tz: str
) -> tuple[Finding, ...]:
    return (
        *(_rejected(scope, rows) for scope in scopes if scope.rejected),
        *(_nearly_full(row, users, tz) for row in rows if row.peak_share is not None and row.peak_share >= _HOT),
        *(_growing(row, tz) for row in rows if row.reached_us is not None),
    )


def _called(key: Mapping[str, str | None]) -> str:
    return " / ".join(value or "(none)" for value in key.values()) or "all calls"


def _rejected(scope: ScopeRow, rows: Sequence[LimitRow]) -> Finding:
    text = f"{_called(scope.key)}: {counted(scope.rejected, 'call')} of {scope.calls:,} rejected by a rate limit"
    known = [row for row in rows if row.key == scope.key and row.limit_from == "rejections"]
    if known:
        row = known[0]
        text += f"; they began at {count(row.limit)} {WORDS[row.what]} a minute, which looks like the limit"
    step = "spread these calls, retry after the time that the answer names, or ask for a higher limit"
    return Finding("rejected", text, step)


def _nearly_full(row: LimitRow, users: Sequence[UserRow], tz: str) -> Finding:
    mine = [user for user in users if user.key == row.key and user.what == row.what and user.name]
    top = max(mine, key=lambda user: user.share, default=None)
    text = (
        f"{_called(row.key)}: {percent(row.peak_share)} of {count(row.limit)} {WORDS[row.what]} a minute "
        f"used at {local(row.peak_us, tz)} (p99 {percent(row.p99_share)})"
    )
    if top is not None:
        text += f"; {top.field} {top.name} used {percent(top.share)} of what was used in such minutes"
    if row.rejected_at_limit:
        text += f"; a limiter of this limit would have rejected {counted(row.rejected_at_limit, 'call')}"
    return Finding("nearly_full", text, "move batch work out of these minutes, or give it a key of its own")


def _growing(row: LimitRow, tz: str) -> Finding:
    when = local(row.reached_us or 0, tz)[:10]
    text = (
        f"{_called(row.key)}: the daily peak of {WORDS[row.what]} grows by {percent(row.growth_a_week)} a week; "
        f"it reaches {count(row.limit)} a minute on {when}"
    )
    return Finding("growing", text, "ask for a higher limit before then")


def given_limits(tpm: float | None, rpm: float | None, itpm: float | None, otpm: float | None) -> dict[str, float]:
    """The limits that options give, by what they limit."""
    named = {TOKENS: tpm, REQUESTS: rpm, INPUT: itpm, OUTPUT: otpm}
    return {what: limit for what, limit in named.items() if limit is not None}
