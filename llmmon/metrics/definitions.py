"""The table of metrics: one row each, from which statistics, rules, exports and documents derive.

Every metric is a number (or nothing) per call; every statistic is an aggregation of one metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np

from llmmon.errors import UsageError
from llmmon.metrics.columns import Columns, FloatArray, Names
from llmmon.metrics.record import AGGREGATIONS, FIELDS, MICROSECONDS, NANO_DOLLARS, SCORE_UNITS, Status
from llmmon.metrics.vocabulary import metric_word, statistic_words
from llmmon.text.names import unknown

# finish reasons as the providers spell them, in lower case
TRUNCATED: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "max_completion_tokens", "token_limit"}
    | {"model_context_window_exceeded", "incomplete", "length_limit"}
)
REFUSED: Final = frozenset(
    {"content_filter", "content_filtered", "refusal", "safety", "guardrail_intervened", "blocklist", "recitation"}
    | {"prohibited_content", "spii", "image_safety"}
)


def _by_value(names: Names, wanted: frozenset[str]) -> FloatArray:
    table = np.array([float(value.lower() in wanted) for value in names.values] + [np.nan])
    answers: FloatArray = table[names.codes]
    return answers


def errors(columns: Columns) -> FloatArray | None:
    """1 for a failed call, 0 for any other whose outcome is known; shape (calls,)."""
    status = columns.names.get("status")
    if status is None:
        return None
    table = np.array([_as_error(value) for value in status.values] + [np.nan])
    answers: FloatArray = table[status.codes]
    return answers


def _as_error(status: str) -> float:
    return np.nan if status == Status.UNKNOWN else float(status == Status.ERROR)


def truncations(columns: Columns) -> FloatArray | None:
    """1 where the answer was cut off at a limit; shape (calls,)."""
    reasons = columns.names.get("finish_reason")
    return None if reasons is None else _by_value(reasons, TRUNCATED)


def refusals(columns: Columns) -> FloatArray | None:
    """1 where the finish reason says that the answer was withheld; shape (calls,)."""
    reasons = columns.names.get("finish_reason")
    return None if reasons is None else _by_value(reasons, REFUSED)


def empty_answers(columns: Columns) -> FloatArray | None:
    """1 where a successful call gave no output token; shape (calls,)."""
    tokens, failed = columns.numbers.get("completion_tokens"), errors(columns)
    if tokens is None or failed is None:
        return None
    return np.where((failed == 0) & ~np.isnan(tokens), (tokens == 0).astype(np.float64), np.nan)


class MetricKind(StrEnum):
    """The kind of a metric's numbers, which decides what `count` and `rate` mean."""

    EVENT = "event"  # 1 or 0: count is how often it happened, rate the share of calls for which it is known
    AMOUNT = "amount"  # adds up: rate is the amount a minute
    GAUGE = "gauge"  # a reading: rate is calls with a reading a minute


