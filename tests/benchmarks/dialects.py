"""How fast dialects are read beside flat lines: `python tests/benchmarks/dialects.py [MB]` prints MB/s and ratios.

Each log is written to a temporary file once, then read in chunks as the tool reads it, the dialects in
turn, several rounds; the best round of each counts, since the rest is noise of the machine.
"""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from llmmon.formats.canonical import Interners
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reader import SpanReader

CHUNK_BYTES = 256 << 10
ROUNDS = 5
# what a summary by model asks for
FIELDS = frozenset(
    "timestamp model prompt_tokens completion_tokens cached_tokens reasoning_tokens total_tokens latency_ms "
    "time_to_first_token_ms cost_usd status error_type finish_reason".split()
)
MODELS = ("gpt-5", "gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "llama-3.3-70b")
START = 1_780_300_800.0
Numbers = tuple[int, float, str, int, int, float]


def calls(seed: int = 7) -> Iterator[Numbers]:
    """Endless invented calls: number, start, model, tokens in and out, seconds."""
    dice = random.Random(seed)  # invented calls, the same at every run
    number = 0
    while True:
        number += 1
        yield (
            number,
            START + number * 0.25,
            dice.choice(MODELS),
            dice.randrange(50, 4000),
            dice.randrange(5, 900),
            round(dice.lognormvariate(0.2, 0.6), 3),
        )


def flat(call: Numbers) -> Any:
    """A home-made line."""
    number, start, model, prompt, completion, seconds = call
    return {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start)) + ".250Z",
        "request_id": f"req-{number:09d}",
        "model": model,
        "user": f"u-{number % 997}",
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "latency_ms": seconds * 1000,
        "cost_usd": prompt * 1e-6,
        "status": "success" if number % 50 else "error",
        "error_type": None if number % 50 else "rate_limit",
        "finish_reason": "stop",
    }


def litellm(call: Numbers) -> Any:
    """A standard logging payload with messages and reply."""
    number, start, model, prompt, completion, seconds = call
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": prompt // 2},
        "completion_tokens_details": {"reasoning_tokens": completion // 3},
    }
    return {
        "id": f"chatcmpl-{number}",
        "trace_id": f"tr-{number}",
        "session_id": f"s-{number % 400}",
        "litellm_call_id": f"call-{number}",
        "call_type": "acompletion",
        "stream": bool(number % 2),
        "response_cost": prompt * 1e-6,
        "status": "success",
        "custom_llm_provider": "openai",
        "total_tokens": prompt + completion,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "startTime": start,
        "endTime": start + seconds,
        "completionStartTime": start + seconds / 3,
        "response_time": seconds / 3,
        "model_map_information": {"model_map_key": model, "model_map_value": None},
        "model": f"openai/{model}",
        "model_group": model,
        "metadata": {"user_api_key_hash": "h1", "user_api_key_user_id": f"u-{number % 99}", "usage_object": usage},
        "cache_hit": False,
        "request_tags": ["prod"],
        "end_user": f"cust-{number % 50}",
        "messages": [{"role": "user", "content": "Sum up ticket 88. " * 20}],
        "response": {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": int(start),
            "model": model,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok " * 90}}],
            "usage": usage,
        },
        "error_str": None,
        "error_information": {"error_code": "", "error_class": "", "error_message": ""},
        "model_parameters": {"temperature": 0.2},
        "hidden_params": {"model_id": "dep-7", "api_base": "https://api.example", "litellm_overhead_time_ms": 3.1},
    }


def span(call: Numbers) -> Any:
    """One span of a call, with messages."""
    number, start, model, prompt, completion, seconds = call
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": {"stringValue": "chat"},
        "gen_ai.provider.name": {"stringValue": "openai"},
        "gen_ai.request.model": {"stringValue": model},
        "gen_ai.response.model": {"stringValue": model},
        "gen_ai.response.id": {"stringValue": f"chatcmpl-{number}"},
        "gen_ai.response.finish_reasons": {"arrayValue": {"values": [{"stringValue": "stop"}]}},
        "gen_ai.response.time_to_first_chunk": {"doubleValue": seconds / 3},
        "gen_ai.usage.input_tokens": {"intValue": str(prompt)},
        "gen_ai.usage.cache_read.input_tokens": {"intValue": str(prompt // 2)},
        "gen_ai.usage.output_tokens": {"intValue": str(completion)},
        "gen_ai.conversation.id": {"stringValue": f"conv-{number % 300}"},
        "server.address": {"stringValue": "api.example.com"},
        "server.port": {"intValue": "443"},
        "gen_ai.input.messages": {"stringValue": '[{"role": "user", "parts": [' + '"Where is it?", ' * 20 + '""]}]'},
        "gen_ai.output.messages": {"stringValue": '[{"role": "assistant", "parts": ["' + "Soon. " * 40 + '"]}]'},
    }
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": "",
        "name": f"chat {model}",
        "kind": 3,
        "startTimeUnixNano": str(int(start * 1e9)),
        "endTimeUnixNano": str(int((start + seconds) * 1e9)),
        "attributes": [{"key": key, "value": value} for key, value in attributes.items()],
        "status": {},
    }


def otlp(call: Numbers) -> Any:
    """A batch of eight spans."""
    number, start, *rest = call
    spans = [span((number * 8 + i, start + i / 40, *rest)) for i in range(8)]  # type: ignore[arg-type]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop-bot"}}]}
    scope = {"name": "opentelemetry.instrumentation.openai_v2", "version": "2.4b0"}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]}


SHAPES: dict[str, Callable[[Numbers], Any]] = {"flat": flat, "litellm": litellm, "otlp": otlp}


def write(path: Path, shape: Callable[[Numbers], Any], size: int) -> None:
    """A log of about `size` bytes."""
    with path.open("wb") as file:
        for call in calls():
            file.write(orjson.dumps(shape(call)) + b"\n")
            if file.tell() >= size:
                return


def read(path: Path) -> tuple[float, int]:
    """Seconds and calls of one pass over a log."""
    with path.open("rb") as file:
        reader = SpanReader(plan_for(file.read(256 << 10), Wanted(FIELDS)), Interners())
        file.seek(0)
        gc.disable()
        begun = time.perf_counter()
        found = 0
        for lines in whole_lines(file):
            block = reader.feed(lines)
            found += block.columns.size if block else 0
        found += reader.flush().columns.size
        gc.enable()
    return time.perf_counter() - begun, found


def whole_lines(file: Any) -> Iterator[bytes]:
    """Chunks cut at their last newline."""
    rest = b""
    while data := file.read(CHUNK_BYTES):
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            yield rest + head + newline
            rest = tail
        else:
            rest += data
    if rest:
        yield rest


def main() -> None:
    """Print a line for each dialect."""
    size = int(sys.argv[1]) << 20 if len(sys.argv) > 1 else 128 << 20
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.jsonl" for name in SHAPES}
        for name, path in paths.items():
            write(path, SHAPES[name], size)
        best = dict.fromkeys(SHAPES, float("inf"))
        counts = {}
        for _ in range(ROUNDS):
            for name, path in paths.items():
                seconds, counts[name] = read(path)
                best[name] = min(best[name], seconds)
        speeds = {name: paths[name].stat().st_size / 1e6 / best[name] for name in SHAPES}
    for name, speed in speeds.items():
        ratio = speed / speeds["flat"]
        sys.stdout.write(f"{name:10} {speed:7.0f} MB/s  {ratio:5.2f} of flat  {counts[name]:9,} calls\n")


if __name__ == "__main__":
    main()
