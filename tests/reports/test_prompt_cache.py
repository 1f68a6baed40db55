"""`cache`: planted causes are found, with the amounts that prices give; what differs is named, not shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmmon.errors import InputError
from llmmon.ingest.query import Query
from llmmon.reports.prompt_cache import CacheReport, Cause, report_cache
from tests.support import agent_logs

NOW = 1_785_000_000_000_000
MADE = agent_logs.sessions(40, seed=21, turns=(4, 60), words=2000)
WRITE, READ, HOUR = 3.75e-6, 0.30e-6, 6.0e-6  # claude-sonnet-4.5, below 200,000 tokens


def cache(*paths: Path, by: tuple[str, ...] = ("model",)) -> CacheReport:
    return report_cache(Query(logs=tuple(map(str, paths)), wall_us=NOW), by=by)[0]


def lost(cause: str) -> list[int]:
    return [turn.missed_tokens for session in MADE for turn in session.turns if turn.missed == cause]


@pytest.mark.parametrize("name", ["claude_code", "anthropic", "opencode", "openai", "codex", "langfuse", "otlp"])
def test_planted_causes_are_found(name: str, tmp_path: Path) -> None:
    report = cache(agent_logs.write(tmp_path, name, MADE))
    found = {row.cause: row for row in report.causes}
    for cause in (Cause.EXPIRED, Cause.PREFIX):
        planted = lost(cause.value)
        assert found[cause].calls == pytest.approx(len(planted), rel=0.05)
        assert found[cause].tokens == pytest.approx(sum(planted), rel=0.02)
    assert Cause.MODEL not in found


def test_amounts_are_those_of_the_price_list(tmp_path: Path) -> None:
    report = cache(agent_logs.write(tmp_path, "claude_code", MADE))
    for cause in (Cause.EXPIRED, Cause.PREFIX):
        (row,) = (row for row in report.causes if row.cause is cause)
        assert row.usd == pytest.approx(sum(lost(cause.value)) * (WRITE - READ), rel=0.02)
    assert report.totals.missed_usd == pytest.approx(sum(row.usd for row in report.causes))
    prompt = sum(turn.prompt for session in MADE for turn in session.turns)
    read = sum(turn.cached for session in MADE for turn in session.turns)
    assert report.totals.read_share == pytest.approx(read / prompt)


def test_whether_an_hour_would_have_paid(tmp_path: Path) -> None:
    report = cache(agent_logs.write(tmp_path, "claude_code", MADE))
    other = report.other_lasting
    assert other is not None
    assert other.lasts == "an hour"
    saved = 0.0
    for session in MADE:
        for turn in session.turns:
            kept = turn.missed_tokens if turn.missed == "expired" else 0
            saved += turn.write * WRITE - (turn.write - kept) * HOUR - kept * READ
    assert other.saved_usd == pytest.approx(saved, rel=0.02)
    assert other.best_usd >= max(other.saved_usd, 0)


def call(at: int, prompt: int, cached: int, write: int, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-06-01T{8 + at // 60:02d}:{at % 60:02d}:00Z",
        "session": "s",
        "model": "claude-sonnet-4-5",
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "cache_write_tokens": write,
        "completion_tokens": 10,
        **more,
    }


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        (call(1, 11_000, 0, 11_000), Cause.PREFIX),
        (call(9, 11_000, 0, 11_000), Cause.EXPIRED),
        (call(1, 11_000, 0, 11_000, model="claude-haiku-4-5"), Cause.MODEL),
        (call(1, 4_000, 0, 4_000), Cause.COMPACTED),
        (call(1, 11_000, 10_000, 1_000), None),
        (call(1, 10_500, 9_500, 1_000), None),
    ],
)
def test_why_a_call_reads_less_than_was_there(second: dict[str, Any], cause: Cause | None, tmp_path: Path) -> None:
    report = cache(lines(tmp_path / "a.jsonl", [call(0, 10_000, 0, 10_000), second]))
    assert [row.cause for row in report.causes] == ([] if cause is None else [cause])


def test_a_cache_that_was_written_for_an_hour_lasts_an_hour(tmp_path: Path) -> None:
    rows = [call(0, 10_000, 0, 10_000, cache_write_1h_tokens=10_000), call(30, 11_000, 0, 11_000)]
    (row,) = cache(lines(tmp_path / "a.jsonl", rows)).causes
    assert row.cause is Cause.PREFIX
    rows[1] = call(61, 11_000, 0, 11_000)
    (row,) = cache(lines(tmp_path / "a.jsonl", rows)).causes
    assert row.cause is Cause.EXPIRED


def test_a_session_that_uses_no_cache_could_have(tmp_path: Path) -> None:
    rows = [call(at, 10_000 + 100 * at, 0, 0) for at in range(4)]
    (row,) = cache(lines(tmp_path / "a.jsonl", rows)).causes
    assert row.cause is Cause.UNUSED
    assert row.tokens == 10_000 + 10_100 + 10_200


def test_the_first_part_that_differs_is_named_without_its_text(tmp_path: Path) -> None:
    rows = []
    for at in range(6):
        system = f"You help. It is {at} o'clock. " + "secret words " * 300
        messages = [{"role": "user", "content": "go"}]
        usage = {"input_tokens": 0, "cache_creation_input_tokens": 9000, "cache_read_input_tokens": 0}
        response = {"id": f"m{at}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
                    "content": [], "stop_reason": "end_turn", "usage": usage | {"output_tokens": 5}}  # fmt: skip
        rows.append(
            {"timestamp": f"2026-06-01T08:0{at}:00Z", "session_id": "s",
             "request": {"system": system, "messages": messages}, "response": response}
        )  # fmt: skip
    report = cache(lines(tmp_path / "a.jsonl", rows))
    (part,) = report.parts
    assert part.part == "the system prompt"
    assert part.character == len("You help. It is ") + 1
    assert part.calls == report.compared == 5
    assert "secret" not in repr(report)


def test_logs_that_do_not_tell_what_was_cached_say_so(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"model": "m", "session": "s", "prompt_tokens": 5, "completion_tokens": 1}])
    with pytest.raises(InputError, match="how many tokens it read from a cache"):
        cache(path)
