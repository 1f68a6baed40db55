"""Read byte ranges of logs into folds: workers share the spans, and each parses, selects and prices its calls.

What is wrong in the logs is counted and located, not raised.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import msgspec

from llmmon.errors import InputError, reason_of
from llmmon.files import OPEN_FILES
from llmmon.formats.accounting import MOST_REJECTS_SHOWN, Accounting, LongLine, Reject
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import ReadPlan
from llmmon.formats.doubts import add_doubts, warnings_of
from llmmon.formats.home_made import GENERIC
from llmmon.formats.mapping import CALL_KEYS, COMPLETENESS, JOIN_KEY
from llmmon.formats.reader import ROWS_BYTES, Block, SpanReader, typed_decoders, uniform_reader
from llmmon.formats.tabular.reader import UniformReader
from llmmon.formats.typed import TypedDecoder
from llmmon.ingest import dask, parallel
from llmmon.ingest.cache import ColumnCache, Recorder, Seal, SourceCache, StoredSpan
from llmmon.ingest.plans import Unlike
from llmmon.ingest.rejects import Kept, RejectsFile
from llmmon.ingest.report import RejectedLine, SourceReport
from llmmon.ingest.selection import Selection, Tally
from llmmon.ingest.spans import CHUNK_BYTES, SPAN_BYTES, Source, Span, SpanBytes, Stream, line_at, spans_of, whole_of
from llmmon.metrics.columns import EMPTY, Columns, concat, in_log_order, without_impossible_times
from llmmon.metrics.record import HASH_TAGS, TAG_PREFIX, TEXTS

if TYPE_CHECKING:
    from llmmon.formats.small_files import BatchReader

Result = TypeVar("Result", covariant=True)
LEAST_TO_SHARE = 24 << 20  # bytes below which a second process costs more than it saves
POSITION_BITS = 40  # a call's position is its span's number << 40 | its line in the span
Folded = TypeVar("Folded")
# names of single calls, which hardly ever come back
_SELDOM_AGAIN = frozenset({"request_id", *(TAG_PREFIX + tag for tag in HASH_TAGS)})
_NEVER_KEPT = frozenset({"error_message", *TEXTS})  # may hold what people wrote


class Fold(Protocol[Result]):
    """What a command makes of the calls: fed block after block in a worker, its result pickles."""

    def add(self, columns: Columns, samples: list[dict[str, Any]], /) -> None: ...
    def result(self) -> Result: ...


class ScanRequest(msgspec.Struct, frozen=True):
    """What to read: sources with their plans and byte ranges, how to select and price, in how many jobs."""

    sources: tuple[Source, ...]
    plans: tuple[ReadPlan, ...]
    ranges: tuple[tuple[int, int | None], ...]
    selection: Selection
    price: Callable[[Columns], Columns] | None = None
    jobs: int = 1
    engine: str | None = None  # HOST:PORT of a Dask scheduler
    streams: Mapping[int, Stream] = msgspec.field(default_factory=dict)
    progress: Callable[[int, int], None] | None = None  # bytes done, of all
    span_bytes: int = SPAN_BYTES
    least_to_share: int = LEAST_TO_SHARE
    cache: ColumnCache | None = None

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(bytes_of(self, span) for span in self.spans())

    def spans(self) -> list[Span]:
        """All spans, in order."""
        found: list[Span] = []
        for number, (source, plan, (start, end)) in enumerate(zip(self.sources, self.plans, self.ranges, strict=True)):
            whole = source if plan.splittable else msgspec.structs.replace(source, seekable=False)
            found += spans_of(number, whole, start, end, len(found), self.span_bytes)
        return found


class SpanResult(msgspec.Struct):
    """The outcome of one span."""

    accounting: Accounting
    tally: Tally
    failure: str = ""
    start: int = 0  # byte at which its first line starts
    kept: Kept | None = None  # its rejected lines
    sealed: tuple[str, Seal] | None = None  # the folder that keeps it, and its bytes
    steps: list[Columns] = msgspec.field(default_factory=list)


class SpanWorker:
    """Reads spans into one fold, with the readers and buffers of one process."""

    def __init__(
        self,
        request: ScanRequest,
        fold: Fold[Any],
        rejects: RejectsFile | None,
        size: int,
        caches: Mapping[int, SourceCache],
    ) -> None:
        self._request = request
        self._fold = fold
        self._rejects = rejects
        self._size = size
        self._bytes = SpanBytes()
        self._interners = Interners()
        self._plan: ReadPlan | None = None  # of the last source, and what is made of it
        self._typed: list[tuple[str, TypedDecoder]] = []
        self._uniform: UniformReader | None = None
        self._batch: BatchReader | None = None  # reads span after span into one block, and has some of it
        self._last: SpanResult | None = None  # of those spans
        self._waiting: list[tuple[Span, SpanResult, bytes]] = []  # small files that are read together
        self._caches = caches

    def read(self, span: Span) -> SpanResult:
        """Read a span, from the cache where its bytes are the same as then."""
        cache = self._caches.get(span.source)
        if self._batch is not None and (cache is not None or self._request.plans[span.source] is not self._plan):
            self.finish()
        for name in self._interners.keys() & _SELDOM_AGAIN if self._batch is None else ():
            self._interners[name].forget()
        stored = None if cache is None else self._stored(cache, span)
        result = self._parsed(span, cache) if stored is None else self._replayed(span, stored)
        if self._request.progress is not None:
            self._request.progress(bytes_of(self._request, span), self._size)
        return result

    def finish(self) -> None:
        """Give the fold the block that several spans share."""
        self._read_waiting()
        if self._batch is not None and self._last is not None:
            self._take(self._batch.flush(), None, self._last.tally, None)
        self._batch = None

    def _stored(self, cache: SourceCache, span: Span) -> StoredSpan | None:
        """The cached span, if its bytes are still the same."""
        stored = cache.stored(span.start)
        if stored is None or cache.trusts(stored, span.start):
            return stored
        return stored if stored.seal == self._seal_now(span) else None

    def _seal_now(self, span: Span) -> Seal | None:
        if self._request.sources[span.source].packing:
            return None  # to decompress it is most of the work
        seal = None
        try:
            for chunk in self._chunks(span):
                if isinstance(chunk, LongLine):
                    return None
                seal = (Seal(self._bytes.offset) if seal is None else seal).over(chunk)
        except (OSError, InputError):
            return None
        return seal or Seal(span.start)

    def _replayed(self, span: Span, stored: StoredSpan) -> SpanResult:
        result = SpanResult(stored.accounting, Tally(), start=stored.seal.start, sealed=(stored.folder, stored.seal))
        for columns, samples in stored.blocks(self._interners, _fields_of(self._request.plans[span.source])):
            self._take(Block(columns, samples), span, result.tally, None)
        return result

    def _parsed(self, span: Span, cache: SourceCache | None) -> SpanResult:
        recorder = None if cache is None else cache.recorder(span.start)
        seal = Seal(span.start)
        reader = self._reader(span, batched=cache is None and self._rejects is None)
        result = SpanResult(reader.accounting, Tally(), start=span.start)
        if reader is self._batch and (content := self._small(span)) is not None:
            self._waiting.append((span, result, content))
            if sum(len(each) for _, _, each in self._waiting) >= ROWS_BYTES:
                self._read_waiting()
            return result
        kept_from = self._rejects.start() if self._rejects is not None else 0
        fed = 0
        try:
            for chunk in self._chunks(span, reader.chunk_bytes):
                if not fed and self._request.sources[span.source].splittable:
                    result.start = self._bytes.offset
                    seal = Seal(result.start)
                known = len(reader.accounting.rejects)
                if block := reader.feed(chunk):
                    self._take(block, None if reader is self._batch else span, result.tally, recorder)
                    self._take_steps(block.steps, span, result)
                if isinstance(chunk, LongLine):
                    recorder = None  # without its bytes there is no checksum
                if recorder is not None:
                    seal = seal.over(chunk)
                self._settle_rejects(reader.accounting.rejects, known, chunk, fed)
                fed += len(chunk)
        except (OSError, EOFError, zlib.error, InputError) as error:
            result.failure = reason_of(error)
        if reader is self._batch:
            self._last = result
        else:
            last = reader.flush()
            self._take(last, span, result.tally, recorder)
            self._take_steps(last.steps, span, result)
        if self._rejects is not None:
            result.kept = self._rejects.kept(kept_from)
        if recorder is not None and not result.failure and recorder.finish(seal, result.accounting):
            result.sealed = recorder.folder, seal
        return result

    def _small(self, span: Span) -> bytes | None:
        """The content of a small file, None where a span is to be read by itself."""
        source, layout = self._request.sources[span.source], self._request.plans[span.source].layout
        is_whole = span.start == 0 and span.end in (None, source.size) and layout.kind == "lines"
        return whole_of(source) if is_whole and source.size <= ROWS_BYTES // 2 else None

    def _read_waiting(self) -> None:
        """Read small files all at once, or one after another where a line of them needs a look of its own."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self._batch is None:
            return
        firsts = [span.number << POSITION_BITS for span, _, _ in waiting]
        accounts = self._batch.read_files([content for _, _, content in waiting], firsts)
        for at, (_, result, content) in enumerate(waiting):
            result.accounting = self._batch.go_on(firsts[at]) if accounts is None else accounts[at]
            if block := self._batch.feed(content if accounts is None else b""):
                self._take(block, None, result.tally, None)
            del result.accounting.rejects[MOST_REJECTS_SHOWN:]
            self._last = result

    def _reader(self, span: Span, *, batched: bool) -> SpanReader:
        """The reader for a span: that of the spans before, where lines of many small files may share a block."""
        plan = self._request.plans[span.source]
        if plan is not self._plan:
            self._plan, self._typed = plan, typed_decoders(plan)
            self._uniform = uniform_reader(plan, self._interners, self._typed)
        if not (batched and self._typed and self._typed[0][0] != GENERIC and plan.splittable and not plan.steps):
            return SpanReader(plan, self._interners, self._uniform, self._typed)
        if self._batch is None:
            from llmmon.formats.small_files import BatchReader  # few logs are many files

            self._batch = BatchReader(plan, self._interners, self._uniform, self._typed)
        self._batch.go_on(span.number << POSITION_BITS)
        return self._batch

    def _settle_rejects(self, rejects: list[Reject], known: int, chunk: Any, before: int) -> None:
        """Keep the rejected lines where that was asked for, and forget all places but the first few."""
        if self._rejects is not None and not isinstance(chunk, LongLine):
            for reject in rejects[known:]:
                self._rejects.add(line_at(chunk, max(0, reject.byte - before)))
        del rejects[MOST_REJECTS_SHOWN:]

    def _chunks(self, span: Span, size: int = CHUNK_BYTES) -> Iterator[Any]:
        source = self._request.sources[span.source]
        any_bytes = not self._request.plans[span.source].layout.splittable
        if source.packing or span.source in self._request.streams:
            stream = self._request.streams.get(span.source) or Stream(source)
            return stream.pieces() if any_bytes else stream.chunks(size)
        return self._bytes.pieces(source) if any_bytes else self._bytes.chunks(source, span, size)

    def _take_steps(self, steps: Columns, span: Span, result: SpanResult) -> None:
        """Keep steps of the time range, placed as calls are; an undated one may be of any time."""
        if not steps.size:
            return
        steps = without_impossible_times(steps.without_unused_names())
        if self._request.selection.timed:
            steps = steps.take(self._request.selection.inside(steps) | ~steps.dated)
        if steps.positions is not None:
            steps = msgspec.structs.replace(steps, positions=steps.positions + (span.number << POSITION_BITS))
        result.steps.append(steps)

    def _take(self, block: Block, span: Span | None, tally: Tally, recorder: Recorder | None) -> None:
        """Select, price and fold a block; without a span its positions are those in the whole."""
        columns = without_impossible_times(in_log_order(block.columns))
        plan = self._plan if span is None else self._request.plans[span.source]
        columns = columns if plan is None else columns.only(_fields_of(plan))
        if recorder is not None:
            recorder.add(columns, block.samples)
        if columns.positions is not None and span is not None:
            columns = msgspec.structs.replace(columns, positions=columns.positions + (span.number << POSITION_BITS))
        tally.dated(columns)
        tally.samples += len(block.samples)
        columns = tally.select(columns, self._request.selection)
        if self._request.price is not None and columns.size:
            columns = self._request.price(columns)
        columns = tally.filter(columns, self._request.selection)
        if columns.size or block.samples:
            self._fold.add(columns, block.samples)


