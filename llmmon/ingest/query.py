"""A query and the one loader of its calls: logs -> columns -> each call once, priced and selected -> folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import EXIT_INPUT, EXIT_OK, NO_CALLS, NO_LOGS, InputError
from llmmon.formats.detection import ReadPlan, Wanted
from llmmon.formats.home_made import GENERIC
from llmmon.formats.mapping import Binding
from llmmon.formats.suggestions import keys_seen, keys_text, map_options
from llmmon.ingest import parallel, sources
from llmmon.ingest.cache import ColumnCache
from llmmon.ingest.plans import Unlike, open_plans, refit
from llmmon.ingest.rejects import keep_rejects
from llmmon.ingest.report import SourceReport, Window
from llmmon.ingest.scan import LEAST_TO_SHARE, Fold, Scanned, ScanRequest, scan
from llmmon.ingest.selection import (
    EVERY_CALL,
    OnceFold,
    Selection,
    any_repeated,
    codes_of,
    joined_halves,
    keep_most_complete,
    keep_once,
)
from llmmon.ingest.spans import SPAN_BYTES, Source, Stream
from llmmon.ingest.time_range import TimeRange, TimeRequest
from llmmon.metrics.aggregation import ColumnsFold, TrailingFold
from llmmon.metrics.columns import EMPTY, Columns, concat, in_log_order
from llmmon.metrics.definitions import SESSION_METRICS
from llmmon.metrics.filters import Filter
from llmmon.metrics.record import TAG_PREFIX
from llmmon.pricing.cost_modes import CostMode, pricing, pricing_fields
from llmmon.text.figures import counted

_LEAST_SPAN: Final = 512 << 10  # bytes


def say_nothing(_text: str) -> None:
    """Drop a note."""


class Derive(msgspec.Struct, frozen=True):
    """A step that adds columns to the calls, made of other fields; `weight` is its work, in that of reading.

    An `early` step needs only a row and is run as soon as it is read, also where calls are held back: what it takes
    away, such as texts, is never kept.
    """

    fields: frozenset[str]
    added: Callable[[Columns], Columns]
    weight: int = 1
    early: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls of which logs are asked for, and how the logs are read: values, made of options at the edge.

    `wall_us` is the clock (microseconds UTC), `tz` the zone of days and of what is shown, `naive_tz` that of
    timestamps without a zone; both are names of zones that exist.
    """

    logs: tuple[str, ...]
    wall_us: int
    time: TimeRequest = TimeRequest()
    where: Filter | None = None
    prices: Mapping[str, Any] = msgspec.field(default_factory=dict)  # `[prices]`, beside the shipped list
    tz: str = "UTC"
    naive_tz: str = "UTC"
    dialect: str | None = None
    overrides: tuple[Binding, ...] = ()  # where fields are read from, before what the dialect says
    root: str | None = None  # the object of a home-made line that is the call
    cost: str = CostMode.AUTO
    jobs: int | None = None
    engine: str | None = None  # HOST:PORT of a Dask scheduler
    dedup: bool = False
    rejects: Path | None = None
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] = say_nothing  # notes, which --quiet leaves out
    warn: Callable[[str], None] = say_nothing  # what people must know even then
    derive: Derive | None = None
    cache: ColumnCache | None = None
    steps: bool = False  # read the steps of agents, too (`Read.scanned.steps`)
    step_texts: bool = False  # with what tools were given and gave

    def quiet(self) -> Query:
        """The same query without notes, progress or rejected lines, for a reading that is not shown to the user."""
        return msgspec.structs.replace(self, say=say_nothing, progress=None, rejects=None)


class Read(msgspec.Struct, frozen=True):
    """What reading gave: the folds' results, the source report, the time range, the exit code so far.

    `repeated` are the rows that were left out because another row is of the same call.
    """

    results: list[Any]
    source: SourceReport
    window: Window
    exit_code: int
    scanned: Scanned[Any]
    repeated: Columns = EMPTY


MakeFold = Callable[[], Fold[Any]]


