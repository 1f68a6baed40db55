"""What was appended to logs since a checkpoint, exactly once, through rotation.

Plain logs of lines are read from the checkpoint to the last newline; the rest waits (`pending`). Compressed ones are
decompressed again when they change, and what was read is passed over. What cannot be read from the middle (documents,
dialects that need earlier lines) is read again when it grows, for calls on new lines. Stdin is read whole each time.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import InputError
from llmmon.formats.accounting import MOST_REJECTS_SHOWN
from llmmon.formats.csv_table import RecordSplitter
from llmmon.formats.detection import ReadPlan, Wanted, plan_for
from llmmon.formats.layouts import Layout
from llmmon.formats.mapping import CALL_KEY
from llmmon.ingest import parallel
from llmmon.ingest.checkpoints import PRINT_BYTES, Checkpoint, Located, LogFile, Part, Trace, beginning, locate, stretch
from llmmon.ingest.query import Query, adding, wanted_of, without_repeats
from llmmon.ingest.report import SourceReport
from llmmon.ingest.scan import POSITION_BITS, Fold, Scan, open_plans, scan
from llmmon.ingest.selection import Selection
from llmmon.ingest.sources import expand
from llmmon.ingest.spans import HEAD_BYTES, Source, Stream, blocks, head
from llmmon.ingest.time_range import TimeIndex
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns, concat, in_log_order

_BACK_BYTES: Final = 64 << 10
_MOST_SEEN: Final = 100_000


class LinesFrom:
    """A fold that only sees what stands on lines from the given one on."""

    def __init__(self, fold: Fold[Any], first: int) -> None:
        self._fold = fold
        self._first = first

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Take a block in."""
        if columns.size and columns.positions is not None:
            columns = columns.take(columns.positions % (1 << POSITION_BITS) >= self._first)
        samples = [sample for sample in samples if sample["line"] >= self._first]
        if columns.size or samples:
            self._fold.add(columns, samples)

    def result(self) -> Any:
        """What the fold made of it."""
        return self._fold.result()


class Seen:
    """Calls that were delivered, the last of them, by the identifiers of dialects that log a call more than once."""

    def __init__(self, most: int = _MOST_SEEN) -> None:
        self._most = most
        self._names: dict[str, None] = {}

    def unseen(self, columns: Columns) -> Columns:
        """The calls that were not delivered before; they are from now on."""
        names = columns.names.get(CALL_KEY)
        if names is None:
            return columns
        known = np.array([value in self._names for value in names.values] + [False])[names.codes]
        self._names.update(dict.fromkeys(names.values[code] for code in set(names.codes.tolist()) if code >= 0))
        for name in list(self._names)[: max(0, len(self._names) - self._most)]:
            del self._names[name]
        return columns.take(~known) if known.any() else columns


class TailStream(Stream):
    """The content of a compressed log from an offset on; what passes is traced."""

    def __init__(self, source: Source, start: int) -> None:
        super().__init__(source)
        self.trace = Trace()
        self._blocks = self._after(source, start)

    def _after(self, source: Source, start: int) -> Iterator[bytes]:
        for block in blocks(source):
            before = self.trace.size
            self.trace.add(block)
            if rest := block[max(0, start - before) :]:
                yield rest
        self.trace.ended = True


def behind_last_newline(source: Source, least: int) -> int:
    """The offset behind the last newline of a plain file; `least` where none comes after it."""
    end = source.size
    while end > least:
        start = max(least, end - _BACK_BYTES)
        newline = stretch(source.path, start, end).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return min(least, source.size)


def behind_last_record(source: Source, layout: Layout) -> int:
    """The offset behind the last whole record of a plain file of lines or CSV."""
    splitter = layout.splitter()
    if not isinstance(splitter, RecordSplitter):
        return behind_last_newline(source, 0)
    for block in blocks(source):
        splitter.feed(block)
    return splitter.offset


def _records_before(part: Part, plan: ReadPlan) -> int | None:
    """How many records were read line by line, of CSV whose cells have begun to go over lines; None elsewhere."""
    splitter = plan.layout.splitter()
    if part.known is None or not part.known.plain or not isinstance(splitter, RecordSplitter):
        return None
    return len(splitter.feed(stretch(part.file.source.path, 0, part.known.offset)))


