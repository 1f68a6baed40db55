"""Lines of `key=value` pairs (logfmt), as Go, Heroku and many loggers write them."""

from __future__ import annotations

import pytest

from llmmon.formats.json_text import UnreadableError, object_of
from tests.conftest import Run


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            'ts=2026-03-01T10:00:01Z level=info msg="call \\"a\\" done" model=gpt-4o n=12 share=0.5 ok=true err=nil',
            {"ts": "2026-03-01T10:00:01Z", "level": "info", "msg": 'call "a" done', "model": "gpt-4o"}
            | {"n": 12, "share": 0.5, "ok": True, "err": None},
        ),
        (
            "2026-03-01 10:00:03,123 INFO llm.client done model=m tokens=5, latency=0.8s",
            {"timestamp": "2026-03-01 10:00:03,123", "model": "m", "tokens": 5, "latency": "0.8s"},
        ),
        ("usage.prompt_tokens=7 id=007 big=1e5", {"usage.prompt_tokens": 7, "id": "007", "big": "1e5"}),
    ],
)
def test_pairs_are_an_object(line: str, found: dict[str, object]) -> None:
    assert object_of(line.encode()) == found


@pytest.mark.parametrize(
    "line", ["plain text", "a=1 b=2", "if x == y: return z", "https://host/a?b=1&c=2&d=3 was opened", "x='1' y='2'"]
)
def test_a_line_with_fewer_than_three_pairs_is_none(line: str) -> None:
    with pytest.raises(UnreadableError, match="not JSON"):
        object_of(line.encode())


def test_a_log_of_pairs_gives_its_figures(run: Run) -> None:
    call = 'time="2026-03-01T10:00:0{n}Z" level=info msg="llm call" model=gpt-4o prompt_tokens=100 completion_tokens=10'
    other = 'time="2026-03-01T10:00:09Z" level=info msg="GET /" status=200 duration=1.5ms'
    rows = [call.format(n=n) + " duration=1.2s" for n in range(3)] + [other, "panic: no"]
    done = run("summarize", "-", "-f", "json", stdin="\n".join(rows))
    totals, source = done.json["data"]["totals"], done.json["source"]
    assert (totals["request_count"], totals["prompt_tokens"], totals["latency_p50_ms"]) == (3, 300, 1200)
    assert (source["skipped"], source["rejected"]) == (1, 1)
