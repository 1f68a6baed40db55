"""Made-up calls and logs for tests, and short ways to read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from llmmon.formats.canonical import Interners
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reader import SpanReader
from llmmon.ingest.rejects import keep_rejects
from llmmon.ingest.scan import Scanned, ScanRequest, scan
from llmmon.ingest.selection import Selection
from llmmon.ingest.sources import find
from llmmon.ingest.spans import head
from llmmon.metrics.aggregation import ColumnsFold
from llmmon.metrics.columns import Columns, concat
from llmmon.metrics.record import FIELDS

START_US = 1_772_438_400_000_000  # 2026-03-02T08:00:00Z, a Monday
MINUTE_US = 60_000_000
ALL_FIELDS = frozenset(FIELDS) - {"prompt", "output", "expected", "context"}

maybe = st.none
names = st.sampled_from(["gpt-4o", "gpt-4o-mini", "claude", "mistral", "ünïcode", "a b"])
errors = st.sampled_from(["timeout", "rate_limit", "server_error"])
finishes = st.sampled_from(["stop", "length", "content_filter", "tool_calls"])


def iso(us: int) -> str:
    """Microseconds since the epoch as a log writes them."""
    stamp = np.datetime64(us, "us")
    return f"{stamp}Z"


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """One call in llmmon's own dialect, any field but the model perhaps missing."""
    call: dict[str, Any] = {
        "model": draw(names),
        "timestamp": draw(maybe() | st.integers(0, 3 * 24 * 60).map(lambda m: iso(START_US + m * MINUTE_US))),
        "request_id": draw(maybe() | st.integers(0, 20).map(str)),
        "user": draw(maybe() | st.sampled_from(["ann", "bob"])),
        "latency_ms": draw(maybe() | st.integers(0, 10**8).map(lambda us: us / 1000)),
        "time_to_first_token_ms": draw(maybe() | st.integers(0, 10**6).map(lambda us: us / 1000)),
        "prompt_tokens": draw(maybe() | st.integers(0, 10**6)),
        "completion_tokens": draw(maybe() | st.integers(0, 10**5)),
        "cost_usd": draw(maybe() | st.integers(0, 10**9).map(lambda n: n / 1e9)),
        "quality_score": draw(maybe() | st.integers(0, 1000).map(lambda n: n / 1000)),
        "finish_reason": draw(maybe() | finishes),
        "error_type": draw(maybe() | errors),
        "tags": draw(st.just({}) | st.sampled_from(["red", "blue"]).map(lambda team: {"team": team})),
    }
    call["success"] = call["error_type"] is None
    return {name: value for name, value in call.items() if value is not None}


logs = st.lists(calls(), max_size=30)
good_lines = calls().map(lambda call: json.dumps(call, ensure_ascii=False).encode())
bad_lines = st.sampled_from(
    [
        *(b"", b"  ", b"hello", b"[1, 2]", b"42", b'{"model": "m", ', b'{"level": "info"}', b"\xff\xfe", b"\x00\x00"),
        *(b'{"model": "m", "latency_ms": Infinity}', b'{"model": NaN}', b"null", b'"text"', b'{"model": "\xc3"}'),
        *(b'{"a":' * 2000, b'{"model": "m", "model": "n"}', b'{"model": "m", "latency_ms": "fast"}'),
    ]
)


@st.composite
def files(draw: st.DrawFn, most: int = 25) -> bytes:
    """The bytes of a log, some lines of it bad, the last one perhaps without its newline.

    The first line is a call: it decides how a file is laid out.
    """
    lines = draw(st.lists(good_lines | good_lines | bad_lines, max_size=most))
    lines = [b'{"model": "first", "latency_ms": 5}', *lines] if lines else lines
    text = b"".join(line + b"\n" for line in lines)
    return text[:-1] if text and draw(st.booleans()) else text


def jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    """Calls as the bytes of a log."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def columns_of(rows: Sequence[dict[str, Any]], tags: tuple[str, ...] = ("team",)) -> Columns:
    """Calls as columns, in their order, read as a log of them would be."""
    data = jsonl(rows)
    reader = SpanReader(plan_for(data, Wanted(ALL_FIELDS, tags)), Interners())
    blocks = [reader.feed(data)] if data else []
    found = [*(block.columns for block in blocks if block), reader.flush().columns]
    return concat(found)


def scanned(
    paths: Sequence[Path],
    selection: Selection | None = None,
    fields: frozenset[str] = ALL_FIELDS,
    rejects: Path | None = None,
    **how: Any,
) -> Scanned[Columns]:
    """Files read as commands read them; the calls are in `.results`, one part a worker."""
    sources = find([str(path) for path in paths]).sources
    plans = tuple(plan_for(head(source), Wanted(fields, ("team",))) for source in sources)
    how = {"ranges": ((0, None),) * len(sources), **how}
    with keep_rejects(rejects) as kept:
        plan = ScanRequest(sources=sources, plans=plans, selection=selection or Selection(), **how)
        return scan(plan, ColumnsFold, kept)


def as_rows(columns: Columns) -> list[dict[str, Any]]:
    """Columns as plain rows, None for missing, so that they can be compared."""
    rows: list[dict[str, Any]] = [{"timestamp": us} for us in columns.timestamp.tolist()]
    for name in sorted({*columns.numbers}):
        for row, value in zip(rows, columns.numbers[name].tolist(), strict=True):
            row[name] = None if value != value else value
    for name in sorted(columns.names):
        for row, text in zip(rows, columns.names[name].texts(), strict=True):
            row[name] = text
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
