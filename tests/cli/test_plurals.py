"""Everything that is said about a log of one call is said in the singular."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run

STEP = {"id": "t1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
CALL = {
    "timestamp": "2026-03-02T08:00:00Z",
    "model": "gpt-4o",
    "latency_ms": 900,
    "session": "s",
    "user": "u",
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "cached_tokens": 1,
    "success": False,
    "error_type": "rate_limit",
    "prompt": "What is 1 + 1?",
    "output": "It is 2.",
    "messages": [{"role": "assistant", "tool_calls": [STEP]}],
}
COMMANDS = (
    *(
        "summarize a.jsonl --every 1h",
        "requests a.jsonl",
        "anomalies a.jsonl",
        "cost a.jsonl",
        "cost a.jsonl --every day",
    ),
    *("cost a.jsonl --waste", "cost a.jsonl --forecast month", "cost a.jsonl --as gpt-4o-mini", "cache a.jsonl"),
    *("limits a.jsonl --tpm 1000", "sessions a.jsonl", "sessions a.jsonl s", "tools a.jsonl", "score a.jsonl"),
    *("inspect a.jsonl", "check a.jsonl --now log", "rules check a.jsonl", "rules backtest a.jsonl"),
    *("rules suggest a.jsonl", "compare a.jsonl a.jsonl", "report a.jsonl -o page.html"),
    *("summarize a.jsonl --since 2027-01-01", "requests a.jsonl --where user=x", "summarize a.jsonl -f markdown"),
)
SINGULAR = {"less", "as", "is", "was", "has", "class", "pass", "address", "access", "this", "its", "times", "ms", "s"}


@pytest.mark.parametrize("command", COMMANDS)
def test_one_is_never_many(run: Run, write: Callable[..., Path], command: str, tmp_path: Path) -> None:
    write("a.jsonl", [CALL])
    ran = run(*shlex.split(command))
    page = tmp_path / "page.html"
    shown = (
        re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", page.read_text(), flags=re.DOTALL)
        if page.exists()
        else ""
    )
    found = re.findall(r"(?<![\d.,:/-])1 ([a-z]+s)\b", ran.stdout + ran.stderr + shown)
    assert set(found) <= SINGULAR, (ran.stdout + ran.stderr, found)
    assert "Traceback" not in ran.stderr
