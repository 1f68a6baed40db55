"""How fast nested logs are summarized beside DuckDB with SQL that was written for each of them.

    python -m tests.benchmarks.nested FOLDER [--megabytes 100] [--rounds 5]

Writes logs as they are found in the field into FOLDER: request and response of an API wrapped in one line, sessions
of a coding agent, rows of an observability service, an application's log of which one line in five is a call, and
batches of spans. The generator knows how many calls and tokens are in each, and both sides have to find them.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from tests.benchmarks.comparison import (
    LLMMON,
    Comparison,
    Counts,
    Side,
    is_installed,
    measure,
    object_counts,
    print_table,
    skip,
    summary_counts,
)

BEGIN: Final = datetime(2026, 3, 2, tzinfo=UTC)
MODELS: Final = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "o4-mini")
VOCABULARY: Final = (
    "invoice delivery customer summary order please table refund schedule answer naïve café 数据 résumé value error "
    'the a of to in for with and is was "quoted" path\\name next\nline total report week month code function'
).split(" ")


class Line(NamedTuple):
    """A line, and the calls and tokens that are to be counted for it."""

    content: Any
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Author:
    """Draws what the lines are made of; the same at every run."""

    def __init__(self) -> None:
        self.dice = random.Random(4)
        self._texts = [" ".join(self.dice.choices(VOCABULARY, k=self.dice.randint(15, 280))) for _ in range(2_000)]

    def text(self) -> str:
        return self.dice.choice(self._texts)

    def tokens(self) -> tuple[int, int]:
        return self.dice.randint(40, 5_000), self.dice.randint(4, 1_000)

    def model(self) -> str:
        return self.dice.choice(MODELS)

    def latency_s(self) -> float:
        return round(self.dice.lognormvariate(0.3, 0.6), 3)


def stamp(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wrapped(author: Author) -> Iterator[Line]:
    """A request and its response, as a proxy of one's own logs them; one in fifty was refused."""
    for number in count():
        prompt, completion, model = *author.tokens(), author.model()
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": author.text()}]
        line: dict[str, Any] = {
            "ts": stamp(number * 0.4),
            "request": {"model": model, "messages": messages, "temperature": 0.3, "user": f"user-{number % 700}"},
        }
        if number % 50 == 49:
            error = {"message": "Rate limit reached", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            yield Line(line | {"response": {"error": error}, "duration": 0.1, "status_code": 429}, 1)
            continue
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": prompt // 3, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": completion // 4, "audio_tokens": 0},
        }
        message = {"role": "assistant", "content": author.text(), "refusal": None}
        response = {
            "id": f"chatcmpl-{number:09d}",
            "object": "chat.completion",
            "created": 1_772_409_600 + number,
            "model": f"{model}-2025-04-14",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": usage,
            "system_fingerprint": None,
        }
        line |= {"response": response, "duration": author.latency_s(), "status_code": 200}
        yield Line(line, 1, prompt, completion)


def sessions(author: Author) -> Iterator[Line]:
    """A coding agent's session: results of tools, and answers that are written once for each of their blocks."""
    for number in count():
        common = {
            "isSidechain": number % 11 == 10,
            "userType": "external",
            "cwd": "/srv/shop",
            "sessionId": f"{number // 40:08x}-aaaa-4bbb-8ccc-dddddddddddd",
            "version": "2.1.70",
            "gitBranch": "main",
        }
        result = {"type": "tool_result", "tool_use_id": f"tool-{number}", "content": author.text() + author.text()}
        message: dict[str, Any] = {"role": "user", "content": [result]}
        line = {"type": "user", "uuid": f"user-{number}", "timestamp": stamp(number * 5), "message": message}
        yield Line({**common, **line, "toolUseResult": {"stdout": author.text(), "stderr": "", "interrupted": False}})
        yield from _answer(author, number, common)


def _answer(author: Author, number: int, common: dict[str, Any]) -> Iterator[Line]:
    prompt, completion = author.tokens()
    written, read = author.dice.randint(0, 3_000), author.dice.randint(0, 80_000)
    blocks = author.dice.randint(1, 3)
    for block in range(blocks):
        is_last = block == blocks - 1
        usage = {
            "input_tokens": prompt,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "output_tokens": completion if is_last else 1,
            "service_tier": "standard",
        }
        thought = {"type": "thinking", "thinking": author.text(), "signature": "x" * 180}
        message = {
            "id": f"msg_{number:09d}",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [{"type": "text", "text": author.text()} if is_last else thought],
            "stop_reason": "end_turn" if is_last else None,
            "stop_sequence": None,
            "usage": usage,
        }
        line = {
            **common,
            "type": "assistant",
            "uuid": f"answer-{number}-{block}",
            "timestamp": stamp(number * 5 + 2 + block / 4),
            "requestId": f"req_{number:09d}",
            "message": message,
        }
        yield Line(line, 1, prompt + written + read, completion) if is_last else Line(line)


