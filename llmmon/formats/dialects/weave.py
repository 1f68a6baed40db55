"""Weave calls (Weights & Biases): only those of a provider's client, for operations around them repeat their usage."""

from __future__ import annotations

import re
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.bodies import body_row, object_in
from llmmon.formats.mapping import CALL_KEY, CALL_PARENT

_CLIENTS: Final = frozenset(
    (
        "openai anthropic litellm google vertexai mistral mistralai groq cohere bedrock cerebras together huggingface"
    ).split()
)


def _is_call(found: Object) -> bool:
    name = found["op_name"]
    return isinstance(name, str) and name.startswith("weave:///")


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        operation = found["op_name"] if isinstance(found.get("op_name"), str) else ""
        operation = operation.rpartition("/op/")[2].partition(":")[0]
        if re.split(r"\W", operation, maxsplit=1)[0] not in _CLIENTS:
            return []
        return [_row(found, operation)]

    return calls


def _row(found: Object, operation: str) -> Row:
    summary, asked = object_in(found, "summary"), object_in(found, "inputs")
    about = object_in(summary, "weave")
    model, usage = _only(object_in(summary, "usage"))
    _, costs = _only(object_in(about, "costs"))
    row = {key: value for key, value in body_row(found.get("output")).items() if key in _FROM_REPLY}
    status = about.get("status")
    row |= {
        "request_id": found.get("id"),
        CALL_KEY: found.get("id"),
        CALL_PARENT: found.get("parent_id"),
        "start": found.get("started_at"),
        "end": found.get("ended_at"),
        "latency:ms": about.get("latency_ms"),
        "model": model,
        "model_requested": asked.get("model"),
        "operation": operation,
        "prompt_tokens:input": usage.get("prompt_tokens", usage.get("input_tokens")),
        "completion_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
        "total_tokens": usage.get("total_tokens"),
        "cached_tokens": object_in(usage, "prompt_tokens_details").get("cached_tokens"),
        "cached_tokens@1:exclusive": usage.get("cache_read_input_tokens"),
        "cache_write_tokens": usage.get("cache_creation_input_tokens"),
        "reasoning_tokens@1": object_in(usage, "completion_tokens_details").get("reasoning_tokens"),
        "cost_input:usd": costs.get("prompt_tokens_total_cost"),
        "cost_output:usd": costs.get("completion_tokens_total_cost"),
        "error": found.get("exception"),
        "outcome": status if isinstance(status, str) else None,
        "user": found.get("wb_user_id"),
        "session": found.get("thread_id"),
        "trace": found.get("trace_id"),
        "prompt": asked.get("messages"),
        "tags": object_in(found, "attributes"),
    }
    return row


_FROM_REPLY: Final = frozenset({"finish_reason", "output", "service_tier", "reasoning_tokens"})


def _only(by_model: Object) -> tuple[Any, Object]:
    """The model and what is counted for it; several models in one call do not occur in a client's."""
    for model, counted in by_model.items():
        if isinstance(counted, dict):
            return model, counted
    return None, {}


WEAVE: Final = Dialect(
    name="weave",
    title="Weave calls",
    marks=marks("op_name started_at"),
    proof=_is_call,
    open=_open,
    nests=True,
    naive="UTC",
)