class Direction(StrEnum):
    """The direction of a change for the better."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


class Metric(msgspec.Struct, frozen=True):
    """One metric. `rows` gives its stored units per call, shape (calls,), NaN where a call has none."""

    name: str
    unit: str
    help: str
    kind: MetricKind
    better: Direction
    scale: int
    needs: frozenset[str]
    rows: Callable[[Columns], FloatArray | None]
    short: str = ""  # stem of its statistics' names, where not the name itself
    prometheus: str = ""


SESSION_METRICS: Final = frozenset(
    {"session_cost_usd", "session_calls", "session_duration_ms", "session_context_tokens"}
)
QUANTILES: Final = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


def _field(name: str) -> Callable[[Columns], FloatArray | None]:
    return lambda columns: columns.numbers.get(name)


def _ones(columns: Columns) -> FloatArray:
    return np.ones(columns.size)


def _output_speed(columns: Columns) -> FloatArray | None:
    """Completion tokens a second after the first token, in thousandths."""
    tokens, latency = columns.numbers.get("completion_tokens"), columns.numbers.get("latency_ms")
    if tokens is None or latency is None:
        return None
    first = columns.numbers.get("time_to_first_token_ms")
    writing = latency if first is None else latency - np.where(np.isnan(first), 0.0, first)
    speed = np.full(columns.size, np.nan)
    np.divide(tokens * 1e9, writing, out=speed, where=(writing > 0) & (tokens > 0))
    np.rint(speed, out=speed)
    return speed


def _cost_per_token(columns: Columns) -> FloatArray | None:
    """Cost of a call by its tokens, in trillionths of a dollar."""
    cost, tokens = columns.numbers.get("cost_usd"), columns.numbers.get("total_tokens")
    if cost is None or tokens is None:
        return None
    paid = np.full(columns.size, np.nan)
    np.divide(cost * 1000, tokens, out=paid, where=tokens > 0)
    np.rint(paid, out=paid)
    return paid


def _metric(
    name: str,
    *,
    help: str,  # noqa: A002 - the name of the field
    kind: MetricKind,
    unit: str = "",
    better: Direction = Direction.NEITHER,
    rows: Callable[[Columns], FloatArray | None] | None = None,
    scale: int = 1,
    needs: Sequence[str] = (),
    short: str = "",
    prometheus: str = "",
) -> Metric:
    return Metric(
        name=name,
        unit=unit,
        help=help,
        kind=kind,
        better=better,
        scale=scale,
        needs=frozenset(needs or (name,)),
        rows=rows or _field(name),
        short=short,
        prometheus=prometheus,
    )


def _session(name: str, text: str, unit: str, scale: int, needs: Sequence[str]) -> Metric:
    """A metric of sessions: a number of each session's last call, made when all calls are read."""
    needed = (name, "session", "trace", "timestamp", *needs)
    return _metric(name, help=text, unit=unit, kind=MetricKind.GAUGE, better=Direction.LOWER, scale=scale, needs=needed)


_COST: Final = ("cost_usd", "cost_logged_usd", "cost_calculated_usd", "unpriced")

METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        _metric(
            "requests",
            help="calls",
            kind=MetricKind.AMOUNT,
            rows=_ones,
            needs=("timestamp",),
            prometheus="llm_requests_total",
        ),
        _metric(
            "error",
            help="calls that failed",
            kind=MetricKind.EVENT,
            better=Direction.LOWER,
            rows=errors,
            needs=("status",),
            prometheus="llm_errors_total",
        ),
        _metric(
            "latency_ms",
            help="start to end of a call",
            unit="ms",
            kind=MetricKind.GAUGE,
            better=Direction.LOWER,
            scale=MICROSECONDS,
            prometheus="llm_request_duration_seconds",
        ),
        _metric(
            "time_to_first_token_ms",
            help="start to the first token",
            unit="ms",
            kind=MetricKind.GAUGE,
            better=Direction.LOWER,
            scale=MICROSECONDS,
            short="ttft",
            prometheus="llm_time_to_first_token_seconds",
        ),
        _metric(
            "output_tokens_per_second",
            help="output speed after the first token",
            unit="tokens/s",
            kind=MetricKind.GAUGE,
            better=Direction.HIGHER,
            rows=_output_speed,
            scale=1000,
            needs=("completion_tokens", "latency_ms", "time_to_first_token_ms"),
            prometheus="llm_output_tokens_per_second",
        ),
        _metric(
            "prompt_tokens",
            help="tokens in, cache included",
            unit="tokens",
            kind=MetricKind.AMOUNT,
            prometheus="llm_tokens_total",
        ),
        _metric(
            "completion_tokens",
            help="tokens out",
            unit="tokens",
            kind=MetricKind.AMOUNT,
            prometheus="llm_tokens_total",
        ),
        _metric(
            "total_tokens",
            help="tokens in and out",
            unit="tokens",
            kind=MetricKind.AMOUNT,
            prometheus="llm_tokens_total",
        ),
        _metric(
            "cached_tokens",
            help="tokens in from the provider's cache",
            unit="tokens",
            kind=MetricKind.AMOUNT,
            better=Direction.HIGHER,
            prometheus="llm_cached_tokens_total",
        ),
        _metric(
            "cache_write_tokens",
            help="tokens written to the provider's cache",
            unit="tokens",
            kind=MetricKind.AMOUNT,
            prometheus="llm_cache_write_tokens_total",
        ),
        _metric(
            "reasoning_tokens",
            help="tokens out spent on reasoning",
            unit="tokens",
            kind=MetricKind.AMOUNT,
            prometheus="llm_reasoning_tokens_total",
        ),
        _metric(
            "cost_usd",
            help="cost, logged or calculated",
            unit="usd",
            kind=MetricKind.AMOUNT,
            better=Direction.LOWER,
            scale=NANO_DOLLARS,
            needs=_COST,
            prometheus="llm_cost_usd_total",
        ),
        _metric(
            "cost_logged_usd",
            help="cost as logged",
            unit="usd",
            kind=MetricKind.AMOUNT,
            better=Direction.LOWER,
            scale=NANO_DOLLARS,
            needs=_COST,
        ),
        _metric(
            "cost_calculated_usd",
            help="cost from prices",
            unit="usd",
            kind=MetricKind.AMOUNT,
            better=Direction.LOWER,
            scale=NANO_DOLLARS,
            needs=_COST,
        ),
        _metric(
            "cost_per_token_usd",
            help="cost of a call by its tokens",
            unit="usd",
            kind=MetricKind.GAUGE,
            better=Direction.LOWER,
            rows=_cost_per_token,
            scale=1000 * NANO_DOLLARS,
            needs=(*_COST, "total_tokens"),
        ),
        _metric(
            "unpriced",
            help="calls that used tokens and have no cost",
            kind=MetricKind.EVENT,
            better=Direction.LOWER,
            needs=_COST,
            prometheus="llm_unpriced_requests_total",
        ),
        _metric(
            "cache_hit",
            help="calls that a gateway answered from its cache",
            kind=MetricKind.EVENT,
            better=Direction.HIGHER,
            prometheus="llm_cache_hits_total",
        ),
        _metric(
            "truncated",
            help="answers cut off at a limit",
            kind=MetricKind.EVENT,
            better=Direction.LOWER,
            rows=truncations,
            needs=("finish_reason",),
            prometheus="llm_truncated_answers_total",
        ),
        _metric(
            "refused",
            help="answers withheld by the model or a filter",
            kind=MetricKind.EVENT,
            better=Direction.LOWER,
            rows=refusals,
            needs=("finish_reason",),
            prometheus="llm_refused_answers_total",
        ),
        _metric(
            "empty",
            help="successful calls without any output token",
            kind=MetricKind.EVENT,
            better=Direction.LOWER,
            rows=empty_answers,
            needs=("completion_tokens", "status"),
            prometheus="llm_empty_answers_total",
        ),
        _metric(
            "quality_score",
            help="quality in [0, 1]",
            kind=MetricKind.GAUGE,
            better=Direction.HIGHER,
            scale=SCORE_UNITS,
            short="quality",
            prometheus="llm_quality_score",
        ),
        _session("session_cost_usd", "cost of a session", "usd", NANO_DOLLARS, _COST),
        _session("session_calls", "calls of a session", "", 1, ()),
        _session(
            "session_duration_ms",
            "start of a session's first call to the end of its last",
            "ms",
            MICROSECONDS,
            ("latency_ms",),
        ),
        _session("session_context_tokens", "largest prompt of a session", "tokens", 1, ("prompt_tokens",)),
    )
}

ALIASES: Final = {  # the guide's names for the same metrics
    "llm_latency_ms": "latency_ms",
    "llm_tokens_total": "total_tokens",
    "llm_cost_usd": "cost_usd",
    "llm_error": "error",
    "llm_error_rate": "error_rate",
    "llm_quality_score": "quality_score",
    "ttft_ms": "time_to_first_token_ms",
}


class Statistic(msgspec.Struct, frozen=True):
    """An aggregation of a metric, as it is named in rules, sorting and JSON."""

    name: str
    metric: Metric
    aggregation: str

    @property
    def needs_values(self) -> bool:
        """Whether it needs the sorted values, not only sums."""
        return self.aggregation in QUANTILES

    @property
    def integral(self) -> bool:
        """Whether its public value is a whole number."""
        counts = self.aggregation == "count"
        return counts or (self.metric.scale == 1 and self.aggregation in {"sum", "min", "max"})


