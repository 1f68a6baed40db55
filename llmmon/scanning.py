"""Sources -> folds: every span is read by one worker, its calls are selected and priced, and folded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import numpy as np

from llmmon import parallel
from llmmon.columns import MISSING_TIME, BoolArray, Columns
from llmmon.filters import Filter
from llmmon.formats.accounting import Accounting
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reading import Block, ReadPlan, SpanReader
from llmmon.reports import RejectedLine, SourceReport
from llmmon.source_bytes import Source, Span, SpanBytes, Stream, head, spans_of

Folded = TypeVar("Folded")
Result = TypeVar("Result", covariant=True)
POSITION_BITS = 40  # a call's position is its span's number << 40 | its line in the span


class Fold(Protocol[Result]):
    """What a command makes of the calls: fed block after block in a worker, its result pickles."""

    def add(self, columns: Columns, samples: list[dict[str, Any]], /) -> None: ...
    def result(self) -> Result: ...


class Selection(msgspec.Struct, frozen=True):
    """Which calls count: those in [start, end), dated, that the filter keeps. None is open."""

    start_us: int | None = None
    end_us: int | None = None
    where: Filter | None = None

    @property
    def timed(self) -> bool:
        """Whether calls without a time are left out."""
        return self.start_us is not None or self.end_us is not None

    def inside(self, columns: Columns) -> BoolArray:
        """Which calls fall in the time range; shape (calls,)."""
        kept: BoolArray = columns.timestamp != MISSING_TIME
        if self.start_us is not None:
            kept = kept & (columns.timestamp >= self.start_us)
        return kept if self.end_us is None else kept & (columns.timestamp < self.end_us)


class Tally(msgspec.Struct):
    """What became of the calls that were read: `calls == requests + duplicates + outside + filtered`."""

    requests: int = 0
    duplicates: int = 0
    outside: int = 0
    filtered: int = 0
    undated: int = 0
    samples: int = 0
    start_us: int | None = None
    end_us: int | None = None

    def dated(self, columns: Columns) -> None:
        """Take note of the calls' times."""
        times = columns.timestamp[columns.dated]
        self.undated += columns.size - len(times)
        if len(times):
            low, high = int(times.min()), int(times.max())
            self.start_us = low if self.start_us is None else min(low, self.start_us)
            self.end_us = high if self.end_us is None else max(high, self.end_us)

    def add(self, other: Tally) -> None:
        """Count another's calls too."""
        for name in ("requests", "duplicates", "outside", "filtered", "undated", "samples"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        starts = [t for t in (self.start_us, other.start_us) if t is not None]
        ends = [t for t in (self.end_us, other.end_us) if t is not None]
        self.start_us, self.end_us = min(starts, default=None), max(ends, default=None)


class Scan(msgspec.Struct, frozen=True):
    """What to read: sources with their plans and byte ranges, how to select and price, in how many jobs."""

    sources: tuple[Source, ...]
    plans: tuple[ReadPlan, ...]
    ranges: tuple[tuple[int, int | None], ...]
    selection: Selection
    price: Callable[[Columns], Columns] | None = None
    jobs: int = 1
    streams: Mapping[int, Stream] = msgspec.field(default_factory=dict)
    progress: Callable[[int], None] | None = None

    def spans(self) -> list[Span]:
        """All spans, in order."""
        found: list[Span] = []
        for number, (source, plan, (start, end)) in enumerate(zip(self.sources, self.plans, self.ranges, strict=True)):
            whole = source if plan.splittable else msgspec.structs.replace(source, seekable=False)
            found += spans_of(number, whole, start, end, len(found))
        return found


class Scanned(msgspec.Struct, Generic[Folded], frozen=True):
    """The folds' results, one a worker, and the accounting of the whole."""

    results: list[Folded]
    report: SourceReport
    tally: Tally
    spans: dict[int, tuple[Span, int | None]]  # span number -> span, line number before its first (None: unknown)


def open_plans(
    sources: Sequence[Source], wanted: Wanted
) -> tuple[tuple[Source, ...], tuple[ReadPlan, ...], dict[int, Stream], list[tuple[str, str]]]:
    """The readable sources with their plans; what is read once only comes as an open stream."""
    readable: list[Source] = []
    plans: list[ReadPlan] = []
    failed: list[tuple[str, str]] = []
    streams: dict[int, Stream] = {}
    for source in sources:
        try:
            if source.seekable:
                beginning = head(source)
            else:
                streams[len(readable)] = stream = Stream(source)
                beginning = stream.peek()
        except (OSError, EOFError, zlib.error) as error:
            failed.append((source.path, _why(error)))
            continue
        readable.append(source)
        plans.append(plan_for(beginning, wanted))
    return tuple(readable), tuple(plans), streams, failed


def _why(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


class _SpanResult(msgspec.Struct):
    accounting: Accounting
    tally: Tally
    failure: str = ""


def scan(plan: Scan, make_fold: Callable[[], Fold[Folded]]) -> Scanned[Folded]:
    """Read everything; raises nothing for what is wrong in the logs, which is accounted for instead."""
    spans = plan.spans()

    def work(mine: Iterator[Span]) -> tuple[Folded, dict[int, _SpanResult]]:
        fold = make_fold()
        worker = _Worker(plan, fold)
        results = {span.number: worker.read(span) for span in mine}
        return fold.result(), results

    size = sum(span.end - span.start if span.end is not None else plan.sources[span.source].size for span in spans)
    jobs = plan.jobs if size > 24 << 20 else 1  # below that a second process costs more than it saves
    outcomes = parallel.run(work, spans, jobs) if spans else []
    found = {number: result for _, results in outcomes for number, result in results.items()}
    return _scanned(plan, spans, [fold for fold, _ in outcomes], found)


class _Worker:
    def __init__(self, plan: Scan, fold: Fold[Any]) -> None:
        self._plan = plan
        self._fold = fold
        self._bytes = SpanBytes()
        self._interners = Interners()

    def read(self, span: Span) -> _SpanResult:
        reader = SpanReader(self._plan.plans[span.source], self._interners)
        result = _SpanResult(reader.accounting, Tally())
        try:
            for chunk in self._chunks(span):
                if block := reader.feed(chunk):
                    self._take(block, span, result.tally)
        except (OSError, EOFError, zlib.error) as error:
            result.failure = _why(error)
        self._take(reader.flush(), span, result.tally)
        if self._plan.progress is not None:
            self._plan.progress((span.end or self._plan.sources[span.source].size) - span.start)
        return result

    def _chunks(self, span: Span) -> Iterator[Any]:
        source = self._plan.sources[span.source]
        if span.source in self._plan.streams:
            return self._plan.streams[span.source].chunks()
        if source.compression:
            return Stream(source).chunks()
        return self._bytes.chunks(source, span)

    def _take(self, block: Block, span: Span, tally: Tally) -> None:
        columns = block.columns
        if columns.positions is not None:
            columns = msgspec.structs.replace(columns, positions=columns.positions + (span.number << POSITION_BITS))
        tally.dated(columns)
        tally.samples += len(block.samples)
        selection = self._plan.selection
        if selection.timed:
            inside = selection.inside(columns)
            tally.outside += int(columns.size - np.count_nonzero(inside))
            columns = columns if inside.all() else columns.take(inside)
        if self._plan.price is not None and columns.size:
            columns = self._plan.price(columns)
        if selection.where is not None and columns.size:
            kept = selection.where.mask(columns)
            tally.filtered += int(columns.size - np.count_nonzero(kept))
            columns = columns if kept.all() else columns.take(kept)
        tally.requests += columns.size
        if columns.size or block.samples:
            self._fold.add(columns, block.samples)


def _scanned(
    plan: Scan, spans: Sequence[Span], results: list[Folded], found: Mapping[int, _SpanResult]
) -> Scanned[Folded]:
    tally, total = Tally(), Accounting()
    rejects: list[RejectedLine] = []
    failed: list[tuple[str, str]] = []
    numbered: dict[int, tuple[Span, int | None]] = {}
    before: dict[int, int | None] = {}
    for span in spans:
        result = found[span.number]
        first = before.get(span.source, 0 if plan.ranges[span.source][0] == 0 else None)
        numbered[span.number] = (span, first)
        path = plan.sources[span.source].path
        rejects += [_located(path, span, first, reject) for reject in result.accounting.rejects]
        before[span.source] = None if first is None else first + result.accounting.lines
        if result.failure:
            failed.append((path, result.failure))
        _add(total, result.accounting)
        tally.add(result.tally)
    report = SourceReport(
        files=tuple(source.path for source in plan.sources),
        bytes_read=sum(_bytes_of(plan, span) for span in spans),
        lines=total.lines,
        blank=total.blank,
        used=total.used,
        skipped=total.skipped,
        rejected=total.rejected,
        requests=tally.requests,
        samples=tally.samples,
        duplicates=tally.duplicates,
        outside=tally.outside,
        filtered=tally.filtered,
        undated=tally.undated,
        dialects=dict(sorted(total.dialects.items(), key=lambda item: (-item[1], item[0]))),
        rejects=tuple(rejects),
        start_us=tally.start_us,
        end_us=tally.end_us,
        failed=tuple(failed),
    )
    return Scanned(results, report, tally, numbered)


def _located(path: str, span: Span, first: int | None, reject: Any) -> RejectedLine:
    line = None if first is None else first + reject.line + 1
    return RejectedLine(path, line, span.start + reject.byte, reject.reason)


def _bytes_of(plan: Scan, span: Span) -> int:
    end = plan.sources[span.source].size if span.end is None else span.end
    return end - span.start


def _add(total: Accounting, part: Accounting) -> None:
    for name in ("lines", "blank", "used", "skipped", "rejected"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    for dialect, lines in part.dialects.items():
        total.read_as(dialect, lines)
