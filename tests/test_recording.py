"""The calls written by `export --to jsonl` and `--to csv` are the same calls when they are read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.config import Config
from llmmon.errors import InputError
from llmmon.formats.cells import cell_of, text_of
from llmmon.formats.tagging import tags_in
from llmmon.pipeline import Query
from llmmon.recording import Wanted, export_records
from llmmon.summaries import summarize
from tests.log_samples import SAMPLES, lines
from tests.log_samples import calls as calls_of
from tests.log_samples import plan, read

WALL_US = 1_790_000_000_000_000
WITH_CALLS = sorted(name for name in SAMPLES if read(SAMPLES[name].read_bytes())[0].size)


def query(path: Path, **more: Any) -> Query:
    return Query(logs=(str(path),), config=Config(), wall_us=WALL_US, **more)


def exported(path: Path, to: str, wanted: Wanted | None = None, **more: Any) -> bytes:
    pieces: list[bytes] = []
    export_records(query(path, **more), to, wanted or Wanted(), pieces.append)
    return b"".join(pieces)


def summary_of(path: Path) -> Any:
    report, _ = summarize(query(path), by=("model", "user", "feature", "provider", "status"), every_us=3_600_000_000)
    return report


@pytest.mark.parametrize("to", ["jsonl", "csv"])
@pytest.mark.parametrize("sample", WITH_CALLS)
def test_what_is_exported_has_the_same_summary(sample: str, to: str, tmp_path: Path) -> None:
    again = tmp_path / f"again.{to}"
    again.write_bytes(exported(SAMPLES[sample], to))
    assert summary_of(SAMPLES[sample]) == summary_of(again)


@pytest.mark.parametrize("sample", WITH_CALLS)
def test_exporting_twice_gives_the_same_bytes(sample: str, tmp_path: Path) -> None:
    keeping = Wanted(keep_text=True)
    first = exported(SAMPLES[sample], "jsonl", keeping)
    (tmp_path / "first.jsonl").write_bytes(first)
    assert first == exported(tmp_path / "first.jsonl", "jsonl", keeping)
