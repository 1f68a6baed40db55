"""What is known about a file from its head: dialects, where each field comes from and why, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from llmmon.columns import Columns
from llmmon.formats import DIALECTS
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import head_objects
from llmmon.formats.dialect import Dialect
from llmmon.formats.home_made import GENERIC
from llmmon.formats.mapping import Binding, Mapping
from llmmon.formats.plan import ReadPlan
from llmmon.formats.reading import SpanReader
from llmmon.formats.slots import SLOTS, Slot
from llmmon.record import FIELDS

# what a field that no call carries would make possible
UNLOCKS: Final = {
    "timestamp": "windows, time series, anomalies, alerts",
    "model": "breakdowns by model, prices",
    "latency_ms": "latency quantiles, output speed",
    "time_to_first_token_ms": "how long users wait for the first token",
    "prompt_tokens": "token counts, calculated costs",
    "completion_tokens": "token counts, output speed, calculated costs",
    "cost_usd": "costs as billed (they are calculated from prices where tokens are logged)",
    "error_type": "errors by type",
    "finish_reason": "the rate of answers cut off or withheld",
    "user": "costs and errors by user",
    "request_id": "counting repeated lines once",
    "output": "quality scores",
}


class FieldSource(msgspec.Struct, frozen=True):
    """Where a slot of the record comes from in a dialect, in which unit, and why it is read so."""

    dialect: str
    slot: str
    path: str
    unit: str
    why: str


class Recognised(msgspec.Struct, frozen=True):
    """A dialect of the file: how many records of the head are of it, what it lacks in a plain word."""

    name: str
    title: str
    records: int
    lacks: str


class Explanation(msgspec.Struct, frozen=True):
    """What the head of a file tells: `coverage` is the share of calls that carry each field."""

    layout: str
    splittable: bool
    dialects: tuple[Recognised, ...]
    mapping: tuple[FieldSource, ...]
    calls: int
    coverage: dict[str, float]
    missing: dict[str, str]


def explain(head: bytes, plan: ReadPlan) -> Explanation:
    """What the first bytes of a file (whole lines) and the plan made of them tell; the plan needs all fields."""
    records = head_objects(head, plan.layout, plan.forced)
    counts = Counter(
        plan.label if dialect is None else dialect.name for each in records for dialect, _ in each
    ).most_common()
    reader = SpanReader(plan, Interners())
    reader.feed(head)
    columns = reader.flush().columns
    coverage = _coverage(columns)
    return Explanation(
        layout=plan.layout.kind,
        splittable=plan.splittable,
        dialects=tuple(_recognised(name, count) for name, count in counts),
        mapping=tuple(sources(plan)),
        calls=columns.size,
        coverage=coverage,
        missing={field: use for field, use in UNLOCKS.items() if field not in coverage} if columns.size else {},
    )


def _recognised(name: str, count: int) -> Recognised:
    dialect: Dialect | None = DIALECTS.get(name)
    return Recognised(name, dialect.title if dialect else _TITLES[name], count, dialect.lacks if dialect else "")


_TITLES: Final = {
    GENERIC: "home-made log, read by the names of its keys",
    "llmmon": "llmmon's own record",
    "wrapped": "home-made log around the replies of a provider",
}


def sources(plan: ReadPlan) -> Iterator[FieldSource]:
    """Where each field comes from, for the dialects of the file that are read by a mapping."""
    for mapping in plan.mappings:
        name = plan.label if mapping.dialect == GENERIC else mapping.dialect
        for binding in mapping.bindings:
            yield FieldSource(name, binding.slot, ".".join(binding.path), binding.unit, _why(binding, mapping))


def _why(binding: Binding, mapping: Mapping) -> str:
    if binding.rank < 0:
        return "you said so"
    if binding.slot not in SLOTS:
        return "the tag that was asked for"
    if mapping.dialect != GENERIC:
        return f"{mapping.dialect} defines it"
    if binding.kind is Slot.DURATION:
        return _why_unit(binding)
    return "the name of the key"


def _why_unit(binding: Binding) -> str:
    key = binding.path[-1].lower()
    if (key.endswith(binding.unit) and binding.unit in ("ms", "us", "ns")) or key.endswith(("seconds", "sec", "_s")):
        return "the unit is in the name of the key"
    return "the unit that gives a plausible speed or length in most calls of the head"


def _coverage(columns: Columns) -> dict[str, float]:
    found = {
        "timestamp": int(np.count_nonzero(columns.dated)),
        **{name: int(np.count_nonzero(~np.isnan(values))) for name, values in columns.numbers.items()},
        **{name: int(np.count_nonzero(column.codes >= 0)) for name, column in columns.names.items()},
        **{name: sum(text is not None for text in texts) for name, texts in columns.texts.items()},
    }
    return {field: found[field] / columns.size for field in FIELDS if found.get(field)}
