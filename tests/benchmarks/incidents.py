"""Runs the default monitor on a folder's labelled incident generator and prints what it finds beside the targets.

    python tests/benchmarks/incidents.py INCIDENTS_FOLDER [SEEDS] [detection|stories]

The folder holds `incidents.py` with `generate(seed, per_day=, clean=, strength=)` and `score(detections, ...)`.
`detection` is about single series: recall, delay, false alarms. `stories` is about incidents: messages an incident,
the lead's metric and group, onset and end, incidents at the same time, levels that stay, and planted causes.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from llmmon.anomaly.analysis import MOST_GROUPS, STEP_US, MonitorFold, MonitorPlan, find_anomalies, measures_of
from llmmon.anomaly.anomalies import anomalies
from llmmon.anomaly.detectors import detect
from llmmon.anomaly.detectors.detector import AnomalyStatus
from llmmon.anomaly.incidents import Incident, incidents
from llmmon.anomaly.panel import panel_of
from llmmon.anomaly.series import Panel
from llmmon.anomaly.simulation import jsonl
from llmmon.ingest.query import Query
from llmmon.metrics.columns import Columns, Names
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import MICROSECONDS, NANO_DOLLARS, SCORE_UNITS
from llmmon.text.times import iso, to_us

BLOCK = 30_000  # calls
FIRST_SEED = 47000
CREEPING = ("error_creep", "cost_creep")
TARGETS = {1.0: 0.97, 0.5: 0.85}
FAMILIES = {
    "latency_p99_ms": "latency",
    "output_tokens_per_second": "latency",
    "cost_per_request_usd": "cost",
    "cost_per_token_usd": "cost",
    "cost_usd": "cost",
}
Log = Mapping[str, Any]


def columns_of(log: Log) -> Columns:
    """The calls as they are held once a log is read."""
    numbers = {
        "latency_ms": np.rint(log["latency_ms"] * MICROSECONDS),
        "time_to_first_token_ms": np.rint(log["time_to_first_token_ms"] * MICROSECONDS),
        "cost_usd": np.rint(log["cost_usd"] * NANO_DOLLARS),
        "quality_score": np.rint(log["quality_score"] * SCORE_UNITS),
        **{name: log[name].astype(np.float64) for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
    }
    names = {
        "model": log["model"],
        "status": np.where(log["success"], "ok", "error"),
        "error_type": log["error_type"],
    }
    stamps = (log["t"] * 1e6).astype(np.int64)
    return Columns(len(stamps), stamps, numbers, {name: names_of(column) for name, column in names.items()})


def names_of(column: Any) -> Names:
    """A column of texts as codes; the empty text is missing."""
    values, codes = np.unique(column, return_inverse=True)
    places = np.cumsum(values != "") - 1
    kept = [str(value) for value in values if value != ""]
    return Names(np.where(values == "", -1, places)[codes].astype(np.int32), kept)


def panel_of_calls(columns: Columns) -> Panel:
    """Overall and by model, as `anomalies` makes it from blocks of calls."""
    plan = MonitorPlan()
    grouping = Grouping(plan.by, STEP_US)
    fold = MonitorFold(measures_of(plan), grouping, plan)
    for first in range(0, columns.size, BLOCK):
        fold.add(columns.take(np.arange(first, min(first + BLOCK, columns.size))), [])
    (aggregates, by_error), _ = fold.result()
    return panel_of(aggregates, grouping, MOST_GROUPS, by_error)


def detections(columns: Columns) -> list[tuple[float, str, str]]:
    """(unix seconds, metric, model) of every incident raised."""
    found = anomalies(detect(panel_of_calls(columns), until_us=int(columns.timestamp[-1])))
    return [(to_us(a.timestamp) / 1e6 - 1, a.metric_name, dict(a.group).get("model") or "") for a in found]


def pooled(generator: Any, seeds: Sequence[int], per_day: float, strength: float, *, clean: bool) -> dict[str, Any]:
    """Delays by kind (None: missed), false alarms a day, alarms of another model, seconds of the slowest judging."""
    delays: dict[str, list[float | None]] = {kind: [] for kind in generator.KINDS}
    false, wrong, seconds = [], 0, 0.0
    for seed in seeds:
        log, labels = generator.generate(seed, per_day=per_day, clean=clean, strength=strength)
        columns = columns_of(log)
        began = time.process_time()
        found = detections(columns)
        seconds = max(seconds, time.process_time() - began)
        result = generator.score(found, labels, 28)
        false.append(result["false_per_day"])
        wrong += result["wrong_model"]
        for kind, row in result["incidents"].items():
            delays[kind].append(row["delay_min"] if row["found"] else None)
    return {"delays": delays, "false": float(np.mean(false)), "wrong": wrong, "seconds": seconds}


def say(line: str = "") -> None:
    """One line of the table."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def recall_of(delays: Mapping[str, list[float | None]]) -> float:
    """Share of incidents found."""
    return float(np.mean([delay is not None for row in delays.values() for delay in row]))


