"""Parquet and Arrow files mean what the same rows mean as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmmon.errors import InputError, UsageError
from llmmon.formats.dialects.native import CALL_MARK
from llmmon.ingest.query import Query
from llmmon.ingest.sources import is_log
from llmmon.output.export.rows import Wanted, export_records
from llmmon.reports.tables import calls_table, columns_of_calls, read_calls, tags_of
from tests.conftest import Run

NOW = 1_785_000_000_000_000
TEXTS_OF_JSON = {"cloudflare_logpush.jsonl"}  # hold objects as texts even in JSON lines
SAMPLES = [
    path for path in sorted((Path(__file__).parents[1] / "samples").glob("*.jsonl")) if path.name not in TEXTS_OF_JSON
]
FIELDS = tuple(name for name in columns_of_calls(texts=True) if name != "file")


def calls(path: Path) -> list[dict[str, Any]] | str:
    """All that is read of a log, or why nothing is."""
    query = Query(logs=(str(path),), wall_us=NOW)
    try:
        tags = tuple(sorted(tags_of(query)))
        columns, found = read_calls(query, FIELDS, tags)
    except InputError:
        return "nothing"
    rows: list[dict[str, Any]] = calls_table(columns, FIELDS, tags, found.scanned).to_pylist()
    return rows


def objects(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_null(inner) for name, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


def as_text(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose nested values are JSON text, as platforms export them."""
    return [
        {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}
        for row in rows
    ]


def compared(rows: Sequence[dict[str, Any]], stored: Sequence[dict[str, Any]], folder: Path) -> bool:
    """Compare a table of rows with the rows as JSON lines; False where no table can hold them."""
    columns = {name: [row.get(name) for row in stored] for name in dict.fromkeys(n for row in stored for n in row)}
    try:
        pq.write_table(pa.table(columns), folder / "a.parquet")
    except (pa.ArrowException, TypeError):
        return False
    (folder / "a.jsonl").write_text("".join(json.dumps(without_null(row)) + "\n" for row in rows))
    assert calls(folder / "a.parquet") == calls(folder / "a.jsonl")
    return True


@pytest.mark.parametrize("form", [lambda rows: rows, as_text], ids=["nested", "JSON text"])
def test_rows_of_every_dialect_mean_the_same(form: Callable[[Any], Any], tmp_path: Path) -> None:
    done, different = 0, []
    for path in SAMPLES:
        rows = objects(path)
        try:
            done += bool(rows) and compared(rows, form(rows), tmp_path)
        except AssertionError:
            different.append(path.name)
    assert different == []
    assert done > len(SAMPLES) / 2


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_types_of_columns_are_kept(tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.parquet",
        model=["m", "m"],
        timestamp=pa.array([datetime(2026, 3, 2, 10, tzinfo=UTC), None]),
        cost_usd=pa.array([Decimal("0.25"), None]),
        latency_ms=pa.array([5, None], pa.int32()),
        prompt=[b"why", None],
        tags=pa.array([{"team": "red"}, {"team": None}]),
    )
    first, second = calls(path)
    assert isinstance(first, dict)
    assert (first["timestamp"], first["cost_usd"], first["latency_ms"]) == (
        datetime(2026, 3, 2, 10, tzinfo=UTC),
        0.25,
        5,
    )
    assert (first["prompt"], first["tag.team"], second["tag.team"], second["latency_ms"]) == ("why", "red", None, None)
    assert [first["line"], second["line"]] == [1, 2]


def test_a_map_is_an_object(tmp_path: Path) -> None:
    tags = pa.array([[("team", "red")]], pa.map_(pa.string(), pa.string()))
    (row,) = calls(table(tmp_path / "a.parquet", model=["m"], latency_ms=[1], tags=tags))
    assert row["tag.team"] == "red"


def test_an_answer_in_json_stays_a_text(tmp_path: Path) -> None:
    (row,) = calls(table(tmp_path / "a.parquet", model=["m"], prompt=["as JSON"], output=['{"a": 1}']))
    assert row["output"] == '{"a": 1}'


def test_an_arrow_file_is_read_the_same(tmp_path: Path) -> None:
    rows = pa.table({"model": ["m", "n"], "latency_ms": [1, 2]})
    with pa.ipc.new_file(tmp_path / "a.arrow", rows.schema) as file:
        file.write_table(rows)
    pq.write_table(rows, tmp_path / "a.parquet")
    assert calls(tmp_path / "a.arrow") == calls(tmp_path / "a.parquet")


def test_parquet_is_a_log_in_a_folder() -> None:
    assert is_log("calls.parquet")
    assert is_log("calls-2026-03-02.parquet")


def test_a_damaged_file_is_named_and_the_others_are_read(run: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    write("a.jsonl", [{"model": "m", "latency_ms": 5}])
    whole = table(tmp_path / "b.parquet", model=["m"], latency_ms=[1]).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:-20])
    found = run("summarize", "a.jsonl", "b.parquet", "-f", "json")
    assert found.code == 3
    assert "b.parquet: damaged" in found.stderr
    assert found.json["source"]["requests"] == 1


def test_parquet_comes_by_stdin(run: Run, tmp_path: Path) -> None:
    data = table(tmp_path / "b.parquet", model=["m"], latency_ms=[1]).read_bytes()
    assert run("summarize", "-", "-f", "json", stdin=data).json["data"]["totals"]["request_count"] == 1


def test_without_the_extra_the_line_that_installs_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "b.parquet", model=["m"], latency_ms=[1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as refused:
        read_calls(Query(logs=(str(path),), wall_us=NOW), FIELDS, ())
    assert refused.value.hint == "pip install 'llmmon[arrow]'"


@pytest.mark.parametrize("keep_text", [False, True])
def test_an_export_reads_back_as_what_was_exported(tmp_path: Path, keep_text: bool) -> None:
    rows = [
        {"model": "m", "timestamp": "2026-03-02T10:00:00.5Z", "latency_ms": 5.25, "cost_usd": 0.1, "prompt_tokens": 3},
        {"model": "n", "status": "cancelled", "prompt": "{}", "output": "=1", "tags": {"team": "x", "a.b": "y"}},
        {"request_id": "alone", "timestamp": "2026-03-02T10:00:00Z", "llmmon_call": True},
        {"model": "o", "timestamp": "2026-03-02T10:00:00Z", "cache_hit": True, "attempt": 2, "error_type": "e"},
    ]
    log = tmp_path / "a.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for form in ("parquet", "jsonl"):
        with (tmp_path / f"out.{form}").open("wb") as file:
            query = Query(logs=(str(log),), wall_us=NOW)
            assert export_records(query, form, Wanted(keep_text=keep_text), file.write).rows == len(rows)
    assert calls(tmp_path / "out.parquet") == calls(tmp_path / "out.jsonl")
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert str(schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    assert ("prompt" in schema.names) == keep_text
    assert CALL_MARK in schema.names


def test_an_export_of_nothing_is_a_table_without_rows(run: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    write("a.jsonl", [{"model": "m", "latency_ms": 5}])
    assert run("export", "a.jsonl", "--where", "model=none", "-o", "out.parquet").code == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert run("export", "a.jsonl", "-o", "out.parquet").code == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 1
