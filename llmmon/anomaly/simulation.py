"""Synthetic traffic of one service, with daily and weekly seasons and labelled incidents: a fire drill.

Everything follows from the seed; times are event times, so a simulated log replays like a real one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from llmmon.metrics.columns import FloatArray
from llmmon.text.times import iso

HOUR_S: Final = 3600
DAY_S: Final = 86_400
Calls = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """A simulated model: its share of the traffic, speed, first token, prices per million, usual lengths."""

    name: str
    share: float
    ms_per_token: float
    first_token_ms: float
    usd_in: float
    usd_out: float
    tokens_in: int
    tokens_out: int


MODELS: Final = (
    SimulatedModel("gpt-4o-mini", 0.42, 9.0, 280.0, 0.15, 0.60, 620, 170),
    SimulatedModel("gpt-4o", 0.28, 16.0, 430.0, 2.50, 10.00, 880, 240),
    SimulatedModel("claude-sonnet-4-5", 0.20, 19.0, 620.0, 3.00, 15.00, 1400, 320),
    SimulatedModel("claude-haiku-4-5", 0.10, 7.0, 310.0, 1.00, 5.00, 760, 190),
)
_FEATURES: Final = ("chat", "search", "summarize", "extract")
_FEATURE_SHARES: Final = (0.45, 0.25, 0.2, 0.1)
_ERRORS: Final = ("rate_limit", "timeout", "server_error", "invalid_request")
_STATUS_CODES: Final = {"rate_limit": 429, "timeout": 504, "server_error": 500, "invalid_request": 400}
_USUAL_ERROR_RATE: Final = 0.012


@dataclass(frozen=True, slots=True)
class Incident:
    """A labelled incident: its kind, when (epoch seconds), the metric it shows in, the group it hits."""

    kind: str
    start_s: int
    end_s: int
    metric: str
    group: Mapping[str, str]


# kind -> (hours it lasts, metric it shows in, field and value it hits, or none for everything)
KINDS: Final[dict[str, tuple[float, str, tuple[str, str] | None]]] = {
    "latency_step": (3, "latency_ms", ("model", "gpt-4o")),
    "error_burst": (1, "error_rate", None),
    "traffic_drop": (2, "requests", None),
    "truncation": (3, "truncated", ("model", "claude-sonnet-4-5")),
    "ttft_regression": (4, "time_to_first_token_ms", ("model", "gpt-4o-mini")),
    "cost_runaway": (3, "cost_usd", ("feature", "summarize")),
    "quality_drop": (5, "quality_score", ("feature", "search")),
    "traffic_surge": (2, "requests", None),
}


def schedule(rng: np.random.Generator, start_s: int, days: int, quiet_days: int) -> list[Incident]:
    """One incident a day in working hours, every kind in turn, after some quiet days to learn from."""
    kinds = list(KINDS)
    incidents = []
    for number, day in enumerate(range(quiet_days, days)):
        kind = kinds[number % len(kinds)]
        hours, metric, target = KINDS[kind]
        begin = start_s + day * DAY_S + round(float(rng.uniform(9, 13)) * 12) * 300
        group = dict([target]) if target else {}
        incidents.append(Incident(kind, begin, begin + round(hours * HOUR_S), metric, group))
    return incidents


def traffic(times_s: FloatArray) -> FloatArray:
    """Relative traffic at moments (epoch seconds): quiet nights, two daily humps, 40 % at weekends; shape (n,)."""
    hour = times_s % DAY_S / HOUR_S
    weekday = (times_s // DAY_S + 3) % 7  # 1970-01-01 was a Thursday
    shape = 0.12 + np.exp(-(((hour - 10.5) / 3.0) ** 2)) + 0.9 * np.exp(-(((hour - 15.5) / 3.2) ** 2))
    found: FloatArray = shape * np.where(weekday >= 5, 0.4, 1.0)
    return found


def simulate(
    seed: int, start_s: int, days: int, per_day: int, quiet_days: int
) -> tuple[list[Incident], Iterator[list[dict[str, Any]]]]:
    """The incidents, and the calls of one day after another as llmmon records."""
    rng = np.random.default_rng(seed)
    incidents = schedule(rng, start_s, days, quiet_days)
    days_of_calls = (_day(rng, start_s + day * DAY_S, per_day, incidents) for day in range(days))
    return incidents, days_of_calls


def _day(rng: np.random.Generator, start_s: int, per_day: int, incidents: list[Incident]) -> list[dict[str, Any]]:
    table = _calls(rng, _arrivals(rng, start_s, per_day, incidents))
    for incident in incidents:
        _strike(rng, table, incident)
    _settle(table)
    return _records(rng, table)


def _arrivals(rng: np.random.Generator, start_s: int, per_day: int, incidents: list[Incident]) -> FloatArray:
    """Poisson arrivals minute by minute; traffic incidents change the rate."""
    clock = np.arange(0.0, DAY_S, 60.0)
    minutes = start_s + clock
    rate = traffic(minutes) / traffic(clock + 4 * DAY_S).sum() * per_day  # 4: a Monday
    for incident in incidents:
        hit = (minutes >= incident.start_s) & (minutes < incident.end_s)
        rate[hit] *= {"traffic_drop": 0.05, "traffic_surge": 3.5}.get(incident.kind, 1.0)
    counts = rng.poisson(rate)
    return np.sort(np.repeat(minutes, counts) + rng.uniform(0, 60, counts.sum()))


def _calls(rng: np.random.Generator, at: FloatArray) -> Calls:
    size = len(at)
    model = rng.choice(len(MODELS), size, p=[m.share for m in MODELS])

    def of(attribute: str) -> FloatArray:
        return np.array([getattr(m, attribute) for m in MODELS], np.float64)[model]

    return {
        "at": at,
        "model": model,
        "feature": rng.choice(len(_FEATURES), size, p=_FEATURE_SHARES),
        "user": np.minimum(rng.pareto(1.2, size) * 8, 199).astype(np.int64),
        "tokens_in": of("tokens_in") * rng.lognormal(0, 0.45, size),
        "tokens_out": of("tokens_out") * rng.lognormal(0, 0.5, size),
        "ms_per_token": of("ms_per_token") * rng.lognormal(0, 0.18, size),
        "ttft": of("first_token_ms") * rng.lognormal(0, 0.3, size),
        "quality": np.clip(rng.beta(22, 2.6, size), 0, 1),
        "error": rng.random(size) < _USUAL_ERROR_RATE,
        "kind": rng.choice(len(_ERRORS), size, p=(0.5, 0.2, 0.2, 0.1)),
        "cut": rng.random(size) < 0.015,
    }


def _strike(rng: np.random.Generator, table: Calls, incident: Incident) -> None:
    """Change the calls that an incident hits."""
    hit = (table["at"] >= incident.start_s) & (table["at"] < incident.end_s)
    names = {"model": [m.name for m in MODELS], "feature": list(_FEATURES)}
    for field, value in incident.group.items():
        hit &= table[field] == names[field].index(value)
    size = int(hit.sum())
    match incident.kind:
        case "latency_step":
            table["ms_per_token"][hit] *= 2.6
            table["ttft"][hit] *= 2.2
        case "error_burst":
            table["error"][hit] = rng.random(size) < 0.35
            table["kind"][hit] = _ERRORS.index("server_error")
        case "truncation":
            table["cut"][hit] = rng.random(size) < 0.5
        case "ttft_regression":
            table["ttft"][hit] *= 3.0
        case "cost_runaway":
            table["tokens_in"][hit] *= 9.0
        case "quality_drop":
            table["quality"][hit] *= 0.55
        case _:  # traffic incidents changed the arrivals
            pass


def _settle(table: Calls) -> None:
    """What follows from the rest: latency and cost."""
    table["tokens_out"] = np.where(table["cut"], 512, np.minimum(table["tokens_out"], 500)).astype(np.int64)
    table["tokens_in"] = table["tokens_in"].astype(np.int64)
    table["latency"] = table["ttft"] + table["tokens_out"] * table["ms_per_token"]
    usd_in, usd_out = (np.array([getattr(m, name) for m in MODELS])[table["model"]] for name in ("usd_in", "usd_out"))
    table["cost"] = (table["tokens_in"] * usd_in + table["tokens_out"] * usd_out) / 1e6


def _records(rng: np.random.Generator, table: Calls) -> list[dict[str, Any]]:
    ids = rng.integers(0, 1 << 48, len(table["at"]))
    columns = {name: values.tolist() for name, values in table.items()}
    return [_record(int(ids[row]), {name: values[row] for name, values in columns.items()}) for row in range(len(ids))]


def _record(number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    failed = call["error"]
    record: dict[str, Any] = {
        "request_id": f"req_{number:012x}",
        "timestamp": iso(round(call["at"] * 1000) * 1000),
        "model": MODELS[call["model"]].name,
        "user": f"user-{call['user']:03d}",
        "feature": _FEATURES[call["feature"]],
        "success": not failed,
    }
    if failed:
        kind = _ERRORS[call["kind"]]
        waited = 30_000 if kind == "timeout" else call["ttft"]
        return {**record, "latency_ms": round(waited, 1), "error_type": kind, "status_code": _STATUS_CODES[kind]}
    return {
        **record,
        "latency_ms": round(call["latency"], 1),
        "time_to_first_token_ms": round(call["ttft"], 1),
        "prompt_tokens": call["tokens_in"],
        "completion_tokens": call["tokens_out"],
        "cost_usd": round(call["cost"], 6),
        "finish_reason": "length" if call["cut"] else "stop",
        "quality_score": round(call["quality"], 3),
    }


def jsonl(records: list[dict[str, Any]]) -> bytes:
    """Records as JSON lines."""
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def labels_toml(incidents: list[Incident]) -> str:
    """The labels of the incidents as TOML: what a detector should find, and when."""
    parts = ["# What goes wrong in these logs, and when.\n"]
    for incident in incidents:
        group = ", ".join(f'{field} = "{value}"' for field, value in incident.group.items())
        parts.append(
            f'\n[[incidents]]\nkind = "{incident.kind}"\nstart = {iso(incident.start_s * 1_000_000)}\n'
            f'end = {iso(incident.end_s * 1_000_000)}\nmetric = "{incident.metric}"\ngroup = {{{group}}}\n'
        )
    return "".join(parts)
