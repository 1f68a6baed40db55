"""`cache`: prompt caching in money: what was read, what was written again and why, whether an hour would have paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import InputError
from llmmon.formats.json_text import UnreadableError, object_of
from llmmon.formats.messages import first_difference
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.reread import lines_at
from llmmon.metrics.aggregates import GroupIndex
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import BoolArray, Columns, FloatArray, IntArray, concat, in_log_order
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import NANO_DOLLARS
from llmmon.metrics.sessions import PLACED_BY, Threads, sessions_of, threads_of
from llmmon.pricing.cost_modes import AS_READ, PRICED_BY
from llmmon.pricing.costs import calculate
from llmmon.pricing.price_table import PriceTable
from llmmon.reports.session_figures import Finding
from llmmon.text.figures import count, counted, money_text, percent
from llmmon.text.times import HOUR_US, MINUTE_US

SHORT_US: Final = 5 * MINUTE_US  # how long a cached prefix lasts after its last use, unless an hour was paid for
_LEAST_MISSED: Final = 1024  # tokens: less is a matter of where blocks end
_MISSED_SHARE: Final = 0.05  # of what could have been read
_MOST_COMPARED: Final = 300  # pairs of prompts, those that cost the most
_READ: Final = PLACED_BY | PRICED_BY


class Cause(StrEnum):
    """Why a call read less from the cache than the call before had left there."""

    EXPIRED = "expired"  # the time of the cache had passed
    PREFIX = "prefix"  # what was sent began otherwise
    MODEL = "model"  # another model has a cache of its own
    COMPACTED = "compacted"  # the context was made smaller, so it is another one
    UNUSED = "unused"  # no call of the session read or wrote a cache


EXPLANATIONS: Final = {
    Cause.EXPIRED: "the cache's time had passed since the call before",
    Cause.PREFIX: "what was sent began otherwise than in the call before",
    Cause.MODEL: "the call before went to another model",
    Cause.COMPACTED: "the context was compacted, which is another prefix",
    Cause.UNUSED: "no call of the session reads or writes a cache",
}


class CacheRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group of calls (or all): its input and what of it came from the cache; amounts in US dollars.

    `saved_usd` is what reading saved less what writing cost extra; `missed_usd` what calls would have cost less had
    they read what the call before had left in the cache.
    """

    key: Mapping[str, str | None]
    calls: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    read_share: float | None
    saved_usd: float | None
    missed_tokens: int
    missed_usd: float


class GapRow(msgspec.Struct, frozen=True):
    """Calls by how long ago the call before in the same session began; `first` has none before."""

    gap: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    read_share: float | None
    missed_usd: float


class CauseRow(msgspec.Struct, frozen=True):
    """Missed caches with one cause."""

    cause: Cause
    explanation: str
    calls: int
    sessions: int
    tokens: int
    usd: float


class MissRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session and what its missed caches cost, by cause."""

    session: str
    calls: int
    misses: int
    tokens: int
    usd: float
    causes: Mapping[str, int]


class HourRow(msgspec.Struct, frozen=True):
    """What the same calls would have cost with a cache of an hour (`saved_usd` below 0: more).

    `best_usd` is what it saves in the `sessions` where it saves anything.
    """

    lasts: str
    calls: int
    saved_usd: float
    best_usd: float
    sessions: int


class PartRow(msgspec.Struct, frozen=True):
    """The first part of a prompt that differs from that of the call before; no text is kept."""

    part: str
    calls: int
    usd: float
    character: int  # the median of where in the part it differs, from 1


class CacheReport(msgspec.Struct, frozen=True, kw_only=True):
    """`llmmon cache`."""

    by: tuple[str, ...]
    totals: CacheRow
    groups: tuple[CacheRow, ...]
    gaps: tuple[GapRow, ...]
    causes: tuple[CauseRow, ...]
    sessions: tuple[MissRow, ...]
    other_lasting: HourRow | None
    parts: tuple[PartRow, ...]
    compared: int  # prompts whose texts were compared
    findings: tuple[Finding, ...]
    silent: int  # calls that do not say how much they read from a cache

    @property
    def figures(self) -> dict[str, float | int | None]:
        """The totals by the names that `--fail-on` takes."""
        known = {f"{row.cause.value}_usd": row.usd for row in self.causes}
        named = {f"{cause.value}_usd": known.get(f"{cause.value}_usd", 0.0) for cause in Cause}
        total = self.totals
        return {"read_share": total.read_share, "missed_usd": total.missed_usd, "saved_usd": total.saved_usd, **named}


def report_cache(query: Query, *, by: Sequence[str]) -> tuple[CacheReport, Read]:
    """What caching saved, and what it missed; raises `UsageError`, `InputError` where no call says what it read."""
    grouping = Grouping(tuple(by))
    found = read(msgspec.structs.replace(query, cost=AS_READ), _READ | set(by), ColumnsFold)
    found.source.need_calls()
    columns = in_log_order(concat(found.results))
    counted_ = np.nan_to_num(columns.number("prompt_tokens")) > 0
    silent = int((counted_ & np.isnan(columns.number("cached_tokens"))).sum())
    calls = columns.take(counted_)
    if not calls.size or np.isnan(calls.number("cached_tokens")).all():
        hint = "--map cached_tokens=KEY names the key that holds them"
        raise InputError("no call of these logs says how many tokens it read from a cache", hint=hint)
    study = _Study(calls, PriceTable.of(query.prices), query.wall_us)
    parts, compared = study.parts(found)
    totals, groups = study.groups(grouping, tuple(by))
    report = CacheReport(
        by=tuple(by),
        totals=totals,
        groups=groups,
        gaps=study.gaps(),
        causes=study.causes(),
        sessions=study.sessions(),
        other_lasting=study.other_lasting(),
        parts=parts,
        compared=compared,
        findings=(),
        silent=silent,
    )
    return msgspec.structs.replace(report, findings=_findings(report)), found


class _Study:
    """Calls in the order of their threads, and what each missed; arrays have one entry a place in that order."""

    def __init__(self, columns: Columns, table: PriceTable, undated_us: int) -> None:
        self._table, self._undated_us = table, undated_us
        sessions = sessions_of(columns)
        self._threads: Threads = threads_of(columns, sessions)
        runs = self._threads.runs
        self._alone = columns.take(np.setdiff1d(np.arange(columns.size), runs.order))  # calls without a session
        self._calls = columns.take(runs.order)
        self._session: IntArray = self._threads.session[runs.of] if len(runs) else np.empty(0, np.int64)
        self._names = sessions.names
        self._run = runs.of
        self._prompt = self._calls.number("prompt_tokens")
        self._read = np.nan_to_num(self._calls.number("cached_tokens"))
        self._write = np.nan_to_num(self._calls.number("cache_write_tokens"))
        self._first = runs.turns == 1
        times = np.where(self._calls.dated, self._calls.timestamp.astype(np.float64), np.nan)
        self._gap = _since_before(times, self._first)
        self._cost = self._price(self._calls)
        self._missed, self._cause = self._misses()
        self._usd = self._missed_usd()

    def _price(self, calls: Columns) -> FloatArray:
        return calculate(calls, self._table, self._undated_us) if calls.size else np.empty(0)

    def _per_run(self, values: FloatArray) -> FloatArray:
        """The sum over a call's thread; shape (calls,)."""
        sums = np.bincount(self._run, values, minlength=len(self._threads.runs)).astype(np.float64)
        return sums[self._run]

    def _misses(self) -> tuple[FloatArray, list[Cause | None]]:
        """Tokens that each call could have read and did not, and why."""
        writes = self._per_run(self._write) > 0
        caches = writes | (self._per_run(self._read) > 0)
        left = np.where(writes, self._read + self._write, self._prompt)
        before = _before(left, self._first)
        asked_before = _before(self._prompt, self._first)
        possible = np.minimum(before, self._prompt)
        missed = np.nan_to_num(possible - self._read)
        missed[missed < np.maximum(_LEAST_MISSED, _MISSED_SHARE * possible)] = 0.0
        models = self._calls.name("model").codes.astype(np.float64)
        other = (models != _before(models, self._first)) & ~self._first
        lasts = np.where(_before(self._lasting_hour(), self._first) > 0, float(HOUR_US), float(SHORT_US))
        shrunk = self._prompt <= asked_before / 2
        known = ~np.isnan(self._calls.number("cached_tokens"))
        missed[~known | (~caches & ((self._gap > SHORT_US) | shrunk | other))] = 0.0
        chosen = np.select([missed == 0, ~caches, shrunk, other, self._gap > lasts], [0, 1, 2, 3, 4], default=5)
        kinds = (None, Cause.UNUSED, Cause.COMPACTED, Cause.MODEL, Cause.EXPIRED, Cause.PREFIX)
        return missed, [kinds[number] for number in chosen.tolist()]

    def _lasting_hour(self) -> FloatArray:
        """Tokens that were written for an hour, up to and with each call of its thread."""
        hour = np.nan_to_num(self._calls.number("cache_write_1h_tokens"))
        if not len(hour):
            return hour
        summed = np.cumsum(hour)
        runs = self._threads.runs
        start: FloatArray = np.append(0.0, summed)[runs.starts][self._run]
        return np.subtract(summed, start)

    def _as_read(self, tokens: FloatArray) -> Columns:
        """The calls as if they had read so many tokens more from the cache, and written as many fewer."""
        hour = np.nan_to_num(self._calls.number("cache_write_1h_tokens"))
        left = np.maximum(self._write - tokens, 0.0)
        return self._calls.with_numbers(
            cached_tokens=self._read + tokens,
            cache_write_tokens=left,
            cache_write_1h_tokens=np.minimum(hour, left),
        )

    def _missed_usd(self) -> FloatArray:
        """What each miss cost, in dollars; 0 where nothing was missed or no price is known."""
        lost = np.nan_to_num(self._cost - self._price(self._as_read(self._missed)))
        return np.where(self._missed > 0, np.maximum(lost, 0.0), 0.0) / NANO_DOLLARS

    def _saved(self) -> FloatArray:
        """What the cache saved each call: its cost without any, less its cost; dollars, NaN without a price."""
        nothing = np.zeros(self._calls.size)
        bare = self._calls.with_numbers(
            cached_tokens=nothing, cache_write_tokens=nothing, cache_write_1h_tokens=nothing
        )
        return (self._price(bare) - self._cost) / NANO_DOLLARS

    def groups(self, grouping: Grouping, by: tuple[str, ...]) -> tuple[CacheRow, tuple[CacheRow, ...]]:
        """The row of all calls, and one a group."""
        both = concat([self._calls, self._alone])
        rest = self._alone.size
        saved = np.append(self._saved(), np.full(rest, np.nan))
        missed, usd = np.append(self._missed, np.zeros(rest)), np.append(self._usd, np.zeros(rest))
        index = GroupIndex()
        groups, _ = grouping.rows(both, index)

        def row(key: Mapping[str, str | None], chosen: BoolArray) -> CacheRow:
            prompt = float(both.number("prompt_tokens")[chosen].sum())
            cached = float(np.nansum(both.number("cached_tokens")[chosen]))
            known = saved[chosen]
            return CacheRow(
                key=key,
                calls=int(chosen.sum()),
                prompt_tokens=int(prompt),
                cached_tokens=int(cached),
                cache_write_tokens=int(np.nansum(both.number("cache_write_tokens")[chosen])),
                read_share=cached / prompt if prompt else None,
                saved_usd=None if np.isnan(known).all() else float(np.nansum(known)),
                missed_tokens=int(missed[chosen].sum()),
                missed_usd=float(usd[chosen].sum()),
            )

        rows = [row(dict(zip(by, group, strict=True)), groups == number) for number, group in enumerate(index)]
        rows.sort(key=lambda one: (-one.prompt_tokens, str(one.key)))
        return row({}, np.ones(both.size, np.bool_)), tuple(rows)

    def gaps(self) -> tuple[GapRow, ...]:
        """Calls by the time since the call before."""
        edges = (0.0, 60e6, float(SHORT_US), float(HOUR_US), np.inf)
        places = {"first call": self._first}
        for name, low, high in zip(_GAPS, edges[:-1], edges[1:], strict=True):
            places[name] = (self._gap >= low) & (self._gap < high) & ~self._first
        rows = []
        for name, chosen in places.items():
            prompt, cached = float(self._prompt[chosen].sum()), float(self._read[chosen].sum())
            share = cached / prompt if prompt else None
            rows.append(
                GapRow(name, int(chosen.sum()), int(prompt), int(cached), share, float(self._usd[chosen].sum()))
            )
        return tuple(row for row in rows if row.calls)

    def causes(self) -> tuple[CauseRow, ...]:
        """What was missed, by cause."""
        rows = []
        for cause in Cause:
            chosen = self._because(cause)
            if chosen.any():
                sessions = len(set(self._session[chosen].tolist()))
                tokens, usd = int(self._missed[chosen].sum()), float(self._usd[chosen].sum())
                rows.append(CauseRow(cause, EXPLANATIONS[cause], int(chosen.sum()), sessions, tokens, usd))
        return tuple(sorted(rows, key=lambda row: -row.usd))

    def _because(self, cause: Cause) -> BoolArray:
        return np.array([each is cause for each in self._cause], np.bool_)

    def sessions(self) -> tuple[MissRow, ...]:
        """The sessions that missed a cache, the most expensive first."""
        places: dict[int, list[int]] = {}
        for at in np.flatnonzero(self._missed).tolist():
            places.setdefault(int(self._session[at]), []).append(at)
        sizes = np.bincount(self._session, minlength=len(self._names))
        rows = [
            MissRow(
                session=self._names[session],
                calls=int(sizes[session]),
                misses=len(mine),
                tokens=int(self._missed[mine].sum()),
                usd=float(self._usd[mine].sum()),
                causes=dict(Counter(str(self._cause[at]) for at in mine)),
            )
            for session, mine in places.items()
        ]
        return tuple(sorted(rows, key=lambda row: (-row.usd, row.session)))

    def other_lasting(self) -> HourRow | None:
        """What the calls would have cost with the hour's cache, or with that of five minutes where the hour's is used.

        None where no cache is written.
        """
        if not self._write.any():
            return None
        hour = np.nan_to_num(self._calls.number("cache_write_1h_tokens"))
        if hour.any():
            lasts, other = "5 minutes", self._for_five_minutes()
        else:
            lasts, other = "an hour", self._for_an_hour()
        saved = np.nan_to_num(self._cost - self._price(other)) / NANO_DOLLARS
        by_session = np.bincount(self._session, saved, minlength=len(self._names))
        better = by_session > 0
        return HourRow(lasts, self._calls.size, float(saved.sum()), float(by_session[better].sum()), int(better.sum()))

    def _for_an_hour(self) -> Columns:
        again = self._because(Cause.EXPIRED) & (self._gap <= HOUR_US)
        read_more = self._as_read(np.where(again, self._missed, 0.0))
        return read_more.with_numbers(cache_write_1h_tokens=read_more.number("cache_write_tokens"))

    def _for_five_minutes(self) -> Columns:
        lost = np.where((self._gap > SHORT_US) & ~self._first, self._read, 0.0)
        return self._calls.with_numbers(
            cached_tokens=self._read - lost,
            cache_write_tokens=self._write + lost,
            cache_write_1h_tokens=np.zeros(self._calls.size),
        )

    def parts(self, found: Read) -> tuple[tuple[PartRow, ...], int]:
        """Where prompts began to differ, where their texts are logged; and how many were compared."""
        chosen = np.flatnonzero(self._because(Cause.PREFIX))
        positions = self._calls.positions
        if not len(chosen) or positions is None:
            return (), 0
        chosen = chosen[np.argsort(-self._usd[chosen], kind="stable")][:_MOST_COMPARED]
        wanted = np.union1d(positions[chosen], positions[chosen - 1])
        lines = lines_at(found.scanned, wanted.tolist())
        places: dict[str, list[tuple[float, int]]] = {}
        for at in chosen.tolist():
            before, after = lines.get(int(positions[at - 1])), lines.get(int(positions[at]))
            differs = None if before is None or after is None else _difference(before, after)
            if differs is not None:
                places.setdefault(differs[0], []).append((float(self._usd[at]), differs[1]))
        rows = [
            PartRow(part, len(pairs), sum(usd for usd, _ in pairs), int(np.median([at for _, at in pairs])))
            for part, pairs in places.items()
        ]
        return tuple(sorted(rows, key=lambda row: (-row.usd, row.part))), sum(row.calls for row in rows)