def show_kinds(delays: Mapping[str, list[float | None]]) -> None:
    """Recall and delay of every kind."""
    for kind, row in delays.items():
        found = [delay for delay in row if delay is not None]
        target = 360 if kind in CREEPING else 10
        middle = f"{np.median(found):8.1f}" if found else "       -"
        say(f"    {kind:16s} recall {len(found) / len(row):.2f}  median delay {middle} min  (target {target})")


PER_DAY = 6000
BUCKET_S = 300.0
HOUR_S = 3600.0
# kinds and models of two incidents at once that have nothing to do with each other
PAIRS = (
    (
        (("latency_step", "gpt-4o"), ("truncation", "claude-sonnet")),
        (("ttft_regression", "gpt-4o-mini"), ("model_switch", "gpt-4o")),
    ),
    (
        (("latency_step", "claude-sonnet"), ("model_switch", "gpt-4o-mini")),
        (("quality_drop", ""), ("truncation", "gpt-4o")),
        (("error_burst", ""), ("ttft_regression", "claude-sonnet")),
    ),
    (
        (("latency_step", "gpt-4o-mini"), ("ttft_regression", "gpt-4o")),
        (("quality_drop", ""), ("model_switch", "gpt-4o")),
    ),
)
LASTING = (
    ("latency_step", "gpt-4o"),
    ("ttft_regression", "claude-sonnet"),
    ("model_switch", "gpt-4o"),
    ("quality_drop", ""),
    ("truncation", "gpt-4o-mini"),
)


def stories_of(log: Log) -> list[Incident]:
    """The incidents of a log."""
    columns = columns_of(log)
    results = detect(panel_of_calls(columns), until_us=int(columns.timestamp[-1]))
    return incidents(anomalies(results), [results])


def planted(generator: Any, seed: int, labels: Sequence[Any], days: float = 14) -> list[Incident]:
    """The incidents of a log with these labels in place of the generator's own."""
    own = generator.schedule
    generator.schedule = lambda *_: list(labels)
    try:
        log, _ = generator.generate(seed, days=days, per_day=PER_DAY)
    finally:
        generator.schedule = own
    return stories_of(log)


def label(generator: Any, kind: str, model: str, start: float, hours: float | None = None) -> Any:
    """A label of the generator; without `hours` of its usual length."""
    length, accept, _, _ = generator.KINDS[kind]
    return generator.Incident(kind, start, start + (hours or length) * HOUR_S, accept.split()[0], model)


def is_about(generator: Any, story: Incident, one: Any) -> bool:
    """Whether an incident's lead is in the metric and the group of a label."""
    return is_in_metric(generator, story, one) and is_of_group(story, one)


def is_in_metric(generator: Any, story: Incident, one: Any) -> bool:
    """Whether an incident's lead is in a metric in which a label shows."""
    return generator.FAMILY.get(story.lead.metric_name) in generator.KINDS[one.kind][1].split()


def is_of_group(story: Incident, one: Any) -> bool:
    """Whether an incident is of the calls of a label; a loop sends all its calls to one model."""
    model = dict(story.group).get("model") or ""
    return model == one.model or (one.kind == "cost_runaway" and model in ("", "gpt-4o"))


