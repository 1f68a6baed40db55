"""`export`: the calls of a query as metrics for Prometheus and OpenTelemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
import orjson

from llmmon import __version__, exposition, semconv
from llmmon.errors import UsageError
from llmmon.exposition import Moment
from llmmon.metrics import METRICS
from llmmon.names import lookup
from llmmon.pipeline import Query, Read, read
from llmmon.prometheus import FORMATS
from llmmon.record import FIELDS
from llmmon.recording import ROW_FORMATS
from llmmon.renderers.otlp import Interval, otlp
from llmmon.tallies import Instrument, Tally, TallyFold, add, kept_labels, limited
from llmmon.transport import Client, Request, check_url

METRIC_FORMATS: Final = (*FORMATS, "otlp")
EXPORTS: Final = (*METRIC_FORMATS, *ROW_FORMATS)
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_PATH: Final = "/v1/metrics"


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


class Totals(msgspec.Struct, frozen=True):
    """What the calls of a query add up to, and the metric samples among them."""

    tally: Tally
    samples: tuple[Mapping[str, Any], ...]


def totals(query: Query, instruments: Sequence[Instrument]) -> tuple[Totals, Read]:
    """The tally of a query's calls."""
    needed = {name for one in instruments for name in (*one.by, *METRICS[one.metric].needs)}
    found = read(query, frozenset(needed & FIELDS.keys()), lambda: TallyFold(instruments))
    samples = [sample for _, each in found.results for sample in each]
    return Totals(add(part for part, _ in found.results), tuple(samples)), found


def instruments_of(to: str) -> tuple[Instrument, ...]:
    """What a format is made of."""
    return semconv.INSTRUMENTS if to == "otlp" else exposition.INSTRUMENTS


def export_metrics(query: Query, to: str, label_limit: int) -> tuple[str, Read]:
    """The metrics of a query's calls as text of a format in `METRIC_FORMATS`."""
    instruments = instruments_of(to)
    found, done = totals(query, instruments)
    tally = limited(found.tally, instruments, kept_labels(found.tally, instruments, label_limit))
    if to == "otlp":
        asked = query.window is not None or query.since is not None
        return otlp(semconv.families(tally), _interval(tally, done, asked=asked), __version__), done
    shown = exposition.families(tally, Moment(done.window.minutes, done.source.rejected))
    return FORMATS[to]([*shown, *exposition.sample_families(found.samples, shown)]), done


def _interval(tally: Tally, done: Read, *, asked: bool) -> Interval:
    """A time that was asked for is told as such; otherwise the numbers are of all since the first call."""
    window = done.window
    if asked and window.start_us is not None and window.end_us is not None:
        return Interval(window.start_us, window.end_us, delta=True)
    start = tally.first_us or 0
    return Interval(start, max(start, done.source.now_us or tally.last_us or start))


def endpoint(given: str, environment: Mapping[str, str]) -> Request:
    """The request, without a body yet, for `--endpoint`: an address, or `env` for that of the OTEL_ variables.

    Headers come from the OTEL_ variables in both cases. Raises `UsageError`.
    """
    url = given if given != "env" else _from_environment(environment)
    check_url(url)
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        url = urlunsplit(parts._replace(path=_PATH))
    named = next((environment[name] for name in _HEADERS if environment.get(name)), "")
    return Request(url=url, headers={"content-type": "application/json", **_headers(named)})


def _from_environment(environment: Mapping[str, str]) -> str:
    whole, base = (environment.get(name, "").strip() for name in _ENDPOINTS)
    if whole:
        return whole
    if not base:
        raise UsageError(f"--endpoint env: ${_ENDPOINTS[1]} is not set", hint="--endpoint http://localhost:4318")
    return base.rstrip("/") + _PATH


def _headers(text: str) -> dict[str, str]:
    """`key=value,key2=value2`, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS has them."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def send(request: Request, text: str) -> str:
    """Send metrics; what the receiver did not take, in its words. Raises `DeliveryError`."""

    async def sent() -> bytes:
        async with Client() as client:
            return (await client.send(msgspec.structs.replace(request, body=text.encode()))).body

    return _complaint(asyncio.run(sent()))


def _complaint(body: bytes) -> str:
    try:
        partial = orjson.loads(body or b"{}").get("partialSuccess") or {}
        number, why = partial.get("rejectedDataPoints") or 0, partial.get("errorMessage") or ""
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return f"{number} points were refused: {why}" if int(number) else str(why)
