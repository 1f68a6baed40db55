"""The one place where the stages meet: logs -> columns -> partials or rows -> reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llmmon import parallel, sources
from llmmon.columns import Columns, concat
from llmmon.config import Config
from llmmon.durations import duration_us, moment_us
from llmmon.errors import EXIT_INPUT, EXIT_OK, InputError, UsageError
from llmmon.filters import Filter, all_of
from llmmon.folds import TrailingFold
from llmmon.formats.detection import Wanted
from llmmon.formats.mapping import parse_override
from llmmon.logged_costs import as_logged
from llmmon.record import TAG_PREFIX
from llmmon.reports import SourceReport, Window
from llmmon.scanning import Fold, Scan, Scanned, Selection, open_plans, scan
from llmmon.source_bytes import Source

if TYPE_CHECKING:
    from llmmon.seeking import TimeIndex

PRICED_BY: Final = frozenset(
    {"model", "provider", "service_tier", "status", "cache_hit", "prompt_tokens", "completion_tokens", "total_tokens"}
    | {"cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens", "cost_usd"}
)
_RELATIVE: Final = {"today": 25 * 3600, "yesterday": 49 * 3600}  # seconds that may lie between it and the end


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What the shared options ask for; texts as they were given, `wall_us` is the clock."""

    logs: tuple[str, ...]
    config: Config
    wall_us: int
    window: str | None = None
    since: str | None = None
    until: str | None = None
    now: str | None = None
    tz: str = "UTC"
    naive_tz: str = "UTC"
    where: tuple[str, ...] = ()
    dialect: str | None = None
    maps: tuple[str, ...] = ()
    cost: str = "auto"
    jobs: int | None = None
    dedup: bool = False
    rejects: Path | None = None
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] = msgspec.field(default=lambda _: None)


class Read(msgspec.Struct, frozen=True):
    """What reading gave: the folds' results, the source report, the time range, the exit code so far."""

    results: list[Any]
    source: SourceReport
    window: Window
    exit_code: int
    scanned: Scanned[Any]


class Logs:
    """The logs of a query, opened: which there are, how each is read, what could not be."""

    def __init__(self, query: Query, fields: frozenset[str]) -> None:
        self.query = query
        self.filter = all_of(query.where)
        found = sources.find(query.logs)
        wanted = self._wanted(fields, self.filter)
        self.sources, self.plans, self.streams, failed = open_plans(found.sources, wanted)
        self.failed = (*found.unreadable, *failed)
        self._tell(found)

    def _wanted(self, fields: frozenset[str], where: Filter | None) -> Wanted:
        query = self.query
        needed = {"timestamp", *fields, *(where.fields if where else ())}
        tags = tuple(sorted(name.removeprefix(TAG_PREFIX) for name in needed if name.startswith(TAG_PREFIX)))
        return Wanted(
            fields=frozenset(name for name in needed if not name.startswith(TAG_PREFIX))
            | pricing_fields(query, needed),
            tags=tags,
            overrides=tuple(parse_override(text) for text in query.maps),
            dialect=query.dialect,
            naive=query.naive_tz,
        )

    def _tell(self, found: sources.Found) -> None:
        for path, why in self.failed:
            self.query.say(f"{path}: {why}")
        if found.ignored:
            self.query.say(f"{len(found.ignored)} file(s) ignored that are no logs, such as {found.ignored[0]}")
        for path in found.repeated:
            self.query.say(f"{path}: read once (the same content was named before)")
        if not self.sources:
            what = "nothing to read" if not self.failed else "none of the logs can be read"
            raise InputError(what, hint="name files, folders or globs of JSON lines, or - for standard input")

    @property
    def indexable(self) -> bool:
        """Whether every source can be read from the middle."""
        return all(s.splittable and p.splittable for s, p in zip(self.sources, self.plans, strict=True))


def pricing_fields(query: Query, needed: set[str]) -> frozenset[str]:
    """The fields that costs are made from, where costs are needed."""
    return PRICED_BY if query.cost != "none" and any("cost" in name for name in needed) else frozenset()


def read(query: Query, fields: frozenset[str], make_fold: Callable[[], Fold[Any]]) -> Read:
    """Read the calls of a query into folds; raises `InputError` where there is nothing usable at all."""
    logs = Logs(query, fields)
    times = _Times(query, logs)
    price = _price(query, fields)
    plan = Scan(
        sources=logs.sources,
        plans=logs.plans,
        ranges=times.ranges,
        selection=Selection(times.start_us, times.end_us, logs.filter),
        price=price,
        jobs=query.jobs or parallel.cpu_count(),
        streams=logs.streams,
        progress=_progress(query, logs.sources),
    )
    if times.trailing:
        return _read_trailing(query, logs, times, plan, make_fold)
    scanned = scan(plan, make_fold)
    return _done(query, logs, times, scanned, scanned.results)


def _read_trailing(query: Query, logs: Logs, times: _Times, plan: Scan, make_fold: Callable[[], Fold[Any]]) -> Read:
    """For logs whose end is known only when they have been read: keep what may matter, then select."""
    horizon = times.horizon_us()
    kept = scan(msgspec.structs.replace(plan, selection=Selection(where=logs.filter)), lambda: TrailingFold(horizon))
    times.settle(kept.report.end_us)
    selection = Selection(times.start_us, times.end_us)
    columns = concat(kept.results)
    inside = columns.take(selection.inside(columns))
    fold = make_fold()
    if inside.size:
        fold.add(inside, [])
    outside = kept.report.requests - inside.size
    report = msgspec.structs.replace(kept.report, requests=inside.size, outside=outside)
    return _done(query, logs, times, msgspec.structs.replace(kept, report=report), [fold.result()])


