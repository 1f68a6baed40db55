"""How wide tables are where there is no terminal."""

from __future__ import annotations

import pytest

from tests.conftest import Run

CALL = '{"model": "m", "prompt_tokens": 5, "completion_tokens": 1, "timestamp": "2026-01-01T00:00:00Z"}\n'


@pytest.mark.parametrize("columns", ["", "0", "-3", "wide", "²"])
def test_a_width_that_is_none_is_as_none(run: Run, columns: str) -> None:
    usual = run("summarize", "-", stdin=CALL, env={"COLUMNS": "160"})
    found = run("summarize", "-", stdin=CALL, env={"COLUMNS": columns})
    assert (found.stdout, found.code) == (usual.stdout, 0)