def langfuse(author: Author) -> Iterator[Line]:
    """Generations, as Langfuse exports them."""
    for number in count():
        prompt, completion = author.tokens()
        row = {
            "id": f"generation-{number}",
            "traceId": f"trace-{number // 3}",
            "type": "GENERATION",
            "name": "reply",
            "startTime": stamp(number * 0.4),
            "endTime": stamp(number * 0.4 + author.latency_s()),
            "completionStartTime": stamp(number * 0.4 + 0.2),
            "model": author.model(),
            "modelParameters": {"temperature": 0},
            "input": [{"role": "user", "content": author.text()}],
            "output": {"role": "assistant", "content": author.text()},
            "metadata": {"release": "12"},
            "level": "DEFAULT",
            "statusMessage": None,
            "usageDetails": {"input": prompt, "output": completion, "total": prompt + completion},
            "costDetails": {"total": prompt * 2e-6 + completion * 8e-6},
            "environment": "production",
            "projectId": "shop",
        }
        yield Line(row, 1, prompt, completion)


def application(author: Author) -> Iterator[Line]:
    """An application's structured log: of five lines, four are about other things."""
    for number in count():
        line: dict[str, Any] = {"timestamp": stamp(number * 0.05), "level": "info", "request_id": f"req-{number}"}
        if number % 5:
            line |= {"logger": "shop.http", "event": "request finished", "path": "/api/cart", "status": 200}
            yield Line(line | {"duration_ms": author.dice.randint(1, 80), "detail": author.text()[:180]})
            continue
        prompt, completion = author.tokens()
        call = {
            "model": author.model(),
            "latency_ms": round(author.latency_s() * 1000),
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
            "prompt": author.text(),
            "completion": author.text(),
        }
        yield Line(line | {"logger": "shop.llm", "event": "llm call", "llm": call}, 1, prompt, completion)


def otlp(author: Author) -> Iterator[Line]:
    """Batches of twenty spans; one in three is of a model, the others of a web server."""
    for first in count(0, 20):
        spans, calls, prompts, completions = [], 0, 0, 0
        for number in range(first, first + 20):
            begun = int((BEGIN.timestamp() + number * 0.2) * 1e9)
            ended, attributes = begun + 9_000_000, {"http.route": "/cart", "http.response.status_code": 200}
            name, kind = "GET /cart", 2
            if number % 3 == 0:
                prompt, completion, model = *author.tokens(), author.model()
                calls, prompts, completions = calls + 1, prompts + prompt, completions + completion
                ended, name, kind = begun + int(author.latency_s() * 1e9), f"chat {model}", 3
                parts = [{"role": "user", "parts": [{"type": "text", "content": author.text()}]}]
                attributes = {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": model,
                    "gen_ai.response.model": model,
                    "gen_ai.usage.input_tokens": prompt,
                    "gen_ai.usage.output_tokens": completion,
                    "gen_ai.input.messages": orjson.dumps(parts).decode(),
                }
            spans.append(_span(number, name, kind, (begun, ended), attributes))
        resource = {"attributes": _attributes({"service.name": "shop"})}
        scopes = [{"scope": {"name": "shop.tracing"}, "spans": spans}]
        yield Line({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}, calls, prompts, completions)


def _span(number: int, name: str, kind: int, times_ns: tuple[int, int], attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number + 1:016x}",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(times_ns[0]),
        "endTimeUnixNano": str(times_ns[1]),
        "attributes": _attributes(attributes),
        "status": {},
    }


def _attributes(values: dict[str, Any]) -> list[Any]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]


class Kind(NamedTuple):
    """A log: who writes it, and the SQL that reads it: the columns of its lines, and calls as rows of m, p, c, l."""

    write: Callable[[Author], Iterator[Line]]
    columns: dict[str, str]
    calls_sql: str
    goal: float


_SPAN: Final = (
    "STRUCT(startTimeUnixNano VARCHAR, endTimeUnixNano VARCHAR, "
    'attributes STRUCT("key" VARCHAR, "value" STRUCT(intValue VARCHAR, stringValue VARCHAR))[])'
)


def _attribute(name: str) -> str:
    return f'list_filter(s.attributes, lambda a: a."key" = \'{name}\')[1]."value"'