def _done(query: Query, logs: Logs, times: _Times, scanned: Scanned[Any], results: list[Any]) -> Read:
    report = scanned.report
    failed = (*logs.failed, *report.failed)
    for path, why in report.failed:
        query.say(f"{path}: {why}")
    if report.used == 0 and report.samples == 0:
        raise nothing_usable(report)
    window = times.window(report.start_us, report.end_us)
    report = msgspec.structs.replace(
        report, failed=failed, timezone=query.tz, now_us=times.now_us if times.now_us is not None else window.end_us
    )
    return Read(results, report, window, EXIT_INPUT if failed else EXIT_OK, scanned)


def nothing_usable(report: SourceReport) -> InputError:
    """The error for logs without a single usable row: what was seen, and what to try."""
    counts = f"{report.blank:,} blank, {report.skipped:,} without a call, {report.rejected:,} unreadable"
    seen = f"{report.lines:,} lines: {counts}"
    first = f"\n  first: {report.rejects[0].place}: {report.rejects[0].reason}" if report.rejects else ""
    kinds = f"\n  read as: {', '.join(report.dialects)}" if report.dialects else ""
    files = report.files[0] if len(report.files) == 1 else f"{len(report.files)} files"
    return InputError(
        f"no LLM call found in {files} ({seen}){kinds}{first}",
        hint="`llmmon inspect` shows what each file is; `--map model=... --map latency_ms=...` names your own keys",
    )


class _Times:
    """The time range of a query, and where in each file it lies."""

    def __init__(self, query: Query, logs: Logs) -> None:
        if query.window and (query.since or query.until):
            raise UsageError("--window does not go together with --since or --until")
        self._query = query
        self.start_us: int | None = None
        self.end_us: int | None = None
        self.now_us: int | None = None
        self.ranges: tuple[tuple[int, int | None], ...] = ((0, None),) * len(logs.sources)
        self.trailing = False
        if query.now not in (None, "log"):
            self.now_us = query.wall_us if query.now == "wall" else moment_us(str(query.now), query.wall_us, query.tz)
        if query.window or query.since or query.until:
            self._resolve(logs)

    def _resolve(self, logs: Logs) -> None:
        indexes = self._indexes(logs) if logs.indexable else None
        if self.now_us is None:
            ends = [index.last_us for index in indexes or () if index.last_us is not None]
            if not ends:
                self.trailing = True
                return
            self.now_us = max(ends) + 1
        self._set_range()
        if indexes is not None:
            self.ranges = tuple(self._range(index, s) for index, s in zip(indexes, logs.sources, strict=True))

    def _indexes(self, logs: Logs) -> list[TimeIndex] | None:
        from llmmon.seeking import TimeIndex

        indexes = [TimeIndex(source, plan) for source, plan in zip(logs.sources, logs.plans, strict=True)]
        for index, source in zip(indexes, logs.sources, strict=True):
            if source.size and not index.in_order():
                self._query.say(f"{source.path}: not in order of time, so all of it is read")
                return None
        return indexes

    def settle(self, last_us: int | None) -> None:
        """Set the range now that the last event is known."""
        self.now_us = self._query.wall_us if last_us is None else last_us + 1
        self._set_range()

    def _set_range(self) -> None:
        query, now = self._query, self.now_us or 0
        if query.window:
            self.start_us, self.end_us = now - duration_us(query.window, plain="m"), now
        else:
            self.start_us = moment_us(query.since, now, query.tz) if query.since else None
            self.end_us = moment_us(query.until, now, query.tz) if query.until else None

    def _range(self, index: TimeIndex, source: Source) -> tuple[int, int | None]:
        start = 0 if self.start_us is None else index.offset_before(self.start_us)
        end = source.size if self.end_us is None else index.offset_after(self.end_us)
        return (start, max(start, end))

    def horizon_us(self) -> int | None:
        """How far before the last event calls can matter; None: all of them."""
        query = self._query
        if query.window:
            return duration_us(query.window, plain="m")
        if query.since in _RELATIVE:
            return _RELATIVE[query.since] * 1_000_000
        return None

    def window(self, first_us: int | None, last_us: int | None) -> Window:
        """The time that the report is about; minutes from first to last event where it is open."""
        start = self.start_us if self.start_us is not None else first_us
        end = self.end_us if self.end_us is not None else (None if last_us is None else last_us + 1)
        minutes = (end - start) / 60e6 if start is not None and end is not None and end - start > 1 else None
        return Window(start, end, minutes)


def _price(query: Query, fields: frozenset[str]) -> Callable[[Columns], Columns] | None:
    if query.cost == "none" or not any("cost" in name for name in fields):
        return None
    return _Pricing(query.cost, query.config.prices)


class _Pricing:
    """Gives calls their costs; the price table is loaded when the first call needs it."""

    def __init__(self, mode: str, prices: Mapping[str, Any]) -> None:
        self._mode = mode
        self._prices = prices
        self._table: Any = None

    def __call__(self, columns: Columns) -> Columns:
        settled = as_logged(columns) if self._mode in {"auto", "logged"} else None
        return self._calculated(columns) if settled is None else settled

    def _calculated(self, columns: Columns) -> Columns:
        from llmmon.prices import PriceTable
        from llmmon.pricing import price

        if self._table is None:
            self._table = PriceTable.of(self._prices)
        return price(columns, self._table, self._mode)


def _progress(query: Query, found: Sequence[Source]) -> Callable[[int], None] | None:
    if query.progress is None:
        return None
    total = sum(source.size for source in found)
    tell = query.progress
    return lambda done: tell(done, total)
