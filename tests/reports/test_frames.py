"""`llmmon.read`: frames hold what the commands say, in the types that notebooks expect."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import llmmon
from llmmon.errors import InputError, UsageError
from llmmon.ingest.query import Query
from llmmon.metrics.record import TEXTS
from llmmon.reports.summary import summarize

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
SAMPLES = str(ROOT / "sample_logs")
CALLS = [
    {"model": "a", "timestamp": "2026-03-02T10:00:00Z", "latency_ms": 5, "prompt_tokens": 3, "tags": {"team": "red"}},
    {"model": "b", "timestamp": "2026-03-02T11:00:00Z", "prompt": "why?", "output": "so", "status": "error"},
]


@pytest.fixture
def log(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return write("a.jsonl", CALLS)


def test_a_frame_of_pandas_has_the_types_of_a_notebook(log: Path) -> None:
    frame = llmmon.read(log, frame="pandas")
    assert frame["prompt_tokens"].dtype == pd.Int64Dtype()
    assert frame["prompt_tokens"].isna().tolist() == [False, True]
    assert str(frame["timestamp"].dtype.tz) == "UTC"
    assert frame["model"].dtype == "category"
    assert frame["error"].dtype == pd.BooleanDtype()
    assert frame["error"][1]
    assert frame["tag.team"].tolist()[0] == "red"
    assert frame["line"].tolist() == [1, 2]


def test_a_frame_of_polars_is_the_same(log: Path) -> None:
    frame = llmmon.read(log, frame="polars")
    assert frame.select("model", "prompt_tokens", "latency_ms", "tag.team").rows() == [
        ("a", 3, 5.0, "red"),
        ("b", None, None, None),
    ]
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")


def test_an_arrow_table_has_the_columns_asked_for_in_their_order(log: Path) -> None:
    table = llmmon.read([log], frame="arrow", columns=["latency_ms", "tag.team", "model"])
    assert isinstance(table, pa.Table)
    assert table.column_names == ["latency_ms", "tag.team", "model"]


def test_texts_are_there_only_where_they_are_asked_for(log: Path) -> None:
    assert not set(llmmon.read(log, frame="arrow").column_names) & set(TEXTS)
    assert llmmon.read(log, frame="arrow", keep_text=True)["prompt"].to_pylist() == [None, "why?"]
    with pytest.raises(UsageError) as refused:
        llmmon.read(log, columns=["prompt"])
    assert refused.value.hint == "keep_text=True adds texts"


def test_totals_are_those_of_the_summary() -> None:
    report, _ = summarize(Query(logs=(SAMPLES,), wall_us=1_785_000_000_000_000), by=("model",))
    frame = llmmon.read(SAMPLES, frame="pandas")
    assert len(frame) == report.totals["request_count"]
    assert frame["cost_usd"].sum() == pytest.approx(report.totals["cost_total_usd"])
    assert frame["latency_ms"].quantile(0.95) == pytest.approx(report.totals["latency_p95_ms"])


def test_options_are_those_of_the_command_line(log: Path) -> None:
    assert len(llmmon.read(log, frame="arrow", where="model=a")) == 1
    assert len(llmmon.read(log, frame="arrow", since="2026-03-02T10:30")) == 1
    mapped = llmmon.read(log, frame="arrow", map={"user": "model"})
    assert mapped["user"].to_pylist() == ["a", "b"]


def test_prices_come_from_the_configuration_that_is_named(log: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[prices."a"]\ninput = 1000000\noutput = 0\n')
    frame = llmmon.read(log, frame="arrow", config=tmp_path / "own.toml", columns=["cost_usd"])
    assert frame["cost_usd"].to_pylist() == [3.0, None]


@pytest.mark.parametrize("table", ["sessions", "tools", "incidents"])
def test_other_tables_are_empty_where_the_log_has_nothing_of_the_kind(log: Path, table: str) -> None:
    assert len(llmmon.read(log, table=table, frame="arrow")) == 0


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"table": "cals"}, "did you mean 'calls'"),
        ({"columns": ["modl"]}, "did you mean 'model'"),
        ({"frame": "panda"}, "did you mean 'pandas'"),
        ({"dialect": "opnai"}, "unknown dialect"),
        ({"tz": "Mars"}, "Mars"),
        ({"table": "sessions", "columns": ["model"]}, "do not apply"),
    ],
)
def test_a_wrong_parameter_is_named(log: Path, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        llmmon.read(log, **parameters)  # type: ignore[arg-type]


def test_logs_that_do_not_exist_are_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        llmmon.read(tmp_path / "none.jsonl")


def test_a_library_that_is_missing_is_named_with_its_extra(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as refused:
        llmmon.read(log)
    assert refused.value.hint == "pip install 'llmmon[arrow]'"
