"""`PrometheusExporter`: what a collector holds, as Prometheus or OpenMetrics text."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from llmmon.metrics.collector import MetricsCollector
from llmmon.metrics.columns import Columns
from llmmon.metrics.definitions import METRICS, Metric, MetricKind
from llmmon.metrics.record import FIELDS as RECORDED
from llmmon.metrics.record import SCORE_UNITS
from llmmon.metrics.recording import LLMMetric
from llmmon.output.export.tallies import Instrument, Labels, Numbers, Tally, add, kept_labels, limited, shown, tally
from llmmon.text.names import lookup

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
    """All families that have values, in the order of `METRICS`; a missing value is left out, never 0.

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
    return METRICS[i.metric].kind is MetricKind.GAUGE and not i.bounds


def _family(i: Instrument, found: Tally) -> Iterator[Family]:
    metric = METRICS[i.metric]
    numbers = found.points.get(i.metric, {})
    event = metric.kind is MetricKind.EVENT
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

    Tags that name a single request are left out: they would make a series of each sample. Names that are equal once
    signs are replaced are distinguished by the label `name`, tags by a number.
    """
    reserved = {name for family in taken for name in _names_of(family)}
    sources: dict[str, set[str]] = {}
    for sample in samples:
        sources.setdefault(_metric_name(str(sample["name"]), reserved), set()).add(str(sample["name"]))
    found: dict[str, dict[Pairs, float]] = {}
    for sample in samples:
        source = str(sample["name"])
        name = _metric_name(source, reserved)
        told_apart = {"name": source} if len(sources[name]) > 1 and source != name else {}
        found.setdefault(name, {})[_sample_labels(sample["tags"], told_apart)] = float(sample["value"])
    return [
        Family(
            name, "gauge", "last sample", "", tuple(Point(labels, value) for labels, value in sorted(points.items()))
        )
        for name, points in sorted(found.items())
    ]


def _metric_name(name: str, reserved: Collection[str]) -> str:
    """A name of the allowed signs that no family has."""
    name = re.sub(r"[^a-zA-Z0-9_:]", "_", name)
    name = f"_{name}" if name[:1].isdigit() or not name else name
    while name in reserved:
        name = f"sample_{name}"
    return name


def _sample_labels(tags: Mapping[Any, Any], more: Mapping[str, str]) -> Pairs:
    """The labels of a sample, each name once: tags whose name needs no change keep it, others get a number."""
    labels = dict(more)
    texts = {str(tag): shown(str(value)) for tag, value in tags.items() if tag != "request_id"}
    for tag in sorted(texts, key=lambda tag: (_label(tag) != tag, tag)):
        stem = name = _label(tag)
        number = 1
        while name in labels:
            number += 1
            name = f"{stem}_{number}"
        labels[name] = texts[tag]
    return tuple(sorted(labels.items()))


def _names_of(family: Family) -> tuple[str, ...]:
    stem = _stem_of(family)
    return (stem, *(stem + suffix for suffix in ("_total", "_created", "_bucket", "_sum", "_count", "_info")))


def _stem_of(family: Family) -> str:
    """The name of a family in OpenMetrics: that of a counter goes without `_total`."""
    return family.name.removesuffix("_total") if family.kind == "counter" else family.name


def _label(name: str) -> str:
    cleaned = re.sub(r"[^a-zA-Z0-9_]", "_", name).lstrip("_") or "tag"
    return f"tag_{cleaned}" if cleaned[0].isdigit() or cleaned in {"le", "quantile"} else cleaned


_ESCAPED: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_SIGNS: Final = re.compile(r'[\\"\n]')


def prometheus(families: Iterable[Family]) -> str:
    """Text format 0.0.4, as the textfile collector and `/metrics` take it."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += _samples(family, family.name)
    return "".join(line + "\n" for line in lines)


def openmetrics(families: Iterable[Family]) -> str:
    """OpenMetrics 1.0: counters are named without `_total`, units are said, the end is marked."""
    lines: list[str] = []
    for family in families:
        name = _stem_of(family)
        lines.append(f"# TYPE {name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {name} {family.unit}")
        lines.append(f"# HELP {name} {family.help}")
        lines += _samples(family, family.name)
    return "".join(line + "\n" for line in [*lines, "# EOF"])


def _samples(family: Family, name: str) -> Iterator[str]:
    for point in family.points:
        if isinstance(point.value, Histogram):
            yield from _histogram(name, point.labels, point.value)
        else:
            yield f"{name}{_labels(point.labels)} {_number(point.value)}"


def _histogram(name: str, labels: Pairs, found: Histogram) -> Iterator[str]:
    below = 0
    for bound, count in zip((*found.bounds, math.inf), found.counts, strict=True):
        below += count
        yield f"{name}_bucket{_labels((*labels, ('le', _number(float(bound)))))} {below}"
    yield f"{name}_sum{_labels(labels)} {_number(found.sum)}"
    yield f"{name}_count{_labels(labels)} {found.count}"


def _labels(labels: Pairs) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return _SIGNS.sub(lambda sign: _ESCAPED[sign[0]], value)


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if value != value else repr(value)


FORMATS: Final = {"prometheus": prometheus, "openmetrics": openmetrics}
LABEL_LIMIT: Final = 100
_QUALITY: Final = "llm_quality_score"


class PrometheusExporter:
    """Counters, histograms and gauges of all calls that a collector holds, and the last of each recorded sample.

    Beyond `label_limit` values of a label (models, error types), those of the fewest calls are `other`.
    """

    def __init__(self, collector: MetricsCollector, label_limit: int = LABEL_LIMIT) -> None:
        self.collector = collector
        self._label_limit = label_limit

    def export(self, text_format: str = "prometheus") -> str:
        """Everything as text: `prometheus` (0.0.4) or `openmetrics` (1.0); raises `UsageError` for another format."""
        render = lookup(FORMATS, text_format, "text format")
        calls = self.collector.calls()
        samples = self.collector.samples()
        scored = [sample for sample in samples if _is_quality(sample)]
        found = add([tally(calls, INSTRUMENTS) if calls.size else Tally(), _quality(scored, calls)])
        found = limited(found, INSTRUMENTS, kept_labels(found, INSTRUMENTS, self._label_limit))
        shown = families(found, Moment(_minutes(found)))
        others = [sample.to_dict() for sample in samples if not _is_quality(sample)]
        return render([*shown, *sample_families(others, shown)])


def _is_quality(sample: LLMMetric) -> bool:
    return sample.name == _QUALITY and sample.tags.get("quality_type", "overall") == "overall"


def _quality(samples: list[LLMMetric], calls: Columns) -> Tally:
    """Recorded quality by the model of the call that it is of."""
    if not samples:
        return Tally()
    models = dict(zip(calls.name("request_id").texts(), calls.name("model").texts(), strict=True))
    points: dict[Labels, Numbers] = {}
    for sample in samples:
        labels = (models.get(str(sample.tags.get("request_id"))),)
        count, total = points.get(labels, (0, 0))
        points[labels] = (count + 1, total + round(sample.value * SCORE_UNITS))
    return Tally({"quality_score": points})


def _minutes(found: Tally) -> float | None:
    """From the first call to the last."""
    if found.first_us is None or found.last_us is None or found.first_us == found.last_us:
        return None
    return (found.last_us - found.first_us) / 60e6