def is_cut(source: Source, stream: TailStream | None) -> bool:
    """Whether the last document is not whole yet."""
    last = stream.trace.last if stream is not None else stretch(source.path, max(0, source.size - 64), source.size)
    return not last.rstrip().endswith((b"}", b"]"))


_MOST_VANISHED: Final = 256
_TRIES: Final = 5  # for logs that are rotated while they are read
_IN_WORK_NS: Final = 60 * 10**9  # a compressed log that changed since may still be being written
_COUNTS: Final = (
    *("bytes_read", "lines", "blank", "used", "skipped", "rejected"),
    *("requests", "samples", "duplicates", "outside", "filtered", "undated"),
)
MakeFold = Callable[[], Fold[Any]]
Plans = dict[tuple[int, int], tuple[int, ReadPlan]]  # identity -> size of the head that it was made of, plan


class NewCalls(msgspec.Struct, frozen=True):
    """What has been read since the checkpoints.

    `results` are the folds' (none where nothing grew), `source` accounts for the new lines only, `pending` are the
    bytes of last lines that lack their newline, `failed` what could not be read (path, why).
    """

    results: list[Any]
    source: SourceReport
    checkpoints: tuple[Checkpoint, ...]
    pending: int
    failed: tuple[tuple[str, str], ...]


def read_new(
    query: Query,
    fields: frozenset[str],
    make_fold: MakeFold,
    checkpoints: Sequence[Checkpoint],
    since_us: int | None = None,
    plans: Plans | None = None,
    paths: Sequence[str] | None = None,
    seen: Seen | None = None,
) -> NewCalls:
    """Read what is new in the logs of a query; its time options are not looked at.

    Logs without a checkpoint are read from their beginning, with `since_us` from where calls of that time can stand
    (found by bisection where the log allows it: earlier calls may come too). `plans` and `seen` remember how logs
    are read and which calls of repeating dialects came, `paths` is what the logs stand for. Absent ones are no failure.
    """
    fields |= query.derive.fields if query.derive is not None else frozenset()
    for attempt in range(_TRIES):
        reading = _Reading(query, fields, make_fold, since_us, {} if plans is None else plans, seen or Seen())
        named = expand(query.logs).paths if paths is None else paths
        final = attempt == _TRIES - 1
        try:
            growth = reading.read(named, checkpoints, final=final)
        except OSError as error:
            if final:
                raise InputError(f"the logs change while they are read: {error}") from None
            continue
        if growth is not None:
            return growth
    raise AssertionError("the last attempt gives something or raises")


