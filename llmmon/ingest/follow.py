"""What was appended to logs since a checkpoint, exactly once, through rotation.

Plain logs of lines are read from the checkpoint to the last newline; the rest waits (`pending`). Compressed ones are
decompressed again when they change, and what was read is passed over. What cannot be read from the middle (documents,
dialects that need earlier lines) is read again when it grows, for calls on new lines. Stdin is read whole each time.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.errors import InputError, UsageError, reason_of
from llmmon.formats.accounting import MOST_REJECTS_SHOWN
from llmmon.formats.csv_table import RecordSplitter
from llmmon.formats.detection import ReadPlan
from llmmon.formats.layouts import Layout
from llmmon.formats.mapping import CALL_KEY, CALL_PARENT
from llmmon.ingest.checkpoints import PRINT_BYTES, Checkpoint, Located, LogFile, Part, Trace, beginning, locate, stretch
from llmmon.ingest.plans import Unlike, open_plans, plan_of, refit
from llmmon.ingest.query import Loader, MakeFold, Query
from llmmon.ingest.report import SourceReport
from llmmon.ingest.scan import POSITION_BITS, Fold, Scanned, ScanRequest, scan
from llmmon.ingest.sources import expand, open_source
from llmmon.ingest.spans import HEAD_BYTES, Source, Stream, blocks
from llmmon.ingest.time_range import TimeIndex
from llmmon.metrics.columns import Columns, concat, in_log_order
from llmmon.metrics.definitions import SESSION_METRICS

_BACK_BYTES: Final = 64 << 10
_MOST_SEEN: Final = 100_000


class LinesFrom:
    """A fold that sees only what is on lines from the given one on."""

    def __init__(self, fold: Fold[Any], first: int) -> None:
        self._fold = fold
        self._first = first

    def add(self, columns: Columns, samples: list[dict[str, Any]]) -> None:
        """Add a block, without what is on earlier lines."""
        if columns.size and columns.positions is not None:
            columns = columns.take(columns.positions % (1 << POSITION_BITS) >= self._first)
        samples = [sample for sample in samples if sample["line"] >= self._first]
        if columns.size or samples:
            self._fold.add(columns, samples)

    def result(self) -> Any:
        """The result of the inner fold."""
        return self._fold.result()


class Seen:
    """Calls that were delivered, the last of them, by the keys of dialects that may hold a call more than once."""

    def __init__(self, most: int = _MOST_SEEN) -> None:
        self._most = most
        self._keys: dict[float, None] = {}

    def unseen(self, columns: Columns) -> Columns:
        """The calls that were not delivered before and do not enclose such; from now on they count as delivered."""
        keys = columns.numbers.get(CALL_KEY)
        if keys is None:
            return columns
        known = np.array([key in self._keys for key in keys.tolist()], np.bool_)
        for found in (keys, columns.number(CALL_PARENT)):
            self._keys.update(dict.fromkeys(found[~np.isnan(found)].tolist()))
        for key in list(self._keys)[: max(0, len(self._keys) - self._most)]:
            del self._keys[key]
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
    """The offset after the last newline of a plain file; `least` where no newline follows it."""
    end = source.size
    while end > least:
        start = max(least, end - _BACK_BYTES)
        newline = stretch(source.path, start, end).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return min(least, source.size)


def behind_last_record(source: Source, layout: Layout) -> int:
    """The offset after the last whole record of a plain file of lines or CSV."""
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
Plans = dict[tuple[int, int], tuple[int, ReadPlan]]  # identity -> size of the head that it was made of, plan


class NewCalls(msgspec.Struct, frozen=True):
    """What has been read since the checkpoints.

    `results` are the folds' (none where nothing grew), `source` accounts for the new lines only, `pending` are the
    bytes of last lines that lack their newline, `failed` what could not be read (path, why). `scans` are where the
    calls of each result come from; there are none where calls of repeating dialects were joined.
    """

    results: list[Any]
    source: SourceReport
    checkpoints: tuple[Checkpoint, ...]
    pending: int
    failed: tuple[tuple[str, str], ...]
    scans: tuple[Scanned[Any], ...] = ()


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

    Logs without a checkpoint are read from their beginning, with `since_us` from where calls of that time can be
    (found by bisection where the log allows it: earlier calls may come too). `plans` and `seen` remember how logs
    are read and which calls of repeating dialects came, `paths` is what the logs stand for. Absent ones are no failure.
    """
    fields |= query.derive.fields if query.derive is not None else frozenset()
    if ended := sorted(fields & SESSION_METRICS):
        raise UsageError(
            f"{ended[0]} is known only when a whole log is read, not as it grows",
            hint="`llmmon sessions --fail-on`, or cost_usd by session",
        )
    plans = {} if plans is None else plans
    for attempt in range(_TRIES):
        reading = _Reading(query, fields, make_fold, since_us, plans, seen or Seen())
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
    """One attempt to read what is new."""

    def __init__(
        self, query: Query, fields: frozenset[str], make_fold: MakeFold, since_us: int | None, plans: Plans, seen: Seen
    ) -> None:
        self._query = query
        self._loader = Loader(query, fields, make_fold)
        self._since_us = since_us
        self._plans, self._seen = plans, seen
        self._refitted = False  # some plans turned out to be wrong, and are others now
        self._results: list[Any] = []
        self._scans: list[Scanned[Any]] = []
        self._reports: list[SourceReport] = []
        self._failed: list[tuple[str, str]] = []
        self._checkpoints: list[Checkpoint] = []

    def read(self, paths: Sequence[str], checkpoints: Sequence[Checkpoint], *, final: bool) -> NewCalls | None:
        """What is new; None where a log was rotated meanwhile, unless this is final."""
        found = locate(paths, self._query.logs, checkpoints, self._query.wall_us * 1000)
        self._failed += found.failed
        ready = [(part, plan) for part in found.parts if (plan := self._plan(part.file)) is not None]
        streams = open_plans(found.streams, self._loader.wanted)
        self._loader.deferred |= any(plan.repeats or plan.nests for plan in (*(plan for _, plan in ready), *streams[1]))
        plain = [(part, plan) for part, plan in ready if part.file.source.splittable and plan.splittable]
        for part, plan in ready:
            if not (part.file.source.splittable and plan.splittable):
                self._read_alone(part, plan)
        self._read_plain([(part, plan, self._range(part, plan)) for part, plan in plain])
        self._read_streams(*streams)
        if not final and (self._refitted or any(_has_changed(part.file) for part, _ in ready)):
            return None
        return self._growth(found)

    def _plan(self, file: LogFile) -> ReadPlan | None:
        """How a log is read, by its head, which must have doubled to be looked at again."""
        size, plan = self._plans.get(file.identity, (0, None))
        whole = min(file.source.size, HEAD_BYTES)
        if plan is not None and (file.source.packing or 2 * size > whole):
            return plan
        try:
            plan = plan_of(file.source, self._loader.wanted)
        except (OSError, EOFError, zlib.error) as error:
            self._failed.append((file.source.path, reason_of(error)))
            return None
        self._plans[file.identity] = (whole, plan)
        return plan

    def _range(self, part: Part, plan: ReadPlan) -> tuple[int, int]:
        """From the checkpoint to behind the last newline."""
        source = part.file.source
        end = behind_last_newline(source, part.start)
        if part.known is not None or self._since_us is None or not end:
            return min(part.start, end), end
        start = _offset_since(msgspec.structs.replace(source, size=end), plan, self._since_us)
        return behind_last_newline(msgspec.structs.replace(source, size=start), 0), end

    def _scan(self, request: ScanRequest, files: Sequence[LogFile], after: int | None = None) -> SourceReport:
        """Scan into folds; where `after` is given, only the lines from there on."""
        make_fold = self._loader.make_fold
        done = scan(request, make_fold if after is None else lambda: LinesFrom(make_fold(), after))
        for number, unlike in done.unlike.items():
            self._refit(files[number : number + 1], request.plans[number], unlike)
        self._failed += done.report.failed
        self._results += done.results
        self._scans += [done] * len(done.results)
        return done.report

    def _refit(self, files: Sequence[LogFile], plan: ReadPlan, unlike: Unlike) -> None:
        for file in files:
            better = refit(file.source, plan, self._loader.wanted, unlike)
            if better is not None:
                self._plans[file.identity] = (min(file.source.size, HEAD_BYTES), better)
                self._refitted = True

    def _read_plain(self, parts: Sequence[tuple[Part, ReadPlan, tuple[int, int]]]) -> None:
        grown = [(part, plan, at) for part, plan, at in parts if at[1] > at[0]]
        if grown:
            request = self._loader.request(
                [msgspec.structs.replace(part.file.source, size=end) for part, _, (_, end) in grown],
                [plan for _, plan, _ in grown],
                [at for _, _, at in grown],
            )
            self._reports.append(self._scan(request, [part.file for part, _, _ in grown]))
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
        streams = {} if stream is None else {0: stream}
        request = self._loader.request([source], [plan], [(0, None)], streams=streams, jobs=1)
        after = _records_before(part, plan) if before is None else before.lines
        report = self._scan(request, [part.file], after)
        if stream is not None and not stream.trace.ended and not self._is_old(part.file):
            self._failed = [one for one in self._failed if one[0] != source.path]
        if plan.layout.kind == "documents" and report.rejected and is_cut(source, stream):  # it comes again, whole
            report = msgspec.structs.replace(report, lines=report.lines - 1, rejected=report.rejected - 1)
        taken = tuple(report.counts.values()) if whole else ()
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
            request = self._loader.request(sources, plans, [(0, None)] * len(sources), streams=streams, jobs=1)
            self._reports.append(self._scan(request, ()))

    def _growth(self, found: Located) -> NewCalls:
        results, source = self._results, SourceReport.joined(self._reports)
        source = msgspec.structs.replace(source, rejects=source.rejects[:MOST_REJECTS_SHOWN])
        if self._loader.deferred and results:  # of a call that came in an earlier run only `seen` knows
            every = concat([in_log_order(columns) for columns in results])
            settled = self._loader.settle(every, self._seen.unseen)
            results, source = settled.results, msgspec.structs.replace(source, **settled.counts)
            self._scans = []
        kept = [*self._checkpoints, *found.kept]
        return NewCalls(
            results=results,
            source=msgspec.structs.replace(source, timezone=self._query.tz, failed=tuple(self._failed)),
            checkpoints=(*kept, *found.vanished[:_MOST_VANISHED]),
            pending=sum(checkpoint.pending for checkpoint in kept),
            failed=tuple(self._failed),
            scans=tuple(self._scans),
        )


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
    grown = zip(report.counts.items(), known.counted, strict=True)
    counts = {name: max(0, count - old) for (name, count), old in grown}
    rejects = tuple(one for one in report.rejects if (one.line or 0) > known.lines)
    return msgspec.structs.replace(report, **counts, rejects=rejects)