KINDS: Final = {
    "wrapped": Kind(
        wrapped,
        {
            "request": "STRUCT(model VARCHAR)",
            "response": "STRUCT(model VARCHAR, usage STRUCT(prompt_tokens BIGINT, completion_tokens BIGINT))",
            "duration": "DOUBLE",
        },
        "select coalesce(response.model, request.model) m, response.usage.prompt_tokens p, "
        "response.usage.completion_tokens c, duration * 1000 l from lines",
        1.2,
    ),
    "sessions": Kind(
        sessions,
        {
            "type": "VARCHAR",
            "requestId": "VARCHAR",
            "message": "STRUCT(id VARCHAR, model VARCHAR, usage STRUCT(input_tokens BIGINT, "
            "cache_creation_input_tokens BIGINT, cache_read_input_tokens BIGINT, output_tokens BIGINT))",
        },
        "select any_value(message.model) m, max(message.usage.input_tokens + message.usage.cache_creation_input_tokens"
        " + message.usage.cache_read_input_tokens) p, max(message.usage.output_tokens) c, null::double l "
        "from lines where type = 'assistant' group by message.id, requestId",
        1.2,
    ),
    "langfuse": Kind(
        langfuse,
        {
            "startTime": "TIMESTAMP",
            "endTime": "TIMESTAMP",
            "model": "VARCHAR",
            "usageDetails": 'STRUCT("input" BIGINT, output BIGINT)',
        },
        'select model m, usageDetails."input" p, usageDetails.output c, '
        "epoch_ms(endTime) - epoch_ms(startTime) l from lines",
        1.2,
    ),
    "application": Kind(
        application,
        {
            "llm": "STRUCT(model VARCHAR, latency_ms DOUBLE, "
            '"usage" STRUCT(prompt_tokens BIGINT, completion_tokens BIGINT))'
        },
        'select llm.model m, llm."usage".prompt_tokens p, llm."usage".completion_tokens c, llm.latency_ms l '
        "from lines where llm is not null",
        1.0,
    ),
    "otlp": Kind(
        otlp,
        {"resourceSpans": f"STRUCT(scopeSpans STRUCT(spans {_SPAN}[])[])[]"},
        f"select {_attribute('gen_ai.response.model')}.stringValue m, "
        f"{_attribute('gen_ai.usage.input_tokens')}.intValue::bigint p, "
        f"{_attribute('gen_ai.usage.output_tokens')}.intValue::bigint c, "
        "(s.endTimeUnixNano::bigint - s.startTimeUnixNano::bigint) / 1e6 l from (select unnest(b.spans) s from "
        "(select unnest(r.scopeSpans) b from (select unnest(resourceSpans) r from lines))) "
        f"where {_attribute('gen_ai.operation.name')} is not null",
        0.35,
    ),
}
# calls, tokens and exact quantiles, overall and by model; what it prints are the counts of the whole
DUCKDB: Final = """
import duckdb, json, sys
path, columns, calls = sys.argv[1:]
db = duckdb.connect()
db.execute("set threads = 2; set enable_progress_bar = false")
db.execute(f"create temp view lines as select * from read_json('{path}', format='newline_delimited', "
           f"maximum_object_size=67108864, columns={columns})")
rows = db.execute(f"select m, count(*), sum(p), sum(c), avg(l), quantile_cont(l, [0.5, 0.9, 0.95, 0.99]), max(l) "
                  f"from ({calls}) group by grouping sets ((m), ())").fetchall()
whole = max(rows, key=lambda row: row[1])
whole = next((row for row in rows if row[0] is None), whole)
print(json.dumps(dict(calls=whole[1], prompt_tokens=int(whole[2]), completion_tokens=int(whole[3]))))
"""


def write(path: Path, kind: str, size: int) -> Counts:
    """A log of about `size` bytes, unless it is there; what is to be counted in it is kept beside it."""
    truth = path.with_suffix(".truth.json")
    if not truth.exists():
        found = [0, 0, 0]
        with path.open("wb", buffering=1 << 20) as file:
            for line in KINDS[kind].write(Author()):
                file.write(orjson.dumps(line.content) + b"\n")
                found = [total + one for total, one in zip(found, line[1:], strict=True)]
                if file.tell() >= size and (kind != "sessions" or line.calls):
                    break
        truth.write_bytes(orjson.dumps(dict(zip(Line._fields[1:], found, strict=True))))
    return {name: int(value) for name, value in orjson.loads(truth.read_bytes()).items()}


def comparisons(folder: Path, megabytes: int) -> Iterator[Comparison]:
    """Each kind of log by `summarize` and by DuckDB."""
    if not is_installed("duckdb"):
        skip("nested logs", "since DuckDB is not installed (extra `bench`)")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind in KINDS.items():
        path = folder / f"{name}-{megabytes}.jsonl"
        truth = write(path, name, megabytes << 20)
        columns = "{" + ", ".join(f"{key}: '{value}'" for key, value in kind.columns.items()) + "}"
        ours = [*LLMMON, "summarize", str(path), "-f", "json", "--no-cache"]
        peer = [sys.executable, "-c", DUCKDB, str(path), columns, kind.calls_sql]
        job = f"nested: {name}, {path.stat().st_size / 1e6:.0f} MB"
        sides = Side("llmmon", ours, summary_counts), Side("DuckDB", peer, object_counts)
        yield Comparison(job, *sides, kind.goal, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print_table(measure(list(comparisons(options.folder, options.megabytes)), options.rounds))


if __name__ == "__main__":
    main()