def _fields_of(plan: ReadPlan) -> frozenset[str]:
    """What is taken of the calls: what was asked for (other columns are by-products), and what tells repeats apart."""
    once = COMPLETENESS if plan.repeats or plan.nests else ()
    return plan.fields | {*CALL_KEYS, *once, *((JOIN_KEY, "model") if plan.joins else ())}


def bytes_of(request: ScanRequest, span: Span) -> int:
    """Length of a span in bytes, as stored."""
    end = request.sources[span.source].size if span.end is None else span.end
    return end - span.start


class Scanned(msgspec.Struct, Generic[Folded], frozen=True):
    """The folds' results, one for each worker, and the accounting of the whole."""

    results: list[Folded]
    report: SourceReport
    tally: Tally
    spans: dict[int, tuple[Span, int | None]]  # span number -> span, line number before its first (None: unknown)
    steps: Columns = EMPTY  # of agents, where they were asked for
    unlike: Mapping[int, Unlike] = msgspec.field(default_factory=dict)  # by source


def scan(
    request: ScanRequest, make_fold: Callable[[], Fold[Folded]], rejects: RejectsFile | None = None
) -> Scanned[Folded]:
    """Read everything; raises nothing for what is wrong in the logs, which is accounted for instead."""
    spans, size = request.spans(), request.size
    caches = {} if rejects is not None else _caches(request)

    def work(mine: Iterator[Span]) -> tuple[Folded, dict[int, SpanResult]]:
        fold = make_fold()
        worker = SpanWorker(request, fold, rejects, size, caches)
        results = {span.number: worker.read(span) for span in mine}
        worker.finish()
        return fold.result(), results

    if request.engine is not None:
        outcomes = _on_cluster(request, request.engine, spans, work, make_fold)
    else:
        outcomes = parallel.run(work, spans, request.jobs if size > request.least_to_share else 1) if spans else []
    found = {number: result for _, results in outcomes for number, result in results.items()}
    if request.progress is not None:
        request.progress(0, size)  # the other workers are done, too
    if rejects is not None:
        rejects.collect(kept for span in spans if (kept := found[span.number].kept) is not None)
    _seal(request, caches, spans, found)
    return _scanned(request, spans, [fold for fold, _ in outcomes], found)


