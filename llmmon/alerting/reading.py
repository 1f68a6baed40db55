"""New calls into the history of rules: read once, kept by minute and group, and forgotten when no rule looks back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from llmmon.alerting.history import Key, Stream, StreamsFold, bounded, fields_of, split
from llmmon.alerting.rules import MOST_GROUPS, OTHER
from llmmon.alerting.state import HOUR, StateFile
from llmmon.ingest.checkpoints import Checkpoint
from llmmon.ingest.follow import NewCalls, read_known, read_new
from llmmon.ingest.query import Query
from llmmon.metrics.aggregates import Aggregates, GroupKey, merge, regroup
from llmmon.text.times import MINUTE_US

_DAY: Final = 1440  # minutes
_SPARE: Final = 2 * HOUR  # minutes of history kept beyond what rules need


class HistoryUpdate(msgspec.Struct, frozen=True):
    """The history that one run read: the new minutes of each stream, and older ones of streams that are new."""

    new_calls: NewCalls
    parts: Mapping[Stream, Aggregates]
    backfilled: Mapping[Stream, Aggregates]


def joined(parts: Iterable[Aggregates]) -> Aggregates:
    """Merge minutes, and bound each as a whole."""
    return bounded(merge(parts))


def read_update(query: Query, streams: Sequence[Stream], state: StateFile, since_us: int | None) -> HistoryUpdate:
    """Read the new calls of the logs, and for new streams the calls before them (from `since_us` on)."""
    checkpoints: tuple[Checkpoint, ...] = state.checkpoints(Checkpoint)
    new_calls = read_new(
        query, fields_of(streams), lambda: StreamsFold(streams), checkpoints, None if checkpoints else since_us
    )
    known = state.streams()
    new = [stream for stream in streams if stream.name not in known]
    parts = _by_stream(streams, new_calls.results)
    behind = (
        read_known(query, fields_of(new), lambda: StreamsFold(new), checkpoints, since_us)
        if new and checkpoints
        else []
    )
    return HistoryUpdate(new_calls, parts, _by_stream(new, behind) if behind else {})


def _by_stream(streams: Sequence[Stream], results: Sequence[list[Aggregates]]) -> dict[Stream, Aggregates]:
    return {stream: joined(result[i] for result in results) for i, stream in enumerate(streams)}


def store(
    state: StateFile,
    update: HistoryUpdate,
    streams: Sequence[Stream],
    keep: Mapping[Stream, int],
    span: tuple[int, int],
) -> None:
    """Add what was read to the history, and delete what no rule looks back on any more.

    `span` are the first and the last minute that are evaluated.
    """
    known = state.streams()
    for stream in streams:
        since, groups = known.get(stream.name, (0, ()))
        oldest = span[0] - keep[stream] - _SPARE
        parts = [part for part in (update.backfilled.get(stream), update.parts[stream]) if part is not None]
        for part in parts:
            groups = _add(state, stream, part, groups)
        state.save_stream(stream.name, since, groups)
        state.forget_history(stream.name, oldest * MINUTE_US // stream.every_us)
    state.forget_streams(known.keys() - {stream.name for stream in streams})
    state.save_checkpoints(update.new_calls.checkpoints)


def _add(state: StateFile, stream: Stream, part: Aggregates, groups: tuple[Key, ...]) -> tuple[Key, ...]:
    """Add a part to the history, day by day; returns the groups that have a seat."""
    if stream.most_groups is None:
        state.add_history(stream.name, part, joined)
        return ()
    width = stream.every_us // MINUTE_US
    for day, piece in split(part, _DAY // width):
        if len(groups) >= stream.most_groups:
            known = state.history(stream.name, (day - 1) * _DAY // width, (day + 1) * _DAY // width)
            groups = _still_active(groups, known, piece)
        limited, groups = admitted(piece, groups, stream.most_groups)
        state.add_history(stream.name, limited, joined)
    return groups


def _still_active(groups: Sequence[Key], *parts: Aggregates) -> tuple[Key, ...]:
    """The groups that keep their seats: those with calls since the beginning of the day before."""
    active = {group[1:] for part in parts for group in part.groups}
    return tuple(key for key in groups if key in active)


def admitted(
    aggregates: Aggregates, known: Sequence[Key], most: int = MOST_GROUPS
) -> tuple[Aggregates, tuple[Key, ...]]:
    """Keep at most `most` groups, first come first served; all other calls become the group "other"."""
    named = dict.fromkeys(known)
    first: dict[Key, int] = {}
    for group in aggregates.groups:
        key = group[1:]
        if key not in named and first.get(key, group[0]) >= group[0]:
            first[key] = group[0]
    for key in sorted(first, key=lambda key: (first[key], [(name is not None, name or "") for name in key])):
        if len(named) < most:
            named[key] = None
    if all(key in named for key in first):
        return aggregates, tuple(named)
    groups: list[GroupKey] = [
        group if group[1:] in named else (group[0], *(OTHER,) * (len(group) - 1)) for group in aggregates.groups
    ]
    return bounded(regroup(aggregates, groups)), tuple(named)


def complete(streams: Sequence[Stream], results: Sequence[Sequence[Aggregates]]) -> dict[Stream, Aggregates]:
    """Merge the results of every worker's `StreamsFold` to the whole history of streams, with seats as in `check`."""
    whole = {stream: bounded(merge(result[i] for result in results)) for i, stream in enumerate(streams)}
    return {stream: _limited(stream, part) for stream, part in whole.items()}


def _limited(stream: Stream, part: Aggregates) -> Aggregates:
    most = stream.most_groups
    if most is None or len({group[1:] for group in part.groups}) <= most:
        return part
    pieces: list[Aggregates] = []
    groups: tuple[Key, ...] = ()
    before = -1
    for day, piece in split(part, _DAY * MINUTE_US // stream.every_us):
        if len(groups) >= most:
            groups = _still_active(groups, piece, *(pieces[-1:] if before == day - 1 else []))
        limited, groups = admitted(piece, groups, most)
        pieces.append(limited)
        before = day
    return joined(pieces)
