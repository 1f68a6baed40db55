"""How each source is read: planned from its head, from a source like it, or anew from what a scan met."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from llmmon.errors import reason_of
from llmmon.formats.detection import ReadPlan, Wanted, plan_for, refitted
from llmmon.formats.reader import fits, typed_decoders
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
    readable: list[Source] = []
    plans: list[ReadPlan] = []
    failed: list[tuple[str, str]] = []
    streams: dict[int, Stream] = {}
    known: list[tuple[ReadPlan, list[tuple[str, TypedDecoder]]]] = []
    for source in sources:
        try:
            if source.seekable:
                beginning = head(source)
                plan = next((plan for plan, decoders in known if fits(plan, decoders, beginning)), None)
                if plan is None:
                    plan = plan_for(beginning, wanted, samples_of(source))
                    known = [(plan, typed_decoders(plan)), *known][:_MOST_PLANS]
            else:
                streams[len(readable)] = stream = Stream(source)
                plan = plan_for(stream.peek(), wanted)
        except (OSError, EOFError, zlib.error) as error:
            failed.append((source.path, reason_of(error)))
            continue
        readable.append(source)
        plans.append(plan)
    return tuple(readable), tuple(plans), streams, failed


_MOST_PLANS: Final = 4  # that are tried on the next source


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
