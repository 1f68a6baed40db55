"""How each source is read: planned from its head, from a source like it, or anew from what a scan met."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from llmmon.errors import reason_of
from llmmon.formats.detection import ReadPlan, Wanted, plan_for, refitted
from llmmon.formats.reader import typed_decoders
from llmmon.formats.typed import TypedDecoder
from llmmon.ingest.spans import Source, Stream, head, samples_of


class Unlike(msgspec.Struct, frozen=True):
    """What a plan did not expect in a source: lines of kinds that its samples lacked, and what was counted."""

    lines: tuple[bytes, ...]
    doubts: Mapping[str, int]


def open_plans(
    sources: Sequence[Source], wanted: Wanted
) -> tuple[tuple[Source, ...], tuple[ReadPlan, ...], dict[int, Stream], list[tuple[str, str]]]:
    """The readable sources with their plans; what is read once only comes as an open stream."""
    plans: dict[int, ReadPlan] = {}
    failed: dict[int, tuple[str, str]] = {}
    streams: dict[int, Stream] = {}
    known = _KnownPlans(wanted)
    for number, source in enumerate(sources):
        try:
            if source.seekable:
                known.wait(number, source, head(source))
            else:
                streams[number] = stream = Stream(source)
                plans[number] = plan_for(stream.peek(), wanted)
        except (OSError, EOFError, zlib.error) as error:
            failed[number] = (source.path, reason_of(error))
        if known.is_full:
            known.settle(plans, failed)
    known.settle(plans, failed)
    readable = sorted(plans)
    return (
        tuple(sources[number] for number in readable),
        tuple(plans[number] for number in readable),
        {at: streams[number] for at, number in enumerate(readable) if number in streams},
        [failed[number] for number in sorted(failed)],
    )


_Waiting = tuple[int, Source, bytes]  # a source by its number, with its beginning


class _KnownPlans:
    """Plans that were made, tried on what comes next: on small files many at a time."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._known: list[tuple[ReadPlan, list[tuple[str, TypedDecoder]]]] = []
        self._waiting: list[_Waiting] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether enough waits to be looked at together."""
        return self._bytes >= _TOGETHER_BYTES or len(self._waiting) >= _MOST_TOGETHER

    def wait(self, number: int, source: Source, beginning: bytes) -> None:
        """Put a source behind those that wait for a plan."""
        self._waiting.append((number, source, beginning))
        self._bytes += len(beginning)

    def settle(self, plans: dict[int, ReadPlan], failed: dict[int, tuple[str, str]]) -> None:
        """Find a known plan or make a new one for all that wait."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        for plan, decoders in self._known:
            waiting = _without_fitting(waiting, plan, decoders, plans)
        while waiting:
            (number, source, beginning), *waiting = waiting
            try:
                plan = plan_for(beginning, self._wanted, samples_of(source))
            except (OSError, EOFError, zlib.error) as error:
                failed[number] = (source.path, reason_of(error))
                continue
            plans[number] = plan
            decoders = typed_decoders(plan)
            self._known = [(plan, decoders), *self._known][:_MOST_PLANS]
            waiting = _without_fitting(waiting, plan, decoders, plans)


def _without_fitting(
    waiting: list[_Waiting], plan: ReadPlan, decoders: list[tuple[str, TypedDecoder]], plans: dict[int, ReadPlan]
) -> list[_Waiting]:
    """What still waits once a plan is that of all sources that it fits."""
    if not waiting:
        return waiting
    from llmmon.formats.small_files import which_fit  # few logs are many files

    fit = which_fit(plan, decoders, [beginning for _, _, beginning in waiting])
    plans |= {number: plan for (number, _, _), fitting in zip(waiting, fit, strict=True) if fitting}
    return [each for each, fitting in zip(waiting, fit, strict=True) if not fitting]


_MOST_PLANS: Final = 4  # that are tried on the next source
_TOGETHER_BYTES: Final = 512 << 10  # of heads that are looked at at a time
_MOST_TOGETHER: Final = 32  # of them: each of another kind is tried with the plans of those before


def plan_of(source: Source, wanted: Wanted, met: Sequence[bytes] = ()) -> ReadPlan:
    """How a source is read that can be read again, by its head, samples from all over it, and lines that were met.

    Raises `OSError`, or `EOFError` where it is cut off.
    """
    return plan_for(head(source), wanted, [*samples_of(source), *met])


def refit(source: Source, plan: ReadPlan, wanted: Wanted, unlike: Unlike) -> ReadPlan | None:
    """How a source must be read instead, after what a scan met in it; None where the plan was right."""
    if not (unlike.lines or {"weak", "lone"} & unlike.doubts.keys()):
        return None
    try:
        better = plan_of(source, wanted, unlike.lines)
    except (OSError, EOFError, zlib.error):
        return None
    return refitted(plan, better, unlike.doubts)