def raised_in(stories: Sequence[Incident], one: Any, after_s: float) -> list[Incident]:
    """The incidents that were raised during a label, or soon after."""
    return [s for s in stories if one.start - 3 * BUCKET_S <= to_us(s.timestamp) / 1e6 <= one.end + after_s]


def show_single(generator: Any, seeds: Sequence[int]) -> None:
    """Messages an incident, lead, group, onset, end and status of incidents that come one by one."""
    counts = dict.fromkeys(("found", "messages", "lead", "group", "sharp", "onset", "end", "over"), 0)
    for seed in seeds:
        log, labels = generator.generate(seed, per_day=PER_DAY)
        stories = stories_of(log)
        for one in labels:
            if not (mine := raised_in(stories, one, generator.RECOVERY)):
                continue
            best = max(mine, key=lambda s: (is_in_metric(generator, s, one), s.severity.rank))
            counts["found"] += 1
            counts["messages"] += len(mine)
            counts["lead"] += is_in_metric(generator, best, one)
            counts["group"] += is_of_group(best, one)
            counts["over"] += best.end is not None
            if one.kind not in CREEPING and best.end is not None:
                counts["sharp"] += 1
                counts["onset"] += abs(to_us(best.start) / 1e6 - one.start) <= 2 * BUCKET_S
                counts["end"] += abs(to_us(best.end) / 1e6 - one.end) <= 2 * BUCKET_S
    found, sharp = max(counts["found"], 1), max(counts["sharp"], 1)
    say(f"single incidents, {found} found at {PER_DAY} requests a day (onset and end: without creeping ones)")
    say(f"    messages an incident {counts['messages'] / found:.2f} (target 1.3)")
    say(f"    lead metric {counts['lead'] / found:.2f}, group {counts['group'] / found:.2f} (target 0.9)")
    say(f"    within two buckets: onset {counts['onset'] / sharp:.2f}, end {counts['end'] / sharp:.2f}")
    say(f"    temporary changes that are over at the end {counts['over'] / found:.2f} (target 0.95)")


def show_pairs(generator: Any, seeds: Sequence[int]) -> None:
    """How many independent incidents at the same time stay apart, each with its own lead."""
    apart = many = 0
    for offset_s in (0.0, 1500.0):
        for seed in seeds:
            for number, pairs in enumerate(PAIRS):
                days = [generator.EPOCH + (8.4 + 2 * k) * 86400 for k in range(len(pairs))]
                twins = [
                    [label(generator, *one, start + offset_s * k, 2.0) for k, one in enumerate(pair)]
                    for pair, start in zip(pairs, days, strict=True)
                ]
                stories = planted(generator, seed + 31 * number, [one for pair in twins for one in pair])
                for pair in twins:
                    mine = [[s for s in stories if is_about(generator, s, one)] for one in pair]
                    found = [[s for s in some if raised_in([s], one, 0)] for some, one in zip(mine, pair, strict=True)]
                    many += 1
                    apart += all(found) and found[0][0].id != found[1][0].id
    say(f"independent incidents at the same time stay apart {apart / many:.2f} of {many} (target 0.9)")


def show_lasting(generator: Any, seeds: Sequence[int]) -> None:
    """How many levels that stay are open as a new level at the end of the log."""
    stays = many = 0
    for seed in seeds:
        for kind, model in LASTING:
            one = label(generator, kind, model, generator.EPOCH + 9.45 * 86400, 24 * 30)
            mine = [s for s in planted(generator, seed, [one]) if is_in_metric(generator, s, one)]
            many += 1
            stays += any(s.status is AnomalyStatus.NEW_LEVEL and raised_in([s], one, 0) for s in mine)
    say(f"permanent changes that have stayed at the new level {stays / many:.2f} of {many} (target 0.95)")


FIELDS = {
    "user": [f"u{n}" for n in range(8)],
    "feature": ["chat", "search", "extract"],
    "prompt_version": ["v1", "v2"],
    "provider": ["openai", "azure"],
    "tags": ["eu", "us", "asia"],
}
DAYS, CAUSE_DAY, CALLS_A_DAY = 4, 3.4, 2000


