"""History as rows of a table: cut into stretches, and each as bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.columns import IntArray
from llmmon.partials import VALUE_BITS, KeyArray, Partials, Run, Sums, Values, sorted_run

_BITS: Final = np.uint64(VALUE_BITS)


def split(partials: Partials, width: int) -> Iterator[tuple[int, Partials]]:
    """The buckets in stretches of `width`, in order; each stretch with its number (first bucket // width)."""
    if not partials.groups:
        return
    numbers = np.array([group[0] for group in partials.groups], np.int64) // width
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    values = {name: _split_values(v, numbers, place, found) for name, v in partials.values.items()}
    for i, (number, start, end) in enumerate(zip(found.tolist(), starts, [*starts[1:], len(order)], strict=True)):
        kept = order[start:end]
        yield (
            number,
            Partials(
                groups=tuple(partials.groups[j] for j in kept.tolist()),
                sums={name: Sums(s.count[kept], s.total[kept]) for name, s in partials.sums.items()},
                values={name: those[i] for name, those in values.items()},
            ),
        )


def _split_values(values: Values, numbers: IntArray, place: IntArray, found: IntArray) -> list[Values]:
    """The values of each stretch, under its own groups' numbers."""
    run = sorted_run(values)
    cells = (run.keys >> _BITS).astype(np.int64)
    order = np.argsort(numbers[cells], kind="stable")
    cells = cells[order]
    low: KeyArray = run.keys[order] & np.uint64((1 << VALUE_BITS) - 1)
    keys: KeyArray = low | (place[cells].astype(np.uint64) << _BITS)
    edges = np.searchsorted(numbers[cells], [*found, np.iinfo(np.int64).max]).tolist()
    counts = None if run.counts is None else run.counts[order]
    return [
        Values((Run(keys[a:b], None if counts is None else counts[a:b]),), values.exact) for a, b in pairwise(edges)
    ]


class _Stored(msgspec.Struct, frozen=True):
    groups: list[tuple[Any, ...]]
    sums: Mapping[str, tuple[bytes, bytes]]
    values: Mapping[str, tuple[bytes, bytes | None]]


def packed(partials: Partials) -> bytes:
    """Partials as bytes, for `unpacked`."""
    runs = {name: sorted_run(v) for name, v in partials.values.items()}
    return msgspec.msgpack.encode(
        _Stored(
            groups=list(partials.groups),
            sums={name: (s.count.tobytes(), s.total.tobytes()) for name, s in partials.sums.items()},
            values={
                name: (run.keys.tobytes(), None if run.counts is None else run.counts.tobytes())
                for name, run in runs.items()
            },
        )
    )


def unpacked(data: bytes) -> Partials:
    """Partials from `packed` bytes; raises `msgspec.MsgspecError` or `ValueError` for anything else."""
    stored = msgspec.msgpack.decode(data, type=_Stored)
    return Partials(
        groups=tuple(tuple(group) for group in stored.groups),
        sums={
            name: Sums(np.frombuffer(count, np.int64), np.frombuffer(total, np.int64))
            for name, (count, total) in stored.sums.items()
        },
        values={
            name: Values(
                (Run(np.frombuffer(keys, np.uint64), None if n is None else np.frombuffer(n, np.int64)),),
            )
            for name, (keys, n) in stored.values.items()
        },
    )
