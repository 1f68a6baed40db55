"""`export`: the calls of a query as metrics for Prometheus and OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from llmmon import __version__, exposition, semconv
from llmmon.accumulating import advanced, minutes_since, name_of, packed, unpacked
from llmmon.checkpoints import Checkpoint
from llmmon.errors import EXIT_INPUT, EXIT_OK, UsageError
from llmmon.exposition import Moment
from llmmon.following import read_growth
from llmmon.metrics import METRICS
from llmmon.names import lookup
from llmmon.pipeline import Query, Read, read
from llmmon.prometheus import FORMATS
from llmmon.record import FIELDS
from llmmon.recording import ROW_FORMATS
from llmmon.renderers.otlp import Interval, otlp
from llmmon.reports import SourceReport
from llmmon.statefile import StateFile
from llmmon.statelock import sole_evaluator
from llmmon.tallies import Instrument, Tally, TallyFold, add, kept_labels, limited

METRIC_FORMATS: Final = (*FORMATS, "otlp")
EXPORTS: Final = (*METRIC_FORMATS, *ROW_FORMATS)


FORMATS_BY_ENDING: Final = {
    ".prom": "prometheus",
    ".om": "openmetrics",
    ".openmetrics": "openmetrics",
    ".json": "otlp",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def format_called(to: str | None, file: Path | None, rows: str, *, sending: bool) -> str:
    """The format of `--to`, else of the file's ending, else of `-f`; raises `UsageError`."""
    if to is not None:
        kind = lookup({name: name for name in EXPORTS}, to, "export format")
    elif sending:
        kind = "otlp"
    else:
        kind = FORMATS_BY_ENDING.get(file.suffix.lower() if file else "", rows)
    if kind not in EXPORTS:
        raise UsageError("--to is missing", hint=f"--to {', '.join(EXPORTS[:-1])} or {EXPORTS[-1]}; or -o metrics.prom")
    if sending and kind != "otlp":
        raise UsageError(f"--endpoint takes metrics in OTLP, not {kind}", hint="leave --to away")
    return kind


class Made(msgspec.Struct, frozen=True):
    """Metrics as text, what was read for them, and the exit code so far."""

    text: str
    source: SourceReport
    exit_code: int


def instruments_of(to: str) -> tuple[Instrument, ...]:
    """What a format is made of."""
    return semconv.INSTRUMENTS if to == "otlp" else exposition.INSTRUMENTS


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
        asked = query.window is not None or query.since is not None
        text = otlp(semconv.families(tally), _interval(tally, done, asked=asked), __version__)
    else:
        text = _prometheus(to, tally, Moment(done.window.minutes, done.source.rejected), samples)
    return Made(text, done.source, done.exit_code)


def export_cumulative(query: Query, to: str, label_limit: int, state_path: Path) -> Made:
    """As `export_metrics`, of all that was ever read: what was appended since the last run is added to the state.

    The state moves before the text is written. A run that is killed in between, or whose text is lost, loses
    nothing, since the next one's text is of everything again. Raises `BusyError` where another run takes too long.
    """
    instruments = instruments_of(to)
    asked = (*_absolute(query.logs), query.where, query.dialect, query.maps, query.cost, query.naive_tz, query.dedup)
    name = name_of(instruments, asked)
    with sole_evaluator(state_path.with_name(state_path.name + ".export")), StateFile(state_path) as state:
        before, checkpoints = unpacked(state.fact(name), Checkpoint)
        grown = read_growth(query, fields_of(instruments), lambda: TallyFold(instruments), checkpoints)
        part, samples = _joined(grown.results)
        after, latest = advanced(before, part, grown.source.rejected, query.wall_us, instruments, label_limit)
        with state.transaction():
            state.remember(name, packed(after, grown.checkpoints))
    moment = Moment(minutes_since(before, part, query.wall_us), after.rejected)
    tally = after.tally
    if to == "otlp":
        start = tally.first_us or 0
        interval = Interval(start, max(start, query.wall_us))
        text = otlp(semconv.families(tally, latest), interval, __version__)
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
    shown = exposition.families(tally, moment, latest)
    return FORMATS[to]([*shown, *exposition.sample_families(samples, shown)])


def _interval(tally: Tally, done: Read, *, asked: bool) -> Interval:
    """A time that was asked for is told as such; otherwise the numbers are of all since the first call."""
    window = done.window
    if asked and window.start_us is not None and window.end_us is not None:
        return Interval(window.start_us, window.end_us, delta=True)
    start = tally.first_us or 0
    return Interval(start, max(start, done.source.now_us or tally.last_us or start))