def read_known(
    query: Query, fields: frozenset[str], make_fold: MakeFold, checkpoints: Sequence[Checkpoint], since_us: int | None
) -> list[Any]:
    """Read once more what was read up to the checkpoints; the results of the folds.

    With `since_us` from where calls of that time can be (earlier calls may come too). Logs that are gone by now,
    or that another file has taken the place of, are left out.
    """
    loader = Loader(query.quiet(), fields, make_fold)
    found = [
        msgspec.structs.replace(source, size=min(source.size, one.offset)) if one.plain else source
        for one in checkpoints
        if _is_there(one)
        for source in (open_source(one.path),)
    ]
    sources, plans, streams, _ = open_plans(found, loader.wanted)
    loader.deferred |= any(plan.repeats or plan.nests for plan in plans)
    ranges = [(_offset_since(source, plan, since_us), None) for source, plan in zip(sources, plans, strict=True)]
    results = scan(loader.request(sources, plans, ranges, streams=streams), loader.make_fold).results
    if not loader.deferred:
        return results
    return loader.settle(in_log_order(concat(results))).results if results else []


def _offset_since(source: Source, plan: ReadPlan, since_us: int | None) -> int:
    """An offset before which no call of a moment or later starts; 0 where the log cannot be searched for it."""
    if since_us is None or not (source.splittable and plan.splittable):
        return 0
    index = TimeIndex(source, plan)
    return index.offset_before(since_us) if index.last_us is not None and index.in_order() else 0


def _is_there(checkpoint: Checkpoint) -> bool:
    """Whether the log of a checkpoint is still where it was."""
    try:
        status = Path(checkpoint.path).stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (checkpoint.device, checkpoint.inode)
