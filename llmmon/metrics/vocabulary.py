"""What people type for metrics, fields and values: headings, JSON keys, everyday words, numbers with units.

The exact names of `FIELDS`, `METRICS` and `STATISTICS` always win; this is what they are looked up in after that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from llmmon.errors import UsageError
from llmmon.metrics.record import AGGREGATIONS, FIELDS, TAG_PREFIX, FieldKind
from llmmon.text.names import nearest, unknown

# normalized word -> metric, or field of calls that is a number
_METRICS: Final = {
    **dict.fromkeys(("latency", "duration", "response_time", "elapsed"), "latency_ms"),
    **dict.fromkeys(("ttft", "ttft_ms", "first_token", "time_to_first_token"), "time_to_first_token_ms"),
    **dict.fromkeys(("cost", "costs", "spend", "spending", "price", "money", "usd"), "cost_usd"),
    **dict.fromkeys(("errors", "failures", "failed", "failure"), "error"),
    **dict.fromkeys(("calls", "request", "call", "traffic"), "requests"),
    **dict.fromkeys(("tokens_in", "input_tokens", "in", "input", "prompt"), "prompt_tokens"),
    **dict.fromkeys(("tokens_out", "output_tokens", "out", "completion"), "completion_tokens"),
    **dict.fromkeys(("tokens", "total"), "total_tokens"),
    "cached": "cached_tokens",
    "reasoning": "reasoning_tokens",
    **dict.fromkeys(("tok_s", "tokens_per_second", "tokens_s", "throughput", "speed"), "output_tokens_per_second"),
    **dict.fromkeys(("quality", "score"), "quality_score"),
    **dict.fromkeys(("cut_off", "truncation", "truncations"), "truncated"),
    **dict.fromkeys(("refusal", "refusals"), "refused"),
    "unpriced_calls": "unpriced",
}
# normalized word -> statistic, where it is not the usual one of its metric
_STATISTICS: Final = {
    **dict.fromkeys(("errors", "failures", "failed"), "error_count"),
    **dict.fromkeys(("calls", "requests", "count"), "request_count"),
    **dict.fromkeys(("cost", "costs", "spend", "spending", "total_usd"), "cost_total_usd"),
    **dict.fromkeys(("calculated_usd", "calculated"), "cost_calculated_usd"),
    **dict.fromkeys(("logged_usd", "logged"), "cost_logged_usd"),
    **dict.fromkeys(("unpriced", "unpriced_calls"), "unpriced_requests"),
    **dict.fromkeys(("rpm", "requests_min", "calls_per_minute"), "requests_per_minute"),
    **dict.fromkeys(("cut_off", "truncated"), "truncated_count"),
    **dict.fromkeys(("tok_s", "tokens_s", "tokens_per_second", "speed"), "output_tokens_per_second_p50"),
    **dict.fromkeys(("quality", "score"), "quality_avg"),
    **dict.fromkeys(("failure_rate", "errors_rate"), "error_rate"),
    **dict.fromkeys(("cost_per_call", "cost_per_request"), "cost_per_request_usd"),
    **dict.fromkeys(("tokens", "total_tokens"), "tokens_total"),
}
# normalized word -> field of calls that is a name or a time
_FIELDS: Final = {
    **dict.fromkeys(("time", "when", "date", "start"), "timestamp"),
    "id": "request_id",
    **dict.fromkeys(("error", "errors"), "error_type"),
    **dict.fromkeys(("message", "error_text"), "error_message"),
    **dict.fromkeys(("finish", "reason", "stop_reason"), "finish_reason"),
    **dict.fromkeys(("version", "prompt_id"), "prompt_version"),
    **dict.fromkeys(("user_id", "users"), "user"),
    **dict.fromkeys(("session_id", "conversation", "sessions"), "session"),
    **dict.fromkeys(("trace_id", "traces"), "trace"),
    **dict.fromkeys(("models", "model_name"), "model"),
    **dict.fromkeys(("providers", "vendor"), "provider"),
    **dict.fromkeys(("features",), "feature"),
    **dict.fromkeys(("code", "http_status", "http_code"), "status_code"),
    "tier": "service_tier",
    "outcome": "status",
}
_AGGREGATIONS: Final = {
    **{name: name for name in AGGREGATIONS},
    "average": "avg",
    "mean": "avg",
    "median": "p50",
    "total": "sum",
    "maximum": "max",
    "minimum": "min",
}
_TIMES: Final = frozenset({"time", "date", "hour", "day", "week", "month", "timestamp"})


def normalized(name: str) -> str:
    """`Tokens in`, `tokens-in` -> `tokens_in`."""
    return re.sub(r"[\s/-]+", "_", name.strip().casefold())


def metric_word(name: str) -> str | None:
    """The metric that an everyday word means, or None."""
    return _METRICS.get(normalized(name))


def statistic_words(name: str) -> Iterator[tuple[str, str]]:
    """What a word may mean as a statistic: (statistic, ""), or (metric, aggregation) such as `p95 latency`."""
    word = normalized(name)
    if found := _STATISTICS.get(word):
        yield found, ""
    if word in _AGGREGATIONS:
        yield "latency_ms", _AGGREGATIONS[word]
        return
    parts = word.split("_")
    for at in (len(parts) - 1, len(parts) - 2, 0):
        if at >= 0 and (how := _AGGREGATIONS.get(parts[at])):
            left = "_".join(parts[:at] + parts[at + 1 :])
            yield _METRICS.get(left, left), how
    if found := _METRICS.get(word):
        yield found, ""


def number_field(name: str) -> str:
    """The metric or field with numbers that a name means; the name itself where no word is known for it."""
    word = normalized(name)
    return _METRICS.get(word) or _FIELDS.get(word) or name


def name_field(name: str, *, option: str = "--by") -> str:
    """The field or tag to group by that a name means; raises `UsageError`.

    What is no field is the tag of that name, unless it looks like a field that is misspelled.
    """
    word = normalized(name)
    if name.startswith(TAG_PREFIX) or _is_name(name):
        return name
    if _is_name(word):
        return word
    if word in _FIELDS and _is_name(_FIELDS[word]):
        return _FIELDS[word]
    if word in _TIMES:
        width = word if word in {"hour", "day", "week", "month"} else "day"
        raise UsageError(f"{option}: {name} is a time, not a field of calls", hint=f"--every {width} groups by time")
    known = [field.name for field in FIELDS.values() if field.kind is FieldKind.NAME]
    if name in FIELDS or word in _METRICS or nearest(name, known) or not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"{option}: {unknown('field', name, known)} (a tag is written tag.{name})")
    return f"{TAG_PREFIX}{name}"


def meant_fields(names: Iterable[str]) -> tuple[str, ...]:
    """The fields or tags that names mean; a name that means none stays as it is."""
    return tuple(map(_meant, names))


def _meant(name: str) -> str:
    try:
        return name_field(name)
    except UsageError:
        return name


def _is_name(name: str) -> bool:
    return name in FIELDS and FIELDS[name].kind is FieldKind.NAME


_VALUE: Final = re.compile(r"(-?)(\$?)([0-9][0-9_,]*(?:\.[0-9]*)?|\.[0-9]+)(?:e([+-]?[0-9]+))?\s*([a-zA-Zµ%$]*)\Z")
_MS: Final = {
    "us": 0.001,
    "µs": 0.001,
    "ms": 1.0,
    "s": 1e3,
    "sec": 1e3,
    "m": 6e4,
    "min": 6e4,
    "h": 36e5,
    "d": 864e5,
}
_MANY: Final = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}


def unit_of(name: str) -> str:
    """The unit in a name: ms, usd, or "" for a count or a share."""
    return next((unit for unit in ("ms", "usd") if name.endswith(f"_{unit}")), "")


def value_of(text: str, name: str) -> float | None:
    """`2s`, `$0.10`, `1%`, `150k` in the unit that the name ends in; None for what is no number with such a unit."""
    try:
        return float(text)
    except ValueError:
        pass
    found = _VALUE.match(text.strip())
    if found is None:
        return None
    sign, dollar, digits, power, unit = found.groups()
    number = float(digits.replace(",", "").replace("_", "") + (f"e{power}" if power else "")) * (-1 if sign else 1)
    wanted = unit_of(name)
    if dollar or unit in {"$", "usd", "USD"}:
        return number if wanted == "usd" and not (dollar and unit) else None
    if unit == "%":
        return number / 100 if not wanted else None
    if wanted == "ms":
        return number * _MS[unit or "ms"] if (unit or "ms") in _MS else None
    return number * (_MANY[unit] if unit else 1) if not unit or unit in _MANY else None


def units_for(name: str) -> str:
    """Examples of values that fit a name: `2000, 2s`."""
    return {"ms": "2000 or 2s", "usd": "0.1 or $0.10"}.get(unit_of(name), "0.01, 1% or 150k")


# names of one figure in different commands
_ALIKE: Final = (
    ("request_count", "calls", "requests"),
    ("cost_total_usd", "cost_usd", "total_usd"),
    ("unpriced_requests", "unpriced_calls", "unpriced"),
    ("cost_calculated_usd", "calculated_usd"),
    ("cost_logged_usd", "logged_usd"),
    ("error_count", "failed", "errors"),
    ("tokens_total", "total_tokens"),
    ("error_rate", "failure_rate"),
)


def usual_names() -> list[str]:
    """Names of metrics and statistics that are worth offering, without loading what computes them."""
    tails = [f"latency_{how}_ms" for how in ("p50", "p95", "p99")]
    return sorted({*_METRICS.values(), *_STATISTICS.values(), *tails})


def figure_called(name: str, figures: Iterable[str], statistics: Iterable[str]) -> str | None:
    """Which of the figures of a command a name means; `statistics` are the names it may have as a statistic."""
    known = set(figures)
    said = (name, normalized(name), *statistics)
    alike = (other for one in said for names in _ALIKE if one in names for other in names)
    units = (f"{one}_{unit}" for one in said for unit in ("ms", "usd"))
    return next((one for one in (*said, *alike, *units) if one in known), None)
