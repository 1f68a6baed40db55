"""Tallies -> metric families: counters, histograms and gauges with the names, units and help of `METRICS`.

Points of a counter family add up to the whole over all their labels: of `llm_tokens_total` the types are prompt
(cache included), completion (reasoning included) and unsplit (of calls that logged only a total); what is part of
these has families of its own (`llm_cached_tokens_total`, `llm_reasoning_tokens_total`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from llmmon.metrics import METRICS, Metric, Sort
from llmmon.record import FIELDS as RECORDED
from llmmon.tallies import Instrument, Labels, Numbers, Tally, shown

Pairs = tuple[tuple[str, str], ...]  # label names and values

# upper bounds of buckets in the exported unit; those of the OpenTelemetry GenAI conventions where they give some
BUCKETS: Final[dict[str, tuple[float, ...]]] = {
    "latency_ms": (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    "time_to_first_token_ms": (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    ),
    "output_tokens_per_second": (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 400.0, 1000.0),
}
_BY: Final = {"requests": ("model", "status"), "error": ("model", "error_type")}
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


class Histogram(msgspec.Struct, frozen=True):
    """How many values lie in each bucket (the last above all bounds), and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)


class Point(msgspec.Struct, frozen=True):
    """The value under some labels."""

    labels: Pairs
    value: float | Histogram


class Family(msgspec.Struct, frozen=True):
    """One metric as it is exported: kind is counter, gauge or histogram; unit as in the name, or empty."""

    name: str
    kind: str
    help: str
    unit: str
    points: tuple[Point, ...]


class Moment(msgspec.Struct, frozen=True):
    """What gauges rest on: minutes that the calls cover, lines that could not be read."""

    minutes: float | None = None
    rejected: int | None = None


def instrument(name: str, by: tuple[str, ...], bounds: Sequence[float] = ()) -> Instrument:
    """An instrument whose bounds are in the exported unit."""
    return Instrument(name, by, tuple(round(bound * divisor(METRICS[name])) for bound in bounds))


def divisor(metric: Metric) -> int:
    """Stored units in one exported unit: times are exported in seconds."""
    return metric.scale * (1000 if metric.unit == "ms" else 1)


INSTRUMENTS: Final = tuple(
    instrument(name, _BY.get(name, ("model",)), BUCKETS.get(name, ()))
    for name, metric in METRICS.items()
    if metric.prometheus
)
FIELDS: Final = frozenset(name for i in INSTRUMENTS for name in (*i.by, *METRICS[i.metric].needs) if name in RECORDED)


def families(found: Tally, moment: Moment, latest: Tally | None = None) -> list[Family]:
    """Everything that can be told, in the order of `METRICS`; what has no value is left out, never 0.

    Gauges are of the calls in `latest`, where these are not all.
    """
    latest = found if latest is None else latest
    made = [
        family
        for i in INSTRUMENTS
        if i.metric not in _TOKENS
        for family in _family(i, latest if is_gauge(i) else found)
    ]
    made[2:2] = _tokens(found)
    return [family for family in (*made, *_gauges(found, latest, moment)) if family.points]


def kind_of(i: Instrument) -> str:
    """`counter`, `gauge` or `histogram`."""
    return "histogram" if i.bounds else "gauge" if is_gauge(i) else "counter"


def is_gauge(i: Instrument) -> bool:
    """Whether it is the mean of a reading."""
    return METRICS[i.metric].sort is Sort.MEASURE and not i.bounds


def _family(i: Instrument, found: Tally) -> Iterator[Family]:
    metric = METRICS[i.metric]
    numbers = found.points.get(i.metric, {})
    event = metric.sort is Sort.EVENT
    points = [
        Point(pairs(i.by, labels), value_of(i, each))
        for labels, each in in_order(numbers)
        if each[1] or not event or i.metric != "error"
    ]
    yield Family(metric.prometheus, kind_of(i), metric.help, unit_of(metric.prometheus), tuple(points))


def value_of(i: Instrument, numbers: Numbers) -> float | Histogram:
    """The numbers of a point in the exported unit."""
    per = divisor(METRICS[i.metric])
    if i.bounds:
        return Histogram(tuple(bound / per for bound in i.bounds), numbers[2:], numbers[1] / per)
    if is_gauge(i):
        return numbers[1] / (numbers[0] * per)
    return numbers[1] if per == 1 else numbers[1] / per


def in_order(points: Mapping[Labels, Numbers]) -> list[tuple[Labels, Numbers]]:
    """Points in the order of their labels, missing ones first: the same numbers give the same bytes."""
    return sorted(points.items(), key=lambda item: [value or "" for value in item[0]])