def log_with_cause(seed: int, field: str, effect: str) -> tuple[list[dict[str, Any]], str]:
    """Calls of which those with one name in a field are slow or fail for three hours, and the name."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(FIELDS[field]))
    times = np.sort(rng.uniform(0, DAYS * 86400, DAYS * CALLS_A_DAY))
    rows = []
    for number, at in enumerate(times.tolist()):
        names = {key: str(rng.choice(values)) for key, values in FIELDS.items()}
        hit = names[field] == name and 0 <= at - CAUSE_DAY * 86400 < 3 * HOUR_S
        failed = rng.random() < (0.6 if hit and effect == "errors" else 0.01)
        slow = 3.0 if hit and effect == "latency" else 1.0
        long = 5.0 if hit and effect == "prompts" else 1.0
        rows.append(
            {
                **{key: value for key, value in names.items() if key != "tags"},
                "tags": {"region": names["tags"]},
                "request_id": f"r{number}",
                "timestamp": iso(1_772_409_600_000_000 + int(at * 1e6)),
                "model": str(rng.choice(["m1", "m2"])),
                "latency_ms": float(900 * slow * np.exp(rng.normal(0, 0.5))),
                "prompt_tokens": int(700 * long * np.exp(rng.normal(0, 0.4))),
                "completion_tokens": 100,
                "success": not failed,
                "error_type": "overloaded" if failed else None,
            }
        )
    return rows, name


def show_causes(seeds: Sequence[int]) -> None:
    """How often the planted cause comes first."""
    right = many = 0
    with TemporaryDirectory() as folder:
        for seed in seeds:
            for field in FIELDS:
                for effect in ("latency", "errors", "prompts"):
                    rows, name = log_with_cause(seed, field, effect)
                    path = Path(folder) / "log.jsonl"
                    path.write_bytes(jsonl(rows))
                    report, _ = find_anomalies(Query(logs=(str(path),), wall_us=0), MonitorPlan())
                    begin = 1_772_409_600_000_000 + int((CAUSE_DAY * 86400 - 900) * 1e6)
                    mine = [one for one in report.incidents if one.start_us >= begin]
                    wanted = ("tag.region" if field == "tags" else field, name)
                    causes = [c for c in mine[-1].causes if c.field != "error_type"] if mine else []
                    many += 1
                    right += bool(causes) and (causes[0].field, causes[0].name) == wanted
    say(f"planted cause is named first {right / many:.2f} of {many} (target 0.9)")


def show_detection(generator: Any, chosen: Sequence[int]) -> None:
    """Recall, delays and false alarms by traffic and strength."""
    for per_day in (1500, 6000, 20000):
        quiet = pooled(generator, [seed + 500 for seed in chosen], per_day, 1.0, clean=True)
        say(f"{per_day} requests a day: {quiet['false']:.3f} false alarms a day on clean logs (target 0.15)")
        for strength, target in TARGETS.items():
            loud = pooled(generator, chosen, per_day, strength, clean=False)
            found = recall_of(loud["delays"])
            say(
                f"  strength {strength}: recall {found:.3f} (target {target}), {loud['false']:.3f} unexplained a day,"
                f" {loud['wrong']} alarms of another model, {loud['seconds']:.2f} s a log of 28 days (target 3)"
            )
            show_kinds(loud["delays"])


def main(folder: str, seeds: int = 4, part: str = "") -> None:
    """Print the tables."""
    sys.path.insert(0, folder)
    generator = importlib.import_module("incidents")
    generator.FAMILY.update(FAMILIES)
    chosen = range(FIRST_SEED, FIRST_SEED + seeds)
    if part in ("", "stories"):
        show_single(generator, chosen)
        show_pairs(generator, chosen)
        show_lasting(generator, chosen)
        show_causes(chosen)
    if part in ("", "detection"):
        show_detection(generator, chosen)


if __name__ == "__main__":
    main(sys.argv[1], *(int(text) for text in sys.argv[2:3]), *sys.argv[3:4])
