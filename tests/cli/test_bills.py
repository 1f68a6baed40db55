"""`cost --every`: periods of the calendar in the reader's zone, groups, and totals that add up."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.errors import UsageError
from llmmon.metrics.grouping import Grouping
from llmmon.text.times import CALENDAR_US, MONTH_US, duration_text, width_us
from tests.conftest import Run
from tests.support.priced_calls import us

ROW = {"model": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 100, "user": "ann"}  # $0.0035


def log(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(ROW | row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("zone", "month"), [("UTC", "2026-10-01"), ("Europe/Berlin", "2026-11-01"), ("America/New_York", "2026-10-01")]
)
def test_a_month_begins_at_midnight_in_the_readers_zone(run: Run, tmp_path: Path, zone: str, month: str) -> None:
    path = log(tmp_path, {"timestamp": "2026-10-31T23:30:00Z"})
    found = run("cost", path, "--every", "month", "--tz", zone, "-f", "csv")
    (row,) = csv.DictReader(io.StringIO(found.stdout))
    assert (row["period"], float(row["cost_usd"])) == (month, 0.0035)


def test_rows_columns_and_the_whole_add_up(run: Run, tmp_path: Path) -> None:
    rows = [
        {"timestamp": f"2026-{month:02}-15T12:00:00Z", "user": user, "prompt_tokens": 1000 * size}
        for size, (month, user) in enumerate([(9, "ann"), (9, "bob"), (11, "ann"), (11, "ann"), (11, "cy")], 1)
    ]
    data = json.loads(run("cost", log(tmp_path, *rows), "--every", "month", "--by", "user", "-f", "json").stdout)
    bill = data["data"]["bill"]
    assert [period["period"] for period in bill["periods"]] == ["2026-09-01", "2026-10-01", "2026-11-01"]
    assert [period["total"]["calls"] for period in bill["periods"]] == [2, 0, 3]
    whole = bill["total"]["cost_usd"]
    assert sum(period["total"]["cost_usd"] or 0 for period in bill["periods"]) == pytest.approx(whole)
    assert sum(line["total"]["cost_usd"] for line in bill["lines"]) == pytest.approx(whole)
    for line in bill["lines"]:
        cells = [cell["cost_usd"] for cell in line["cells"] if cell is not None]
        assert sum(cells) == pytest.approx(line["total"]["cost_usd"])


def test_calls_without_a_time_are_a_period_of_their_own(run: Run, tmp_path: Path) -> None:
    path = log(tmp_path, {"timestamp": "2026-11-15T12:00:00Z"}, {})
    bill = json.loads(run("cost", path, "--every", "month", "-f", "json").stdout)["data"]["bill"]
    assert [period["period"] for period in bill["periods"]] == ["2026-11-01", None]
    assert bill["total"]["calls"] == 2


def test_what_the_cache_saved_stands_in_the_bill(run: Run, tmp_path: Path) -> None:
    path = log(tmp_path, {"timestamp": "2026-11-15T12:00:00Z", "cached_tokens": 800})
    bill = json.loads(run("cost", path, "--every", "week", "-f", "json").stdout)["data"]["bill"]
    assert bill["total"]["saved_usd"] == pytest.approx(800 * 1.25 / 1e6)
    assert bill["periods"][0]["period"] == "2026-11-09"  # a Monday


def test_a_table_of_many_days_shows_every_day_and_the_largest_groups(run: Run, tmp_path: Path) -> None:
    rows = [{"timestamp": f"2026-11-{day:02}T12:00:00Z", "user": f"u{day % 9}"} for day in range(1, 29)]
    found = run("cost", log(tmp_path, *rows), "--every", "day", "--by", "user", env={"COLUMNS": "120"})
    assert all(f"2026-11-{day:02}" in found.stdout for day in range(1, 29))
    assert "3 others" in found.stdout


def test_summarize_shows_the_table_of_a_long_time(run: Run, tmp_path: Path) -> None:
    rows = [{"timestamp": f"2026-{month:02}-{day:02}T12:00:00Z"} for month in (8, 9, 10) for day in range(1, 31)]
    found = run("summarize", log(tmp_path, *rows), "--every", "day")
    assert found.stdout.count("$0.0035") >= 90


def test_usage_billed_apart_has_a_column_where_there_is_any(run: Run, tmp_path: Path) -> None:
    plain = {"timestamp": "2026-11-15T12:00:00Z"}
    rerank = {"model": "ours", "prompt_tokens": None, "completion_tokens": None, "rerank_searches": 3, "status": "ok"}
    config = tmp_path / "llmmon.toml"
    config.write_text("[prices.ours]\nrerank_searches_kcount = 2\n")
    path = log(tmp_path, plain, plain | rerank, plain | rerank)
    done = run("cost", path, "--every", "month", "--config", str(config), "-f", "csv")
    found = {row["model"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert (found["ours"]["cost_usd"], found["ours"]["usage.rerank_searches"]) == ("0.012", "6.0")
    assert found["gpt-4o"]["usage.rerank_searches"] == ""
    bill = json.loads(run("cost", path, "--every", "month", "-f", "json").stdout)["data"]["bill"]
    assert bill["total"]["usage"] == {"rerank_searches": 6.0}
    without = run("cost", log(tmp_path, plain), "--every", "month", "-f", "csv").stdout
    assert "usage" not in without


def test_a_model_that_is_sold_by_the_call(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "llmmon.toml"
    config.write_text("[prices.ours]\nrequest = 40\n")
    silent = {"model": "ours", "prompt_tokens": None, "completion_tokens": None, "status": "ok"}
    path = log(tmp_path, silent, {"model": "ours"}, silent | {"status": "error"})
    totals = json.loads(run("cost", path, "--config", str(config), "-f", "json").stdout)["data"]["totals"]
    assert (totals["cost_usd"], totals["complete"], totals["certain_share"]) == (pytest.approx(0.08), True, 0.0)


@given(st.integers(0, 2**32), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]))
def test_each_time_is_in_its_month(second: int, zone: str) -> None:
    grouping = Grouping((), MONTH_US, zone)
    moment = second * 1_000_000
    (number,) = grouping.numbers(np.array([moment])).tolist()
    assert grouping.bucket_start(number) <= moment < grouping.bucket_start(number + 1)


def test_quarters_and_years_are_those_of_the_calendar() -> None:
    when = us(datetime(2026, 11, 15, tzinfo=UTC))
    for width, first in (("quarter", datetime(2026, 10, 1, tzinfo=UTC)), ("year", datetime(2026, 1, 1, tzinfo=UTC))):
        grouping = Grouping((), CALENDAR_US[width])
        (number,) = grouping.numbers(np.array([when])).tolist()
        assert grouping.bucket_start(number) == us(first)


@pytest.mark.parametrize(("text", "us_"), [("month", MONTH_US), ("weeks", 7 * 86_400_000_000), ("5", 300_000_000)])
def test_a_width_is_a_word_or_a_duration(text: str, us_: int) -> None:
    assert width_us(text) == us_
    assert duration_text(MONTH_US) == "month"


@pytest.mark.parametrize("text", ["monht", "", "0s"])
def test_another_width_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        width_us(text)
