"""Sources -> folds: every span is read by one worker, its calls are selected and priced, and folded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from llmmon import cluster, parallel
from llmmon.cache import SourceCache
from llmmon.formats.accounting import MOST_REJECTS_SHOWN, Accounting, Reject
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reading import ReadPlan
from llmmon.record import TEXTS
from llmmon.rejects import RejectsFile
from llmmon.reports import RejectedLine, SourceReport
from llmmon.selection import Tally
from llmmon.source_bytes import Source, Span, Stream, head
from llmmon.span_worker import LEAST_TO_SHARE, POSITION_BITS, Fold, Scan, SpanResult, SpanWorker, bytes_of, why
from llmmon.whole_files import OPEN_FILES

__all__ = ["LEAST_TO_SHARE", "POSITION_BITS", "Fold", "Scan", "Scanned", "open_plans", "scan"]
Folded = TypeVar("Folded")
_NEVER_KEPT = frozenset({"error_message", *TEXTS})  # may hold what people wrote


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


def scan(plan: Scan, make_fold: Callable[[], Fold[Folded]], rejects: RejectsFile | None = None) -> Scanned[Folded]:
    """Read everything; raises nothing for what is wrong in the logs, which is accounted for instead."""
    spans, size = plan.spans(), plan.size
    caches = {} if rejects is not None else _caches(plan)

    def work(mine: Iterator[Span]) -> tuple[Folded, dict[int, SpanResult]]:
        fold = make_fold()
        worker = SpanWorker(plan, fold, rejects, size, caches)
        results = {span.number: worker.read(span) for span in mine}
        return fold.result(), results

    if plan.engine is not None:
        outcomes = _on_cluster(plan, plan.engine, spans, work, make_fold)
    else:
        outcomes = parallel.run(work, spans, plan.jobs if size > plan.least_to_share else 1) if spans else []
    found = {number: result for _, results in outcomes for number, result in results.items()}
    if plan.progress is not None:
        plan.progress(0, size)  # the other workers are done, too
    if rejects is not None:
        rejects.collect(kept for span in spans if (kept := found[span.number].kept) is not None)
    _seal(plan, caches, spans, found)
    return _scanned(plan, spans, [fold for fold, _ in outcomes], found)


def _on_cluster(plan: Scan, engine: str, spans: Sequence[Span], here: Any, make_fold: Any) -> list[Any]:
    """As `parallel.run`: pipes are read here, all else by the workers of a Dask cluster, in the order of the spans."""
    sources = tuple(_absolute(source) for source in plan.sources)
    sent = msgspec.structs.replace(plan, sources=sources, streams={}, cache=None, progress=None)

    def there(mine: Sequence[Span]) -> tuple[Any, dict[int, SpanResult]]:
        fold = make_fold()
        worker = SpanWorker(sent, fold, None, 0, {})
        results = {span.number: worker.read(span) for span in mine}
        return fold.result(), results

    def done(finished: Sequence[Span]) -> None:
        if plan.progress is not None:
            plan.progress(sum(bytes_of(plan, span) for span in finished), plan.size)

    own = {number for number, source in enumerate(plan.sources) if source.path.startswith(f"{OPEN_FILES}/")}
    piped = [span for span in spans if span.source in plan.streams.keys() | own]
    others = [span for span in spans if span.source not in plan.streams.keys() | own]
    outcomes = cluster.run(engine, there, others, done) if others else []
    return [*outcomes, here(iter(piped))] if piped else outcomes


def _absolute(source: Source) -> Source:
    """With a path that means the same in another process's folder."""
    named = source.path == "-" or "://" in source.path
    return source if named else msgspec.structs.replace(source, path=str(Path.cwd() / source.path))


def _caches(plan: Scan) -> dict[int, SourceCache]:
    """What is kept of the sources that are read whole; rows with long texts are not kept."""
    if plan.cache is None:
        return {}
    found = {
        number: plan.cache.of(source, each, plan.span_bytes)
        for number, (source, each) in enumerate(zip(plan.sources, plan.plans, strict=True))
        if number not in plan.streams and plan.ranges[number] == (0, None) and not each.fields & _NEVER_KEPT
    }
    return {number: cache for number, cache in found.items() if cache is not None}


def _seal(
    plan: Scan, caches: Mapping[int, SourceCache], spans: Sequence[Span], found: Mapping[int, SpanResult]
) -> None:
    for number, cache in caches.items():
        mine = [(span.start, found[span.number].sealed) for span in spans if span.source == number]
        cache.seal({(sealed[0], start): sealed[1] for start, sealed in mine if sealed is not None})
    if caches and plan.cache is not None:
        plan.cache.shrink()


def _scanned(
    plan: Scan, spans: Sequence[Span], results: list[Folded], found: Mapping[int, SpanResult]
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
        bytes_read=sum(bytes_of(plan, span) for span in spans),
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


def _add(total: Accounting, part: Accounting) -> None:
    for name in ("lines", "blank", "used", "skipped", "rejected"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    for dialect, lines in part.dialects.items():
        total.read_as(dialect, lines)