def _on_cluster(request: ScanRequest, engine: str, spans: Sequence[Span], here: Any, make_fold: Any) -> list[Any]:
    """As `parallel.run`: pipes are read here, all else by the workers of a Dask cluster, in the order of the spans."""
    sources = tuple(_absolute(source) for source in request.sources)
    sent = msgspec.structs.replace(request, sources=sources, streams={}, cache=None, progress=None)

    def there(mine: Sequence[Span]) -> tuple[Any, dict[int, SpanResult]]:
        fold = make_fold()
        worker = SpanWorker(sent, fold, None, 0, {})
        results = {span.number: worker.read(span) for span in mine}
        worker.finish()
        return fold.result(), results

    def done(finished: Sequence[Span]) -> None:
        if request.progress is not None:
            request.progress(sum(bytes_of(request, span) for span in finished), request.size)

    own = {number for number, source in enumerate(request.sources) if source.path.startswith(f"{OPEN_FILES}/")}
    piped = [span for span in spans if span.source in request.streams.keys() | own]
    others = [span for span in spans if span.source not in request.streams.keys() | own]
    outcomes = dask.run(engine, there, others, done) if others else []
    return [*outcomes, here(iter(piped))] if piped else outcomes


def _absolute(source: Source) -> Source:
    """With a path that means the same in another process's folder."""
    named = source.path == "-" or "://" in source.path
    return source if named else msgspec.structs.replace(source, path=str(Path.cwd() / source.path))