def _difference(before: bytes, after: bytes) -> tuple[str, int] | None:
    try:
        return first_difference(object_of(before), object_of(after))
    except UnreadableError:
        return None


_GAPS: Final = ("under 1 min", "1 to 5 min", "5 to 60 min", "over 1 h")


def _before(values: FloatArray, first: BoolArray) -> FloatArray:
    """The value of the call before in the same thread, NaN for the first; shape (calls,)."""
    found = np.append(np.nan, values[:-1])[: len(values)]
    found[first] = np.nan
    return found


def _since_before(times: FloatArray, first: BoolArray) -> FloatArray:
    """Microseconds since the call before in the same thread began; 0 where that is not known; shape (calls,)."""
    return np.nan_to_num(times - _before(times, first))


def _findings(report: CacheReport) -> tuple[Finding, ...]:
    found = [_of_cause(row, report) for row in report.causes if row.usd > 0 and row.cause in _STEPS]
    other = report.other_lasting
    if other is not None and other.best_usd > 0:
        kept = "saved" if other.saved_usd > 0 else "cost more by"
        text = (
            f"a cache of {other.lasts} would have {kept} {money_text(abs(other.saved_usd))} for all calls; in the "
            f"{counted(other.sessions, 'session')} where it pays it saves {money_text(other.best_usd)}"
        )
        step = 'set the ttl of cache_control to "1h"' if other.lasts == "an hour" else "leave the ttl out"
        found.append(Finding("lasting", text, f"{step} for sessions with such pauses", other.best_usd))
    return tuple(sorted(found, key=lambda one: -(one.usd or 0.0)))


