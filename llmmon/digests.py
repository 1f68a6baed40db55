"""What the monitor keeps of the calls of a bucket: sums of logarithms for levels, bins of values for tails.

Both are mergeable statistics like all others (`merge` adds and concatenates them), a few numbers a bucket
however many calls it holds.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from llmmon.columns import FloatArray, IntArray
from llmmon.metrics import METRICS
from llmmon.partials import VALUE_BITS, Partials, Run, Sums, Values, counts_of, distinct

LOG, SQUARE, TAIL = "log ", "square ", "tail "  # before the name of a metric
TAILS: Final = ("latency_ms", "output_tokens_per_second")  # of which the tail is watched
PLAIN: Final = ("quality_score",)  # summed as they are, without the logarithm
_UNITS: Final = 4096  # of a logarithm, or of 1; their squares add up exactly in 53 bits
_BINS: Final = 16  # to a factor of e: the middle of a bin is at most 3.2 % off
_MOST_RUNS: Final = 8
_BITS: Final = np.uint64(VALUE_BITS)
_MASK: Final = np.uint64((1 << VALUE_BITS) - 1)


def digested(partials: Partials) -> Partials:
    """The same groups with sums and bins in place of values; those that stand there already stay."""
    sums, tails = dict(partials.sums), {n: v for n, v in partials.values.items() if n.startswith(TAIL)}
    for name, values in partials.values.items():
        if name not in tails:
            for key, found in zip((LOG + name, SQUARE + name), _moments(name, values, len(partials)), strict=True):
                sums[key] = _added(sums.get(key), found)
            if name in TAILS:
                known = tails.get(TAIL + name, Values())
                tails[TAIL + name] = Values((*known.runs, *map(_binned, values.runs)))
    return msgspec.structs.replace(partials, sums=sums, values={n: _few_runs(v) for n, v in tails.items()})


def _moments(name: str, values: Values, size: int) -> tuple[Sums, Sums]:
    """The sums of the logarithms of the positive values, and of their squares, by group."""
    count, total, square = np.zeros(size), np.zeros(size), np.zeros(size)
    for run in values.runs:
        groups, numbers, weights = _positive(run) if name not in PLAIN else _parts(run)
        x = np.rint(_UNITS * (numbers / METRICS[name].scale if name in PLAIN else np.log(numbers)))
        count += np.bincount(groups, weights, size)
        total += np.bincount(groups, x if weights is None else x * weights, size)
        square += np.bincount(groups, x * x if weights is None else x * x * weights, size)
    whole = count.astype(np.int64)
    return Sums(whole, total.astype(np.int64)), Sums(whole, square.astype(np.int64))


def moments(partials: Partials, name: str) -> tuple[IntArray, FloatArray, FloatArray]:
    """(count, mean, variance) by group of a metric's logarithms in public units, or of itself if `PLAIN`."""
    found, count = partials.sums[LOG + name], partials.sums[LOG + name].count
    many = np.maximum(count, 1)
    mean = found.total / many
    spread = np.maximum(partials.sums[SQUARE + name].total / many - mean * mean, 0.0)
    shift = 0.0 if name in PLAIN else np.log(METRICS[name].scale)
    return count, np.where(count > 0, mean / _UNITS - shift, np.nan), spread / _UNITS**2


def _parts(run: Run) -> tuple[IntArray, FloatArray, IntArray | None]:
    return (run.keys >> _BITS).astype(np.int64), (run.keys & _MASK).astype(np.float64), run.counts


def _positive(run: Run) -> tuple[IntArray, FloatArray, IntArray | None]:
    groups, numbers, weights = _parts(run)
    if (kept := numbers > 0).all():
        return groups, numbers, weights
    return groups[kept], numbers[kept], None if weights is None else weights[kept]


def _added(known: Sums | None, more: Sums) -> Sums:
    return more if known is None else Sums(known.count + more.count, known.total + more.total)


def _binned(run: Run) -> Run:
    """The values of a run in the middle of their bins, each once with its count."""
    groups, numbers, _ = _parts(run)
    middles = np.rint(np.exp(np.rint(np.log(np.maximum(numbers, 1.0)) * _BINS) / _BINS))
    keys = (groups.astype(np.uint64) << _BITS) | middles.astype(np.uint64)
    return distinct(keys, counts_of(run))


def _few_runs(values: Values) -> Values:
    if len(values.runs) < _MOST_RUNS:
        return values
    keys, counts = (np.concatenate(parts) for parts in zip(*((r.keys, counts_of(r)) for r in values.runs), strict=True))
    return Values((distinct(keys, counts),))