def _caches(request: ScanRequest) -> dict[int, SourceCache]:
    """What is kept of the sources that are read whole; rows with long texts are not kept."""
    if request.cache is None:
        return {}
    found = {
        number: request.cache.of(source, each, request.span_bytes)
        for number, (source, each) in enumerate(zip(request.sources, request.plans, strict=True))
        if number not in request.streams
        and request.ranges[number] == (0, None)
        and not (each.fields & _NEVER_KEPT or each.steps)
    }
    return {number: cache for number, cache in found.items() if cache is not None}


def _seal(
    request: ScanRequest, caches: Mapping[int, SourceCache], spans: Sequence[Span], found: Mapping[int, SpanResult]
) -> None:
    for number, cache in caches.items():
        mine = [(span.start, found[span.number].sealed) for span in spans if span.source == number]
        cache.seal({(sealed[0], start): sealed[1] for start, sealed in mine if sealed is not None})
    if caches and request.cache is not None:
        request.cache.shrink()


def _scanned(
    request: ScanRequest, spans: Sequence[Span], results: list[Folded], found: Mapping[int, SpanResult]
) -> Scanned[Folded]:
    tally, total = Tally(), Accounting()
    rejects: list[RejectedLine] = []
    failed: list[tuple[str, str]] = []
    numbered: dict[int, tuple[Span, int | None]] = {}
    before: dict[int, int | None] = {}
    unlike: dict[int, Unlike] = {}
    for span in spans:
        result = found[span.number]
        unlike[span.source] = _unlike(unlike.get(span.source), result.accounting)
        first = before.get(span.source, 0 if request.ranges[span.source][0] == 0 else None)
        numbered[span.number] = (span, first)
        path = request.sources[span.source].path
        rejects += [_located(path, result.start, first, reject) for reject in result.accounting.rejects]
        before[span.source] = None if first is None else first + result.accounting.lines
        if result.failure:
            failed.append((path, result.failure))
        _add(total, result.accounting)
        tally.add(result.tally)
    report = SourceReport(
        files=tuple(source.path for source in request.sources),
        bytes_read=sum(bytes_of(request, span) for span in spans),
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
        warnings=tuple(_warnings(request, total)),
    )
    steps = concat([part for span in spans for part in found[span.number].steps])
    return Scanned(results, report, tally, numbered, steps, unlike)


