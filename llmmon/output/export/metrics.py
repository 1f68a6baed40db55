"""`export`: the calls of a query as metrics for Prometheus and OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from llmmon import __version__
from llmmon.alerting.state import StateFile, sole_evaluator
from llmmon.errors import EXIT_INPUT, EXIT_OK, UsageError
from llmmon.ingest.checkpoints import Checkpoint, from_json, to_json
from llmmon.ingest.follow import read_new
from llmmon.ingest.query import Query, Read, read
from llmmon.ingest.report import SourceReport
from llmmon.metrics.definitions import METRICS
from llmmon.metrics.record import FIELDS
from llmmon.output.export import otlp, prometheus
from llmmon.output.export.otlp import Interval, otlp_json
from llmmon.output.export.prometheus import FORMATS, Moment
from llmmon.output.export.rows import ROW_FORMATS
from llmmon.output.export.tallies import Instrument, Kept, Tally, TallyFold, add, kept_labels, limited
from llmmon.text.names import lookup

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
    return to_json(
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
    found = from_json(text, _Packed)
    tally = Tally({metric: dict(points) for metric, points in found.points.items()}, found.first_us, found.last_us)
    kept = {label: frozenset(values) for label, values in found.kept.items()}
    checkpoints = msgspec.convert(found.checkpoints, list[checkpoint])  # type: ignore[valid-type]
    return Snapshot(tally, kept, found.rejected, found.at_us), tuple(checkpoints)


def name_of(instruments: Sequence[Instrument], asked: Sequence[object]) -> str:
    """What a snapshot is remembered as: other instruments, or another question, are counters of their own."""
    digest = sha256(msgspec.json.encode([[msgspec.to_builtins(one) for one in instruments], [repr(a) for a in asked]]))
    return f"export {digest.hexdigest()[:16]}"


METRIC_FORMATS: Final = (*FORMATS, "otlp")
EXPORTS: Final = (*METRIC_FORMATS, *ROW_FORMATS)


FORMATS_BY_ENDING: Final = {
    ".prom": "prometheus",
    ".om": "openmetrics",
    ".openmetrics": "openmetrics",
    ".json": "otlp",
    ".csv": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def format_called(to: str | None, file: Path | None, rows: str, *, sending: bool) -> str:
    """The format of `--to`, else of the file's ending, else of `-f`; raises `UsageError`."""
    if to is not None:
        kind = lookup({name: name for name in (*EXPORTS, "grafana")}, to, "export format")
    elif sending:
        kind = "otlp"
    else:
        kind = FORMATS_BY_ENDING.get(file.suffix.lower() if file else "", rows)
    if kind not in EXPORTS:
        raise UsageError("--to is missing", hint=f"--to {', '.join(EXPORTS[:-1])} or {EXPORTS[-1]}; or -o metrics.prom")
    if sending and kind != "otlp":
        raise UsageError(f"--endpoint takes metrics in OTLP, not {kind}", hint="remove --to")
    return kind


class Made(msgspec.Struct, frozen=True):
    """Metrics as text, what was read for them, and the exit code so far."""

    text: str
    source: SourceReport
    exit_code: int


def instruments_of(to: str) -> tuple[Instrument, ...]:
    """What a format is made of."""
    return otlp.INSTRUMENTS if to == "otlp" else prometheus.INSTRUMENTS


def fields_of(instruments: Sequence[Instrument]) -> frozenset[str]:
    """The record's fields that instruments need."""
    needed = {name for one in instruments for name in (*one.by, *METRICS[one.metric].needs)}
    return frozenset(needed & FIELDS.keys())


def export_metrics(query: Query, to: str, label_limit: int) -> Made:
    """The metrics of a query's calls as text of a format in `METRIC_FORMATS`."""
    instruments = instruments_of(to)
    done = read(query, fields_of(instruments), lambda: TallyFold(instruments))
    whole, samples = _joined(done.results)
    tally = limited(whole, instruments, kept_labels(whole, instruments, label_limit))
    if to == "otlp":
        text = otlp_json(otlp.families(tally), _interval(tally, done, asked=query.time.has_start), __version__)
    else:
        text = _prometheus(to, tally, Moment(done.window.minutes, done.source.rejected), samples)
    return Made(text, done.source, done.exit_code)


def export_cumulative(query: Query, to: str, label_limit: int, state_path: Path) -> Made:
    """As `export_metrics`, of all that was ever read: what was appended since the last run is added to the state.

    The state moves before the text is written. A run that is killed in between, or whose text is lost, loses
    nothing, since the next one's text is of everything again. Raises `BusyError` where another run takes too long.
    """
    instruments = instruments_of(to)
    where = () if query.where is None else (query.where.text,)
    how = (query.dialect, query.overrides, str(query.cost), query.naive_tz, query.dedup)
    name = name_of(instruments, (*_absolute(query.logs), where, *how))
    with (
        sole_evaluator(state_path.with_name(state_path.name + ".export")),
        StateFile(state_path, replaced=query.warn) as state,
    ):
        before, checkpoints = unpacked(state.fact(name), Checkpoint)
        grown = read_new(query, fields_of(instruments), lambda: TallyFold(instruments), checkpoints)
        part, samples = _joined(grown.results)
        after, latest = advanced(before, part, grown.source.rejected, query.wall_us, instruments, label_limit)
        with state.transaction():
            state.set_fact(name, packed(after, grown.checkpoints))
    moment = Moment(minutes_since(before, part, query.wall_us), after.rejected)
    tally = after.tally
    if to == "otlp":
        start = tally.first_us or 0
        interval = Interval(start, max(start, query.wall_us))
        text = otlp_json(otlp.families(tally, latest), interval, __version__)
    else:
        text = _prometheus(to, tally, moment, samples, latest)
    for path, why in grown.failed:
        query.say(f"{path}: {why}")
    return Made(text, grown.source, EXIT_INPUT if grown.failed else EXIT_OK)


def _absolute(logs: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if name == "-" else str(Path(name).absolute()) for name in logs)


def _joined(results: Sequence[Any]) -> tuple[Tally, list[Mapping[str, Any]]]:
    samples = sorted((timed for _, found in results for timed in found), key=lambda timed: timed[0])
    return add(tally for tally, _ in results), [sample for _, sample in samples]


def _prometheus(
    to: str, tally: Tally, moment: Moment, samples: Sequence[Mapping[str, Any]], latest: Tally | None = None
) -> str:
    shown = prometheus.families(tally, moment, latest)
    return FORMATS[to]([*shown, *prometheus.sample_families(samples, shown)])


def _interval(tally: Tally, done: Read, *, asked: bool) -> Interval:
    """The time range if one was given; otherwise all calls since the first."""
    window = done.window
    if asked and window.start_us is not None and window.end_us is not None:
        return Interval(window.start_us, window.end_us, delta=True)
    start = tally.first_us or 0
    return Interval(start, max(start, done.source.now_us or tally.last_us or start))
