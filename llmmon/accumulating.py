"""Counters that continue from one export to the next: a snapshot, and what was appended since, give the next one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from llmmon.tallies import Instrument, Kept, Tally, add, kept_labels, limited

Entry = tuple[tuple[str | None, ...], tuple[int, ...]]


class Snapshot(msgspec.Struct, frozen=True):
    """Everything counted so far, under the labels that were given a name of their own, and when that was."""

    tally: Tally
    kept: Kept
    rejected: int
    at_us: int


def advanced(
    before: Snapshot | None,
    part: Tally,
    rejected: int,
    at_us: int,
    instruments: Sequence[Instrument],
    limit: int,
) -> tuple[Snapshot, Tally]:
    """The next snapshot, and the part under its labels.

    No number of a snapshot is ever smaller than before: a label value that has a name keeps it, and what was added
    up as `other` stays there, even if the value is frequent later.
    """
    kept = kept_labels(part, instruments, limit, None if before is None else before.kept)
    named = limited(part, instruments, kept)
    if before is None:
        return Snapshot(named, kept, rejected, at_us), named
    return Snapshot(add([before.tally, named]), kept, before.rejected + rejected, at_us), named


def minutes_since(before: Snapshot | None, part: Tally, at_us: int) -> float | None:
    """The time that a part covers: since the last snapshot, for the first from its first call to its last."""
    if before is not None:
        return (at_us - before.at_us) / 60e6 if at_us > before.at_us else None
    if part.first_us is None or part.last_us is None or part.first_us == part.last_us:
        return None
    return (part.last_us - part.first_us) / 60e6


class _Packed(msgspec.Struct, frozen=True):
    points: dict[str, list[Entry]]
    first_us: int | None
    last_us: int | None
    kept: dict[str, list[str]]
    rejected: int
    at_us: int
    checkpoints: list[Any]


def packed(snapshot: Snapshot, checkpoints: Sequence[Any]) -> str:
    """A snapshot and how far the logs were read for it, as JSON."""
    tally = snapshot.tally
    return msgspec.json.encode(
        _Packed(
            {metric: list(points.items()) for metric, points in tally.points.items()},
            tally.first_us,
            tally.last_us,
            {label: sorted(values) for label, values in snapshot.kept.items()},
            snapshot.rejected,
            snapshot.at_us,
            list(checkpoints),
        )
    ).decode()


def unpacked(text: str | None, checkpoint: type[Any]) -> tuple[Snapshot | None, tuple[Any, ...]]:
    """What `packed` gave; nothing where there is no text."""
    if text is None:
        return None, ()
    found = msgspec.json.decode(text, type=_Packed)
    tally = Tally({metric: dict(points) for metric, points in found.points.items()}, found.first_us, found.last_us)
    kept = {label: frozenset(values) for label, values in found.kept.items()}
    checkpoints = msgspec.convert(found.checkpoints, list[checkpoint])  # type: ignore[valid-type]
    return Snapshot(tally, kept, found.rejected, found.at_us), tuple(checkpoints)


def name_of(instruments: Sequence[Instrument], asked: Sequence[object]) -> str:
    """What a snapshot is remembered as: other instruments, or another question, are counters of their own."""
    digest = sha256(msgspec.json.encode([[msgspec.to_builtins(one) for one in instruments], [repr(a) for a in asked]]))
    return f"export {digest.hexdigest()[:16]}"
