"""AWS Bedrock's model invocation log."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, marks
from llmmon.formats.dialects.bodies import body_row, object_in
from llmmon.formats.mapping import value_at
from llmmon.metrics.record import USAGE

_METRICS: Final = "amazon-bedrock-invocationMetrics"


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        asked, answered = object_in(found, "input"), object_in(found, "output")
        body = answered.get("outputBodyJson")
        row: Row = {
            "request_id": found.get("requestId"),
            "start": found.get("timestamp"),
            "model": _model(found.get("modelId")),
            "model_requested": found.get("modelId"),
            "provider": "aws_bedrock",
            "operation": found.get("operation"),
            "prompt_tokens:exclusive": asked.get("inputTokenCount"),
            "completion_tokens": answered.get("outputTokenCount"),
            "cached_tokens": _either(asked, found, "cacheReadInputTokenCount"),
            "cache_write_tokens": _either(asked, found, "cacheWriteInputTokenCount"),
            "error_type": found.get("errorCode"),
            "user": object_in(found, "identity").get("arn"),
            "prompt": object_in(asked, "inputBodyJson").get("messages"),
            "tags": (object_in(found, "requestMetadata"), found),
        }
        row |= _streamed(body) if isinstance(body, list) else _whole(body) if isinstance(body, dict) else {}
        return [row]

    return calls


def _model(identifier: Any) -> Any:
    """The model of an identifier, which may be an ARN."""
    return (
        identifier.rpartition("/")[2] if isinstance(identifier, str) and identifier.startswith("arn:") else identifier
    )


def _either(first: Object, second: Object, key: str) -> Any:
    return first[key] if first.get(key) is not None else second.get(key)


def _whole(body: Object) -> Row:
    reply = body_row(body)
    hour = value_at(body, ("usage", "cacheDetails", "[ttl=1h]", "inputTokens"))
    return {
        **{slot: count for slot, count in reply.items() if slot in USAGE or slot == "cache_write_1h_tokens"},
        **({} if hour is None else {"cache_write_1h_tokens": hour}),
        "latency:ms": object_in(body, "metrics").get("latencyMs"),
        "finish_reason": body.get("stopReason") or reply.get("finish_reason"),
        "output": object_in(object_in(body, "output"), "message").get("content") or reply.get("output"),
    }


def _streamed(events: list[Any]) -> Row:
    """The pieces of a streamed answer: what matters stands in the last ones."""
    row: Row = {}
    texts = []
    for event in events:
        if not isinstance(event, dict):
            continue  # "[DONE]"
        delta = object_in(event, "delta")
        texts.append(delta.get("text"))
        if (reason := delta.get("stop_reason") or event.get("stopReason")) is not None:
            row["finish_reason"] = reason
        if metrics := object_in(event, _METRICS) or object_in(event, "metrics"):
            row["latency:ms"] = metrics.get("invocationLatency", metrics.get("latencyMs"))
            row["ttft:ms"] = metrics.get("firstByteLatency")
    text = "".join(text for text in texts if isinstance(text, str))
    return row | {"output": text} if text else row


BEDROCK: Final = Dialect(
    name="bedrock",
    title="AWS Bedrock invocation log",
    marks=marks("schemaType=ModelInvocationLog"),
    open=_open,
    lacks="latency only where the answer's body is logged and holds it",
)