_STEPS: Final = {
    Cause.EXPIRED: "a cache of an hour, or a call that keeps it warm, where sessions pause",
    Cause.PREFIX: "put what changes (times, ids, the order of tools) behind what stays",
    Cause.MODEL: "keep one model within a session",
    Cause.UNUSED: "turn caching on: a breakpoint behind the system prompt and the tools",
}


def _of_cause(row: CauseRow, report: CacheReport) -> Finding:
    share = f" ({percent(row.tokens / report.totals.prompt_tokens)} of the input)"
    start = f"{money_text(row.usd)} for {count(row.tokens)} tokens{share}"
    text = {
        Cause.EXPIRED: f"{start} that were paid for again after the cache's time had passed",
        Cause.PREFIX: f"{start} that were paid for again because the prefix changed; a fixed one would have saved that",
        Cause.MODEL: f"{start} that were paid for again because the model changed within a session",
        Cause.UNUSED: f"up to {start} that a cache would have saved, where none is used",
    }[row.cause]
    text += f": {counted(row.calls, 'call')} of {counted(row.sessions, 'session')}"
    if row.cause is Cause.PREFIX and report.parts:
        part = report.parts[0]
        text += f"; most often the first part that differs is {part.part}, at character {part.character:,}"
    return Finding(row.cause.value, text, _STEPS[row.cause], row.usd)
