"""Sources -> folds: every span is read by one worker, its calls are selected and priced, and folded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from llmmon import parallel
from llmmon.columns import Columns, in_log_order, without_impossible_times
from llmmon.errors import InputError
from llmmon.formats.accounting import MOST_REJECTS_SHOWN, Accounting, Reject
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reading import Block, ReadPlan, SpanReader
from llmmon.rejects import Kept, RejectsFile
from llmmon.reports import RejectedLine, SourceReport
from llmmon.selection import Selection, Tally
from llmmon.source_bytes import SPAN_BYTES, Source, Span, SpanBytes, Stream, head, line_at, spans_of

Folded = TypeVar("Folded")
Result = TypeVar("Result", covariant=True)
LEAST_TO_SHARE = 24 << 20  # bytes below which a second process costs more than it saves
POSITION_BITS = 40  # a call's position is its span's number << 40 | its line in the span


class Fold(Protocol[Result]):
    """What a command makes of the calls: fed block after block in a worker, its result pickles."""

    def add(self, columns: Columns, samples: list[dict[str, Any]], /) -> None: ...
    def result(self) -> Result: ...


class Scan(msgspec.Struct, frozen=True):
    """What to read: sources with their plans and byte ranges, how to select and price, in how many jobs."""

    sources: tuple[Source, ...]
    plans: tuple[ReadPlan, ...]
    ranges: tuple[tuple[int, int | None], ...]
    selection: Selection
    price: Callable[[Columns], Columns] | None = None
    jobs: int = 1
    streams: Mapping[int, Stream] = msgspec.field(default_factory=dict)
    progress: Callable[[int, int], None] | None = None  # bytes done, of all
    span_bytes: int = SPAN_BYTES
    least_to_share: int = LEAST_TO_SHARE

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(_bytes_of(self, span) for span in self.spans())

    def spans(self) -> list[Span]:
        """All spans, in order."""
        found: list[Span] = []
        for number, (source, plan, (start, end)) in enumerate(zip(self.sources, self.plans, self.ranges, strict=True)):
            whole = source if plan.splittable else msgspec.structs.replace(source, seekable=False)
            found += spans_of(number, whole, start, end, len(found), self.span_bytes)
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
            failed.append((source.path, why(error)))
            continue
        readable.append(source)
        plans.append(plan_for(beginning, wanted))
    return tuple(readable), tuple(plans), streams, failed


def why(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


class _SpanResult(msgspec.Struct):
    accounting: Accounting
    tally: Tally
    failure: str = ""
    start: int = 0  # byte at which its first line starts
    kept: Kept | None = None  # its rejected lines


def scan(plan: Scan, make_fold: Callable[[], Fold[Folded]], rejects: RejectsFile | None = None) -> Scanned[Folded]:
    """Read everything; raises nothing for what is wrong in the logs, which is accounted for instead."""
    spans, size = plan.spans(), plan.size

    def work(mine: Iterator[Span]) -> tuple[Folded, dict[int, _SpanResult]]:
        fold = make_fold()
        worker = _Worker(plan, fold, rejects, size)
        results = {span.number: worker.read(span) for span in mine}
        return fold.result(), results

    outcomes = parallel.run(work, spans, plan.jobs if size > plan.least_to_share else 1) if spans else []
    found = {number: result for _, results in outcomes for number, result in results.items()}
    if plan.progress is not None:
        plan.progress(0, size)  # the other workers are done, too
    if rejects is not None:
        rejects.collect(kept for span in spans if (kept := found[span.number].kept) is not None)
    return _scanned(plan, spans, [fold for fold, _ in outcomes], found)


class _Worker:
    def __init__(self, plan: Scan, fold: Fold[Any], rejects: RejectsFile | None, size: int) -> None:
        self._plan = plan
        self._fold = fold
        self._rejects = rejects
        self._size = size
        self._bytes = SpanBytes()
        self._interners = Interners()

    def read(self, span: Span) -> _SpanResult:
        reader = SpanReader(self._plan.plans[span.source], self._interners)
        result = _SpanResult(reader.accounting, Tally(), start=span.start)
        kept_from = self._rejects.start() if self._rejects is not None else 0
        fed = 0
        try:
            for chunk in self._chunks(span):
                if not fed and self._plan.sources[span.source].splittable:
                    result.start = self._bytes.offset
                known = len(reader.accounting.rejects)
                if block := reader.feed(chunk):
                    self._take(block, span, result.tally)
                self._settle_rejects(reader.accounting.rejects, known, chunk, fed)
                fed += len(chunk)
        except (OSError, EOFError, zlib.error, InputError) as error:
            result.failure = why(error)
        self._take(reader.flush(), span, result.tally)
        if self._rejects is not None:
            result.kept = self._rejects.kept(kept_from)
        if self._plan.progress is not None:
            self._plan.progress(_bytes_of(self._plan, span), self._size)
        return result

    def _settle_rejects(self, rejects: list[Reject], known: int, chunk: Any, before: int) -> None:
        """Keep the rejected lines where that was asked for, and forget all places but the first few."""
        if self._rejects is not None:
            for reject in rejects[known:]:
                self._rejects.add(line_at(chunk, max(0, reject.byte - before)))
        del rejects[MOST_REJECTS_SHOWN:]

    def _chunks(self, span: Span) -> Iterator[Any]:
        source = self._plan.sources[span.source]
        if span.source in self._plan.streams:
            return self._plan.streams[span.source].chunks()
        if source.compression:
            return Stream(source).chunks()
        return self._bytes.chunks(source, span)

    def _take(self, block: Block, span: Span, tally: Tally) -> None:
        columns = without_impossible_times(in_log_order(block.columns))
        if columns.positions is not None:
            columns = msgspec.structs.replace(columns, positions=columns.positions + (span.number << POSITION_BITS))
        tally.dated(columns)
        tally.samples += len(block.samples)
        columns = tally.select(columns, self._plan.selection)
        if self._plan.price is not None and columns.size:
            columns = self._plan.price(columns)
        columns = tally.filter(columns, self._plan.selection)
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
        rejects += [_located(path, result.start, first, reject) for reject in result.accounting.rejects]
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
        rejects=tuple(rejects[:MOST_REJECTS_SHOWN]),
        start_us=tally.start_us,
        end_us=tally.end_us,
        failed=tuple(failed),
    )
    return Scanned(results, report, tally, numbered)


def _located(path: str, start: int, first: int | None, reject: Reject) -> RejectedLine:
    line = None if first is None else first + reject.line + 1
    return RejectedLine(path, line, start + reject.byte, reject.reason)


def _bytes_of(plan: Scan, span: Span) -> int:
    end = plan.sources[span.source].size if span.end is None else span.end
    return end - span.start


def _add(total: Accounting, part: Accounting) -> None:
    for name in ("lines", "blank", "used", "skipped", "rejected"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    for dialect, lines in part.dialects.items():
        total.read_as(dialect, lines)