class Loader:
    """What every reading does to the calls, of whole logs or of what is new: each once, with costs, selected.

    Where rows of one call are known only once all are read (`deferred`), a scan gives the calls as they are, and
    `settle` does the rest. `weight` is the fold's work on a byte, in that of reading it: heavy work is shared out in
    smaller pieces.
    """

    def __init__(self, query: Query, fields: frozenset[str], make_fold: MakeFold, weight: int = 1) -> None:
        if query.derive is not None:
            fields, weight = fields | query.derive.fields, max(weight, query.derive.weight)
        self.query = query
        self.wanted = wanted_of(query, fields)
        self.sessions = bool(self.wanted.fields & SESSION_METRICS)  # what a session comes to is known at its end
        self.deferred = query.dedup or self.sessions
        self._make_fold = make_fold
        self._add = _adding(query, fields)
        self._early = query.derive.added if query.derive is not None and query.derive.early else None
        self._weight = weight

    def request(
        self,
        sources: Sequence[Source],
        plans: Sequence[ReadPlan],
        ranges: Sequence[tuple[int, int | None]],
        *,
        streams: Mapping[int, Stream] | None = None,
        inside: Selection = EVERY_CALL,
        jobs: int | None = None,
        cache: ColumnCache | None = None,
    ) -> ScanRequest:
        """The scan of byte ranges of logs; `inside` is the time range, `jobs` None is what the query says."""
        return ScanRequest(
            sources=tuple(sources),
            plans=tuple(plans),
            ranges=tuple(ranges),
            selection=inside if self.deferred else msgspec.structs.replace(inside, where=self.query.where),
            price=self._early if self.deferred else _in_turn(self._early, self._add),
            jobs=jobs or self.query.jobs or parallel.cpu_count(),
            engine=self.query.engine if jobs is None else None,
            streams=streams or {},
            progress=self.query.progress,
            span_bytes=max(_LEAST_SPAN, SPAN_BYTES // self._weight),
            least_to_share=LEAST_TO_SHARE // self._weight,
            cache=cache,
        )

    @property
    def make_fold(self) -> MakeFold:
        """Make the folds of a scan: those of the command, or folds that hold the calls back."""
        return ColumnsFold if self.deferred else self._make_fold

    def settle(self, calls: Columns, unseen: Callable[[Columns], Columns] = lambda calls: calls) -> Settled:
        """Fold calls that were held back; those that are not `unseen` count as repeated."""
        single = without_repeats(unseen(calls), any_dialect=self.query.dedup)
        priced = single if self._add is None or not single.size else self._add(single)
        where = self.query.where
        if where is not None and where.fields & SESSION_METRICS:
            priced = _with_session_values(priced)
        chosen = priced if where is None or not priced.size else priced.take(where.mask(priced))
        if self.sessions and chosen.size:
            chosen = _with_session_values(chosen)
        fold = self._make_fold()
        if chosen.size:
            fold.add(chosen, [])
        counts = {
            "requests": chosen.size,
            "filtered": single.size - chosen.size,
            "duplicates": calls.size - single.size,
        }
        return Settled([fold.result()], counts, single)


def _with_session_values(columns: Columns) -> Columns:
    from llmmon.metrics.sessions import with_session_values  # few commands ask for them

    return with_session_values(columns)


class Settled(msgspec.Struct, frozen=True):
    """The outcome of calls that were held back: the fold's result, counts of a `SourceReport`, each call once."""

    results: list[Any]
    counts: dict[str, int]
    single: Columns


def without_repeats(columns: Columns, *, any_dialect: bool) -> Columns:
    """Each call once: in dialects that log a call more than once, or by its id in any."""
    single = keep_once(joined_halves(columns))
    return keep_most_complete(single, codes_of(single.name("request_id")))[0] if any_dialect else single


class Logs:
    """The opened logs of a query: which there are, how each is read, and which could not be."""

    def __init__(self, query: Query, wanted: Wanted) -> None:
        self.query = query
        found = sources.find(query.logs)
        self.sources, self.plans, self.streams, failed = open_plans(found.sources, wanted)
        self.failed = (*found.unreadable, *failed)
        self.certain = bool(self.streams)  # the plans are final: what was read cannot be read again
        self._wanted = wanted
        self._report(found)

    def refit(self, scanned: Scanned[Any]) -> bool:
        """Whether a scan met what the plans did not expect, so that they are others now; at most once."""
        if self.certain:
            return False
        self.certain = True
        better = {number: plan for number, one in scanned.unlike.items() if (plan := self._refitted(number, one))}
        self.plans = tuple(better.get(number, plan) for number, plan in enumerate(self.plans))
        return bool(better)

    def refit_one(self, number: int, unlike: Unlike) -> bool:
        """As `refit`, for one log that can be read again."""
        better = self._refitted(number, unlike)
        self.plans = tuple(better if at == number and better else plan for at, plan in enumerate(self.plans))
        return better is not None

    def _refitted(self, number: int, unlike: Unlike) -> ReadPlan | None:
        return refit(self.sources[number], self.plans[number], self._wanted, unlike)

    def _report(self, found: sources.Found) -> None:
        for path, why in self.failed:
            self.query.say(f"{path}: {why}")
        if found.ignored:
            self.query.say(
                f"skipped {counted(len(found.ignored), 'file')} not named like a log, e.g. {found.ignored[0]}"
            )
        for path in found.repeated:
            self.query.say(f"{path}: read once (the same content was named before)")
        if not self.sources:
            what, code = ("none of the logs can be read", "") if self.failed else ("nothing to read", NO_LOGS)
            hint = "name files, folders or globs of JSON lines, or - for standard input"
            raise InputError(what, hint=hint, code=code)


def wanted_of(query: Query, fields: frozenset[str]) -> Wanted:
    """What a query asks of reading."""
    where = query.where
    needed = {"timestamp", *fields, *(where.fields if where else ()), *(("request_id",) if query.dedup else ())}
    tags = tuple(sorted(name.removeprefix(TAG_PREFIX) for name in needed if name.startswith(TAG_PREFIX)))
    own = frozenset(name for name in needed if not name.startswith(TAG_PREFIX))
    return Wanted(
        fields=own | pricing_fields(query.cost, needed),
        tags=tags,
        overrides=query.overrides,
        root=query.root,
        dialect=query.dialect,
        naive=query.naive_tz,
        steps=query.steps,
        step_texts=query.step_texts,
    )


def _adding(query: Query, fields: frozenset[str]) -> Callable[[Columns], Columns] | None:
    """What is added to the calls while they are read: costs, and what else the query derives."""
    priced = pricing(query.cost, fields, query.prices, query.wall_us)
    return priced if query.derive is None or query.derive.early else _in_turn(priced, query.derive.added)


def _in_turn(
    first: Callable[[Columns], Columns] | None, then: Callable[[Columns], Columns] | None
) -> Callable[[Columns], Columns] | None:
    if first is None or then is None:
        return then if first is None else first
    return lambda columns: then(first(columns))


def read(query: Query, fields: frozenset[str], make_fold: MakeFold, weight: int = 1, *, writes: bool = False) -> Read:
    """Read the calls of a query into folds; raises `InputError` where there is nothing usable at all.

    `weight` is the fold's work on a byte, in that of reading it. `writes`: what the fold is given cannot be taken
    back, so that it must not be given anything before it is certain.
    """
    loader = Loader(query, fields, make_fold, weight)
    times = TimeRange(query.time, query.wall_us, query.tz, query.say)
    logs = Logs(query, loader.wanted)
    times.locate(logs.sources, logs.plans)
    logs.certain |= writes
    while (done := _read_as_planned(loader, logs, times, writes=writes)) is None:
        loader.query = msgspec.structs.replace(loader.query, progress=None)
    return done


def _read_as_planned(loader: Loader, logs: Logs, times: TimeRange, *, writes: bool) -> Read | None:
    """Read by the plans that were made; None where they turned out to be wrong, and are others now."""
    query = loader.query
    # calls around others: a filter may take the ones and leave the others; what comes by a pipe is read but once
    unsure = any(plan.nests for plan in logs.plans) and (writes or query.where is not None or bool(logs.streams))
    loader.deferred |= times.trailing or unsure or any(plan.repeats for plan in logs.plans)
    if not loader.deferred:
        with keep_rejects(query.rejects) as rejects:
            scanned = scan(_request(loader, logs, times), lambda: OnceFold(loader.make_fold()), rejects)
        if logs.refit(scanned):
            return None
        if not any_repeated([keys for _, keys in scanned.results]):
            return _done(query, logs, times, scanned, [result for result, _ in scanned.results])
        loader.deferred = True
    return _read_deferred(loader, logs, times)


def _request(loader: Loader, logs: Logs, times: TimeRange) -> ScanRequest:
    plans = logs.plans
    if loader.deferred:  # what is needed to choose among the rows of a call
        plans = tuple(plan if plan.repeats else msgspec.structs.replace(plan, repeats=True) for plan in plans)
    return loader.request(
        logs.sources,
        plans,
        times.ranges,
        streams=logs.streams,
        inside=EVERY_CALL if times.trailing else Selection(times.start_us, times.end_us),
        cache=loader.query.cache,
    )


def _read_deferred(loader: Loader, logs: Logs, times: TimeRange) -> Read | None:
    """Read all calls, then settle what is known only then: where the log ends, and which rows are of one call.

    None where the plans turned out to be wrong.
    """
    query, trailing, horizon_us = loader.query, times.trailing, loader.query.time.horizon_us()
    request = _request(loader, logs, times)
    with keep_rejects(query.rejects) as rejects:
        scanned = scan(request, (lambda: TrailingFold(horizon_us)) if trailing else loader.make_fold, rejects)
    if logs.refit(scanned):
        return None
    if trailing:
        times.settle(scanned.report.end_us)
    inside = in_log_order(concat(scanned.results))
    selection = Selection(times.start_us, times.end_us)
    if selection.timed:
        inside = inside.take(selection.inside(inside))
    settled = loader.settle(inside)
    outside = scanned.report.requests + scanned.report.outside - inside.size
    report = msgspec.structs.replace(scanned.report, **settled.counts, outside=outside)
    dated = settled.single.timestamp[settled.single.dated]
    if not selection.timed and len(dated):  # rows that are no calls of their own do not make the log longer
        report = msgspec.structs.replace(report, start_us=int(dated.min()), end_us=int(dated.max()))
    done = _done(query, logs, times, msgspec.structs.replace(scanned, report=report), settled.results)
    return msgspec.structs.replace(done, repeated=_left_out(inside, settled.single))


def _left_out(inside: Columns, single: Columns) -> Columns:
    if inside.size == single.size or inside.positions is None or single.positions is None:
        return EMPTY
    return inside.take(~np.isin(inside.positions, single.positions))


def _done(query: Query, logs: Logs, times: TimeRange, scanned: Scanned[Any], results: list[Any]) -> Read:
    report = scanned.report
    failed = (*logs.failed, *report.failed)
    for path, why in report.failed:
        query.say(f"{path}: {why}")
    if report.used == 0 and report.samples == 0:
        raise nothing_usable(report, logs.plans)
    window = times.window(report.start_us, report.end_us)
    report = msgspec.structs.replace(
        report, failed=failed, timezone=query.tz, now_us=times.now_us if times.now_us is not None else window.end_us
    )
    return Read(results, report, window, EXIT_INPUT if failed else EXIT_OK, scanned)


def nothing_usable(report: SourceReport, plans: Sequence[ReadPlan] = ()) -> InputError:
    """The error for logs without a single usable row: what was seen, and what to try."""
    seen_keys = keys_seen(mapping.shape for plan in plans for mapping in plan.mappings if mapping.dialect == GENERIC)
    keys = f"\n  keys in these lines: {keys_text(seen_keys)}" if seen_keys else ""
    options = map_options(seen_keys)
    counts = f"{report.blank:,} blank, {report.skipped:,} without a call, {report.rejected:,} unreadable"
    seen = f"{counted(report.lines, 'line')}: {counts}"
    first = f"\n  first: {report.rejects[0].place}: {report.rejects[0].reason}" if report.rejects else ""
    kinds = f"\n  read as: {', '.join(report.dialects)}" if report.dialects else ""
    why = "".join(f"\n  {warning}" for warning in report.warnings)
    files = report.files[0] if len(report.files) == 1 else f"{len(report.files)} files"
    return InputError(
        f"no LLM call found in {files} ({seen}){kinds}{keys}{first}{why}",
        hint=" ".join(options)
        if options
        else "`llmmon inspect` shows what each file is; `--map model=... --map latency_ms=...` names your own keys",
        code=NO_CALLS,
    )
