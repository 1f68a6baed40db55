"""One worker's reading: a span's bytes, or what the cache keeps of them, to calls that are selected, priced, folded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from llmmon.cache import ColumnCache, Recorder, Seal, SourceCache, StoredSpan
from llmmon.columns import Columns, in_log_order, without_impossible_times
from llmmon.errors import InputError
from llmmon.formats.accounting import MOST_REJECTS_SHOWN, Accounting, LongLine, Reject
from llmmon.formats.canonical import Interners
from llmmon.formats.reading import Block, ReadPlan, SpanReader, uniform_reader
from llmmon.formats.slots import CALL_KEY, COMPLETENESS
from llmmon.formats.uniform import UniformReader
from llmmon.rejects import Kept, RejectsFile
from llmmon.selection import Selection, Tally
from llmmon.source_bytes import CHUNK_BYTES, SPAN_BYTES, Source, Span, Stream, line_at, spans_of
from llmmon.span_bytes import SpanBytes

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
    accounting: Accounting
    tally: Tally
    failure: str = ""
    start: int = 0  # byte at which its first line starts
    kept: Kept | None = None  # its rejected lines
    sealed: tuple[str, Seal] | None = None  # the folder that keeps it, and its bytes


class SpanWorker:
    def __init__(
        self,
        plan: Scan,
        fold: Fold[Any],
        rejects: RejectsFile | None,
        size: int,
        caches: Mapping[int, SourceCache],
    ) -> None:
        self._plan = plan
        self._fold = fold
        self._rejects = rejects
        self._size = size
        self._bytes = SpanBytes()
        self._interners = Interners()
        self._uniform: dict[int, UniformReader | None] = {}  # of the source that is being read
        self._caches = caches

    def read(self, span: Span) -> SpanResult:
        if "request_id" in self._interners:
            self._interners["request_id"].forget()  # ids hardly ever come back
        cache = self._caches.get(span.source)
        stored = None if cache is None else self._stored(cache, span)
        result = self._parsed(span, cache) if stored is None else self._replayed(span, stored)
        if self._plan.progress is not None:
            self._plan.progress(bytes_of(self._plan, span), self._size)
        return result

    def _stored(self, cache: SourceCache, span: Span) -> StoredSpan | None:
        """The span as it was kept, if its bytes are still the same."""
        stored = cache.stored(span.start)
        if stored is None or cache.trusts(stored, span.start):
            return stored
        return stored if stored.seal == self._seal_now(span) else None

    def _seal_now(self, span: Span) -> Seal | None:
        if self._plan.sources[span.source].compression:
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
        for columns, samples in stored.blocks(self._interners, _fields_of(self._plan.plans[span.source])):
            self._take(Block(columns, samples), span, result.tally, None)
        return result

    def _parsed(self, span: Span, cache: SourceCache | None) -> SpanResult:
        recorder = None if cache is None else cache.recorder(span.start)
        seal = Seal(span.start)
        reader = self._reader(span.source)
        result = SpanResult(reader.accounting, Tally(), start=span.start)
        kept_from = self._rejects.start() if self._rejects is not None else 0
        fed = 0
        try:
            for chunk in self._chunks(span, reader.chunk_bytes):
                if not fed and self._plan.sources[span.source].splittable:
                    result.start = self._bytes.offset
                    seal = Seal(result.start)
                known = len(reader.accounting.rejects)
                if block := reader.feed(chunk):
                    self._take(block, span, result.tally, recorder)
                if isinstance(chunk, LongLine):
                    recorder = None  # without its bytes there is no checksum
                if recorder is not None:
                    seal = seal.over(chunk)
                self._settle_rejects(reader.accounting.rejects, known, chunk, fed)
                fed += len(chunk)
        except (OSError, EOFError, zlib.error, InputError) as error:
            result.failure = why(error)
        self._take(reader.flush(), span, result.tally, recorder)
        if self._rejects is not None:
            result.kept = self._rejects.kept(kept_from)
        if recorder is not None and not result.failure and recorder.finish(seal, result.accounting):
            result.sealed = recorder.folder, seal
        return result

    def _reader(self, source: int) -> SpanReader:
        plan = self._plan.plans[source]
        if source not in self._uniform:
            self._uniform = {source: uniform_reader(plan, self._interners)}
        return SpanReader(plan, self._interners, self._uniform[source])

    def _settle_rejects(self, rejects: list[Reject], known: int, chunk: Any, before: int) -> None:
        """Keep the rejected lines where that was asked for, and forget all places but the first few."""
        if self._rejects is not None and not isinstance(chunk, LongLine):
            for reject in rejects[known:]:
                self._rejects.add(line_at(chunk, max(0, reject.byte - before)))
        del rejects[MOST_REJECTS_SHOWN:]

    def _chunks(self, span: Span, size: int = CHUNK_BYTES) -> Iterator[Any]:
        source = self._plan.sources[span.source]
        any_bytes = self._plan.plans[span.source].layout.kind == "documents"
        if source.compression or span.source in self._plan.streams:
            stream = self._plan.streams.get(span.source) or Stream(source)
            return stream.pieces() if any_bytes else stream.chunks(size)
        return self._bytes.pieces(source) if any_bytes else self._bytes.chunks(source, span, size)

    def _take(self, block: Block, span: Span, tally: Tally, recorder: Recorder | None) -> None:
        columns = without_impossible_times(in_log_order(block.columns))
        columns = columns.only(_fields_of(self._plan.plans[span.source]))
        if recorder is not None:
            recorder.add(columns, block.samples)
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


def _fields_of(plan: ReadPlan) -> frozenset[str]:
    """What is taken of the calls: what was asked for (other columns are by-products), and what tells repeats apart."""
    return plan.fields | {CALL_KEY, *COMPLETENESS} if plan.repeats else plan.fields


def bytes_of(plan: Scan, span: Span) -> int:
    end = plan.sources[span.source].size if span.end is None else span.end
    return end - span.start


def why(error: BaseException) -> str:
    known = getattr(error, "strerror", None)
    return known.lower() if known else str(error) or type(error).__name__.lower()
