"""The history that rules read, brought up to date: what logs grew by is added, what a new rule lacks is read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from llmmon import parallel
from llmmon.checkpoints import Checkpoint
from llmmon.filters import all_of
from llmmon.following import Growth, read_growth
from llmmon.history import Key, Stream, StreamsFold, admitted, bounded, fields_of
from llmmon.partials import Partials, merge
from llmmon.pipeline import Query, adding, wanted_of
from llmmon.rules import MINUTE_US
from llmmon.scanning import Scan, open_plans, scan
from llmmon.seeking import TimeIndex
from llmmon.selection import Selection
from llmmon.sources import open_source
from llmmon.statefile import HOUR, StateFile

_SPARE: Final = 2 * HOUR  # minutes kept beyond what is needed


class Grown(msgspec.Struct, frozen=True):
    """What one run read: the growth of the logs, and each stream's new minutes."""

    growth: Growth
    parts: Mapping[Stream, Partials]
    backfilled: Mapping[Stream, Partials]


def joined(parts: Iterable[Partials]) -> Partials:
    """Minutes merged, each bounded as a whole."""
    return bounded(merge(parts))


def read_past(query: Query, streams: Sequence[Stream], state: StateFile, since_us: int | None) -> Grown:
    """Read what the logs grew by, and for streams that are new what lies before (calls from `since_us` on)."""
    checkpoints: tuple[Checkpoint, ...] = state.checkpoints(Checkpoint)
    growth = read_growth(
        query, fields_of(streams), lambda: StreamsFold(streams), checkpoints, None if checkpoints else since_us
    )
    known = state.streams()
    new = [stream for stream in streams if stream.name not in known]
    parts = _by_stream(streams, growth.results)
    behind = _read_behind(query, new, checkpoints, since_us) if new and checkpoints else []
    return Grown(growth, parts, _by_stream(new, behind) if behind else {})


def _by_stream(streams: Sequence[Stream], results: Sequence[list[Partials]]) -> dict[Stream, Partials]:
    return {stream: joined(result[i] for result in results) for i, stream in enumerate(streams)}


def _read_behind(
    query: Query, streams: Sequence[Stream], checkpoints: Sequence[Checkpoint], since_us: int | None
) -> list[list[Partials]]:
    """What was read before, up to the checkpoints, once more for other streams."""
    where = all_of(query.where)
    fields = fields_of(streams)
    files = [c for c in checkpoints if _is_there(c)]
    sources = [
        msgspec.structs.replace(source, size=min(source.size, c.offset)) if c.plain else source
        for c in files
        for source in (open_source(c.path),)
    ]
    readable, plans, streams_open, _ = open_plans(sources, wanted_of(query, fields, where))
    starts = []
    for source, plan in zip(readable, plans, strict=True):
        searchable = source.splittable and plan.splittable and since_us is not None
        index = TimeIndex(source, plan) if searchable else None
        usable = index is not None and index.last_us is not None and index.in_order()
        starts.append(index.offset_before(since_us) if usable and index is not None and since_us is not None else 0)
    done = scan(
        Scan(
            sources=readable,
            plans=plans,
            ranges=tuple((start, None) for start in starts),
            selection=Selection(None, None, where),
            price=adding(query, fields),
            jobs=query.jobs or parallel.cpu_count(),
            streams=streams_open,
        ),
        lambda: StreamsFold(streams),
    )
    return done.results


def _is_there(checkpoint: Checkpoint) -> bool:
    try:
        status = Path(checkpoint.path).stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (checkpoint.device, checkpoint.inode)


def store(state: StateFile, grown: Grown, streams: Sequence[Stream], keep: Mapping[Stream, int], now: int) -> None:
    """Add what was read to the history, and drop what no rule reaches any more; `now` is a minute."""
    known = state.streams()
    for stream in streams:
        since, groups = known.get(stream.name, (0, ()))
        oldest = now - keep[stream] - _SPARE
        parts = [part for part in (grown.backfilled.get(stream), grown.parts[stream]) if part is not None]
        groups = _add(state, stream, parts, groups)
        state.save_stream(stream.name, since, groups)
        state.forget_history(stream.name, oldest * MINUTE_US // stream.every_us)
    state.forget_streams(known.keys() - {stream.name for stream in streams})
    state.save_checkpoints(grown.growth.checkpoints)


def _add(state: StateFile, stream: Stream, parts: Sequence[Partials], groups: Sequence[Key]) -> tuple[Key, ...]:
    for part in parts:
        if part.groups:
            limited, groups = admitted(part, groups)
            state.add_history(stream.name, limited, joined)
    return tuple(groups)