class _Reading:
    """One attempt."""

    def __init__(
        self, query: Query, fields: frozenset[str], make_fold: MakeFold, since_us: int | None, plans: Plans, seen: Seen
    ) -> None:
        self._query = query
        self._filter = query.where
        self._wanted: Wanted = wanted_of(query, fields)
        self._price = adding(query, fields)
        self._make_fold = make_fold
        self._since_us = since_us
        self._plans, self._seen, self._deferred = plans, seen, query.dedup
        self._results: list[Any] = []
        self._reports: list[SourceReport] = []
        self._failed: list[tuple[str, str]] = []
        self._checkpoints: list[Checkpoint] = []

    def read(self, paths: Sequence[str], checkpoints: Sequence[Checkpoint], *, final: bool) -> NewCalls | None:
        """What is new; None where a log was rotated meanwhile, unless this is final."""
        found = locate(paths, self._query.logs, checkpoints, self._query.wall_us * 1000)
        self._failed += found.failed
        ready = [(part, plan) for part in found.parts if (plan := self._plan(part.file)) is not None]
        streams = open_plans(found.streams, self._wanted)
        self._deferred |= any(plan.repeats for plan in (*(plan for _, plan in ready), *streams[1]))
        plain = [(part, plan) for part, plan in ready if part.file.source.splittable and plan.splittable]
        for part, plan in ready:
            if not (part.file.source.splittable and plan.splittable):
                self._read_alone(part, plan)
        self._read_plain([(part, plan, self._range(part, plan)) for part, plan in plain])
        self._read_streams(*streams)
        if not final and any(_has_changed(part.file) for part, _ in ready):
            return None
        return self._growth(found)

    def _plan(self, file: LogFile) -> ReadPlan | None:
        """How a log is read, by its head, which must have doubled to be looked at again."""
        size, plan = self._plans.get(file.identity, (0, None))
        whole = min(file.source.size, HEAD_BYTES)
        if plan is not None and (file.source.packing or 2 * size > whole):
            return plan
        try:
            plan = plan_for(head(file.source), self._wanted)
        except (OSError, EOFError, zlib.error) as error:
            self._failed.append((file.source.path, (getattr(error, "strerror", None) or str(error)).lower()))
            return None
        self._plans[file.identity] = (whole, plan)
        return plan

    def _range(self, part: Part, plan: ReadPlan) -> tuple[int, int]:
        """From the checkpoint to behind the last newline."""
        source = part.file.source
        end = behind_last_newline(source, part.start)
        if part.known is not None or self._since_us is None or not end:
            return min(part.start, end), end
        index = TimeIndex(msgspec.structs.replace(source, size=end), plan)
        if index.last_us is None or not index.in_order():
            return 0, end
        start = index.offset_before(self._since_us)
        return behind_last_newline(msgspec.structs.replace(source, size=start), 0), end

    def _scan(self, sources: Sequence[Source], plans: Sequence[ReadPlan], **how: Any) -> SourceReport:
        make_fold = ColumnsFold if self._deferred else self._make_fold
        after: int | None = how.pop("after", None)
        done = scan(
            Scan(
                sources=tuple(sources),
                plans=tuple(plans),
                selection=Selection(None, None, None if self._deferred else self._filter),
                price=None if self._deferred else self._price,
                progress=self._query.progress,
                **how,
            ),
            make_fold if after is None else lambda: LinesFrom(make_fold(), after),
        )
        self._failed += done.report.failed
        self._results += done.results
        return done.report

    def _read_plain(self, parts: Sequence[tuple[Part, ReadPlan, tuple[int, int]]]) -> None:
        grown = [(part, plan, at) for part, plan, at in parts if at[1] > at[0]]
        if grown:
            report = self._scan(
                [msgspec.structs.replace(part.file.source, size=end) for part, _, (_, end) in grown],
                [plan for _, plan, _ in grown],
                ranges=tuple(at for _, _, at in grown),
                jobs=self._query.jobs or parallel.cpu_count(),
                engine=self._query.engine,
            )
            self._reports.append(report)
        for part, _, (_, end) in parts:
            source = part.file.source
            start = stretch(source.path, 0, min(source.size, PRINT_BYTES))
            last = stretch(source.path, max(0, end - PRINT_BYTES), end)
            self._checkpoints.append(_checkpoint(part.file, end, start, last, plain=True))

    def _read_alone(self, part: Part, plan: ReadPlan) -> None:
        """What is compressed, or must be read from its beginning; one at a time, in this process."""
        source, known = part.file.source, part.known
        whole = not plan.splittable
        if whole and not source.packing and plan.layout.kind != "documents":
            source = msgspec.structs.replace(source, size=behind_last_record(source, plan.layout))
        stream = TailStream(source, 0 if whole else part.start) if source.packing else None
        before = known if whole and known is not None and known.whole else None
        report = self._scan(
            [source],
            [plan],
            ranges=((0, None),),
            streams={} if stream is None else {0: stream},
            after=before.lines if before is not None else _records_before(part, plan),
        )
        if stream is not None and not stream.trace.ended and not self._is_old(part.file):
            self._failed = [one for one in self._failed if one[0] != source.path]
        if plan.layout.kind == "documents" and report.rejected and is_cut(source, stream):  # it comes again, whole
            report = msgspec.structs.replace(report, lines=report.lines - 1, rejected=report.rejected - 1)
        taken = tuple(getattr(report, name) for name in _COUNTS) if whole else ()
        self._reports.append(report if before is None else _without(report, before))
        if stream is None:
            end, last = source.size, b""
            first = beginning(source, min(PRINT_BYTES, source.size // 2))  # the end of an array changes as it grows
        else:
            end, first, last = stream.trace.offset, stream.trace.first, stream.trace.print
        checkpoint = _checkpoint(part.file, end, first, last, plain=False)
        self._checkpoints.append(msgspec.structs.replace(checkpoint, whole=whole, lines=report.lines, counted=taken))

    def _is_old(self, file: LogFile) -> bool:
        return self._query.wall_us * 1000 - file.mtime_ns > _IN_WORK_NS

    def _read_streams(
        self, sources: Sequence[Source], plans: Sequence[ReadPlan], streams: Any, failed: list[tuple[str, str]]
    ) -> None:
        self._failed += failed
        if sources:
            self._reports.append(self._scan(sources, plans, ranges=((0, None),) * len(sources), streams=streams))

    def _growth(self, found: Located) -> NewCalls:
        results, source = self._results, _joined(self._reports)
        if self._deferred and results:
            results, source = self._settled(results, source)
        kept = [*self._checkpoints, *found.kept]
        return NewCalls(
            results=results,
            source=msgspec.structs.replace(source, timezone=self._query.tz, failed=tuple(self._failed)),
            checkpoints=(*kept, *found.vanished[:_MOST_VANISHED]),
            pending=sum(checkpoint.pending for checkpoint in kept),
            failed=tuple(self._failed),
        )

    def _settled(self, blocks_read: Sequence[Columns], source: SourceReport) -> tuple[list[Any], SourceReport]:
        """Each call once, priced and filtered; of one that came in an earlier growth only `seen` knows."""
        every = concat([in_log_order(columns) for columns in blocks_read])
        single = without_repeats(self._seen.unseen(every), any_dialect=self._query.dedup)
        priced = single if self._price is None or not single.size else self._price(single)
        chosen = priced if self._filter is None or not priced.size else priced.take(self._filter.mask(priced))
        fold = self._make_fold()
        if chosen.size:
            fold.add(chosen, [])
        counts = {"requests": chosen.size, "filtered": single.size - chosen.size}
        counts["duplicates"] = every.size - single.size
        return [fold.result()], msgspec.structs.replace(source, **counts)


def _has_changed(file: LogFile) -> bool:
    """Whether another file, or less, is now where one was read."""
    try:
        status = Path(file.source.path).stat()
    except OSError:
        return True
    return (status.st_dev, status.st_ino) != file.identity or status.st_size < file.source.size


def _checkpoint(file: LogFile, end: int, first: bytes, last: bytes, *, plain: bool) -> Checkpoint:
    return Checkpoint(
        path=os.path.abspath(file.source.path),
        device=file.device,
        inode=file.inode,
        offset=end,
        head_bytes=len(first),
        head_crc=zlib.crc32(first),
        tail_crc=zlib.crc32(last),
        size=file.source.size,
        mtime_ns=file.mtime_ns,
        origin=file.origin,
        plain=plain,
    )


def _without(report: SourceReport, known: Checkpoint) -> SourceReport:
    """The accounting of what came after a checkpoint, in a log that was read again from its beginning."""
    counts = {name: max(0, getattr(report, name) - old) for name, old in zip(_COUNTS, known.counted, strict=True)}
    rejects = tuple(one for one in report.rejects if (one.line or 0) > known.lines)
    return msgspec.structs.replace(report, **counts, rejects=rejects)


def _joined(reports: Sequence[SourceReport]) -> SourceReport:
    dialects: dict[str, int] = {}
    for report in reports:
        for name, lines in report.dialects.items():
            dialects[name] = dialects.get(name, 0) + lines
    return SourceReport(
        files=tuple(path for report in reports for path in report.files),
        dialects=dialects,
        rejects=tuple(one for report in reports for one in report.rejects)[:MOST_REJECTS_SHOWN],
        start_us=min((r.start_us for r in reports if r.start_us is not None), default=None),
        end_us=max((r.end_us for r in reports if r.end_us is not None), default=None),
        **{name: sum(getattr(report, name) for report in reports) for name in _COUNTS},
    )