def pairs(names: Sequence[str], values: Labels) -> Pairs:
    """Labels with their names; a missing value is empty, which Prometheus takes for no label at all."""
    return tuple((name, value or "") for name, value in zip(names, values, strict=True))


def unit_of(name: str) -> str:
    """The unit that a name ends with."""
    stem = name.removesuffix("_total")
    return next((unit for unit in ("seconds", "usd", "tokens") if stem.endswith(f"_{unit}")), "")


def _tokens(found: Tally) -> list[Family]:
    """Tokens by disjoint types, which add up to all tokens."""
    by_metric = [found.points.get(name, {}) for name in _TOKENS]
    points = []
    for labels in sorted(set().union(*by_metric), key=lambda each: [value or "" for value in each]):
        prompt, completion, total = (points[labels][1] if labels in points else None for points in by_metric)
        unsplit = (total or 0) - (prompt or 0) - (completion or 0)
        for kind, count in (("prompt", prompt), ("completion", completion), ("unsplit", unsplit or None)):
            if count is not None:
                points.append(Point((*pairs(("model",), labels), ("type", kind)), count))
    name = METRICS["total_tokens"].prometheus
    return [Family(name, "counter", "tokens; the types add up to all tokens", "tokens", tuple(points))]


def _gauges(found: Tally, latest: Tally, moment: Moment) -> Iterator[Family]:
    yield _gauge("llm_error_rate", "share of calls that failed", _rates(latest, "error", None))
    if moment.minutes:
        rates = (("requests_per_minute", "requests"), ("tokens_per_minute", "total_tokens"))
        for name, metric in (*rates, ("cost_usd_per_minute", "cost_usd")):
            points = _rates(latest, metric, moment.minutes)
            yield _gauge(f"llm_{name}", f"{METRICS[metric].help}, a minute of the exported time", points)
        yield _gauge("llm_window_seconds", "length of the exported time", [Point((), moment.minutes * 60)])
    if found.last_us is not None:
        text = "when the last call began, in seconds since 1970"
        yield _gauge("llm_last_event_timestamp_seconds", text, [Point((), found.last_us / 1e6)])
    if moment.rejected is not None:
        yield _gauge("llm_rejected_lines", "lines that could not be read", [Point((), moment.rejected)])


def _gauge(name: str, text: str, points: Sequence[Point]) -> Family:
    return Family(name, "gauge", text, unit_of(name), tuple(points))


def _rates(found: Tally, metric: str, minutes: float | None) -> list[Point]:
    """By model: the amount a minute, or the share of events where no minutes are given."""
    by_model: dict[str, list[int]] = {}
    for labels, numbers in found.points.get(metric, {}).items():
        known = by_model.setdefault(labels[0] or "", [0, 0])
        known[0] += numbers[0]
        known[1] += numbers[1]
    per = divisor(METRICS[metric])
    return [
        Point((("model", model),), total / per / (minutes or count))
        for model, (count, total) in sorted(by_model.items())
    ]


def sample_families(samples: Sequence[Mapping[str, Any]], taken: Sequence[Family]) -> list[Family]:
    """The last value of each metric sample (name, value, tags), as gauges beside the families that are there.

    Tags that name a single request are left out: they would make a series of each sample.
    """
    reserved = {name for family in taken for name in _names_of(family)}
    found: dict[str, dict[Pairs, float]] = {}
    for sample in samples:
        name = re.sub(r"[^a-zA-Z0-9_:]", "_", str(sample["name"]))
        name = f"_{name}" if name[:1].isdigit() or not name else name
        labels = {_label(str(key)): shown(str(value)) for key, value in sample["tags"].items() if key != "request_id"}
        name = f"sample_{name}" if name in reserved else name
        found.setdefault(name, {})[tuple(sorted(labels.items()))] = float(sample["value"])
    return [
        Family(
            name, "gauge", "last sample", "", tuple(Point(labels, value) for labels, value in sorted(points.items()))
        )
        for name, points in sorted(found.items())
    ]


def _names_of(family: Family) -> tuple[str, ...]:
    stem = family.name.removesuffix("_total")
    return (stem, *(stem + suffix for suffix in ("_total", "_created", "_bucket", "_sum", "_count", "_info")))


def _label(name: str) -> str:
    cleaned = re.sub(r"[^a-zA-Z0-9_]", "_", name).lstrip("_") or "tag"
    return f"tag_{cleaned}" if cleaned[0].isdigit() or cleaned in {"le", "quantile"} else cleaned