_NAMED: Final = {  # statistics whose names do not follow from the metric's
    "request_count": ("requests", "count"),
    "error_count": ("error", "count"),
    "error_rate": ("error", "rate"),
    "requests_per_minute": ("requests", "rate"),
    "prompt_tokens": ("prompt_tokens", "sum"),
    "completion_tokens": ("completion_tokens", "sum"),
    "cached_tokens": ("cached_tokens", "sum"),
    "reasoning_tokens": ("reasoning_tokens", "sum"),
    "tokens_total": ("total_tokens", "sum"),
    "cost_total_usd": ("cost_usd", "sum"),
    "cost_logged_usd": ("cost_logged_usd", "sum"),
    "cost_calculated_usd": ("cost_calculated_usd", "sum"),
    "cost_per_request_usd": ("cost_usd", "avg"),
    "unpriced_requests": ("unpriced", "count"),
    "truncated_count": ("truncated", "count"),
}


def statistic_name(metric: Metric, aggregation: str) -> str:
    """`latency_p95_ms` for latency_ms and p95: the unit stays at the end."""
    stem = metric.short or metric.name
    for suffix in ("_ms", "_usd"):
        if metric.name.endswith(suffix):
            return f"{stem.removesuffix(suffix)}_{aggregation}{suffix}"
    return f"{stem}_{aggregation}"


STATISTICS: Final[dict[str, Statistic]] = {
    **{
        name: Statistic(name, metric, aggregation)
        for metric in METRICS.values()
        for aggregation in AGGREGATIONS
        for name in (statistic_name(metric, aggregation),)
    },
    **{name: Statistic(name, METRICS[metric], how) for name, (metric, how) in _NAMED.items()},
}

# the statistics of every group, bucket and total of a summary, in this order
SUMMARY: Final = (
    *("request_count", "error_count", "error_rate", "requests_per_minute"),
    *("latency_avg_ms", "latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "latency_max_ms"),
    *("ttft_avg_ms", "ttft_p50_ms", "ttft_p95_ms", "output_tokens_per_second_p50"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "tokens_total"),
    *("cost_total_usd", "cost_logged_usd", "cost_calculated_usd", "cost_per_request_usd", "unpriced_requests"),
    *("quality_avg", "truncated_count"),
)


def metric_called(name: str) -> Metric:
    """The base metric of a name, alias or everyday word; raises `UsageError`."""
    known = METRICS.get(ALIASES.get(name, name)) or METRICS.get(metric_word(name) or "")
    if known is None:
        raise UsageError(unknown("metric", name, {*METRICS, *ALIASES}))
    return known


def statistic_called(name: str) -> Statistic:
    """The statistic of a name; a base metric means its most useful statistic; raises `UsageError`."""
    name = ALIASES.get(name, name)
    if name in STATISTICS:
        return STATISTICS[name]
    if name in METRICS:
        usual = _USUAL[METRICS[name].kind]
        return STATISTICS[_PUBLIC.get((name, usual)) or statistic_name(METRICS[name], usual)]
    found = next(_statistics_meant(name), None)
    if found is None:
        raise UsageError(unknown("metric", name, {*STATISTICS, *METRICS, *ALIASES}))
    return found


def meant_statistics(name: str) -> tuple[str, ...]:
    """The names of the statistics that a name or everyday word may mean, the likeliest first."""
    try:
        exact: tuple[str, ...] = (statistic_called(name).name,)
    except UsageError:
        exact = ()
    return (*exact, *(one.name for one in _statistics_meant(name)))


def _statistics_meant(name: str) -> Iterator[Statistic]:
    """The statistics that an everyday word may mean, such as `p95 latency`."""
    for meant, how in statistic_words(name):
        if meant in STATISTICS and not how:
            yield STATISTICS[meant]
        elif meant in METRICS:
            aggregation = how or _USUAL[METRICS[meant].kind]
            yield STATISTICS[_PUBLIC.get((meant, aggregation)) or statistic_name(METRICS[meant], aggregation)]


_PUBLIC: Final = {metric_and_aggregation: name for name, metric_and_aggregation in _NAMED.items()}
_USUAL: Final = {MetricKind.EVENT: "rate", MetricKind.AMOUNT: "sum", MetricKind.GAUGE: "p95"}


def needed_fields(statistics: Sequence[str]) -> frozenset[str]:
    """The fields of a call that these statistics need, and the metrics of sessions among them."""
    needed = frozenset(name for s in statistics for name in STATISTICS[s].metric.needs)
    return needed & (FIELDS.keys() | SESSION_METRICS)