_MOST_UNLIKE: Final = 200  # lines of a source


def _unlike(before: Unlike | None, part: Accounting) -> Unlike:
    doubts = {} if before is None else dict(before.doubts)
    add_doubts(doubts, part.doubts)
    return Unlike((*(() if before is None else before.lines), *part.met)[:_MOST_UNLIKE], doubts)


def _warnings(request: ScanRequest, total: Accounting) -> Iterator[str]:
    files = list(zip((source.path for source in request.sources), request.plans, strict=True))
    nowhere = request.plans[0].unmatched if request.plans else ()
    return warnings_of(
        total.doubts,
        guessed=[(file, binding) for file, one in files for made in one.mappings for binding in made.guessed],
        foreign=[(file, *pair) for file, one in files for made in one.mappings for pair in made.foreign],
        mixed=[(file, *pair) for file, one in files for made in one.mappings for pair in made.mixed],
        unmatched=[b for b in nowhere if all(b in one.unmatched for one in request.plans)],
        unread_times=[(file, key) for file, one in files for key in one.unread_times],
    )


def _located(path: str, start: int, first: int | None, reject: Reject) -> RejectedLine:
    line = None if first is None else first + reject.line + 1
    return RejectedLine(path, line, start + reject.byte, reject.reason)


def _add(total: Accounting, part: Accounting) -> None:
    for name in ("lines", "blank", "used", "skipped", "rejected"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    for dialect, lines in part.dialects.items():
        total.read_as(dialect, lines)
    add_doubts(total.doubts, part.doubts)


def place(position: int, scanned: Scanned[Any]) -> tuple[str, int | None]:
    """The file and line (from 1; None after a jump into the file) of a call by its position."""
    span, first = scanned.spans[position >> POSITION_BITS]
    line = None if first is None else first + (position & ((1 << POSITION_BITS) - 1)) + 1
    return scanned.report.files[span.source], line


def line_of(position: int, scanned: Scanned[Any]) -> tuple[str, int | None]:
    """As `place`, but after a jump into a file the lines before it are counted; None if it is not a plain file."""
    file, line = place(position, scanned)
    span, _ = scanned.spans[position >> POSITION_BITS]
    if line is not None or (before := _lines_before(file, span.start)) is None:
        return file, line
    return file, before + (position & ((1 << POSITION_BITS) - 1)) + 1


@lru_cache(maxsize=64)
def _lines_before(path: str, stop: int) -> int | None:
    """The number of lines of a file that start before an offset."""
    count, last = 0, b"\n"
    try:
        with Path(path).open("rb") as file:
            while stop > 0 and (piece := file.read(min(stop, CHUNK_BYTES))):
                count, last, stop = count + piece.count(b"\n"), piece[-1:], stop - len(piece)
    except OSError:
        return None
    return count + (last != b"\n")
