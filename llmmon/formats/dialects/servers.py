"""Logs of model servers that count no tokens, and benchmark runs: FastChat, TGI, vLLM's `bench serve`."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks

FASTCHAT: Final = Dialect(
    name="fastchat",
    title="FastChat conversations",
    marks=marks("tstamp type state"),
    only=marks("type=chat")[0],
    bindings=bind(
        request_id="state.conv_id",
        start="start:s",
        end="finish:s",
        model=("model", "state.model_name"),
        operation="type",
        session="state.conv_id",
    ),
    lacks="no tokens, no outcome (errors are only in the text of the answer)",
)


def _is_tgi(found: Object) -> bool:
    target = found["target"]
    return isinstance(target, str) and target.startswith("text_generation_router")


def _open_tgi() -> Feed:
    def calls(found: Object) -> list[Row]:
        span = found.get("span")
        if not isinstance(span, dict) or span.get("name") not in ("generate", "generate_stream", "compat_generate"):
            return []
        failed = found.get("level") == "ERROR"
        row: Row = {
            "end": found.get("timestamp"),
            "latency:s": span.get("total_time"),
            "operation": span.get("name"),
            "success": not failed,
        }
        return [row | {"error_message": found.get("message")} if failed else row]

    return calls


TGI: Final = Dialect(
    name="tgi",
    title="Text Generation Inference log",
    marks=marks("timestamp level target span"),
    proof=_is_tgi,
    open=_open_tgi,
    lacks="no tokens, no model (tokens are only in the headers of the answers)",
)


def _open_bench() -> Feed:
    def calls(found: Object) -> list[Row]:
        columns = {slot: found.get(key) for slot, key in _DETAILS.items()}
        lists = {slot: values for slot, values in columns.items() if isinstance(values, list)}
        if "prompt_tokens" not in lists:
            return []
        model = found.get("model_id")
        return [
            _bench_row(model, {slot: values[i] for slot, values in lists.items() if i < len(values)})
            for i in range(len(lists["prompt_tokens"]))
        ]

    return calls


_DETAILS: Final = {
    "prompt_tokens": "input_lens",
    "completion_tokens": "output_lens",
    "ttft:s": "ttfts",
    "latency:s": "latencies",
    "output": "generated_texts",
    "error": "errors",
}


def _bench_row(model: Any, row: Row) -> Row:
    failed = bool(row.get("error"))
    if failed:  # a failed request is logged with zeros
        row = {"error": row["error"]}
    return row | {"model": model, "success": not failed}


VLLM_BENCH: Final = Dialect(
    name="vllm_bench",
    title="vLLM benchmark results",
    marks=marks("model_id num_prompts request_throughput mean_ttft_ms"),
    open=_open_bench,
    lacks="a benchmark, a line for each run: its calls only with --save-detailed, and without times",
)
